"""A calibration as a table."""

from __future__ import annotations

import math
from collections.abc import Iterator
from html import escape
from io import StringIO

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from rich.text import Text

from sim.calibration.figures import Figure
from sim.calibration.result import Calibration

_HEADINGS = ("figure", "value", "95 % interval", "unit", "observed", "warm-up", "spread")


def calibration_text(found: Calibration) -> str:
    """Every figure with its interval, then what the runs do not show."""
    table = Table(title=Text(_title(found), style="bold"), title_justify="left", box=SIMPLE_HEAD, pad_edge=False)
    for number, heading in enumerate(_HEADINGS):
        table.add_column(heading, justify="left" if number in (0, 3) else "right", no_wrap=True)
    for figure in found.figures:
        table.add_row(*map(Text, _cells(figure)))
    out = StringIO()
    console = Console(file=out, width=160, color_system=None, force_terminal=False, highlight=False)
    console.print(table)
    return "\n".join([*(line.rstrip() for line in out.getvalue().splitlines()), *_notes(found)])


def calibration_html(found: Calibration) -> str:
    """The same for a notebook; it takes its colours from the page."""
    side = ["left" if number in (0, 3) else "right" for number in range(len(_HEADINGS))]

    def row(cells: tuple[str, ...], tag: str) -> str:
        made = (
            f'<{tag} style="text-align:{align};padding:0.1em 0.8em 0.1em 0;white-space:nowrap">{escape(cell)}</{tag}>'
            for align, cell in zip(side, cells, strict=True)
        )
        return f"<tr>{''.join(made)}</tr>"

    rows = "".join(row(_cells(figure), "td") for figure in found.figures)
    notes = "".join(f'<p style="margin:0.3em 0">{escape(note)}</p>' for note in _notes(found))
    return (
        '<div style="color:inherit;background:transparent;font-size:0.95em">'
        f"<strong>{escape(_title(found))}</strong>"
        f'<table style="border-collapse:collapse;margin:0.4em 0">{row(_HEADINGS, "th")}{rows}</table>{notes}</div>'
    )


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


def _short(value: float | None) -> str:
    if value is None:
        return "-"
    return "∞" if math.isinf(value) else f"{value:.3g}" if abs(value) < 1000 else f"{value:,.0f}"


def _notes(found: Calibration) -> Iterator[str]:
    far = found.residuals.filter("is_outlier")
    if far.height:
        more_s = float((far["seconds"] - far["fitted_s"]).sum())
        yield f"{far.height} of {found.residuals.height} jobs lie far off the fit, together by {more_s:+.3g} s"
    if found.matrix is not None:
        yield f"quality: the matrix of scores measured in {found.matrix}; the fitted formula is in the file beside it"
    yield from (f"not fitted: {line}" for line in found.missing)
