"""Sentences about a pair of variants: how they differ, with what was shown and what was not kept apart."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from experiments.metric_names import metric_name
from experiments.statistics.pairs import is_score
from experiments.study import Metric

Comparison = tuple[Metric, Mapping[str, Any]]
"""A metric, and the row of `compare_pairs` for it."""

_MIRRORED = {"higher": "lower", "lower": "higher"}
_SHOWN = ("higher", "lower")
_SAME = ("equal", "identical")
_DIGITS = 4
"""Of a number in a range, at most."""


def mirrored(row: Mapping[str, Any]) -> dict[str, Any]:
    """A row of `compare_pairs` seen from the other variant."""

    def minus(value: float | None) -> float | None:
        return None if value is None else -value

    def inverse(value: float | None) -> float | None:
        return None if value is None else 1.0 / value

    return {
        **row,
        "variant": row["other"],
        "other": row["variant"],
        "mean": row["other_mean"],
        "other_mean": row["mean"],
        "difference": minus(row["difference"]),
        "low": minus(row["high"]),
        "high": minus(row["low"]),
        "ratio": inverse(row["ratio"]),
        "ratio_low": inverse(row["ratio_high"]),
        "ratio_high": inverse(row["ratio_low"]),
        "effect": minus(row["effect"]),
        "relation": _MIRRORED.get(row["relation"], row["relation"]),
    }


def is_better(comparison: Comparison) -> bool:
    """Whether the first variant was shown to be the better one in this metric."""
    metric, row = comparison
    return bool(row["relation"] == ("higher" if metric.larger_is_better else "lower"))


def is_worse(comparison: Comparison) -> bool:
    """Whether the first variant was shown to be the worse one in this metric."""
    return comparison[1]["relation"] in _SHOWN and not is_better(comparison)


def is_seen(comparison: Comparison) -> bool:
    """Whether the interval of the difference excludes 0, though no difference was shown, nor equality."""
    _, row = comparison
    return (
        row["relation"] not in (*_SHOWN, *_SAME) and row["low"] is not None and (row["low"] > 0.0 or row["high"] < 0.0)
    )


def sentence(first: str, second: str, comparisons: Sequence[Comparison]) -> str:
    """How two variants differ: in what was shown, where they are equal, then what was seen only, and what was not.

    A variant that is worse in all metrics is named first, as dominated; one that is better in some and worse in none
    is named first as well.
    """
    shown = [each for each in comparisons if each[1]["relation"] in _SHOWN]
    same = [each for each in comparisons if each[1]["relation"] in _SAME]
    seen = [each for each in comparisons if is_seen(each)]
    neither = [each for each in comparisons if each not in (*shown, *same, *seen)]
    equal = f", at equal {_and([_same_text(each) for each in same])}" if same else ""
    unclear = f"; no difference in {_labels(neither)} was shown ({_evidence(neither, min)})" if neither else ""
    if len(shown) == len(comparisons) > 1 and all(is_worse(each) for each in shown):
        return f"{first} is dominated by {second}: {_differences(shown)} ({_evidence(shown, max)})"
    if shown and all(is_worse(each) for each in shown):
        return sentence(second, first, [(metric, mirrored(row)) for metric, row in comparisons])
    if shown:
        phrases = _differences(shown)
        also = f"; {_differences(seen)} was seen, but not shown ({_evidence(seen, min)})" if seen else ""
        return f"{first} has {phrases} than {second} ({_evidence(shown, max)}){equal}{also}{unclear}"
    if seen:
        phrases = f"{_differences(seen)} than {second}, seen but not shown"
        return f"{first} had {phrases} ({_evidence(seen, min)}){equal}{unclear}"
    if neither:
        where = f" in {_labels(neither)}" if same else ""
        return f"no difference between {first} and {second} was shown{where} ({_evidence(neither, min)}){equal}"
    return f"no difference between {first} and {second} that matters{equal}"


def p_text(p: float) -> str:
    """`p = 0.31`, with two digits."""
    return "p < 0.001" if p < 0.001 else f"p = {p:.2g}"


def _evidence(comparisons: Sequence[Comparison], which: Callable[[list[float]], float]) -> str:
    """Seeds and corrected p; of several metrics the fewest seeds, and the p that speaks least for what is said."""
    num_seeds = min(row["num_seeds"] for _, row in comparisons)
    seeds = "1 seed" if num_seeds == 1 else f"{num_seeds} seeds"
    p_values = [row["p_holm"] for _, row in comparisons if row["p_holm"] is not None]
    return f"{seeds}, {p_text(which(p_values))}" if p_values else seeds


def _labels(comparisons: Sequence[Comparison]) -> str:
    return _and([metric_name(metric.name).label for metric, _ in comparisons])


def _differences(comparisons: Sequence[Comparison]) -> str:
    return _and([_difference_text(each) for each in comparisons])


def _difference_text(comparison: Comparison) -> str:
    """`31–38 % fewer device-seconds`, or `a lower accuracy (by 0.01–0.03)`."""
    metric, row = comparison
    name = metric_name(metric.name)
    words = name.higher if row["low"] > 0.0 else name.lower
    relative = None if is_score(metric.name) else _relative(row)
    if relative is not None:
        article = "a " if words.startswith("a ") else ""
        return f"{article}{range_text(*relative)} % {words.removeprefix('a ')}"
    ends = sorted((abs(row["low"]), abs(row["high"])))
    unit = f" {name.unit}" if name.unit else ""
    everywhere = " in every seed" if ends[0] == ends[1] else ""
    return f"{words} (by {range_text(*ends)}{unit}{everywhere})"


def _relative(row: Mapping[str, Any]) -> tuple[float, float] | None:
    """The ends of the change against the other variant, in percent; None where the ratio can't say it."""
    if row["ratio_low"] is None:
        return None
    ends = (100.0 * (row["ratio_low"] - 1.0), 100.0 * (row["ratio_high"] - 1.0))
    low, high = ends if row["low"] > 0.0 else (-ends[1], -ends[0])
    return (low, high) if low > 0.0 else None


def _same_text(comparison: Comparison) -> str:
    metric, row = comparison
    name = metric_name(metric.name)
    if row["relation"] == "identical":
        return f"{name.label} (identical in all {row['num_seeds']} seeds)"
    if is_score(metric.name) or row["ratio_low"] is None:
        unit = f" {name.unit}" if name.unit else ""
        return f"{name.label} (difference within ±{bound_text(max(abs(row['low']), abs(row['high'])))}{unit})"
    bound = 100.0 * max(abs(row["ratio_low"] - 1.0), abs(row["ratio_high"] - 1.0))
    return f"{name.label} (difference within ±{bound_text(bound)} %)"


def range_text(low: float, high: float) -> str:
    """`31–38`: as many decimals as tell the ends apart, and the lower one from 0; one number if four digits don't."""
    most = max(0, _DIGITS - 1 - math.floor(math.log10(high)))
    low_text, high_text = (f"{end:,.{most}f}" for end in (low, high))
    if low_text == high_text:
        return low_text.rstrip("0").rstrip(".") if most > 0 else low_text
    smallest = min(each for each in (low, high - low) if each > 0.0)
    decimals = min(most, max(0, math.ceil(-math.log10(smallest))))
    return f"{low:,.{decimals}f}–{high:,.{decimals}f}"


def bound_text(value: float) -> str:
    """A bound rounded up to one digit: 0.0043 → `0.005`."""
    if value == 0.0:
        return "0"
    exponent = math.floor(math.log10(value))
    digit = math.ceil(value / 10.0**exponent - 1e-9)
    return f"{digit * 10.0**exponent:.{max(0, -exponent)}f}"


def _and(parts: Sequence[str]) -> str:
    return parts[0] if len(parts) == 1 else f"{', '.join(parts[:-1])} and {parts[-1]}" if parts else ""
