"""A run is a function of its events: the machine, and every decision, come out the same when made again."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path

import polars as pl

from dst.witness import Seen, Witness
from twinclock.graph import CANCELLED, FAILED
from twinclock.journal import Journal
from twinclock.lateness import handover
from twinclock.machine import Machine
from twinclock.messages import Acquire, Arm, Cancel, Command, Disarm, Ended, Event, Fired, Granted, Release, Start
from twinclock.records import Recorder
from twinclock.recovery import replayed
from twinclock.stages import Context, decide


def a_machine_that_is_fed_the_events_again_answers_the_same(witnessed: Witness) -> None:
    """From the start, and one that goes on from a cut: what it says is outstanding is what had no answer yet."""
    for name, graph in witnessed.graphs.items():
        steps = [step for step in witnessed.steps if step.pipeline == name]
        machine, cut = Machine(graph, name), int(witnessed.case.cut * len(steps))
        open_ = _Open()
        for number, (_, _, event, commands) in enumerate(steps):
            if number == cut:
                assert open_.as_told_by(machine), f"after {cut} of {len(steps)} events: not what is outstanding"
            again = machine.feed(event)
            assert again == list(commands), f"event {number}, {event}: {again} instead of {commands}"
            open_.note(event, commands)
        assert machine.finished == steps[-1].commands[-1]
        assert machine.outstanding() == ([], []), "something is left at the end"


def a_run_that_goes_on_from_a_snapshot_is_the_same(witnessed: Witness) -> None:
    """The machine and the tables, made of what a file holds at a cut: all that follows is as it was."""
    for name, seen in witnessed.pipelines.items():
        steps = [step for step in witnessed.steps if step.pipeline == name]
        graph, cut = witnessed.graphs[name], int(witnessed.case.cut * len(steps))
        machine, recorder, before = Machine(graph, name), _recorder(seen), {}
        for number, (_, now, event, commands) in enumerate(steps):
            if number == cut:
                before = recorder.take()
                kept, said = json.loads(json.dumps([machine.snapshot(), recorder.snapshot()])), machine.outstanding()
                machine, recorder = Machine.restore(graph, kept[0], name), _recorder(seen)
                assert machine.outstanding() == said, f"after {cut} of {len(steps)} events: not what is outstanding"
                recorder.restore(kept[1], said[1])
            again = machine.feed(event)
            assert again == list(commands), f"event {number}, {event}: {again} instead of {commands}"
            recorder.record(now, event, commands)
        for table, after in recorder.take_all().items():
            whole = pl.concat([before[table], after]) if before else after
            assert whole.equals(seen.run.tables[table]), f"{table}: not the same with a snapshot after {cut} events"


def _recorder(seen: Seen) -> Recorder:
    return Recorder(seen.stream.timestamp, handover(seen.stream).num_quarantined)


class _Open:
    """What has been asked for and not answered, kept from events and commands alone."""

    def __init__(self) -> None:
        self.commands: dict[tuple[str, int], Command] = {}
        self.cancels: dict[int, Command] = {}
        self.held: dict[int, object] = {}

    def note(self, event: Event, commands: list[Command]) -> None:
        match event:
            case Ended():
                self.commands.pop(("run", event.id), None)
                self.cancels.pop(event.id, None)
            case Granted():
                if self.commands.pop(("ask", event.id), None) is not None:
                    self.held[event.id] = dict(event.placement)
            case Fired():
                self.commands.pop((event.timer, event.id), None)
        for command in commands:
            match command:
                case Start():
                    self.commands["run", command.id] = command
                case Acquire():
                    self.commands["ask", command.id] = command
                case Release():
                    if self.commands.pop(("ask", command.id), None) is None:
                        del self.held[command.id]
                case Arm():
                    self.commands[command.timer, command.id] = command
                case Disarm():
                    self.commands.pop((command.timer, command.id), None)
                case Cancel():
                    self.cancels[command.id] = command

    def as_told_by(self, machine: Machine) -> bool:
        held, commands = machine.outstanding()
        meant = [*self.commands.values(), *self.cancels.values()]
        same = len(commands) == len(meant) and all(each in meant for each in commands)
        return same and {ask.id: dict(units) for ask, units in held} == self.held


def decisions_are_json_and_come_out_the_same_when_made_again(witnessed: Witness) -> None:
    """That is what makes a journal of outcomes enough to go on from."""
    for seen in witnessed.pipelines.values():
        context = Context(seen.run.config, seen.stream)
        for each in seen.trace.runs:
            assert json.loads(json.dumps(each.values, allow_nan=False)) == each.values, each.path
            if each.start.stage.kind == "decide" and each.outcome not in (FAILED, CANCELLED):
                assert decide(context, each.start) == (each.outcome, each.values), f"{each.path} decides otherwise"


def a_journal_gives_the_run_back(witnessed: Witness) -> None:
    """Written to a file, closed, opened and replayed: the same events, clock and answers. Of some cases only."""
    if not witnessed.case.is_journaled:
        return
    for name, seen in witnessed.pipelines.items():
        steps = [step for step in witnessed.steps if step.pipeline == name]
        with tempfile.TemporaryDirectory() as folder:
            with Journal.create(Path(folder), {}, "today") as journal:
                for _, now, event, commands in steps:
                    journal.record(now, event, commands)
                journal.commit()
            with Journal.open(Path(folder), {}, "today") as journal:
                _same_again(journal, witnessed, name, seen)


def _same_again(journal: Journal, witnessed: Witness, name: str, seen: Seen) -> None:
    machine = Machine(witnessed.graphs[name], name)
    again = replayed(machine, journal, Context(seen.run.config, seen.stream))
    steps = [step for step in witnessed.steps if step.pipeline == name]
    for (_, now, event, commands), (then, read, answers) in zip(steps, again, strict=True):
        assert (then, read, answers) == (now, event, list(commands)), f"{event} was read as {read}"
