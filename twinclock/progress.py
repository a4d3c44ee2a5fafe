"""Progress of a run, or of all pipelines of a fleet: bars on a terminal, now and then a plain line when piped."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from importlib.util import find_spec
from typing import TYPE_CHECKING

from twinclock.messages import Command, Ended, Event, Start
from twinclock.stream import ClockTime
from twinclock.watch import UNWATCHED, FleetWatcher, Watcher

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID

_LINE_EVERY_S = 5.0
_BAR_EVERY_S = 0.1


def watching(quiet: bool) -> AbstractContextManager[FleetWatcher]:
    """A watcher for a command: bars if stderr is a terminal, lines if not, nothing if `quiet`."""
    if quiet:
        return nullcontext(UNWATCHED)
    return _bars() if sys.stderr.isatty() else nullcontext(_Lines())


def watching_in_python() -> AbstractContextManager[FleetWatcher]:
    """A watcher for a call from Python: bars in a notebook, nothing in a script."""
    return _bars() if can_show_bars() else nullcontext(UNWATCHED)


def can_show_bars() -> bool:
    """Is this a notebook with ipywidgets, without which rich shows a warning in the place of a bar?"""
    shell = sys.modules["IPython"].get_ipython() if "IPython" in sys.modules else None
    return type(shell).__name__ == "ZMQInteractiveShell" and find_spec("ipywidgets") is not None


@contextmanager
def _bars() -> Iterator[FleetWatcher]:
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        yield _Bars(progress)


class _Counts:
    """How far the pipelines have come, by numbers that count from the start also when a run goes on from a snapshot."""

    def __init__(self) -> None:
        self.num_samples: int | None = 0
        self.samples = 0
        self.triggers = 0
        self.trainings = 0
        self._reached: dict[tuple[str, str], int] = {}
        """(what is counted, pipeline) → its part of that."""
        self._open: dict[tuple[str, int], Start] = {}

    def expect(self, num_samples: int | None) -> None:
        """So many more; None: nobody knows how many in all."""
        known = self.num_samples is not None and num_samples is not None
        self.num_samples = (self.num_samples or 0) + (num_samples or 0) if known else None

    def event(self, pipeline: str, event: Event, commands: Sequence[Command]) -> None:
        if isinstance(event, Ended):
            start = self._open.pop((pipeline, event.id), None)
            if start is None:
                pass
            elif start.stage.operation == "INFORM_SELECTOR_REMAINING_DATA":
                self.samples += self._more("samples", pipeline, start.inputs["batch"]["stop"])
            elif event.outcome == "trigger":
                self.triggers += self._more("triggers", pipeline, event.values["trigger"]["serial"] + 1)
        for command in commands:
            if isinstance(command, Start):
                if command.stage.operation in _COUNTED:
                    self._open[pipeline, command.id] = command
                elif command.stage.operation == "EVALUATE":
                    self.trainings += self._more("trainings", pipeline, command.registers["models"]["total"])

    def _more(self, what: str, pipeline: str, reached: int) -> int:
        before = self._reached.get((what, pipeline), 0)
        self._reached[what, pipeline] = max(before, reached)
        return max(0, reached - before)


class _OfPipeline:
    """Tells of one of several pipelines to who shows them all."""

    def __init__(self, pipeline: str, shown_by: _Lines | _Bars) -> None:
        self._pipeline = pipeline
        self._shown_by = shown_by

    def begin(self, num_samples: int | None) -> None:
        self._shown_by.expect(num_samples)

    def event(self, now: ClockTime, event: Event, commands: Sequence[Command]) -> None:
        self._shown_by.event_of(self._pipeline, now, event, commands)

    def training(self, device: str, job: str, done: float) -> None:
        self._shown_by.training(device, job, done)


_COUNTED = ("INFORM_SELECTOR_AND_TRIGGER", "INFORM_SELECTOR_REMAINING_DATA")


class _Lines:
    def __init__(self) -> None:
        self._counts = _Counts()
        self._last_s = time.monotonic()

    def of(self, pipeline: str) -> Watcher:
        return _OfPipeline(pipeline, self)

    def begin(self, num_samples: int | None) -> None:
        self._counts = _Counts()
        self.expect(num_samples)

    def expect(self, num_samples: int | None) -> None:
        self._counts.expect(num_samples)

    def event(self, now: ClockTime, event: Event, commands: Sequence[Command]) -> None:
        self.event_of("", now, event, commands)

    def event_of(self, pipeline: str, now: ClockTime, event: Event, commands: Sequence[Command]) -> None:
        counts = self._counts
        counts.event(pipeline, event, commands)
        if time.monotonic() - self._last_s >= _LINE_EVERY_S:
            self._last_s = time.monotonic()
            of = "" if counts.num_samples is None else f" of {counts.num_samples}"
            done = f"{counts.samples}{of} samples"
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

    def of(self, pipeline: str) -> Watcher:
        return _OfPipeline(pipeline, self)

    def begin(self, num_samples: int | None) -> None:
        self._counts = _Counts()
        self.expect(num_samples)

    def expect(self, num_samples: int | None) -> None:
        self._counts.expect(num_samples)
        self._progress.update(self._samples, total=self._counts.num_samples)

    def event(self, now: ClockTime, event: Event, commands: Sequence[Command]) -> None:
        self.event_of("", now, event, commands)

    def event_of(self, pipeline: str, now: ClockTime, event: Event, commands: Sequence[Command]) -> None:
        counts = self._counts
        counts.event(pipeline, event, commands)
        if time.monotonic() - self._last_s >= _BAR_EVERY_S:
            self._last_s = time.monotonic()
            text = f"samples · {counts.triggers} triggers · {counts.trainings} models"
            self._progress.update(self._samples, completed=counts.samples, description=text)

    def training(self, device: str, job: str, done: float) -> None:
        if device not in self._trainings:
            self._trainings[device] = self._progress.add_task(f"training on {device}", total=100)
        self._progress.update(self._trainings[device], completed=round(100 * done))
