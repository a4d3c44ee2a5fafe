"""Soundness of small stage graphs by brute force: play the token game, look at every configuration.

Written from the meaning of the nodes alone, as an independent judge of `twinclock.check`. Nothing here is
clever: a configuration is a nested tuple, `_Game.moves` gives everything that can happen in it next, and
`judge` walks all configurations. A `ForEach` has 0, 1, ... `crowd` copies, a `Spawn` at most `crowd` bodies
alive (a further one is taken to have ended at once: bodies do not wait for each other, so nothing is lost).

Configurations, by node; sets of slots are bit masks, `entry` is what was written when the node was entered:

    ("want",)                              waits for what it needs (only if resources are played)
    ("stuck",)                             an edge is missing or leads nowhere
    ("run",)                               Stage, Spawn
    ("flow", entry, step, inner)           Flow at a step
    ("last", entry, outcome, inner)        Flow in its finally step; ends with `outcome` afterwards
    ("each",)                              ForEach before it is known how many copies there are
    ("copies", number waiting, ((slots, inner), ...))
    ("scope", entry, inner | ("over", outcome), ((spawn, slots, inner), ...))
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple, TypeAlias

from twinclock.graph import (
    BUILT_IN_OUTCOMES,
    CANCELLED,
    ERROR_SLOT,
    FAILED,
    TIMEOUT,
    YIELDED,
    Flow,
    ForEach,
    Node,
    Register,
    Scope,
    Spawn,
    Stage,
    children,
    exit_outcome,
)

Configuration: TypeAlias = tuple[Any, ...]
Slots: TypeAlias = int
"""The set of slots written so far on the way here, one bit each."""

_STUCK: Configuration = ("stuck",)


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """What brute force found out about a graph; every path is one of `twinclock.graph.walk`."""

    completes: bool
    """From every reachable configuration the graph can end without a further failure."""
    dead: frozenset[str]
    """Steps that are never entered, without those inside another dead step."""
    hopeless: frozenset[str]
    """Flows that are entered and can only end `failed` or `timeout`."""
    orphans: frozenset[str]
    """Spawns that no scope joins."""
    unwritten: frozenset[tuple[str, str]]
    """(path, slot): read there although some way there leaves it unwritten."""
    idle: frozenset[str]
    """Steps on a loop of their flow that can go round in no time and without a write to a growing slot."""
    untaken: frozenset[tuple[str, str]]
    """(step, outcome): an edge for what the step, though entered, never ends with."""
    races: frozenset[str]
    """Registers (by name) whose last value depends on which of two concurrent stages ends later."""

    @property
    def structure_is_sound(self) -> bool:
        return self.completes and not (self.dead or self.hopeless or self.orphans)


class _Move(NamedTuple):
    to: Configuration | None
    """None: the node ends with `outcome`."""
    outcome: str
    slots: Slots
    calm: bool = True
    """Nothing fails or times out of itself."""
    idle: bool = False
    """Takes no time."""
    spawned: tuple[tuple[int, Slots], ...] = ()
    demand: tuple[tuple[str, int], ...] = ()


class TooBigError(Exception):
    """The graph has more configurations than the judge is ready to look at."""


def judge(root: Node, *, max_states: int = 20_000, crowd: int = 2) -> Verdict | None:
    """The verdict on a graph; None if it has too many configurations.

    Two in a crowd show every interleaving of pairs; with one, races among equals are not seen.
    """
    try:
        plain = _Game(root, max_states=max_states, crowd=crowd)
        plain.explore()
        slots = _Game(root, max_states=max_states, crowd=crowd, play_slots=True)
        slots.explore()
        return Verdict(
            completes=plain.always_completes(),
            dead=plain.dead(),
            hopeless=plain.hopeless(),
            orphans=frozenset(plain.paths[i] for i in plain.orphans),
            unwritten=frozenset((slots.paths[i], slot) for i, slot in slots.unwritten),
            idle=slots.idle_steps(),
            untaken=plain.untaken(),
            races=plain.races(),
        )
    except TooBigError:
        return None


def can_deadlock(root: Node, capacity: Mapping[str, int], *, max_states: int = 20_000, crowd: int = 2) -> bool | None:
    """Can stages wait for each other's resources for ever? None if there are too many configurations.

    Only meaningful for a graph that completes when needs are ignored.
    """
    try:
        game = _Game(root, max_states=max_states, crowd=crowd, capacity=capacity)
        game.explore()
        return not game.always_completes()
    except TooBigError:
        return None


class _Game:
    """The token game of one graph. Facts about reachable configurations collect as it is explored."""

    def __init__(
        self,
        root: Node,
        *,
        max_states: int,
        crowd: int = 2,
        play_slots: bool = False,
        capacity: Mapping[str, int] | None = None,
    ) -> None:
        self.nodes: list[Node] = []
        self.paths: list[str] = []
        self.kids: list[dict[str, int]] = []
        self.parents: list[int] = []
        self._add(root, "", -1)
        self.max_states = max_states
        self.crowd = crowd
        self.play_slots = play_slots
        self.capacity = capacity
        self.entered: set[int] = set()
        self.endings: dict[int, set[str]] = {}
        self.followed: set[tuple[int, str]] = set()
        self.unwritten: set[tuple[int, str]] = set()
        self.orphans: set[int] = set()
        self.next: dict[tuple[Slots, Configuration], list[_Move]] = {}
        self._memo: dict[tuple[int, Configuration, Slots], list[_Move]] = {}
        # Slots that nobody reads would only multiply configurations.
        readers = (n.reads if isinstance(n, Stage) else (n.over,) if isinstance(n, ForEach) else () for n in self.nodes)
        growing = (n.growing for n in self.nodes if isinstance(n, Flow) and n.growing is not None)
        seen = {slot for reads in readers for slot in reads} | set(growing) if play_slots else set()
        self._bit = {slot: 1 << k for k, slot in enumerate(sorted(seen))}

    def _add(self, node: Node, path: str, parent: int) -> int:
        i = len(self.nodes)
        self.nodes.append(node)
        self.paths.append(path or "/")
        self.parents.append(parent)
        self.kids.append({})
        for segment, child in children(node):
            self.kids[i][segment] = self._add(child, f"{path}/{segment}" if segment else path, i)
        return i

    def _body(self, i: int) -> int:
        (body,) = self.kids[i].values()
        return body

    # Entering

    def enter(self, i: int, slots: Slots) -> tuple[Configuration, Slots]:
        self.entered.add(i)
        node = self.nodes[i]
        if self.capacity is not None and not isinstance(node, Spawn) and node.needs:
            return ("want",), slots
        return self._open(i, slots)

    def _open(self, i: int, slots: Slots) -> tuple[Configuration, Slots]:
        match self.nodes[i]:
            case Stage(reads=reads):
                self._reading(i, reads, slots)
                return ("run",), slots
            case Spawn():
                return ("run",), slots
            case Flow(start=start, steps=steps, finally_=last, initial=initial):
                if start not in steps or start == last:
                    return _STUCK, slots
                inner, now = self.enter(self.kids[i][start], slots | self._bits(initial))
                return ("flow", slots, start, inner), now
            case ForEach(over=over):
                self._reading(i, (over,), slots)
                return ("each",), slots
            case Scope():
                inner, now = self.enter(self._body(i), slots)
                return ("scope", slots, inner, ()), now

    def _reading(self, i: int, reads: tuple[str, ...], slots: Slots) -> None:
        if self.play_slots:
            self.unwritten |= {(i, slot) for slot in reads if not slots & self._bit[slot]}

    def _bits(self, written: Iterable[str]) -> Slots:
        bits = 0
        for slot in written:
            bits |= self._bit.get(slot, 0)
        return bits

    def _after_failure(self, entry: Slots) -> Slots:
        """Of a composite that failed, nothing it wrote can be relied on."""
        return entry | self._bits((ERROR_SLOT,))

    # Moving

    def moves(self, i: int, at: Configuration, slots: Slots) -> list[_Move]:
        key = (i, at, slots)
        if key not in self._memo:
            self._memo[key] = list(self._moves(i, at, slots))
        return self._memo[key]

    def _moves(self, i: int, at: Configuration, slots: Slots) -> Iterator[_Move]:
        node = self.nodes[i]
        match at[0]:
            case "stuck":
                return
            case "want":
                assert not isinstance(node, Spawn)
                to, now = self._open(i, slots)
                yield _Move(to, "", now, demand=tuple(sorted(node.needs.items())))
                return
        match node:
            case Stage():
                yield from self._stage_moves(node, slots)
            case Spawn():
                yield _Move(None, "done", slots, idle=True, spawned=((i, slots),))
            case Flow():
                yield from self._flow_moves(i, node, at, slots)
            case ForEach():
                yield from self._for_each_moves(i, node, at, slots)
            case Scope():
                yield from self._scope_moves(i, node, at, slots)

    def _stage_moves(self, stage: Stage, slots: Slots) -> Iterator[_Move]:
        idle = stage.kind == "decide"
        for outcome, written in stage.outcomes.items():
            yield _Move(None, outcome, slots | self._bits(written), idle=idle)
        yield _Move(None, FAILED, slots | self._bits((ERROR_SLOT,)), calm=False, idle=idle)
        if stage.timeout_s is not None:
            yield _Move(None, TIMEOUT, slots | self._bits((ERROR_SLOT,)), calm=False)
        if stage.yields:
            yield _Move(None, YIELDED, slots, idle=idle)

    def _flow_moves(self, i: int, flow: Flow, at: Configuration, slots: Slots) -> Iterator[_Move]:
        if at[0] == "last":
            yield from self._last_moves(i, at, slots)
            return
        _, entry, step, inner = at
        for move in self.moves(self.kids[i][step], inner, slots):
            if move.to is not None:
                yield move._replace(to=("flow", entry, step, move.to))
            else:
                yield self._follow(i, flow, entry, step, move)
        if flow.timeout_s is not None:
            yield self._leave(i, flow, entry, _Move(None, TIMEOUT, slots | self._bits((ERROR_SLOT,)), calm=False))
        if self.play_slots and flow.finally_ is not None:
            yield self._leave(i, flow, entry, _Move(None, CANCELLED, slots, calm=False))

    def _follow(self, i: int, flow: Flow, entry: Slots, step: str, move: _Move) -> _Move:
        """The step ended: along its edge."""
        self.followed.add((self.kids[i][step], move.outcome))
        failed = move.outcome in BUILT_IN_OUTCOMES
        target = flow.edges.get(step, {}).get(move.outcome, ":failed" if failed else "")
        ending = exit_outcome(target)
        if ending is not None:
            return self._leave(i, flow, entry, move._replace(outcome=ending))
        if target not in flow.steps or target == flow.finally_:
            return move._replace(to=("flow", entry, step, _STUCK))
        inner, now = self.enter(self.kids[i][target], move.slots)
        return move._replace(to=("flow", entry, target, inner), slots=now)

    def _leave(self, i: int, flow: Flow, entry: Slots, move: _Move) -> _Move:
        """The flow is left with `move.outcome`, through its finally step if it has one."""
        if flow.finally_ is None:
            return self._end(i, entry, move)
        if flow.finally_ not in flow.steps:
            return move._replace(to=("last", entry, move.outcome, _STUCK))
        inner, now = self.enter(self.kids[i][flow.finally_], move.slots)
        return move._replace(to=("last", entry, move.outcome, inner), slots=now)

    def _last_moves(self, i: int, at: Configuration, slots: Slots) -> Iterator[_Move]:
        _, entry, outcome, inner = at
        flow = self.nodes[i]
        assert isinstance(flow, Flow)
        if flow.finally_ is None or flow.finally_ not in flow.steps:
            return
        for move in self.moves(self.kids[i][flow.finally_], inner, slots):
            if move.to is not None:
                yield move._replace(to=("last", entry, outcome, move.to))
            elif outcome != CANCELLED:
                ending = FAILED if move.outcome in BUILT_IN_OUTCOMES else outcome
                yield self._end(i, entry, move._replace(outcome=ending))

    def _end(self, i: int, entry: Slots, move: _Move) -> _Move:
        self.endings.setdefault(i, set()).add(move.outcome)
        failed = move.outcome in BUILT_IN_OUTCOMES
        return move._replace(to=None, slots=self._after_failure(entry) if failed else move.slots)

    def _for_each_moves(self, i: int, each: ForEach, at: Configuration, slots: Slots) -> Iterator[_Move]:
        body = self._body(i)

        def copy() -> tuple[Slots, Configuration]:
            inner, now = self.enter(body, slots | self._bits((each.item,)))
            return now, inner

        def copies(waiting: int, running: list[tuple[Slots, Configuration]]) -> Configuration:
            return ("copies", waiting, tuple(sorted(running)))

        if each.timeout_s is not None:
            yield _Move(None, TIMEOUT, self._after_failure(slots), calm=False)
        if at[0] == "each":
            yield _Move(None, "done", slots, idle=True)
            for number in range(1, self.crowd + 1):
                running = min(number, each.limit or number)
                yield _Move(copies(number - running, [copy() for _ in range(running)]), "", slots, idle=True)
            return
        _, waiting, alive = at
        for k, (own, inner) in enumerate(alive):
            others = [*alive[:k], *alive[k + 1 :]]
            for move in self.moves(body, inner, own):
                if move.to is not None:
                    yield move._replace(to=copies(waiting, [*others, (move.slots, move.to)]), slots=slots)
                elif move.outcome in BUILT_IN_OUTCOMES and each.on_failure == "fail":
                    yield move._replace(outcome=FAILED, slots=self._after_failure(slots))
                elif waiting:
                    yield move._replace(to=copies(waiting - 1, [*others, copy()]), slots=slots)
                elif others:
                    yield move._replace(to=copies(0, others), slots=slots)
                else:
                    yield move._replace(outcome="done", slots=slots)

    def _scope_moves(self, i: int, scope: Scope, at: Configuration, slots: Slots) -> Iterator[_Move]:
        _, entry, inner, spawned = at
        if scope.timeout_s is not None:
            yield _Move(None, TIMEOUT, self._after_failure(entry), calm=False)
        if inner[0] != "over":
            for move in self.moves(self._body(i), inner, slots):
                now = move.to if move.to is not None else ("over", move.outcome)
                yield self._join(scope, entry, now, spawned, move)
        for k, (spawn, own, body) in enumerate(spawned):
            others = (*spawned[:k], *spawned[k + 1 :])
            node = self.nodes[spawn]
            assert isinstance(node, Spawn)
            for move in self.moves(self._body(spawn), body, own):
                if move.to is not None:
                    others_now = (*others, (spawn, move.slots, move.to))
                    yield self._join(scope, entry, inner, others_now, move._replace(slots=slots))
                elif move.outcome in BUILT_IN_OUTCOMES and node.on_failure == "fail":
                    yield move._replace(outcome=FAILED, slots=self._after_failure(entry), spawned=())
                else:
                    yield self._join(scope, entry, inner, others, move._replace(slots=slots))

    def _join(self, scope: Scope, entry: Slots, inner: Configuration, spawned: Any, move: _Move) -> _Move:
        """Take in what the move spawned; the scope ends if nothing is left in it."""
        alive = list(spawned)
        for spawn, own in move.spawned:
            if sum(other == spawn for other, _, _ in alive) < self.crowd:
                body, now = self.enter(self._body(spawn), own)
                alive.append((spawn, now, body))
        if alive or inner[0] != "over":
            return move._replace(to=("scope", entry, inner, tuple(sorted(alive))), spawned=())
        outcome = inner[1]
        failed = outcome in BUILT_IN_OUTCOMES
        written = self._after_failure(entry) if failed else move.slots | self._bits(scope.exports)
        return move._replace(to=None, outcome=outcome, slots=written, spawned=())

    # Exploring

    def explore(self) -> None:
        inner, slots = self.enter(0, 0)
        todo = [(slots, inner)]
        while todo:
            at = todo.pop()
            if at in self.next:
                continue
            if len(self.next) >= self.max_states:
                raise TooBigError
            moves = [move for move in self.moves(0, at[1], at[0]) if self._granted(move, at[1])]
            self.next[at] = moves
            for move in moves:
                self.orphans |= {spawn for spawn, _ in move.spawned}
                if move.to is not None:
                    todo.append((move.slots, move.to))

    def _granted(self, move: _Move, at: Configuration) -> bool:
        if self.capacity is None or not move.demand:
            return True
        held: dict[str, int] = {}
        self._held(0, at, held)
        return all(held.get(name, 0) + units <= self.capacity[name] for name, units in move.demand)

    def _held(self, i: int, at: Configuration, held: dict[str, int]) -> None:
        node = self.nodes[i]
        if at[0] in ("want", "over"):
            return
        if not isinstance(node, Spawn):
            for name, units in node.needs.items():
                held[name] = held.get(name, 0) + units
        for child, inner in self._inside(i, at):
            self._held(child, inner, held)

    def _inside(self, i: int, at: Configuration) -> Iterator[tuple[int, Configuration]]:
        match at[0]:
            case "flow":
                yield self.kids[i][at[2]], at[3]
            case "last":
                flow = self.nodes[i]
                assert isinstance(flow, Flow)
                if flow.finally_ is not None and flow.finally_ in flow.steps:
                    yield self.kids[i][flow.finally_], at[3]
            case "copies":
                yield from ((self._body(i), inner) for _, inner in at[2])
            case "scope":
                yield self._body(i), at[2]
                yield from ((self._body(spawn), inner) for spawn, _, inner in at[3])

    # Facts

    def always_completes(self) -> bool:
        before: dict[tuple[Slots, Configuration], list[tuple[Slots, Configuration]]] = {}
        good = set()
        for at, moves in self.next.items():
            for move in moves:
                if not move.calm:
                    continue
                if move.to is None:
                    good.add(at)
                else:
                    before.setdefault((move.slots, move.to), []).append(at)
        todo = list(good)
        while todo:
            for earlier in before.get(todo.pop(), ()):
                if earlier not in good:
                    good.add(earlier)
                    todo.append(earlier)
        return len(good) == len(self.next)

    def dead(self) -> frozenset[str]:
        return frozenset(
            self.paths[child]
            for i in self.entered
            if isinstance(self.nodes[i], Flow)
            for child in self.kids[i].values()
            if child not in self.entered
        )

    def hopeless(self) -> frozenset[str]:
        flows = (i for i in self.entered if isinstance(self.nodes[i], Flow))
        return frozenset(self.paths[i] for i in flows if not self.endings.get(i, set()) - set(BUILT_IN_OUTCOMES))

    def untaken(self) -> frozenset[tuple[str, str]]:
        return frozenset(
            (self.paths[child], outcome)
            for i in self.entered
            if isinstance(flow := self.nodes[i], Flow)
            for step, child in self.kids[i].items()
            if child in self.entered and step != flow.finally_
            for outcome in flow.edges.get(step, ())
            if (child, outcome) not in self.followed
        )

    def idle_steps(self) -> frozenset[str]:
        flows = [(i, node) for i in sorted(self.entered) if isinstance(node := self.nodes[i], Flow)]
        return frozenset(self.paths[child] for i, flow in flows for child in self._idle_steps(i, flow))

    def _idle_steps(self, i: int, flow: Flow) -> Iterator[int]:
        """The steps that can be visited again and again in no time."""
        grown = self._bits(() if flow.growing is None else (flow.growing,))
        after = {
            step: {flow.edges.get(step, {}).get(o) for o, slots in self._idle_endings(child) if not slots & grown}
            for step, child in self.kids[i].items()
            if child in self.entered and step != flow.finally_
        }
        for step in after:
            seen: set[str] = set()
            todo = [step]
            while todo and step not in seen:
                fresh = {t for t in after[todo.pop()] if t in after and t not in seen}
                seen |= fresh
                todo += fresh
            if step in seen:
                yield self.kids[i][step]

    def _idle_endings(self, i: int) -> set[tuple[str, Slots]]:
        """How a node just entered can end in no time: with which outcome, having written what."""
        inner, slots = self.enter(i, 0)
        seen: set[tuple[Configuration, Slots]] = set()
        endings: set[tuple[str, Slots]] = set()
        todo = [(inner, slots)]
        while todo:
            at = todo.pop()
            if at in seen:
                continue
            seen.add(at)
            if len(seen) > self.max_states:
                raise TooBigError
            for move in self.moves(i, *at):
                if move.idle and move.to is None:
                    endings.add((move.outcome, move.slots))
                elif move.idle and move.to is not None:
                    todo.append((move.to, move.slots))
        return endings

    def races(self) -> frozenset[str]:
        registers = (n.registers.values() for n in self.nodes if isinstance(n, Scope))
        if all(register.merge != "replace" for each in registers for register in each):
            return frozenset()
        return frozenset(name for _, at in self.next for name in self._races_in(at))

    def _races_in(self, at: Configuration) -> Iterator[str]:
        """Registers that two stages which run right now will both write, unordered by a guard."""
        writers = list(self._writers(0, at, (), {}, {}))
        for k, (register, merge, guard) in enumerate(writers):
            for other, _, other_guard in writers[:k]:
                guarded = guard is not None and other_guard is not None and guard != other_guard
                if other == register and merge == "replace" and not guarded:
                    yield register[1]

    def _writers(
        self,
        i: int,
        at: Configuration,
        here: tuple[int, ...],
        registers: Mapping[str, tuple[tuple[int, ...], Register]],
        holders: Mapping[str, tuple[int, ...]],
    ) -> Iterator[tuple[tuple[tuple[int, ...], str], str, tuple[int, ...] | None]]:
        """(which register, its merge, who holds its guard) for every stage that runs and writes it.

        Nodes and registers are told apart by `here`, the position in the configuration: two copies of
        a scope have two registers, and a guard held around both writers orders nothing.
        """
        if at[0] in ("want", "over", "stuck"):
            return
        node = self.nodes[i]
        if not isinstance(node, Spawn):
            holders = {**holders, **dict.fromkeys(node.needs, here)}
        if isinstance(node, Stage):
            for name in node.writes_registers:
                if name in registers:
                    where, register = registers[name]
                    guard = holders.get(register.guard) if register.guard is not None else None
                    yield (where, name), register.merge, guard
            return
        if isinstance(node, Scope):
            registers = {**registers, **{name: (here, register) for name, register in node.registers.items()}}
        for k, (child, inner) in enumerate(self._inside(i, at)):
            yield from self._writers(child, inner, (*here, k), registers, holders)
