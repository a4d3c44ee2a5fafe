"""Hostile values for every key of every kind of quality: one clear line at the check, or a run that ends well."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from typing import Any, get_args

import numpy as np
import polars as pl
import pytest

import twinclock as tc
from sim.quality import QualityConfig
from sim.quality.formula import DriftConfig
from sim.quality.learning import LearningConfig
from twinclock.config import load_config
from twinclock.errors import ConfigError
from twinclock.launch import plan_run

CASES: dict[str, dict[str, Any]] = {
    "decay": {"kind": "decay", "peak": 0.9, "floor": 0.1, "half_samples": 10.0, "half_life_s": 100.0},
    "saturating": {
        "kind": "formula",
        "floor": 0.2,
        "learning": {"kind": "saturating", "peak": 0.9, "half_samples": 20.0},
        "warm_start": {"carry_over": 0.5, "forgetting": 0.2},
    },
    "inverse": {"kind": "formula", "learning": {"kind": "inverse", "b0": 0.01, "b1": 1.0, "b2": 0.1}},
    "fitted": {"kind": "formula", "learning": {"kind": "fitted", "points": [[0, 0.2], [50, 0.5], [500, 0.8]]}},
    "gradual": {"kind": "formula", "drift": [{"kind": "gradual", "half_life": "1m"}]},
    "listed": {"kind": "formula", "drift": [{"kind": "abrupt", "at": [50, 120.5], "lost": 0.3}]},
    "drawn": {"kind": "formula", "drift": [{"kind": "abrupt", "every": 40, "lost": 0.3}]},
    "recurring": {"kind": "formula", "drift": [{"kind": "recurring", "period": 60, "depth": 0.4}]},
    "explosive": {"kind": "formula", "drift": [{"kind": "explosive", "onset": 30, "over": 10, "remains": 0.1}]},
    "measured": {"kind": "measured", "run": "no/such/run"},
    "matrix": {"kind": "matrix", "run": "no/such/run"},
    "proxy": {"kind": "proxy", "learner": "descent", "max_samples": 40},
}
HOSTILE = [
    -1,
    0,
    1e-300,
    1e300,
    1.5,
    10**30,
    10**400,
    float("nan"),
    float("inf"),
    True,
    None,
    "garbage",
    "-5d",
    "0d",
    [],
    {},
    [[]],
]


@pytest.fixture(scope="module")
def base(tmp_path_factory) -> dict[str, Any]:
    rng = np.random.default_rng(0)
    path = tmp_path_factory.mktemp("data") / "samples.parquet"
    columns = {"time": np.arange(200.0), "a": rng.normal(size=200), "label": rng.choice(["x", "y"], 200)}
    pl.DataFrame(columns).write_parquet(path)
    return {
        "name": "hostile",
        "data": {"path": str(path), "kind": "table", "time": "time", "label": "label", "features": {"numeric": ["a"]}},
        "batching": {"n": 50},
        "trigger": {"kind": "amount", "n": 50},
        "training": {"start_from": "active"},
        "evaluation": {"plans": [{"kind": "between_triggers", "models": "all"}]},
    }


def keys(section: Any, at: tuple[str | int, ...] = ()) -> Iterator[tuple[str | int, ...]]:
    inside = section.items() if isinstance(section, dict) else enumerate(section) if isinstance(section, list) else ()
    for key, value in inside:
        yield (*at, key)
        yield from keys(value, (*at, key))


def changed(section: dict[str, Any], key: tuple[str | int, ...], value: Any) -> dict[str, Any]:
    section = copy.deepcopy(section)
    inside: Any = section
    for each in key[:-1]:
        inside = inside[each]
    inside[key[-1]] = value
    return section


def kinds(union: Any) -> set[str]:
    return {each.model_fields["kind"].default for each in get_args(get_args(union)[0])}


def test_every_kind_is_looked_at():
    assert {case["kind"] for case in CASES.values()} == kinds(QualityConfig)
    formulas = [case for case in CASES.values() if case["kind"] == "formula"]
    assert {case["learning"]["kind"] for case in formulas if "learning" in case} == kinds(LearningConfig)
    assert {case["drift"][0]["kind"] for case in formulas if "drift" in case} == kinds(DriftConfig)


@pytest.mark.parametrize("name", [name for name in CASES if name not in ("measured", "matrix")])
def test_as_it_stands_each_case_is_right(base, name):
    assert tc.run({**base, "sim": {"quality": CASES[name]}}, on="sim").outcome == "done"


@pytest.mark.parametrize(("name", "key"), [(name, key) for name, case in CASES.items() for key in keys(case)])
def test_a_hostile_value_is_one_line_or_does_no_harm(base, name, key):
    for value in HOSTILE:
        section = changed(CASES[name], key, value)
        try:
            plan_run(load_config({**base, "sim": {"quality": section}}), "sim")
        except ConfigError as error:
            told = str(error)
            assert len(told.splitlines()) == 1
            assert "sim.quality" in told
            assert str(key[0]) in told or "sim.quality.run" in told, f"{told} does not name the key {key}"
            assert len(told) < 600
        else:
            run = tc.run({**base, "sim": {"quality": section}}, on="sim")
            assert (run.outcome, run.faults.height) == ("done", 0)
            assert run.evaluations["value"].drop_nulls().is_between(0, 1).all()


@pytest.mark.parametrize(
    ("section", "message"),
    [
        ({"kind": "linear"}, 'sim.quality.kind: got "linear", expected one of decay, formula, measured, matrix, proxy'),
        ({"half_life": 5.0}, "sim.quality.half_life: unknown key (got 5.0); did you mean half_life_s"),
        (
            {"kind": "formula", "floor": 0.95},
            "sim.quality.learning.peak: got 0.9, expected at least floor, which is 0.95",
        ),
        (
            {"kind": "formula", "learning": {"kind": "inverse", "b0": -0.1, "b1": 1.0}},
            "sim.quality.learning.b0: got -0.1, expected a number >= 0",
        ),
        (
            {"kind": "formula", "learning": {"kind": "fitted", "points": [[1, 0.5], [2, 0.6], [2, 0.7]]}},
            "expected points at three or more different numbers of samples",
        ),
        (
            {"kind": "formula", "learning": {"kind": "fitted", "points": [[1, 0.5], [2, 60], [3, 0.7]]}},
            "sim.quality.learning.points.1: got [2, 60], expected [samples gone through, accuracy], such as",
        ),
        ({"kind": "formula", "drift": [{}]}, "sim.quality.drift.0.kind: missing; expected one of gradual, abrupt"),
        (
            {"kind": "formula", "drift": [{"kind": "abrupt"}]},
            "sim.quality.drift.0: got neither at nor every, expected change points that are listed (at) or",
        ),
        (
            {"kind": "formula", "drift": [{"kind": "abrupt", "at": [3], "every": "1d"}]},
            "sim.quality.drift.0: got both at and every",
        ),
        ({"kind": "formula", "drift": [{"kind": "recurring"}]}, "sim.quality.drift.0.period: missing"),
        (
            {"kind": "formula", "drift": [{"kind": "gradual", "half_life": "0d"}]},
            'sim.quality.drift.0.half_life: got "0d", expected a number > 0',
        ),
        (
            {"kind": "formula", "drift": [{"kind": "recurring", "period": 1e-300}]},
            "sim.quality.drift.0.period: got 1e-300, expected a number >= 0.001",
        ),
        (
            {"kind": "formula", "learning": {"kind": "fitted", "points": [[0.5, 0.5], [2, 0.6], [3, 0.7]]}},
            "sim.quality.learning.points.0: got [0.5, 0.5], expected [samples gone through, accuracy]",
        ),
        ({"kind": "matrix"}, "sim.quality.run: missing"),
        (
            {"kind": "proxy", "learner": "forest"},
            'sim.quality.learner: got "forest", expected one of descent, logistic',
        ),
    ],
)
def test_what_is_wrong_is_said_in_one_line(base, section, message):
    with pytest.raises(ConfigError) as told:
        plan_run(load_config({**base, "sim": {"quality": section}}), "sim")
    assert message in str(told.value)
    assert len(str(told.value).splitlines()) == 1
