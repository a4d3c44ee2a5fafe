"""What a search is after: which figures of a run are to be high or low, and which must not exceed a bound."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from experiments.figures import ensure_figure
from experiments.statistics.dominance import dominates
from experiments.store import Result
from experiments.study import Metric, Study
from experiments.variants import axis_columns
from twinclock.durations import parse_duration
from twinclock.errors import ConfigError
from twinclock.section import parse_section

Figures = Mapping[str, float]
"""Metric → its mean over the seeds."""
_TINY = 1e-12


@dataclass(frozen=True, slots=True)
class Goals:
    """Objectives, and bounds that a variant has to keep."""

    objectives: tuple[Metric, ...]
    at_most: Mapping[str, float] = field(default_factory=dict)
    """Metric → the most that it may be."""

    @property
    def names(self) -> tuple[str, ...]:
        """All metrics that are looked at, objectives first."""
        return tuple(dict.fromkeys([*(each.name for each in self.objectives), *self.at_most]))

    def losses(self, rows: Iterable[Figures]) -> NDArray[np.float64]:
        """One row for each of the given, one column for each objective; less is better in all."""
        signs = [-1.0 if each.larger_is_better else 1.0 for each in self.objectives]
        values = [[sign * row[each.name] for sign, each in zip(signs, self.objectives, strict=True)] for row in rows]
        return np.array(values, np.float64).reshape(-1, len(signs))

    def violations(self, row: Figures) -> dict[str, float]:
        """Metric that has a bound → by what part of the bound it exceeds it; not above 0 if it does not."""
        return {name: (row[name] - most) / max(abs(most), _TINY) for name, most in self.at_most.items()}


def goals_of(study: Study, objectives: Sequence[str] | None, at_most: Mapping[str, float | str]) -> Goals:
    """Checked goals; without objectives, the study's metrics. ConfigError says which one can't be."""
    metrics = study.metrics if objectives is None else tuple(objectives)
    checked = parse_section(Study, {**study.model_dump(), "metrics": metrics}, "--objective")
    goals = Goals(checked.compared, {name: _bound(name, value) for name, value in at_most.items()})
    if taken := [name for name in goals.names if name in axis_columns(study)]:
        raise ConfigError(f"{study.name}: axes: got an axis called {taken[0]}, which is also a metric of this search")
    return goals


def read_bounds(texts: Iterable[str]) -> dict[str, float | str]:
    """Bounds as they are written in a command, `device_s=40h` each."""
    bounds: dict[str, float | str] = {}
    for text in texts:
        name, equals, value = text.partition("=")
        if not equals or not name or name in bounds:
            raise ConfigError(f"--at-most: got {text!r}, expected each metric once, such as device_s=40h")
        bounds[name] = value
    return bounds


def ensure_known(goals: Goals, known: Iterable[str]) -> None:
    """ConfigError if a run has no such figure at all."""
    for name in goals.names:
        ensure_figure(name, known, "--at-most" if name in goals.at_most else "--objective")


def mean_figures(results: Sequence[Result]) -> dict[str, float]:
    """The means over the runs of one variant of those figures that all of them have."""
    found: dict[str, float] = {}
    for name in results[0].figures:
        values = [each.figures.get(name) for each in results]
        given = [value for value in values if value is not None and math.isfinite(value)]
        if len(given) == len(values):
            found[name] = math.fsum(given) / len(given)
    return found


def is_on_front(losses: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Which rows no other row beats: none is at least as good in every column, and better in one."""
    return ~np.asarray(dominates(-losses).any(axis=0), np.bool_)


def _bound(name: str, value: float | str) -> float:
    try:
        most = float(value)
    except ValueError:
        try:
            most = parse_duration(value) if name.endswith("_s") else math.nan
        except ValueError:
            most = math.nan
    if not math.isfinite(most):
        expected = "a number of seconds or a duration such as 40h" if name.endswith("_s") else "a number"
        raise ConfigError(f"--at-most {name}: got {value!r}, expected {expected}")
    return most
