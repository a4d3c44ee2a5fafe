"""The folder of a run: what lies where, and how a run that did not finish can never look finished.

| path | holds |
|---|---|
| run.json | the header: versions, hashes, dates, how the run ended, and its state (below) |
| config.yaml, graph.json | what was run |
| tables/NAME/00000.parquet | the records, in parts, written as the run goes on |
| journal.sqlite | real mode: every event, before its effects, since the last snapshot (see `journal`) |
| samples/00000/ | of a source that grows: what came, as it landed (see `landed`) |
| models/00003/ | real mode: the model of trigger 3 |
| lock | held by the process that runs it |

The state is `running` from the first header on, the last of the files that make a run; so it stays after a
`kill -9`. A run that was interrupted is `suspended` (`interrupted` if it can't go on), one that met an
error outside the graph is `crashed`. `finished` is written when all else is durable, and only then.
"""

from __future__ import annotations

import errno
import fcntl
import json
import os
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import IO, Any

import polars as pl

from twinclock.errors import RunError
from twinclock.schemas import SCHEMAS

HEADER = "run.json"
SAMPLES = "samples"
"""Folder in the run's folder that holds what landed of a source that grows (see `landed`)."""
QUARANTINE = "quarantine.parquet"
"""In the folder of each landing: what was turned away."""
FLEET = "fleet.json"
"""What makes a folder that of a fleet: it holds the folders of runs."""
_NAMED = 5
"""Runs that a message names."""
FORMAT = 1
"""Version of the folder's layout and of the tables' schemas."""
_MAKING = threading.RLock()


class RunFolder:
    """One run's folder, held by this process until closed."""

    def __init__(self, path: Path, lock: IO[str]) -> None:
        """Use `create` or `reopen`."""
        self.path = path
        self._lock = lock
        self._num_parts = 0

    @classmethod
    def create(cls, path: Path) -> RunFolder:
        """A new folder; it is a run once its header is written. RunError if it can't be or holds something already."""
        if path.exists() and not path.is_dir():
            raise RunError(f"{path}: a file; expected a new folder for the run")
        with told_as_run_error(path):
            make_folder(path)
            if any(path.iterdir()):
                raise RunError(f"{path}: not empty; expected a new folder for the run")
            return cls(path, _locked(path))

    @classmethod
    def reopen(cls, path: Path) -> RunFolder:
        """The folder of a run that is to go on. RunError if there is no such run, or another process has it."""
        _ensure_unfinished(path)
        with told_as_run_error(path):
            folder = cls(path, _locked(path))
        try:
            _ensure_unfinished(path)  # it may have finished before the lock was ours
        except RunError:
            folder.close()
            raise
        return folder

    def __enter__(self) -> RunFolder:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Let go of the folder."""
        self._lock.close()

    def write_text(self, name: str, text: str) -> None:
        """Write a file, or replace it, in one step. RunError if it can't be written."""
        with told_as_run_error(self.path), replace_durably(self.path / name) as unfinished:
            unfinished.write_text(text, encoding="utf-8")

    def write_header(self, header: Mapping[str, Any]) -> None:
        """Replace the header in one step."""
        whole = {"format": FORMAT, **header}
        self.write_text(HEADER, json.dumps(whole, indent=2, allow_nan=False) + "\n")

    def update_header(self, **changes: Any) -> None:
        """Change some keys of the header."""
        self.write_header({**read_header(self.path), **changes})

    @property
    def num_parts(self) -> int:
        """How many parts of the tables there are."""
        return self._num_parts

    def num_files(self, before_part: int) -> dict[str, int]:
        """Table → how many files hold its parts up to a number; a part of it that would be empty has none."""
        return {
            name: sum(file.name < f"{before_part:05d}" for file in _parts(self.path, name)) for name in sorted(SCHEMAS)
        }

    def ensure_files(self, before_part: int, num_files: Mapping[str, int]) -> None:
        """RunError if any of the files is gone that `num_files` counted."""
        found = self.num_files(before_part)
        for name, expected in num_files.items():
            if missing := expected - found[name]:
                raise RunError(
                    f"{self.path / 'tables' / name}: {missing} of {expected} parts are missing; "
                    "what they held is no longer in the journal"
                )

    def drop_tables(self, from_part: int = 0) -> None:
        """Take back all parts from a number on: they are made again from the journal."""
        kept = {f"{number:05d}.parquet" for number in range(from_part)}
        with told_as_run_error(self.path):
            for table in (self.path / "tables").glob("*"):
                for file in [file for file in table.iterdir() if file.name not in kept]:
                    file.unlink()
                sync(table)
        self._num_parts = from_part

    def write_tables(self, tables: Mapping[str, pl.DataFrame]) -> None:
        """Add a part to every table that has rows (the first part of each is written even if empty).

        RunError if it can't be written.
        """
        with told_as_run_error(self.path):
            for name, table in tables.items():
                part = self.path / "tables" / name / f"{self._num_parts:05d}.parquet"
                if self._num_parts and table.is_empty():
                    continue
                make_folder(part.parent)
                with replace_durably(part) as unfinished:
                    table.write_parquet(unfinished, compression="zstd")
        self._num_parts += 1


def read_header(path: Path) -> dict[str, Any]:
    """The header of a run folder. RunError if there is none, or it is of another format."""
    file = path / HEADER
    try:
        header = json.loads(file.read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError):
        raise RunError(_no_run(path)) from None
    except (OSError, ValueError) as error:
        raise RunError(f"{file}: can't be read ({error})") from None
    if not isinstance(header, dict) or not {"format", "state", "executor"} <= header.keys():
        raise RunError(f"{file}: not the header of a run; expected format, state and executor in it")
    if header["format"] != FORMAT:
        raise RunError(f"{file}: format {header['format']!r}, expected {FORMAT}; made by another version")
    return header


def _no_run(path: Path) -> str:
    """Why there is no header: perhaps the runs are one level below."""
    if not path.is_dir():
        return f"{path}: {'a file' if path.exists() else 'no such folder'}, expected the folder of a run"
    runs = sorted(str(each.parent) for each in path.glob(f"*/{HEADER}"))
    named = ", ".join(runs[:_NAMED]) + (f" and {len(runs) - _NAMED} more" if len(runs) > _NAMED else "")
    if (path / FLEET).exists():
        return f"{path}: this is a fleet, expected one of its runs: {named}"
    return f"{path}: no {HEADER} here; expected the folder of a run{f', such as {named}' if runs else ''}"


class StoredTables(Mapping[str, pl.DataFrame]):
    """The tables of a run as far as they were written by now; each is read when first asked for, and then kept.

    A run whose tables are larger than its memory can so be made, and looked at where it is small. RunError if a table
    that is asked for can't be read.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._parts = {name: _parts(path, name) for name in SCHEMAS}
        landings = (file for file in (path / SAMPLES).glob(f"*/{QUARANTINE}") if file.parent.name.isdecimal())
        self._parts["quarantine"] += sorted(landings)  # those only that were finished
        self._read: dict[str, pl.DataFrame] = {}

    def __getitem__(self, name: str) -> pl.DataFrame:
        if name not in self._read:
            self._read[name] = self._whole(name)
        return self._read[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._parts)

    def __len__(self) -> int:
        return len(self._parts)

    def _whole(self, name: str) -> pl.DataFrame:
        parts = self._parts[name]
        try:
            # a column that a run of an earlier version did not have is null
            return pl.concat(
                [pl.DataFrame(schema=SCHEMAS[name]), *(pl.read_parquet(part) for part in parts)], how="diagonal"
            )
        except (pl.exceptions.PolarsError, OSError) as error:
            told = f"{self._path / 'tables' / name}: can't be read ({str(error).splitlines()[0]})"
            raise RunError(told) from None


def _parts(path: Path, name: str) -> list[Path]:
    return sorted((path / "tables" / name).glob("*.parquet"))


@contextmanager
def held(path: Path) -> Iterator[None]:
    """Have a run's folder for oneself. RunError if there is no run, or another process has it."""
    read_header(path)
    with told_as_run_error(path), _locked(path):
        yield


@contextmanager
def replace_durably(file: Path) -> Iterator[Path]:
    """Write to the path given; the file is then whole or as it was before, also after a power cut."""
    unfinished = file.with_name(file.name + ".tmp")
    try:
        yield unfinished
        sync(unfinished)
        os.replace(unfinished, file)
    except BaseException:
        unfinished.unlink(missing_ok=True)
        raise
    sync(file.parent)


def make_folder(path: Path) -> None:
    """Make a folder, and those around it, unless they are there; their names then survive a power cut too.

    Several threads or processes may do so at once.
    """
    with _MAKING:  # nobody goes on in a folder whose name another thread has not made durable yet
        if not path.is_dir():
            make_folder(path.parent)
            try:
                path.mkdir(exist_ok=True)
            except FileExistsError:
                raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), str(path)) from None
            sync(path.parent)


def sync(path: Path) -> None:
    """Return once what was written to a file, or the names in a folder, would survive a power cut."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def wall_clock_date() -> str:
    """Now, for a header or a log; no decision may depend on it."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def _ensure_unfinished(path: Path) -> None:
    if read_header(path)["state"] == "finished":
        raise RunError(f"{path}: this run is finished; there is nothing to resume")


@contextmanager
def told_as_run_error(path: Path) -> Iterator[None]:
    """What the file system refuses becomes one line that names the folder."""
    try:
        yield
    except (OSError, pl.exceptions.PolarsError) as error:
        reason = getattr(error, "strerror", None) or str(error).splitlines()[0]
        raise RunError(f"{path}: can't be written ({reason}); expected a writable folder with space left") from error


def _locked(path: Path) -> IO[str]:
    lock = open(path / "lock", "a+", encoding="utf-8")  # noqa: SIM115 - held until the folder is closed
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        lock.close()
        if isinstance(error, BlockingIOError):
            raise RunError(f"{path}: in use by another process; wait for it, or stop it first") from None
        raise
    return lock
