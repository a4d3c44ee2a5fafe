"""The type of a configuration's key in words, and its default in YAML, for the catalog of policies."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, TypeAlias, Union, get_args, get_origin

from annotated_types import Ge, Gt, Le, Lt
from pydantic.fields import FieldInfo

from twinclock.durations import Duration, Offset
from twinclock.policies.evaluation.plans import DataTimes
from twinclock.policies.triggers.schedule import IntervalLength
from twinclock.policies.triggers.votes import Quorum
from twinclock.section import Section
from twinclock.yaml_text import write_yaml

Groups: TypeAlias = Mapping[type[Section], str]
"""A policy's class → the group of policies that it belongs to."""


def _validator(annotation: Any) -> Any:
    return get_args(annotation)[1]


_NAMED = {
    _validator(Duration): "duration",  # a `Delay` is read by the same function
    _validator(Offset): "duration with a sign, or -inf, inf",
    _validator(IntervalLength): "whole number > 0, or duration",
    _validator(Quorum): "any, all, majority, or {kind: at_least, k: NUMBER}",
    _validator(DataTimes): "[start, end]",
}
"""What reads a value that is written in a way of its own → that way."""
_PLAIN = {int: "whole number", float: "number", str: "text", bool: "true or false", Any: "any value"}
_SIGNS = {Gt: (">", "gt"), Ge: (">=", "ge"), Lt: ("<", "lt"), Le: ("<=", "le")}


def type_in_words(annotation: Any, metadata: Sequence[Any], groups: Groups) -> str:
    """A type, with what pydantic knows of it besides, as a user would say it: `whole number > 0, or null`."""
    known = next((_NAMED[each] for each in metadata if each in _NAMED), None)
    text = _in_words(annotation, groups) if known is None else known
    bounds = [
        f"{sign} {getattr(each, attribute):g}"
        for each in metadata
        for kind, (sign, attribute) in _SIGNS.items()
        if isinstance(each, kind)
    ]
    if not bounds:
        return text
    first, null, _ = text.partition(", or null")
    return f"{first} {' and '.join(bounds)}{null}"


def default_text(field: FieldInfo) -> str:
    """A default in YAML, on one line; `required` where there is none."""
    if field.is_required():
        return "required"
    value = field.get_default(call_default_factory=True)
    if value is None:
        return "null"
    if isinstance(value, bool):
        return str(value).lower()
    return str(value) if isinstance(value, int | float | str) else write_yaml(value).strip()


def sections_in(annotation: Any) -> list[type[Section]]:
    """The sections somewhere in a type, in order."""
    return list(dict.fromkeys(_sections_in(annotation)))


def kind_of(config: type[Section]) -> str:
    """The name that a section has in a union; ValueError if it has none."""
    kinds = get_args(config.model_fields["kind"].annotation) if "kind" in config.model_fields else ()
    if len(kinds) != 1:
        raise ValueError(f"{config.__name__} has no kind of its own")
    return str(kinds[0])


def _in_words(annotation: Any, groups: Groups) -> str:
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        metadata = [one for each in arguments[1:] for one in (each.metadata if isinstance(each, FieldInfo) else [each])]
        return type_in_words(arguments[0], metadata, groups)
    if origin in (Union, UnionType):
        options = [each for each in arguments if each is not NoneType]
        null = ", or null" if NoneType in arguments else ""
        if all(map(_is_section, options)):
            return _sections_in_words(options, groups) + null
        return " or ".join(_in_words(each, groups) for each in options) + null
    if origin is Literal:
        return _alternatives([str(each) for each in arguments])
    if origin is tuple:
        return f"list of {_in_words(arguments[0], groups)}"
    if origin is dict:
        return f"mapping of names to {_in_words(arguments[1], groups)}"
    return _sections_in_words([annotation], groups) if _is_section(annotation) else _PLAIN[annotation]


def _sections_in_words(sections: Sequence[type[Section]], groups: Groups) -> str:
    """The group that they are, or which of it."""
    group = groups.get(sections[0])
    if group is None:
        return "mapping"
    num_members = sum(1 for its in groups.values() if its == group)
    return group if len(sections) == num_members else f"{group}: {_alternatives([kind_of(each) for each in sections])}"


def _sections_in(annotation: Any) -> Iterator[type[Section]]:
    if _is_section(annotation):
        yield annotation
    for each in get_args(annotation):
        yield from _sections_in(each)


def _is_section(annotation: Any) -> bool:
    return isinstance(annotation, type) and issubclass(annotation, Section)


def _alternatives(names: list[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} or {names[-1]}"
