"""The results of a study on disk, one transaction each: what was done stays done, whatever dies next.

`results.sqlite` in the study's folder holds a row for each run that ended, by the run's id. An id is a fingerprint of
everything that decides the result, so a row is never wrong, only perhaps no longer asked for.
"""

from __future__ import annotations

import fcntl
import json
import os
import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypeAlias

from twinclock.errors import RunError
from twinclock.run_folder import told_as_run_error

State: TypeAlias = Literal["done", "failed", "timeout", "crashed"]
FILE = "results.sqlite"
_FORMAT = 1


@dataclass(frozen=True, slots=True)
class Result:
    """What came of one run of a study."""

    state: State
    """`failed`: the run said why; `timeout`: it took too long; `crashed`: its process died."""
    figures: Mapping[str, float | None]
    """Metric → value; empty unless done."""
    error: str | None
    """One line; None if done."""
    elapsed_s: float
    """Seconds that the run took on the machine that it ran on; no part of the study's tables."""


@contextmanager
def held(folder: Path, other: str) -> Iterator[None]:
    """A folder, made if need be, for this process alone. RunError if `other` has it, or it can't be made."""
    with told_as_run_error(folder):
        folder.mkdir(parents=True, exist_ok=True)
        lock = open(folder / "lock", "a", encoding="utf-8")  # noqa: SIM115 - held until the end
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise RunError(f"{folder}: in use by {other}; wait for it, or stop it first") from None
        yield


class ResultStore:
    """The results in one folder, held by one process at a time."""

    def __init__(self, connection: sqlite3.Connection, file: Path) -> None:
        self._connection = connection
        self._file = file

    @classmethod
    @contextmanager
    def hold(cls, folder: Path) -> Iterator[ResultStore]:
        """Open, or begin, the results of a study. RunError if another process has them, or they can't be used."""
        with held(folder, "another sweep"):
            file = folder / FILE
            with _told(file):
                connection = sqlite3.connect(file)
            try:
                with _told(file):
                    _prepare(connection, file)
                yield cls(connection, file)
            finally:
                connection.close()

    def add(self, run: str, result: Result) -> None:
        """Make a result durable, in place of an earlier one of the same run."""
        row = (run, result.state, json.dumps(result.figures), result.error, result.elapsed_s)
        with _told(self._file), self._connection:
            self._connection.execute("INSERT OR REPLACE INTO results VALUES (?, ?, ?, ?, ?)", row)

    def all(self) -> dict[str, Result]:
        """Every result by run."""
        with _told(self._file):
            return _results(self._connection)


def read_results(folder: Path) -> dict[str, Result]:
    """The results of a study that is perhaps going on. RunError if there are none."""
    file = folder / FILE
    if not file.exists():
        raise RunError(f"{folder}: no {FILE} here, expected the folder of a study")
    with _told(file):
        # the last to close a database takes its journal away, but only if it may write
        mode = "rw" if os.access(folder, os.W_OK) else "ro&immutable=1"
        connection = sqlite3.connect(f"{file.absolute().as_uri()}?mode={mode}", uri=True)
        try:
            return _results(connection)
        finally:
            connection.close()


def _prepare(connection: sqlite3.Connection, file: Path) -> None:
    version = connection.execute("PRAGMA user_version").fetchone()[0]
    if version not in (0, _FORMAT):
        raise RunError(f"{file}: format {version}, expected {_FORMAT}; made by another version")
    connection.execute("PRAGMA journal_mode=WAL")
    connection.execute("PRAGMA synchronous=NORMAL")
    with connection:
        connection.execute(
            "CREATE TABLE IF NOT EXISTS results"
            " (run TEXT PRIMARY KEY, state TEXT, figures TEXT, error TEXT, elapsed_s REAL) WITHOUT ROWID"
        )
        connection.execute(f"PRAGMA user_version={_FORMAT}")


def _results(connection: sqlite3.Connection) -> dict[str, Result]:
    rows = connection.execute("SELECT run, state, figures, error, elapsed_s FROM results ORDER BY run")
    return {run: Result(state, json.loads(found), error, took_s) for run, state, found, error, took_s in rows}


@contextmanager
def _told(file: Path) -> Iterator[None]:
    try:
        yield
    except (sqlite3.Error, ValueError) as error:
        raise RunError(
            f"{file}: can't be used ({error}); expected the results of a study, on a disk with space"
        ) from None
