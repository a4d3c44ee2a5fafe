"""The verdict of a study in plain words: what was shown, what was not, and what is missing to say more."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise

import polars as pl

from experiments.metric_names import metric_name
from experiments.results import StudyResult
from experiments.statistics.front import dominations, pareto
from experiments.statistics.observations import observed
from experiments.statistics.pairs import compare_pairs
from experiments.statistics.significance import seeds_needed
from experiments.statistics.wording import Comparison, is_seen, mirrored, p_text, sentence
from experiments.study import Metric

MOST_LINES = 10
"""Of a verdict; what there is to say about further pairs is counted."""

_FEW_NAMES = 5
_STATES = {"failed": "failed", "timeout": "timed out", "crashed": "crashed", "missing": "missing"}
_TIED = ("equal", "identical", "not shown")
_SAYS_NOTHING = ("too few seeds", "one seed", "no seed")

Pair = tuple[str, str]


def verdict(result: StudyResult, *, margins: Mapping[str, float] | None = None, confidence: float = 0.95) -> list[str]:
    """At most `MOST_LINES` sentences: what is left out, the Pareto front, the trades along it, who is dominated, ties.

    Ranges are confidence intervals. `p` is corrected for all pairs of the metric (`compare_pairs`), and nothing
    counts as a difference whose p is not below 1 − confidence; nothing as equal whose interval is not within the margin
    as a whole. `margins`: metric → difference that doesn't matter, where it is not the usual one. From one seed nothing
    is claimed.
    """
    lines = [*_left_out(result)]
    with_values = [variant for variant, count in _num_seeds(result).items() if count > 0]
    if not with_values:
        return [*lines, "no run has all the metrics that the study asks for: nothing can be said"]
    if len(with_values) == 1:
        return [
            *lines,
            f"only {with_values[0]} has all the metrics that the study asks for: nothing to compare it with",
        ]
    tables = [
        (metric, compare_pairs(result, metric.name, margin=(margins or {}).get(metric.name), confidence=confidence))
        for metric in result.study.compared
    ]
    compared = _by_pair(tables)
    if all(row["num_seeds"] < 2 for comparisons in compared.values() for _, row in comparisons):
        return [*lines, "no two variants have more than one seed in common: differences can't be told from chance"]
    front = pareto(result)
    lines += [*_too_few_seeds(tables, round(1.0 - confidence, 12)), *_front(front, result.study.compared)]
    order = _what_matters(front, dominations(result), result.study.compared, compared)
    told = [pair for pair in order if any(_says_something(each) for each in _of(compared, pair))]
    room = max(1, MOST_LINES - len(lines))
    chosen = told if len(told) <= room and len(told) == len(compared) else told[: room - 1]
    lines += [sentence(*pair, _of(compared, pair)) for pair in chosen]
    if (num_more := len(compared) - len(chosen)) > 0:
        pairs = "1 more pair is" if num_more == 1 else f"{num_more} more pairs are"
        lines.append(f"{pairs} not told here; compare_pairs has all")
    return lines


def _num_seeds(result: StudyResult) -> dict[str, int]:
    """Variant → seeds in which it has every metric of the study."""
    tables = [observed(result, metric.name) for metric in result.study.compared]
    return {variant: min((len(table.of(variant)) for table in tables), default=0) for variant in result.variants}


def _left_out(result: StudyResult) -> Iterator[str]:
    """Runs that are not done, and values that runs lack though they are."""
    runs = result.runs
    broken = runs.filter(pl.col("state") != "done")
    if broken.height > 0:
        states = Counter(_STATES.get(state, state) for state in broken["state"].to_list())
        all_runs, by_variant = _runs(runs.height), _per_variant(broken["variant"].to_list())
        if len(states) == 1:
            what = next(iter(states))
            verb = {"missing": "are missing"}.get(what, what)
            yield f"{broken.height} of {all_runs} {verb} and are left out ({by_variant})"
        else:
            each = ", ".join(f"{count} {what}" for what, count in states.items())
            yield f"{broken.height} of {all_runs} are left out: {each} ({by_variant})"
    done = runs.filter(pl.col("state") == "done")
    for metric in result.study.compared:
        values = result.metrics.filter(pl.col("metric") == metric.name, pl.col("value").is_finite())
        lacking = done.join(values, on="run", how="anti", maintain_order="left")
        if lacking.height > 0:
            by_variant = _per_variant(lacking["variant"].to_list())
            label = metric_name(metric.name).label
            yield f"{lacking.height} of {_runs(done.height)} that are done have no {label} ({by_variant})"


def _runs(count: int) -> str:
    return f"{count} run" if count == 1 else f"{count} runs"


def _per_variant(variants: Sequence[str]) -> str:
    counts = Counter(variants)
    if len(counts) > _FEW_NAMES:
        return f"of {len(counts)} variants"
    return ", ".join(f"{variant}: {count}" for variant, count in counts.items())


def _by_pair(tables: Sequence[tuple[Metric, pl.DataFrame]]) -> dict[Pair, list[Comparison]]:
    compared: dict[Pair, list[Comparison]] = {}
    for metric, table in tables:
        for row in table.iter_rows(named=True):
            compared.setdefault((row["variant"], row["other"]), []).append((metric, row))
    return compared


def _of(compared: Mapping[Pair, Sequence[Comparison]], pair: Pair) -> Sequence[Comparison]:
    """The comparisons of a pair, whichever of the two is named first."""
    if pair in compared:
        return compared[pair]
    return [(metric, mirrored(row)) for metric, row in compared[pair[1], pair[0]]]


def _says_something(comparison: Comparison) -> bool:
    return comparison[1]["relation"] not in _SAYS_NOTHING or is_seen(comparison)


def _is_tie(comparisons: Sequence[Comparison]) -> bool:
    """Whether neither variant is better in anything, as far as the seeds could have told."""
    return all(row["relation"] in _TIED and not is_seen((metric, row)) for metric, row in comparisons)


def _too_few_seeds(tables: Sequence[tuple[Metric, pl.DataFrame]], level: float) -> Iterator[str]:
    """One line if no difference can be shown of any pair, whatever the values are."""
    tested = [table.drop_nulls("p") for _, table in tables]
    smallest = min(float(table["smallest_p_holm"].min()) for table in tested if table.height > 0)  # type: ignore[arg-type]
    if smallest >= level:
        num_pairs = max(table.height for table in tested)
        num_seeds = max(int(table["num_seeds"].max()) for table in tested if table.height > 0)  # type: ignore[arg-type]
        pairs = "1 pair" if num_pairs == 1 else f"{num_pairs} pairs"
        yield (
            f"{num_seeds} seeds are too few to show any difference: with {pairs}, {p_text(smallest)} is the least that "
            f"is possible; {seeds_needed(num_pairs, level)} seeds could do"
        )


def _front(front: pl.DataFrame, metrics: Sequence[Metric]) -> Iterator[str]:
    of = " and ".join(metric_name(metric.name).label for metric in metrics)
    inside = front.filter(pl.col("on_front")).sort("front_share_resamples", descending=True, maintain_order=True)
    if inside.height > 0:
        members = [
            variant if share is None else f"{variant} ({100.0 * share:.0f} %)"
            for variant, share in inside.select("variant", "front_share_resamples").iter_rows()
        ]
        dominated = front.filter(~pl.col("on_front"))["variant"].to_list()
        behind = f"; dominated in the means: {_names(dominated)}" if dominated and len(metrics) > 1 else ""
        best = "best mean" if len(metrics) == 1 else "Pareto front of the means of"
        shares = "" if inside["front_share_resamples"].has_nulls() else " (and in how many resamples)"
        yield f"{best} {of}{shares}: {_names(members)}{behind}"
    without = front.filter(pl.col("on_front").is_null())["variant"].to_list()
    if without:
        yield f"not placed, for want of values in the same seeds: {_names(without)}"


def _names(names: Sequence[str]) -> str:
    if len(names) <= _FEW_NAMES:
        return ", ".join(names)
    return f"{', '.join(names[:_FEW_NAMES])} and {len(names) - _FEW_NAMES} more"


def _what_matters(
    front: pl.DataFrame,
    dominated: pl.DataFrame,
    metrics: Sequence[Metric],
    compared: Mapping[Pair, Sequence[Comparison]],
) -> list[Pair]:
    """Pairs that a reader wants to know of: neighbours on the front first, then the dominated, then other ties.

    Neighbours are next to each other by the last of the first two metrics, the cost; the better one is named first. A
    dominated variant is held against the one of the front that dominates it most surely.
    """
    cost = metrics[min(1, len(metrics) - 1)]
    on_front = front.filter(pl.col("on_front")).sort(cost.name, descending=cost.larger_is_better, maintain_order=True)[
        "variant"
    ]
    members = on_front.to_list()
    order: list[Pair] = list(pairwise(members))
    surest = (
        dominated.filter(pl.col("variant").is_in(members))
        .sort("share_resamples", descending=True, maintain_order=True, nulls_last=True)
        .unique("other", keep="first", maintain_order=True)
    )
    by_other = dict(surest.select("other", "variant").iter_rows())
    order += [(other, by_other[other]) for other in front["variant"] if other in by_other]
    known = {frozenset(pair) for pair in order}
    return [*order, *(pair for pair in compared if frozenset(pair) not in known and _is_tie(compared[pair]))]
