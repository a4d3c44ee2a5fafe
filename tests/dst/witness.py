"""Running a case, and keeping everything that happens: every event with its answer, in one order for all pipelines."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, NamedTuple
from unittest.mock import patch

import polars as pl
from simulated import StageRun, Trace, breaking

import twinclock as tc
from dst.draw import Case
from sim import operations, plugin
from sim.config import SimConfig
from twinclock import executor, launch
from twinclock.cluster import ClusterConfig
from twinclock.errors import UserError
from twinclock.fleet import Fleet, run_fleet
from twinclock.fleet import launch as fleet_launch
from twinclock.graph import Node
from twinclock.launch import graph_options
from twinclock.messages import Command, Event, Finish
from twinclock.pipeline import build_graph
from twinclock.result import Run
from twinclock.section import parse_section
from twinclock.stream import ClockTime, Stream
from twinclock.watch import UNWATCHED

MOST_EVENTS = 60_000
"""No case comes near: a run with more goes round in circles."""


class Step(NamedTuple):
    """An event, and what its machine answered."""

    pipeline: str
    now: ClockTime
    event: Event
    commands: Sequence[Command]


@dataclass
class Seen:
    """One pipeline of a case, with all that happened in it."""

    run: Run
    trace: Trace
    stream: Stream
    broken: Mapping[int, str]
    stopped_s: float | None
    """When it was asked to stop; None: it was not."""

    @property
    def was_stopped(self) -> bool:
        """Was it asked to stop while it ran?"""
        return self.stopped_s is not None

    @property
    def is_done(self) -> bool:
        """Did it come to its proper end?"""
        return self.run.outcome == "done"

    @cached_property
    def sim(self) -> SimConfig:
        """What the simulator was told."""
        return parse_section(SimConfig, self.run.config.sim, "case")

    @cached_property
    def taken(self) -> int:
        """Samples taken in; all, unless the run was stopped or failed."""
        chunks = [each.values["chunk"]["stop"] for each in self.trace.runs if "chunk" in each.values]
        return max(chunks, default=0)

    @cached_property
    def by_operation(self) -> Mapping[str, list[StageRun]]:
        """Stage runs by what they do, in the order in which they started."""
        found: dict[str, list[StageRun]] = {}
        for each in self.trace.runs:
            found.setdefault(each.operation, []).append(each)
        return found

    def of(self, *operations: str) -> list[StageRun]:
        """The runs of some operations, in the order in which they started."""
        if len(operations) == 1:
            return self.by_operation.get(operations[0], [])
        found = [each for operation in operations for each in self.by_operation.get(operation, ())]
        return sorted(found, key=lambda each: each.began)

    def ended(self, *operations: str) -> list[StageRun]:
        """The same in the order in which they ended."""
        return sorted((each for each in self.of(*operations) if each.ended), key=lambda each: each.finished)


@dataclass
class Witness:
    """A case that was run."""

    case: Case
    refused: str | None
    """The message, if the configuration was refused before anything ran."""
    steps: Sequence[Step] = ()
    pipelines: Mapping[str, Seen] = field(default_factory=dict)
    fleet: Fleet | None = None

    @cached_property
    def cluster(self) -> ClusterConfig:
        """What all pipelines share."""
        return self.fleet.cluster if self.fleet else next(iter(self.pipelines.values())).run.config.cluster

    @cached_property
    def makespan_s(self) -> float:
        """Until the last pipeline was done."""
        return max(float(seen.run.header["makespan_s"]) for seen in self.pipelines.values())

    @cached_property
    def graphs(self) -> Mapping[str, Node]:
        """The stage graph of each pipeline."""
        return {name: build_graph(graph_options(seen.run.config)) for name, seen in self.pipelines.items()}

    @cached_property
    def digest(self) -> str:
        """A fingerprint (hex) of all that a user gets to see: every value of every table, and how each run ended."""
        text = hashlib.sha256(repr(self.refused).encode())
        for name, seen in self.pipelines.items():
            ending = {key: seen.run.header[key] for key in ("outcome", "error", "error_type", "makespan_s")}
            text.update(f"{name} {ending}".encode())
            for table, frame in seen.run.tables.items():
                text.update(f"{table} {frame.rows()}".encode())
        return text.hexdigest()


def witness(case: Case) -> Witness:
    """Run a case. What a run must not raise goes through, a refusal of its configuration does not."""
    steps: list[Step] = []
    stopped: list[ClockTime] = []
    with _broken(case), _watched(case, steps, stopped):
        try:
            if case.is_fleet:
                fleet = run_fleet(case.config)
                runs: Mapping[str, Run] = fleet.runs
            else:
                fleet, runs = None, {launch.PIPELINE: tc.run(case.config, on="sim", watcher=UNWATCHED)}
        except UserError as error:
            if steps:
                raise
            return Witness(case, str(error))
    traces = {name: Trace() for name in runs}
    for step in steps:
        traces[step.pipeline].event(step.now, step.event, step.commands)
    pipelines = {
        name: Seen(run, traces[name], plugin.open_stream(run.config), case.broken, stopped[0] if stopped else None)
        for name, run in runs.items()
    }
    return Witness(case, None, steps, pipelines, fleet)


class _Noted:
    """An observer that keeps what another one is shown."""

    def __init__(self, pipeline: str, inner: Any, steps: list[Step]) -> None:
        self._pipeline, self._inner, self._steps = pipeline, inner, steps

    def record(self, now: ClockTime, event: Event, commands: Sequence[Command]) -> None:
        self._steps.append(Step(self._pipeline, now, event, commands))
        if len(self._steps) > MOST_EVENTS:
            raise AssertionError(f"more than {MOST_EVENTS} events, and no end")
        self._inner.record(now, event, commands)


class _Stopped:
    """An executor that is asked to stop at a certain time, as by an interrupt."""

    def __init__(self, inner: Any, stop_s: float, stopped: list[ClockTime]) -> None:
        self._inner, self._stop_s, self._stopped = inner, stop_s, stopped
        self.now, self.perform, self.close = inner.now, inner.perform, inner.close

    def next(self) -> tuple[str, Event] | None:
        happened: tuple[str, Event] | None = self._inner.next()
        if not self._stopped and self._inner.now() >= self._stop_s:
            self._inner.stop()
            self._stopped.append(self._inner.now())
        return happened


@contextmanager
def _watched(case: Case, steps: list[Step], stopped: list[ClockTime]) -> Iterator[None]:
    drive = executor.drive

    def watched(machines: Any, world: Any, observers: Mapping[str, Any]) -> dict[str, Finish]:
        noted = {name: _Noted(name, observer, steps) for name, observer in observers.items()}
        return drive(machines, world if case.stop_s is None else _Stopped(world, case.stop_s, stopped), noted)

    with patch.object(launch, "drive", watched), patch.object(fleet_launch, "drive", watched):
        yield


@contextmanager
def _broken(case: Case) -> Iterator[None]:
    """Trainings that break in ways that no configuration says."""
    make: Callable[..., Any] = operations.bodies
    wrap = breaking(case.broken)
    with patch.object(operations, "bodies", lambda *given: wrap(make(*given)) if case.broken else make(*given)):
        yield


def tables_of(witnessed: Witness) -> Iterator[tuple[str, str, pl.DataFrame]]:
    """(pipeline, name, table) of all."""
    for pipeline, seen in witnessed.pipelines.items():
        for name, table in seen.run.tables.items():
            yield pipeline, name, table
