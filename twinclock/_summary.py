"""What the static check needs to know of a node without looking inside it again.

One pass, children first: every rule about a composite is then local to it, and the whole check is
linear in nodes and edges.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TypeAlias

from twinclock.graph import (
    BUILT_IN_OUTCOMES,
    ERROR_SLOT,
    FAILED,
    TIMEOUT,
    Flow,
    ForEach,
    Node,
    Scope,
    Spawn,
    Stage,
    children,
    exit_outcome,
    leave,
    results,
)

Slots: TypeAlias = frozenset[str]
_ERROR: Slots = frozenset({ERROR_SLOT})


@dataclass(frozen=True, slots=True, kw_only=True)
class Summary:
    """What can be said of a node once its inside is known."""

    results: tuple[str, ...]
    """Declared outcomes: the parent routes each."""
    failures: tuple[str, ...]
    """The built-in outcomes that can happen to it."""
    calm: frozenset[str]
    """Outcomes it can end with when nothing fails."""
    idle: frozenset[str]
    """Outcomes it can end with although no `work` or `wait` stage ended inside."""
    writes: Mapping[str, Slots]
    """Outcome → slots surely written when it ends so."""
    before: Mapping[str, Slots] = field(default_factory=dict)
    """Flow only: step → slots surely written inside this flow before the step; unreachable ones missing."""
    fails_scope: frozenset[str] = frozenset()
    """`failed` if something spawned inside can fail the enclosing scope."""
    idly_fails_scope: frozenset[str] = frozenset()
    """The same, although no `work` or `wait` stage ended in what was spawned."""

    @property
    def outcomes(self) -> tuple[str, ...]:
        """Everything the node can end with."""
        return (*self.results, *self.failures)


Summaries: TypeAlias = Mapping[int, Summary]
"""By `id(node)`; a subtree that stands in two places is summarised once."""


def summarise(root: Node) -> dict[int, Summary]:
    """The summary of every node below and including `root`, by `id(node)`."""
    done: dict[int, Summary] = {}
    todo: list[tuple[Node, bool]] = [(root, False)]
    while todo:
        node, expanded = todo.pop()
        if id(node) in done:
            continue
        if expanded:
            done[id(node)] = _summary(node, done)
        else:
            todo.append((node, True))
            todo.extend((child, False) for _, child in children(node))
    return done


def _summary(node: Node, known: Summaries) -> Summary:
    match node:
        case Stage():
            failures = _with_timeout(node, FAILED)
            declared = frozenset(results(node))
            return Summary(
                results=results(node),
                failures=failures,
                calm=declared,
                idle=declared | {FAILED} if node.kind == "decide" else frozenset(),
                writes={o: frozenset(node.outcomes.get(o, ())) for o in declared} | dict.fromkeys(failures, _ERROR),
            )
        case Flow():
            return _flow_summary(node, known)
        case ForEach():
            body = known[id(node.body)]
            fails = node.on_failure == "fail" and FAILED in (*body.failures, *body.calm)
            failures = _with_timeout(
                node, *([FAILED] if fails or (body.failures and node.on_failure == "fail") else [])
            )
            only_failed = frozenset({FAILED}) if node.on_failure == "fail" else frozenset()
            return Summary(
                results=results(node),
                failures=failures,
                calm=frozenset({"done"}) | (body.calm & only_failed),
                idle=frozenset({"done"}) | (body.idle & only_failed),
                writes={"done": frozenset()} | dict.fromkeys(failures, _ERROR),
                fails_scope=body.fails_scope,
                idly_fails_scope=body.idly_fails_scope,
            )
        case Spawn():
            body = known[id(node.body)]
            fatal = frozenset({FAILED}) if node.on_failure == "fail" else frozenset()
            return Summary(
                results=results(node),
                failures=(),
                calm=frozenset({"done"}),
                idle=frozenset({"done"}),
                writes={"done": frozenset()},
                fails_scope=body.fails_scope | (fatal if body.failures else frozenset()),
                idly_fails_scope=body.idly_fails_scope
                | (fatal if body.idle & frozenset(BUILT_IN_OUTCOMES) else frozenset()),
            )
        case Scope():
            body = known[id(node.body)]
            failures = _with_timeout(node, *sorted({*body.failures, *body.fails_scope}))
            exported = frozenset(node.exports)
            return Summary(
                results=results(node),
                failures=failures,
                calm=body.calm,
                idle=body.idle | body.idly_fails_scope,
                writes={o: body.writes[o] | exported for o in body.results} | dict.fromkeys(failures, _ERROR),
            )


def target_of(flow: Flow, step: str, outcome: str) -> str | None:
    """Where `outcome` of `step` leads; a failure without an edge leaves the flow. None: unrouted."""
    target = flow.edges.get(step, {}).get(outcome)
    return leave(FAILED) if target is None and outcome in BUILT_IN_OUTCOMES else target


def closure(start: frozenset[str], successors: Mapping[str, frozenset[str]]) -> frozenset[str]:
    """Everything reachable from `start`, itself included."""
    seen: set[str] = set()
    todo = sorted(start)
    while todo:
        step = todo.pop()
        if step not in seen:
            seen.add(step)
            todo.extend(successors.get(step, ()))
    return frozenset(seen)


def moves(flow: Flow, outcomes: Mapping[str, frozenset[str]]) -> tuple[dict[str, frozenset[str]], dict[str, Slots]]:
    """Step → the steps it can lead to, and step → the outcomes it can leave with, over given outcomes."""
    onward: dict[str, frozenset[str]] = {}
    exits: dict[str, frozenset[str]] = {}
    for step in flow.steps:
        targets = [t for o in outcomes[step] if (t := target_of(flow, step, o)) is not None]
        onward[step] = frozenset(t for t in targets if t in flow.steps)
        exits[step] = frozenset(o for t in targets if (o := exit_outcome(t)) is not None)
    return onward, exits


def _flow_summary(node: Flow, known: Summaries) -> Summary:
    inside = {step: known[id(child)] for step, child in node.steps.items()}
    start = frozenset({node.start}) & frozenset(node.steps)
    before = _written_before(node, inside)

    def exits_over(outcomes: Mapping[str, frozenset[str]]) -> frozenset[str]:
        onward, exits = moves(node, outcomes)
        reached = closure(start, onward)
        return frozenset(o for step in reached for o in exits[step])

    fails = FAILED in exits_over({step: frozenset(s.outcomes) for step, s in inside.items()})
    if node.finally_ in inside:
        fails = fails or bool(inside[node.finally_].failures)
    failures = _with_timeout(node, *([FAILED] if fails else []))
    idle_exits = exits_over({step: s.idle for step, s in inside.items()})
    if node.finally_ in inside and idle_exits:
        last = inside[node.finally_].idle
        idle_exits = (idle_exits if last - {FAILED, TIMEOUT} else frozenset()) | (last & {FAILED})
    writes: dict[str, Slots] = {}
    for step, slots in before.items():
        for outcome in inside[step].outcomes:
            target = target_of(node, step, outcome)
            left = None if target is None else exit_outcome(target)
            if left is not None and left not in BUILT_IN_OUTCOMES:
                written = slots | inside[step].writes[outcome]
                writes[left] = writes[left] & written if left in writes else written
    return Summary(
        results=results(node),
        failures=failures,
        calm=exits_over({step: s.calm for step, s in inside.items()}),
        idle=idle_exits,
        writes=dict.fromkeys(results(node), frozenset()) | writes | dict.fromkeys(failures, _ERROR),
        before=before,
        fails_scope=frozenset().union(*(s.fails_scope for s in inside.values())),
        idly_fails_scope=frozenset().union(*(s.idly_fails_scope for s in inside.values())),
    )


def _written_before(node: Flow, inside: Mapping[str, Summary]) -> dict[str, Slots]:
    """Step → slots surely written when it starts: the meet over all paths, to a fixed point."""
    before: dict[str, Slots] = {}
    if node.start not in inside:
        return before
    before[node.start] = frozenset(node.initial)
    todo = [node.start]
    while todo:
        step = todo.pop()
        for outcome in inside[step].outcomes:
            target = target_of(node, step, outcome)
            if target is None or target not in inside:
                continue
            written = before[step] | inside[step].writes[outcome]
            met = before[target] & written if target in before else written
            if before.get(target) != met:
                before[target] = met
                todo.append(target)
    return before


def _with_timeout(node: Stage | Flow | ForEach | Scope, *failures: str) -> tuple[str, ...]:
    return tuple(dict.fromkeys((*failures, *([TIMEOUT] if node.timeout_s is not None else []))))
