"""Whole simulated runs with each kind of quality: what policies get to see of it, and what runs say of it."""

from __future__ import annotations

from typing import Any, NamedTuple
from unittest.mock import patch

import numpy as np
import polars as pl
import pytest

import twinclock as tc
from sim import operations
from twinclock.config import load_config
from twinclock.errors import ConfigError
from twinclock.launch import plan_run

CHANGE = 400
"""From this position on two worlds differ, which are the same before."""
KINDS = ("decay", "formula", "proxy", "descent", "matrix", "measured")
FORMULA = {
    "kind": "formula",
    "floor": 0.3,
    "learning": {"kind": "inverse", "b0": 0.05, "b1": 1.5, "b2": 0.05},
    "drift": [
        {"kind": "gradual", "half_life": 900},
        {"kind": "abrupt", "every": 200},
        {"kind": "recurring", "period": 300, "depth": 0.3},
        {"kind": "explosive", "onset": 400, "over": 50},
    ],
}
WATCHING = {"kind": "performance", "interval": 50, "rules": [{"kind": "static", "threshold": 0.7}]}
BASE = {
    "name": "watching",
    "batching": {"n": 60},
    "trigger": WATCHING,
    "evaluation": {"plans": [{"kind": "between_triggers", "models": "all"}]},
}


class World(NamedTuple):
    """A data set, and runs to take scores from."""

    data: dict[str, Any]
    matrix: str
    measured: str


def quality(kind: str, world: World) -> dict[str, Any]:
    return {
        "decay": {"half_samples": 20.0, "half_life_s": 200.0},
        "formula": FORMULA,
        "proxy": {"kind": "proxy", "learner": "logistic"},
        "descent": {"kind": "proxy"},
        "matrix": {"kind": "matrix", "run": world.matrix},
        "measured": {"kind": "measured", "run": world.measured},
    }[kind]


def samples(num_samples: int, changes: bool) -> pl.DataFrame:
    rng, at = np.random.default_rng(0), np.arange(800)
    a, b = rng.normal(size=(2, 800))
    label, color = np.where(a + b * np.sin(at / 80) > 0, "x", "y"), rng.choice(["u", "v"], 800)
    times = at.astype(float)
    if changes:
        after = at >= CHANGE
        a, b, times = np.where(after, [50.0 - a, 0.0 * b, CHANGE + (times - CHANGE) * 7], [a, b, times])
        label, color = np.where(after & (rng.random(800) < 0.6), "new", [label, color])
    return pl.DataFrame({"time": times, "a": a, "b": b, "c": color, "label": label}).head(num_samples)


def world(folder, num_samples: int = 800, changes: bool = False, label_delay: float = 0.0) -> World:
    samples(num_samples, changes).write_parquet(folder / "samples.parquet")
    data = {
        "kind": "table",
        "path": str(folder / "samples.parquet"),
        "time": "time",
        "label": "label",
        "features": {"numeric": ["a", "b"], "categorical": ["c"]},
        "label_delay": label_delay,
    }
    proxy = {"sim": {"quality": {"kind": "proxy"}}}
    tc.run({**BASE, "data": data, "trigger": {"kind": "amount", "n": 50}, **proxy}, on="sim", out=folder / "matrix")
    tc.run({**BASE, "data": data, **proxy}, on="sim", out=folder / "measured")
    return World(data, str(folder / "matrix"), str(folder / "measured"))


@pytest.fixture(scope="module")
def here(tmp_path_factory) -> World:
    return world(tmp_path_factory.mktemp("here"))


@pytest.fixture(scope="module")
def elsewhere(tmp_path_factory) -> World:
    return world(tmp_path_factory.mktemp("elsewhere"), num_samples=700, changes=True)


@pytest.fixture(scope="module")
def late(tmp_path_factory) -> World:
    return world(tmp_path_factory.mktemp("late"), label_delay=70.0)


def ran(kind: str, where: World, **more: Any):
    return tc.run({**BASE, "data": where.data, "sim": {"quality": quality(kind, where)}, **more}, on="sim")


@pytest.mark.parametrize("kind", KINDS)
def test_a_run_with_it_ends_well_and_is_the_same_twice(here, kind):
    run, again = ran(kind, here), ran(kind, here)
    assert (run.outcome, run.faults.height) == ("done", 0)
    assert run.models.height > 1
    assert run.evaluations["value"].is_between(0, 1).all()
    assert run.observations["value"].n_unique() > 3, "scores that move"
    assert all(run.tables[name].equals(again.tables[name]) for name in run.tables)


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "measured"])
@pytest.mark.parametrize("variant", ["sequential", "overlapped"])
@pytest.mark.parametrize("start_from", ["scratch", "active"])
def test_it_serves_every_variant_warm_or_not(here, kind, variant, start_from):
    if start_from == "active" and kind in ("proxy", "matrix"):
        return  # said at the check, see below
    drift = {"kind": "drift", "interval": 50, "metrics": {"changed": {"kind": "adwin"}}}
    trigger = {"kind": "ensemble", "rule": "any", "of": {"watching": WATCHING, "drifting": drift}}
    run = ran(kind, here, variant=variant, training={"start_from": start_from}, trigger=trigger, mode="live")
    assert (run.outcome, run.faults.height) == ("done", 0)
    assert run.models["parent"].is_null().all() == (start_from == "scratch")


# What a policy gets to see


@pytest.mark.parametrize("kind", KINDS)
def test_what_a_policy_sees_does_not_depend_on_what_comes_later(here, elsewhere, kind):
    """Other features, labels, times and lengths of the future leave every observation and decision before it alone."""

    def seen(where: World):
        run = ran(kind, where)
        observed = run.observations.filter(pl.col("stop") <= CHANGE)
        decided = run.decisions.filter(pl.col("stop") <= CHANGE).drop("decided_s", "batch")
        return observed.select("first", "stop", "model", "name", "value").rows(), decided.rows()

    (observed, decided), (as_well, likewise) = seen(here), seen(elsewhere)
    assert len(observed) == CHANGE // 50 - 1, "for the first interval there is no model"
    assert observed == as_well
    assert decided == likewise
    assert ran(kind, here).observations.filter(pl.col("first") >= CHANGE).height > 0


@pytest.mark.parametrize("kind", KINDS)
def test_a_policy_is_told_nothing_of_samples_whose_labels_are_not_known_yet(late, kind):
    requests = []
    make = operations.bodies

    def made(*given):
        bodies = make(*given)

        def observe(start, executor):
            requests.append((start.inputs["request"]["stop"], start.labels["batch"]["stop"]))
            return bodies["OBSERVE"](start, executor)

        return {**bodies, "OBSERVE": observe}

    with patch.object(operations, "bodies", made):
        assert ran(kind, late).outcome == "done"
    assert len(requests) > 5
    # samples come a second apart: what is asked about lies at least the delay before the newest one taken in
    assert all(asked_stop - 1 + 70 <= taken_stop - 1 for asked_stop, taken_stop in requests)


class Spy:
    """Notes in which stage somebody asks how good a model is."""

    def __init__(self, inner: Any, stage: list[str]) -> None:
        self._inner, self._stage = inner, stage
        self.asked_in: set[str] = set()

    def __getattr__(self, name: str) -> Any:
        if name in ("score", "errors", "observed"):
            self.asked_in.add(self._stage[0])
        return getattr(self._inner, name)


@pytest.mark.parametrize("kind", KINDS)
def test_nobody_asks_but_the_stages_that_score(here, kind):
    stage, spies = [""], []
    make, make_quality = operations.bodies, operations.make_quality

    def made(*given):
        def noted(operation, body):
            def do(start, executor):
                stage[0] = operation
                return body(start, executor)

            return do

        return {operation: noted(operation, body) for operation, body in make(*given).items()}

    def spied(*given):
        spies.append(Spy(make_quality(*given), stage))
        return spies[-1]

    with patch.object(operations, "bodies", made), patch.object(operations, "make_quality", spied):
        run = ran(kind, here)
    (spy,) = spies
    assert spy.asked_in == {"OBSERVE", "WAIT_FOR_EVALUATION_COMPLETION"}
    told = set(run.observations["value"]) | {None}
    assert set(run.decisions["observation"]) <= told, "a decision rests on what was observed"


# What a run says of it


@pytest.mark.parametrize(
    ("section", "is_default"),
    [
        ({}, True),
        ({"kind": "decay", "peak": 0.8}, False),
        ({"kind": "formula"}, True),
        ({"kind": "formula", "drift": [{"kind": "gradual"}]}, False),
        ({"kind": "proxy"}, False),
    ],
)
def test_default_figures_are_said_to_be_uncalibrated(here, section, is_default):
    run = tc.run({**BASE, "data": here.data, "sim": {"quality": section}}, on="sim")
    assert ("quality" in run.summary["uncalibrated"]) == is_default


def test_measured_scores_are_no_default_figures(here):
    for kind in ("matrix", "measured"):
        assert "quality" not in ran(kind, here).summary["uncalibrated"]


def test_the_change_points_are_those_of_the_runs_seed(here):
    def values(seed):
        return ran("formula", here, seed=seed, trigger={"kind": "amount", "n": 100}).evaluations["value"].to_list()

    assert values(1) == values(1)
    assert values(1) != values(2)


# What can't be


@pytest.mark.parametrize(
    ("section", "more", "message"),
    [
        (
            {"kind": "proxy"},
            {"data": {"kind": "uniform", "num_samples": 500, "every": 1}},
            "data.kind: got uniform, expected table, whose samples sim.quality of kind proxy is fitted on",
        ),
        (
            {"kind": "proxy", "learner": "logistic"},
            {"training": {"start_from": "active"}},
            "sim.quality.learner: got logistic",
        ),
        (
            {"kind": "proxy"},
            {"evaluation": {"metrics": ["f1_macro"]}},
            "evaluation.metrics: got f1_macro, expected accuracy, or sim.quality of kind measured",
        ),
        (
            {"kind": "formula"},
            {"evaluation": {"metrics": ["f1_macro"]}},
            "evaluation.metrics: got f1_macro, expected accuracy, or sim.quality of kind measured",
        ),
        (
            {"kind": "formula", "drift": [{"kind": "gradual"}, {"kind": "abrupt", "every": 0.01}]},
            {},
            "sim.quality.drift.1.every: got 0.01 s, expected at least 0.0799 s, or the data have over 10000 changes",
        ),
    ],
)
def test_what_a_kind_can_not_do_is_said_at_the_check(here, section, more, message):
    with pytest.raises(ConfigError) as told:
        plan_run(load_config({**BASE, "data": here.data, "sim": {"quality": section}, **more}), "sim")
    assert message in str(told.value)
    assert len(str(told.value).splitlines()) == 1


def test_a_regression_has_no_accuracy_for_the_proxy(here):
    data = {**here.data, "label": "a", "features": {"numeric": ["b"]}}
    regression = {"training": {"task": "regression"}, "evaluation": {"metrics": ["mae"]}, "trigger": {"kind": "never"}}
    with pytest.raises(ConfigError, match=r"training\.task: got regression, expected classification"):
        plan_run(load_config({**BASE, "data": data, "sim": {"quality": {"kind": "proxy"}}, **regression}), "sim")
