"""What a drawing is made of. Lengths are points (1/72 inch), x to the right, y down."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Literal, TypeAlias

Point: TypeAlias = tuple[float, float]
BoxKind: TypeAlias = Literal["decide", "work", "wait", "repeat", "copies", "again"]
"""`repeat` and `copies`: a composite that is drawn elsewhere; `again`: whether a loop goes on."""
LineStyle: TypeAlias = Literal["plain", "failure", "parallel"]

HEADING_SIZE = 12.0
NAME_SIZE = 7.5
TITLE_SIZE = 8.0
SMALL_SIZE = 6.4
LINE = 1.25
"""Height of a line of text, as a multiple of its size."""
BAR_HEIGHT = 4.0
STACK_STEP = 3.5
"""How far each frame of a stack is behind the one in front."""


@dataclass(frozen=True, slots=True)
class Stroke:
    """A line with rounded bends; `arrow` puts a head on its last point."""

    points: tuple[Point, ...]
    style: LineStyle = "plain"
    arrow: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Frame:
    """A composite's border."""

    x: float
    y: float
    width: float
    height: float
    style: Literal["plain", "spawned", "stack"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Box:
    """A stage, or what stands for a composite."""

    x: float
    y: float
    width: float
    height: float
    kind: BoxKind
    names: tuple[str, ...]
    notes: tuple[str, ...]
    share: float | None
    """Of the time spent in all stages, the part spent here; None if times are not shown."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Bar:
    """Where parallel branches begin or end."""

    x: float
    y: float
    width: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Dot:
    """Where a composite starts or is left."""

    x: float
    y: float
    style: Literal["start", "exit", "failure", "end"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Label:
    """One line of text, by its upper left corner."""

    x: float
    y: float
    text: str
    style: Literal["heading", "title", "small", "failure"] = "small"


Shape: TypeAlias = Frame | Box | Bar | Dot | Label | Stroke


@dataclass(frozen=True, slots=True, kw_only=True)
class Block:
    """Shapes that are placed as one, and the x at which lines enter above and leave below."""

    width: float
    height: float
    entry: float
    shapes: tuple[Shape, ...]
    ports: Mapping[str, float] = field(default_factory=dict)
    """Outcome → x of the way out."""
    spawned: float | None = None
    """x at which the line of work leaves that was spawned inside and is joined outside."""

    def shapes_at(self, x: float, y: float) -> tuple[Shape, ...]:
        """The shapes, with the block's top-left corner put at (x, y)."""
        return tuple(moved(shape, x, y) for shape in self.shapes)


def moved(shape: Shape, dx: float, dy: float) -> Shape:
    """The shape, shifted."""
    if isinstance(shape, Stroke):
        return Stroke(tuple((x + dx, y + dy) for x, y in shape.points), shape.style, shape.arrow)
    return replace(shape, x=shape.x + dx, y=shape.y + dy)
