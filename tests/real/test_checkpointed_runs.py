"""A training that is cut off goes on from its checkpoint, whatever died, and comes to the same."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path
from typing import Any

import pytest
from real_runs import Command, Gate, end_state, small, until

from twinclock.result import Run
from twinclock.run_folder import read_header

KILL, INTERRUPT, TERMINATE = signal.SIGKILL, signal.SIGINT, signal.SIGTERM
SIZES = (500, 1000, 1500, 2000)


def start(gate: Gate, out: Path, trainer: str, attempts: int = 3, **real: object) -> Command:
    config = small()
    config["training"] |= {"trainer": trainer, "retry": {"attempts": attempts, "backoff": 0.0}}
    config["real"] |= real
    file = out.with_suffix(".yaml")
    file.write_text(json.dumps(config))
    return Command(gate, "run", file, "--on", "real", "--out", out, "--quiet")


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory) -> dict[str, Any]:
    folder = tmp_path_factory.mktemp("undisturbed")
    gate = Gate(folder / "gate")
    gate.open()
    assert start(gate, folder / "run", "gated:SteppedTrainer").end() == (0, "")
    return end_state(folder / "run")


def steps(gate: Gate) -> list[list[int]]:
    return [[int(number) for number in line.split()] for line in (gate.folder / "steps").read_text().splitlines()]


def test_no_step_is_done_twice_whatever_dies_in_the_middle_of_a_training(tmp_path, undisturbed):
    """In the first training the worker is killed, in the second the parent; in the others the run is interrupted.

    None waits at the gate a second time, for that is behind it.
    """
    gate, run = Gate(tmp_path / "gate"), tmp_path / "disturbed"
    command = start(gate, run, "gated:SteppedTrainer")
    for size, number in zip(SIZES, (None, KILL, TERMINATE, INTERRUPT), strict=True):
        worker = gate.await_start(size)
        if number is None:
            os.kill(worker, KILL)
        elif number == KILL:
            command.kill()
            command = Command(gate, "resume", run, "--quiet")
        else:
            assert command.signal_group(number) == (130, f"interrupted; go on with: twinclock resume {run}\n")
            assert read_header(run)["state"] == "suspended"
            command = Command(gate, "resume", run, "--quiet")
    assert command.end() == (0, "")

    assert end_state(run) == undisturbed
    assert steps(gate) == [[size, step] for size in SIZES for step in range(1, 21)]
    outcomes = Run.load(run).trainings.filter(trigger=0).select("outcome", "error").rows()
    assert outcomes == [("failed", "the worker of cpu:0 was ended by a signal: Killed"), ("trained", None)]
    assert not (run / "work").exists()


def test_a_worker_that_dies_before_or_after_it_leaves_something_costs_an_attempt(tmp_path, undisturbed):
    gate, run = Gate(tmp_path / "gate"), tmp_path / "run"
    gate.open()
    (gate.folder / "fatal").mkdir()
    fatal = [
        gate.folder / "fatal" / f"{what}-{when}" for what in ("checkpoint", "result") for when in ("before", "after")
    ]
    for file in fatal:
        file.touch()
    assert start(gate, run, "gated:FatalTrainer", attempts=10).end() == (0, "")
    assert end_state(run) == undisturbed
    assert not any(file.exists() for file in fatal)
    assert Run.load(run).trainings["outcome"].to_list().count("failed") == len(fatal)


def test_an_orphan_that_was_held_up_leaves_nothing(tmp_path):
    """It stands still when the command is killed, and goes on when nobody wants it any more."""
    gate, run = Gate(tmp_path / "gate"), tmp_path / "run"
    command = start(gate, run, "gated:SteppedTrainer")
    worker = gate.await_start(500)
    os.kill(worker, signal.SIGSTOP)
    command.process.kill()
    command.process.wait()
    before = sorted(run.rglob("*"))
    gate.open()
    os.kill(worker, signal.SIGCONT)
    command.end()
    assert steps(gate) == [[500, step] for step in range(1, 11)]
    assert sorted(run.rglob("*")) == before


def test_an_interrupt_kills_what_does_not_listen_after_the_grace_time(tmp_path):
    gate = Gate(tmp_path / "gate")
    command = start(gate, tmp_path / "run", "gated:StubbornTrainer", grace=0.2)
    gate.await_start("stubborn")
    assert command.signal_group(INTERRUPT) == (130, f"interrupted; go on with: twinclock resume {tmp_path}/run\n")
    assert read_header(tmp_path / "run")["state"] == "suspended"


def test_a_second_interrupt_leaves_at_once(tmp_path):
    gate = Gate(tmp_path / "gate")
    command = start(gate, tmp_path / "run", "gated:StubbornTrainer", grace="1d")
    gate.await_start("stubborn")
    os.killpg(command.process.pid, INTERRUPT)
    until((gate.folder / "stubborn.asked").exists, "the job is asked to stop")
    assert command.signal_group(INTERRUPT) == (130, f"interrupted; go on with: twinclock resume {tmp_path}/run\n")
