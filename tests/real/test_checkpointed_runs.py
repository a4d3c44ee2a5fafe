"""A training that is cut off goes on from its checkpoint, whatever died, and comes to the same."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path

import pytest
from real_runs import Command, Gate, end_state, small, until

from twinclock.run_folder import read_header

KILL, INTERRUPT, TERMINATE = signal.SIGKILL, signal.SIGINT, signal.SIGTERM
SIZES = (500, 1000, 1500, 2000)


def start(gate: Gate, out: Path, trainer: str, **real: object) -> Command:
    config = small()
    config["training"]["trainer"] = trainer
    config["real"] |= real
    file = out.with_suffix(".yaml")
    file.write_text(json.dumps(config))
    return Command(gate, "run", file, "--on", "real", "--out", out, "--quiet")


def steps(gate: Gate) -> list[list[int]]:
    return [[int(number) for number in line.split()] for line in (gate.folder / "steps").read_text().splitlines()]


def test_no_step_is_done_twice_whatever_dies_in_the_middle_of_a_training(tmp_path):
    """In the first training the worker is killed, in the second the parent; the others are suspended."""
    open_gate, gate = Gate(tmp_path / "open"), Gate(tmp_path / "gate")
    open_gate.open()
    undisturbed = start(open_gate, tmp_path / "undisturbed", "gated:SteppedTrainer")
    assert undisturbed.end() == (0, "")

    run = tmp_path / "disturbed"
    command = start(gate, run, "gated:SteppedTrainer")
    for size, number in zip(SIZES, (None, KILL, TERMINATE, INTERRUPT), strict=True):
        worker = gate.await_start(size)
        gate.forget(size)
        if number is None:
            os.kill(worker, KILL)
            assert until(lambda size=size: gate.await_start(size), "the next attempt") != worker
        elif number == KILL:
            command.kill()
            command = Command(gate, "resume", run, "--quiet")
        else:
            assert command.signal_group(number) == (130, f"interrupted; go on with: twinclock resume {run}\n")
            assert read_header(run)["state"] == "suspended"
            command = Command(gate, "resume", run, "--quiet")
        gate.open(size)
    assert command.end() == (0, "")

    assert end_state(run) == end_state(tmp_path / "undisturbed")
    assert steps(gate) == steps(open_gate) == [[size, step] for size in SIZES for step in range(1, 21)]
    assert not (run / "work").exists()


def test_an_interrupt_kills_what_does_not_listen_after_the_grace_time(tmp_path):
    gate = Gate(tmp_path / "gate")
    command = start(gate, tmp_path / "run", "gated:StubbornTrainer", grace=0.2)
    gate.await_start("stubborn")
    assert command.signal_group(INTERRUPT) == (130, f"interrupted; go on with: twinclock resume {tmp_path}/run\n")
    assert read_header(tmp_path / "run")["state"] == "suspended"


@pytest.mark.parametrize("number", [INTERRUPT, TERMINATE])
def test_a_second_interrupt_leaves_at_once(tmp_path, number):
    gate = Gate(tmp_path / "gate")
    command = start(gate, tmp_path / "run", "gated:StubbornTrainer", grace="1d")
    gate.await_start("stubborn")

    def has_left() -> bool:
        os.killpg(command.process.pid, number)
        return command.process.poll() is not None

    until(has_left, "the command leaves")
    assert command.end() == (130, f"interrupted; go on with: twinclock resume {tmp_path}/run\n")
