"""A fidelity for a terminal or a notebook: what is missing first, then targets, policies, stages, discordant pairs."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TypeAlias

import polars as pl
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from rich.text import Text

from experiments.fidelity.result import FidelityResult
from experiments.fidelity.words import GRADES, SPREAD, percent, quality_line, target_name, target_value
from experiments.metric_names import figure_text, metric_name
from twinclock.notebook_html import html_box, html_lines, html_row, html_table

_STYLES = {"A": "green", "B": "yellow", "C": "bold red", "missed": "bold red", "near": "yellow"}
_MOST_STAGES = 12
"""That are listed."""
_MOST_PAIRS = 5
"""In the wrong order, that are named of each figure; the page has all."""
_OTHERS = ("device_s", "queued_s", "accuracy")
"""Figures that are named beside the makespan; the page has all."""
_MAKESPAN_HEADS = ("real (s)", "spread (s)", "simulated (s)", "error", "verdict")
Rows: TypeAlias = Sequence[Sequence[str]]


def show_fidelity(made: FidelityResult, console: Console) -> None:
    """Print it."""
    for line in missing_lines(made):
        console.print(Text(line, style="bold red"))
    for title, heads, rows in _tables(made):
        table = Table(title=title, title_justify="left", box=SIMPLE_HEAD)
        for head in heads:
            table.add_column(head, overflow="fold")
        for row in rows:
            table.add_row(*(Text(cell, style=_STYLES.get(cell, "")) for cell in row))
        console.print(table)
    for line in discordant_lines(made, _MOST_PAIRS):
        console.print(Text(f"- {line}"))
    console.print(Text(quality_line(made.record)))
    console.print(Text(SPREAD))
    console.print(Text(grade_line(made), style=_STYLES[made.grade]))


def fidelity_html(made: FidelityResult) -> str:
    """The same for a notebook; it takes its colours from the page."""
    parts = [html_lines(missing_lines(made))]
    for title, heads, rows in _tables(made):
        left = range(len(heads))
        parts += [
            html_lines([title]),
            html_table(html_row(heads, "th", left), *(html_row(cells, left=left) for cells in rows)),
        ]
    last = [*discordant_lines(made, _MOST_PAIRS), quality_line(made.record), SPREAD]
    return html_box(grade_line(made), *parts, html_lines(last))


def grade_line(made: FidelityResult) -> str:
    """`grade B: every figure is within twice its target`."""
    return f"{made.record.name}: grade {made.grade}: {GRADES[made.grade]}"


def missing_lines(made: FidelityResult) -> list[str]:
    """A line for each policy without all its real runs, or without a prediction."""
    lacking = made.assessment.policies.filter(pl.col("error").is_not_null())
    return [f"{policy}: {error}" for policy, error in lacking.select("policy", "error").iter_rows()]


def discordant_lines(made: FidelityResult, most: int | None = None) -> list[str]:
    """A sentence for each pair of policies that the simulation puts into the wrong order.

    `most`: of each figure, those that are really farthest apart, and how many there are besides; None: all.
    """
    discordant = made.assessment.pairs.filter(pl.col("relation") == "discordant")
    lines = []
    for (figure,), pairs in discordant.group_by("figure", maintain_order=True):
        label = metric_name(str(figure)).label
        shown = pairs if most is None else pairs.sort(pl.col("real_difference").abs(), descending=True).head(most)
        lines += [
            f"{label}: {row['policy']} is really {_apart(row['real_difference'])} {row['other']}, "
            f"and {_apart(row['simulated_difference'])} it in the simulation"
            for row in shown.iter_rows(named=True)
        ]
        if num_more := pairs.height - shown.height:
            lines.append(f"{label}: {num_more} more pairs are in the wrong order, which the page names")
    return lines


def _apart(difference: float) -> str:
    return f"{figure_text(abs(difference))} {'above' if difference > 0 else 'below'}"


def _tables(made: FidelityResult) -> Iterator[tuple[str, Sequence[str], Rows]]:
    said = made.assessment
    yield "Targets", ("target", "value", "bound", "grade", ""), [target_row(row) for row in said.targets.to_dicts()]
    heads = ("policy", "grade", *_MAKESPAN_HEADS, *(f"{metric_name(each).label}: error" for each in _OTHERS))
    yield "Makespan, and errors of other figures", heads, list(_policies(made))
    heads = ("policy", "stage", "real (s)", "spread (s)", "simulated (s)", "error", "of makespan", "verdict")
    large = said.stages.filter(pl.col("verdict") != "small").with_columns(pl.col("error").abs().alias("size"))
    farthest = large.sort("size", descending=True, nulls_last=False, maintain_order=True).head(_MOST_STAGES)
    yield "Stages that are farthest off", heads, [_stage(row) for row in farthest.iter_rows(named=True)]
    heads = ("policy", "trigger", "depends on", "real", "simulated", "edit distance", "between repeats", "verdict")
    yield "Triggers", heads, [_trigger(row) for row in said.triggers.iter_rows(named=True)]


def target_row(row: dict[str, object]) -> list[str]:
    """A row of `Assessment.targets` as texts: the target, its value, its bound, the grade, the note."""
    name, value = str(row["target"]), row["value"]
    told = target_value(name, value if isinstance(value, float) else None)
    return [target_name(name), told, str(row["bound"]), str(row["grade"] or "-"), str(row["note"])]


def _policies(made: FidelityResult) -> Iterator[list[str]]:
    """Each policy: its makespan, and how far off its other figures are."""
    rows = {(row["policy"], row["figure"]): row for row in made.assessment.figures.iter_rows(named=True)}
    for policy, grade in made.assessment.policies.select("policy", "grade").iter_rows():
        makespan = rows.get((policy, "makespan_s"))
        if makespan is None:
            yield [policy, grade, *["-"] * (len(_MAKESPAN_HEADS) + len(_OTHERS))]
            continue
        seconds = [figure_text(makespan[name]) for name in ("real", "spread", "simulated")]
        others = [rows.get((policy, each)) for each in _OTHERS]
        errors = ["-" if row is None else percent(row["error"]) for row in others]
        yield [policy, grade, *seconds, percent(makespan["error"]), makespan["verdict"], *errors]


def _stage(row: dict[str, object]) -> list[str]:
    seconds = [figure_text(_number(row[name])) for name in ("real", "spread", "simulated")]
    shares = percent(_number(row["error"])), percent(_number(row["share"]), signed=False)
    return [str(row["policy"]), str(row["stage"]), *seconds, *shares, str(row["verdict"])]


def _trigger(row: dict[str, object]) -> list[str]:
    numbers = [figure_text(_number(row[n])) for n in ("num_real", "num_simulated", "distance", "real_distance")]
    promised = " (promised)" if row["is_promised"] else ""
    return [
        str(row["policy"]),
        str(row["trigger"]),
        f"{row['depends_on']}{promised}",
        *numbers,
        str(row["verdict"] or "-"),
    ]


def _number(value: object) -> float | None:
    return float(value) if isinstance(value, int | float) else None
