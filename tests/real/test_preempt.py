"""Stopping a training for a newer trigger in a real run: in time, too late, and over crashes.

Whatever the order of events, each sample of a trigger is in the own samples of exactly one stored model.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
from crashing import Crash, run_through_crashes
from inline_pool import InlinePool
from real_runs import PATIENCE_S, small

from real import operations
from real.executor import Body
from real.store import ModelStore
from twinclock import launch
from twinclock.journal import Journal
from twinclock.machine import Machine
from twinclock.messages import Ended, Start
from twinclock.recovery import replayed
from twinclock.result import Run
from twinclock.stages import Context

ALL = list(range(2000))


def preempting(at_once: int = 1, **changes: Any) -> dict[str, Any]:
    """Four triggers of 500 samples each, a chunk to each."""
    config = small(
        variant="overlapped",
        overlap={"on_trigger": "preempt", "trainings_at_once": at_once},
        selection={"tail": 0},
        cluster={"devices": at_once},
        **changes,
    )
    config["data"]["chunk"] = 500
    return config


def stage_runs(folder: Path) -> list[tuple[Start, Ended]]:
    """Everything that was done in a finished run, by its journal, in the order in which it ended."""
    run = Run.load(folder)
    plan = launch.plan_run(run.config, "real")
    opened: dict[int, Start] = {}
    done = []
    with Journal.open(folder, plan.hashes, "now") as journal:
        for _, event, commands in replayed(Machine(plan.graph), journal, Context(plan.config, plan.stream)):
            if isinstance(event, Ended) and event.id in opened:
                done.append((opened.pop(event.id), event))
            opened |= {command.id: command for command in commands if isinstance(command, Start)}
    return done


def stored_samples(folder: Path) -> list[int]:
    """The own samples of all stored models, in order."""
    found: list[int] = []
    for start, ended in stage_runs(folder):
        if start.stage.operation == "STORE_TRAINED_MODEL" and ended.outcome == "done":
            trigger = start.labels["trigger"]
            for first, stop in [*trigger["returned"], [trigger["first"], trigger["stop"]]]:
                found += range(first, stop)
    return sorted(found)


def answers(folder: Path) -> list[tuple[int, str]]:
    """(victim, outcome) of each PREEMPT."""
    return [
        (start.inputs["victim"], ended.outcome)
        for start, ended in stage_runs(folder)
        if start.stage.operation == "PREEMPT"
    ]


@pytest.fixture
def inline(monkeypatch):
    monkeypatch.setattr("real.pool.WorkerPool", InlinePool)


@pytest.fixture
def wrapped(monkeypatch) -> Callable[[Callable[[Mapping[str, Body]], Mapping[str, Body]]], None]:
    """Put other bodies where the executor has its own."""
    make = operations.bodies

    def wrap(by: Callable[[Mapping[str, Body]], Mapping[str, Body]]) -> None:
        def made(*given: Any) -> dict[str, Body]:
            bodies = make(*given)
            return {**bodies, **by(bodies)}

        monkeypatch.setattr(operations, "bodies", made)

    return wrap


class DeafPool(InlinePool):
    """Its workers are done before they hear that they are to stop."""

    def send(self, device, job):
        if job["do"] != "stop":
            super().send(device, job)


def test_a_training_whose_worker_did_not_hear_of_the_stop_is_superseded_all_the_same(tmp_path, monkeypatch):
    monkeypatch.setattr("real.pool.WorkerPool", DeafPool)
    monkeypatch.setattr("real.executor._LOOK_EVERY_S", PATIENCE_S)  # results are heard of when nothing else happens
    run = launch.run(preempting(), on="real", out=tmp_path / "run")
    assert (0, "stopped") in answers(tmp_path / "run")
    assert run.trainings.filter(trigger=0)["outcome"].to_list() == ["superseded"]
    assert stored_samples(tmp_path / "run") == ALL


def test_a_training_that_is_done_is_stopped_as_long_as_nobody_was_told(tmp_path, monkeypatch, inline, wrapped):
    """When PREEMPT looks, the worker has handed in its result, but the machine has not been fed that."""
    monkeypatch.setattr("real.executor._LOOK_EVERY_S", PATIENCE_S)
    caught = []

    def by(bodies):
        def preempt(start, executor):
            executor._look()
            caught.append([event.outcome for _, event in executor._ready if isinstance(event, Ended)])
            return bodies["PREEMPT"](start, executor)

        return {"PREEMPT": preempt}

    wrapped(by)
    run = launch.run(preempting(), on="real", out=tmp_path / "run")
    assert caught[0] == ["trained"]
    assert answers(tmp_path / "run")[0] == (0, "stopped")
    assert run.trainings.filter(trigger=0)["outcome"].to_list() == ["superseded"]
    assert run.models["num_samples"].sum() == 2000
    assert stored_samples(tmp_path / "run") == ALL


class WhileItIsStored:
    """Trigger 1 fires when the model of trigger 0 is being stored; it is stored once PREEMPT has begun."""

    def __init__(self) -> None:
        self.storing, self.preempting = threading.Event(), threading.Event()

    def bodies(self, bodies: Mapping[str, Body]) -> Mapping[str, Body]:
        def replay(start, executor):
            ending = bodies["REPLAY_DATA"](start, executor)
            if start.inputs["position"] == 0:
                return ending

            def wait_for_the_store():
                assert self.storing.wait(PATIENCE_S)
                return ending

            return executor.in_thread(start, wait_for_the_store)

        def preempt(start, executor):
            self.preempting.set()
            return bodies["PREEMPT"](start, executor)

        return {"REPLAY_DATA": replay, "PREEMPT": preempt}

    def commit(self, commit: Callable[..., int]) -> Callable[..., int]:
        def slow(store, *given):
            self.storing.set()
            assert self.preempting.wait(PATIENCE_S)
            return commit(store, *given)

        return slow


@pytest.fixture
def while_it_is_stored(monkeypatch, inline, wrapped) -> WhileItIsStored:
    scene = WhileItIsStored()
    wrapped(scene.bodies)
    monkeypatch.setattr(ModelStore, "commit", scene.commit(ModelStore.commit))
    return scene


def test_a_training_that_is_being_stored_keeps_its_samples(tmp_path, while_it_is_stored):
    run = launch.run(preempting(), on="real", out=tmp_path / "run")
    assert answers(tmp_path / "run")[0] == (0, "too_late")
    assert 0 in run.models["model"]
    assert not (tmp_path / "run" / "superseded" / "00000").exists()
    assert stored_samples(tmp_path / "run") == ALL


def test_it_is_still_too_late_after_a_crash(tmp_path, monkeypatch, while_it_is_stored):
    """The process ends when PREEMPT is to begin; in the next, nobody remembers that trigger 0 has trained."""
    record = Journal.record

    def crash_at_preempt(journal, now, event, commands):
        record(journal, now, event, commands)
        if any(isinstance(each, Start) and each.stage.operation == "PREEMPT" for each in commands):
            while_it_is_stored.preempting.set()  # else the thread that stores never ends
            raise Crash

    with monkeypatch.context() as patch:
        patch.setattr(Journal, "record", crash_at_preempt)
        with pytest.raises(Crash):
            launch.run(preempting(), on="real", out=tmp_path / "run")
    run = launch.resume(tmp_path / "run")
    assert answers(tmp_path / "run")[0] == (0, "too_late")
    assert 0 in run.models["model"]
    assert stored_samples(tmp_path / "run") == ALL


@pytest.mark.parametrize("look_every_s", [0.0, 0.01])
@pytest.mark.parametrize("at_once", [1, 2])
@pytest.mark.parametrize(("number", "before"), [(1, False), (2, True), (3, True)])
def test_over_crash_after_crash_each_sample_is_trained_on_once(
    tmp_path, monkeypatch, inline, number, before, at_once, look_every_s
):
    monkeypatch.setattr("real.executor._LOOK_EVERY_S", look_every_s)
    out = tmp_path / "run"
    _, num_crashes = run_through_crashes(preempting(at_once), out, number, before=before)
    assert num_crashes > 5
    assert stored_samples(out) == ALL
    superseded = [victim for victim, answer in answers(out) if answer == "stopped"]
    assert not set(superseded) & set(Run.load(out).models["model"])


def test_the_seconds_of_a_stopped_training_are_spent_and_reported_to_nobody(tmp_path, monkeypatch):
    monkeypatch.setattr("real.pool.WorkerPool", DeafPool)
    monkeypatch.setattr("real.executor._LOOK_EVERY_S", PATIENCE_S)
    run = launch.run(preempting(), on="real", out=tmp_path / "run")
    costs = [
        cost["trigger"]
        for start, ended in stage_runs(tmp_path / "run")
        if start.stage.operation == "TRAINING_COMPLETED"
        for cost in ended.values["costs"]
    ]
    stopped = run.trainings.filter(outcome="superseded")
    assert stopped.height > 0
    assert sorted(costs) == run.models["model"].sort().to_list()
    assert not set(costs) & set(stopped["trigger"])
    held = run.devices.filter(resource="device")["holder"].to_list()
    assert set(stopped["id"]) <= set(held)
