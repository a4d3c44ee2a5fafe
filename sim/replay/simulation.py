"""The simulator, driven with a recording: what it comes to, and what it did that the run did not."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import polars as pl

from sim.effects import Effect
from sim.executor import SimExecutor
from sim.replay.grants import Grants
from sim.replay.names import Names
from sim.replay.recording import Recording, observer_of
from twinclock.errors import DeadlockError, LivelockError, ProtocolError
from twinclock.executor import drive
from twinclock.graph import CANCELLED, stages
from twinclock.launch import PIPELINE, machine_of
from twinclock.machine import Machine
from twinclock.messages import Acquire, Arm, Cancel, Command, Disarm, Event, Granted, Recalled, Start, path_text
from twinclock.observer import RunObserver
from twinclock.recovery import decided_again, disagreement
from twinclock.stages import Context
from twinclock.stream import ClockTime


class Problem(NamedTuple):
    """Where the control flow of the replay is not that of the run."""

    id: str
    """The stage run, or what else it is about."""
    at_s: float
    """When, on the clock of the replay."""
    what: str
    """What came, and what was expected."""


@dataclass(frozen=True)
class Simulation:
    """What a replay came to."""

    tables: Mapping[str, pl.DataFrame]
    makespan_s: float
    problems: tuple[Problem, ...]


class _StrayedError(Exception):
    """The replay has come to where the run never was, and nobody knows how to go on."""


def simulate(recording: Recording) -> Simulation:
    """Run the simulator with the durations and the answers of a run. It ends early if it strays from the run."""
    machine = machine_of(recording.plan, recording.snapshot)
    observer = observer_of(recording.plan, machine, recording.snapshot)
    replaying = _Replaying(recording, machine)
    closing_s = 0.0
    try:
        replaying.take_over()
        drive({PIPELINE: machine}, replaying, {PIPELINE: _Both(replaying, observer)})
        closing_s = recording.closing_s
    except _StrayedError:
        pass
    except (ProtocolError, LivelockError, DeadlockError) as error:
        replaying.note_problem("the whole run", f"the replay can't go on: {error}")
    finally:
        replaying.close()
    return Simulation(observer.tables(), replaying.now() + closing_s, tuple(replaying.problems))


class _Both(NamedTuple):
    """The executor learns the names of what it is about to be told, and the tables are made."""

    replaying: _Replaying
    tables: RunObserver

    def record(self, now: ClockTime, event: Event, commands: Sequence[Command]) -> None:
        """`event` happened at `now`, and the machine answered with `commands`."""
        self.replaying.hear(commands)
        self.tables.note(now, event, commands)


@dataclass
class _Replaying:
    """The simulator's executor, which is told how long things take, when timers run out, and what is not to happen."""

    recording: Recording
    machine: Machine
    problems: list[Problem] = field(default_factory=list)

    def __post_init__(self) -> None:
        recording = self.recording
        self._context = Context(recording.plan.config, recording.plan.stream)
        self._names = Names()
        self._grants = Grants(recording.plan)
        operations = {stage.operation for _, stage in stages(recording.plan.graph)}
        bodies = {PIPELINE: dict.fromkeys(sorted(operations), self._do)}
        self._sim = SimExecutor(bodies, self._grants, answer_s=self._answer_s)
        self._num_events = 0
        self._num_answers: dict[tuple[str, str], int] = {}

    # -- the executor ----------------------------------------------------------------------------------

    def now(self) -> ClockTime:
        """The clock begins where the run's did."""
        return ClockTime(self.recording.from_s + self._sim.now())

    def next(self) -> tuple[str, Event] | None:
        """The next event; before it the run may have been resumed."""
        if self._num_events in self.recording.restarts:
            self._hand_over()
        return self._sim.next()

    def perform(self, command: Command) -> None:
        """A stage run ends as it did, cancelled or not; a timer runs out if and when it did."""
        if isinstance(command, Cancel):
            return
        if isinstance(command, Arm | Disarm):
            delay_s = self.recording.timers_s.get((self._names.of(command.id), command.timer))
            if delay_s is None:
                return
            command = command._replace(delay_s=delay_s) if isinstance(command, Arm) else command
        elif isinstance(command, Start) and (id_ := path_text(command.path)) not in self.recording.stage_runs:
            self.note_problem(id_, "was started, but the run never had it")
            raise _StrayedError
        self._sim.perform(command)

    def close(self) -> None:
        """Give back what the simulator holds."""
        self._sim.close()

    # -- beside it -------------------------------------------------------------------------------------

    def take_over(self) -> None:
        """Begin where the recording begins, if that is not at the start."""
        if self.machine.begun:
            for command in self._grants.begin_anew(self.machine, self._names):
                self.perform(command)

    def hear(self, commands: Sequence[Command]) -> None:
        """An event has happened; these commands come next."""
        self._num_events += 1
        self._names.note(commands)

    def note_problem(self, id_: str, what: str) -> None:
        """The replay is not as the run was."""
        self.problems.append(Problem(id_, self.now(), what))

    def _hand_over(self) -> None:
        """The run was resumed here: what it waited for, it asked for again."""
        for command in self._grants.begin_anew(self.machine, self._names):
            if isinstance(command, Acquire):
                self._sim.perform(command)

    def _do(self, start: Start, _executor: SimExecutor) -> Effect:
        known = self.recording.stage_runs[path_text(start.path)]
        if start.stage.kind == "decide" and known.outcome != CANCELLED:
            told = disagreement(start, (known.outcome, known.values), decided_again(self._context, start))
            if told is not None:
                self.note_problem(path_text(start.path), told)
        return Effect(known.duration_s, known.outcome, known.values)

    def _answer_s(self, _pipeline: str, answer: Granted | Recalled) -> float:
        """An answer that was lost in a crash comes at the end of time; one that the run never had, at once."""
        key = (type(answer).__name__, self._names.of(answer.id))
        number = self._num_answers.get(key, 0)
        self._num_answers[key] = number + 1
        known = self.recording.answers_s.get(key, ())
        if number >= len(known):
            return 0.0
        seconds = known[number]
        return float("inf") if seconds is None else seconds
