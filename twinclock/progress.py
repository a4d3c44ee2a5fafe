"""Progress of a run: bars on a terminal, now and then a plain line when piped."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import TYPE_CHECKING

from twinclock.messages import Command, Ended, Event, Start
from twinclock.stream import ClockTime
from twinclock.watch import UNWATCHED, Watcher

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID

_LINE_EVERY_S = 5.0
_BAR_EVERY_S = 0.1


def watching(quiet: bool) -> AbstractContextManager[Watcher]:
    """A watcher for a command: bars if stderr is a terminal, lines if not, nothing if `quiet`."""
    if quiet:
        return nullcontext(UNWATCHED)
    return _bars() if sys.stderr.isatty() else nullcontext(_Lines())


def watching_in_python() -> AbstractContextManager[Watcher]:
    """A watcher for a call from Python: bars in a notebook, nothing in a script."""
    shell = sys.modules["IPython"].get_ipython() if "IPython" in sys.modules else None
    return _bars() if type(shell).__name__ == "ZMQInteractiveShell" else nullcontext(UNWATCHED)


@contextmanager
def _bars() -> Iterator[Watcher]:
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        yield _Bars(progress)


class _Counts:
    """How far a run has come, counted from its events."""

    def __init__(self) -> None:
        self.num_samples = 0
        self.samples = 0
        self.triggers = 0
        self.trainings = 0
        self._chunks: dict[int, Start] = {}

    def event(self, event: Event, commands: Sequence[Command]) -> None:
        if isinstance(event, Ended):
            start = self._chunks.pop(event.id, None)
            if start is None:
                pass
            elif start.stage.operation == "INFORM_SELECTOR_AND_TRIGGER":
                self.triggers += event.outcome == "trigger"
            elif start.stage.operation == "STORE_TRAINED_MODEL":
                self.trainings += event.outcome == "done"
            elif start.stage.operation == "INFORM_SELECTOR_REMAINING_DATA":
                self.samples = start.inputs["batch"]["stop"]
        for command in commands:
            if isinstance(command, Start) and command.stage.operation in _COUNTED:
                self._chunks[command.id] = command


_COUNTED = ("INFORM_SELECTOR_AND_TRIGGER", "STORE_TRAINED_MODEL", "INFORM_SELECTOR_REMAINING_DATA")


class _Lines:
    def __init__(self) -> None:
        self._counts = _Counts()
        self._last_s = time.monotonic()

    def begin(self, num_samples: int) -> None:
        self._counts.num_samples = num_samples

    def event(self, now: ClockTime, event: Event, commands: Sequence[Command]) -> None:
        counts = self._counts
        counts.event(event, commands)
        if time.monotonic() - self._last_s >= _LINE_EVERY_S:
            self._last_s = time.monotonic()
            done = f"{counts.samples} of {counts.num_samples} samples"
            line = f"{done}, {counts.triggers} triggers, {counts.trainings} models, clock {now:.1f} s"
            print(line, file=sys.stderr, flush=True)

    def training(self, device: str, job: str, done: float) -> None:
        """Too fine for lines."""


class _Bars:
    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self._counts = _Counts()
        self._samples = progress.add_task("samples", total=None)
        self._trainings: dict[str, TaskID] = {}
        self._last_s = 0.0

    def begin(self, num_samples: int) -> None:
        self._counts.num_samples = num_samples
        self._progress.update(self._samples, total=num_samples)

    def event(self, now: ClockTime, event: Event, commands: Sequence[Command]) -> None:
        counts = self._counts
        counts.event(event, commands)
        if time.monotonic() - self._last_s >= _BAR_EVERY_S:
            self._last_s = time.monotonic()
            text = f"samples · {counts.triggers} triggers · {counts.trainings} models"
            self._progress.update(self._samples, completed=counts.samples, description=text)

    def training(self, device: str, job: str, done: float) -> None:
        if device not in self._trainings:
            self._trainings[device] = self._progress.add_task(f"training on {device}", total=100)
        self._progress.update(self._trainings[device], completed=round(100 * done))
