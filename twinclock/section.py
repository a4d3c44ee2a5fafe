"""What every config model has in common: strictness, and errors that fit on one line."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from difflib import get_close_matches
from types import UnionType
from typing import Annotated, Any, Literal, TypeAlias, TypeVar, Union, get_args, get_origin

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, Strict, ValidationError

from twinclock.errors import ConfigError

T = TypeVar("T")
M = TypeVar("M", bound=BaseModel)

ListOf: TypeAlias = Annotated[tuple[T, ...], Strict(False)]
"""A YAML list, kept as a tuple; only the sequence type is lenient, its items are not."""
_IMPORT_PATH = r"^[A-Za-z_][\w.]*:[A-Za-z_]\w*$"
_NAME = r"^[A-Za-z][A-Za-z0-9_-]*$"
_TITLE = r"^[^\s./\\\x00-\x1f][^/\\\x00-\x1f]*$"
ImportPath: TypeAlias = Annotated[str, Field(pattern=_IMPORT_PATH)]
"""`package.module:name`, something that the user brings along."""
Name: TypeAlias = Annotated[str, Field(pattern=_NAME)]
"""What users may call what they name themselves: a name of a folder on any system, and no way out of one."""
Title: TypeAlias = Annotated[str, Field(pattern=_TITLE)]
"""A name for people that becomes part of the name of a folder, and leads out of none."""


class Section(BaseModel):
    """A part of the configuration: nothing coerced, nothing unknown, nothing changed afterwards."""

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True, allow_inf_nan=False, populate_by_name=True)


def kind_if_unsaid(kind: str) -> BeforeValidator:
    """For a union by `kind`: which one is meant by a mapping that does not say."""

    def said(value: object) -> object:
        return {"kind": kind, **value} if isinstance(value, Mapping) and "kind" not in value else value

    return BeforeValidator(said)


class WrongKeyError(ValueError):
    """For validators that look at several keys: which of them is wrong, and the line about it."""

    def __init__(self, key: str, text: str) -> None:
        super().__init__(text)
        self.key = key


def parse_section(model_type: type[M], mapping: Mapping[str, Any], where: str, *, under: str = "") -> M:
    """`mapping` as a `model_type`. ConfigError, one line that holds every problem.

    `where` names the file (or whatever else the values are from) and `under` the key that the
    mapping stands under, both for the message only: `demo.yaml: sim.costs.setup: got …`.
    """
    try:
        return model_type.model_validate(mapping)
    except ValidationError as error:
        raise ConfigError(f"{where}: " + "; ".join(text for _, text in problems(error, model_type, under))) from None


def problems(error: ValidationError, model_type: type[BaseModel], under: str = "") -> Iterator[tuple[str, str]]:
    """Each problem of a failed validation: the path of its key, and the line about it without the place."""
    for each in error.errors(include_url=False):
        if each["type"] == "too_short" and len(each["input"]) >= each["ctx"]["min_length"]:
            continue  # pydantic counts only the items that are right, and each of the others has its own line
        keys, owner, options = _locate(model_type, each["loc"])
        if each["type"] in ("union_tag_invalid", "union_tag_not_found"):
            keys.append("kind")
        if isinstance(cause := each.get("ctx", {}).get("error"), WrongKeyError):
            keys.append(cause.key)
        path = ".".join(([under] if under else []) + keys) or "(top level)"
        yield path, f"{path}: {_describe(each, keys, owner, options)}"


def nearest(name: str, known: Sequence[str]) -> str:
    """Which of the known names the user may have meant, as the end of a sentence."""
    close = get_close_matches(name, known, n=3, cutoff=0.6)
    if close:
        return f"did you mean {' or '.join(close)}?"
    return f"known: {', '.join(known)}" if known else "nothing is known here"


def shown(value: object) -> str:
    """A value in a message: as YAML would have it, cut to a readable length."""
    try:
        text = json.dumps(value, ensure_ascii=False)
    except (TypeError, ValueError):
        text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."


_EXPECTED = {
    "bool_type": "true or false",
    "dict_type": "a mapping",
    "finite_number": "a finite number",
    "float_type": "a number",
    "int_from_float": "a whole number",
    "int_type": "a whole number",
    "invalid_key": "a string as key",
    "list_type": "a list",
    "model_attributes_type": "a mapping",
    "model_type": "a mapping",
    "string_too_short": "a string that is not empty",
    "string_type": "a string",
    "tuple_type": "a list",
}
_PATTERNS = {
    _IMPORT_PATH: "package.module:name",
    _NAME: "a name of letters, digits, - and _ that begins with a letter",
    _TITLE: "a name on one line, without / and \\, that begins with neither a dot nor a space",
}
_BOUNDS = {
    "greater_than": (">", "gt"),
    "greater_than_equal": (">=", "ge"),
    "less_than": ("<", "lt"),
    "less_than_equal": ("<=", "le"),
}


def _describe(problem: Any, keys: list[str], owner: type[BaseModel] | None, options: Sequence[type[BaseModel]]) -> str:
    kind, context, value = problem["type"], problem.get("ctx", {}), problem["input"]
    if kind == "extra_forbidden":
        known = [field.alias or name for name, field in owner.model_fields.items()] if owner else []
        return f"unknown key (got {shown(value)}); {nearest(keys[-1], known)}"
    if kind == "missing":
        return "missing, and it has no default"
    if kind == "union_tag_not_found":
        return f"missing; expected one of {', '.join(kind for each in options for kind in _kinds(each))}"
    if kind == "union_tag_invalid":
        tags = [tag.strip(" '") for tag in context["expected_tags"].split(",")]
        return f"got {shown(context['tag'])}, expected one of {', '.join(tags)}"
    if kind == "value_error":
        text = str(context["error"])
        return f"got {shown(value)}, {text}" if text.startswith("expected") else text
    if kind in _BOUNDS:
        sign, bound = _BOUNDS[kind]
        return f"got {shown(value)}, expected a number {sign} {context[bound]:g}"
    if kind == "literal_error":
        choices = context["expected"].replace(" or ", ", ").replace("'", "")
        return f"got {shown(value)}, expected {'one of ' if ',' in choices else ''}{choices}"
    if kind == "string_pattern_mismatch":
        return f"got {shown(value)}, expected {_PATTERNS[context['pattern']]}"
    if kind == "model_attributes_type" and any(value in _kinds(each) for each in options):
        return f"got {shown(value)}, expected a mapping, such as {{kind: {value}}}"
    if kind == "too_short":
        return f"got {shown(value)}, expected at least {context['min_length']} item(s)"
    return f"got {shown(value)}, expected {_EXPECTED.get(kind, problem['msg'])}"


def _locate(
    model_type: type[BaseModel], loc: tuple[int | str, ...]
) -> tuple[list[str], type[BaseModel] | None, list[type[BaseModel]]]:
    """The keys as the user wrote them (pydantic mixes in the kinds of unions), and the model they end in.

    And the models that may stand there.
    """
    keys: list[str] = []
    options: list[type[BaseModel]] = [model_type]
    owner: type[BaseModel] | None = model_type
    is_name = False
    """Is the next key one that the user made up, in a mapping?"""
    for part in loc:
        if isinstance(part, str) and part.startswith("["):
            continue  # [key]: pydantic's mark that the name itself is wrong; or which of several forms was meant
        if not is_name and len(options) > 1 and (chosen := [o for o in options if part in _kinds(o)]):
            options = chosen  # the tag of a union: no key of the user's
            owner = chosen[0]
            continue
        keys.append(str(part))
        if isinstance(part, int) or is_name:
            is_name = False
            continue  # an index or a name: the options are those of the items already
        owner = options[0] if options else None
        if owner is None:
            continue
        field = next((f for name, f in owner.model_fields.items() if part in (name, f.alias)), None)
        options = list(_models(field.annotation)) if field else []
        is_name = field is not None and get_origin(field.annotation) is dict
    return keys, owner, options


def _kinds(model_type: type[BaseModel]) -> tuple[Any, ...]:
    field = model_type.model_fields.get("kind")
    return get_args(field.annotation) if field and get_origin(field.annotation) is Literal else ()


def _models(annotation: Any) -> Iterator[type[BaseModel]]:
    """The models somewhere inside a type: through optional, union, list and annotation."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    elif get_origin(annotation) in (Union, UnionType, Annotated, tuple, list, dict):
        for each in get_args(annotation):
            yield from _models(each)
