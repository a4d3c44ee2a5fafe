"""What goes wrong in a real run, and what the run makes of it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import polars as pl
import pytest
from crashing import Crash
from inline_pool import InlinePool
from real_runs import HERE, PATIENCE_S, Command, Gate, end_state, gated, journaled, small, until

from real.executor import RealExecutor
from twinclock import launch
from twinclock.config import load_config
from twinclock.errors import RunError
from twinclock.journal import Journal
from twinclock.result import Run
from twinclock.run_folder import read_header


class Meanwhile:
    """Something that happens beside a run in this process; what it raises is the test's failure."""

    def __init__(self, does: Callable[[], None]) -> None:
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._run, args=(does,))

    def _run(self, does: Callable[[], None]) -> None:
        try:
            does()
        except BaseException as error:
            self._error = error

    def __enter__(self) -> None:
        self._thread.start()

    def __exit__(self, *_: object) -> None:
        self._thread.join()
        if self._error is not None:
            raise self._error


@pytest.fixture
def gate(tmp_path, monkeypatch) -> Gate:
    monkeypatch.setenv("TWINCLOCK_GATE", str(tmp_path / "gate"))
    monkeypatch.setenv("PYTHONPATH", str(HERE), prepend=os.pathsep)
    return Gate(tmp_path / "gate")


@pytest.fixture
def inline(monkeypatch):
    monkeypatch.setattr("real.pool.WorkerPool", InlinePool)


def test_a_killed_worker_costs_an_attempt_and_a_corrupted_model_its_evaluation(tmp_path, gate):
    """One run, for a run takes seconds: its worker is killed in the second training, its first model damaged."""
    out = tmp_path / "run"
    noticed_s = []

    def interfere() -> None:
        try:
            gate.open(500)
            worker = gate.await_start(1000)
            weights = out / "models" / "00000" / "model.safetensors"
            weights.write_bytes(weights.read_bytes()[:-1] + b"?")
            gate.forget(1000)
            os.kill(worker, signal.SIGKILL)
            killed_s = time.monotonic()
            until(lambda: "WorkerDied" in str(journaled(out)), "the death is on record")
            noticed_s.append(time.monotonic() - killed_s)
            assert gate.await_start(1000) != worker
        finally:
            gate.open()

    config = gated(
        evaluation={"plans": [{"kind": "slicing", "every": "180d", "models": "all", "when": "after_pipeline"}]}
    )
    config["evaluation"]["retry"] = {"attempts": 2, "backoff": 0.0}
    with Meanwhile(interfere):
        run = launch.run(config, on="real", out=out)

    assert (run.state, run.outcome) == ("finished", "done")
    assert noticed_s[0] < 5.0
    assert run.trainings.select("trigger", "outcome").rows() == [
        (0, "trained"), (1, "failed"), (1, "trained"), (2, "trained"), (3, "trained")
    ]  # fmt: skip
    assert gate.trained() == [500, 1000, 1500, 2000]
    assert run.models["model"].to_list() == [0, 1, 2, 3]
    death, *corrupted = run.faults.rows(named=True)
    assert death["stage"] == "WAIT_FOR_TRAINING_COMPLETION"
    assert death["id"].endswith("/on_device#0@1/WAIT_FOR_TRAINING_COMPLETION#0")
    assert (death["type"], death["message"]) == ("WorkerDied", "the worker of cpu:0 was ended by a signal: Killed")
    assert [(fault["stage"], fault["attempt"], fault["type"]) for fault in corrupted] == [
        ("WAIT_FOR_EVALUATION_COMPLETION", attempt, "RunError") for attempt in (1, 2)
    ]
    assert all(f"{weights_of(out, 0)}: corrupted model file" in fault["message"] for fault in corrupted)
    assert all("\n" not in fault["message"] for fault in corrupted)
    assert run.evaluations["model"].unique().sort().to_list() == [1, 2, 3]


def weights_of(out: Path, trigger: int) -> Path:
    return out / "models" / f"{trigger:05d}" / "model.safetensors"


def test_a_model_class_that_does_not_import_is_one_line_before_anything_runs(tmp_path):
    config = small()
    config["training"]["model"] = {"kind": "import", "path": "nowhere.at_all:Model"}
    file, out = tmp_path / "config.yaml", tmp_path / "run"
    file.write_text(json.dumps(config))
    gate = Gate(tmp_path / "gate")
    for command in (("run", file, "--on", "real", "--out", out, "--quiet"), ("check", file)):
        code, said = Command(gate, *command).end()
        assert code == 2
        assert "training.model.path: can't import nowhere.at_all:Model: " in said
        assert not out.exists()


ONLY_HERE = """
import multiprocessing

if multiprocessing.parent_process() is not None:
    raise ImportError("not in a worker")

def Model(num_inputs, num_classes): ...
"""


def test_what_only_the_workers_find_missing_ends_the_run_with_one_line(tmp_path, monkeypatch):
    config = small()
    config["training"]["model"] = {"kind": "import", "path": "only_here:Model"}
    file, out = tmp_path / "config.yaml", tmp_path / "run"
    file.write_text(json.dumps(config))
    (tmp_path / "only_here.py").write_text(ONLY_HERE)
    monkeypatch.chdir(tmp_path)
    gate = Gate(tmp_path / "gate")
    code, said = Command(gate, "run", file, "--on", "real", "--out", out, "--quiet").end()
    assert code == 2
    assert said.startswith("the run failed: training.model.path: can't import only_here:Model: ")
    assert said.count("\n") == 1
    run = Run.load(out)
    assert (run.state, run.outcome) == ("finished", "failed")
    assert run.header["error"] == said.removeprefix("the run failed: ").strip()
    assert run.stage_runs["stage"].to_list() == ["INIT", "INIT_CLUSTER_CONNECTION", "EXIT"]
    assert run.faults["stage"].to_list() == ["INIT_CLUSTER_CONNECTION"]


LIMITED = """
import resource, sys
from twinclock import launch
from twinclock.cli import main
_drive = launch._drive
limit = int(sys.argv.pop())
def drive(*arguments):
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
    return _drive(*arguments)
launch._drive = drive
main()
"""


def test_a_disk_that_fills_up_is_one_line_and_the_run_can_go_on(tmp_path, inline):
    """The journal can't grow any more: the run ends before anything happens that is not on record."""
    file, out = tmp_path / "config.yaml", tmp_path / "run"
    file.write_text(json.dumps(small()))
    arguments = ["run", str(file), "--on", "real", "--out", str(out), "--quiet", "40000"]
    done = subprocess.run(
        [sys.executable, "-c", LIMITED, *arguments],
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
        cwd=HERE.parents[1],
    )
    assert done.returncode == 2
    assert done.stderr.startswith(f"error: {out}/journal.sqlite: can't be written (")
    assert done.stderr.endswith(f"; go on with: twinclock resume {out}\n")
    assert done.stderr.count("\n") == 1
    assert read_header(out)["state"] in ("running", "crashed")
    assert not list(out.rglob("*.tmp"))
    assert launch.resume(out).outcome == "done"


@pytest.mark.parametrize(
    ("raised", "expected", "told"),
    [
        (
            None,
            RunError,
            r"nothing is left to happen, but: .* (runs|waits for device).*; go on with: twinclock resume .*/run",
        ),
        (OSError(28, "No space left on device"), RunError, r"No space left on device; go on with: twinclock resume .*"),
        (ArithmeticError("a bug"), ArithmeticError, "a bug"),
    ],
)
def test_an_error_outside_the_graph_leaves_a_run_that_can_go_on(tmp_path, monkeypatch, inline, raised, expected, told):
    undisturbed, left = launch.run(small(), on="real", out=tmp_path / "undisturbed"), 50
    next_ = RealExecutor.next

    def broken(executor):
        nonlocal left
        left -= 1
        if left:
            return next_(executor)
        if raised is None:
            return None
        raise raised

    with monkeypatch.context() as patch:
        patch.setattr(RealExecutor, "next", broken)
        with pytest.raises(expected, match=told):
            launch.run(small(), on="real", out=tmp_path / "run")
    crashed = Run.load(tmp_path / "run")
    assert (crashed.state, crashed.outcome) == ("crashed", None)
    assert crashed.header["error"].startswith("DeadlockError" if raised is None else type(raised).__name__)
    assert 0 < crashed.stage_runs.height < undisturbed.stage_runs.height
    assert len(journaled(tmp_path / "run")) == 49 + 1  # Begin is no event of the executor

    assert launch.resume(tmp_path / "run").header["error"] is None
    assert end_state(tmp_path / "run") == end_state(tmp_path / "undisturbed")


def test_a_run_that_another_process_took_over_is_let_alone(tmp_path, monkeypatch, inline):
    """A lock can be deleted, or not work on a network's disk; the journal knows all the same."""
    out, commit, num_commits = tmp_path / "run", Journal.commit, 0

    def taken_over(journal):
        nonlocal num_commits
        commit(journal)
        num_commits += 1
        if num_commits == 10:
            plan = launch.plan_run(load_config(out / "config.yaml"), "real")
            Journal.open(out, plan.hashes, "now").close()

    monkeypatch.setattr(Journal, "commit", taken_over)
    with pytest.raises(RunError, match=r"another process has gone on with this run \(incarnation 2\)"):
        launch.run(small(), on="real", out=out)
    assert read_header(out)["state"] == "running"
    assert not (out / "tables").exists()


class FailsAtFirst(InlinePool):
    """The first attempt at the first training fails."""

    def answer(self, job):
        if job["do"] == "train" and job["training_set"]["trigger"] == 0 and job["id"].endswith("@1"):
            return {"kind": "error", "error": {"type": "Unlucky", "message": "not today"}}
        return super().answer(job)


class FailsAlways(InlinePool):
    """No attempt at the first training succeeds, and no evaluation."""

    def answer(self, job):
        if job["do"] == "evaluate" or job["training_set"]["trigger"] == 0:
            return {"kind": "error", "error": {"type": "Unlucky", "message": "not today"}}
        return super().answer(job)


def test_what_fails_is_tried_again_after_longer_and_longer_and_then_given_up(tmp_path, monkeypatch):
    """A training's samples go to the next one; what becomes of evaluations is nothing to trainings."""
    config = small()
    config["training"]["retry"] = {"attempts": 3, "backoff": 0.02}
    monkeypatch.setattr("real.pool.WorkerPool", FailsAlways)
    run = launch.run(config, on="real", out=tmp_path / "run")
    assert run.outcome == "done"
    first = run.trainings.filter(trigger=0)
    assert first["outcome"].to_list() == ["failed"] * 3
    pauses_s = first["queued_s"][1:] - first["ended_s"][:-1]
    assert pauses_s[0] >= 0.02
    assert pauses_s[1] >= 0.04
    assert run.models["model"].to_list() == [1, 2, 3]
    assert run.trainings.filter(trigger=1)["num_samples"].to_list() == [1000]
    assert run.evaluations.is_empty()
    assert run.faults.filter(stage="WAIT_FOR_EVALUATION_COMPLETION")["attempt"].max() == 2
    assert not (tmp_path / "run" / "work").exists()


def test_a_training_that_is_preempted_between_two_attempts_stays_preempted_over_a_crash(tmp_path, monkeypatch):
    """When its trigger is superseded there is nothing to stop: the first attempt has failed, the second is to come."""
    config = small(variant="overlapped", overlap={"on_trigger": "preempt"}, seed=1)
    config["training"]["retry"] = {"attempts": 2, "backoff": 0.5}
    monkeypatch.setattr("real.pool.WorkerPool", FailsAtFirst)
    monkeypatch.setattr("real.executor._LOOK_EVERY_S", 0.0)  # so that the failure is heard before the second trigger
    record = Journal.record

    def crash_when_preempted(journal, now, event, commands):
        record(journal, now, event, commands)
        if any(type(each).__name__ == "Start" and each.stage.operation == "INFORM_SELECTOR_REMAINING_DATA"
               and each.inputs["batch"]["stop"] == 2000 for each in commands):  # fmt: skip
            journal.commit()
            raise Crash

    with monkeypatch.context() as patch:
        patch.setattr(Journal, "record", crash_when_preempted)
        with pytest.raises(Crash):
            launch.run(config, on="real", out=tmp_path / "run")
    run = launch.resume(tmp_path / "run")
    victim = run.trainings.filter(pl.col("trigger") == 0)
    assert victim["outcome"].to_list() == ["failed", "superseded"]
    assert 0 not in run.models["model"]


def test_a_run_left_on_a_device_that_is_gone_is_told(tmp_path, monkeypatch, inline):
    record = Journal.record

    def crash_in_training(journal, now, event, commands):
        record(journal, now, event, commands)
        if any(type(each).__name__ == "Start" and each.stage.operation == "RUN_TRAINING" for each in commands):
            raise Crash

    with monkeypatch.context() as patch:
        patch.setattr(Journal, "record", crash_in_training)
        with pytest.raises(Crash):
            launch.run(small(), on="real", out=tmp_path / "run")
    monkeypatch.setattr("real.plugin.devices", lambda config: ("cuda:0",))
    with pytest.raises(RunError, match="left holding a device that is not here: cpu:0 of 'device'"):
        launch.resume(tmp_path / "run")
