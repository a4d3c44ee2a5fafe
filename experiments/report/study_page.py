"""The report of a study: its question and verdict first, then what every variant came to, then how it was run."""

from __future__ import annotations

from collections.abc import Iterator

import polars as pl

from experiments.fingerprint import code_version
from experiments.metric_names import metric_name
from experiments.plots import accuracy_by_policy, costs_by_policy, response
from experiments.plots import pareto as pareto_picture
from experiments.report.blocks import (
    Block,
    Cell,
    Code,
    Column,
    KeyFigure,
    KeyFigures,
    Page,
    Section,
    Sentences,
    Table,
)
from experiments.report.numbers import NOTHING, day, decimals_for, number
from experiments.report.pictures import picture
from experiments.report.study_tables import pairs_table, regrets_table, unfinished_table, variants_table
from experiments.results import RUNS_FILE, StudyResult, plan
from experiments.statistics import describe, pareto, verdict
from experiments.study import dump_study
from twinclock.errors import RunError
from twinclock.result import Run

MOST_RUNS = 8
"""Variants whose accuracy is drawn over data time in one picture."""
_CODE_DIGITS = 12
_MOST_LEVELS = 24
"""Of an axis that a picture is drawn over; points drawn at random are more."""
_LEVELS = 12
"""Of an axis, those that are named."""


def study_page(made: StudyResult) -> Page:
    """The whole report of a study, as far as it was run."""
    study = made.study
    described = describe(made, metrics=[metric.name for metric in study.compared])
    front = pareto(made)
    sections = [Section("verdict", "What was shown", [Sentences(verdict(made), "good"), *_front(made)])]
    if not made.wide.is_empty():
        sections += [
            Section("variants", "The variants", [variants_table(made, described, front), *_response(made)]),
            Section("time", "Over data time", list(_over_time(made, front))),
            Section("pairs", "Pair by pair", _pairs(made)),
            Section("regret", "Regret", [regrets_table(made)]),
        ]
    if made.unfinished.height:
        sections.append(Section("unfinished", "Runs that are not done", [unfinished_table(made)]))
    sections.append(Section("method", "How it was run", list(_method(made))))
    return Page(
        "Study",
        study.name,
        study.question,
        _facts(made),
        [KeyFigures(list(_key_figures(made, described, front))), *_not_done(made)],
        sections,
    )


def _facts(made: StudyResult) -> list[tuple[str, str]]:
    study = made.study
    done = made.runs.filter(pl.col("state") == "done").height
    known = [
        ("executor", study.on),
        ("variants", f"{len(made.variants):,}"),
        ("seeds", f"{len(study.all_seeds):,}"),
        ("runs done", f"{done:,} of {made.runs.height:,}"),
        ("last sweep", _last_sweep(made)),
        ("folder", "" if made.folder is None else str(made.folder)),
    ]
    return [(label, text) for label, text in known if text]


def _last_sweep(made: StudyResult) -> str:
    """When its tables were written, which every sweep does at its end."""
    file = None if made.folder is None else made.folder / RUNS_FILE
    return "" if file is None or not file.exists() else day(file.stat().st_mtime)


def _key_figures(made: StudyResult, described: pl.DataFrame, front: pl.DataFrame) -> Iterator[KeyFigure]:
    for metric in made.study.compared:
        known = described.filter(pl.col("metric") == metric.name, pl.col("mean").is_not_null())
        name = metric_name(metric.name)
        best = known.sort("mean", descending=metric.larger_is_better, maintain_order=True).head(1)
        label = f"{'highest' if metric.larger_is_better else 'lowest'} mean {name.with_unit}"
        if best.is_empty():
            yield KeyFigure(label, NOTHING, "no run has it")
        else:
            mean = float(best["mean"][0])
            yield KeyFigure(label, number(mean, decimals_for([mean])), best["variant"][0])
    inside = int(front["on_front"].sum())
    yield KeyFigure("on the Pareto front", f"{inside:,}", f"of {len(made.variants):,} variants")


def _not_done(made: StudyResult) -> Iterator[Block]:
    if count := made.unfinished.height:
        yield Sentences(
            [f"{count:,} of {made.runs.height:,} runs are not done; what follows is about the others"], "bad"
        )


def _front(made: StudyResult) -> Iterator[Block]:
    """The first two metrics against each other, if there are two."""
    if len(made.study.compared) > 1:
        caption = "Each variant's means with their 95 % intervals, and the front of those that none beats in both."
        yield picture("pareto", pareto_picture(made), caption)


def _response(made: StudyResult) -> Iterator[Block]:
    """How the first two metrics answer to the axes, if one of them has numbers and all their levels meet."""
    x, y = _crossed(made)
    if x is None:
        return
    of = "level" if y is None else "pair of levels"
    for place, metric in enumerate(made.study.compared[:2]):
        figure = response(made, x, y, metric.name)
        yield picture(f"response_{place}", figure, f"{metric_name(metric.name).with_unit}: the mean of each {of}.")


def _crossed(made: StudyResult) -> tuple[str | None, str | None]:
    """An axis of numbers, and another one whose levels mostly meet its own; None where there is none."""
    levels = {axis: made.runs[axis].drop_nulls().n_unique() for axis in made.axes}
    numeric = [axis for axis in made.axes if made.runs[axis].dtype.is_numeric() and 1 < levels[axis] <= _MOST_LEVELS]
    if not numeric:
        return None, None
    x = numeric[0]
    for y in made.axes:
        if y != x and 1 < levels[y] <= _MOST_LEVELS:
            meet = made.runs.select(x, y).drop_nulls().n_unique()
            if 2 * meet > levels[x] * levels[y]:
                return x, y
    return x, None


def _runs(made: StudyResult, front: pl.DataFrame) -> dict[str, Run]:
    """A run for each of so many variants as can be told apart, those on the Pareto front first to be chosen.

    RunError if they can't be had again.
    """
    done = made.runs.filter(pl.col("state") == "done")["variant"].unique(maintain_order=True).to_list()
    best = front.filter(pl.col("on_front"))["variant"].to_list()
    chosen = list(dict.fromkeys([*(each for each in best if each in done), *done]))[:MOST_RUNS]
    return {variant: made.run_of(variant) for variant in done if variant in chosen}


def _over_time(made: StudyResult, front: pl.DataFrame) -> Iterator[Block]:
    try:
        runs = _runs(made, front)
    except RunError as error:
        yield Sentences([f"There are no pictures over data time: {error}"], "warning")
        return
    seeds = sorted({run.config.seed for run in runs.values()})
    more = len(made.variants) - len(runs)
    left_out = f" {more:,} others are not shown; those on the Pareto front were chosen first." if more else ""
    yield picture(
        "accuracy",
        accuracy_by_policy(runs),
        f"One run of each of these variants, with seed {', '.join(map(str, seeds))}.{left_out}",
    )
    yield picture("costs", costs_by_policy(runs), "What the same runs used.")


def _pairs(made: StudyResult) -> list[Block]:
    if len(made.variants) < 2:
        return [Sentences(["There is one variant, so there are no pairs."])]
    return [pairs_table(made, metric) for metric in made.study.compared]


def _method(made: StudyResult) -> Iterator[Block]:
    study = made.study
    rows = [
        ("executor", study.on),
        ("seeds of each variant", ", ".join(map(str, study.all_seeds))),
        ("code", _code(made)),
        ("time limit of a run", "none" if study.timeout is None else f"{study.timeout:g} s"),
        *((f"axis {name}", _levels(made.runs[name])) for name in made.axes),
    ]
    cells = [(Cell(label), Cell(text)) for label, text in rows]
    yield Table("Method", [Column("what"), Column("value")], cells, is_sortable=False)
    yield Code("The study in YAML, its base spelt out", dump_study(study))


def _code(made: StudyResult) -> str:
    """The version that the runs are of, which is known if it is the one that is installed."""
    if [each.run for each in plan(made.study)] != made.runs["run"].to_list():
        return "not the version, or not the data, that is here now"
    return f"{code_version()[:_CODE_DIGITS]}, a fingerprint of twinclock and the libraries that it uses"


def _levels(values: pl.Series) -> str:
    levels = values.drop_nulls().unique(maintain_order=True).to_list()
    named = ", ".join(f"{level:.6g}" if isinstance(level, float) else str(level) for level in levels[:_LEVELS])
    return named + (f" and {len(levels) - _LEVELS} more" if len(levels) > _LEVELS else "")
