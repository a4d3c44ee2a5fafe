"""The tables of a study: what each variant came to, how each pair differs, what each variant gives away."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import polars as pl

from experiments.metric_names import metric_name
from experiments.report.blocks import Cell, Column, Fold, Table, Tone
from experiments.report.numbers import NOTHING, decimals_for, interval, number, share
from experiments.results import RUNS_FILE, StudyResult
from experiments.statistics import compare_pairs, regret
from experiments.statistics.pairs import RELATIONS
from experiments.study import Metric
from twinclock._chart import shortened

MOST_PAIRS = 60
_MOST_PAIRS_OPEN = 10
MOST_UNFINISHED = 50
_LONGEST_ERROR = 500
_MISSING = "not run yet"
_CONFIDENCE = "in brackets the 95 % confidence interval of the mean over the seeds, unless all are the same"
_RATIO_DECIMALS = 1


def variants_table(made: StudyResult, described: pl.DataFrame, front: pl.DataFrame) -> Table:
    """A row for each variant: its runs, the mean of each metric with its interval, and how often it is on the front."""
    metrics = made.study.compared
    known = {(row["variant"], row["metric"]): row for row in described.iter_rows(named=True)}
    of_front = {row["variant"]: row for row in front.iter_rows(named=True)}
    counts = dict.fromkeys(made.variants, (0, 0))
    for variant, state in made.runs.select("variant", "state").iter_rows():
        done, of = counts[variant]
        counts[variant] = (done + (state == "done"), of + 1)
    decimals = {each.name: _decimals(described.filter(pl.col("metric") == each.name)) for each in metrics}
    best = {each.name: _best(described, each) for each in metrics}
    rows = []
    for variant in made.variants:
        done, of = counts[variant]
        means = [_mean(known[variant, each.name], decimals[each.name], best[each.name]) for each in metrics]
        rows.append([Cell(variant, variant), Cell(f"{done} of {of}", done), *means, _front(of_front[variant])])
    columns = [
        Column("variant"),
        Column("runs done", is_numeric=True),
        *(Column(_heading(each), is_numeric=True) for each in metrics),
        Column("on the Pareto front", is_numeric=True),
    ]
    note = (
        f"Means, {_CONFIDENCE}. ↑ more is better, ↓ less is better. "
        "On the front: by the means, and in grey in how many resamples of the seeds."
    )
    return Table("What each variant came to", columns, rows, note)


def pairs_table(made: StudyResult, metric: Metric) -> Table | Fold:
    """A row for each pair of variants: how far apart they are, and whether that was shown; folded away if long."""
    compared = compare_pairs(made, metric.name)
    pairs = compared.filter(pl.col("num_seeds") > 0)
    caption = f"{metric_name(metric.name).with_unit}, {_better(metric)}"
    decimals = decimals_for([*pairs["low"], *pairs["high"], *pairs["difference"]])
    rows = [_pair(row, decimals, metric) for row in pairs.head(MOST_PAIRS).iter_rows(named=True)]
    columns = [
        *(Column(text) for text in ("variant", "other")),
        *(Column(text, is_numeric=True) for text in ("seeds", "difference", "change", "p")),
        Column("relation"),
    ]
    counts = {relation: pairs.filter(pl.col("relation") == relation).height for relation in RELATIONS}
    occurring = [relation for relation, count in counts.items() if count]
    notes = [
        f"Difference: variant − other, on the seeds that both have, {_CONFIDENCE}.",
        "p: of a permutation test, corrected for the number of pairs (Holm).",
        *(f"{relation.capitalize()}: {RELATIONS[relation]}." for relation in occurring),
    ]
    if pairs.height < compared.height:
        notes.append(f"{compared.height - pairs.height:,} pairs without a seed in common are left out.")
    if len(rows) < pairs.height:
        notes.append(f"These are the first {MOST_PAIRS} of {pairs.height:,} pairs; compare_pairs has all.")
    table = Table(caption, columns, rows, " ".join(notes))
    if len(rows) <= _MOST_PAIRS_OPEN:
        return table
    return Fold(f"{caption}: {', '.join(f'{counts[relation]} {relation}' for relation in occurring)}", table)


def regrets_table(made: StudyResult) -> Table:
    """A row for each variant: what it gives away in each metric against the best variant of each seed."""
    metrics = made.study.compared
    tables = [regret(made, metric.name) for metric in metrics]
    cells: dict[str, list[Cell]] = {variant: [Cell(variant, variant)] for variant in made.variants}
    for table in tables:
        decimals = decimals_for([*table["regret"], *table["high"]])
        for row in table.iter_rows(named=True):
            aside = interval(row["low"], row["high"], decimals)
            cells[row["variant"]] += [
                Cell(number(row["regret"], decimals), row["regret"], aside),
                Cell(share(row["share_without"]), row["share_without"]),
            ]
    columns = [Column("variant")]
    for metric in metrics:
        columns += [Column(f"in {metric_name(metric.name).with_unit}", True), Column("seeds without", True)]
    note = f"How much worse than the variant that was best for that seed, known only afterwards, {_CONFIDENCE}."
    return Table("Regret against the best of each seed", columns, list(cells.values()), note)


def unfinished_table(made: StudyResult) -> Table:
    """A row for each variant and reason for which runs of it are not done."""
    alike = made.unfinished.group_by("variant", "state", "error", maintain_order=True).agg("seed")
    rows = []
    for row in alike.head(MOST_UNFINISHED).iter_rows(named=True):
        seeds = ", ".join(map(str, row["seed"]))
        error = shortened(row["error"] or _MISSING, _LONGEST_ERROR)
        rows.append(
            [Cell(row["variant"], row["variant"]), *(Cell(text, text) for text in (row["state"], seeds, error))]
        )
    place = "StudyResult.unfinished" if made.folder is None else f"{made.folder}/{RUNS_FILE}"
    note = f"The first {len(rows)} of {alike.height:,} rows; all are in {place}." if len(rows) < alike.height else ""
    return Table(
        "Runs that are not done, by variant and error",
        [Column(n) for n in ("variant", "state", "seeds", "error")],
        rows,
        note,
    )


def _heading(metric: Metric) -> str:
    return f"{metric_name(metric.name).with_unit} {'↑' if metric.larger_is_better else '↓'}"


def _better(metric: Metric) -> str:
    return "more is better" if metric.larger_is_better else "less is better"


def _decimals(described: pl.DataFrame) -> int:
    return decimals_for([*described["mean"], *described["high"]])


def _best(described: pl.DataFrame, metric: Metric) -> float | None:
    means: list[float] = described.filter(pl.col("metric") == metric.name)["mean"].drop_nulls().to_list()
    if not means:
        return None
    return max(means) if metric.larger_is_better else min(means)


def _mean(row: Mapping[str, Any], decimals: int, best: float | None) -> Cell:
    if row["mean"] is None:
        return Cell(NOTHING)
    tone: Tone = "good" if row["mean"] == best else "plain"
    return Cell(number(row["mean"], decimals), row["mean"], interval(row["low"], row["high"], decimals), tone)


def _front(row: Mapping[str, Any]) -> Cell:
    if row["on_front"] is None:
        return Cell(NOTHING)
    chance = row["front_share_resamples"]
    key = float(row["on_front"]) + (chance or 0.0)
    return Cell("yes" if row["on_front"] else "no", key, "" if chance is None else share(chance))


def _pair(row: Mapping[str, Any], decimals: int, metric: Metric) -> list[Cell]:
    change = None if row["ratio"] is None else 100.0 * (row["ratio"] - 1.0)
    tones: dict[str, Tone] = (
        {"higher": "good", "lower": "bad"} if metric.larger_is_better else {"lower": "good", "higher": "bad"}
    )
    return [
        Cell(row["variant"], row["variant"]),
        Cell(row["other"], row["other"]),
        Cell(f"{row['num_seeds']}", row["num_seeds"]),
        Cell(_signed(row["difference"], decimals), row["difference"], interval(row["low"], row["high"], decimals)),
        Cell(NOTHING if change is None else f"{change:+,.{_RATIO_DECIMALS}f}\N{NO-BREAK SPACE}%", change),
        Cell(_p(row["p_holm"]), row["p_holm"]),
        Cell(row["relation"], row["relation"], "", tones.get(row["relation"], "plain")),
    ]


def _signed(value: float | None, decimals: int) -> str:
    return number(value, decimals) if value is None or value <= 0.0 else f"+{number(value, decimals)}"


def _p(value: float | None) -> str:
    if value is None:
        return NOTHING
    return "< 0.001" if value < 0.001 else f"{value:.3f}"
