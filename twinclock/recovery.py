"""Bringing a machine back to where its journal ends, making every decision again on the way."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence

from twinclock.errors import RunError
from twinclock.graph import CANCELLED, FAILED, Json
from twinclock.journal import Journal
from twinclock.machine import Machine
from twinclock.messages import Command, Ended, Event, Start, path_text
from twinclock.stages import Context, Decision, decide
from twinclock.stream import ClockTime

_SHOWN = 200
"""Characters of an answer in an error message."""


def replayed(machine: Machine, journal: Journal, context: Context) -> Iterator[tuple[ClockTime, Event, list[Command]]]:
    """Feed a machine, new or as the journal's snapshot has it, all that follows; each event with what it answered.

    RunError if the journal is corrupted, or if a decision comes out differently now: a policy is not
    deterministic, or its code changed. One that was cancelled before it was told has nothing to be held against.
    """
    _, outstanding = machine.outstanding()
    deciding = _decisions(outstanding)
    for now, event in journal.events():
        start = deciding.pop(event.id, None) if isinstance(event, Ended) else None
        if isinstance(event, Ended) and start is not None and event.outcome != CANCELLED:
            told = disagreement(start, (event.outcome, event.values), decided_again(context, start))
            if told is not None:
                raise RunError(f"{told}: a policy is not deterministic, or its code has changed since")
        commands = machine.feed(event)
        deciding |= _decisions(commands)
        yield now, event, commands


def _decisions(commands: Sequence[Command]) -> dict[int, Start]:
    return {each.id: each for each in commands if isinstance(each, Start) and each.stage.kind == "decide"}


def decided_again(context: Context, start: Start) -> Decision:
    """The decision of a `decide` stage, as it is read from a journal: its values are JSON, an error is its failure."""
    try:
        outcome, values = decide(context, start)
    except Exception as error:
        return FAILED, {"error": f"{type(error).__name__}: {error}"}
    return outcome, json.loads(json.dumps(dict(values)))


def disagreement(start: Start, then: Decision, now: Decision) -> str | None:
    """What is different about a decision that was made again, in one line; None: nothing that matters."""
    same_outcome = then[0] == now[0]
    if same_outcome and (then[0] not in start.stage.outcomes or then[1] == now[1]):
        return None
    names = then[1].keys() | now[1].keys() if same_outcome else set()
    changed = sorted(name for name in names if then[1].get(name) != now[1].get(name))
    was, is_now = _told(then, changed), _told(now, changed)
    return f"{path_text(start.path)} decided {was} when it ran, but {is_now} when made again"


def _told(decision: Decision, names: list[str]) -> str:
    outcome, values = decision
    shown: Mapping[str, Json] = {name: values.get(name) for name in names} if names else values
    text = f"{outcome} {json.dumps(shown)}"
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}..."
