"""What came of a fleet as text: a line for each pipeline, and the cluster as a whole."""

from __future__ import annotations

from collections.abc import Sequence

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from rich.text import Text

from twinclock.fleet.result import Fleet
from twinclock.usage import left_out, left_out_lines, totals

_NOTHING = "-"
_MOST = 40
"""Pipelines that are shown, those with the most device-seconds."""


def show_fleet(fleet: Fleet, console: Console) -> None:
    """Print what each pipeline had of the cluster, and the cluster's totals."""
    rows = fleet.pipelines.sort("device_s", "pipeline", descending=[True, False])
    table = Table(title=Text(f"{fleet.name}: {rows.height} pipelines"), title_justify="left", box=SIMPLE_HEAD)
    table.add_column("pipeline", no_wrap=True)
    for heading in ("makespan, s", "trainings", "device-s", "share", "queued, s", "served", "USD", "accuracy"):
        table.add_column(heading, justify="right")
    for row in rows.head(_MOST).iter_rows(named=True):
        cells = [
            _number(row["makespan_s"], 1),
            str(row["trainings"]),
            _number(row["device_s"], 1),
            _number(row["share"], 3),
            _number(row["queued_s"], 1),
            _number(row["served"], 3),
            _number(row["usd"], 2),
            _number(row["accuracy"], 3),
        ]
        table.add_row(*_texts([row["pipeline"], *cells]))
    console.print(table)
    if rows.height > _MOST:
        console.print(Text(f"and {rows.height - _MOST} more; Fleet.pipelines has all"))
    whole = totals(fleet.usage)
    joules = whole["joules"]
    for label, value in (
        ("makespan", f"{fleet.makespan_s:,.1f} s"),
        ("utilisation", _number(whole["utilisation"], 3)),
        ("money", f"{_number(whole['usd'], 2)} USD"),
        ("energy", f"{_number(None if joules is None else joules / 3.6e6, 3)} kWh"),
        ("fairness (Jain, of served)", _number(fleet.fairness, 3)),
    ):
        if not value.startswith(_NOTHING):
            console.print(Text(f"{label}: {value}"))
    for line in left_out_lines(left_out(fleet.usage)):
        console.print(Text(line))


def _number(value: float | None, decimals: int) -> str:
    return _NOTHING if value is None else f"{value:,.{decimals}f}"


def _texts(cells: Sequence[str]) -> list[Text]:
    return [Text(cell) for cell in cells]
