"""The same configuration under both clocks: what must agree does."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from real_runs import journaled

import twinclock as tc
from twinclock.dataset import load_table

SMALL: dict[str, Any] = {
    "name": "small",
    "data": {"kind": "table", "dataset": "portal_rodents", "limit": 3000},
    "batching": {"kind": "fixed", "n": 250},
    "trigger": {"kind": "amount", "n": 700},
    "training": {"model": {"kind": "logistic"}, "epochs": 1},
    "evaluation": {"plans": [{"kind": "between_triggers", "models": "active"}]},
    "real": {"device": "cpu"},
}
FLIGHTS = {"kind": "table", "dataset": "nycflights13", "limit": 4000}
CASES = {
    "time, evaluation in line": {"variant": "sequential", "trigger": {"kind": "time", "every": "180d"}},
    "flights, trained on from the active model": {
        "data": FLIGHTS,
        "trigger": {"kind": "time", "every": "1d"},
        "selection": {"kind": "new_data", "tail": 0},
        "training": {"model": {"kind": "mlp", "hidden": [8]}, "epochs": 1, "start_from": "active"},
    },
    "a fair share of each label, known late": {
        "data": {**SMALL["data"], "label_delay": "90d"},
        "selection": {"presample": {"kind": "label_balanced", "ratio": 0.5, "limit": 900}},
    },
    "mostly used samples": {"selection": {"kind": "freshness", "unused": 25, "limit": 1000}},
    "overlapped, two devices, live": {
        "variant": "overlapped",
        "mode": "live",
        "live": {"speed_up": 1e8},
        "cluster": {"devices": 2},
        "overlap": {"on_trigger": "queue", "trainings_at_once": 2},
    },
}


@pytest.mark.parametrize("case", CASES)
def test_both_runs_trigger_at_the_same_positions_and_leave_the_same_tables(case: str, tmp_path: Path) -> None:
    config = {**SMALL, **CASES[case]}
    simulated, real = tc.run(config, on="sim"), tc.run(config, on="real", out=tmp_path / "real")
    assert real.outcome == simulated.outcome == "done"
    assert real.faults.is_empty()
    assert real.triggers["position"].to_list() == simulated.triggers["position"].to_list()
    for table, columns in {
        "triggers": ["trigger", "position", "first", "stop", "num_samples", "first_ts", "last_ts", "training_samples"],
        "models": ["model", "first_ts", "last_ts", "num_samples"],
        "evaluations": ["plan", "model", "start_ts", "end_ts", "metric", "num_samples"],
    }.items():
        ours, theirs = (run.tables[table].select(columns).sort(columns[:5]) for run in (simulated, real))
        assert ours.equals(theirs), table
    assert real.evaluations["value"].drop_nulls().is_between(0, 1).all()


def test_both_runs_make_the_same_stage_runs_in_the_same_places(tmp_path: Path) -> None:
    config = {**SMALL, "variant": "sequential"}
    simulated, real = tc.run(config, on="sim"), tc.run(config, on="real", out=tmp_path / "real")
    columns = ["id", "stage", "parent", "trigger", "batch", "attempt", "outcome"]
    # two evaluations are left for the end: while the results of one are stored, the other has the device
    ours, theirs = (run.stage_runs.select(columns) for run in (simulated, real))
    assert ours.sort("id").equals(theirs.sort("id"))
    blocking = ~pl.col("id").str.starts_with("/post_evaluation")
    assert ours.filter(blocking).equals(theirs.filter(blocking))


def test_both_say_who_served_in_the_same_way(tmp_path: Path) -> None:
    plans = [
        {"kind": "slicing", "every": "60d", "models": "served"},
        {"kind": "periodic", "every": "90d", "half": "60d", "models": "trained"},
        {"kind": "offset", "offsets": ["-inf", "-30d", 0, "30d", "inf"]},
    ]
    config = {**SMALL, "evaluation": {"plans": plans, "intervals_per_visit": 2}}
    simulated, real = tc.run(config, on="sim"), tc.run(config, on="real", out=tmp_path / "real")
    columns = ["plan", "model", "start_ts", "end_ts", "metric", "num_samples"]
    ours, theirs = (run.evaluations.select(columns).sort(columns) for run in (simulated, real))
    assert ours.equals(theirs)
    assert ours["plan"].unique().sort().to_list() == [0, 1, 2]
    for run in (simulated, real):
        assert 0.0 < run.summary["served_accuracy"] <= 1.0
        assert [(each["models"], each["plan"]) for each in run.summary["composites"]] == [("trained", 1), ("served", 0)]
    left_out = [run.summary["served_accuracy_left_out"] for run in (simulated, real)]
    assert left_out[0] == left_out[1] > 0.0


def test_live_a_model_serves_what_has_not_arrived_when_it_is_stored(tmp_path: Path) -> None:
    plan = {"kind": "slicing", "every": "60d", "models": "served"}
    config = {**SMALL, "mode": "live", "live": {"speed_up": 2e7}, "evaluation": {"plans": [plan]}}
    run = tc.run(config, on="real", out=tmp_path / "real")
    times = load_table(run.config.data).stream().timestamps(0, 3000)
    events = [(now_s, data["values"]["model"]) for now_s, _, data in journaled(tmp_path / "real") if is_store(data)]
    assert [model["trigger"] for _, model in events] == [0, 1, 2, 3]
    for now_s, model in events:
        trained_stop, served_from = 700 * (model["trigger"] + 1), model["served_from"]
        assert served_from >= trained_stop
        # what it is said not to serve had arrived before the store was on record
        assert (times[trained_stop:served_from] <= times[0] + now_s * 2e7 + 1.0).all()
    served = run.evaluations.group_by("model").agg(pl.col("num_samples").sum()).sort("model").rows()
    starts = [model["served_from"] for _, model in events]
    assert dict(served) == {k: n for k, n in enumerate(np.diff([*starts, 3000]).tolist()) if n}


def is_store(data: dict[str, Any]) -> bool:
    return data.get("outcome") == "done" and "active_model" in data["values"]
