"""Could this graph have run like that? Judges the trace of a finished run, without interpreting any event.

A trace is the stage runs in the order in which they started, each with its path and with what it answered
when it ended. `accepts` works out, from the leaves up, what every node can have ended with, given the
stage runs below it. What a trace can't show (how many items a `ForEach` had, whether a run was asked to
cancel, when a timer fired) is taken to have been whatever fits.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import NamedTuple, TypeAlias

from twinclock.graph import (
    BUILT_IN_OUTCOMES,
    CANCELLED,
    FAILED,
    TIMEOUT,
    YIELDED,
    Flow,
    ForEach,
    Node,
    Scope,
    Spawn,
    Stage,
    exit_outcome,
    leave,
)

Trace: TypeAlias = Sequence[tuple[str, str]]
"""(path, answer) of every stage run, in the order in which they started."""

_SEGMENT = re.compile(r"/(?:\w+#\d+|\[\d+\])|@\d+")


def segments(path: str) -> list[str]:
    """`/A#0@1/[2]` → `/A#0`, `@1`, `/[2]`. ValueError if it is no path."""
    found = _SEGMENT.findall(path)
    if "".join(found) != path:
        raise ValueError(f"not a path: {path!r}")
    return found


def accepts(graph: Node, trace: Trace, outcome: str) -> bool:
    """Does the graph admit a run with exactly these stage runs that ends with `outcome`?"""
    root = _Runs()
    for index, (path, answer) in enumerate(trace):
        if not root.add(segments(path), index, answer):
            return False
    return outcome != CANCELLED and _End(outcome) in _ends(graph, root)


@dataclass(slots=True)
class _Runs:
    """The stage runs below one path."""

    inside: dict[str, _Runs] = field(default_factory=dict)
    answer: str | None = None
    index: int = -1

    def add(self, path: Sequence[str], index: int, answer: str) -> bool:
        at = self
        for segment in path:
            at = at.inside.setdefault(segment, _Runs())
        fresh = at.answer is None
        at.answer, at.index = answer, index
        return fresh

    def at(self, segment: str) -> _Runs:
        return self.inside.get(segment, _NONE)

    @property
    def is_empty(self) -> bool:
        return self.answer is None and not self.inside


_NONE = _Runs()


class _End(NamedTuple):
    """How a node can have ended, and what became of the bodies that were spawned inside, for its scope."""

    outcome: str
    broke: bool = False
    """One of them failed that must not."""
    cut: bool = False
    """One of them was cancelled."""

    def after(self, other: _End) -> _End:
        return _End(self.outcome, self.broke or other.broke, self.cut or other.cut)


_Ends: TypeAlias = set[_End]


def _ends(node: Node, runs: _Runs) -> _Ends:
    """Everything that an entered node can have ended with; nothing if these can't be its runs."""
    if isinstance(node, Spawn):
        fatal = node.on_failure == "fail"
        ends = {
            _End("done", end.broke or (fatal and end.outcome in BUILT_IN_OUTCOMES), end.cut or end.outcome == CANCELLED)
            for end in _ends(node.body, runs)
        }
    elif node.retry.max_attempts > 1:
        ends = _all_attempts(node, runs)
    else:
        ends = _attempt(node, runs)
    return ends | {end._replace(outcome=CANCELLED) for end in ends}


def _all_attempts(node: Stage | Flow | ForEach | Scope, runs: _Runs) -> _Ends:
    numbers = range(1, node.retry.max_attempts + 1)
    if runs.answer is not None or not set(runs.inside) <= {f"@{k}" for k in numbers}:
        return set()
    ends: _Ends = set()
    before = {_End("")}
    for k in numbers:
        after: _Ends = set()
        is_last = not any(f"@{later}" in runs.inside for later in numbers[k:])
        for end in _attempt(node, runs.at(f"@{k}")):
            for now in {end.after(earlier) for earlier in before}:
                if end.outcome in node.retry.on and k < numbers[-1]:
                    after.add(now)
                    now = now._replace(outcome=CANCELLED)  # while it rested
                if is_last:
                    ends.add(now)
        before = after
    spans = [span for k in numbers if (span := _span(node, runs.at(f"@{k}")))]
    return ends if _one_after_another(spans) else set()


def _attempt(node: Stage | Flow | ForEach | Scope, runs: _Runs) -> _Ends:
    ends = {_End(CANCELLED)} if node.needs and runs.is_empty else set()
    match node:
        case Stage():
            return ends | _stage_ends(node, runs)
        case Flow():
            return ends | (_flow_ends(node, runs) if runs.answer is None else set())
        case ForEach():
            return ends | (_for_each_ends(node, runs) if runs.answer is None else set())
        case Scope():
            for end in _ends(node.body, runs):
                if end.broke:
                    ends.add(_End(FAILED))
                elif end.outcome != CANCELLED and not end.cut:
                    ends.add(_End(end.outcome))
                else:
                    ends |= _doomed(node, _End(""))
            return ends


def _doomed(node: Flow | ForEach | Scope, end: _End) -> _Ends:
    """Something inside was cancelled: because of a timeout here, or from above."""
    return {end._replace(outcome=o) for o in (CANCELLED, *([TIMEOUT] if node.timeout_s is not None else []))}


def _stage_ends(stage: Stage, runs: _Runs) -> _Ends:
    if runs.inside or runs.answer not in (*stage.outcomes, FAILED, CANCELLED):
        return set()
    timed_out = {_End(TIMEOUT)} if stage.timeout_s is not None else set()
    yielded = {_End(YIELDED)} if stage.yields else set()
    return {_End(runs.answer), _End(CANCELLED)} | timed_out | yielded


def _flow_ends(flow: Flow, runs: _Runs) -> _Ends:
    """Every walk from the start that meets all the runs, in the order of their starts."""
    ends: _Ends = set()
    steps = list(flow.steps)
    beyond = [0] * len(steps)
    for segment in runs.inside:
        name, _, visit = segment[1:].partition("#")
        if name not in flow.steps:
            return set()
        beyond[steps.index(name)] = max(beyond[steps.index(name)], int(visit) + 1)
    num_runs = len(runs.inside) - (f"/{flow.finally_}#0" in runs.inside)
    todo: list[_Walk] = [_Walk(flow.start, (0,) * len(steps), 0, -1, _End(""))]
    seen = set()
    while todo:
        walk = todo.pop()
        serial = steps.index(walk.step)
        number = walk.visits[serial]
        inside = runs.at(f"/{walk.step}#{number}")
        span = _span(flow.steps[walk.step], inside)
        if walk in seen or (span and span[0] <= walk.last_start):
            continue
        seen.add(walk)
        num_met = walk.num_met + (not inside.is_empty)
        has_met_all = num_met == num_runs
        for end in _ends(flow.steps[walk.step], inside):
            now = end.after(walk.end)
            on_failure = leave(FAILED) if end.outcome in BUILT_IN_OUTCOMES else None
            target = flow.edges.get(walk.step, {}).get(end.outcome, on_failure)
            if end.outcome == CANCELLED:
                ends |= _doomed(flow, now) if has_met_all else set()
            elif target is not None and target in flow.steps:
                visits = (*walk.visits[:serial], min(number + 1, beyond[serial]), *walk.visits[serial + 1 :])
                last_start = span[1] if span else walk.last_start
                todo.append(_Walk(target, visits, num_met, last_start, now._replace(outcome="")))
            elif target is not None and has_met_all:
                ends.add(now._replace(outcome=exit_outcome(target) or ""))
    return ends if flow.finally_ is None else _after_finally(flow, flow.finally_, runs, ends)


class _Walk(NamedTuple):
    """A flow's token about to enter a step."""

    step: str
    visits: tuple[int, ...]
    """How often each step was entered before, as far as it left runs; visits beyond that are all alike."""
    num_met: int
    """Visits that left runs."""
    last_start: int
    end: _End
    """What became of what was spawned on the way."""


def _after_finally(flow: Flow, last: str, runs: _Runs, ends: _Ends) -> _Ends:
    """The finally step has run too; it can fail the flow, and is not cancelled with it."""
    inside = runs.at(f"/{last}#0")
    span = _span(flow.steps[last], inside)
    if span and any(start > span[0] for start in _starts(flow, runs, last)):
        return set()
    after: _Ends = set()
    for cleared in _ends(flow.steps[last], inside):
        for end in ends if cleared.outcome != CANCELLED else ():
            fails = cleared.outcome in BUILT_IN_OUTCOMES and end.outcome != CANCELLED
            after.add(end.after(cleared)._replace(outcome=FAILED if fails else end.outcome))
    return after


def _for_each_ends(each: ForEach, runs: _Runs) -> _Ends:
    numbers = {int(key[2:-1]) for key in runs.inside if key.startswith("/[")}
    if len(numbers) < len(runs.inside):
        return set()
    copies = [runs.at(f"/[{k}]") for k in range(max(numbers, default=-1) + 1)]
    states = {_End("done")}
    for copy in copies:
        states = {_with_copy(each, state, end) for state in states for end in _ends(each.body, copy)}
    traceless = _ends(each.body, _NONE)
    for _ in range(4):  # any number of items more: each flag of a state can change once
        states |= {_with_copy(each, state, end) for state in states for end in traceless}
    if each.limit == 1 and not _one_after_another([s for copy in copies if (s := _span(each.body, copy))]):
        return set()
    ends: _Ends = set()
    for state in states:
        ends |= _doomed(each, state) if state.outcome == CANCELLED else {state}
    return ends


def _with_copy(each: ForEach, state: _End, end: _End) -> _End:
    ranks = ["done", CANCELLED, FAILED]
    if end.outcome == CANCELLED:
        outcome = CANCELLED
    else:
        outcome = FAILED if end.outcome in BUILT_IN_OUTCOMES and each.on_failure == "fail" else "done"
    return state.after(end)._replace(outcome=max(state.outcome, outcome, key=ranks.index))


def _span(node: Node, runs: _Runs) -> tuple[int, int] | None:
    """First and last start among the runs that must be over when the node is; None if there is none."""
    starts = list(_starts(node, runs))
    return (min(starts), max(starts)) if starts else None


def _starts(node: Node, runs: _Runs, but_not: str | None = None) -> Iterator[int]:
    """Starts of the runs that the node waits for: all but those spawned for a scope around."""
    match node:
        case Stage() | Scope():
            yield from [runs.index] if runs.answer is not None else []
            for inside in runs.inside.values():
                yield from _starts(node, inside)
        case Flow() | ForEach():
            for segment, inside in runs.inside.items():
                name = segment[1:].split("#")[0]
                if segment.startswith("@"):
                    yield from _starts(node, inside)
                elif isinstance(node, ForEach):
                    yield from _starts(node.body, inside)
                elif name in node.steps and name != but_not:
                    yield from _starts(node.steps[name], inside)


def _one_after_another(spans: Sequence[tuple[int, int]]) -> bool:
    return all(earlier[1] < later[0] for earlier, later in pairwise(spans))
