"""Evaluations that give way to trainings in a real run."""

from __future__ import annotations

import polars as pl
from real_runs import small

from twinclock import launch
from twinclock.result import Run


def test_an_evaluation_gives_its_device_to_a_training_and_begins_anew(tmp_path, monkeypatch):
    """The first evaluation ends only when it is stopped, which only a training that waits can bring about."""
    monkeypatch.setenv("TWINCLOCK_GATE", str(tmp_path))
    config = small(variant="overlapped", cluster={"devices": 1, "discipline": "preemptive"})
    config["evaluation"]["evaluator"] = "gated:StoppedOnce"
    run = launch.run(config, on="real", out=tmp_path / "run")

    evaluating = run.stage_runs.filter(stage="WAIT_FOR_EVALUATION_COMPLETION").sort("started_s")
    (first, *_), yielded = evaluating.rows(named=True), evaluating.filter(outcome="yielded")
    assert first["outcome"] == "yielded"
    assert set(evaluating["outcome"]) == {"done", "yielded"}
    assert evaluating.filter(pl.col("outcome") == "done").height == run.summary["trainings"]
    assert set(yielded["trigger"]) <= set(evaluating.filter(outcome="done")["trigger"]), "none is lost"

    held = run.devices.filter(resource="device").sort("granted_s")
    after = held.filter(pl.col("granted_s") >= first["ended_s"]).row(0, named=True)
    assert "training" in after["holder"], "the device went to the training"
    assert Run.load(tmp_path / "run").summary == run.summary
