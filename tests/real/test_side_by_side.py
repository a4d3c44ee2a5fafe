"""The same configuration under both clocks: what must agree does."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import twinclock as tc

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
    "amount, evaluation spawned": {},
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
    assert simulated.stage_runs.select(columns).equals(real.stage_runs.select(columns))
