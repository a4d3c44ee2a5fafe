"""What a real run measures and a simulated one goes by: the matrix, the lineage, and how far the proxy is from both."""

from __future__ import annotations

import json

import polars as pl
import pytest

import twinclock as tc
from twinclock.result import Run

BASE = {
    "name": "rodents",
    "data": {"kind": "table", "dataset": "portal_rodents", "limit": 3000},
    "batching": {"n": 250},
    "trigger": {"kind": "amount", "n": 500},
    "training": {"epochs": 3, "optimizer": {"lr": 0.01}},
    "evaluation": {"plans": [{"kind": "between_triggers", "models": "all"}]},
}
KEY = ["model", "start_ts", "end_ts", "metric", "value", "num_samples"]


@pytest.fixture(scope="module")
def real(tmp_path_factory) -> Run:
    run = tc.run(BASE, on="real", out=tmp_path_factory.mktemp("runs") / "real")
    assert (run.outcome, run.models.height) == ("done", 6)
    return run


def simulated(quality, **more) -> Run:
    run = tc.run({**BASE, "sim": {"quality": quality}, **more}, on="sim")
    assert (run.outcome, run.faults.height) == ("done", 0)
    return run


def test_the_matrix_of_a_real_run_gives_its_scores_to_the_same_policy(real):
    again = simulated({"kind": "matrix", "run": str(real.folder)})
    assert again.evaluations.select(KEY).sort(KEY).equals(real.evaluations.select(KEY).sort(KEY))


def test_and_to_a_policy_that_asks_for_scores(real):
    watching = {"kind": "performance", "interval": 250, "rules": [{"kind": "static", "threshold": 0.6}]}
    run = simulated({"kind": "matrix", "run": str(real.folder)}, trigger=watching)
    measured = real.evaluations["value"]
    assert run.observations.height > 5
    assert run.observations["value"].is_between(measured.min(), measured.max()).all()


def test_the_proxy_sees_the_same_drift_as_the_real_models(real):
    """It is another model, so its scores are others; but where a real model does badly, it does as well."""
    proxy = simulated({"kind": "proxy"})
    both = real.evaluations.join(proxy.evaluations, on=["model", "start_ts", "end_ts", "metric"])
    assert both.height == real.evaluations.height
    assert both.select(pl.corr("value", "value_right", method="spearman")).item() > 0.5


def test_a_real_model_says_what_it_was_trained_on(real):
    entries = [
        json.loads((real.folder / path / "lineage.json").read_text())
        for path in real.models.sort("model")["path"].to_list()
    ]
    found = [(each["ranges"], each["epochs"]) for each in entries]
    assert found == [([[0, stop]], 3) for stop in range(500, 3001, 500)]
