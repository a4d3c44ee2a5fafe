"""Progress of many runs: a bar with the time that is left on a terminal, now and then a line when piped."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import TYPE_CHECKING, Protocol

from twinclock._chart import duration
from twinclock.progress import can_show_bars

if TYPE_CHECKING:
    from rich.progress import Progress

_LINE_EVERY_S = 5.0


class ProgressWatcher(Protocol):
    """Told what happens, as it happens."""

    def begin(self, what: str, num: int, num_done: int) -> None:
        """So many `runs`, or `trials`, start or go on, some of them done already."""

    def ended(self, label: str, state: str, error: str | None) -> None:
        """One more has come to its end, good or bad."""


class _Unwatched:
    def begin(self, what: str, num: int, num_done: int) -> None:
        """Nothing."""

    def ended(self, label: str, state: str, error: str | None) -> None:
        """Nothing."""


def watching(quiet: bool) -> AbstractContextManager[ProgressWatcher]:
    """A watcher for a command: a bar if stderr is a terminal, lines if not, nothing if `quiet`."""
    if quiet:
        return nullcontext(_Unwatched())
    return _watching_bar() if sys.stderr.isatty() else nullcontext(_Lines())


def watching_in_python() -> AbstractContextManager[ProgressWatcher]:
    """A watcher for a call from Python: a bar in a notebook, nothing in a script."""
    return _watching_bar() if can_show_bars() else nullcontext(_Unwatched())


@contextmanager
def _watching_bar() -> Iterator[ProgressWatcher]:
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    text = TextColumn("{task.description}")
    columns = (text, BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(), TextColumn("left:"), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        yield _Bar(progress)


class _Bar:
    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self._task = progress.add_task("", total=None)
        self._what = ""
        self._counts: dict[str, int] = {}
        self._told: set[str] = set()

    def begin(self, what: str, num: int, num_done: int) -> None:
        self._what, self._counts = what, {}
        self._progress.reset(self._task, total=num - num_done, description=what)
        if num_done:
            self._progress.console.print(f"{num_done} of {num} {what} are done already")

    def ended(self, label: str, state: str, error: str | None) -> None:
        if error is not None and error not in self._told:
            self._told.add(error)
            self._progress.console.print(f"{label}: {state}: {error}", markup=False, highlight=False)
        if state != "done":
            self._counts[state] = self._counts.get(state, 0) + 1
        others = [f"{num} {state}" for state, num in sorted(self._counts.items())]
        self._progress.update(self._task, advance=1, description=" · ".join([self._what, *others]))


class _Lines:
    def __init__(self) -> None:
        self._pace = _Pace("", 0)
        self._told: set[str] = set()
        """Errors that were said, once for all that have them."""

    def begin(self, what: str, num: int, num_done: int) -> None:
        self._pace = _Pace(what, num - num_done)
        _say(f"{num} {what}, {num_done} of them done already")

    def ended(self, label: str, state: str, error: str | None) -> None:
        if error is not None and error not in self._told:
            self._told.add(error)
            _say(f"{label}: {state}: {error}")
        self._pace.one_more()


class _Pace:
    """Says now and then how many are done, and how long the rest will take."""

    def __init__(self, what: str, num_todo: int) -> None:
        """`what`: what is counted, such as `runs`."""
        self._what = what
        self._num_todo = num_todo
        self._num_ended = 0
        self._last_s = time.monotonic()
        self._first_ended_s = 0.0

    def one_more(self) -> None:
        """Another one is done; a line if the last is some seconds ago."""
        self._num_ended += 1
        now_s = time.monotonic()
        if self._num_ended == 1:  # the workers had to start first, which says nothing of the rest
            self._first_ended_s = now_s
        elif now_s - self._last_s >= _LINE_EVERY_S:
            self._last_s = now_s
            each_s = (now_s - self._first_ended_s) / (self._num_ended - 1)
            left_s = each_s * (self._num_todo - self._num_ended)
            _say(f"{self._num_ended} of {self._num_todo} {self._what}, about {duration(left_s)} left")


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)
