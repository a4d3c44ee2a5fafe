"""Puts shapes on matplotlib axes whose unit is a point, y down. Import it only where something is drawn."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TypeAlias

from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.colors import to_hex
from matplotlib.font_manager import FontProperties
from matplotlib.patches import Circle, FancyBboxPatch, Patch, PathPatch, Polygon, Rectangle
from matplotlib.path import Path
from matplotlib.textpath import text_to_path

from twinclock._drawing.shapes import (
    BAR_HEIGHT,
    HEADING_SIZE,
    LINE,
    NAME_SIZE,
    SMALL_SIZE,
    STACK_STEP,
    TITLE_SIZE,
    Bar,
    Box,
    Dot,
    Frame,
    Label,
    LineStyle,
    Point,
    Shape,
    Stroke,
)

Dashes: TypeAlias = str | tuple[float, tuple[float, float]]

INK = "#222222"
FAILURE = "#b3261e"
PARALLEL = "#5b2a86"
_FONT = "DejaVu Sans"  # comes with matplotlib, so a picture looks the same everywhere
_FILLS = {"decide": "#fff4c8", "work": "#8fc1ea", "wait": "#dcdcdc"}
_LINES: Mapping[LineStyle, tuple[str, float, Dashes]] = {
    "plain": (INK, 0.8, "-"),
    "failure": (FAILURE, 0.8, (0, (1.5, 1.5))),
    "parallel": (PARALLEL, 1.6, (0, (3, 1.4))),
}
_DASHED: Dashes = (0, (3, 2))
_BEND = 4.0
_HEAD_LENGTH = 4.5
_HEAD_WIDTH = 4.0
_CORNER = 5.0
_HEAT = colormaps["YlOrRd"]
_HOTTEST = 0.6  # black text would be hard to read on the colours above this part of the map


def measure(text: str, size: float, bold: bool) -> float:
    """The width of a line of text, in points."""
    font = FontProperties(family=_FONT, size=size, weight="bold" if bold else "normal")
    width, _, _ = text_to_path.get_text_width_height_descent(text, font, False)
    return float(width)


def paint(axes: Axes, shapes: Sequence[Shape], hottest: float) -> None:
    """Frames first, outer before inner, then lines, then what lines must not cover.

    `hottest` is the share of time that gets the strongest colour.
    """
    for kind in (Frame, Stroke, Bar, Box, Dot, Label):
        for shape in shapes:
            if not isinstance(shape, kind):
                continue
            match shape:
                case Frame():
                    _frame(axes, shape)
                case Stroke():
                    _stroke(axes, shape)
                case Bar():
                    _add(axes, Rectangle((shape.x, shape.y), shape.width, BAR_HEIGHT, facecolor=INK, edgecolor="none"))
                case Box():
                    _box(axes, shape, hottest)
                case Dot():
                    _dot(axes, shape)
                case Label():
                    _label(axes, shape)


def _add(axes: Axes, patch: Patch) -> None:
    patch.set_zorder(2)  # all alike, so that what is added later lies on top
    axes.add_patch(patch)


def _rounded(
    x: float, y: float, width: float, height: float, corner: float,
    fill: str, edge: str, line: float, dashes: Dashes = "-",
) -> FancyBboxPatch:  # fmt: skip
    return FancyBboxPatch(
        (x, y), width, height, boxstyle=f"round,pad=0,rounding_size={corner}",
        facecolor=fill, edgecolor=edge, linewidth=line, linestyle=dashes,
    )  # fmt: skip


def _frame(axes: Axes, frame: Frame) -> None:
    at = frame.x, frame.y, frame.width, frame.height
    match frame.style:
        case "spawned":
            _add(axes, _rounded(*at, _CORNER, "#f3e8fb", PARALLEL, 1.8, _LINES["parallel"][2]))
        case "stack":
            _add_stack(axes, *at, corner=_CORNER)
            _add(axes, _rounded(*at, _CORNER, "#fdfbff", PARALLEL, 1.2))
        case "plain":
            _add(axes, _rounded(*at, _CORNER, "#00000007", "#555555", 0.9))


def _add_stack(axes: Axes, x: float, y: float, width: float, height: float, corner: float) -> None:
    for step in (2 * STACK_STEP, STACK_STEP):
        _add(axes, _rounded(x + step, y + step, width, height, corner, "#ffffff", PARALLEL, 1.2))


def _box(axes: Axes, box: Box, hottest: float) -> None:
    x, y, width, height = box.x, box.y, box.width, box.height
    fill = _FILLS.get(box.kind, "#ffffff")
    if box.share is not None:
        fill = to_hex(_HEAT(_HOTTEST * box.share / hottest if hottest else 0.0))
    match box.kind:
        case "decide":  # pointed at the sides, like the diamond of a flow chart
            middle, tip = y + height / 2, 5.0
            corners = [(x, middle), (x + tip, y), (x + width - tip, y)]
            corners += [(x + width, middle), (x + width - tip, y + height), (x + tip, y + height)]
            _add(axes, Polygon(corners, closed=True, facecolor=fill, edgecolor=INK, linewidth=0.9))
        case "work":
            _add(axes, Rectangle((x, y), width, height, facecolor=fill, edgecolor=INK, linewidth=1.1))
        case "wait":
            _add(axes, _rounded(x, y, width, height, height / 2.2, fill, INK, 0.9, _DASHED))
        case "again":
            _add(axes, _rounded(x, y, width, height, height / 2.2, fill, INK, 0.7))
        case "repeat" | "copies":
            if box.kind == "copies":
                _add_stack(axes, x, y, width, height, corner=3)
            _add(axes, _rounded(x, y, width, height, 3, fill, INK if box.kind == "repeat" else PARALLEL, 0.9))
            _add(axes, _rounded(x + 2, y + 2, width - 4, height - 4, 2, "none", "#777777", 0.5))
    top = y + (height - LINE * (NAME_SIZE * len(box.names) + SMALL_SIZE * len(box.notes))) / 2
    for line in box.names:
        _text(axes, x + width / 2, top, line, NAME_SIZE, bold=True, centred=True)
        top += LINE * NAME_SIZE
    for line in box.notes:
        _text(axes, x + width / 2, top, line, SMALL_SIZE, centred=True)
        top += LINE * SMALL_SIZE


def _dot(axes: Axes, dot: Dot) -> None:
    at = dot.x, dot.y
    match dot.style:
        case "start":
            _add(axes, Circle(at, 3.0, facecolor=INK, edgecolor="none"))
        case "exit" | "failure":
            color = FAILURE if dot.style == "failure" else INK
            _add(axes, Circle(at, 2.2, facecolor="#ffffff", edgecolor=color, linewidth=1.0))
        case "end":
            _add(axes, Circle(at, 4.0, facecolor="#ffffff", edgecolor=INK, linewidth=1.0))
            _add(axes, Circle(at, 2.2, facecolor=INK, edgecolor="none"))


def _label(axes: Axes, label: Label) -> None:
    match label.style:
        case "title":
            _text(axes, label.x, label.y, label.text, TITLE_SIZE, bold=True)
        case "heading":
            _text(axes, label.x, label.y, label.text, HEADING_SIZE, bold=True)
        case "small" | "failure":
            _text(axes, label.x, label.y, label.text, SMALL_SIZE, color=FAILURE if label.style == "failure" else INK)


def _text(
    axes: Axes,
    x: float,
    y: float,
    text: str,
    size: float,
    *,
    bold: bool = False,
    centred: bool = False,
    color: str = INK,
) -> None:
    axes.text(
        x, y + 0.95 * size, text, size=size, family=_FONT, weight="bold" if bold else "normal", color=color,
        ha="center" if centred else "left", va="baseline", parse_math=False, zorder=3,
    )  # fmt: skip


def _stroke(axes: Axes, stroke: Stroke) -> None:
    color, width, dashes = _LINES[stroke.style]
    points = list(dict.fromkeys(stroke.points))
    if len(points) < 2:
        return
    if stroke.arrow:
        tip, back = points[-1], _towards(points[-1], points[-2], _HEAD_LENGTH)
        across = (
            (tip[1] - back[1]) / _HEAD_LENGTH * _HEAD_WIDTH / 2,
            (tip[0] - back[0]) / _HEAD_LENGTH * _HEAD_WIDTH / 2,
        )
        sides = [(back[0] + across[0], back[1] - across[1]), (back[0] - across[0], back[1] + across[1])]
        points[-1] = back
    vertices, codes = [points[0]], [Path.MOVETO]
    for before, corner, after in zip(points, points[1:], points[2:], strict=False):
        vertices += [_towards(corner, before, _BEND), corner, _towards(corner, after, _BEND)]
        codes += [Path.LINETO, Path.CURVE3, Path.CURVE3]
    path = Path([*vertices, points[-1]], [*codes, Path.LINETO])
    line = PathPatch(path, facecolor="none", edgecolor=color, linewidth=width, linestyle=dashes, capstyle="butt")
    _add(axes, line)
    if stroke.arrow:
        _add(axes, Polygon([tip, *sides], closed=True, facecolor=color, edgecolor="none"))


def _towards(here: Point, there: Point, distance: float) -> Point:
    """The point `distance` away from `here` on the way to `there`, or half way if that is nearer."""
    dx, dy = there[0] - here[0], there[1] - here[1]
    part = min(distance / (abs(dx) + abs(dy)), 0.5)
    return here[0] + dx * part, here[1] + dy * part
