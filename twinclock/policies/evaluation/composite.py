"""The scores of the models in use over time, and the one number that they come to.

Scores are rows of the table `evaluations`, of one plan and one metric.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal, TypeAlias

import polars as pl

from twinclock.policies.evaluation.in_use import Model, models_in_use
from twinclock.policies.evaluation.intervals import Bounds

Composed: TypeAlias = Literal["active", "trained", "served"]
"""Whose scores make up a composite."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Composite:
    """The score of the model in use at each time, as one number."""

    value: float | None
    """Mean over the intervals that have a score, weighted by their length in data time; None if none has."""
    left_out: float
    """Share of the intervals' length, in [0, 1], that has no such model or no samples: not counted as 0."""


def scores_in_use(evaluations: pl.DataFrame, bounds: Bounds, models: Iterable[Model], which: Composed) -> pl.DataFrame:
    """The score of the model in use on each interval of a plan, by start.

    `evaluations` has the rows of one plan and one metric, each pair of a model and an interval once;
    `bounds` are all intervals that the plan asks for. Columns start_ts, end_ts, model, value,
    num_samples. `model` is null where none was in use, `value` where the interval has no samples or was
    not evaluated. *Served*: the mean of the stretches that different models served, weighted by their
    samples; `model` is the newest of them.
    """
    scores = evaluations.select("model", "start_ts", "end_ts", pl.col("value").fill_nan(None), "num_samples")
    asked = pl.DataFrame({"start_ts": bounds.starts, "end_ts": bounds.ends})
    if which == "served":
        scored = pl.col("num_samples").filter(pl.col("value").is_not_null())
        combined = scores.group_by("start_ts", "end_ts").agg(
            pl.col("model").max(),
            ((pl.col("value") * pl.col("num_samples")).sum() / scored.sum()).fill_nan(None).alias("value"),
            pl.col("num_samples").sum(),
        )
        return asked.join(combined, on=["start_ts", "end_ts"], how="left").sort("start_ts", "end_ts")
    in_use = models_in_use(models, which, bounds.keys)
    serials = [None if model is None else model["trigger"] for model in in_use]
    asked = asked.with_columns(pl.Series("model", serials, dtype=pl.Int64))
    return asked.join(scores, on=["model", "start_ts", "end_ts"], how="left").sort("start_ts", "end_ts")


def composite(scores: pl.DataFrame) -> Composite:
    """Σ value·(end − start) / Σ (end − start) over what `scores_in_use` gives, and the share that it leaves out."""
    lengths = (scores["end_ts"] - scores["start_ts"]).to_numpy()
    has_score = scores["value"].is_not_null().to_numpy()
    if not has_score.any():
        return Composite(value=None, left_out=1.0)
    scored, left_out = float(lengths[has_score].sum()), float(lengths[~has_score].sum())
    weighted = float((scores["value"].drop_nulls().to_numpy() * lengths[has_score]).sum())
    return Composite(value=weighted / scored, left_out=left_out / (left_out + scored))
