"""What came of runs as text: one run, or several side by side, for a terminal, a pipe or a notebook."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from html import escape
from io import StringIO
from itertools import zip_longest
from typing import Any, NamedTuple

import polars as pl
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from rich.text import Text

from twinclock._chart import duration, shortened
from twinclock.lost import lost_line
from twinclock.notebook_html import html_box, html_lines, html_table
from twinclock.result import Run
from twinclock.summary import edit_distance
from twinclock.usage import left_out_lines

Summary = Mapping[str, Any]

_NOTHING = "-"
_SMALL = 0.001
"""Share of all stage seconds below which a stage is counted among the others."""
_UNEVEN = 0.005
"""Difference of the shares of data time that two composites leave out, from which on they are not compared lightly."""
_POSITIONS_SHOWN = 3
_IF_ANY = (
    *("quarantined", "trainings stopped", "trainings failed", "models rejected", "faults", "missed triggers"),
    *("money", "energy", "device-seconds down"),
)
"""Figures that are left out where they are 0, or not known."""


class Row(NamedTuple):
    """One figure of a run: its name, its text, and the number to compare it by, if it is one."""

    label: str
    text: str
    value: float | None = None


def show_run(run: Run, console: Console) -> None:
    """Print one run: its figures, and the seconds of each stage."""
    table = _table(run.name)
    table.add_column("figure", no_wrap=True)
    table.add_column("value", justify="right", overflow="fold")
    for section in side_by_side([run]):
        for (row,) in section:
            table.add_row(Text(row.label), Text(row.text))
        table.add_section()
    console.print(table)
    _print_notes([run], console)


def summary_text(run: Run) -> str:
    """What `show_run` prints, as plain text."""
    return plain_text(lambda console: show_run(run, console))


def compare_runs(runs: Sequence[Run], console: Console, names: Sequence[str] | None = None) -> None:
    """Print runs side by side, with the difference of the second from the first if there are two.

    Trigger positions are compared with those of the first run, one by one. `names`: what to call the runs.
    """
    names = run_names(runs) if names is None else names
    with_difference = len(runs) == 2
    table = _table(f"{len(runs)} runs")
    table.add_column("figure", no_wrap=True)
    for name in names:
        table.add_column(Text(name), justify="right", overflow="fold")
    if with_difference:
        table.add_column("difference", justify="right", no_wrap=True)
    for section in side_by_side(runs):
        for rows in section:
            cells = [row.text for row in rows]
            if with_difference:
                cells.append(difference(rows[0].value, rows[1].value))
            table.add_row(*map(Text, [rows[0].label, *cells]))
        table.add_section()
    console.print(table)
    if with_difference:
        console.print(Text("difference: of the second from the first, in % of the first"))
    _print_notes(runs, console)


def side_by_side(runs: Sequence[Run]) -> list[list[tuple[Row, ...]]]:
    """The figures of runs, and then the seconds of their stages: for each figure that any has, a row for each run."""
    summaries = [run.summary for run in runs]
    composites, stages = _composites(summaries), _stages(summaries)
    first = summaries[0]["positions"]
    columns = [
        (_figures(summary, composites, None if number == 0 else first), _stage_rows(summary, stages))
        for number, summary in enumerate(summaries)
    ]
    return [[rows for rows in zip(*section, strict=True) if _matters(rows)] for section in zip(*columns, strict=True)]


def run_html(run: Run) -> str:
    """A small table for a notebook; it takes its colours from the page."""
    summary = run.summary
    figures = _rows_html(_figures(summary, _composites([summary])))
    stages = _rows_html(_stage_rows(summary, _stages([summary])))
    details = f"<details><summary>seconds in each stage</summary>{html_table(stages)}</details>"
    return html_box(run.name, html_table(figures), details, html_lines(footnotes([run])))


def _figures(summary: Summary, composites: Sequence[tuple[str, str]], first: Sequence[int] | None = None) -> list[Row]:
    """The figures of one run, with these composites; `first`: the trigger positions to compare its own with."""
    return [
        Row("state", _state(summary)),
        Row("pipeline", f"{summary['variant']}, {summary['mode']}"),
        Row("random seed", str(summary["seed"])),
        _count("samples", summary["samples"]),
        _count("quarantined", summary["quarantined"]),
        _count("triggers", summary["triggers"]),
        Row("trigger positions", _positions(summary["positions"], first)),
        _count("trainings", summary["trainings"]),
        _count("trainings stopped", summary["stopped_trainings"]),
        _count("trainings failed", summary["failed_trainings"]),
        _count("models", summary["models"]),
        _count("models rejected", summary["rejected_models"]),
        _count("evaluations", summary["evaluations"]),
        _count("faults", summary["faults"]),
        _seconds("makespan", summary["makespan_s"]),
        _seconds("device-seconds", summary["device_s"]),
        _seconds("device-seconds down", summary["down_s"]),
        Row("utilisation", _share(summary["utilisation"]), summary["utilisation"]),
        Row("money", _money(summary["usd"], summary["busy_usd"]), summary["usd"]),
        Row("energy", energy_text(summary["joules"]), summary["joules"]),
        _seconds("queueing", summary["queued_s"]),
        _seconds("  of trainings", summary["training_queued_s"]),
        _seconds("  of evaluations", summary["evaluation_queued_s"]),
        _seconds("data to model, median", summary["incorporation_p50_s"]),
        _seconds("  95 %", summary["incorporation_p95_s"]),
        _seconds("  99 %", summary["incorporation_p99_s"]),
        _seconds("staleness, mean", summary["staleness_s"]),
        _seconds("  largest", summary["staleness_max_s"]),
        _count("backlog, largest", summary["backlog_max"] or 0),
        _count("missed triggers", summary["missed_triggers"]),
        *_composite_rows(summary, composites),
    ]


def _composites(summaries: Sequence[Summary]) -> list[tuple[str, str]]:
    """The composites that any of the runs has, as (metric, models); accuracy of the active model if there is none."""
    found = dict.fromkeys((each["metric"], each["models"]) for summary in summaries for each in summary["composites"])
    return list(found) or [("accuracy", "active")]


def composite_label(metric: str, models: str) -> str:
    """What a composite is called."""
    return f"{metric} as served" if models == "served" else f"{metric} of the {models} model"


def _uneven(summaries: Sequence[Summary], composites: Sequence[tuple[str, str]]) -> Iterator[str]:
    """Composites that are not about the same data time in all runs, so that their difference says little."""
    for metric, models in composites:
        shares = [
            each["left_out"]
            for summary in summaries
            for each in summary["composites"]
            if (each["metric"], each["models"]) == (metric, models) and each["value"] is not None
        ]
        if shares and max(shares) - min(shares) >= _UNEVEN:
            apart = f"between {_share(min(shares))} and {_share(max(shares))} of the data time"
            label = composite_label(metric, models)
            yield f"not comparable as it stands: {label} leaves out {apart}, so it is about other intervals in each run"


def _composite_rows(summary: Summary, asked: Sequence[tuple[str, str]]) -> list[Row]:
    """Each with the share of data time that it leaves out."""
    known = {(each["metric"], each["models"]): each for each in summary["composites"]}
    rows = []
    for metric, models in asked:
        label = composite_label(metric, models)
        each = known.get((metric, models), {"value": None, "left_out": 1.0})
        rows.append(Row(label, _fixed(each["value"]), each["value"]))
        rows.append(Row("  data time left out", _share(each["left_out"])))
    return rows


def _matters(rows: Sequence[Row]) -> bool:
    return rows[0].label not in _IF_ANY or any(row.value for row in rows)


def _stages(summaries: Sequence[Summary]) -> list[str]:
    """The stages that take a visible part of the time in any of the runs, the longest first."""
    longest: dict[str, float] = {}
    for summary in summaries:
        total = sum(summary["stage_s"].values()) or 1.0
        for stage, seconds in summary["stage_s"].items():
            if seconds / total >= _SMALL:
                longest[stage] = max(longest.get(stage, 0.0), seconds)
    return sorted(longest, key=lambda stage: (-longest[stage], stage))


def _stage_rows(summary: Summary, stages: Sequence[str]) -> list[Row]:
    stage_s = summary["stage_s"]
    others = sum(seconds for stage, seconds in stage_s.items() if stage not in stages)
    return [*(_seconds(stage, stage_s.get(stage, 0.0)) for stage in stages), _seconds("all other stages", others)]


def _state(summary: Summary) -> str:
    if summary["state"] != "finished":
        return f"not finished ({summary['state']})"
    if summary["outcome"] == "done":
        return "done"
    return f"{summary['outcome']}: {shortened(str(summary['error']), 200)}"


def _positions(positions: Sequence[int], first: Sequence[int] | None) -> str:
    shown = [str(position) for position in positions]
    if len(shown) > _POSITIONS_SHOWN + 2:
        shown = [*shown[:_POSITIONS_SHOWN], f"… {shown[-1]}"]
    text = ", ".join(shown) or _NOTHING
    if first is None:
        return text
    for number, (own, other) in enumerate(zip_longest(positions, first)):
        if own != other:
            here, there = ("none" if position is None else position for position in (own, other))
            apart = edit_distance(positions, first)
            return f"{text}\nedit distance {apart}, first at #{number}: {here}, not {there}"
    return f"{text}\nidentical"


def difference(first: float | None, second: float | None) -> str:
    """Of the second from the first, in % of the first; empty if one of them is no number."""
    if first is None or second is None:
        return ""
    if first == second:
        return "0 %"
    if first == 0.0:
        return "from 0"
    change = 100.0 * (second - first) / abs(first)
    return f"{change:+.1f} %" if abs(change) < 1000.0 else f"{change:+,.0f} %"


def _count(label: str, count: int) -> Row:
    return Row(label, f"{count:,}", float(count))


def _seconds(label: str, seconds: float | None) -> Row:
    if seconds is None:
        return Row(label, _NOTHING)
    decimals = 0 if seconds >= 1000.0 else 1 if seconds >= 100.0 else 2 if seconds >= 10.0 else 3
    more = f" ({duration(seconds)})" if seconds >= 3600.0 else ""
    return Row(label, f"{seconds:,.{decimals}f} s{more}", seconds)


def _share(value: float | None) -> str:
    return _NOTHING if value is None else f"{100.0 * value:.1f} %"


def _money(usd: float | None, busy_usd: float | None) -> str:
    return _NOTHING if usd is None else f"{amount_of_usd(usd)} USD ({amount_of_usd(busy_usd or 0.0)} while held)"


def amount_of_usd(usd: float) -> str:
    """Two decimals, or as many as three significant digits take."""
    decimals = 2 if usd == 0.0 else max(2, 2 - math.floor(math.log10(abs(usd))))
    return f"{usd:,.{decimals}f}"


def energy_text(joules: float | None) -> str:
    """In kWh, with three significant digits."""
    return _NOTHING if joules is None else f"{joules / 3.6e6:,.3g} kWh"


def _fixed(value: float | None) -> str:
    return _NOTHING if value is None else f"{value:.3f}"


def run_names(runs: Sequence[Run]) -> list[str]:
    """The runs' names; those that occur twice with what tells them apart."""
    names = [run.name for run in runs]
    return [
        name if names.count(name) == 1 else f"{name}\n{f'#{number}' if run.folder is None else run.folder.name}"
        for number, (name, run) in enumerate(zip(names, runs, strict=True))
    ]


def footnotes(runs: Sequence[Run]) -> Iterator[str]:
    """What can't be compared, missing scores, modelled figures that nobody calibrated, where others are from."""
    summaries = [run.summary for run in runs]
    yield from _uneven(summaries, _composites(summaries))
    names = [name.replace("\n", " ") for name in run_names(runs)]
    for name, run in zip(names, runs, strict=True):
        if (line := lost_line(run.tables)) is not None:
            yield f"{name}: {line}"
        if (line := _quarantine_line(run)) is not None:
            yield f"{name}: {line}"
        for line in left_out_lines(run.summary):
            yield f"{name}: {line}"
    users: dict[str, list[str]] = {}
    for name, run in zip(names, runs, strict=True):
        if run.summary["uncalibrated"]:
            users.setdefault(" and ".join(run.summary["uncalibrated"]), []).append(name)
    for what, by in users.items():
        yield f"uncalibrated: {what} of {', '.join(by)} are default figures that nobody has measured, no forecast"
    yield from dict.fromkeys(note for run in runs for note in run.header.get("cost_notes", ()))


def _quarantine_line(run: Run) -> str | None:
    """How many records were turned away for which reason; None: none was, or nobody kept the reasons."""
    by_reason = run.quarantine.group_by("reason").agg(pl.col("records").sum()).filter(pl.col("records") > 0)
    if by_reason.is_empty():
        return None
    counts = by_reason.sort(["records", "reason"], descending=[True, False]).rows()
    return "quarantined: " + ", ".join(f"{records:,} {reason}" for reason, records in counts)


def _print_notes(runs: Sequence[Run], console: Console) -> None:
    for note in footnotes(runs):
        console.print(Text(note))


def _table(title: str) -> Table:
    return Table(title=Text(title, style="bold"), title_justify="left", box=SIMPLE_HEAD, pad_edge=False)


def _rows_html(rows: Sequence[Row]) -> str:
    name = '<td style="text-align:left;padding:0.1em 1em 0.1em 0;white-space:pre">'
    value = '<td style="text-align:right;padding:0.1em 0">'
    return "".join(
        f"<tr>{name}{escape(row.label)}</td>{value}{escape(row.text)}</td></tr>" for row in rows if _matters([row])
    )


def plain_text(show: Callable[[Console], None], width: int = 100) -> str:
    """What `show` prints, in lines of at most `width` characters, without colours."""
    out = StringIO()
    show(Console(file=out, width=width, color_system=None, force_terminal=False, highlight=False))
    return "\n".join(line.rstrip() for line in out.getvalue().splitlines()) + "\n"
