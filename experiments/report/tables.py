"""Tables of a report from polars frames and from the figures of runs."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import polars as pl

from experiments.report.blocks import Cell, Column, Fold, Table
from experiments.report.numbers import NOTHING, data_time, decimals_for, number
from twinclock._chart import shortened
from twinclock.result import Run
from twinclock.show import Row, difference, side_by_side

MOST_ROWS = 50
"""Of a table of a run; what is longer is cut."""
_MOST_ROWS_OPEN = 12
_LONGEST_TEXT = 300


def frame_table(caption: str, frame: pl.DataFrame, names: Mapping[str, str], whole: str) -> Table:
    """The first rows of a frame, without columns that have nothing at all.

    `names`: column → its heading; `whole`: where all rows are.
    """
    there = [name for name in names if frame.is_empty() or frame[name].null_count() < frame.height]
    shown = frame.head(MOST_ROWS)
    columns = [_column(shown[name]) for name in there]
    heads = [Column(names[name], frame.schema[name].is_numeric()) for name in there]
    cut = f"The first {MOST_ROWS:,} of {frame.height:,} rows; all are in {whole}" if frame.height > MOST_ROWS else ""
    return Table(caption, heads, list(zip(*columns, strict=True)), cut)


def folded(table: Table) -> Table | Fold:
    """A table as it is, or folded away if it is long."""
    return table if len(table.rows) <= _MOST_ROWS_OPEN else Fold(table.caption, table)


def figures_tables(runs: Sequence[Run], names: Sequence[str]) -> list[Table]:
    """The figures of runs side by side, and the seconds of their stages; of two with their difference."""
    kinds = (("Figures", "figure"), ("Seconds in each stage, summed over its runs", "stage"))
    return [
        _side_by_side(caption, head, section, names)
        for (caption, head), section in zip(kinds, side_by_side(runs), strict=True)
        if section
    ]


def _side_by_side(caption: str, head: str, section: Sequence[Sequence[Row]], names: Sequence[str]) -> Table:
    with_difference = len(names) == 2
    heads = [*names, "difference"] if with_difference else names
    rows = []
    for row in section:
        cells = [Cell(row[0].label), *(Cell(each.text, each.value) for each in row)]
        rows.append([*cells, Cell(difference(row[0].value, row[1].value))] if with_difference else cells)
    note = "Difference: of the second from the first, in % of the first." if with_difference else ""
    columns = [Column(head), *(Column(each, is_numeric=True) for each in heads)]
    return Table(caption, columns, rows, note, is_sortable=False)


def _column(values: pl.Series) -> list[Cell]:
    listed = values.to_list()
    if values.name.endswith("_ts"):
        return [Cell(NOTHING) if value is None else Cell(data_time(value), value) for value in listed]
    if values.dtype.is_float():
        decimals = decimals_for(listed)
        return [Cell(number(value, decimals), _key(value)) for value in listed]
    return [_cell(value) for value in listed]


def _key(value: float | None) -> float | None:
    """A place in the order, which a diverged loss does not have."""
    return value if value is not None and math.isfinite(value) else None


def _cell(value: Any) -> Cell:
    if value is None:
        return Cell(NOTHING)
    if isinstance(value, int) and not isinstance(value, bool):
        return Cell(f"{value:,}", value)
    text = shortened(", ".join(map(str, value)) if isinstance(value, list) else str(value), _LONGEST_TEXT)
    return Cell(text, text)
