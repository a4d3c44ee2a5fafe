"""The journal of a run: every event, durable before anything outside depends on it.

A run is a function of its events, so the journal is all that a crash must not lose. Events gather in
a transaction that is committed when the machine's answer starts work or a wait; decisions are
committed together with the next such effect, since making them again costs nothing.

So that a run without end has a journal that stays small and is read soon, a snapshot takes the place of
all events before it now and then, in one transaction. The events that follow keep their numbers.

Damage never passes for a crash at an earlier moment: each event carries a checksum over itself and all
before it, those that a snapshot stands for included; so does the snapshot; and `journal.mark` beside the
database says how many events have surely been committed.
"""

from __future__ import annotations

import json
import os
import sqlite3
import zlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, closing
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple

from twinclock.errors import ProtocolError, RunError
from twinclock.graph import Json
from twinclock.messages import Begin, Command, Ended, Event, Fired, Granted, Outage, Recalled, Start
from twinclock.stream import ClockTime

JOURNAL = "journal.sqlite"
MARK = "journal.mark"
SEMANTICS = 3
"""Version of the machine's rules, and of what is in a snapshot; a journal of another version is refused."""

_SCHEMA = """
CREATE TABLE header (key TEXT PRIMARY KEY, value TEXT NOT NULL);
CREATE TABLE events (
    serial INTEGER PRIMARY KEY,
    incarnation INTEGER NOT NULL,
    now_s REAL NOT NULL,
    kind TEXT NOT NULL,
    data TEXT NOT NULL,
    chain INTEGER NOT NULL
);
CREATE TABLE incarnations (number INTEGER PRIMARY KEY, started TEXT NOT NULL, from_s REAL NOT NULL);
"""
_SNAPSHOT_SCHEMA = """
CREATE TABLE IF NOT EXISTS snapshot (
    serial INTEGER PRIMARY KEY,
    now_s REAL NOT NULL,
    chain INTEGER NOT NULL,
    data TEXT NOT NULL,
    checksum INTEGER NOT NULL
)
"""
"""The state of the run after the events before `serial`, whose checksum is `chain`; only the newest counts."""
_NEWEST = "FROM snapshot ORDER BY serial DESC LIMIT 1"
_KINDS: Mapping[str, Any] = {
    "begin": Begin,
    "granted": Granted,
    "recalled": Recalled,
    "ended": Ended,
    "fired": Fired,
    "outage": Outage,
}
_NAMES = {kind: name for name, kind in _KINDS.items()}
_OUT_OF_REACH = (
    sqlite3.SQLITE_BUSY,
    sqlite3.SQLITE_CANTOPEN,
    sqlite3.SQLITE_FULL,
    sqlite3.SQLITE_IOERR,
    sqlite3.SQLITE_PERM,
    sqlite3.SQLITE_READONLY,
)


class SupersededError(RunError):
    """Another process has gone on with the run; this one must not touch its files any more."""


class Journal:
    """An open journal; one start of the process is one incarnation, and only the newest may write."""

    def __init__(self, file: Path, database: sqlite3.Connection, mark: int, started: str) -> None:
        """Use `create` or `open`."""
        self._file = file
        self._database = database
        self._mark = mark
        self._held = ExitStack()
        database.execute(_SNAPSHOT_SCHEMA)  # here, since earlier versions began journals without
        end = (
            database.execute("SELECT serial + 1, chain, now_s FROM events ORDER BY serial DESC LIMIT 1").fetchone()
            or database.execute(f"SELECT serial, chain, now_s {_NEWEST}").fetchone()
            or (0, 0, 0.0)
        )
        self._num_events: int = end[0]
        self._chain: int = end[1]
        self._last_s: float = end[2]
        newest = database.execute("SELECT max(number) FROM incarnations").fetchone()[0]
        self.incarnation: int = 1 if newest is None else newest + 1
        database.execute("INSERT INTO incarnations VALUES (?, ?, ?)", (self.incarnation, started, self._last_s))

    @classmethod
    def create(cls, folder: Path, hashes: Mapping[str, str], started: str) -> Journal:
        """The journal of a new run. RunError if it can't be written.

        `hashes`: what must be the same for the events to mean the same. `started`: a date, for people.
        """
        file = folder / JOURNAL
        try:
            with ExitStack() as undo:
                database = undo.enter_context(closing(_connected(file, "rwc")))
                database.executescript(_SCHEMA)
                header = {"semantics": str(SEMANTICS), **hashes}
                database.executemany("INSERT INTO header VALUES (?, ?)", header.items())
                journal = cls(file, database, _open_mark(folder, undo), started)
                journal._held = undo.pop_all()
                return journal
        except (sqlite3.Error, OSError) as error:
            raise RunError(f"{file}: can't be written ({error})") from error

    @classmethod
    def open(cls, folder: Path, hashes: Mapping[str, str], started: str) -> Journal:
        """The journal of a run that is to go on.

        RunError if it is missing or corrupted, or belongs to another graph, config, data file or version.
        """
        file = folder / JOURNAL
        if not file.exists():
            raise RunError(f"{file}: missing; a run can't go on without its journal")
        try:
            with ExitStack() as undo:
                database = undo.enter_context(closing(_connected(file, "rw")))
                _verify(file, database, {"semantics": str(SEMANTICS), **hashes})
                journal = cls(file, database, _open_mark(folder, undo), started)
                journal._held = undo.pop_all()
                return journal
        except (sqlite3.Error, OSError) as error:
            raise _unusable(file, error) from error

    def __enter__(self) -> Journal:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def record(self, now: ClockTime, event: Event, commands: Sequence[Command]) -> None:
        """Note an event; returns after it is durable if one of `commands` has an effect outside.

        RunError if it can't be written, SupersededError if another process has gone on with the run.
        """
        try:
            self._begin()
            row = (self._num_events, self.incarnation, float(now), _NAMES[type(event)], _written(event))
            chain = _chained(self._chain, row)
            self._database.execute("INSERT INTO events VALUES (?, ?, ?, ?, ?, ?)", (*row, chain))
        except sqlite3.Error as error:
            raise RunError(f"{self._file}: can't be written ({error})") from error
        self._num_events, self._chain, self._last_s = self._num_events + 1, chain, now
        if any(type(command) is Start and command.stage.kind != "decide" for command in commands):
            self.commit()

    def commit(self) -> None:
        """Make everything noted so far durable. RunError if it can't be written."""
        if self._database.in_transaction:
            try:
                self._database.execute("COMMIT")
                os.pwrite(self._mark, b"%020d\n" % self._num_events, 0)
            except (sqlite3.Error, OSError) as error:
                raise RunError(f"{self._file}: can't be written ({error})") from error

    def put_snapshot(self, state: Json) -> None:
        """Put a snapshot of the run in the place of all events so far, durably; after a crash it is there or they are.

        RunError if it can't be written, SupersededError if another process has gone on with the run.
        """
        self.commit()
        row = (self._num_events, float(self._last_s), self._chain, _json(state))
        try:
            self._begin()
            # in this order, since an interrupt may come in between, and what was done by then be committed
            self._database.execute(
                "INSERT OR REPLACE INTO snapshot VALUES (?, ?, ?, ?, ?)", (*row, _chained(self._chain, row))
            )
            self._database.execute("DELETE FROM snapshot WHERE serial < ?", row[:1])
            self._database.execute("DELETE FROM events")
        except sqlite3.Error as error:
            raise RunError(f"{self._file}: can't be written ({error})") from error
        self.commit()

    def snapshot(self) -> Json | None:
        """The run as it was before the first of `events`; None: not begun. RunError if it was changed."""
        found = _snapshot(self._file, self._database)
        return None if found is None else found[1]

    def events(self) -> Iterator[tuple[ClockTime, Event]]:
        """The events since the snapshot, or all, in order, each with its clock time.

        RunError if one is missing or was changed.
        """
        for _, now, event in _events(self._file, self._database, _marked(self._mark)):
            yield now, event

    def last_clock(self) -> ClockTime:
        """The clock time of the last event; 0 if there is none."""
        return ClockTime(self._last_s)

    def close(self) -> None:
        """Let go of the files; what was not committed is lost, and will be made again."""
        self._held.close()

    def _begin(self) -> None:
        if not self._database.in_transaction:
            self._database.execute("BEGIN IMMEDIATE")
            self._refuse_if_superseded()

    def _refuse_if_superseded(self) -> None:
        newest = self._database.execute("SELECT max(number) FROM incarnations").fetchone()[0]
        if newest != self.incarnation:
            self._database.execute("ROLLBACK")
            raise SupersededError(f"{self._file}: another process has gone on with this run (incarnation {newest})")


class JournalContents(NamedTuple):
    """All that the journal of a finished run holds."""

    from_s: ClockTime
    """The clock time of the snapshot; 0 if there is none."""
    snapshot: Json | None
    """The run as it was before the first of the events; None: it had not begun."""
    events: tuple[tuple[int, ClockTime, Event], ...]
    """(incarnation, clock time, event)"""


def read_journal(folder: Path, hashes: Mapping[str, str]) -> JournalContents:
    """The journal of a run that is over, left as it is: nothing is written, and no incarnation is added.

    RunError if it is missing or corrupted, or belongs to another graph, config, data file or version.
    """
    file = folder / JOURNAL
    if not file.exists():
        raise RunError(f"{file}: missing, expected the journal of a real run")
    try:
        with closing(_only_read(file)) as database:
            _verify(file, database, {"semantics": str(SEMANTICS), **hashes})
            has_snapshots = database.execute("SELECT name FROM sqlite_master WHERE name = 'snapshot'").fetchone()
            if not has_snapshots:
                raise RunError(f"{file}: made by an earlier version, expected a journal that can hold snapshots")
            from_s, snapshot = _snapshot(file, database) or (0.0, None)
            mark = folder / MARK
            events = _events(file, database, _counted(mark.read_bytes()) if mark.exists() else 0)
            return JournalContents(ClockTime(from_s), snapshot, tuple(events))
    except (sqlite3.Error, OSError) as error:
        raise _unusable(file, error) from error


def _snapshot(file: Path, database: sqlite3.Connection) -> tuple[float, Json] | None:
    """The newest snapshot with its clock time. RunError if it was changed."""
    try:
        found = database.execute(f"SELECT serial, now_s, chain, data, checksum {_NEWEST}").fetchone()
    except sqlite3.Error as error:
        raise _unusable(file, error) from error
    if found is None:
        return None
    *row, checksum = found
    if _chained(row[2], row) != checksum:
        raise RunError(f"{file}: corrupted journal (its snapshot was changed)")
    return row[1], json.loads(row[3])


def _events(file: Path, database: sqlite3.Connection, committed: int) -> Iterator[tuple[int, ClockTime, Event]]:
    """The events since the snapshot, each with its incarnation and clock time; `committed` surely are there.

    RunError if one is missing or was changed.
    """
    try:
        number, chain = database.execute(f"SELECT serial, chain {_NEWEST}").fetchone() or (0, 0)
        for *row, expected in database.execute(
            "SELECT serial, incarnation, now_s, kind, data, chain FROM events WHERE serial >= ? ORDER BY serial",
            (number,),
        ):
            chain = _chained(chain, row)
            if row[0] != number or chain != expected:
                raise RunError(f"{file}: corrupted journal (event {number} is missing or was changed)")
            number += 1
            _, incarnation, now, kind, data = row
            yield incarnation, ClockTime(now), _read(kind, json.loads(data))
    except sqlite3.Error as error:
        raise _unusable(file, error) from error
    if number < committed:
        raise RunError(f"{file}: corrupted journal (holds {number} events, but {committed} were committed)")


def num_incarnations(folder: Path) -> int:
    """How many processes, one after another, had a part in the run in a folder. RunError if its journal can't be read.

    One that was never interrupted has one.
    """
    file = folder / JOURNAL
    try:
        with closing(_only_read(file)) as database:
            number: int = database.execute("SELECT count(*) FROM incarnations").fetchone()[0]
            return number
    except sqlite3.Error as error:
        raise RunError(f"{file}: can't be read ({error}), expected the journal of a run") from None


def _only_read(file: Path) -> sqlite3.Connection:
    # without a write-ahead log nothing can change, and then not even a shared-memory file has to be made for reading
    how = "mode=ro" if Path(f"{file}-wal").exists() else "immutable=1"
    return sqlite3.connect(f"{file.absolute().as_uri()}?{how}", uri=True)


def _connected(file: Path, mode: str) -> sqlite3.Connection:
    database = sqlite3.connect(f"{file.absolute().as_uri()}?mode={mode}", uri=True, isolation_level=None)
    database.execute("PRAGMA journal_mode=WAL")
    database.execute("PRAGMA synchronous=FULL")
    return database


def _verify(file: Path, database: sqlite3.Connection, hashes: Mapping[str, str]) -> None:
    begun = dict(database.execute("SELECT key, value FROM header"))
    for key, value in hashes.items():
        if key not in begun:
            raise RunError(f"{file}: corrupted journal (its header does not say what {key} the run began with)")
        if begun[key] != value:
            raise RunError(
                f"{file}: {key} is {value[:12]}, but the run began with {begun[key][:12]}; "
                "a run can only go on with what it began with"
            )


def _unusable(file: Path, error: Exception) -> RunError:
    """Damaged, or only out of reach?"""
    code = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_CORRUPT) & 0xFF
    if isinstance(error, OSError) or code in _OUT_OF_REACH:
        return RunError(f"{file}: can't be read and written ({error})")
    return RunError(f"{file}: corrupted journal ({error})")


def _open_mark(folder: Path, undo: ExitStack) -> int:
    mark = os.open(folder / MARK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    undo.callback(os.close, mark)
    return mark


def _marked(mark: int) -> int:
    """How many events were surely committed; 0 if the mark was lost (it is not synced: a power cut may take it)."""
    return _counted(os.pread(mark, 20, 0))


def _counted(mark: bytes) -> int:
    text = mark[:20]
    return int(text) if text.isdigit() else 0


def _chained(chain: int, row: Sequence[Any]) -> int:
    return zlib.crc32(repr(tuple(row)).encode(), chain)


def _json(data: Json) -> str:
    return json.dumps(data, separators=(",", ":"), allow_nan=False)


def _written(event: Event) -> str:
    values: Json = event._asdict()
    try:
        return _json(values)
    except (TypeError, ValueError) as error:
        raise ProtocolError(f"an event that is not JSON: {error}: {str(values)[:200]}") from error


def _read(kind: str, data: dict[str, Json]) -> Event:
    if kind == "granted":
        data["placement"] = {resource: tuple(units) for resource, units in data["placement"].items()}
    if kind == "outage":
        data["devices"] = tuple(data["devices"])
    event: Event = _KINDS[kind](**data)
    return event
