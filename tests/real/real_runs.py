"""Real runs for tests: small, at a gate (see `gated`), in this process or as a command that can be killed."""

from __future__ import annotations

import json
import os
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import polars as pl

from twinclock.result import Run

PATIENCE_S = 240.0
"""How long a test waits for what must come; reached only by a failing test."""
COMMAND = (sys.executable, "-c", "from twinclock.cli import main; main()")
HERE = Path(__file__).parent
T = TypeVar("T")


def small(**changes: Any) -> dict[str, Any]:
    """A configuration with four trainings, of 500, 1000, 1500 and 2000 samples."""
    return {
        "name": "small",
        "seed": 3,
        "data": {"kind": "table", "dataset": "portal_rodents", "limit": 2000},
        "batching": {"kind": "fixed", "n": 250},
        "trigger": {"kind": "amount", "n": 500},
        "training": {"epochs": 1, "retry": {"attempts": 3, "backoff": 0.0}},
        "evaluation": {
            "plans": [{"kind": "slicing", "every": "180d", "models": "active", "when": "after_training"}],
            "retry": {"attempts": 2, "backoff": 0.0},
        },
        "real": {"device": "cpu"},
        **changes,
    }


def gated(**changes: Any) -> dict[str, Any]:
    """The same with the trainer that waits at a gate."""
    config = small(**changes)
    return {**config, "training": {"trainer": "gated:GatedTrainer", **config["training"]}}


def until(happened: Callable[[], T | None], what: str) -> T:
    """What `happened` gives, as soon as that is something."""
    deadline = time.monotonic() + PATIENCE_S
    while time.monotonic() < deadline:
        if result := happened():
            return result
        time.sleep(0.005)
    raise AssertionError(f"nothing came of it in {PATIENCE_S} s: {what}")


class Gate:
    """The test's side of the gate."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir()
        self.folder = folder

    def open(self, name: str | int = "all") -> None:
        (self.folder / f"{name}.open").touch()

    def await_start(self, name: str | int) -> int:
        """The process id of the worker that has come to the gate."""
        file = self.folder / f"{name}.started"
        return int(until(lambda: file.read_text() if file.exists() else None, f"{file} appears"))

    def forget(self, name: str | int) -> None:
        (self.folder / f"{name}.started").unlink(missing_ok=True)

    def trained(self) -> list[int]:
        """How many samples each training had that went through to its end."""
        file = self.folder / "trained"
        return [int(line) for line in file.read_text().split()] if file.exists() else []


class Command:
    """The command `twinclock` as a process group of its own."""

    def __init__(self, gate: Gate, *arguments: str | Path) -> None:
        environment = os.environ | {
            "TWINCLOCK_GATE": str(gate.folder),
            "PYTHONPATH": os.pathsep.join([str(HERE), str(HERE.parents[1])]),
        }
        self.process = subprocess.Popen(
            [*COMMAND, *map(str, arguments)],
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )

    def end(self) -> tuple[int, str]:
        """Wait for the end: exit code and what was said on stderr; no process of its session may be left."""
        try:
            _, said = self.process.communicate(timeout=PATIENCE_S)
        except subprocess.TimeoutExpired:
            os.killpg(self.process.pid, signal.SIGKILL)
            raise
        until(lambda: not in_session(self.process.pid), f"all processes of session {self.process.pid} are gone")
        return self.process.returncode, said

    def num_processes(self) -> int:
        """How many processes of its session are alive."""
        return len(in_session(self.process.pid))

    def kill(self) -> None:
        """`kill -9` of the command; its workers have to find out by themselves."""
        self.process.kill()
        self.end()

    def signal_group(self, number: signal.Signals) -> tuple[int, str]:
        """What a terminal does on Ctrl-C, and a batch system to end a job."""
        os.killpg(self.process.pid, number)
        return self.end()


def in_session(session: int) -> list[int]:
    """The processes of a session that are alive."""
    alive = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            state, _, _, its_session = stat.read_text().rpartition(")")[2].split()[:4]
        except OSError:
            continue
        if int(its_session) == session and state != "Z":
            alive.append(int(stat.parent.name))
    return alive


def journaled(folder: Path) -> list[tuple[float, str, dict[str, Any]]]:
    """The committed events of a run under way: (clock, kind, data)."""
    database = sqlite3.connect(f"file:{folder}/journal.sqlite?mode=ro", uri=True)
    try:
        rows = database.execute("SELECT now_s, kind, data FROM events ORDER BY serial").fetchall()
    finally:
        database.close()
    return [(now, kind, json.loads(data)) for now, kind, data in rows]


def end_state(folder: Path) -> dict[str, Any]:
    """All that a resumed run has to have in common with an undisturbed one, byte for byte."""
    run = Run.load(folder)
    assert (run.state, run.outcome) == ("finished", "done")
    trained = run.trainings.filter(pl.col("outcome") == "trained")
    assert trained.height > 0, "no training came to its end"
    assert trained["trigger"].is_unique().all(), "a finished training was repeated"
    tables = {
        "batches": run.batches.drop("cut_s"),
        "triggers": run.triggers.drop("fired_s"),
        "decisions": run.decisions.drop("decided_s"),
        "trainings": trained.select("trigger", "num_samples", "parent", "loss").sort("trigger"),
        "models": run.models.drop("stored_s").sort("model"),
        "evaluations": run.evaluations.drop("evaluated_s").sort("plan", "model", "start_ts", "end_ts", "metric"),
    }
    files = [file for name in ("models", "evaluations") for file in sorted((folder / name).rglob("*.*"))]
    return (
        {name: table.rows(named=True) for name, table in tables.items()}
        | {str(file.relative_to(folder)): _content(file) for file in files}
        | {"active": os.readlink(folder / "active")}
    )


def _content(file: Path) -> Any:
    """Of a lineage without what its training reported, seconds among it, and how it was asked; else a file's bytes."""
    if file.name != "lineage.json":
        return file.read_bytes()
    return {
        key: value for key, value in json.loads(file.read_bytes()).items() if key not in ("training", "config_hash")
    }
