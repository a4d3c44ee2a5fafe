"""Progress of a search: a bar with the time that is left on a terminal, now and then a line when piped."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import TYPE_CHECKING, Protocol

from experiments.progress import Pace, progress_bar, say_line
from twinclock.progress import is_notebook

if TYPE_CHECKING:
    from rich.progress import Progress


class SearchWatcher(Protocol):
    """Told what happens, as it happens."""

    def begin(self, what: str, num: int, num_done: int) -> None:
        """So many `trials`, or `real runs`, start or go on, some of them done already."""

    def ended(self, label: str, state: str, error: str | None) -> None:
        """One more has come to its end, good or bad."""


class _Unwatched:
    def begin(self, what: str, num: int, num_done: int) -> None:
        """Nothing."""

    def ended(self, label: str, state: str, error: str | None) -> None:
        """Nothing."""


UNWATCHED: SearchWatcher = _Unwatched()


def watching_search(quiet: bool) -> AbstractContextManager[SearchWatcher]:
    """A watcher for a command: a bar if stderr is a terminal, lines if not, nothing if `quiet`."""
    if quiet:
        return nullcontext(UNWATCHED)
    return _watching_bar() if sys.stderr.isatty() else nullcontext(_Lines())


def watching_search_in_python() -> AbstractContextManager[SearchWatcher]:
    """A watcher for a call from Python: a bar in a notebook, nothing in a script."""
    return _watching_bar() if is_notebook() else nullcontext(UNWATCHED)


@contextmanager
def _watching_bar() -> Iterator[SearchWatcher]:
    with progress_bar() as progress:
        yield _Bar(progress)


class _Bar:
    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self._task = progress.add_task("trials", total=None)
        self._what = "trials"
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
        self._pace = Pace("trials", 0)
        self._told: set[str] = set()
        """Errors that were said, once for all trials that have them."""

    def begin(self, what: str, num: int, num_done: int) -> None:
        self._pace = Pace(what, num - num_done)
        say_line(f"{num} {what}, {num_done} of them done already")

    def ended(self, label: str, state: str, error: str | None) -> None:
        if error is not None and error not in self._told:
            self._told.add(error)
            say_line(f"{label}: {state}: {error}")
        self._pace.one_more()
