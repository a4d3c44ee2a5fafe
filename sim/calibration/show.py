"""A calibration as a table."""

from __future__ import annotations

import math
from collections.abc import Iterator

import polars as pl
from rich.box import SIMPLE_HEAD
from rich.table import Table
from rich.text import Text

from sim.calibration.figures import Figure
from sim.calibration.result import Calibration
from twinclock.notebook_html import html_box, html_lines, html_row, html_table
from twinclock.show import plain_text

_APART = 1.25
"""How many times as long as by the fit the jobs of a run take together, from which on it is told."""
_HEADINGS = ("figure", "value", "95 % interval", "unit", "observed", "warm-up", "spread")
_WIDTH = 160
_LEFT = (0, 3)
"""Columns that hold text."""


def calibration_text(found: Calibration) -> str:
    """Every figure with its interval, then what the runs do not show."""
    table = Table(title=Text(_title(found), style="bold"), title_justify="left", box=SIMPLE_HEAD, pad_edge=False)
    for number, heading in enumerate(_HEADINGS):
        table.add_column(heading, justify="left" if number in _LEFT else "right", no_wrap=True)
    for figure in found.figures:
        table.add_row(*map(Text, _cells(figure)))
    shown = plain_text(lambda console: console.print(table), _WIDTH).rstrip("\n")
    return "\n".join([shown, *_notes(found)])


def calibration_html(found: Calibration) -> str:
    """The same for a notebook; it takes its colours from the page."""
    rows = (html_row(_cells(figure), left=_LEFT) for figure in found.figures)
    return html_box(_title(found), html_table(html_row(_HEADINGS, "th", _LEFT), *rows), html_lines(_notes(found)))


def _title(found: Calibration) -> str:
    names = ", ".join(dict.fromkeys(run.config.name for run in found.runs))
    return f"costs fitted to {len(found.runs)} run{'s' * (len(found.runs) != 1)} of {names}"


def _cells(figure: Figure) -> tuple[str, ...]:
    known = figure.low is not None and figure.high is not None
    between = f"{_short(figure.low)} … {_short(figure.high)}" if known else "-"
    return (
        figure.key,
        _short(figure.value),
        between,
        figure.unit,
        str(figure.num_observations),
        str(figure.num_left_out or "-"),
        _short(figure.spread),
    )


def _apart(found: Calibration) -> Iterator[str]:
    """Runs that took much longer or shorter than all of them together: another machine, or a busier one."""
    jobs = found.residuals.filter(~pl.col("is_warmup")).group_by("run", "job", maintain_order=True)
    for (number, job), table in jobs:
        times = float(table["seconds"].to_numpy().sum() / table["fitted_s"].to_numpy().sum())
        if abs(math.log(times)) > math.log(_APART):
            name = found.runs[int(str(number))].folder or found.runs[int(str(number))].name
            yield f"the {job}s of {name} took {times:.2g} times as long as the fit to all runs: was it as busy there?"


def _short(value: float | None) -> str:
    if value is None:
        return "-"
    return "∞" if math.isinf(value) else f"{value:.3g}" if abs(value) < 1000 else f"{value:,.0f}"


def _notes(found: Calibration) -> Iterator[str]:
    far = found.residuals.filter("is_outlier")
    if far.height:
        more_s = float((far["seconds"] - far["fitted_s"]).sum())
        yield f"{far.height} of {found.residuals.height} jobs lie far off the fit, together by {more_s:+.3g} s"
    yield from _apart(found)
    if found.matrix:
        folders = ", ".join(map(str, found.matrix))
        yield f"quality: the matrix of scores measured in {folders}; the fitted formula is in the file beside it"
    yield from (f"not fitted: {line}" for line in found.missing)
