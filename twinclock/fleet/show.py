"""What came of a fleet as text: a line for each pipeline, and the cluster as a whole."""

from __future__ import annotations

from collections.abc import Sequence

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from rich.text import Text

from twinclock.fleet.result import Fleet
from twinclock.show import amount_of_usd, energy_text
from twinclock.usage import left_out, left_out_lines, totals

_NOTHING = "-"
NARROWEST = 80
"""Columns of a terminal that numbers and headings need."""
_MOST = 40
"""Pipelines that are shown, those with the most device-seconds."""


def show_fleet(fleet: Fleet, console: Console) -> None:
    """Print what each pipeline had of the cluster, and the cluster's totals. The table takes `NARROWEST` columns."""
    rows = fleet.pipelines.sort("device_s", "pipeline", descending=[True, False])
    title = Text(f"{fleet.name}: {rows.height} pipelines")
    table = Table(title=title, title_justify="left", box=SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0))
    table.add_column("pipeline", overflow="fold", min_width=8)  # names go on in the next line, numbers can't
    headings = ("makespan,\ns", "train-\nings", "device-\ns", "share", "queued,\ns", "served", "USD", "accu-\nracy")
    for heading in headings:
        table.add_column(heading, justify="right", no_wrap=True)
    for row in rows.head(_MOST).iter_rows(named=True):
        cells = [
            _number(row["makespan_s"], 1),
            str(row["trainings"]),
            _number(row["device_s"], 1),
            _number(row["share"], 3),
            _number(row["queued_s"], 1),
            _number(row["served"], 3),
            _usd(row["usd"]),
            _number(row["accuracy"], 3),
        ]
        table.add_row(*_texts([row["pipeline"], *cells]))
    console.print(table)
    if rows.height > _MOST:
        console.print(Text(f"and {rows.height - _MOST} more; Fleet.pipelines has all"))
    whole = totals(fleet.usage)
    for label, value in (
        ("makespan", f"{fleet.makespan_s:,.1f} s"),
        ("utilisation", _number(whole["utilisation"], 3)),
        ("money", f"{_usd(whole['usd'])} USD"),
        ("energy", energy_text(whole["joules"])),
        ("fairness (Jain, of served)", _number(fleet.fairness, 3)),
    ):
        if not value.startswith(_NOTHING):
            console.print(Text(f"{label}: {value}"))
    for line in left_out_lines(left_out(fleet.usage)):
        console.print(Text(line))


def _number(value: float | None, decimals: int) -> str:
    return _NOTHING if value is None else f"{value:,.{decimals}f}"


def _usd(value: float | None) -> str:
    return _NOTHING if value is None else amount_of_usd(value)


def _texts(cells: Sequence[str]) -> list[Text]:
    return [Text(cell) for cell in cells]
