"""From a recipe to the training set itself, as positions."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from twinclock.graph import Json
from twinclock.policies.selection.config import (
    LabelBalancedPresampleConfig,
    NewDataConfig,
    TriggerBalancedPresampleConfig,
)
from twinclock.policies.selection.history import freshness_draws, round_draws
from twinclock.policies.selection.ranges import Ranges, num_positions, position_at, positions_at, starting_at
from twinclock.policies.selection.shares import fair_shares

Labels: TypeAlias = Callable[[NDArray[np.int64]], NDArray[Any]]
"""Positions → the label of each, as anything that can be sorted."""


def positions(recipe: Mapping[str, Json], labels: Labels | None = None) -> NDArray[np.int64]:
    """The training set itself: every position once, in the shuffled order that the recipe's seed gives.

    `labels` is asked only if the samples are balanced by label; ValueError if it is missing then.
    """
    rng = np.random.default_rng(recipe["seed"])
    if "draws" in recipe:
        return rng.permutation(drawn(recipe))
    config = NewDataConfig.model_validate(recipe["method"])
    ranges, num_samples, presample = recipe["ranges"], recipe["num_samples"], config.presample
    total = num_positions(ranges)
    limited = min(total, config.limit or total) if presample is not None else num_samples
    if config.keep == "uniform":
        chosen = positions_at(ranges, rng.choice(total, size=(limited,), replace=False))
    else:
        chosen = positions_at(ranges, rng.permutation(np.arange(total - limited, total)))
    match presample:
        case LabelBalancedPresampleConfig():
            if labels is None:
                raise ValueError("a set that is balanced by label can't be made without labels")
            return rng.permutation(_balanced(chosen, labels(chosen), num_samples))
        case TriggerBalancedPresampleConfig():
            return rng.permutation(_balanced(chosen, _group_of(chosen, recipe["groups"]), num_samples))
        case _:
            return chosen[:num_samples]  # the order is random, so the first are a uniform draw


def sample_ranges(recipe: Mapping[str, Json]) -> Ranges:
    """The positions that the samples of a recipe are from, as merged ranges: all of them, or those drawn from."""
    method = recipe["method"]
    ranges: Ranges = recipe["ranges"]
    limit = method.get("limit")
    if limit is None or method.get("keep") != "last":
        return ranges
    total = num_positions(ranges)
    return starting_at(ranges, position_at(ranges, max(0, total - limit)))


def drawn(recipe: Mapping[str, Json]) -> NDArray[np.int64]:
    """The samples of a recipe that depends on earlier draws, sorted, each once."""
    draws = freshness_draws if recipe["method"]["kind"] == "freshness" else round_draws
    return np.unique(np.concatenate(draws(recipe["log"], recipe["run_seed"], recipe["draws"])))


def _balanced(shuffled: NDArray[np.int64], classes: NDArray[Any], num_samples: int) -> NDArray[np.int64]:
    """A fair share of each class, those that come first."""
    _, numbers, sizes = np.unique(classes, return_inverse=True, return_counts=True)
    order = np.argsort(numbers, kind="stable")
    rank_in_class = np.arange(len(order)) - np.repeat(np.cumsum(sizes) - sizes, sizes)
    shares = fair_shares(sizes, num_samples)
    return shuffled[order[rank_in_class < np.repeat(shares, sizes)]]


def _group_of(chosen: NDArray[np.int64], groups: Json) -> NDArray[np.int64]:
    """The serial of the trigger that each position belongs to."""
    bounds = np.array(sorted([first, serial] for serial, ranges in groups for first, _ in ranges), np.int64)
    serials: NDArray[np.int64] = bounds[np.searchsorted(bounds[:, 0], chosen, side="right") - 1, 1]
    return serials
