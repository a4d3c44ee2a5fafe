"""The Pareto front of a study's metrics: which variants no other beats in everything, and how sure that is."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl

from experiments.results import StudyResult
from experiments.statistics.dominance import dominates
from experiments.statistics.observations import Floats, generator, observed, without_rounding

NUM_RESAMPLES = 2_000
_MOST = 0.5
"""A variant that lacks more than this share of the seeds is left out, so that it doesn't take them from all others."""
_AT_ONCE = 2_000_000
"""Comparisons of two values that are held in memory."""


def pareto(result: StudyResult) -> pl.DataFrame:
    """One row a variant, in the study's order: its mean of each of the study's metrics, and whether it is on the front.

    All variants are compared on the seeds that all have in all metrics; `num_seeds` says how many. `on_front`: no other
    variant's means are at least as good in every metric and better in one. `dominated_by`: those whose are.
    `front_share_seeds`: the share of the seeds in which it is on the front of that seed alone.
    `front_share_resamples`: the same of bootstrap resamples of the seeds, each drawn for all variants together; null
    from one seed. A variant that lacks more than half of the seeds is left out, all but its name being null.
    """
    joint = _joint(result)
    placed: dict[str, dict[str, Any]] = {}
    if joint.num_seeds > 0:
        of_means, of_seeds, of_resamples = _dominances(joint)
        for number, variant in enumerate(joint.variants):
            by = [joint.variants[other] for other in np.flatnonzero(of_means.pairs[:, number])]
            placed[variant] = {
                "num_seeds": joint.num_seeds,
                **{name: float(joint.values[number, column].mean()) for column, name in enumerate(joint.metrics)},
                "on_front": not by,
                "front_share_seeds": float(of_seeds.front[number]),
                "front_share_resamples": None if of_resamples is None else float(of_resamples.front[number]),
                "dominated_by": by,
            }
    return pl.DataFrame(
        [{"variant": variant, "num_seeds": 0, **placed.get(variant, {})} for variant in result.variants],
        schema={
            "variant": pl.String,
            "num_seeds": pl.Int64,
            **dict.fromkeys(joint.metrics, pl.Float64),
            "on_front": pl.Boolean,
            "front_share_seeds": pl.Float64,
            "front_share_resamples": pl.Float64,
            "dominated_by": pl.List(pl.String),
        },
    )


def dominations(result: StudyResult) -> pl.DataFrame:
    """One row a pair of which `variant` dominates `other` in the means, as `pareto` has them.

    `share_seeds`, `share_resamples`: in how many seeds, and resamples of the seeds, it does so too.
    """
    joint = _joint(result)
    rows = []
    if joint.num_seeds > 0:
        of_means, of_seeds, of_resamples = _dominances(joint)
        rows = [
            {
                "variant": joint.variants[one],
                "other": joint.variants[two],
                "share_seeds": float(of_seeds.pairs[one, two]),
                "share_resamples": None if of_resamples is None else float(of_resamples.pairs[one, two]),
            }
            for one, two in np.argwhere(of_means.pairs)
        ]
    schema = {"variant": pl.String, "other": pl.String, "share_seeds": pl.Float64, "share_resamples": pl.Float64}
    return pl.DataFrame(rows, schema=schema)


@dataclass(frozen=True)
class _Joint:
    """All metrics of the variants that can be compared, on the seeds that all of them have."""

    metrics: tuple[str, ...]
    signs: Floats
    """For each metric 1 if more is better, else −1."""
    variants: tuple[str, ...]
    values: Floats
    """Variant, metric, seed."""

    @property
    def num_seeds(self) -> int:
        return int(self.values.shape[2]) if self.variants else 0


@dataclass(frozen=True)
class _Dominance:
    """Shares of some draws of seeds."""

    pairs: Floats
    """Row i, column j: in which i dominates j."""
    front: Floats
    """In which each is on the front."""


def _joint(result: StudyResult) -> _Joint:
    asked = result.study.compared
    names, signs = tuple(each.name for each in asked), [1.0 if each.larger_is_better else -1.0 for each in asked]
    tables = [observed(result, name) for name in names]
    seeds = sorted({seed for table in tables for seed in table.seeds})
    values = np.full((len(result.variants), len(tables), len(seeds)), np.nan)
    for number, table in enumerate(tables):
        values[:, number, [seeds.index(seed) for seed in table.seeds]] = table.values
    there = np.isfinite(values).all(axis=1)
    kept = there.sum(axis=1) >= max(1.0, _MOST * len(seeds))
    common = there[kept].all(axis=0)
    variants = tuple(variant for variant, keep in zip(result.variants, kept, strict=True) if keep)
    return _Joint(names, np.array(signs), variants, values[kept][:, :, common])


def _dominances(joint: _Joint) -> tuple[_Dominance, _Dominance, _Dominance | None]:
    """Of the means over all seeds, of each seed alone, and of resamples of the seeds if there is more than one."""
    num_seeds = joint.num_seeds
    alone = np.eye(num_seeds)
    all_seeds = _dominance(joint, np.ones((1, num_seeds)))
    if num_seeds == 1:
        return all_seeds, all_seeds, None
    drawn = generator("front", str(num_seeds)).integers(0, num_seeds, (NUM_RESAMPLES, num_seeds))
    return all_seeds, _dominance(joint, alone), _dominance(joint, alone[drawn].sum(axis=1))


def _dominance(joint: _Joint, draws: Floats) -> _Dominance:
    """`draws`: one row a draw, how often it has each seed."""
    num_variants = len(joint.variants)
    pairs, front = np.zeros((num_variants, num_variants)), np.zeros(num_variants)
    step = max(1, _AT_ONCE // (num_variants * num_variants * len(joint.metrics)))
    for start in range(0, len(draws), step):
        some = draws[start : start + step]
        means = np.einsum("vms,ds->dvm", joint.values, some) / some.sum(axis=1)[:, None, None]
        gains = without_rounding(means, np.abs(means).max(axis=1, keepdims=True)) * joint.signs
        beaten = dominates(gains)
        pairs += beaten.sum(axis=0)
        front += (~beaten.any(axis=1)).sum(axis=0)
    return _Dominance(pairs / len(draws), front / len(draws))
