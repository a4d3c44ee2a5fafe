"""Every moment of a run at which its folder changes for good, and what the folder would be if all ended right there.

While `Moments` watches, each commit of the journal and each rename is two moments: before it and after it. At each,
what the processes have written so far is copied: so the copy is what `kill -9` leaves, with no `finally` done.

`Disk` knows besides what is durable: the content of a file since it was last synced, the names in a folder since the
folder was. All else a power cut may take; the worst copy has none of it.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from twinclock.journal import JOURNAL, MARK, Journal

DATABASE = (JOURNAL, f"{JOURNAL}-wal")
"""SQLite syncs these itself, before a commit returns."""


class Moment(NamedTuple):
    """A place in the course of a run: the n-th time that something was about to happen, or had happened."""

    what: str
    number: int
    is_after: bool


class Moments:
    """Tells `at` of every moment, one at a time, whichever thread it is in."""

    def __init__(self, at: Callable[[Moment], None]) -> None:
        self._at = at
        self._one_at_a_time = threading.RLock()
        self._counts: Counter[str] = Counter()

    @contextmanager
    def around(self, what: str) -> Iterator[None]:
        with self._one_at_a_time:
            number = self._counts[what]
            self._counts[what] += 1
            self._at(Moment(what, number, False))
            yield
            self._at(Moment(what, number, True))

    def watch(self, patch: pytest.MonkeyPatch) -> None:
        commit, rename, replace = Journal.commit, os.rename, os.replace

        def watched_commit(journal: Journal) -> None:
            if journal._database.in_transaction:
                with self.around("commit"):
                    commit(journal)

        def watched(move: Callable[..., None]) -> Callable[..., None]:
            def moved(source: Any, target: Any, **options: Any) -> None:
                with self.around(kind(Path(target))):
                    move(source, target, **options)

            return moved

        patch.setattr(Journal, "commit", watched_commit)
        patch.setattr(os, "rename", watched(rename))
        patch.setattr(os, "replace", watched(replace))


def kind(target: Path) -> str:
    """What a rename makes: `model`, `result`, `evaluation`, `header`, `table`..."""
    if target.parent.name.endswith(".checkpoint"):
        return "checkpoint"
    if target.parent.parent.name == "tables":
        return "table"
    kinds = {"models": "model", "work": "result", "evaluations": "evaluation", "superseded": "superseded"}
    return kinds.get(target.parent.name, {"run.json": "header"}.get(target.name, target.name))


def copied(folder: Path, target: Path) -> Path:
    """The folder as it is; what vanishes meanwhile was being written by another thread, and was not there yet."""
    target.mkdir()
    for directory, folders, names in os.walk(folder):
        there = target / Path(directory).relative_to(folder)
        there.mkdir(exist_ok=True)
        links = [name for name in folders if (Path(directory) / name).is_symlink()]
        for name in [*names, *links]:
            with contextlib.suppress(FileNotFoundError):
                shutil.copyfile(Path(directory) / name, there / name, follow_symlinks=False)
    return target


class Disk:
    """What of a folder is durable, while `watch` is in effect."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self._synced: dict[int, tuple[os.stat_result, bytes]] = {}
        """Inode → how the file was when it was synced."""
        self._names: dict[Path, dict[str, bytes | Path | None]] = {}
        """Folder → names in it when synced, and what of each was durable: None of a folder, a path of a link."""

    def watch(self, patch: pytest.MonkeyPatch) -> None:
        """To be called before `Moments.watch`, so that a rename is known by the moment after it."""
        fsync, rename = os.fsync, os.rename

        def synced(descriptor: int) -> None:
            fsync(descriptor)
            path = Path(os.readlink(f"/proc/self/fd/{descriptor}"))
            if path.is_dir():
                self._names[path] = {each.name: self._durable(each) for each in path.iterdir()}
            else:
                status = os.fstat(descriptor)
                self._synced[status.st_ino] = (status, path.read_bytes())

        def renamed(source: Any, target: Any, **options: Any) -> None:
            rename(source, target, **options)
            moved = [each for each in self._names if each.is_relative_to(source)]
            self._names |= {Path(target) / each.relative_to(source): self._names.pop(each) for each in moved}

        patch.setattr(os, "fsync", synced)
        patch.setattr(os, "rename", renamed)

    def after_power_cut(self, target: Path, mark: str) -> Path:
        """A copy of what is surely left. `mark`: the journal's is never synced, so it is `kept`, `lost` or `empty`."""
        self._leave(self.root, target)
        for name in DATABASE:
            with contextlib.suppress(FileNotFoundError):
                shutil.copyfile(self.root / name, target / name)
        (target / MARK).unlink(missing_ok=True)
        if mark == "kept":
            shutil.copyfile(self.root / MARK, target / MARK)
        elif mark == "empty":
            (target / MARK).touch()
        return target

    def _durable(self, path: Path) -> bytes | Path | None:
        if path.is_symlink():
            return path.readlink()
        if path.is_dir():
            return None
        status = path.stat()
        then, content = self._synced.get(status.st_ino, (None, b""))
        is_synced = then is not None and (then.st_mtime_ns, then.st_size) == (status.st_mtime_ns, status.st_size)
        return content if is_synced else b""

    def _leave(self, folder: Path, target: Path) -> None:
        target.mkdir()
        for name, content in self._names.get(folder, {}).items():
            if content is None:
                self._leave(folder / name, target / name)
            elif isinstance(content, Path):
                (target / name).symlink_to(content)
            else:
                (target / name).write_bytes(content)


def file_name(moment: Moment) -> str:
    """For a folder that holds a copy."""
    return re.sub(r"[^a-z0-9]+", "-", f"{moment.what}-{moment.number}-{'after' if moment.is_after else 'before'}")
