"""The static check: everything that is wrong with a graph, at once, each fault with its path.

A graph that passes can't get stuck, has no dead stage, and always ends (the soundness of workflow
nets), provided that its stages end:

1. Edges stay among siblings or leave; each outcome has one edge; every step is reachable.
2. From every step an exit can be reached without anything failing, and some exit is no failure.
3. A cycle does work or waits, or has a slot that grows (which the interpreter enforces).
4. A slot that a stage reads is written before it on every path.
5. Registers belong to an enclosing scope; writers that can run at the same time need a merge that
   does not depend on their order, or a guard that each of them holds.
6. A spawn has a scope to join it; nothing is needed again inside a holder; nested needs follow one
   declared order, so that no circle of waiting can close.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

from twinclock._summary import Slots, Summaries, closure, moves, summarise
from twinclock.errors import GraphError
from twinclock.graph import (
    BUILT_IN_OUTCOMES,
    CANCELLED,
    ERROR_SLOT,
    YIELDED,
    Flow,
    ForEach,
    Node,
    Register,
    Scope,
    Spawn,
    Stage,
    exit_outcome,
    walk,
)
from twinclock.pipeline import RESOURCES

_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_]*\Z")


@dataclass(frozen=True, slots=True)
class Problem:
    """One fault: the rule it breaks, where in the graph, and what is wrong there."""

    rule: str
    path: str
    message: str

    def __str__(self) -> str:
        return f"{self.path}: {self.message} [{self.rule}]"


def check(root: Node, resources: Sequence[str] = RESOURCES) -> list[Problem]:
    """All faults of a graph, parents before children. `resources`: their names, in the order of asking."""
    visit = _Visit(summaries=summarise(root), resources=tuple(resources))
    problems = list(_node(root, "", _Around(), visit))
    problems += _races(visit)
    return list(dict.fromkeys(problems))


def ensure_sound(root: Node, resources: Sequence[str] = RESOURCES) -> None:
    """Raises GraphError with every problem, if there is one."""
    problems = check(root, resources)
    if problems:
        raise GraphError(problems)


def check_capacity(root: Node, capacity: Mapping[str, int]) -> list[Problem]:
    """Needs that a cluster with `capacity` units of each resource could never grant, and guards that do not guard."""
    problems = []
    for path, node in walk(root):
        if not isinstance(node, Spawn):
            for resource, units in node.needs.items():
                if units > capacity.get(resource, 0):
                    message = f"needs {units} {resource}; there are {capacity.get(resource, 0)}"
                    problems.append(Problem("capacity", path, message))
        if isinstance(node, Scope):
            for name, register in node.registers.items():
                if register.guard is not None and capacity.get(register.guard) != 1:
                    message = f"register {name!r} is guarded by {register.guard!r}, which must have exactly one unit"
                    problems.append(Problem("capacity", path, message))
    return problems


@dataclass(frozen=True, slots=True)
class _Declared:
    register: Register
    path: str
    branches: int
    """How many concurrent branchings lie around the scope that owns it."""


@dataclass(frozen=True, slots=True)
class _Around:
    """What surrounds a node."""

    written: Slots = frozenset()
    registers: Mapping[str, _Declared] = field(default_factory=dict)
    held: tuple[str, ...] = ()
    held_alone: tuple[str, ...] = ()
    """What is held since the last branching: no other branch is inside the same holder."""
    scope_held: tuple[str, ...] | None = None
    """What the innermost scope holds; None outside every scope."""
    branches: int = 0


@dataclass(frozen=True, slots=True)
class _Visit:
    """What one run of the check carries along; `writers` fills up on the way."""

    summaries: Summaries
    resources: tuple[str, ...]
    writers: dict[tuple[str, str], list[tuple[str, bool, bool]]] = field(default_factory=dict)
    """(scope path, register) → (path of the stage, concurrent with other writers, holds the guard)."""
    guarded: dict[tuple[str, str], Register] = field(default_factory=dict)


def _node(node: Node, path: str, around: _Around, visit: _Visit) -> Iterator[Problem]:
    here = path or "/"
    if not isinstance(node, Spawn):
        yield from _numbers(node, here)
        yield from _needs(node, here, around, visit)
        held, alone = (*around.held, *node.needs), (*around.held_alone, *node.needs)
        around = replace(around, held=held, held_alone=alone)
    match node:
        case Stage():
            yield from _stage(node, here, around, visit)
        case Flow():
            yield from _flow(node, path, visit)
            known = around.written | frozenset(node.initial)
            if node.label is not None and node.label not in known:
                yield Problem("label", here, f"label {node.label!r} is not a slot written before this flow")
            before = visit.summaries[id(node)].before
            for step, child in node.steps.items():
                # A finally step may run at any moment; an unreachable one is reported as such, not for its reads.
                unknown = frozenset(child.reads) if isinstance(child, Stage) else frozenset()
                inside = frozenset() if step == node.finally_ else before.get(step, unknown)
                yield from _node(child, f"{path}/{step}", replace(around, written=known | inside), visit)
        case ForEach():
            if node.over not in around.written:
                yield Problem("read-before-write", here, f"slot {node.over!r} is not written before on every path")
            if node.item in around.registers:
                yield Problem("register-name", here, f"{node.item!r} is a register; a slot can't share its name")
            copy = replace(around, written=around.written | {node.item})
            if node.limit != 1:
                copy = replace(copy, branches=around.branches + 1, held_alone=())
            yield from _node(node.body, f"{path}/[]", copy, visit)
        case Scope():
            yield from _scope(node, here, around)
            own = {name: _Declared(register, here, around.branches) for name, register in node.registers.items()}
            for name, register in node.registers.items():
                visit.guarded[here, name] = register
                if register.guard is not None and register.guard not in visit.resources:
                    yield Problem("resource", here, f"register {name!r}: guard {register.guard!r} is no resource")
            inside_scope = replace(around, registers={**around.registers, **own}, scope_held=around.held)
            yield from _node(node.body, path, inside_scope, visit)
        case Spawn():
            if around.scope_held is None:
                yield Problem("spawn-outside-scope", here, "no enclosing Scope would join what is spawned here")
            spawned = replace(around, held=around.scope_held or (), held_alone=(), branches=around.branches + 1)
            yield from _node(node.body, path, spawned, visit)


def _numbers(node: Stage | Flow | ForEach | Scope, here: str) -> Iterator[Problem]:
    retry = node.retry
    if retry.max_attempts < 1 or retry.backoff_s < 0 or retry.factor <= 0:
        yield Problem("retry", here, f"retry must have max_attempts ≥ 1, backoff_s ≥ 0 and factor > 0, got {retry}")
    if extra := [o for o in retry.on if o not in BUILT_IN_OUTCOMES]:
        yield Problem("retry", here, f"retry is only for {', '.join(BUILT_IN_OUTCOMES)}, not {', '.join(extra)}")
    if node.timeout_s is not None and not node.timeout_s > 0:
        yield Problem("number", here, f"timeout_s must be > 0, got {node.timeout_s}")
    if isinstance(node, ForEach) and node.limit is not None and node.limit < 1:
        yield Problem("number", here, f"limit must be ≥ 1, got {node.limit}")


def _needs(node: Stage | Flow | ForEach | Scope, here: str, around: _Around, visit: _Visit) -> Iterator[Problem]:
    order = {resource: index for index, resource in enumerate(visit.resources)}
    if isinstance(node, Stage) and node.yields and not node.needs:
        yield Problem("resource", here, "yields, but needs nothing that it could give back")
    if isinstance(node, Stage | Flow) and node.work is not None and node.work not in around.written:
        yield Problem("read-before-write", here, f"slot {node.work!r} is not written before on every path")
    for resource, units in node.needs.items():
        if resource not in order:
            yield Problem("resource", here, f"needs {resource!r}; the resources are {', '.join(visit.resources)}")
            continue
        if units < 1:
            yield Problem("resource", here, f"needs {units} {resource}; at least 1")
        for held in around.held:
            if held == resource:
                yield Problem("hold-and-wait", here, f"needs {resource!r} while an enclosing node holds some")
            elif order.get(held, -1) > order[resource]:
                message = f"needs {resource!r} while holding {held!r}; the order is {' < '.join(visit.resources)}"
                yield Problem("need-order", here, message)


def _stage(node: Stage, here: str, around: _Around, visit: _Visit) -> Iterator[Problem]:
    for outcome, slots in node.outcomes.items():
        if outcome in (*BUILT_IN_OUTCOMES, YIELDED, CANCELLED):
            yield Problem("built-in-outcome", here, f"{outcome!r} is built in; it can't be declared")
        elif not _NAME.match(outcome):
            yield Problem("name", here, f"outcome {outcome!r} is not a usable name")
        for slot in slots:
            if slot == ERROR_SLOT or not _NAME.match(slot):
                yield Problem("name", here, f"slot {slot!r} is not a usable name")
            if slot in around.registers:
                yield Problem("register-name", here, f"{slot!r} is a register; a slot can't share its name")
    if not node.outcomes:
        yield Problem("no-success", here, "declares no outcome")
    for slot in node.reads:
        if slot not in around.written:
            yield Problem("read-before-write", here, f"slot {slot!r} is not written before on every path")
    for name in node.reads_registers:
        if name not in around.registers:
            yield Problem("unknown-register", here, f"reads {name!r}, which no enclosing Scope declares")
    for name in node.writes_registers:
        declared = around.registers.get(name)
        if declared is None:
            yield Problem("unknown-register", here, f"writes {name!r}, which no enclosing Scope declares")
        else:
            concurrent = around.branches > declared.branches
            guards = declared.register.guard in around.held_alone
            visit.writers.setdefault((declared.path, name), []).append((here, concurrent, guards))


def _scope(node: Scope, here: str, around: _Around) -> Iterator[Problem]:
    for name, register in node.registers.items():
        if name == ERROR_SLOT or not _NAME.match(name):
            yield Problem("name", here, f"register {name!r} is not a usable name")
        if register.keep is not None and (register.merge != "append" or register.keep < 1):
            yield Problem("number", here, f"register {name!r}: keep must be ≥ 1, and is for the merge `append` only")
        if name in around.registers:
            yield Problem("register-name", here, f"register {name!r} is declared by an enclosing Scope already")
        if name in around.written:
            yield Problem("register-name", here, f"{name!r} is a slot written before; a register can't share its name")
    for name in node.exports:
        if name not in node.registers:
            yield Problem("unknown-register", here, f"exports {name!r}, which is not a register of this Scope")
        if name in around.registers:
            yield Problem("register-name", here, f"exports {name!r}, a register of an enclosing Scope")


def _races(visit: _Visit) -> Iterator[Problem]:
    for (scope_path, name), writers in visit.writers.items():
        register = visit.guarded[scope_path, name]
        if register.guard is not None:
            for path, _, guards in writers:
                if not guards:
                    message = f"writes register {name!r} without needing its guard {register.guard!r}"
                    yield Problem("register-race", path, message)
        elif register.merge == "replace":
            for path, concurrent, _ in writers:
                if concurrent:
                    message = f"replaces register {name!r} beside other branches; give it a merge or a guard"
                    yield Problem("register-race", path, message)


def _flow(node: Flow, path: str, visit: _Visit) -> Iterator[Problem]:
    here = path or "/"
    inside = {step: visit.summaries[id(child)] for step, child in node.steps.items()}
    for step in node.steps:
        if not _NAME.match(step):
            yield Problem("name", here, f"step {step!r} is not a usable name")
    for step in node.edges:
        if step not in node.steps:
            yield Problem("edge-source", here, f"edges from {step!r}, which is not a step of this flow")
    yield from _finally(node, here)
    for step, summary in inside.items():
        if step == node.finally_:
            continue
        row = node.edges.get(step, {})
        for outcome in summary.results:
            if outcome not in row:
                yield Problem("unrouted", f"{path}/{step}", f"outcome {outcome!r} has no edge")
        for outcome, target in row.items():
            left = exit_outcome(target)
            if outcome not in summary.outcomes:
                yield Problem("unknown-outcome", f"{path}/{step}", f"never ends with {outcome!r}")
            elif left is None and target not in node.steps:
                message = f"{outcome!r} goes to {target!r}, which is not a step of this flow"
                yield Problem("cross-boundary", f"{path}/{step}", message)
            elif left is not None and (left != "failed" and left in (*BUILT_IN_OUTCOMES, CANCELLED)):
                yield Problem("built-in-outcome", f"{path}/{step}", f"a flow can't be left with {left!r} on purpose")
            elif left is not None and not _NAME.match(left):
                yield Problem("name", f"{path}/{step}", f"outcome {left!r} is not a usable name")
    if node.start not in node.steps:
        yield Problem("start", here, f"start {node.start!r} is not a step of this flow")
        return
    yield from _soundness(node, path, visit)


def _finally(node: Flow, here: str) -> Iterator[Problem]:
    last = node.finally_
    if last is None:
        return
    if last not in node.steps:
        yield Problem("finally", here, f"finally step {last!r} is not a step of this flow")
    if last == node.start or last in node.edges:
        yield Problem("finally", here, f"finally step {last!r} can be neither the start nor have edges")
    for step, row in node.edges.items():
        if last in row.values():
            yield Problem("finally", here, f"step {step!r} has an edge to the finally step {last!r}")


def _soundness(node: Flow, path: str, visit: _Visit) -> Iterator[Problem]:
    here = path or "/"
    inside = {step: visit.summaries[id(child)] for step, child in node.steps.items()}
    onward, _ = moves(node, {step: frozenset(s.outcomes) for step, s in inside.items()})
    reached = closure(frozenset({node.start}), onward)
    for step in node.steps:
        if step not in reached and step != node.finally_:
            yield Problem("unreachable", f"{path}/{step}", "no path leads here from the start")

    calm_onward, calm_exits = moves(node, {step: s.calm for step, s in inside.items()})
    backward: dict[str, frozenset[str]] = {
        step: frozenset(p for p in calm_onward if step in calm_onward[p]) for step in node.steps
    }
    leaving = frozenset(step for step in node.steps if calm_exits[step])
    can_leave = closure(leaving, backward)
    for step in node.steps:
        if step in reached and step not in can_leave and step != node.finally_:
            yield Problem("no-exit", f"{path}/{step}", "no way out of this flow from here unless something fails")
    if not visit.summaries[id(node)].results:
        yield Problem("no-success", here, "every exit is a failure")

    start_value = node.initial.get(node.growing) if node.growing is not None else None
    grows = isinstance(start_value, int | float) and not isinstance(start_value, bool)
    if node.growing is not None and not grows:
        yield Problem("growing", here, f"growing slot {node.growing!r} must have a number as its initial value")
    unwritten = {
        step: frozenset(o for o in summary.outcomes if node.growing not in summary.writes.get(o, ()))
        for step, summary in inside.items()
    }
    idle_onward, _ = moves(node, {step: summary.idle & unwritten[step] for step, summary in inside.items()})
    onward_unwritten, _ = moves(node, unwritten)
    for step in node.steps:
        if step in reached and step in closure(idle_onward[step], idle_onward):
            message = "is on a cycle that neither works nor waits, and no growing slot bounds it"
            yield Problem("idle-cycle", f"{path}/{step}", message)
        elif grows and step in closure(onward_unwritten[step], onward_unwritten):
            message = f"is on a cycle that does not write the growing slot {node.growing!r}"
            yield Problem("growing", f"{path}/{step}", message)
