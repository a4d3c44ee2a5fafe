"""A watched folder: which of its files are complete, and what is in them.

Each file is read once, files in the order of their names. A file counts as complete when

* a Parquet file has its footer;
* a CSV or JSON-lines file ends with a line break and has not changed for `settle` seconds;
* there is a file `_END`: then nobody writes any more.

Names that begin with `.` or `_`, or end in `.tmp` or `.part`, are left alone, and so are folders. A file that stays
incomplete and unchanged for a long time is read as it is, and what is wrong with it is refused.
"""

from __future__ import annotations

import hashlib
import json
import os
import stat
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl

from real.sources.columns import Wanted, typed, wrong_schema
from real.sources.protocol import MAX_TEXT, Arrival, Fetched, Reason, Refused
from real.sources.text import LineError, read_text, texts_at
from twinclock.folder import FolderConfig
from twinclock.graph import Json
from twinclock.landed import LandedSamples
from twinclock.stream import ClockTime

END = "_END"
"""The file that says that no more will come."""
SUFFIXES = (".parquet", ".csv", ".jsonl")
MAX_ROWS = 10_000_000
"""Records in one file; more are refused, as they might not fit into memory."""
GIVE_UP = 30
"""After so many times `settle` a file that does not change is not waited for any longer."""
_TRIES = 10
"""How often a file that can't be read is tried again."""
_UNFINISHED = (".tmp", ".part")
_MAGIC = b"PAR1"


@dataclass(frozen=True, slots=True)
class _Look:
    """A file as it was when it was looked at."""

    name: str
    size_bytes: int
    changed_ns: int
    inode: int

    @property
    def version(self) -> tuple[int, int]:
        """What differs after it was written to."""
        return self.size_bytes, self.changed_ns


class FolderSource:
    """The source; its position is the number of files that were read, whose names are in the landings."""

    def __init__(self, config: FolderConfig, task: str, samples: LandedSamples) -> None:
        """`task`: of the training, which says what labels are. `samples`: where the manifests are."""
        self._config = config
        self._wanted = Wanted.of(config, task)
        self._samples = samples
        self._taken: dict[str, dict[str, Json]] = {}
        """Name of a file → what the manifest says of it."""
        self._num_landings = 0
        """Landings whose files are in `_taken`."""
        self._same: dict[str, tuple[int, int]] = {}
        """Files that were touched since they were read, but are the same."""
        self._since: dict[str, tuple[tuple[int, int], ClockTime]] = {}
        """Name of a file → a version of it, and since when it has been that."""
        self._failures: dict[str, int] = {}
        """Name of a file → how often it could not be read."""

    def fetch(self, position: Json, now: ClockTime, limit: int) -> Fetched | None:
        """Whole files, until `limit` records are reached."""
        self._learn()
        is_over = (self._config.folder / END).exists()  # before the files are listed: those written before it are there
        arrivals: list[Arrival] = []
        num_records, waits = 0, False
        for look, complaint, is_whole in self._due(now, is_over):
            if look is None:
                waits = True
                continue
            if num_records >= limit:
                waits = True
                break
            arrival = self._arrival(look, complaint, is_whole)
            if arrival is None:
                waits = True
                continue
            arrivals.append(arrival)
            num_records += arrival.rows.height + len(arrival.refused)
        is_last = is_over and not waits
        if not arrivals and not is_last:
            return None
        num_files = len(self._taken) + sum(arrival.origin["file"] not in self._taken for arrival in arrivals)
        return Fetched(arrivals, {"files": num_files}, is_last)

    def has_news(self, position: Json, now: ClockTime) -> bool:
        """Is a file complete, or the end there?"""
        self._learn()
        is_over = (self._config.folder / END).exists()
        return is_over or any(look is not None for look, _, _ in self._due(now, is_over))

    def _learn(self) -> None:
        landings = self._samples.landings
        for landing in landings[self._num_landings :]:
            for origin in landing.origins:
                self._taken[origin["file"]] = dict(origin)
                self._since.pop(origin["file"], None)
        self._num_landings = len(landings)

    def _due(self, now: ClockTime, is_over: bool) -> Iterator[tuple[_Look | None, tuple[Reason, str] | None, bool]]:
        """Each file to be dealt with: to be read, whole or cut off, or complained about. None: it is waited for."""
        with os.scandir(self._config.folder) as entries:
            names = sorted(entry.name for entry in entries if not _is_ignored(entry.name))
        for name in names:
            try:
                status = os.lstat(self._config.folder / name)
            except FileNotFoundError:
                continue
            look = _Look(name, status.st_size, status.st_mtime_ns, status.st_ino)
            if name in self._taken:
                if self._has_changed(look, status.st_mode):
                    yield look, ("changed", "changed after it was read; expected a new file for new records"), True
                continue
            if stat.S_ISDIR(status.st_mode) and not name.endswith(SUFFIXES):
                continue
            if wrong := _no_file(name, status.st_mode):
                yield look, ("malformed", wrong), True
                continue
            if self._failures.get(name, 0) >= _TRIES:
                yield look, ("malformed", f"can't be read, tried {_TRIES} times"), True
                continue
            unchanged_s = self._unchanged_s(look, now)
            try:
                is_whole = _is_whole(self._config.folder / name)
            except FileNotFoundError:
                continue
            except OSError:
                self._failures[name] = self._failures.get(name, 0) + 1
                yield None, None, False
                continue
            settle_s = 0.0 if name.endswith(".parquet") else self._config.settle
            gives_up = unchanged_s >= GIVE_UP * self._config.settle
            if is_over or (is_whole and unchanged_s >= settle_s) or gives_up:
                yield look, None, is_whole or is_over
            else:
                yield None, None, False

    def _unchanged_s(self, look: _Look, now: ClockTime) -> float:
        version, since = self._since.get(look.name, (None, now))
        if version != look.version:
            self._since[look.name] = (look.version, now)
            return 0.0
        return now - since

    def _has_changed(self, look: _Look, mode: int) -> bool:
        """Since it was read, and was that not told before? A file that was only touched has not."""
        taken = self._taken[look.name]
        if taken["changed"] or [*look.version] == taken["version"] or self._same.get(look.name) == look.version:
            return False
        try:
            if stat.S_ISREG(mode) and _digest(self._config.folder / look.name) == taken["sha256"]:
                self._same[look.name] = look.version
                return False
        except OSError:
            return False
        return True

    def _arrival(self, look: _Look, complaint: tuple[Reason, str] | None, is_whole: bool) -> Arrival | None:
        """What is in a file; None if it changed while it was read."""
        file, source = self._config.folder / look.name, _named(look.name)
        origin = {"file": look.name, "version": [*look.version], "sha256": None, "changed": False}
        if complaint is not None:
            reason, detail = complaint
            origin["changed"] = reason == "changed"
            return self._refused(source, origin, Refused(source, None, reason, detail, None, int(reason != "changed")))
        try:
            origin["sha256"] = _digest(file)
            read = self._parquet if file.suffix == ".parquet" else self._text
            arrival = read(file, source, origin, is_whole)
            status = os.lstat(file)
        except OSError:
            self._failures[look.name] = self._failures.get(look.name, 0) + 1
            return None
        if (status.st_size, status.st_mtime_ns, status.st_ino) != (*look.version, look.inode):
            return None
        return arrival

    def _text(self, file: Path, source: str, origin: Mapping[str, Json], is_whole: bool) -> Arrival:
        try:
            read = read_text(file, source, self._wanted, needs_last_break=not is_whole, max_rows=MAX_ROWS)
        except LineError as error:
            reason, detail = error.args
            with open(file, "rb") as stream:
                num_lines = sum(block.count(b"\n") for block in iter(lambda: stream.read(2**20), b""))
            first = texts_at(file, [0])[0]
            return self._refused(source, origin, Refused(source, None, reason, detail, first, max(1, num_lines - 1)))
        return Arrival(
            source=source,
            origin=origin,
            rows=read.rows,
            keys=read.keys,
            lines=read.lines,
            texts=lambda rows: texts_at(file, [int(read.offsets[row]) for row in rows]),
            refused=read.refused,
        )

    def _parquet(self, file: Path, source: str, origin: Mapping[str, Json], _is_whole: bool) -> Arrival:
        wanted = self._wanted
        try:
            scan = pl.scan_parquet(file, glob=False)
            num_rows = int(scan.select(pl.len()).collect().item())
            wrong = wrong_schema(scan.collect_schema(), wanted)
            if wrong is None and num_rows > MAX_ROWS:
                wrong = f"{num_rows} records, expected at most {MAX_ROWS} in a file"
            if wrong is not None:
                return self._refused(source, origin, Refused(source, None, "schema", wrong, None, num_rows))
            raw = scan.select(wanted.names).collect()
        except BaseException as error:  # polars panics over some broken files, with what is no Exception
            if isinstance(error, OSError | MemoryError) or not _is_of_polars(error):
                raise
            detail = f"can't be read as Parquet ({' '.join(str(error).split())[:120]})"
            return self._refused(source, origin, Refused(source, None, "malformed", detail, None, 1))
        found = typed(raw, wanted)
        right = np.array([fault is None for fault in found.faults], bool)
        rows = np.flatnonzero(right)

        def texts(numbers: Sequence[int]) -> list[str]:
            return [_row_text(raw, number) for number in numbers]

        wrong_rows = np.flatnonzero(~right).tolist()
        return Arrival(
            source=source,
            origin=origin,
            rows=found.rows.filter(pl.Series(right)),
            keys=None if found.keys is None else found.keys.filter(pl.Series(right)),
            lines=rows + 1,
            texts=lambda numbers: texts([int(rows[number]) for number in numbers]),
            refused=[
                Refused(source, row + 1, "schema", found.faults[row], _row_text(raw, row), 1) for row in wrong_rows
            ],
        )

    def _refused(self, source: str, origin: Mapping[str, Json], refused: Refused) -> Arrival:
        """A file of which nothing is taken."""
        return Arrival(
            source=source,
            origin=origin,
            rows=pl.DataFrame(schema=self._wanted.schema),
            keys=pl.Series("key", [], pl.String) if self._wanted.key else None,
            lines=np.empty(0, np.int64),
            texts=lambda _: [],
            refused=[refused],
        )


def _is_ignored(name: str) -> bool:
    return name.startswith((".", "_")) or name.endswith(_UNFINISHED)


def _no_file(name: str, mode: int) -> str | None:
    """Why something in the folder is no file to read; None: it is one."""
    if stat.S_ISLNK(mode):
        return "a link, expected a file"
    if stat.S_ISDIR(mode):
        return "a folder, expected a file"
    if not stat.S_ISREG(mode):
        return "no regular file"
    if _named(name) != name:
        return "its name is no UTF-8, expected text"
    if not name.endswith(SUFFIXES):
        return f"expected a name that ends in {', '.join(SUFFIXES)}"
    return None


def _is_whole(file: Path) -> bool:
    """Does a file end as files of its kind do? OSError if it can't be read."""
    descriptor = os.open(file, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    with open(descriptor, "rb") as stream:
        size_bytes = stream.seek(0, os.SEEK_END)
        if file.suffix != ".parquet":
            stream.seek(max(0, size_bytes - 1))
            return stream.read(1) == b"\n"
        if size_bytes < 3 * len(_MAGIC):
            return False
        stream.seek(size_bytes - 8)
        footer = stream.read(8)
        return footer[4:] == _MAGIC and int.from_bytes(footer[:4], "little") <= size_bytes - 12


def _digest(file: Path) -> str:
    with open(file, "rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _named(name: str) -> str:
    """A file's name as text that can be stored; names are bytes, and need not be text."""
    return os.fsencode(name).decode("utf-8", "backslashreplace")


def _is_of_polars(error: BaseException) -> bool:
    return isinstance(error, pl.exceptions.PolarsError | pl.exceptions.PanicException)


def _row_text(raw: pl.DataFrame, row: int) -> str:
    return json.dumps(raw.row(row, named=True), default=str, ensure_ascii=False)[:MAX_TEXT]
