"""Progress of a sweep: a bar with the time that is left on a terminal, now and then a line when piped."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import TYPE_CHECKING, Protocol

from experiments.job import Job
from experiments.store import Result
from twinclock._chart import duration
from twinclock.progress import is_notebook

if TYPE_CHECKING:
    from rich.progress import Progress

_LINE_EVERY_S = 5.0


class SweepWatcher(Protocol):
    """Told what happens, as it happens."""

    def begin(self, num_runs: int, num_todo: int) -> None:
        """A sweep starts, or goes on: so many runs in all, so many to do."""

    def ended(self, job: Job, result: Result) -> None:
        """A run has come to its end, good or bad."""


class _Unwatched:
    def begin(self, num_runs: int, num_todo: int) -> None:
        """Nothing."""

    def ended(self, job: Job, result: Result) -> None:
        """Nothing."""


UNWATCHED: SweepWatcher = _Unwatched()


def watching_sweep(quiet: bool) -> AbstractContextManager[SweepWatcher]:
    """A watcher for a command: a bar if stderr is a terminal, lines if not, nothing if `quiet`."""
    if quiet:
        return nullcontext(UNWATCHED)
    return _watching_bar() if sys.stderr.isatty() else nullcontext(_Lines())


def watching_sweep_in_python() -> AbstractContextManager[SweepWatcher]:
    """A watcher for a call from Python: a bar in a notebook, nothing in a script."""
    return _watching_bar() if is_notebook() else nullcontext(UNWATCHED)


@contextmanager
def _watching_bar() -> Iterator[SweepWatcher]:
    with progress_bar() as progress:
        yield _Bar(progress)


def progress_bar() -> Progress:
    """A bar on stderr with how many are done of how many, and the time that is left."""
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
    return Progress(*columns, console=Console(stderr=True), transient=True)


class _Bar:
    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self._task = progress.add_task("runs", total=None)
        self._num_failed = 0
        self._told: set[str | None] = set()

    def begin(self, num_runs: int, num_todo: int) -> None:
        self._progress.update(self._task, total=num_todo)
        if num_todo < num_runs:
            self._progress.console.print(f"{num_runs - num_todo} of {num_runs} runs are done already")

    def ended(self, job: Job, result: Result) -> None:
        if result.state != "done":
            self._num_failed += 1
            if result.error not in self._told:
                self._told.add(result.error)
                self._progress.console.print(_failure(job, result), markup=False, highlight=False)
        text = f"runs · {self._num_failed} failed" if self._num_failed else "runs"
        self._progress.update(self._task, advance=1, description=text)


class _Lines:
    def __init__(self) -> None:
        self._pace = Pace("runs", 0)
        self._told: set[str | None] = set()
        """Errors that were said, once for all runs that have them."""

    def begin(self, num_runs: int, num_todo: int) -> None:
        self._pace = Pace("runs", num_todo)
        say_line(f"{num_runs} runs, {num_runs - num_todo} of them done already")

    def ended(self, job: Job, result: Result) -> None:
        if result.state != "done" and result.error not in self._told:
            self._told.add(result.error)
            say_line(_failure(job, result))
        self._pace.one_more()


class Pace:
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
            say_line(f"{self._num_ended} of {self._num_todo} {self._what}, about {duration(left_s)} left")


def _failure(job: Job, result: Result) -> str:
    return f"{job.label}: {result.state}: {result.error}"


def say_line(line: str) -> None:
    """Print a line on stderr, at once."""
    print(line, file=sys.stderr, flush=True)
