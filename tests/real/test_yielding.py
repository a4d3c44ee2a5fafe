"""Evaluations that give way to trainings in a real run."""

from __future__ import annotations

import polars as pl
from real_runs import small

from real import operations
from twinclock import launch
from twinclock.result import Run


def test_an_evaluation_gives_its_device_to_a_training_and_begins_anew(tmp_path, monkeypatch):
    """The first evaluation goes on until it is stopped, and the second training is claimed only once it runs."""
    monkeypatch.setenv("TWINCLOCK_GATE", str(tmp_path))
    monkeypatch.setattr(operations, "bodies", waiting_for(tmp_path / "evaluating", operations.bodies))
    config = small(variant="overlapped", cluster={"devices": 1, "discipline": "preemptive"})
    plan = {"kind": "slicing", "every": "60d", "models": "all", "when": "after_training"}
    config["evaluation"] |= {"evaluator": "gated:StoppedOnce", "plans": [plan]}
    run = launch.run(config, on="real", out=tmp_path / "run")

    evaluating = run.stage_runs.filter(stage="WAIT_FOR_EVALUATION_COMPLETION").sort("started_s")
    first = evaluating.row(0, named=True)
    assert first["outcome"] == "yielded"
    again = evaluating.filter(id=first["id"].replace("#0@1", "#1@1"))
    assert again.height == 1, "none is lost, and no attempt is used up"
    assert set(evaluating["outcome"]) == {"done", "yielded"}
    assert run.trainings["outcome"].to_list() == ["trained"] * 4

    held = run.devices.filter(resource="device").sort("granted_s")
    after = held.filter(pl.col("granted_s") >= first["ended_s"]).row(0, named=True)
    assert "training" in after["holder"], "the device went to the training"
    assert Run.load(tmp_path / "run").summary == run.summary


def waiting_for(file, make):
    """The bodies, but every claim after the first ends only when there is a file."""

    def made(*given):
        bodies = make(*given)
        claimed = []

        def claim(start, executor):
            ending = bodies["CLAIM_TRIGGERS"](start, executor)
            claimed.append(start.id)
            if len(claimed) == 1:
                return ending

            def look():
                if file.exists():
                    executor.end((start.pipeline, start.id), *ending)
                else:
                    executor.after(0.01, ("look", start.id), look)

            look()
            return None

        return {**bodies, "CLAIM_TRIGGERS": claim}

    return made
