"""Is everything that a configuration can say drawn somewhere? Read off the models, so a new key can't be forgotten."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from types import UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel

from dst.draw import Case
from sim.config import SimConfig
from twinclock.config import Config, load_config
from twinclock.fleet.config import FleetConfig
from twinclock.section import parse_section

_NEEDS_A_RUN = "needs the folder of an earlier run; tests/sim has tests of it"
_NEEDS_A_CLASS = "needs a class of the user's own; tests/policies and tests/real have tests of it"
_FOR_REAL = "for the real executor only"

NOT_DRAWN: Mapping[str, str] = {
    "Config.real": _FOR_REAL,
    "Config.data:FolderConfig": _FOR_REAL,
    "TrainingConfig.trainer": _NEEDS_A_CLASS,
    "TrainingConfig.loss": _NEEDS_A_CLASS,
    "TrainingConfig.task=regression": "the simulator can't score it",
    "TrainingConfig.model:ImportedModelConfig": _NEEDS_A_CLASS,
    "FeatureColumns.arrays": "only the real executor looks into them; tests/real has tests of it",
    "EvaluationConfig.evaluator": _NEEDS_A_CLASS,
    "GateConfig.better": _NEEDS_A_CLASS,
    "GateConfig.better=higher": _NEEDS_A_CLASS,
    "GateConfig.better=lower": _NEEDS_A_CLASS,
    "trigger:OracleTriggerConfig": _NEEDS_A_RUN,
    "trigger:CustomTriggerConfig": _NEEDS_A_CLASS,
    "DriftTriggerConfig.of=embeddings": "only trained models have embeddings",
    "CaraTriggerConfig.metric=log_loss": "the simulator has accuracies only",
    "Costs.training:FittedCost": _NEEDS_A_RUN,
    "SimConfig.calibration": "needs the file of a calibration; tests/test_calibration_file.py has tests of it",
    "SimConfig.quality:MeasuredQuality": _NEEDS_A_RUN,
    "SimConfig.quality:MatrixQuality": _NEEDS_A_RUN,
}
"""What no case says, and why. `Section.key`, `Section.key=value` of a choice, `Section.key:Kind` of a union."""

_TRIGGERS = ("Config.trigger", "BudgetTriggerConfig.of", "EnsembleTriggerConfig.of")
"""Keys that hold a trigger of any kind: as one of them draws a kind, it is drawn."""
_TRIGGER = "trigger"


def can_be_said() -> set[str]:
    """Everything that a configuration of a pipeline or a fleet can say, for the simulator."""
    found: set[str] = set()
    todo: list[type[BaseModel]] = [Config, SimConfig, FleetConfig]
    known: set[type[BaseModel]] = set()
    while todo:
        section = todo.pop()
        if section in known:
            continue
        known.add(section)
        for key, field in section.model_fields.items():
            place = f"{section.__name__}.{key}"
            leaves, sections = _choices(field.annotation), list(_sections(field.annotation))
            found |= {place} | {f"{place}={leaf}" for leaf in leaves}
            if len(sections) > 1:
                found |= {_of_kind(place, each.__name__) for each in sections}
            todo += [each for each in sections if _of_kind(place, each.__name__) not in NOT_DRAWN]
    return found


def said(cases: Iterable[Case]) -> set[str]:
    """What these cases say."""
    found: set[str] = set()
    for case in cases:
        if case.is_fleet:
            fleet = parse_section(FleetConfig, case.config, "case")
            found |= set(_said(fleet))
            configs: list[Any] = [
                {**member.config, "cluster": case.config["cluster"]} for member in fleet.fleet.values()
            ]
        else:
            configs = [case.config]
        for each in configs:
            config = load_config(each)
            found |= set(_said(config))
            found |= set(_said(parse_section(SimConfig, config.sim, "case")))
    return found


def _said(section: BaseModel) -> Iterator[str]:
    for key in section.model_fields_set:
        place, value = f"{type(section).__name__}.{key}", getattr(section, key)
        yield place
        for each in _flat(value):
            if isinstance(each, BaseModel):
                yield _of_kind(place, type(each).__name__)
                yield from _said(each)
            elif not isinstance(each, float):
                yield f"{place}={each}"


def _flat(value: Any) -> Iterator[Any]:
    if isinstance(value, tuple | list):
        for each in value:
            yield from _flat(each)
    elif isinstance(value, dict):
        yield from value.values()
    else:
        yield value


def _of_kind(place: str, kind: str) -> str:
    return f"{_TRIGGER if place in _TRIGGERS else place}:{kind}"


def _parts(annotation: Any) -> Iterator[Any]:
    """The types that a type is made of, through unions, lists, mappings and annotations."""
    if get_origin(annotation) in (Union, UnionType, Annotated, tuple, list, dict):
        for each in get_args(annotation):
            yield from _parts(each)
    else:
        yield annotation


def _sections(annotation: Any) -> Iterator[type[BaseModel]]:
    for part in _parts(annotation):
        if isinstance(part, type) and issubclass(part, BaseModel):
            yield part


def _choices(annotation: Any) -> set[Any]:
    """Values of a key that is a choice: words, yes and no, and nothing at all."""
    found: set[Any] = set()
    for part in _parts(annotation):
        if get_origin(part) is Literal:
            found |= set(get_args(part))
        elif part is bool:
            found |= {True, False}
    return found
