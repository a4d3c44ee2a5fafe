"""The places in which stage runs stood: one for each time that a composite of the graph was entered.

A stage run's id is its place in the graph (docs/runs.md), and the rows of `stage_runs` are in the order in
which they ended. Together with the graph that says which composites were entered, in which order the steps
of each ended, and what was spawned and so does not belong to the flow that spawned it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import NamedTuple

import polars as pl

from twinclock.errors import RunError
from twinclock.graph import Flow, ForEach, Node, Scope, Spawn, from_json
from twinclock.result import Run

NO_ROW = -1


class Token(NamedTuple):
    """The last part of an id: `training#0@2`, or `[3]` for an item of a ForEach."""

    name: str
    number: int
    attempt: int
    """0 if it is not retried."""


@dataclass(slots=True, eq=False)
class Place:
    """A composite, once for each time and each attempt that it was entered."""

    text: str
    """Its id; empty for the root."""
    around: Place | None
    token: Token
    node: Node | None
    """What it is in the graph; None if the graph does not know it."""
    inside: Node | None
    """The flow or ForEach whose parts have their places here; a scope and its body share a place."""
    counted: tuple[Place, ...] = ()
    """The places, this one first, that can't end before what runs here has ended."""
    last: int = NO_ROW
    """Row of the stage run that was the last to end before this ended."""
    rows: list[int] = field(default_factory=list)
    """Stage runs directly inside, in the order of their ends."""
    places: list[Place] = field(default_factory=list)
    """Composites directly inside, spawned ones too, in the order in which something inside first ended."""
    ordered: tuple[list[int], list[int | Place]] | None = None
    """What `steps` has worked out."""

    @property
    def is_spawned(self) -> bool:
        """Did it run beside what comes after it?"""
        return isinstance(self.node, Spawn)

    def steps(self) -> tuple[list[int], list[int | Place]]:
        """What was done here one after the other, in order: the row with which each ended, and what it was.

        Parts are rows of stage runs, and composites that are not spawned.
        """
        if self.ordered is None:
            parts: list[tuple[int, int | Place]] = [(row, row) for row in self.rows]
            parts += [(each.last, each) for each in self.places if not each.is_spawned and each.last != NO_ROW]
            if self.places:
                parts.sort(key=_first)
            self.ordered = [last for last, _ in parts], [part for _, part in parts]
        return self.ordered


@dataclass(frozen=True)
class StageRuns:
    """The columns of `stage_runs`, in the order of the ends, and the place of each row."""

    frame: pl.DataFrame
    ids: Sequence[str]
    stages: Sequence[str]
    outcomes: Sequence[str | None]
    started_s: Sequence[float]
    ended_s: Sequence[float]
    places: Sequence[Place]
    """Of each row, the composite around it."""
    known: Mapping[str, Place]
    """Every place by its id."""

    @cached_property
    def queued_s(self) -> Sequence[float]:
        """When each asked for what it needs, or started."""
        return self.frame["queued_s"].fill_null(self.frame["started_s"]).to_list()


def stage_runs_of(run: Run) -> StageRuns:
    """The stage runs of a run in their places. RunError if its graph can't be read."""
    frame = run.stage_runs
    if not frame["ended_s"].is_sorted():
        frame = frame.sort("ended_s", maintain_order=True)
    known: dict[str, Place] = {}
    graph = graph_of(run)
    known[""] = known["/"] = root = Place("", None, Token("", 0, 0), graph, _inside(graph))
    root.counted = (root,)
    places = []
    for row, parent in enumerate(frame["parent"].fill_null("/").to_list()):
        place = known.get(parent)
        if place is None:
            place = _entered(parent, known)
        places.append(place)
        place.rows.append(row)
        for each in place.counted:
            each.last = row
    return StageRuns(
        frame,
        frame["id"].to_list(),
        frame["stage"].to_list(),
        frame["outcome"].to_list(),
        frame["started_s"].to_list(),
        frame["ended_s"].to_list(),
        places,
        known,
    )


def graph_of(run: Run) -> Node:
    """The graph that was run: the one in its folder, or the one that its configuration asks for."""
    if run.folder is None:
        from twinclock.launch import graph_options
        from twinclock.pipeline import build_graph

        return build_graph(graph_options(run.config))
    file = run.folder / "graph.json"
    try:
        return from_json(json.loads(file.read_text(encoding="utf-8")))
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise RunError(f"{file}: can't be read ({error}); expected the graph of the run") from None


def token_of(id_: str) -> Token:
    """The last part of an id."""
    text = id_[id_.rfind("/") + 1 :]
    text, _, attempt = text.partition("@")
    if text.startswith("["):
        return Token("", int(text[1:-1]), int(attempt.rpartition("@")[2] or 0))
    name, _, number = text.partition("#")
    return Token(name, int(number or 0), int(attempt.rpartition("@")[2] or 0))


def _entered(text: str, known: dict[str, Place]) -> Place:
    """The place of this id, and those around it, made if they are not known."""
    slash = text.rfind("/")
    outside = text[:slash] if slash > 0 else ""
    around = known.get(outside)
    if around is None:
        around = _entered(outside, known)
    token = token_of(text)
    node: Node | None = None
    if isinstance(around.inside, Flow):
        node = around.inside.steps.get(token.name)
    elif isinstance(around.inside, ForEach):
        node = around.inside.body
    place = known[text] = Place(text, around, token, node, _inside(node))
    place.counted = (place, *_counted_around(place))
    around.places.append(place)
    return place


def _counted_around(place: Place) -> tuple[Place, ...]:
    """A flow does not wait for what it spawned; the scope around does, and with it all that is around the scope."""
    around = place.around
    if around is None:
        return ()
    if place.is_spawned:
        while around is not None and not isinstance(around.node, Scope):
            around = around.around
    return () if around is None else around.counted


def _inside(node: Node | None) -> Node | None:
    while isinstance(node, Scope | Spawn):
        node = node.body
    return node


def _first(pair: tuple[int, int | Place]) -> int:
    return pair[0]
