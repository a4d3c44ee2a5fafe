"""What a real run did, by the structural names of its stage runs: read from its journal."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import polars as pl

from sim.replay.grants import Grants
from sim.replay.names import Names
from twinclock import plugins
from twinclock.errors import LivelockError, ProtocolError, RunError
from twinclock.folder import FolderConfig
from twinclock.graph import Json
from twinclock.journal import JournalContents, read_journal
from twinclock.landed import LandedSamples
from twinclock.launch import RunPlan, graph_options, machine_of, units_of
from twinclock.machine import Machine
from twinclock.messages import Acquire, Arm, Command, Ended, Event, Fired, Granted, Recalled, Release, Start
from twinclock.observer import RunObserver
from twinclock.pipeline import build_graph
from twinclock.result import Run
from twinclock.run_folder import SAMPLES
from twinclock.stream import ClockTime
from twinclock.watch import UNWATCHED


class StageRun(NamedTuple):
    """What came of a stage run."""

    duration_s: float
    """From the event that started it to its end, on the run's clock."""
    outcome: str
    values: Mapping[str, Json]


@dataclass(frozen=True)
class Recording:
    """A finished run: all that the executor did in it, and the tables that came of it."""

    run: Run
    plan: RunPlan
    snapshot: Json | None
    """The run as it was at `from_s`; None: it had not begun."""
    from_s: float
    """The clock time from which on everything is known."""
    stage_runs: Mapping[str, StageRun]
    """By id."""
    answers_s: Mapping[tuple[str, str], tuple[float | None, ...]]
    """(kind of answer, id of who asked) → for each time that the allocator gave it: seconds until it was heard.

    None: it never was, since the process died before.
    """
    timers_s: Mapping[tuple[str, str], float]
    """(id, timer) → seconds after which it ran out. One that did not run out is not there."""
    restarts: tuple[int, ...]
    """Numbers of the events before which the run was resumed."""
    closing_s: float
    """Seconds from the last event to the end that the run reported: the coordinator wrote that event down."""
    tables: Mapping[str, pl.DataFrame]

    @property
    def makespan_s(self) -> float:
        """As the run reported it."""
        return float(self.run.header["makespan_s"])


def read_recording(folder: str | Path) -> Recording:
    """The recording of a finished real run.

    RunError if there is no such run, it is not finished, keeps no journal, or was made with other code or data.
    """
    run = Run.load(folder)
    path, executor = Path(folder), run.header["executor"]
    plugin = plugins.find(executor)
    if not plugin.is_resumable:
        raise RunError(f"{path}: a run on {executor!r} keeps no journal, expected a real run")
    if run.state != "finished":
        raise RunError(f"{path}: this run is {run.state}, expected a finished one")
    plan = _plan(run, path, plugin)
    contents = read_journal(path, plan.hashes)
    learner = _Learner(plan, contents)
    try:
        learner.learn(contents.events)
    except (ProtocolError, LivelockError) as error:
        raise RunError(f"{path}: its events are not what this version's graph can answer ({error})") from error
    if learner.machine.finished is None:
        raise RunError(f"{path}: its journal ends before the run does, expected that of the whole run")
    return Recording(
        run=run,
        plan=plan,
        snapshot=contents.snapshot,
        from_s=learner.from_s,
        stage_runs=learner.stage_runs,
        answers_s={key: tuple(each) for key, each in learner.answers_s.items()},
        timers_s=learner.timers_s,
        restarts=tuple(learner.restarts),
        closing_s=run.header["makespan_s"] - learner.now_s,
        tables=learner.observer.tables(),
    )


def observer_of(plan: RunPlan, machine: Machine, snapshot: Json | None) -> RunObserver:
    """An observer that begins where `machine` stands, and keeps its tables in memory."""
    observer = RunObserver(plan.stream, None, None, UNWATCHED)
    if snapshot is not None:
        observer.restore(snapshot, machine.outstanding()[1])
    return observer


def _plan(run: Run, path: Path, plugin: plugins.ExecutorPlugin) -> RunPlan:
    """What was run, on the devices that it had then: they need not be here."""
    config = run.config
    is_folder = isinstance(config.data, FolderConfig)
    stream = LandedSamples(path / SAMPLES, config.data) if is_folder else plugin.open_stream(config)  # type: ignore[arg-type]
    devices = run.header.get("devices") or plugin.devices(config)
    graph = build_graph(graph_options(config))
    return RunPlan(config, run.header["executor"], plugin, graph, stream, units_of(config, devices))


@dataclass
class _Learner:
    """Goes through the events of a run, with the allocator that it had beside it."""

    plan: RunPlan
    contents: JournalContents
    stage_runs: dict[str, StageRun] = field(default_factory=dict)
    answers_s: dict[tuple[str, str], list[float | None]] = field(default_factory=dict)
    timers_s: dict[tuple[str, str], float] = field(default_factory=dict)
    restarts: list[int] = field(default_factory=list)

    def __post_init__(self) -> None:
        events = self.contents.events
        begun_s = 0.0 if not events else events[0][1]
        self.from_s = self.contents.from_s if self.contents.snapshot is not None else begun_s
        self.machine = machine_of(self.plan, self.contents.snapshot)
        self.observer = observer_of(self.plan, self.machine, self.contents.snapshot)
        self._names = Names()
        self._grants = Grants(self.plan)
        self.now_s = self.from_s
        self._started_s: dict[int, float] = {}
        self._armed_s: dict[tuple[int, str], float] = {}
        self._given_s: dict[tuple[str, str], float] = {}
        """Answers that were given and not heard yet → when."""

    def learn(self, events: Sequence[tuple[int, ClockTime, Event]]) -> None:
        incarnation = events[0][0] if events else 0
        if self.machine.begun:
            self._hand_over(lambda command: True)
        for number, (by, now, event) in enumerate(events):
            if by != incarnation:
                incarnation = by
                self.restarts.append(number)
                self._given_s.clear()
                self._hand_over(lambda command: isinstance(command, Acquire))
            self.now_s = now
            self._note_event(event)
            commands = self.machine.feed(event)
            self.observer.note(now, event, commands)
            self._names.note(commands)
            for command in commands:
                self._note_command(command)

    def _hand_over(self, matters: Callable[[Command], bool]) -> None:
        """What a process finds that takes the run over: units are held, and commands are open."""
        commands = self._grants.begin_anew(self.machine, self._names)
        for command in filter(matters, commands):
            self._note_command(command)

    def _note_event(self, event: Event) -> None:
        now = self.now_s
        if isinstance(event, Ended) and event.id in self._started_s:
            duration_s = now - self._started_s.pop(event.id)
            self.stage_runs[self._names.of(event.id)] = StageRun(duration_s, event.outcome, event.values)
        elif isinstance(event, Granted | Recalled):
            key = (type(event).__name__, self._names.of(event.id))
            if key in self._given_s:
                self.answers_s[key][-1] = now - self._given_s.pop(key)
        elif isinstance(event, Fired) and (event.id, event.timer) in self._armed_s:
            delay_s = now - self._armed_s.pop((event.id, event.timer))
            self.timers_s[self._names.of(event.id), event.timer] = delay_s

    def _note_command(self, command: Command) -> None:
        if isinstance(command, Start):
            self._started_s[command.id] = self.now_s
        elif isinstance(command, Arm):
            self._armed_s[command.id, command.timer] = self.now_s
        elif isinstance(command, Acquire | Release):
            answers = (
                self._grants.request(command, ClockTime(self.now_s))
                if isinstance(command, Acquire)
                else self._grants.release((command.pipeline, command.id))
            )
            for _, answer in answers:
                key = (type(answer).__name__, self._names.of(answer.id))
                self._given_s[key] = self.now_s
                self.answers_s.setdefault(key, []).append(None)
