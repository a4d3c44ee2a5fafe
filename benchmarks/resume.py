"""How long a run of many batches takes to go on after `kill -9`, and what its snapshots cost while it runs.

    python benchmarks/resume.py [BATCHES [EVENTS_A_SNAPSHOT]]

A real run without trainings, one sample to a batch and one batch to a chunk, is killed after so many batches, just
before a snapshot is due. Then `twinclock resume` is started; the time counts from there, Python and its imports
included, until the first new event is durable. The same once more without snapshots, as a journal was before.
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
import subprocess
import sys
import tempfile
import time
from functools import partial
from pathlib import Path
from typing import Any

import polars as pl

from twinclock import launch
from twinclock.journal import JOURNAL, MARK
from twinclock.observer import RunObserver

EVENTS_A_BATCH = 5
EVENTS_A_SNAPSHOT = 10_000
NEVER = 10**12
TO_SPARE = 3_000
"""Batches that are left when the run is killed, so that there is something to go on with."""


def config(table: Path) -> dict[str, Any]:
    """A pipeline that takes in one sample after the other, and waits for one more than there are."""
    num_samples = pl.scan_parquet(table).select(pl.len()).collect().item()
    features = {"numeric": ["x"]}
    return {
        "name": "endless",
        "data": {
            "kind": "table",
            "path": str(table),
            "time": "t",
            "label": "y",
            "features": features,
            "chunk": 1,
        },
        "batching": {"kind": "fixed", "n": 1},
        "trigger": {"kind": "amount", "n": num_samples + 1},
        "real": {"device": "cpu"},
    }


def write_table(file: Path, num_samples: int) -> None:
    """One sample a second."""
    number = pl.int_range(num_samples, eager=True)
    pl.DataFrame({"t": number.cast(pl.Float64), "x": number.cast(pl.Float64), "y": number % 2}).write_parquet(file)


def num_events(folder: Path) -> int:
    """How many events of a run are durable by now."""
    with contextlib.suppress(FileNotFoundError, ValueError):
        return int((folder / MARK).read_text())
    return 0


def journal_mb(folder: Path) -> float:
    """Megabytes of the journal with its log."""
    return sum(file.stat().st_size for file in folder.glob("journal.*")) / 1e6


class Run:
    """`twinclock run` or `resume` in a process of its own."""

    def __init__(self, do: str, table: Path, folder: Path, events_a_snapshot: int) -> None:
        self._folder = folder
        self.started_s = time.perf_counter()
        arguments = [sys.executable, __file__, do, str(table), str(folder), str(events_a_snapshot)]
        self._process = subprocess.Popen(arguments, stdout=subprocess.DEVNULL)

    def until(self, events: int) -> float:
        """Seconds from the start of the process until so many events are durable."""
        while num_events(self._folder) < events:
            if self._process.poll() is not None:
                raise RuntimeError(f"ended with {self._process.returncode} after {num_events(self._folder)} events")
            time.sleep(0.001)
        return time.perf_counter() - self.started_s

    def kill(self) -> tuple[float, float]:
        """`kill -9`; seconds of CPU that it had used, and the most MB of memory."""
        self._process.kill()
        _, _, used = os.wait4(self._process.pid, 0)
        self._process.returncode = -9
        return used.ru_utime + used.ru_stime, used.ru_maxrss / 1e3


def measure(table: Path, folder: Path, num_batches: int, events_a_snapshot: int) -> None:
    """Run, kill, resume, and say what it came to."""
    first, last = EVENTS_A_BATCH * num_batches // 100, EVENTS_A_BATCH * num_batches
    if events_a_snapshot < last:
        last = last // events_a_snapshot * events_a_snapshot - events_a_snapshot // 50
    run = Run("run", table, folder, events_a_snapshot)
    begun_s = run.until(first)
    ran_s = run.until(last) - begun_s
    cpu_s, memory_mb = run.kill()
    killed_at = num_events(folder)
    with contextlib.closing(sqlite3.connect(folder / JOURNAL)) as journal:
        (to_replay,) = journal.execute("SELECT count(*) FROM events").fetchone()
    size_mb = journal_mb(folder)
    resumed = Run("resume", table, folder, events_a_snapshot)
    resumed_s = resumed.until(killed_at + 1)
    resumed.kill()
    print("without snapshots:" if events_a_snapshot == NEVER else f"a snapshot every {events_a_snapshot:,} events:")
    print(
        f"  {ran_s / (last - first) * 1e6:.0f} us an event, {cpu_s / killed_at * 1e6:.0f} us of CPU; {memory_mb:.0f} MB"
    )
    print(f"  killed after {killed_at:,} events; a journal of {size_mb:.1f} MB")
    print(f"  resumed in {resumed_s:.2f} s; {to_replay:,} events made again", flush=True)


def main(num_batches: int = 100_000, events_a_snapshot: int = EVENTS_A_SNAPSHOT) -> None:
    """With snapshots and without."""
    with tempfile.TemporaryDirectory() as folder:
        table = Path(folder) / "samples.parquet"
        write_table(table, num_batches + TO_SPARE)
        measure(table, Path(folder) / "with", num_batches, events_a_snapshot)
        measure(table, Path(folder) / "without", num_batches, NEVER)


def child(do: str, table: Path, folder: Path, events_a_snapshot: int) -> None:
    """What is killed."""
    launch.RunObserver = partial(RunObserver, events_a_snapshot=events_a_snapshot)  # type: ignore[misc, assignment]
    if do == "run":
        launch.run(config(table), on="real", out=folder)
    else:
        launch.resume(folder)


if __name__ == "__main__":
    if sys.argv[1:2] in (["run"], ["resume"]):
        child(sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3]), int(sys.argv[4]))
    else:
        main(*(int(argument) for argument in sys.argv[1:]))
