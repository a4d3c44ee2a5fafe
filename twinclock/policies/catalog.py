"""The catalog of all policies, read off their configurations: what each is called, does, takes, and where it is from.

A policy is one member of a union by `kind`, or one choice of a key (drift metrics, overlap, metrics). Its class says
everything:

* the first line of the docstring is the policy in one line, the rest its semantics, exactly;
* `source` is the paper, empty for common practice;
* the string below a field is its meaning. One that says nothing of its own has that of its type's alias.
* A number says its unit in square brackets at the very end: `[samples]`, `[share]`, `[s of data time]`, `[clock s]`.
  Seconds always say which of the two clocks they are on; what is counted is a plural. A number without a unit is a
  mistake.

Docstrings of fields are read from the source, and only when a catalog is asked for, so nothing is slower to import.
"""

from __future__ import annotations

import ast
import inspect
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cache
from itertools import pairwise
from types import ModuleType
from typing import Any, Literal, TypeAlias, get_args

from twinclock.drift.texts import DETECTOR_TEXTS, DISTANCE_TEXTS, Text
from twinclock.policies._examples import EXAMPLES
from twinclock.policies._types_in_words import default_text, kind_of, sections_in, type_in_words
from twinclock.policies.batching import BatchingConfig
from twinclock.policies.downsampling import DownsamplingConfig
from twinclock.policies.evaluation import EvaluationPlan
from twinclock.policies.metrics import METRIC_NAMES, METRIC_TEXTS, find_metric
from twinclock.policies.overlap import ON_TRIGGER, OverlapConfig
from twinclock.policies.placement import PLACEMENTS
from twinclock.policies.queueing import DISCIPLINES
from twinclock.policies.selection import PresampleConfig, SelectionConfig
from twinclock.policies.triggers import TriggerConfig
from twinclock.policies.triggers.drift import DetectorMetric, DistanceMetric, DriftMetric
from twinclock.policies.triggers.performance import PerformanceRule
from twinclock.policies.triggers.rules import Rule
from twinclock.policies.triggers.windows import WindowsConfig
from twinclock.section import Section

Group: TypeAlias = Literal[
    "trigger",
    "threshold rule",
    "drift metric",
    "windows",
    "batching",
    "selection",
    "presampling",
    "downsampling",
    "evaluation plan",
    "metric",
    "overlap",
    "queueing",
    "placement",
]
GROUPS: tuple[Group, ...] = get_args(Group)
COMMON_PRACTICE = "common practice"

_DRIFT = "trigger: {{{{kind: drift, interval: 1000, metrics: {{{{NAME: {}}}}}, windows: {}}}}}"
_DETECTOR = "trigger: {{kind: drift, interval: 1000, metrics: {{NAME: {}}}}}"
_WINDOWS = "{{kind: amount, ref: 2000, cur: 1000}}"

_UNIONS: Mapping[Group, tuple[tuple[Any, str], ...]] = {
    "trigger": ((TriggerConfig, "trigger: {}"),),
    "threshold rule": (
        (PerformanceRule, "trigger: {{kind: performance, interval: 1000, rules: [{}]}}"),
        (Rule, _DRIFT.format("{{kind: ks, rule: {}}}", _WINDOWS)),
    ),
    "drift metric": ((DriftMetric, _DRIFT.format("{}", _WINDOWS)),),
    "windows": ((WindowsConfig, _DRIFT.format("{{kind: ks, rule: {{kind: static, threshold: 0.12}}}}", "{}")),),
    "batching": ((BatchingConfig, "batching: {}"),),
    "selection": ((SelectionConfig, "selection: {}"),),
    "presampling": ((PresampleConfig, "selection: {{presample: {}}}"),),
    "downsampling": ((DownsamplingConfig, "training: {{downsample: {}}}"),),
    "evaluation plan": ((EvaluationPlan, "evaluation: {{plans: [{}]}}"),),
}
"""Group → the unions by `kind` that its policies are in, each with where that stands in a configuration."""
_LIVE_ONLY = {("batching", "time"): "{{mode: live, batching: {}}}"}
"""Policies that stand nowhere but in a live configuration."""

_UNIT = re.compile(r"\s*\[([^\[\]]+)\]$")


@dataclass(frozen=True, slots=True, kw_only=True)
class Parameter:
    """A key of a policy."""

    name: str
    """As the user writes it; of a section inside, `cooldown.samples`."""
    type: str
    """In words."""
    unit: str | None
    """Of a number; None: it is not one."""
    default: str
    """In YAML, or `required`."""
    meaning: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """An entry of the catalog."""

    name: str
    """Its `kind`, or the choice of the key."""
    group: Group
    places: tuple[str, ...]
    """Where it stands in a configuration, as YAML on one line each: whole lines, without what has a default."""
    summary: str
    parameters: tuple[Parameter, ...]
    semantics: tuple[str, ...]
    """What it does, exactly: paragraphs, possibly none."""
    source: str
    """The paper, or that it is common practice."""


class NoKeys(Section):
    """What a choice takes that takes nothing."""


@cache
def catalog() -> tuple[Policy, ...]:
    """Every policy, group by group, as the unions list them."""
    return tuple(policy for group in GROUPS for policy in _policies(group))


def _policies(group: Group) -> Iterator[Policy]:
    if group == "overlap":
        texts = {name: Text(doc, OverlapConfig.source) for name, doc in ON_TRIGGER.items()}
        yield from _choices(group, OverlapConfig, "on_trigger", texts, "{{variant: overlapped, overlap: {}}}")
    elif group == "queueing":
        yield from _choices(
            group, NoKeys, "discipline", {name: Text(doc, "") for name, doc in DISCIPLINES.items()}, "cluster: {}"
        )
    elif group == "placement":
        yield from _choices(
            group, NoKeys, "placement", {name: Text(doc, "") for name, doc in PLACEMENTS.items()}, "cluster: {}"
        )
    elif group == "metric":
        yield from map(_metric, METRIC_NAMES)
    elif group == "drift metric":
        ((_, place),) = _UNIONS[group]
        yield from _choices(group, DistanceMetric, "kind", DISTANCE_TEXTS, place)
        yield from _choices(group, DetectorMetric, "kind", DETECTOR_TEXTS, _DETECTOR)
    else:
        places: dict[type[Section], list[str]] = {}
        for union, place in _UNIONS[group]:
            for config in sections_in(union):
                places.setdefault(config, []).append(place)
        for config, its in places.items():
            about, source = inspect.getdoc(config) or "", getattr(config, "source", "")
            name = kind_of(config)
            its = [_LIVE_ONLY.get((group, name), place) for place in its]
            yield _policy(group, name, config, "kind", Text(about, source), tuple(its))


def _choices(group: Group, config: type[Section], key: str, texts: Mapping[Any, Text], place: str) -> Iterator[Policy]:
    """The policies that are choices of one key, whose other keys they share."""
    for name, text in texts.items():
        yield _policy(group, name, config, key, text, (place,))


def _metric(name: str) -> Policy:
    metric = find_metric(name.replace("<n>", "1"))
    assert metric is not None
    text = METRIC_TEXTS[name] + f"\n\nOf {metric.task} models. {metric.worst:g} at worst, {metric.best:g} at best."
    policy = _policy("metric", name, NoKeys, "metric", Text(text, ""), ())
    written = name.replace("<n>", "3")
    rule = f"{{kind: performance, interval: 1000, rules: [{{kind: static, metric: {written}, threshold: 0.5}}]}}"
    evaluated = f"{{metrics: [{written}], plans: [{{kind: slicing, every: 180d}}]}}"
    if metric.task == "classification":
        return replace(policy, places=(f"evaluation: {evaluated}", f"trigger: {rule}"))
    begin = f"{{training: {{task: {metric.task}}}, evaluation: {evaluated}"
    return replace(policy, places=(f"{begin}}}", f"{begin}, trigger: {rule}}}"))


def _policy(group: Group, name: str, config: type[Section], key: str, text: Text, places: tuple[str, ...]) -> Policy:
    summary, *semantics = (_in_yaml(_one_line(each)) for each in inspect.cleandoc(text.about).split("\n\n"))
    parameters = tuple(each for each in _parameters(config) if each.name != key)
    required = EXAMPLES.get((group, name))
    written = f"{{{key}: {name}}}" if required is None else f"{{{key}: {name}, {required}}}"
    return Policy(
        name=name,
        group=group,
        places=tuple(place.format(written) for place in places),
        summary=summary,
        parameters=parameters,
        semantics=tuple(semantics),
        source=text.source or COMMON_PRACTICE,
    )


def _parameters(config: type[Section], prefix: str = "") -> Iterator[Parameter]:
    """The keys of a section, and of the sections inside that are no policies of their own."""
    docs = _field_docs(config)
    for field_name, field in config.model_fields.items():
        name = f"{prefix}{field.alias or field_name}"
        said = docs.get(field_name, "")
        unit = _UNIT.search(said)
        inside = [each for each in sections_in(field.annotation) if each not in _group_of()]
        yield Parameter(
            name=name,
            type=type_in_words(field.annotation, field.metadata, _group_of()),
            unit=unit[1] if unit else None,
            default=default_text(field),
            meaning=_in_yaml(_UNIT.sub("", said)),
        )
        for each in inside:
            yield from (one for one in _parameters(each, f"{name}.") if not one.name.endswith(".kind"))


@cache
def _group_of() -> Mapping[type[Section], Group]:
    """Each class of a union → its group."""
    return {config: group for group, unions in _UNIONS.items() for union, _ in unions for config in sections_in(union)}


def _field_docs(config: type[Section]) -> Mapping[str, str]:
    """Field → the string below it, or below the alias that its type is, in one line."""
    module = inspect.getmodule(config)
    assert module is not None
    tree = _tree(module)
    aliases = dict(_strings_below(tree.body))
    (declared,) = (each for each in tree.body if isinstance(each, ast.ClassDef) and each.name == config.__name__)
    below = dict(_strings_below(declared.body))
    for statement in declared.body:
        if isinstance(statement, ast.AnnAssign) and isinstance(statement.target, ast.Name):
            annotation = ast.unparse(statement.annotation)
            below.setdefault(statement.target.id, aliases.get(annotation, ""))
    return below


@cache
def _tree(module: ModuleType) -> ast.Module:
    return ast.parse(inspect.getsource(module))


def _strings_below(body: list[ast.stmt]) -> Iterator[tuple[str, str]]:
    """Names that are declared with a type, each with the string that follows."""
    for statement, below in pairwise(body):
        if (
            isinstance(statement, ast.AnnAssign)
            and isinstance(statement.target, ast.Name)
            and isinstance(below, ast.Expr)
            and isinstance(below.value, ast.Constant)
            and isinstance(below.value.value, str)
        ):
            yield statement.target.id, _one_line(below.value.value)


def _in_yaml(text: str) -> str:
    """None is what Python calls it."""
    return re.sub(r"\bNone\b", "null", text)


def _one_line(text: str) -> str:
    return " ".join(text.split())
