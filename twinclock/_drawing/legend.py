"""The legend of a picture: only what occurs in it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from twinclock._drawing.blocks import Measure
from twinclock._drawing.shapes import SMALL_SIZE, Bar, Block, Box, BoxKind, Dot, Frame, Label, Shape, Stroke

_SAMPLE_WIDTH = 24.0
_ROW_HEIGHT = 15.0
_GAP = 16.0
_STAGES: dict[BoxKind, str] = {
    "decide": "decides: a pure function",
    "work": "works",
    "wait": "waits",
    "repeat": "equal to what is drawn elsewhere",
    "copies": "equal, in copies side by side",
}
_SWATCHES = 5


def legend(shapes: Sequence[Shape], measure: Measure, width: float, *, show_data: bool, hottest: float | None) -> Block:
    """Samples with their meaning, in rows no wider than `width`. `hottest`: the largest share of time shown."""
    placed: list[Shape] = []
    x, y = 0.0, 0.0
    for sample, text in _entries(shapes, show_data, hottest):
        room = max(shape.x + shape.width if isinstance(shape, Box) else 0.0 for shape in sample) if sample else 0.0
        room = max(room, _SAMPLE_WIDTH if sample else 0.0)
        needed = room + 4 + measure(text, SMALL_SIZE, False)
        if x and x + needed > width:
            x, y = 0.0, y + _ROW_HEIGHT
        block = Block(width=room, height=_ROW_HEIGHT, entry=0, shapes=tuple(sample))
        placed += [*block.shapes_at(x, y), Label(x=x + room + 4, y=y + 2, text=text)]
        x += needed + _GAP
    return Block(width=width, height=y + _ROW_HEIGHT, entry=0, shapes=tuple(placed))


def _entries(shapes: Sequence[Shape], show_data: bool, hottest: float | None) -> Iterator[tuple[list[Shape], str]]:
    for kind, meaning in _STAGES.items():
        if any(isinstance(shape, Box) and shape.kind == kind for shape in shapes):
            share = None if hottest is None else 0.0
            size = (17.0, 7.0) if kind == "copies" else (22.0, 12.0)
            yield [_swatch(0, *size, kind, share)], meaning
    yield [Dot(x=20, y=6, style="start")], "start"
    yield [Dot(x=20, y=6, style="exit")], "way out, with its outcome"
    lines = {shape.style for shape in shapes if isinstance(shape, Stroke)}
    frames = {shape.style for shape in shapes if isinstance(shape, Frame)}
    if "failure" in lines:
        yield [Stroke(((0, 6), (24, 6)), "failure", arrow=True)], "after a failure or a timeout"
    if any(isinstance(shape, Bar) for shape in shapes):
        yield [Bar(x=0, y=4, width=24)], "parallel work begins, or is joined"
    if "spawned" in frames:
        yield [Frame(x=0, y=0, width=24, height=12, style="spawned")], "spawned: runs beside what follows, until joined"
    if "stack" in frames:
        yield [Frame(x=0, y=0, width=17, height=7, style="stack")], "copies of a body, side by side"
    if show_data:
        yield [], "∘ a register, shared by concurrent branches"
    if hottest is not None:
        swatches = [_swatch(12 * i, 12, 12, "work", hottest * i / (_SWATCHES - 1)) for i in range(_SWATCHES)]
        meaning = f"0 to {hottest:.0%} of the time spent in stages"
        equal = any(isinstance(shape, Box) and shape.kind in ("repeat", "copies") for shape in shapes)
        yield list(swatches), meaning + ("; equal composites add up where they are drawn" if equal else "")


def _swatch(x: float, width: float, height: float, kind: BoxKind, share: float | None) -> Box:
    return Box(x=x, y=0, width=width, height=height, kind=kind, names=(), notes=(), share=share)
