"""A stage graph as the tables that the machine runs on: every look-up that can be done once, done once."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Final

from twinclock.graph import (
    FAILED,
    TIMEOUT,
    Flow,
    ForEach,
    Json,
    Node,
    Register,
    Retry,
    Scope,
    Spawn,
    Stage,
    exit_outcome,
)

STAGE: Final = 0
FLOW: Final = 1
FOR_EACH: Final = 2
SCOPE: Final = 3
SPAWN: Final = 4


class Code:
    """One node in one place of the tree. Shared subtrees are compiled once per place."""

    __slots__ = (
        "body",
        "exports",
        "fatal",
        "finally_",
        "growing",
        "initial",
        "item",
        "kind",
        "label",
        "limit",
        "name",
        "needs",
        "next",
        "over",
        "parts",
        "plain",
        "queue",
        "registers",
        "retry",
        "stage",
        "start",
        "timeout_s",
        "walk",
        "work",
        "yields",
    )

    kind: int
    name: str
    """The step's name; "" for a body."""
    parts: tuple[Code, ...]
    """What stands directly below, in the order of the graph."""
    next: Mapping[str, Code | str]
    """Step of a Flow: outcome → the next step, or the outcome to leave the flow with."""
    fatal: bool
    """Does a failure of this node fail the ForEach or the Scope that it is a part of?"""
    needs: Mapping[str, int]
    queue: str
    work: str | None
    yields: bool
    timeout_s: float | None
    retry: Retry | None
    plain: bool
    """A stage that needs nothing, can't time out and is not retried: it starts as soon as it is entered."""
    stage: Stage
    walk: Mapping[str, tuple[str, ...]]
    """Plain step of a Flow: outcome that it declares → the slots that it writes."""
    start: Code
    finally_: Code | None
    initial: Mapping[str, Json]
    label: str | None
    growing: str | None
    body: Code
    over: str
    item: str
    limit: int | None
    registers: Mapping[str, Register]
    exports: tuple[str, ...]


def compile_graph(node: Node, name: str = "") -> Code:
    """The tables for a graph that has passed the static check."""
    code = Code()
    code.name = name
    code.parts = ()
    code.next, code.walk = {}, {}
    code.fatal = code.plain = False
    code.finally_ = None
    code.needs, code.queue, code.timeout_s, code.retry = {}, "", None, None
    code.work, code.yields = None, False
    if not isinstance(node, Spawn):
        code.needs, code.queue, code.timeout_s = node.needs, node.queue, node.timeout_s
        code.retry = node.retry if node.retry.max_attempts > 1 else None
    match node:
        case Stage():
            code.kind = STAGE
            code.stage = node
            code.work, code.yields = node.work, node.yields
            code.plain = not node.needs and node.timeout_s is None and code.retry is None
        case Flow():
            code.kind = FLOW
            code.work = node.work
            _compile_flow(code, node)
        case ForEach():
            code.kind = FOR_EACH
            code.over, code.item, code.limit = node.over, node.item, node.limit
            code.body = compile_graph(node.body)
            code.body.fatal = node.on_failure == "fail"
        case Scope():
            code.kind = SCOPE
            code.registers, code.exports = node.registers, node.exports
            code.body = compile_graph(node.body)
        case Spawn():
            code.kind = SPAWN
            code.body = compile_graph(node.body)
            code.body.fatal = node.on_failure == "fail"
    if not isinstance(node, Stage | Flow):
        code.parts = (code.body,)
    return code


def in_order(code: Code) -> Iterator[Code]:
    """A node and all below it, parents first: the same graph always gives the same order."""
    yield code
    for part in code.parts:
        yield from in_order(part)


def _compile_flow(code: Code, node: Flow) -> None:
    steps = {name: compile_graph(child, name) for name, child in node.steps.items()}
    for name, step in steps.items():
        row: dict[str, Code | str] = {FAILED: FAILED, TIMEOUT: FAILED}
        for outcome, target in node.edges.get(name, {}).items():
            left = exit_outcome(target)
            row[outcome] = steps[target] if left is None else left
        step.next = row
        if step.plain:
            step.walk = step.stage.outcomes
    code.parts = tuple(steps.values())
    code.start = steps[node.start]
    code.finally_ = None if node.finally_ is None else steps[node.finally_]
    code.initial, code.growing, code.label = node.initial, node.growing, node.label
