"""What the machine has entered, as JSON and back: frames, and what they have in common.

Slots are shared inside a token and register cells inside a scope, so what is one object has to be one object
again. Whatever can be shared is told once, in a list of its own, and referred to by its place in it; so a
register of a thousand models that ten stage runs read is told once.

| key | holds |
|---|---|
| values | JSON, as slots, registers and labels hold it |
| slots | name → place in `values` |
| cells | [number of the register in the graph, version, place in `values`] |
| registers | name → place in `cells` |
| frames | one entered node each, in the order of entry: the fields of `Frame` that its kind has |
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from twinclock._compile import FLOW, FOR_EACH, SCOPE, STAGE, Code, in_order
from twinclock._frame import RUNNING, Cell, Frame
from twinclock.graph import Json, Register
from twinclock.messages import Start, path_from_json, path_to_json, placement_from_json


class _Shared:
    """Objects told once each, in the order in which they are first met."""

    def __init__(self, tell: Callable[[Any], Json]) -> None:
        self.told: list[Json] = []
        self._tell = tell
        self._places: dict[int, int] = {}

    def place(self, thing: Any) -> int:
        """Where it is told. `thing` must stay alive: it is known by its identity."""
        place = self._places.get(id(thing))
        if place is None:
            told = self._tell(thing)
            place = self._places[id(thing)] = len(self.told)
            self.told.append(told)
        return place

    def places(self, things: Mapping[str, Any]) -> dict[str, int]:
        """The same for each of several that have names."""
        return {name: self.place(thing) for name, thing in things.items()}


def frames_to_json(root: Code, frames: Iterable[Frame]) -> Json:
    """Everything that is entered in the graph of `root`."""
    numbers = {id(code): number for number, code in enumerate(in_order(root))}
    declared = {id(register): number for number, register in enumerate(_declared(root))}
    values = _Shared(lambda value: value)
    slots = _Shared(values.places)
    cells = _Shared(lambda cell: [declared[id(cell.register)], cell.version, values.place(cell.value)])
    registers = _Shared(cells.places)

    def told(frame: Frame) -> Json:
        row = {
            "id": frame.id,
            "code": numbers[id(frame.code)],
            "parent": None if frame.parent is None else frame.parent.id,
            "scope": None if frame.scope is None else frame.scope.id,
            "path": path_to_json(frame.path),
            "attempt": frame.attempt,
            "state": frame.state,
            "slots": slots.place(frame.slots),
            "registers": registers.place(frame.cells),
            "placement": _placement_to_json(frame.placement),
            "labels": values.places(frame.labels),
        }
        row |= {name: True for name in ("armed", "finishing") if getattr(frame, name)}
        row |= {name: list(ending) for name in ("doom", "result") if (ending := getattr(frame, name)) is not None}
        return row | (_inside(frame, values) if frame.state == RUNNING else {})

    told_frames = [told(frame) for frame in frames]
    return {
        "values": values.told,
        "slots": slots.told,
        "cells": cells.told,
        "registers": registers.told,
        "frames": told_frames,
    }


def _declared(root: Code) -> list[Register]:
    return [register for code in in_order(root) if code.kind == SCOPE for register in code.registers.values()]


def _placement_to_json(placement: Mapping[str, tuple[str, ...]]) -> Json:
    return {resource: list(units) for resource, units in placement.items()}


def _inside(frame: Frame, values: _Shared) -> dict[str, Json]:
    """What only a node that runs has, by its kind."""
    if frame.code.kind == STAGE:
        start = frame.start
        return {
            "inputs": values.places(start.inputs),
            "read": {name: [start.versions[name], values.place(value)] for name, value in start.registers.items()},
        }
    row: dict[str, Json] = {"kids": [kid.id for kid in frame.kids]}
    if frame.code.kind == FLOW:
        row["visits"] = dict(frame.visits)
        if frame.code.growing is not None:
            row["grown"] = dict(frame.grown)
    elif frame.code.kind == FOR_EACH:
        row["left"] = frame.left
    return row


def frames_from_json(root: Code, pipeline: str, told: Json) -> dict[int, Frame]:
    """The same frames by id, in the order of entry."""
    codes = list(in_order(root))
    values: list[Json] = told["values"]
    slots = [_picked(values, row) for row in told["slots"]]
    declared = _declared(root)
    cells = [_cell(declared[number], version, values[value]) for number, version, value in told["cells"]]
    registers = [_picked(cells, row) for row in told["registers"]]
    frames: dict[int, Frame] = {}
    for row in told["frames"]:  # parents and scopes are entered before what is inside them
        parent = None if row["parent"] is None else frames[row["parent"]]
        frame = Frame(codes[row["code"]], parent, path_from_json(row["path"]), slots[row["slots"]], row["attempt"])
        frame.id, frame.state = row["id"], row["state"]
        frame.scope = None if row["scope"] is None else frames[row["scope"]]
        frame.cells = registers[row["registers"]]
        frame.placement = placement_from_json(row["placement"])
        frame.labels = _picked(values, row["labels"])
        frame.armed, frame.finishing = "armed" in row, "finishing" in row
        frame.doom, frame.result = _ending(row.get("doom")), _ending(row.get("result"))
        frames[frame.id] = frame
        if frame.state == RUNNING and frame.code.kind == STAGE:
            frame.start = _start(frame, pipeline, values, row)
    for row in told["frames"]:
        frame = frames[row["id"]]
        if "kids" in row:
            frame.kids = dict.fromkeys(frames[kid] for kid in row["kids"])
        for name in ("visits", "grown"):
            if name in row:
                setattr(frame, name, dict(row[name]))
        if "left" in row:
            frame.left = row["left"]
    return frames


def _picked(things: list[Any], places: Mapping[str, int]) -> dict[str, Any]:
    return {name: things[place] for name, place in places.items()}


def _cell(register: Register, version: int, value: Json) -> Cell:
    cell = Cell(register)
    cell.version, cell.value = version, value
    return cell


def _ending(told: Json) -> tuple[str, Json] | None:
    return None if told is None else (told[0], told[1])


def _start(frame: Frame, pipeline: str, values: list[Json], row: Mapping[str, Json]) -> Start:
    return Start(
        pipeline,
        frame.id,
        frame.path,
        frame.code.stage,
        _picked(values, row["inputs"]),
        {name: values[place] for name, (_, place) in row["read"].items()},
        {name: version for name, (version, _) in row["read"].items()},
        frame.placement,
        frame.labels,
    )
