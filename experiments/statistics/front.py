"""The Pareto front of a study's metrics: which variants no other beats in everything, and how sure that is."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from experiments.statistics.observations import Floats, Result, generator, observed, without_rounding

NUM_RESAMPLES = 2_000
_MOST = 0.5
"""A variant that lacks more than this share of the seeds is left out, so that it doesn't take them from all others."""

Bools = NDArray[np.bool_]


def pareto(result: Result) -> pl.DataFrame:
    """One row a variant, in the study's order: its mean of each of the study's metrics, and whether it is on the front.

    All variants are compared on the seeds that all have in all metrics; `num_seeds` says how many. `on_front`: no other
    variant's means are at least as good in every metric and better in one. `dominated_by`: those whose are.
    `front_share_seeds`: the share of the seeds in which it is on the front of that seed alone.
    `front_share_resamples`: the same of bootstrap resamples of the seeds, each drawn for all variants together; null
    from one seed. A variant that lacks more than half of the seeds is left out, all but its name being null.
    """
    joint = _joint(result)
    dominates = _dominates(joint.means())
    shares = {} if joint.num_seeds == 0 else _front_shares(joint)
    inside = {variant: number for number, variant in enumerate(joint.variants)} if joint.num_seeds > 0 else {}
    names = [metric.name for metric in result.study.metrics]
    rows = []
    for variant in result.variants:
        row: dict[str, Any] = {"variant": variant, "num_seeds": 0}
        if (number := inside.get(variant)) is not None:
            by = [joint.variants[other] for other in np.flatnonzero(dominates[:, number])]
            row |= {"num_seeds": joint.num_seeds, "on_front": not by, "dominated_by": by}
            row |= dict(zip(names, joint.values[number].mean(axis=1).tolist(), strict=True))
            row |= {name: None if share is None else float(share[number]) for name, share in shares.items()}
        rows.append(row)
    return pl.DataFrame(
        rows,
        schema={
            "variant": pl.String,
            "num_seeds": pl.Int64,
            **dict.fromkeys(names, pl.Float64),
            "on_front": pl.Boolean,
            "front_share_seeds": pl.Float64,
            "front_share_resamples": pl.Float64,
            "dominated_by": pl.List(pl.String),
        },
    )


def dominations(result: Result) -> pl.DataFrame:
    """One row a pair of which one dominates the other in the means: `variant`, `other`, and in how many resamples too.

    Columns `share_seeds`, `share_resamples` as in `pareto`, of the domination itself.
    """
    joint = _joint(result)
    schema = {
        "variant": pl.String,
        "other": pl.String,
        "share_seeds": pl.Float64,
        "share_resamples": pl.Float64,
    }
    if joint.num_seeds == 0:
        return pl.DataFrame(schema=schema)
    in_seeds = np.mean([_dominates(joint.of_seeds(np.array([seed]))) for seed in range(joint.num_seeds)], axis=0)
    resamples = _resamples(joint)
    in_resamples = None if resamples is None else np.mean([_dominates(joint.of_seeds(r)) for r in resamples], axis=0)
    rows = [
        {
            "variant": joint.variants[one],
            "other": joint.variants[two],
            "share_seeds": float(in_seeds[one, two]),
            "share_resamples": None if in_resamples is None else float(in_resamples[one, two]),
        }
        for one, two in np.argwhere(_dominates(joint.means()))
    ]
    return pl.DataFrame(rows, schema=schema)


@dataclass(frozen=True)
class _Joint:
    """All metrics of the variants that can be compared, on the seeds that all of them have."""

    variants: tuple[str, ...]
    values: Floats
    """Variant, metric, seed."""
    signs: Floats
    """For each metric 1 if more is better, else −1."""

    @property
    def num_seeds(self) -> int:
        return self.values.shape[2]

    def means(self) -> Floats:
        return self.of_seeds(np.arange(self.num_seeds))

    def of_seeds(self, seeds: NDArray[np.int64]) -> Floats:
        """Means over these seeds, one row a variant and one column a metric, turned so that more is better."""
        if len(seeds) == 0 or len(self.variants) == 0:
            return np.zeros((0, len(self.signs)))
        means = self.values[:, :, seeds].mean(axis=2)
        return without_rounding(means, np.abs(means).max(axis=0)) * self.signs


def _joint(result: Result) -> _Joint:
    metrics = result.study.metrics
    tables = [observed(result, metric.name) for metric in metrics]
    seeds = sorted({seed for table in tables for seed in table.seeds})
    values = np.full((len(result.variants), len(tables), len(seeds)), np.nan)
    for number, table in enumerate(tables):
        values[:, number, [seeds.index(seed) for seed in table.seeds]] = table.values
    there = np.isfinite(values).all(axis=1)
    kept = there.mean(axis=1) >= _MOST if len(seeds) > 0 else np.zeros(len(there), dtype=bool)
    common = there[kept].all(axis=0)
    variants = tuple(variant for variant, keep in zip(result.variants, kept, strict=True) if keep)
    signs = np.array([1.0 if metric.larger_is_better else -1.0 for metric in metrics])
    return _Joint(variants, values[kept][:, :, common], signs)


def _dominates(means: Floats) -> Bools:
    """Row i, column j: i is at least as good as j in every metric and better in one. More is better in all."""
    one, two = means[:, None, :], means[None, :, :]
    return (one >= two).all(axis=2) & (one > two).any(axis=2)


def _front_shares(joint: _Joint) -> dict[str, Floats | None]:
    seeds = [np.array([seed]) for seed in range(joint.num_seeds)]
    resamples = _resamples(joint)
    return {
        "front_share_seeds": _front_share(joint, seeds),
        "front_share_resamples": None if resamples is None else _front_share(joint, list(resamples)),
    }


def _front_share(joint: _Joint, draws: list[NDArray[np.int64]]) -> Floats:
    return np.mean([~_dominates(joint.of_seeds(seeds)).any(axis=0) for seeds in draws], axis=0)


def _resamples(joint: _Joint) -> NDArray[np.int64] | None:
    """Which seeds each resample has, with repetition; None if there is nothing to draw from."""
    if joint.num_seeds < 2:
        return None
    drawn = generator("front", str(joint.num_seeds)).integers(0, joint.num_seeds, (NUM_RESAMPLES, joint.num_seeds))
    return drawn.astype(np.int64)
