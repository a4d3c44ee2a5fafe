"""A study as its statistics want to see it."""

from __future__ import annotations

from dataclasses import dataclass

import polars as pl

from experiments.results import StudyResult
from experiments.study import Metric


@dataclass(frozen=True, slots=True)
class Asked:
    """What a study asked for, its metrics with their directions."""

    metrics: tuple[Metric, ...]


@dataclass(frozen=True, slots=True)
class Judged:
    """What came of a study: as much of it as the statistics need."""

    study: Asked
    variants: tuple[str, ...]
    runs: pl.DataFrame
    metrics: pl.DataFrame


def judged(made: StudyResult) -> Judged:
    """The view of a study's result for `experiments.statistics`."""
    return Judged(Asked(made.study.compared), made.variants, made.runs, made.metrics)
