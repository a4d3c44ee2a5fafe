"""A study as its pictures want to see it."""

from __future__ import annotations

from dataclasses import dataclass

import polars as pl

from experiments.results import StudyResult
from experiments.study import Metric


@dataclass(frozen=True, slots=True)
class DrawnStudy:
    """What a study asked for, its metrics with their directions."""

    name: str
    metrics: tuple[Metric, ...]


@dataclass(frozen=True, slots=True)
class DrawnResult:
    """What came of a study: as much of it as the pictures need."""

    study: DrawnStudy
    variants: tuple[str, ...]
    axes: tuple[str, ...]
    runs: pl.DataFrame
    metrics: pl.DataFrame


def drawn(made: StudyResult) -> DrawnResult:
    """The view of a study's result for `experiments.plots`."""
    study = DrawnStudy(made.study.name, made.study.compared)
    return DrawnResult(study, made.variants, made.axes, made.runs, made.metrics)
