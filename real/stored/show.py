"""The stored models of a run as text."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from rich.text import Text

from real.stored.difference import Difference, TensorDifference, shown
from real.stored.listing import Listed
from twinclock._data_time import is_date

_NOTHING = "-"
_NARROWEST = 112
"""Columns that the list of models takes; in a narrower terminal its lines break."""


def show_models(models: Sequence[Listed], console: Console) -> None:
    """One row for each model; an arrow points at the active one."""
    table = _table("", "model", "parent", "first sample", "last sample", "samples", "size", "loss", "newest score", "")
    for each in models:
        score = _NOTHING if each.score is None else f"{each.score[0]} {each.score[1]:.4f}"
        table.add_row(
            *("→" if each.state == "active" else "", str(each.trigger), _or_nothing(each.parent, str)),
            *(_or_nothing(each.first_ts, data_time_text), _or_nothing(each.last_ts, data_time_text)),
            *(_or_nothing(each.num_samples, "{:,}".format), _or_nothing(each.size_bytes, size_text)),
            *(_or_nothing(each.loss, "{:.4f}".format), score, "" if each.state == "stored" else each.state),
        )
    console.width = max(console.width, _NARROWEST)
    console.print(table)


def show_difference(found: Difference, a: int, b: int, console: Console) -> None:
    """What differs in the lineages, the weights and the scores, in that order."""
    lineage = _table("lineage", str(a), str(b), numbers=False)
    for key, ours, theirs in found.lineage:
        lineage.add_row(Text(key), Text(shown(ours)), Text(shown(theirs)))
    weights = _table("weights", f"shape in {a}", f"shape in {b}", f"norm of {b} - {a}", f"of that of {a}")
    for tensor in found.tensors:
        weights.add_row(Text(tensor.name), *_tensor(tensor))
    console.print(lineage)
    console.print(weights)
    if found.scores.is_empty():
        console.print(Text("scores: there is no interval that both were scored on"))
        return
    scores = _table("score", "plan", "intervals", str(a), str(b), "difference")
    for metric, plan, intervals, ours, theirs in found.scores.rows():
        cells = [str(plan), str(intervals), f"{ours:.4f}", f"{theirs:.4f}", f"{theirs - ours:+.4f}"]
        scores.add_row(Text(metric), *cells)
    console.print(scores)
    console.print(Text("score: mean over the intervals that both were scored on"))


def data_time_text(data_ts: float) -> str:
    """A date where data time can be one, else the number."""
    if not is_date(data_ts):
        return f"{data_ts:g}"
    return datetime.fromtimestamp(data_ts, UTC).strftime("%Y-%m-%d %H:%M").removesuffix(" 00:00")


def size_text(size_bytes: int) -> str:
    """Bytes in the largest unit of which there is one."""
    for unit, size in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if size_bytes >= size:
            return f"{size_bytes / size:.1f} {unit}"
    return f"{size_bytes} B"


def _tensor(tensor: TensorDifference) -> Iterable[str]:
    for shape in tensor.shapes:
        yield _NOTHING if shape is None else "×".join(map(str, shape)) or "1"
    yield _or_nothing(tensor.norm, "{:.4g}".format)
    yield _or_nothing(tensor.relative, "{:.1%}".format)


def _or_nothing(value: float | int | None, text: Callable[..., str]) -> str:
    return _NOTHING if value is None else text(value)


def _table(*columns: str, numbers: bool = True) -> Table:
    table = Table(box=SIMPLE_HEAD, pad_edge=False)
    for index, column in enumerate(columns):
        is_number = numbers and bool(column) and index > 0
        table.add_column(Text(column), justify="right" if is_number else "left", no_wrap=is_number, overflow="fold")
    return table
