"""When a simulated figure is good enough: against the real one, its spread from repeat to repeat, and a target.

- The *real* figure is the median of the repeats, its *spread* the largest difference between two of them.
- A difference of no more than the spread is a `tie`: two real runs differ as much.
- Otherwise it is `met` within the target, `near` within twice the target, and else `missed`.
- What takes less than a hundredth of the makespan, simulated and real, is `small`, whatever the difference.

Grades: A for a tie or met, B for near, C for missed; of several, the worst.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from statistics import median
from typing import Literal, NamedTuple, TypeAlias

Verdict: TypeAlias = Literal["tie", "met", "near", "missed", "small"]
Grade: TypeAlias = Literal["A", "B", "C"]

MAKESPAN_ERROR = 0.10
"""Of each policy, at most."""
MEDIAN_MAKESPAN_ERROR = 0.05
"""Of the policy in the middle, at most."""
STAGE_ERROR = 0.10
"""Of each stage that is not small, at most."""
SMALL_SHARE = 0.01
"""Of the makespan."""
TAU = 0.9
"""Of a ranking, at least."""
_ROUNDING = 1e-9
"""Relative difference of two figures that are the same but for the order in which they were added up."""


class Comparison(NamedTuple):
    """A simulated figure beside the real ones."""

    real: float
    """The median of the repeats."""
    spread: float
    simulated: float
    difference: float
    """Simulated − real."""
    error: float | None
    """The difference as a share of the real figure; None if that is 0 and the difference is not."""

    @property
    def is_tie(self) -> bool:
        """Is it as near as two real runs are?"""
        return abs(self.difference) <= self.spread + _ROUNDING * max(abs(self.real), abs(self.simulated))


def spread(values: Sequence[float]) -> float:
    """The largest difference between two of the values; 0 for one."""
    return max(values) - min(values)


def compare(real: Sequence[float], simulated: float) -> Comparison:
    """One simulated figure against those of the repeats, of which there is at least one."""
    middle = median(real)
    difference = simulated - middle
    error = difference / abs(middle) if middle else (None if difference else 0.0)
    return Comparison(middle, spread(real), simulated, difference, error)


def verdict(comparison: Comparison, target: float) -> Verdict:
    """What a difference comes to, where the relative error may be `target`."""
    if comparison.is_tie:
        return "tie"
    return within(comparison.error, target)


def within(error: float | None, target: float) -> Verdict:
    """What a relative error comes to; None is one without bounds."""
    if error is None or abs(error) > 2 * target:
        return "missed"
    return "met" if abs(error) <= target else "near"


def stage_verdict(comparison: Comparison, makespan_s: float) -> Verdict:
    """What the difference in a stage's seconds comes to; `makespan_s` is the real one."""
    if max(comparison.real, comparison.simulated) < SMALL_SHARE * makespan_s:
        return "small"
    return verdict(comparison, STAGE_ERROR)


def tau_verdict(tau: float) -> Verdict:
    """What a rank correlation comes to, by how far it is from 1."""
    return within(1.0 - tau - _ROUNDING, 1.0 - TAU)


def grade_of(found: Verdict) -> Grade:
    """The grade that goes with a verdict."""
    return _GRADES[found]


def worst(grades: Iterable[Grade]) -> Grade:
    """The worst of some grades; A if there are none."""
    return max(grades, default="A")


_GRADES: dict[Verdict, Grade] = {"tie": "A", "met": "A", "small": "A", "near": "B", "missed": "C"}
