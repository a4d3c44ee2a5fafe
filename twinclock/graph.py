"""The stage graph of a pipeline: pure data, no callables, and the same data through JSON.

A graph is a tree of nodes. A leaf is a `Stage`; the other four nodes are the only ways to arrange
stages, so what runs after what, and what runs beside what, can be read off the tree:

* `Flow`     one token; sequence, choice and loop are edges between its steps, keyed by outcome
* `ForEach`  one copy of a body for each item of a slot; it ends when every copy has ended
* `Scope`    ends when its body and everything spawned inside it have ended; owns the registers
* `Spawn`    starts a body that the enclosing `Scope` will join, and goes on at once

Values move between stages in two ways only. A *slot* is a named JSON value of the innermost place
with its own token (the root, a `ForEach` copy, a spawned body). A *register* belongs to a `Scope`
and is the only thing that concurrent branches share. Both hold small JSON: numbers, ids, ranges,
recipes, file references; never arrays of samples and never objects.

`check.py` says which graphs are sound, `machine.py` what running one means.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, fields
from typing import Any, Literal, TypeAlias

Json: TypeAlias = Any
"""None, bool, int, float, str, or a list or str-keyed dict of these; JSON has no useful static type."""

StageKind: TypeAlias = Literal["decide", "work", "wait"]
OnFailure: TypeAlias = Literal["fail", "record"]
Merge: TypeAlias = Literal["replace", "newest", "append"]

FAILED = "failed"
TIMEOUT = "timeout"
YIELDED = "yielded"
"""How a stage ends that gave its units back before its end, because somebody it gives way to asked for them."""
CANCELLED = "cancelled"
BUILT_IN_OUTCOMES = (FAILED, TIMEOUT)
"""Outcomes that every node can have without declaring them; both write the slot `error` only."""
ERROR_SLOT = "error"

_EXIT = ":"


def leave(outcome: str) -> str:
    """The edge target that ends the enclosing `Flow` with `outcome`."""
    return _EXIT + outcome


def exit_outcome(target: str) -> str | None:
    """The outcome that an edge target leaves its `Flow` with; None if it is a step."""
    return target[len(_EXIT) :] if target.startswith(_EXIT) else None


@dataclass(frozen=True, slots=True, kw_only=True)
class Retry:
    """Bounded, deterministic repetition of a node that ended with one of the outcomes `on`.

    Attempt k + 1 starts `backoff_s * factor ** (k - 1)` seconds after attempt k ended; whatever the
    node needs is given back between attempts.
    """

    max_attempts: int = 1
    backoff_s: float = 0.0
    factor: float = 2.0
    on: tuple[str, ...] = BUILT_IN_OUTCOMES


ONCE = Retry()


@dataclass(frozen=True, slots=True, kw_only=True)
class Stage:
    """A leaf: one operation, done by the executor (`work`, `wait`) or by a pure function (`decide`)."""

    kind: StageKind
    operation: str
    outcomes: Mapping[str, tuple[str, ...]] = field(default_factory=lambda: {"done": ()})
    """Every outcome the stage can end with, and the slots that it writes with that outcome."""
    reads: tuple[str, ...] = ()
    reads_registers: tuple[str, ...] = ()
    """Registers whose values the stage sees, as they stand when it starts."""
    writes_registers: tuple[str, ...] = ()
    """Registers that the stage may write; a write takes effect when the stage ends."""
    needs: Mapping[str, int] = field(default_factory=dict)
    """Units of each resource, all granted at once, held from the grant to the end."""
    queue: str = ""
    """Which queue the request for `needs` stands in; the allocator ranks queues."""
    work: str | None = None
    """The slot that holds what the units are to work on; the allocator may rank requests by its size."""
    yields: bool = False
    """Does it give way to requests of those that do not? Then it may end `yielded`, which needs an edge."""
    timeout_s: float | None = None
    """Seconds on the executor's clock, counted from the grant."""
    retry: Retry = ONCE


@dataclass(frozen=True, slots=True, kw_only=True)
class Flow:
    """One token that walks from `start` along `edges` until an edge leaves."""

    start: str
    steps: Mapping[str, Node]
    edges: Mapping[str, Mapping[str, str]]
    """step → outcome → a sibling step, or `leave(outcome)`. Without an edge, a failure leaves."""
    initial: Mapping[str, Json] = field(default_factory=dict)
    """Slots set each time the flow is entered."""
    finally_: str | None = None
    """A step without edges that runs on every way out, cancellation included."""
    growing: str | None = None
    """A numeric slot that must have grown whenever a step is visited again (else: LivelockError)."""
    label: str | None = None
    """A slot whose value, as the flow is entered, goes with every stage run inside into the records."""
    needs: Mapping[str, int] = field(default_factory=dict)
    queue: str = ""
    work: str | None = None
    timeout_s: float | None = None
    retry: Retry = ONCE

    def _repr_svg_(self) -> str | None:
        """What a notebook shows; None, so that it shows the text, of a flow with an edge to a step that isn't there."""
        from twinclock.picture import graph_svg

        try:
            return graph_svg(self)
        except KeyError:
            return None


@dataclass(frozen=True, slots=True, kw_only=True)
class ForEach:
    """One copy of `body` per item of slot `over`, started in order, at most `limit` at once.

    A copy has its own slots: a snapshot of those around, and its item in slot `item`. Ends `done`;
    an empty list is done at once. With `on_failure="fail"` the first failed copy cancels the rest.
    """

    over: str
    item: str
    body: Node
    limit: int | None = None
    on_failure: OnFailure = "fail"
    needs: Mapping[str, int] = field(default_factory=dict)
    queue: str = ""
    timeout_s: float | None = None
    retry: Retry = ONCE


@dataclass(frozen=True, slots=True, kw_only=True)
class Register:
    """A value that concurrent branches of a `Scope` share.

    `merge` says what a write does: `replace` it; keep the `newest` (the dict with the highest
    "trigger"); or `append` the written list, keeping the last `keep` items, as
    `{"total": number ever appended, "items": [...]}`. Writers that may run at the same time need a
    merge that is indifferent to their order, or a `guard`: a resource with one unit that each needs.
    """

    initial: Json = None
    merge: Merge = "replace"
    keep: int | None = None
    guard: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Scope:
    """Ends with its body's outcome once the body and all that was spawned inside have ended."""

    body: Node
    registers: Mapping[str, Register] = field(default_factory=dict)
    exports: tuple[str, ...] = ()
    """Registers whose last values become slots, of the same names, around the scope."""
    needs: Mapping[str, int] = field(default_factory=dict)
    queue: str = ""
    timeout_s: float | None = None
    retry: Retry = ONCE


@dataclass(frozen=True, slots=True, kw_only=True)
class Spawn:
    """Starts `body` with a snapshot of the slots and ends `done` at once; the `Scope` joins it.

    The body holds what the scope's ancestors hold, not what the spawning place holds. If it fails,
    that is recorded, or (`on_failure="fail"`) the scope is cancelled and ends `failed`.
    """

    body: Node
    on_failure: OnFailure = "record"


Node: TypeAlias = Stage | Flow | ForEach | Scope | Spawn
_NODE_TYPES = {cls.__name__: cls for cls in (Stage, Flow, ForEach, Scope, Spawn)}


def results(node: Node) -> tuple[str, ...]:
    """The outcomes that a node's parent must route, in a fixed order; failures are not among them."""
    match node:
        case Stage():
            return (*node.outcomes, YIELDED) if node.yields else tuple(node.outcomes)
        case Flow():
            exits = (exit_outcome(target) for row in node.edges.values() for target in row.values())
            return tuple(dict.fromkeys(o for o in exits if o is not None and o not in BUILT_IN_OUTCOMES))
        case Scope():
            return results(node.body)
        case ForEach() | Spawn():
            return ("done",)


def children(node: Node) -> Iterator[tuple[str, Node]]:
    """The nodes directly below, each with its path segment ("" where a body adds none)."""
    match node:
        case Flow():
            yield from node.steps.items()
        case ForEach():
            yield "[]", node.body
        case Scope() | Spawn():
            yield "", node.body
        case Stage():
            return


def walk(node: Node, path: str = "") -> Iterator[tuple[str, Node]]:
    """Every node with its path in the graph, parents first."""
    yield path or "/", node
    for segment, child in children(node):
        yield from walk(child, f"{path}/{segment}" if segment else path)


def stages(node: Node) -> Iterator[tuple[str, Stage]]:
    """Every stage with its path in the graph."""
    return ((path, each) for path, each in walk(node) if isinstance(each, Stage))


def to_json(node: Node) -> Json:
    """The graph as JSON values; `from_json` gives an equal graph back."""
    return {"node": type(node).__name__} | {f.name: _plain(getattr(node, f.name)) for f in fields(node)}


def from_json(data: Json) -> Node:
    """The graph that `to_json` wrote. ValueError if a node type is unknown."""
    given = dict(data)
    name = given.pop("node")
    if name not in _NODE_TYPES:
        raise ValueError(f"unknown node type {name!r}; known: {', '.join(_NODE_TYPES)}")
    if name == "Stage":
        given["outcomes"] = {outcome: tuple(slots) for outcome, slots in given["outcomes"].items()}
    if name == "Flow":
        given["steps"] = {step: from_json(child) for step, child in given["steps"].items()}
    if name == "Scope":
        given["registers"] = {key: Register(**value) for key, value in given["registers"].items()}
    if "body" in given:
        given["body"] = from_json(given["body"])
    if "retry" in given:
        given["retry"] = Retry(**{**given["retry"], "on": tuple(given["retry"]["on"])})
    for key in ("reads", "reads_registers", "writes_registers", "exports"):
        if key in given:
            given[key] = tuple(given[key])
    node: Node = _NODE_TYPES[name](**given)
    return node


def graph_hash(node: Node) -> str:
    """A fingerprint of the graph (hex); two graphs share it only if their JSON is the same."""
    text = json.dumps(to_json(node), sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


def _plain(value: Json) -> Json:
    match value:
        case Stage() | Flow() | ForEach() | Scope() | Spawn():
            return to_json(value)
        case Retry() | Register():
            return {f.name: _plain(getattr(value, f.name)) for f in fields(value)}
        case Mapping():
            return {key: _plain(item) for key, item in value.items()}
        case tuple() | list():
            return [_plain(item) for item in value]
    return value
