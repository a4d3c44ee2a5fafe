"""The rules that a machine's commands must keep, told from the graph and the commands alone.

A `Watch` is shown every event that a machine has waited for and every command that it gives. It keeps
its own books (what waits, runs, is held, is armed, what the registers hold) and asserts the rules.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NamedTuple

from acceptor import segments

from twinclock.graph import FAILED, Flow, ForEach, Node, Register, Scope, Spawn, Stage
from twinclock.messages import (
    Acquire,
    Arm,
    Cancel,
    Command,
    Disarm,
    Ended,
    Event,
    Finish,
    Fired,
    Granted,
    Placement,
    Release,
    Start,
    path_text,
)

# Paths


class Place(NamedTuple):
    """An entered node on the way from the root to a stage run."""

    node: Node
    key: tuple[str, int]
    """Its path and how deep it stands: a scope and its body share a path."""
    is_around: bool
    """No spawn leads out of it: it can't end before the stage run, which holds what it holds."""


def places(graph: Node, path: str) -> list[Place]:
    """The nodes from the root to the one at `path`, and on to the innermost body that shares this path."""
    found: list[Place] = []
    node, at, rest = graph, "", segments(path)
    while True:
        if not isinstance(node, Spawn) and node.retry.max_attempts > 1:
            if not rest:
                return found
            at += rest.pop(0)
        if isinstance(node, Spawn):
            scope = max(k for k, place in enumerate(found) if isinstance(place.node, Scope))
            found[scope + 1 :] = [place._replace(is_around=False) for place in found[scope + 1 :]]
        found.append(Place(node, (at, len(found)), not isinstance(node, Spawn)))
        if isinstance(node, Scope | Spawn):
            node = node.body
        elif isinstance(node, Stage) or not rest:
            assert not rest, f"{path} goes on below a stage"
            return found
        else:
            segment = rest.pop(0)
            at += segment
            node = node.steps[segment[1:].partition("#")[0]] if isinstance(node, Flow) else node.body


# The rules


class _Cell:
    """A register as its declaration says."""

    def __init__(self, register: Register) -> None:
        self.register = register
        self.version = 0
        self.written: list[Any] = []
        """Everything ever written that counts, oldest first."""

    def write(self, value: Any) -> None:
        self.version += 1
        self.written += value if self.register.merge == "append" else [value]

    @property
    def value(self) -> Any:
        register, written = self.register, self.written
        if register.merge == "append":
            return {"total": len(written), "items": written if register.keep is None else written[-register.keep :]}
        if register.merge == "replace":
            return written[-1] if written else register.initial
        known = [value for value in (register.initial, *written) if value is not None]
        return max(known, key=lambda value: value["trigger"], default=None)  # max: the first of equals


class Watch:
    """Everything commanded and not yet answered; asserts the rules that every command must keep."""

    def __init__(self, graph: Node) -> None:
        self.graph = graph
        self.trace: list[list[str]] = []
        """[path, what it answered] in the order of starts."""
        self.starts: dict[int, Start] = {}
        self.waiting: dict[int, Acquire] = {}
        self.running: dict[int, Start] = {}
        self.cancelled: set[int] = set()
        """Running, and asked to end."""
        self.held: dict[int, tuple[Acquire, Placement]] = {}
        self.armed: dict[tuple[int, str], Arm] = {}
        self.finish: Finish | None = None
        self._rows: dict[str, int] = {}
        self._places: dict[str, list[Place]] = {}
        self._cells: dict[tuple[str, tuple[str, int]], _Cell] = {}
        self._paths: dict[int, str] = {}
        self._copies: dict[tuple[str, int], int] = {}

    # What happens

    def happened(self, event: Event) -> None:
        """An event that the machine has waited for."""
        match event:
            case Granted(id_, placement):
                self.held[id_] = (self.waiting.pop(id_), placement)
            case Fired(id_, timer):
                del self.armed[id_, timer]
            case Ended(id_, outcome, values):
                start = self.running.pop(id_)
                path = path_text(start.path)
                self.trace[self._rows[path]][1] = outcome
                if id_ not in self.cancelled and outcome != FAILED:
                    for name in start.stage.writes_registers:
                        if name in values:
                            self._cell(name, self._places[path]).write(values[name])
                self.cancelled.discard(id_)

    # What is commanded

    def commanded(self, command: Command) -> None:
        assert self.finish is None, "a command after Finish"
        match command:
            case Start():
                self._started(command)
            case Acquire():
                self._asked(command)
            case Release(_, id_):
                self._released(id_)
            case Cancel(_, id_):
                assert id_ in self.running
                assert id_ not in self.cancelled
                self.cancelled.add(id_)
            case Arm(_, id_, timer, delay_s):
                assert (id_, timer) not in self.armed
                assert delay_s >= 0
                self.armed[id_, timer] = command
            case Disarm(_, id_, timer):
                del self.armed[id_, timer]
            case Finish():
                self.finish = command
                left = [*self.running.values(), *self.waiting.values(), *self.held.values(), *self.armed.values()]
                assert not left, "finished with something left"

    def _started(self, start: Start) -> None:
        path = path_text(start.path)
        assert start.id not in self.starts, "an id started twice"
        assert path not in self._rows, "a path started twice"
        around = self._at(path)
        assert around[-1].node == start.stage
        self._entered(path)
        self._paths[start.id] = path
        holders = [place.key for place in around if place.is_around]
        expected: dict[str, tuple[str, ...]] = {}
        for acquire, placement in self.held.values():
            if self._asker(acquire).key in holders:
                expected.update(placement)
        assert start.placement == expected
        for name, value in start.registers.items():
            cell = self._cell(name, around)
            assert (value, start.versions[name]) == (cell.value, cell.version)
        assert set(start.registers) == set(start.versions) == set(start.stage.reads_registers)
        assert set(start.inputs) == set(start.stage.reads)
        self._rows[path] = len(self.trace)
        self.trace.append([path, ""])
        self.starts[start.id] = self.running[start.id] = start

    def _asked(self, acquire: Acquire) -> None:
        path = path_text(acquire.path)
        assert acquire.id not in self.waiting
        assert acquire.id not in self.held
        self._entered(path)
        self._paths[acquire.id] = path
        self.waiting[acquire.id] = acquire

    def recallable(self) -> list[int]:
        """Stage runs that yield, and have not been asked to end."""
        return [id_ for id_, start in self.running.items() if start.stage.yields and id_ not in self.cancelled]

    def outstanding(self) -> tuple[list[tuple[Acquire, Placement]], list[Command]]:
        """What `Machine.outstanding` must say, in the order of ids."""
        commands: list[Command] = [*self.waiting.values(), *self.armed.values()]
        for id_, start in self.running.items():
            commands += [start, *([Cancel(start.pipeline, id_)] if id_ in self.cancelled else [])]
        return sorted(self.held.values(), key=lambda each: each[0].id), in_order(commands)

    def _released(self, id_: int) -> None:
        if self.waiting.pop(id_, None) is not None:
            return
        acquire, _ = self.held.pop(id_)
        key = self._asker(acquire).key
        for path in self._open_paths():
            inside = any(place.key == key and place.is_around for place in self._at(path))
            assert not inside, f"{path_text(acquire.path)} let go before {path} ended"

    def _entered(self, path: str) -> None:
        """A stage run or a request shows up at `path`: whatever its token has left behind has ended."""
        around = self._at(path)
        keys = {place.key: place for place in around}
        for other in self._open_paths():
            if other == path:
                continue
            places_there = self._at(other)
            shared = max(k for k, place in enumerate(places_there) if place.key in keys)
            fork = places_there[shared]
            if isinstance(fork.node, Flow) and keys[fork.key].is_around and fork.is_around:
                raise AssertionError(f"{path} began while {other} had not ended")
        for k, place in enumerate(around[:-1]):
            if isinstance(place.node, ForEach):
                self._copy_entered(place, around[k + 1])

    def _copy_entered(self, each: Place, copy: Place) -> None:
        assert isinstance(each.node, ForEach)
        number = int(segments(copy.key[0])[len(segments(each.key[0]))][2:-1])
        if shows_at_once(each.node.body):
            assert number <= self._copies.get(each.key, -1) + 1, "a copy was left out"
        self._copies[each.key] = max(number, self._copies.get(each.key, -1))
        if each.node.limit is not None:
            open_ = {number}
            for other in self._open_paths():
                chain = self._at(other)
                for k, place in enumerate(chain[:-1]):
                    if place.key == each.key and place.is_around:
                        open_.add(int(segments(chain[k + 1].key[0])[len(segments(each.key[0]))][2:-1]))
            assert len(open_) <= each.node.limit

    # Looking up

    def _open_paths(self) -> Iterator[str]:
        resting = [id_ for id_, timer in self.armed if timer == "backoff"]
        for id_ in (*self.running, *self.waiting, *resting):
            if id_ in self._paths:
                yield self._paths[id_]

    def _at(self, path: str) -> list[Place]:
        if path not in self._places:
            self._places[path] = places(self.graph, path)
        return self._places[path]

    def _asker(self, acquire: Acquire) -> Place:
        path = path_text(acquire.path)
        here = [place for place in self._at(path) if place.key[0] == path and not isinstance(place.node, Spawn)]
        asked = (acquire.needs, acquire.queue)
        (asker,) = [place for place in here if (place.node.needs, place.node.queue) == asked]  # type: ignore[union-attr]
        return asker

    def _cell(self, name: str, around: Sequence[Place]) -> _Cell:
        scope = [place for place in around if isinstance(place.node, Scope) and name in place.node.registers][-1]
        assert isinstance(scope.node, Scope)
        return self._cells.setdefault((name, scope.key), _Cell(scope.node.registers[name]))


def shows_at_once(node: Node) -> bool:
    """Is a command seen as soon as the node is entered, whatever comes of it?"""
    if isinstance(node, Spawn | ForEach):
        return not isinstance(node, Spawn) and bool(node.needs)
    if isinstance(node, Stage) or node.needs:
        return True
    return shows_at_once(node.steps[node.start] if isinstance(node, Flow) else node.body)


def in_order(commands: Iterable[Command]) -> list[Command]:
    """By id, then by kind."""
    return sorted(commands, key=lambda command: (getattr(command, "id", -1), type(command).__name__))
