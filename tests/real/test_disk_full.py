"""A disk that fills up, at whichever write: one clear error, and a run that goes on once there is space.

With `TWINCLOCK_NUM_CRASHES` every write is tried, else a part of them.
"""

from __future__ import annotations

import errno
import os
import shutil
import sqlite3
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from inline_pool import InlinePool
from real_runs import end_state, journaled, small
from test_crashes import IS_LONG, resumed

from real.disk import is_disk_full
from twinclock import launch
from twinclock.errors import RunError
from twinclock.monitoring.status import STATUS
from twinclock.result import Run
from twinclock.run_folder import HEADER, read_header

STRIDE = 1 if IS_LONG else 13
"""Of the writes, every so-manieth is tried."""


class Disk:
    """Has room for so many writes more; `refuses` of those after them fail.

    The file for those who watch a run is written by the clock, from another thread: it is not counted, and while the
    disk is full it fails as well, which has to disturb nothing.
    """

    def __init__(self, room: float, refuses: float) -> None:
        self.room, self.refuses, self.num_writes = room, refuses, 0

    def write(self, *, counts: bool = True) -> None:
        self.num_writes += counts
        if self.room < self.num_writes <= self.room + self.refuses:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    def refusing(self, write: Callable[..., Any]) -> Callable[..., Any]:
        def wrapped(*given: Any, **named: Any) -> Any:
            self.write(counts=not (isinstance(given[0], Path) and given[0].name.startswith(STATUS)))
            return write(*given, **named)

        return wrapped

    def refusing_as_polars(self, write: Callable[..., Any]) -> Callable[..., Any]:
        def wrapped(*given: Any, **named: Any) -> Any:
            try:
                self.write()
            except OSError as error:
                told = f"parquet: underlying IO error: No space left on device (os error {error.errno})"
                raise pl.exceptions.ComputeError(told) from None
            return write(*given, **named)

        return wrapped

    def database(self) -> type[sqlite3.Connection]:
        disk = self

        class Database(sqlite3.Connection):
            def execute(self, sql: str, *given: Any) -> sqlite3.Cursor:
                if sql.startswith(("INSERT", "COMMIT")):
                    try:
                        disk.write()
                    except OSError:
                        full = sqlite3.OperationalError("database or disk is full")
                        full.sqlite_errorcode = sqlite3.SQLITE_FULL
                        raise full from None
                return super().execute(sql, *given)

        return Database

    def put_under(self, patch: pytest.MonkeyPatch) -> None:
        for owner, name in [
            *((os, name) for name in ("fsync", "rename", "replace", "mkdir")),
            *((Path, name) for name in ("write_text", "write_bytes")),
            (shutil, "copyfile"),
        ]:
            patch.setattr(owner, name, self.refusing(getattr(owner, name)))
        patch.setattr(pl.DataFrame, "write_parquet", self.refusing_as_polars(pl.DataFrame.write_parquet))
        patch.setattr(sqlite3, "connect", partial(sqlite3.connect, factory=self.database()))


def shortest() -> dict[str, Any]:
    config = small()
    config["data"]["limit"] = 1000
    return config


@pytest.mark.parametrize("refuses", [float("inf"), 1])
def test_whichever_write_finds_the_disk_full_the_run_can_go_on(tmp_path, monkeypatch, refuses):
    """If there is no room even for the header, it can't say `crashed`, and perhaps says already `finished`."""
    monkeypatch.setattr("real.pool.WorkerPool", InlinePool)
    roomy = Disk(float("inf"), 0)
    with monkeypatch.context() as patch:
        roomy.put_under(patch)
        launch.run(shortest(), on="real", out=tmp_path / "undisturbed")
    undisturbed = end_state(tmp_path / "undisturbed")
    assert roomy.num_writes > 150

    for room in range(0, roomy.num_writes, STRIDE):
        out = tmp_path / f"{room}"
        with monkeypatch.context() as patch:
            Disk(room, refuses).put_under(patch)
            with pytest.raises(RunError) as caught:
                launch.run(shortest(), on="real", out=out)
        told = str(caught.value)
        assert "No space left on device" in told or "database or disk is full" in told
        assert "\n" not in told
        if (out / HEADER).exists():
            assert read_header(out)["state"] == "crashed" or refuses > 1 or not journaled(out), room
            assert resumed(out).faults.is_empty(), room
            assert end_state(out) == undisturbed, room
        shutil.rmtree(out, ignore_errors=True)


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (OSError(errno.ENOSPC, "No space left on device"), True),
        (OSError(errno.EDQUOT, "Disk quota exceeded"), True),
        (pl.exceptions.ComputeError("parquet: underlying IO error: No space left on device (os error 28)"), True),
        (OSError(errno.EACCES, "Permission denied"), False),
        (ValueError("28"), False),
    ],
)
def test_what_a_full_disk_looks_like(error, expected):
    outer = RunError("x: can't be written")
    outer.__cause__ = error
    assert is_disk_full(error) == is_disk_full(outer) == expected


class HasNoSpace(InlinePool):
    """Its worker can't write the result of the second training, as long as the disk is full."""

    def answer(self, job):
        if job["do"] == "train" and job["training_set"]["trigger"] == 1:
            told = {"type": "OSError", "message": "[Errno 28] No space left on device: 'result'"}
            return {"kind": "disk_full", "error": told}
        return super().answer(job)


def test_a_worker_without_space_ends_the_run_before_its_training_is_given_up(tmp_path, monkeypatch):
    monkeypatch.setattr("real.pool.WorkerPool", HasNoSpace)
    with pytest.raises(RunError, match=r"/on_device#0@1 on cpu:0: .*No space left on device.*; go on with: twinclock"):
        launch.run(small(), on="real", out=tmp_path / "run")
    assert read_header(tmp_path / "run")["state"] == "crashed"
    assert Run.load(tmp_path / "run").faults.is_empty()
    monkeypatch.setattr("real.pool.WorkerPool", InlinePool)
    assert launch.resume(tmp_path / "run").models.height == 4
