"""A world for the machine to run in: answers its commands in random order, and watches that it keeps the rules.

`World` plays an executor. What a stage run does depends on the seed of its fates and on its path alone;
in which order things happen, on another seed. On the way it feeds events that come late or twice. Every
command passes a `Watch`, which knows the graph and the commands so far, and nothing of the machine.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from random import Random
from typing import Any, TypeAlias

from hypothesis import strategies as st
from machine_rules import Watch
from strategies import MAX_UNITS, RESOURCES, sound_graph

from twinclock.allocator import Allocator, Answer
from twinclock.check import check
from twinclock.graph import (
    CANCELLED,
    ERROR_SLOT,
    FAILED,
    YIELDED,
    Flow,
    ForEach,
    Node,
    Scope,
    Spawn,
    Stage,
    leave,
    walk,
)
from twinclock.machine import Machine
from twinclock.messages import (
    Acquire,
    Arm,
    Begin,
    Command,
    Disarm,
    Ended,
    Event,
    Finish,
    Fired,
    Granted,
    Recalled,
    Release,
    Start,
    Timer,
    path_text,
)
from twinclock.stream import ClockTime

UNITS = {name: tuple(f"{name}:{k}" for k in range(MAX_UNITS[name])) for name in RESOURCES}
MAX_EVENTS = 20_000


# Graphs by hand

DONE = {"done": leave("done")}
AGAIN = {"more": "A", "done": leave("done")}


def work(**fields: Any) -> Stage:
    return Stage(**{"kind": "work", "operation": "A", **fields})


def choice(*outcomes: str, **fields: Any) -> Stage:
    return work(outcomes=dict.fromkeys(outcomes, ()), **fields)


def row(*steps: Node, **fields: Any) -> Flow:
    """The steps A, B, … one after the other."""
    names = "ABCDEF"[: len(steps)]
    targets = [*names[1:], leave("done")]
    edges = {name: {"done": target} for name, target in zip(names, targets, strict=True)}
    return Flow(start="A", steps=dict(zip(names, steps, strict=True)), edges=edges, **fields)


# Random graphs


def runnable_graph(seed: int, depth: int = 3) -> Node:
    """A sound graph of at least three stages whose stages may do as they like.

    Without `growing`: whether that slot grows is up to the stages, not to the graph.
    """
    rng = Random(seed)
    while True:
        graph = _map(sound_graph(rng, depth, min_stages=3), _without_growing)
        if not check(graph, RESOURCES):
            return graph


def calm_graph(seed: int, depth: int = 3) -> Node:
    """A runnable graph in which nothing is ever cancelled."""
    return _map(runnable_graph(seed, depth), _calm)


def runnable_graphs() -> st.SearchStrategy[Node]:
    return st.builds(runnable_graph, st.integers(0, 2**32), st.integers(1, 4))


def calm_graphs() -> st.SearchStrategy[Node]:
    return st.builds(calm_graph, st.integers(0, 2**32), st.integers(1, 4))


def _map(node: Node, change: Any) -> Node:
    if isinstance(node, Flow):
        node = replace(node, steps={name: _map(child, change) for name, child in node.steps.items()})
    elif not isinstance(node, Stage):
        node = replace(node, body=_map(node.body, change))
    changed: Node = change(node)
    return changed


def _without_growing(node: Node) -> Node:
    return replace(node, growing=None) if isinstance(node, Flow) else node


def _calm(node: Node) -> Node:
    if isinstance(node, ForEach | Spawn):
        node = replace(node, on_failure="record")
    if isinstance(node, Stage):
        node = replace(node, yields=False)
    if isinstance(node, Flow):
        rows = {step: {o: to for o, to in row.items() if o != YIELDED} for step, row in node.edges.items()}
        node = replace(node, edges=rows)
    return node if isinstance(node, Spawn) else replace(node, timeout_s=None)


# The world


Fate: TypeAlias = tuple[str, Mapping[str, Any]]
"""What a stage run ends with: outcome and values."""


class Fates:
    """What every stage run does, by its path alone; `growing` slots grow with every write."""

    def __init__(self, graph: Node, seed: int, fail: float) -> None:
        nodes = [node for _, node in walk(graph)]
        self._seed = seed
        self._fail = fail
        self._lists = {node.over for node in nodes if isinstance(node, ForEach)}
        self._growing = {node.growing for node in nodes if isinstance(node, Flow)}
        self._registers = {n: r for node in nodes if isinstance(node, Scope) for n, r in node.registers.items()}
        self._num_written = 0

    def __call__(self, path: str, stage: Stage) -> Fate:
        rng = Random(f"{self._seed} {path}")
        if rng.random() < self._fail:
            return FAILED, {ERROR_SLOT: {"type": "Fate", "message": path}}
        outcome = rng.choice(tuple(stage.outcomes))
        values = {slot: self._slot(slot, path, rng) for slot in stage.outcomes[outcome]}
        values |= {name: self._register(name, path, rng) for name in stage.writes_registers if rng.random() < 0.8}
        return outcome, values

    def _slot(self, slot: str, path: str, rng: Random) -> Any:
        if slot in self._lists:
            return [f"{path} {slot} {k}" for k in range(rng.choice((0, 1, 1, 2, 3)))]
        if slot in self._growing:
            self._num_written += 1
            return self._num_written
        return f"{path} {slot}"

    def _register(self, name: str, path: str, rng: Random) -> Any:
        match self._registers[name].merge:
            case "append":
                return [f"{path} {k}" for k in range(rng.randrange(3))]
            case "newest":
                return {"trigger": rng.randrange(5), "from": path}
        return path


@dataclass(frozen=True, kw_only=True)
class Weather:
    """How a world behaves; every field but `allocates` is a probability."""

    fail: float = 0.1
    stale: float = 0.0
    """Before each event: that a late or duplicate one comes first."""
    timers: float = 0.2
    """Where both could come next: a timer runs out rather than a stage run ends."""
    recalls: float = 0.1
    """Before each event: that something held is recalled, if anything that yields is."""
    obeys: float = 0.5
    """A cancelled run answers `cancelled`, not what it would have answered anyway."""
    allocates: bool = True
    """Units are handed out by an `Allocator`; otherwise to everybody, at once."""


class World:
    """One machine, what it has commanded, and what could happen next."""

    def __init__(self, graph: Node, fates: int, order: int, weather: Weather = Weather()) -> None:
        self.machine = Machine(graph)
        self.watch = Watch(graph)
        self.journal: list[Event] = []
        self.answers: list[list[Command]] = []
        """What followed from each event of the journal."""
        self.num_stale = 0
        self._weather = weather
        self._fates = Fates(graph, fates, weather.fail)
        self._rng = Random(f"{fates} {order}")
        self._allocator = Allocator(UNITS)
        self._grants: list[Granted] = []
        self._past: list[Event] = []
        """Events that are of no use any more."""

    @property
    def trace(self) -> list[tuple[str, str]]:
        return [(path, answer) for path, answer in self.watch.trace]

    @property
    def outcome(self) -> str:
        assert self.watch.finish is not None
        return self.watch.finish.outcome

    def run(self) -> World:
        """Until the machine has finished."""
        self.run_to(MAX_EVENTS)
        assert self.watch.finish is not None, "does not end"
        for event in self._rng.sample(self._past, min(5, len(self._past))):
            self._past = [event]
            self._feed_stale()
        return self

    def run_to(self, num_events: int) -> World:
        """Until so many events have happened, or the machine has finished."""
        if not self.journal:
            self.feed(Begin({}))
        while self.watch.finish is None and len(self.journal) < num_events:
            if self._past and self._rng.random() < self._weather.stale:
                self._feed_stale()
            else:
                self.feed(self._next())
        return self

    def replay(self, journal: Sequence[Event]) -> World:
        """Up to where a journal ends; a new allocator then takes over what the machine says is outstanding."""
        for event in journal:
            self.feed(event, is_replayed=True)
        held, commands = self.machine.outstanding()
        for request, placement in held if self._weather.allocates else ():
            self._allocator.adopt(request, placement)
        for command in commands:
            if isinstance(command, Acquire):
                self._ask(command)
        return self

    def feed(self, event: Event, *, is_replayed: bool = False) -> None:
        if self._is_awaited(event):
            self.watch.happened(event)
            self._past.append(event)
        elif not isinstance(event, Begin):
            self.num_stale += 1
        commands = self.machine.feed(event)
        self.journal.append(event)
        self.answers.append(commands)
        for command in commands:
            before = dict(self.watch.waiting)
            self.watch.commanded(command)
            match command:
                case Acquire() if not is_replayed:
                    self._ask(command)
                case Release(pipeline, id_):
                    if not is_replayed:
                        self._hand_out(self._allocator.release((pipeline, id_)))
                    if id_ in before:
                        self._past.append(Granted(id_, dict.fromkeys(before[id_].needs, ())))
                    else:
                        self._past.append(Recalled(id_))
                case Disarm(_, id_, timer):
                    self._past.append(Fired(id_, timer))

    def _is_awaited(self, event: Event) -> bool:
        watch = self.watch
        match event:
            case Granted(id_, _):
                return id_ in watch.waiting
            case Ended(id_, _, _):
                return id_ in watch.running
            case Fired(id_, timer):
                return (id_, timer) in watch.armed
            case Recalled(id_):
                return id_ in watch.recallable()
        return False

    def _next(self) -> Event:
        rng, watch = self._rng, self.watch
        recallable = watch.recallable()
        if recallable and rng.random() < self._weather.recalls:
            return Recalled(rng.choice(recallable))
        granted = [grant for grant in self._grants if grant.id in watch.waiting]
        ids = list(watch.running)
        timers = list(watch.armed)
        assert granted or ids or timers, f"stuck: {self.machine.open_stage_runs()}"
        if timers and (rng.random() < self._weather.timers or not (granted or ids)):
            return Fired(*rng.choice(timers))  # type: ignore[arg-type]
        chosen = rng.randrange(len(granted) + len(ids))
        if chosen < len(granted):
            self._grants.remove(granted[chosen])
            return granted[chosen]
        id_ = ids[chosen - len(granted)]
        if id_ in watch.cancelled and rng.random() < self._weather.obeys:
            return Ended(id_, CANCELLED, {})
        start = watch.running[id_]
        return Ended(id_, *self._fates(path_text(start.path), start.stage))

    def _feed_stale(self) -> None:
        event = self._rng.choice(self._past)
        if self._is_awaited(event):
            return  # a timer of the same name was armed again
        if isinstance(event, Ended):
            event = self._rng.choice((event, event._replace(outcome=CANCELLED, values={}), event._replace(outcome="?")))
        before = self.machine.outstanding()
        self.feed(event)
        assert self.answers[-1] == []
        assert self.machine.num_ignored == self.num_stale
        assert self.machine.outstanding() == before

    def _ask(self, acquire: Acquire) -> None:
        if self._weather.allocates:
            self._hand_out(self._allocator.request(acquire, ClockTime(0.0)))
        else:
            placement = {name: UNITS[name][:units] for name, units in acquire.needs.items()}
            self._grants.append(Granted(acquire.id, placement))

    def _hand_out(self, answers: Sequence[Answer]) -> None:
        self._grants += [event for _, event in answers if isinstance(event, Granted)]


# Stories


class Story:
    """A machine told what happens by path, that answers in lines of text; for tests that people read."""

    def __init__(self, graph: Node, **slots: Any) -> None:
        self.machine = Machine(graph)
        self.log: list[str] = []
        self._ids: dict[str, int] = {}
        """The newest id at each path."""
        self.told(Begin(slots))

    def told(self, event: Event) -> list[str]:
        self.log = [self._line(command) for command in self.machine.feed(event)]
        return self.log

    def granted(self, path: str, **units: str) -> list[str]:
        """`units`: resource → names, separated by blanks."""
        return self.told(Granted(self.id(path), {name: tuple(given.split()) for name, given in units.items()}))

    def ended(self, path: str, outcome: str = "done", **values: Any) -> list[str]:
        return self.told(Ended(self.id(path), outcome, values))

    def failed(self, path: str, message: str = "no") -> list[str]:
        return self.ended(path, FAILED, error={"message": message})

    def fired(self, path: str, timer: Timer = "timeout") -> list[str]:
        """`path` may be `#id`, for a node that has never shown its path."""
        return self.told(Fired(self.id(path), timer))

    def id(self, path: str) -> int:
        return int(path[1:]) if path.startswith("#") else self._ids[path]

    def _line(self, command: Command) -> str:
        if isinstance(command, Finish):
            return f"Finish {command.outcome}" + (f" {command.error['message']}" if command.error else "")
        if isinstance(command, Start | Acquire):
            self._ids[path_text(command.path) or "/"] = command.id
        known = {id_: path for path, id_ in self._ids.items()}
        words = [type(command).__name__, known.get(command.id, f"#{command.id}")]
        match command:
            case Start():
                words += [f"{name}={value}" for name, value in command.inputs.items()]
                words += [f"{name}={value}@{command.versions[name]}" for name, value in command.registers.items()]
                words += [f"on {' '.join(units)}" for units in command.placement.values()]
                words += [f"for {name} {value}" for name, value in command.labels.items()]
            case Acquire():
                words += [f"{units} {name}" for name, units in command.needs.items()]
            case Arm():
                words += [command.timer, f"{command.delay_s} s"]
            case Disarm():
                words += [command.timer]
        return " ".join(words)
