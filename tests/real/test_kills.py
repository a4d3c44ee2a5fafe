"""`kill -9` of real processes of a real run, at random points: a worker, the command, or all at once.

A point is a number of events in the journal, so it does not depend on how fast the machine is. `TWINCLOCK_NUM_KILLS`
says how many for each kind of run; without it, one of one kind.
"""

from __future__ import annotations

import json
import os
import random
import signal
import sqlite3
from pathlib import Path
from typing import Any

import pytest
from real_runs import Command, Gate, in_session, journaled, small, until
from test_crashes import state

NUM_KILLS = int(os.environ.get("TWINCLOCK_NUM_KILLS", "1"))
MOST_EVENTS_BETWEEN = 40
PARAMETERS = [("overlapped", "live"), *([("seed", "replay")] if "TWINCLOCK_NUM_KILLS" in os.environ else [])]


def config(variant: str, mode: str) -> dict[str, Any]:
    live = {"live": {"speed_up": 3e8}} if mode == "live" else {}
    made = small(variant=variant, mode=mode, trigger={"kind": "amount", "n": 250}, **live)
    made["training"] |= {"retry": {"attempts": 100, "backoff": 0.0}, "checkpoint": {"every_steps": 1}}
    made["evaluation"]["retry"] = {"attempts": 100, "backoff": 0.0}
    return made


def start(gate: Gate, out: Path, config: dict[str, Any]) -> Command:
    file = out.with_suffix(".yaml")
    file.write_text(json.dumps(config))
    return Command(gate, "run", file, "--on", "real", "--out", out, "--quiet")


def events(run: Path) -> list[str]:
    try:
        return [kind for _, kind, _ in journaled(run)]
    except sqlite3.OperationalError:  # it is about to be made
        return []


def workers(command: Command) -> list[int]:
    """Those that are there, in the order in which they were started."""
    found = []
    for process in sorted(in_session(command.process.pid)):
        line = Path(f"/proc/{process}/cmdline").read_bytes()
        found += [process] if b"spawn_main" in line else []
    return found


@pytest.mark.parametrize(("variant", "mode"), PARAMETERS)
def test_killed_at_random_it_ends_like_an_undisturbed_run(tmp_path, variant, mode):
    gate, rng = Gate(tmp_path / "gate"), random.Random(variant)
    assert start(gate, tmp_path / "undisturbed", config(variant, mode)).end() == (0, "")
    undisturbed = state(tmp_path / "undisturbed", mode)
    num_kills, run, command = 0, tmp_path / "run 0", start(gate, tmp_path / "run 0", config(variant, mode))
    at, who = 0, ""

    def has_come() -> bool:
        return command.process.poll() is not None or len(events(run)) >= at

    while True:
        # the first events are the connection to the workers, without which there is no run to go on with
        at, who = len(events(run)) + rng.randint(6, MOST_EVENTS_BETWEEN), rng.choice(["worker", "parent", "group"])
        until(has_come, f"{at} events")
        if command.process.poll() is not None:
            assert command.end() == (0, "")
            assert state(run, mode) == undisturbed
            if num_kills >= NUM_KILLS:
                return
            run = tmp_path / f"run {num_kills}"
            command = start(gate, run, config(variant, mode))
            continue
        if num_kills >= NUM_KILLS:
            continue
        num_kills += 1
        if who == "worker" and (there := workers(command)):
            os.kill(rng.choice(there), signal.SIGKILL)
            continue
        if who == "group":
            command.signal_group(signal.SIGKILL)
        else:
            command.kill()
        command = Command(gate, "resume", run, "--quiet")
