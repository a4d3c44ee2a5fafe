"""Sentences about a pair of variants: how they differ, with what was shown and what was not kept apart."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from experiments.metric_names import metric_name
from experiments.statistics.observations import Metric
from experiments.statistics.pairs import is_score

Comparison = tuple[Metric, Mapping[str, Any]]
"""A metric, and the row of `compare_pairs` for it."""

_MIRRORED = {"higher": "lower", "lower": "higher"}
_SHOWN = ("higher", "lower")
_SAME = ("equal", "identical")
_TIMES = 3.0
"""From this ratio on it is said as a multiple rather than in percent."""


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
    return row["relation"] == ("higher" if metric.larger_is_better else "lower")


def is_worse(comparison: Comparison) -> bool:
    """Whether the first variant was shown to be the worse one in this metric."""
    return comparison[1]["relation"] in _SHOWN and not is_better(comparison)


def sentence(first: str, second: str, comparisons: Sequence[Comparison]) -> str:
    """How two variants differ: in what was shown first, then where they are equal, then what was not shown."""
    shown = [each for each in comparisons if each[1]["relation"] in _SHOWN]
    same = [each for each in comparisons if each[1]["relation"] in _SAME]
    open_ = [each for each in comparisons if each not in shown and each not in same]
    equal = _and([_same_text(each) for each in same])
    if not shown and not open_:
        return f"no difference between {first} and {second} that matters: equal {equal}"
    if not shown:
        where = f" in {_and([_label(each) for each in open_])}" if len(open_) < len(comparisons) else ""
        also = f", at equal {equal}" if same else ""
        return f"no difference between {first} and {second} was shown{where} ({_evidence(open_, min)}){also}"
    phrases = _and([_shown_text(each) for each in shown])
    if all(is_worse(each) for each in shown) and not open_:
        text = f"{first} is dominated by {second}: {phrases} ({_evidence(shown, max)})"
    else:
        text = f"{first} has {phrases} than {second} ({_evidence(shown, max)})"
    if same:
        text += f" at equal {equal}"
    if open_:
        text += f"; no difference in {_and([_label(each) for each in open_])} was shown ({_evidence(open_, min)})"
    return text


def p_text(p: float) -> str:
    """`p = 0.31`, with two digits."""
    return "p < 0.001" if p < 0.001 else f"p = {p:.2g}"


def _evidence(comparisons: Sequence[Comparison], which: Callable[[list[float]], float]) -> str:
    """Seeds and corrected p; of several metrics the fewest seeds, and the p that speaks least for what is said."""
    num_seeds = min(row["num_seeds"] for _, row in comparisons)
    seeds = "1 seed" if num_seeds == 1 else f"{num_seeds} seeds"
    p_values = [row["p_holm"] for _, row in comparisons if row["p_holm"] is not None]
    few = ", too few for any" if all(row["relation"] == "too few seeds" for _, row in comparisons) else ""
    return f"{seeds}{few}, {p_text(which(p_values))}" if p_values else seeds


def _label(comparison: Comparison) -> str:
    return metric_name(comparison[0].name).label


def _shown_text(comparison: Comparison) -> str:
    """`31–38 % fewer device-seconds`, or `a lower accuracy (by 0.01–0.03)`."""
    metric, row = comparison
    name = metric_name(metric.name)
    words = name.higher if row["relation"] == "higher" else name.lower
    relative = None if is_score(metric.name) else _relative(row)
    if relative is not None:
        low, high = relative
        if low >= _TIMES - 1.0:
            return f"{range_text(low + 1.0, high + 1.0)} times the {name.label}"
        article = "a " if words.startswith("a ") else ""
        return f"{article}{range_text(100.0 * low, 100.0 * high)} % {words.removeprefix('a ')}"
    ends = sorted((abs(row["low"]), abs(row["high"])))
    return f"{words} (by {range_text(*ends)}{f' {name.unit}' if name.unit else ''})"


def _relative(row: Mapping[str, Any]) -> tuple[float, float] | None:
    """The ends of the change against the other variant, as shares; None where the ratio can't say it."""
    if row["ratio_low"] is None:
        return None
    ends = (row["ratio_low"] - 1.0, row["ratio_high"] - 1.0)
    low, high = ends if row["relation"] == "higher" else (-ends[1], -ends[0])
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
    """`31–38`: as many decimals as tell the ends apart, and the lower one from 0."""
    width = high - low
    if width <= 0.0:
        return f"{low:.3g}"
    decimals = max(0, math.ceil(-math.log10(width)))
    if low > 0.0:
        decimals = max(decimals, math.ceil(-math.log10(low)))
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
