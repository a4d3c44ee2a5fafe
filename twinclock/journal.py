"""The journal of a run: every event, durable before anything outside depends on it.

A run is a function of its events, so the journal is all that a crash must not lose. Events gather in
a transaction that is committed when the machine's answer starts work or a wait; decisions are
committed together with the next such effect, since making them again costs nothing.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from twinclock.errors import RunError
from twinclock.graph import Json
from twinclock.messages import Begin, Command, Ended, Event, Fired, Granted, Start
from twinclock.stream import ClockTime

JOURNAL = "journal.sqlite"
SEMANTICS = 1
"""Version of the machine's rules; a journal of another version is refused."""

_SCHEMA = """
CREATE TABLE IF NOT EXISTS header (key TEXT PRIMARY KEY, value TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS events (
    serial INTEGER PRIMARY KEY,
    incarnation INTEGER NOT NULL,
    now_s REAL NOT NULL,
    kind TEXT NOT NULL,
    data TEXT NOT NULL
);
CREATE TABLE IF NOT EXISTS incarnations (number INTEGER PRIMARY KEY, started TEXT NOT NULL, from_s REAL NOT NULL);
"""
_KINDS: Mapping[str, Any] = {"begin": Begin, "granted": Granted, "ended": Ended, "fired": Fired}
_NAMES = {kind: name for name, kind in _KINDS.items()}


class Journal:
    """An open journal; one start of the process is one incarnation, and only the newest may write."""

    def __init__(self, folder: Path, hashes: Mapping[str, str], started: str) -> None:
        """Open or create. RunError if the file is corrupted, or belongs to another graph, config or version.

        `hashes`: what must be the same for the events to mean the same. `started`: a date, for people.
        """
        self._file = folder / JOURNAL
        try:
            self._database = sqlite3.connect(self._file, isolation_level=None)
            self._database.execute("PRAGMA journal_mode=WAL")
            self._database.execute("PRAGMA synchronous=FULL")
            self._database.executescript(_SCHEMA)
            self._verify({"semantics": str(SEMANTICS), **hashes})
            last = self._database.execute("SELECT max(number) FROM incarnations").fetchone()[0]
            self.incarnation = 1 if last is None else last + 1
            self._serial = self._database.execute("SELECT count(*) FROM events").fetchone()[0]
            self._database.execute(
                "INSERT INTO incarnations VALUES (?, ?, ?)", (self.incarnation, started, self.last_clock())
            )
        except sqlite3.DatabaseError as error:
            raise RunError(f"{self._file}: corrupted journal ({error})") from None
        self._in_transaction = False

    def record(self, now: ClockTime, event: Event, commands: Sequence[Command]) -> None:
        """Note an event; returns after it is durable if one of `commands` has an effect outside."""
        if not self._in_transaction:
            self._database.execute("BEGIN IMMEDIATE")
            self._in_transaction = True
            self._refuse_if_superseded()
        row = (self._serial, self.incarnation, now, _NAMES[type(event)], _written(event))
        self._database.execute("INSERT INTO events VALUES (?, ?, ?, ?, ?)", row)
        self._serial += 1
        if any(type(command) is Start and command.stage.kind != "decide" for command in commands):
            self.commit()

    def commit(self) -> None:
        """Make everything noted so far durable."""
        if self._in_transaction:
            self._database.execute("COMMIT")
            self._in_transaction = False

    def events(self) -> Iterator[tuple[ClockTime, Event]]:
        """All events so far, in order, each with its clock time. RunError if one can't be read or is missing."""
        expected = 0
        try:
            for serial, now, kind, data in self._database.execute(
                "SELECT serial, now_s, kind, data FROM events ORDER BY serial"
            ):
                if serial != expected or kind not in _KINDS:
                    raise RunError(f"{self._file}: corrupted journal (event {expected} is missing or unknown)")
                expected += 1
                yield ClockTime(now), _read(kind, json.loads(data))
        except (sqlite3.DatabaseError, ValueError, TypeError) as error:
            raise RunError(f"{self._file}: corrupted journal (event {expected}: {error})") from None

    def last_clock(self) -> ClockTime:
        """The clock time of the last event; 0 if there is none."""
        return ClockTime(self._database.execute("SELECT coalesce(max(now_s), 0) FROM events").fetchone()[0])

    def close(self) -> None:
        """Commit what is open and let go of the file."""
        self.commit()
        self._database.close()

    def _verify(self, hashes: Mapping[str, str]) -> None:
        known = dict(self._database.execute("SELECT key, value FROM header"))
        for key, value in hashes.items():
            if key in known and known[key] != value:
                raise RunError(
                    f"{self._file}: {key} is {value[:12]}, but the journal was written with {known[key][:12]}; "
                    "a run can only go on with what it began with"
                )
            self._database.execute("INSERT OR IGNORE INTO header VALUES (?, ?)", (key, value))

    def _refuse_if_superseded(self) -> None:
        newest = self._database.execute("SELECT max(number) FROM incarnations").fetchone()[0]
        if newest != self.incarnation:
            self._database.execute("ROLLBACK")
            self._in_transaction = False
            raise RunError(f"{self._file}: another process has gone on with this run (incarnation {newest})")


def _written(event: Event) -> str:
    values: Json = event._asdict()
    return json.dumps(values, separators=(",", ":"), allow_nan=False)


def _read(kind: str, data: dict[str, Json]) -> Event:
    if kind == "granted":
        data["placement"] = {resource: tuple(units) for resource, units in data["placement"].items()}
    event: Event = _KINDS[kind](**data)
    return event
