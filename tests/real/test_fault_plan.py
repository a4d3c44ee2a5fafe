"""The fault plan in real runs: what it makes fail really fails, and is what it makes fail in simulated runs."""

from __future__ import annotations

import os

import polars as pl
import pytest
from crashing import run_through_crashes
from inline_pool import InlinePool
from real_runs import HERE, Gate, end_state, gated, journaled, small, until
from test_faults import Meanwhile
from test_worker import Worker, config

import twinclock as tc
from twinclock import launch
from twinclock.config import load_config
from twinclock.errors import ConfigError
from twinclock.faults import FaultsConfig
from twinclock.luck import FaultPlan
from twinclock.messages import Start

PLAN = {"training": 0.4, "store": 0.3, "evaluation": 0.4, "observation": 0.4}
STAGES = {"WAIT_FOR_TRAINING_COMPLETION", "STORE_TRAINED_MODEL", "WAIT_FOR_EVALUATION_COMPLETION", "OBSERVE"}
OBSERVED = {
    "kind": "performance",
    "interval": 250,
    "rules": [{"kind": "static", "threshold": 1.0}],
}
"""Every score is below, so it fires at each observation that does not fail."""


@pytest.fixture
def inline(monkeypatch):
    monkeypatch.setattr("real.pool.WorkerPool", InlinePool)


def attempts(run):
    """What was tried, how often, and how it ended."""
    tried = run.stage_runs.filter(pl.col("stage").is_in(STAGES))
    return tried.select("id", "stage", "trigger", "attempt", "outcome", "error").sort("id")


def with_attempts(number, **changes):
    retry = {"attempts": number, "backoff": 0.0}
    made = small(**changes)
    made["observation"] = {"retry": retry}
    made["training"]["retry"] = made["evaluation"]["retry"] = retry
    return made


@pytest.mark.parametrize("seed", [2, 7])
def test_the_same_attempts_fail_under_both_clocks(tmp_path, seed):
    settings = with_attempts(2, trigger=OBSERVED, faults=PLAN, seed=seed)
    simulated = tc.run({**settings, "sim": {"quality": {"peak": 0.9}}}, on="sim")
    real = tc.run(settings, on="real", out=tmp_path / "real")
    assert real.outcome == simulated.outcome == "done"
    assert real.triggers["position"].to_list() == simulated.triggers["position"].to_list()
    assert attempts(real).equals(attempts(simulated))
    assert real.models["model"].to_list() == simulated.models["model"].to_list()
    assert set(real.faults["stage"]) == STAGES
    assert set(real.faults["type"]) == set(simulated.faults["type"]) == {"JobFailed"}


def test_a_cluster_that_is_not_to_be_had_ends_both(tmp_path, inline):
    settings = small(faults={"connect": 1.0})
    for run in (tc.run(settings, on="sim"), tc.run(settings, on="real", out=tmp_path / "real")):
        assert (run.outcome, run.header["error"]) == ("failed", "failed as the fault plan has it")
        assert run.stage_runs["stage"].to_list() == ["INIT", "INIT_CLUSTER_CONNECTION", "EXIT"]


@pytest.mark.parametrize(("num_steps", "reported"), [(0, []), (49, []), (51, [50]), (159, [50, 100, 150])])
def test_a_training_fails_after_just_so_many_steps(worker, num_steps, reported):
    """Of 160; a step is reported where losses are looked at: after every 50, and at the end of an epoch of 8."""
    recipe = {"ranges": [[0, 500]], "num_samples": 500, "method": {"keep": "last"}, "seed": 17}
    job_id = f"fails after {num_steps}"
    worker.send("train", job_id, training_set=recipe, start_from=None, fails_after=num_steps)
    done = []
    while (message := worker.receive())["kind"] == "progress":
        done.append(round(message["done"] * 160))
    assert (message["kind"], message["error"]["type"]) == ("error", "JobFailed")
    assert all(step <= num_steps for step in done)
    assert not done if num_steps < 8 else max(done) > num_steps - 8
    assert not list((worker.folder / "work").glob("fails_after*"))


@pytest.fixture(scope="module")
def worker(tmp_path_factory):
    worker = Worker(tmp_path_factory.mktemp("run"), config())
    assert worker.answer()["kind"] == "ready"
    yield worker
    worker.close()


def life(plan: FaultPlan, trigger: int, attempt: int) -> float:
    path = ((None, "on_device", 0, attempt), "RUN_TRAINING", 0, 0)
    start = Start("main", 0, path, None, {}, {}, {}, {"device": ("cpu:0",)}, {})  # type: ignore[arg-type]
    return plan.fate_of_training(trigger, start).lives[0]


def test_a_device_that_fails_is_a_worker_that_is_killed(tmp_path, monkeypatch):
    """The first attempt at the second training stands at the gate until its device is dead."""
    monkeypatch.setenv("TWINCLOCK_GATE", str(tmp_path / "gate"))
    monkeypatch.setenv("PYTHONPATH", str(HERE), prepend=os.pathsep)
    gate, out = Gate(tmp_path / "gate"), tmp_path / "run"

    def lives(seed: int) -> list[float]:
        plan = FaultPlan(FaultsConfig(device_mtbf=60.0), seed)
        return [life(plan, trigger, attempt) for trigger in range(4) for attempt in (1, 2)]

    seed = next(
        seed for seed in range(93_000, 100_000) if min(all_ := lives(seed)) == all_[2] < 0.01 and sorted(all_)[1] > 1.0
    )

    def interfere() -> None:
        try:
            gate.open(500)
            gate.await_start(1000)
            until(lambda: "WorkerDied" in str(journaled(out)), "the device fails")
        finally:
            gate.open()

    with Meanwhile(interfere):
        run = launch.run(gated(seed=seed, faults={"device_mtbf": 60.0}), on="real", out=out)
    assert run.outcome == "done"
    assert run.trainings.select("trigger", "outcome").rows() == [
        (0, "trained"), (1, "failed"), (1, "trained"), (2, "trained"), (3, "trained")
    ]  # fmt: skip
    assert run.faults.select("type", "message").rows() == [
        ("WorkerDied", "the worker of cpu:0 was ended by a signal: Killed")
    ]


@pytest.mark.parametrize("variant", ["seed", "overlapped"])
def test_a_run_that_is_interrupted_again_and_again_meets_the_same_faults(tmp_path, monkeypatch, inline, variant):
    settings = with_attempts(3, variant=variant, faults={**PLAN, "observation": 0.0}, seed=11)
    undisturbed = launch.run(settings, on="real", out=tmp_path / "undisturbed")
    run, num_crashes = run_through_crashes(settings, tmp_path / "disturbed", 2, before=True)
    assert num_crashes > 20
    columns = ["id", "stage", "attempt", "outcome", "type", "message"]
    assert undisturbed.faults.height >= 4
    assert run.faults.select(columns).sort("id").equals(undisturbed.faults.select(columns).sort("id"))
    assert end_state(tmp_path / "disturbed") == end_state(tmp_path / "undisturbed")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"faults": {"stragglers": {"share": 0.1}}}, "faults.stragglers.share: got 0.1, and real devices are as fast"),
        ({"faults": {"device_shape": 2.0}}, "faults.device_shape: got 2, and a real run does not know how old"),
        (
            {"faults": {"nodes": {"mtbf": "1d", "repair": "1h"}}},
            "faults.nodes: that a node fails can only be simulated",
        ),
        ({"cluster": {"device": {"spot": {"lasts": "1h", "away": "1m"}}}}, "cluster.device.spot: that a device is"),
    ],
)
def test_what_can_only_be_simulated_is_refused(changes, message):
    with pytest.raises(ConfigError) as raised:
        launch.plan_run(load_config(small(**changes)), "real")
    assert message in str(raised.value)
    launch.plan_run(load_config(small(**changes)), "sim")
