"""A stage graph as a picture: a nested-box flow chart, as a matplotlib figure, an SVG or a PNG.

A person is to see at a glance what runs in parallel and where it joins; `_drawing/layout.py` says how the
node types look. The same graph gives the same bytes, in every process. matplotlib is loaded only when
something is drawn.
"""

from __future__ import annotations

from collections.abc import Mapping
from io import BytesIO
from os import PathLike
from typing import IO, TYPE_CHECKING

from twinclock._drawing.layout import lay_out
from twinclock._drawing.legend import legend
from twinclock._drawing.shapes import HEADING_SIZE, LINE, Box, Label, Shape
from twinclock.graph import Node

if TYPE_CHECKING:
    from matplotlib.figure import Figure

FORMATS = ("svg", "png")

_MARGIN = 14.0
_MIN_WIDTH = 330.0
_POINTS_PER_INCH = 72
_DPI = 150
_HASH_SALT = "twinclock"


def draw(
    root: Node, *, show_data: bool = False, time_spent: Mapping[str, float] | None = None, title: str = ""
) -> Figure:
    """The graph as a figure. It must be sound: an edge to a step that isn't there is a KeyError.

    `show_data` adds what each stage reads and writes. `time_spent` maps paths of stages, as
    `graph.stages` gives them, to seconds; stages are then coloured by their share of the sum, and those
    of equal composites, which are drawn once, by that of all. ValueError if a path is not a stage's.
    """
    from matplotlib.figure import Figure

    from twinclock._drawing.paint import measure, paint

    graph = lay_out(root, measure, show_data=show_data, time_spent=time_spent)
    hottest = max((shape.share or 0.0 for shape in graph.shapes if isinstance(shape, Box)), default=0.0)
    wide = max(graph.width, measure(title, HEADING_SIZE, True), _MIN_WIDTH)
    key = legend(graph.shapes, measure, wide, show_data=show_data, hottest=None if time_spent is None else hottest)
    heading = HEADING_SIZE * LINE + 4 if title else 0.0
    top = _MARGIN + heading + key.height + 12
    width, height = wide + 2 * _MARGIN, top + graph.height + _MARGIN
    figure = Figure(figsize=(width / _POINTS_PER_INCH, height / _POINTS_PER_INCH), dpi=_DPI)
    axes = figure.add_axes((0.0, 0.0, 1.0, 1.0), xlim=(0, width), ylim=(height, 0))
    axes.set_axis_off()
    shapes: list[Shape] = [Label(x=_MARGIN, y=_MARGIN, text=title, style="heading")] if title else []
    shapes += key.shapes_at(_MARGIN, _MARGIN + heading)
    shapes += graph.shapes_at((width - graph.width) / 2, top)
    paint(axes, shapes, hottest)
    return figure


def graph_svg(root: Node) -> str:
    """`draw(root)` as the text of an SVG; KeyError if the graph is not sound."""
    buffer = BytesIO()
    save_graph(root, buffer, "svg")
    return buffer.getvalue().decode()


def save_graph(
    root: Node,
    target: str | PathLike[str] | IO[bytes],
    format: str,
    *,
    show_data: bool = False,
    time_spent: Mapping[str, float] | None = None,
    title: str = "",
) -> None:
    """Writes `draw(root, ...)` to a file or a binary buffer, as one of `FORMATS`.

    ValueError if the format is another; OSError if the file can't be written.
    """
    if format not in FORMATS:
        raise ValueError(f"unknown picture format {format!r}; expected one of: {', '.join(FORMATS)}")
    from matplotlib import rc_context

    figure = draw(root, show_data=show_data, time_spent=time_spent, title=title)
    with rc_context({"svg.hashsalt": _HASH_SALT, "svg.fonttype": "path"}):
        figure.savefig(target, format=format, metadata={"Date": None} if format == "svg" else None)
