"""A key that is set alone leaves the documented defaults of its neighbours as they are."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from pydantic import BaseModel

from real.config import RealConfig
from sim.config import SimConfig
from twinclock.config import Config, load_config
from twinclock.fleet import FleetConfig
from twinclock.section import _models, parse_section

MINIMAL = {"trigger": {"kind": "amount", "n": 500}}
NO_DEFAULT_KIND = (Config, "data")
"""Of the data a part says nothing: which data set it is about has to be said."""


def defaults(model: type[BaseModel], seen: set[type[BaseModel]]) -> Iterator[tuple[type[BaseModel], str, BaseModel]]:
    """Every default that is a section, of this section and of all below it: owner, key, value."""
    if model in seen:
        return
    seen.add(model)
    for name, field in model.model_fields.items():
        default = field.get_default(call_default_factory=True)
        if isinstance(default, BaseModel) and (model, name) != NO_DEFAULT_KIND:
            yield model, name, default
        for inner in _models(field.annotation):
            yield from defaults(inner, seen)


FOUND = [each for root in (Config, SimConfig, RealConfig, FleetConfig) for each in defaults(root, set())]


@pytest.mark.parametrize(
    ("owner", "name", "default"), FOUND, ids=[f"{owner.__name__}.{name}" for owner, name, _ in FOUND]
)
def test_each_key_alone_keeps_the_rest_of_its_section(owner, name, default):
    values = default.model_dump(mode="json", by_alias=True, exclude_none=True)
    for key, value in values.items():
        assert type(default).model_validate({key: value}) == default, f"{name}.{key}"


def test_there_are_many_such_sections():
    assert len(FOUND) > 15


@pytest.mark.parametrize("owner", ["training", "evaluation", "observation"])
def test_another_backoff_does_not_change_how_often_is_tried(owner):
    plain = load_config(MINIMAL)
    changed = load_config(MINIMAL, overrides=[f"{owner}.retry.backoff=7"])
    assert getattr(changed, owner).retry.attempts == getattr(plain, owner).retry.attempts
    assert getattr(changed, owner).retry.backoff == 7.0


@pytest.mark.parametrize(
    "key",
    [
        "read.setup_s",
        "read.samples_per_s",
        "training.setup_s",
        "training.samples_per_s",
        "training.step_s",
        "evaluation.setup_s",
        "evaluation.samples_per_s",
        "drift.setup_s",
        "drift.samples_per_s",
    ],
)
def test_one_cost_alone_leaves_the_others(key):
    config = load_config(MINIMAL, overrides=[f"sim.costs.{key}=77"])
    costs = parse_section(SimConfig, config.sim, "here").costs
    section, _, name = key.partition(".")
    assert getattr(getattr(costs, section), name) == 77
    plain = SimConfig().costs
    assert costs.model_copy(update={section: getattr(plain, section)}) == plain
    assert getattr(costs, section).model_copy(update={name: getattr(getattr(plain, section), name)}) == getattr(
        plain, section
    )
