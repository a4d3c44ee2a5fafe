"""The blocks of which a drawing is put together: boxes, bars, and frames around other blocks."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Literal, TypeAlias

from twinclock._drawing.rows import slot_width
from twinclock._drawing.shapes import (
    BAR_HEIGHT,
    LINE,
    NAME_SIZE,
    SMALL_SIZE,
    STACK_STEP,
    TITLE_SIZE,
    Bar,
    Block,
    Box,
    BoxKind,
    Dot,
    Frame,
    Label,
    Shape,
    Stroke,
)
from twinclock.graph import BUILT_IN_OUTCOMES, ForEach, Node, Stage
from twinclock.render import name_of, outgoing, repeat_of, repetition, terms

Measure: TypeAlias = Callable[[str, float, bool], float]
"""Text, size in points, bold → width in points."""

_PAD = 9.0
_FORK_WIDTH = 64.0
_NAME_CHARACTERS = 21
_NOTE_WIDTH = 120.0


@dataclass(kw_only=True)
class Drawing:
    measure: Measure
    places: Mapping[str, str]
    show_data: bool
    spent: Mapping[str, float] | None = None
    """Path → seconds spent at or below it, "/" being all; None if times are not shown."""

    def small(self, text: str) -> float:
        """The width of a small text."""
        return self.measure(text, SMALL_SIZE, False)

    def wrapped(self, text: str, width: float) -> list[str]:
        """A small text in lines that are no wider, unless a word is."""
        lines: list[str] = []
        for word in text.split():
            if lines and self.small(f"{lines[-1]} {word}") <= width:
                lines[-1] += f" {word}"
            else:
                lines.append(word)
        return lines

    def share(self, path: str) -> float | None:
        """The part of all time that was spent at or below a path; None if times are not shown."""
        return None if self.spent is None else self.spent.get(path or "/", 0.0) / (self.spent.get("/") or 1.0)

    def time(self, path: str) -> str:
        """The time spent at or below a path, in words; "" if times are not shown."""
        if self.spent is None:
            return ""
        spent_s = self.spent.get(path or "/", 0.0)
        return f"{spent_s:,.0f} s" if spent_s >= 100 else f"{spent_s:.3g} s"


def start() -> Block:
    return Block(width=6, height=6, entry=3, shapes=(Dot(x=3, y=3, style="start"),))


def question(drawing: Drawing, text: str) -> Block:
    width = drawing.small(text) + 14
    box = Box(x=0, y=0, width=width, height=12, kind="again", names=(), notes=(text,), share=None)
    return Block(width=width, height=12, entry=width / 2, shapes=(box,))


def fork(drawing: Drawing, row: Mapping[str, str]) -> Block:
    labels = ["spawned", *(label for label, _ in ways_out(row, joined=True))]
    width = max(_FORK_WIDTH, sum(slot_width(drawing.small(label)) for label in labels))
    return Block(width=width, height=BAR_HEIGHT, entry=width / 2, shapes=(Bar(x=0, y=0, width=width),))


def ways_out(row: Mapping[str, str], *, joined: bool) -> list[tuple[str, str]]:
    """Label and target of each line out of a step; `joined`: outcomes with the same target share one."""
    if joined:
        return [(", ".join(outcomes), target) for target, outcomes in outgoing(row).items()]
    return list(row.items())


def box(drawing: Drawing, name: str, node: Node, path: str, row: Mapping[str, str], remark: str) -> Block:
    names = _name_lines(name)
    first = repeat_of(node, path, drawing.places)
    if isinstance(node, Stage):
        kind: BoxKind = node.kind
        notes = [" · ".join(filter(None, [node.kind, terms(node)]))]
        notes += [f"runs {node.operation}"] if node.operation != name else []
        notes += _data(node) if drawing.show_data else []
    else:
        kind = "copies" if isinstance(node, ForEach) and node.limit != 1 else "repeat"
        notes = [f"as in {name_of((first or '').rpartition('/')[0])}"]
        notes += [repetition(node)] if isinstance(node, ForEach) else []
    share = drawing.share(path)
    timed = "" if share is None else f"{drawing.time(path)}, {share:.1%}"
    wrap_at = max(_NOTE_WIDTH, *(drawing.measure(line, NAME_SIZE, False) for line in names))
    lines = [line for note in [*notes, remark, timed] for line in drawing.wrapped(note, wrap_at)]
    slots = [slot_width(drawing.small(label)) for label, _ in ways_out(row, joined=True)]
    width = max(
        *(drawing.measure(line, NAME_SIZE, True) + 14 for line in names),
        *(drawing.small(line) + 14 for line in lines),
        sum(slots) if len(slots) > 1 else 2 * sum(slots) - 24,
    )
    height = LINE * (NAME_SIZE * len(names) + SMALL_SIZE * len(lines)) + 6
    box = Box(
        x=0, y=0, width=width, height=height, kind=kind, names=names, notes=tuple(lines),
        share=share if isinstance(node, Stage) else None,
    )  # fmt: skip
    behind = 2 * STACK_STEP if kind == "copies" else 0.0
    return Block(width=width + behind, height=height + behind, entry=width / 2, shapes=(box,))


def _data(stage: Stage) -> list[str]:
    """What a stage reads and writes: slots, and registers with a ring."""
    reads = [*stage.reads, *(f"∘{register}" for register in stage.reads_registers)]
    lines = [f"reads {', '.join(reads)}"] if reads else []
    lines += [f"{outcome}: writes {', '.join(slots)}" for outcome, slots in stage.outcomes.items() if slots]
    registers = ", ".join(f"∘{register}" for register in stage.writes_registers)
    return lines + ([f"writes {registers}"] if registers else [])


def _name_lines(name: str) -> tuple[str, ...]:
    """A long name in several lines, broken after underscores."""
    lines = [""]
    for part in re.findall(r"[^_]*_*", name)[:-1] or [name]:
        if lines[-1] and len(lines[-1] + part.rstrip("_")) > _NAME_CHARACTERS:
            lines.append("")
        lines[-1] += part
    return tuple(lines)


def stacked(drawing: Drawing, each: Block) -> Block:
    """A stack of frames between two bars: copies of `each`, side by side."""
    top = BAR_HEIGHT + 12
    bar = top + each.height + 2 * STACK_STEP + 10
    ways_out = sorted(each.ports.values()) or [each.entry]
    first, last = max(ways_out[0] - _FORK_WIDTH / 2, 0), ways_out[-1] + _FORK_WIDTH / 2
    last = last if each.spawned is None else min(last, each.spawned - 6)
    middle = (ways_out[0] + ways_out[-1]) / 2
    text = "all ended" if each.spawned is None else ""
    text_at = last + 4
    shapes = (
        *each.shapes_at(0, top),
        Bar(x=each.entry - _FORK_WIDTH / 2, y=0, width=_FORK_WIDTH),
        *(Stroke(((each.entry + dx, BAR_HEIGHT), (each.entry + dx, top)), arrow=True) for dx in (-16, 0, 16)),
        *(Stroke(((x, top + each.height), (x, bar)), arrow=True) for x in ways_out),
        Bar(x=first, y=bar, width=last - first),
        Label(x=text_at, y=bar - 2, text=text),
    )
    return Block(
        width=max(each.width + 2 * STACK_STEP, text_at + drawing.small(text)), height=bar + BAR_HEIGHT,
        entry=each.entry, shapes=shapes, ports={"done": middle}, spawned=each.spawned,
    )  # fmt: skip


def joined(drawing: Drawing, content: Block, spawned: float) -> Block:
    """The end of a scope: a bar that its body and all that it spawned come to."""
    bar = content.height + 8
    first = max(min(content.ports.values(), default=spawned) - 24, 0)
    text = "JOIN: all spawned work has ended"
    text_at = max(content.ports.values(), default=first) + 8
    width = max(content.width, spawned + 24, text_at + drawing.small(text))
    shapes = (
        *content.shapes,
        *(Stroke(((x, content.height), (x, bar)), arrow=True) for x in content.ports.values()),
        *(Stroke(((x, bar), (x, bar + BAR_HEIGHT + 10))) for x in content.ports.values()),
        Stroke(((spawned, content.height), (spawned, bar)), "parallel", arrow=True),
        Bar(x=first, y=bar, width=min(spawned + 24, width) - first),
        Label(x=text_at, y=bar + BAR_HEIGHT + 1.5, text=text),
    )
    return replace(content, width=width, height=bar + BAR_HEIGHT + 10, shapes=shapes, spawned=None)


def framed(
    drawing: Drawing, content: Block, title: str, notes: Iterable[str], routed: Iterable[str],
    style: Literal["plain", "spawned", "stack"] = "plain",
) -> Block:  # fmt: skip
    """A frame around a block. `routed`: outcomes with an edge; the failures among them leave from the frame itself."""
    note = " · ".join(filter(None, notes))
    title_width = drawing.measure(title, TITLE_SIZE, True)
    beside_title = title_width + 6 if title else 0.0
    one_line = beside_title + drawing.small(note)
    beside = one_line <= max(content.width, _NOTE_WIDTH)
    lines = [] if beside else drawing.wrapped(note, max(content.width, title_width, _NOTE_WIDTH))
    head = one_line if beside else max([title_width, *map(drawing.small, lines)])
    top = 3 + LINE * (TITLE_SIZE + SMALL_SIZE * len(lines)) + 3
    ports = dict(content.ports)
    x = min(ports.values(), default=content.entry)
    failures = [outcome for outcome in routed if outcome not in ports]
    for outcome in failures:
        x -= slot_width(drawing.small(outcome))
        ports[outcome] = x
    left = _PAD + max(0.0, -x)
    width = max(left + content.width, head + _PAD) + _PAD
    left += (width - _PAD - left - content.width) / 2
    bottom = top + content.height + _PAD
    shapes: list[Shape] = [Frame(x=0, y=0, width=width, height=bottom, style=style)]
    shapes.append(Label(x=_PAD, y=3, text=title, style="title"))
    if beside and note:
        shapes.append(Label(x=_PAD + beside_title, y=3 + TITLE_SIZE - SMALL_SIZE, text=note))
    for i, line in enumerate(lines):
        shapes.append(Label(x=_PAD, y=3 + LINE * (TITLE_SIZE + SMALL_SIZE * i), text=line))
    shapes += content.shapes_at(left, top)
    for outcome, inner_x in ports.items():
        if outcome in content.ports:
            shapes.append(Stroke(((inner_x + left, top + content.height), (inner_x + left, bottom))))
        failed = outcome in BUILT_IN_OUTCOMES
        shapes.append(Dot(x=inner_x + left, y=bottom, style="failure" if failed else "exit"))
        if outcome not in routed:
            shapes.append(
                Label(x=inner_x + left + 3, y=bottom + 1, text=outcome, style="failure" if failed else "small")
            )
    spawned = None if content.spawned is None else content.spawned + left
    if spawned is not None:
        shapes.append(Stroke(((spawned, top + content.height), (spawned, bottom)), "parallel"))
    return Block(
        width=width, height=bottom, entry=content.entry + left, shapes=tuple(shapes),
        ports={outcome: inner_x + left for outcome, inner_x in ports.items()}, spawned=spawned,
    )  # fmt: skip
