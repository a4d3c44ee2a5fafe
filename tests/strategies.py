"""Random stage graphs, as plain seeded generators and as hypothesis strategies.

`random_graph` makes any graph, sound or not; `sound_graph` one that passes `check`. Both draw from a
`random.Random`, so a test can loop over seeds, or let hypothesis shrink through `graphs` and `sound_graphs`.

What a test that runs these graphs can rely on: a slot in `LIST_SLOTS` is to hold a list (a `ForEach` goes
over it), `COUNTER` a number that each write makes larger (it is the only `growing` slot), any other slot
whatever JSON value. Needs are among `RESOURCES`, at most `MAX_UNITS` of each; a register's guard has one unit.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from random import Random
from typing import Any

from hypothesis import strategies as st

from twinclock.check import check
from twinclock.graph import (
    BUILT_IN_OUTCOMES,
    ERROR_SLOT,
    FAILED,
    TIMEOUT,
    Flow,
    ForEach,
    Node,
    Register,
    Retry,
    Scope,
    Spawn,
    Stage,
    leave,
    results,
    walk,
)

RESOURCES = ("training_slot", "admission", "device")
GUARD = "admission"
MAX_UNITS = {"training_slot": 1, "admission": 1, "device": 2}
PLAIN_SLOTS = ("a", "b", "c")
LIST_SLOTS = ("xs", "ys")
COUNTER = "count"
ITEM = "item"

_OUTCOMES = (("done",), ("done",), ("done",), ("ok", "bad"), ("yes", "no", "more"))
_INITIAL: Mapping[str, Any] = {"a": 0, "b": {"x": [1.5, None]}, "c": "text", "xs": [], "ys": [1, 2]}
_ELSEWHERE = "elsewhere"


@dataclass(frozen=True, slots=True, kw_only=True)
class Taste:
    """What a random graph is likely to look like; every field but `max_steps` is a probability."""

    fault: float = 0.02
    """For each edge, name and place: that it is made wrong."""
    read: float = 0.2
    needs: float = 0.15
    stray: float = 0.1
    """For each step: that its first outcome need not lead on to the next step."""
    loop: float = 0.25
    failure_edge: float = 0.3
    max_steps: int = 4


ARBITRARY = Taste()
CAREFUL = Taste(fault=0.0, stray=0.0, read=0.6, needs=0.35, loop=0.4)


def random_graph(rng: Random, depth: int = 3, taste: Taste = ARBITRARY) -> Node:
    """A graph of all five node types, at most `depth` composites deep (spawned bodies aside)."""
    return _Maker(rng, taste).node(depth, _Place())


def sound_graph(rng: Random, depth: int = 4, *, min_stages: int = 5) -> Node:
    """A graph that passes `check`, with at least `min_stages` stages: made with care, then mended."""
    while True:
        graph = _careful_graph(rng, depth)
        if graph is not None and sum(isinstance(node, Stage) for _, node in walk(graph)) >= min_stages:
            return graph


def graphs(depth: int = 3) -> st.SearchStrategy[Node]:
    """Any graph, sound or not."""
    return st.randoms(use_true_random=False).map(lambda rng: random_graph(rng, depth))


def sound_graphs(depth: int = 3) -> st.SearchStrategy[Node]:
    """Graphs that pass `check`."""
    made = st.randoms(use_true_random=False).map(lambda rng: _careful_graph(rng, depth))
    return made.flatmap(lambda graph: st.nothing() if graph is None else st.just(graph))


def _careful_graph(rng: Random, depth: int) -> Node | None:
    """A graph that passes `check`, or None if the one that was drawn could not be mended."""
    maker = _Maker(rng, CAREFUL)
    graph: Node = maker.flow(depth, _Place())
    assert isinstance(graph, Flow)
    graph = replace(graph, initial={**graph.initial, **{slot: _INITIAL[slot] for slot in LIST_SLOTS}})
    for _ in range(4):
        problems = check(graph, RESOURCES)
        if not problems:
            return graph
        broken: dict[str, set[str]] = {}
        for problem in problems:
            broken.setdefault(problem.path, set()).add(problem.rule)
        graph = _mended(graph, "", broken)
    return None


def _mended(node: Node, path: str, broken: Mapping[str, set[str]]) -> Node:
    """The node without what breaks a rule that can be kept by leaving something out."""
    rules = broken.get(path or "/", set())
    if isinstance(node, Spawn):
        return replace(node, body=_mended(node.body, path, broken))
    if rules & {"hold-and-wait", "need-order"}:
        node = replace(node, needs={}, queue="")
        node = replace(node, yields=False) if isinstance(node, Stage) else node
    match node:
        case Stage():
            return replace(
                node,
                kind="work" if "idle-cycle" in rules else node.kind,
                reads=() if "read-before-write" in rules else node.reads,
                writes_registers=() if "register-race" in rules else node.writes_registers,
            )
        case Flow():
            unknown = {step for step in node.steps if "unknown-outcome" in broken.get(f"{path}/{step}", ())}
            return replace(
                node,
                steps={step: _mended(child, f"{path}/{step}", broken) for step, child in node.steps.items()},
                edges={
                    step: {o: t for o, t in row.items() if step not in unknown or o not in BUILT_IN_OUTCOMES}
                    for step, row in node.edges.items()
                },
                growing=None if "growing" in rules else node.growing,
                label=None if "label" in rules else node.label,
            )
        case ForEach():
            return replace(node, body=_mended(node.body, f"{path}/[]", broken))
        case Scope():
            return replace(node, body=_mended(node.body, path, broken))


@dataclass(frozen=True, slots=True, kw_only=True)
class _Place:
    """What is around a node: the scope's registers (None: no scope), and how far up `RESOURCES` is held."""

    registers: tuple[str, ...] | None = None
    held: int = 0
    held_at_scope: int = 0

    def holding(self, common: Mapping[str, Any]) -> _Place:
        ranks = [RESOURCES.index(name) + 1 for name in common.get("needs", ())]
        return replace(self, held=max([self.held, *ranks]))


class _Maker:
    def __init__(self, rng: Random, taste: Taste) -> None:
        self.rng = rng
        self.taste = taste
        self.num_registers = 0

    def chance(self, probability: float) -> bool:
        return self.rng.random() < probability

    def some(self, names: Sequence[str], probability: float) -> tuple[str, ...]:
        return tuple(name for name in names if self.chance(probability))

    def node(self, depth: int, place: _Place) -> Node:
        within_scope = place.registers is not None
        spawns = 0.25 if within_scope else self.taste.fault
        weights = (0.2, 0.35, 0.2, 0.08 if within_scope else 0.25, spawns)
        match self.rng.choices(("stage", "flow", "for_each", "scope", "spawn"), weights)[0] if depth > 0 else "stage":
            case "flow":
                return self.flow(depth, place)
            case "for_each":
                return self.for_each(depth, place)
            case "scope":
                return self.scope(depth, place)
            case "spawn":
                return self.spawn(depth, place)
        return self.stage(place)

    def spawn(self, depth: int, place: _Place) -> Spawn:
        return Spawn(body=self.node(depth - 1, replace(place, held=place.held_at_scope)), on_failure=self.either())

    def stage(self, place: _Place) -> Stage:
        often = self.some((*PLAIN_SLOTS, *LIST_SLOTS, COUNTER), 0.35)
        readable = (*PLAIN_SLOTS, *PLAIN_SLOTS, *LIST_SLOTS, ITEM, ERROR_SLOT)
        registers = place.registers or ()
        if self.chance(self.taste.fault):
            registers = (*registers, _ELSEWHERE)
        return Stage(
            kind=self.rng.choices(("decide", "work", "wait"), (4, 5, 2))[0],
            operation=self.rng.choice(("A", "B", "C", "D")),
            outcomes={
                outcome: tuple(slot for slot in often if self.chance(0.85)) for outcome in self.rng.choice(_OUTCOMES)
            },
            reads=(self.rng.choice(readable),) if self.chance(self.taste.read) else (),
            reads_registers=self.some(registers, 0.2),
            writes_registers=self.some(registers, 0.3),
            **self.yielding(common := self.common(place)),
            **common,
        )

    def yielding(self, common: Mapping[str, Any]) -> dict[str, Any]:
        """Of a stage: where it needs nothing that it could give back, this is a fault."""
        return {"yields": True} if self.chance(0.3 if "needs" in common else self.taste.fault) else {}

    def flow(self, depth: int, place: _Place) -> Flow:
        common = self.common(place)
        inside = place.holding(common)
        names = [f"S{k}" for k in range(self.rng.randint(1, self.taste.max_steps))]
        steps = {name: self.node(depth - 1, inside) for name in names}
        edges = {name: self.edges(names, k, steps[name]) for k, name in enumerate(names)}
        if self.chance(0.15):
            steps["LAST"] = self.node(min(depth - 1, 1), inside)
            common["finally_"] = _ELSEWHERE if self.chance(self.taste.fault) else "LAST"
        if self.chance(0.2):
            common["initial"] = {slot: _INITIAL[slot] for slot in self.some(tuple(_INITIAL), 0.5)}
        if self.chance(0.15):
            common["growing"] = COUNTER
            common["initial"] = {**common.get("initial", {}), COUNTER: 0}
        if self.chance(0.05):
            common["label"] = self.rng.choice(PLAIN_SLOTS)
        start = self.rng.choice((*names, "LAST", _ELSEWHERE)) if self.chance(self.taste.fault) else names[0]
        return Flow(start=start, steps=steps, edges=edges, **common)

    def edges(self, names: Sequence[str], k: int, child: Node) -> dict[str, str]:
        row: dict[str, str] = {}
        for n, outcome in enumerate(results(child)):
            if self.chance(self.taste.fault):
                outcome = self.rng.choice(("surprise", ""))
            if outcome and n == 0 and not self.chance(self.taste.stray):
                row[outcome] = names[k + 1] if k + 1 < len(names) else leave("done")
            elif outcome:
                row[outcome] = self.target(names, k)
        times_out = not isinstance(child, Spawn) and child.timeout_s is not None
        for outcome in BUILT_IN_OUTCOMES:
            if self.chance(self.taste.failure_edge) and (outcome == FAILED or times_out):
                row[outcome] = self.target(names, k)
        return row

    def target(self, names: Sequence[str], k: int) -> str:
        if self.chance(self.taste.fault):
            return self.rng.choice((_ELSEWHERE, "LAST", leave(FAILED), leave(TIMEOUT)))
        if self.chance(self.taste.loop):
            return self.rng.choice(names)
        if k + 1 < len(names) and self.chance(0.6):
            return self.rng.choice(names[k + 1 :])
        return leave(self.rng.choices(("done", "other", FAILED), (8, 2, 1))[0])

    def for_each(self, depth: int, place: _Place) -> ForEach:
        common = self.common(place)
        return ForEach(
            over=self.rng.choice(LIST_SLOTS),
            item=self.rng.choice((ITEM, ITEM, "a")),
            body=self.node(depth - 1, place.holding(common)),
            limit=self.rng.choice((None, 1, 1, 2)),
            on_failure=self.either(),
            **common,
        )

    def scope(self, depth: int, place: _Place) -> Scope:
        common = self.common(place)
        registers = {self.register_name(): self.register() for _ in range(self.rng.choice((0, 1, 1, 2)))}
        inside = place.holding(common)
        known = tuple(dict.fromkeys((*(place.registers or ()), *registers)))
        return Scope(
            body=self.node(depth, replace(inside, registers=known, held_at_scope=inside.held)),
            registers=registers,
            exports=self.some(tuple(registers), 0.4),
            **common,
        )

    def register_name(self) -> str:
        if not self.chance(self.taste.fault):
            self.num_registers += 1
        return f"r{self.num_registers}"

    def register(self) -> Register:
        match self.rng.choice(("replace", "newest", "append", "append")):
            case "append":
                return Register(merge="append", keep=self.rng.choice((None, 3)))
            case "newest":
                return Register(merge="newest", initial=self.rng.choice((None, {"trigger": 0, "x": [1, "two"]})))
        return Register(initial=self.rng.choice((None, 1.5, [])), guard=self.rng.choice((None, GUARD)))

    def either(self) -> Any:
        return self.rng.choice(("fail", "record"))

    def common(self, place: _Place) -> dict[str, Any]:
        """The fields that all nodes but Spawn have."""
        common: dict[str, Any] = {}
        free = RESOURCES if self.chance(self.taste.fault) else RESOURCES[place.held :]
        if free and self.chance(self.taste.needs):
            resource = self.rng.choice(free)
            common["needs"] = {resource: self.rng.randint(1, MAX_UNITS[resource])}
            common["queue"] = self.rng.choice(("", "training", "evaluation"))
        if self.chance(0.15):
            common["timeout_s"] = self.rng.choice((1.0, 5.0, 20.0))
        if self.chance(0.15):
            common["retry"] = Retry(
                max_attempts=self.rng.randint(2, 3),
                backoff_s=self.rng.choice((0.0, 1.0)),
                on=self.rng.choice((BUILT_IN_OUTCOMES, (FAILED,))),
            )
        return common
