"""The selection `new_data`: how many samples, and the recipe."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TypeAlias

from twinclock.graph import Json
from twinclock.policies.selection.config import NewDataConfig, RoundsPresampleConfig, TriggerBalancedPresampleConfig
from twinclock.policies.selection.ranges import Ranges, merge_ranges, num_positions, position_at, starting_at
from twinclock.policies.selection.shares import presampled
from twinclock.seeds import Purpose, derived_seed
from twinclock.stream import Stream

Recipe: TypeAlias = dict[str, Json]
Groups: TypeAlias = Sequence[Sequence[Json]]
"""[serial, ranges] of each trigger, in order."""


def set_size(state: Mapping[str, Json], own: Ranges, config: NewDataConfig, stream: Stream) -> int:
    """How many samples a trigger with the samples `own` trains on."""
    ranges = _within_window(_reached(state, own, config), config, stream)
    return presampled(_limited(num_positions(ranges), config), config.presample)


def training_set(
    state: Mapping[str, Json], serial: int, own: Ranges, *, config: NewDataConfig, seed: int, stream: Stream
) -> tuple[dict[str, Json], Recipe | None]:
    """What changes in the selector's state as trigger `serial` takes the samples `own`, and its training set."""
    is_balanced = isinstance(config.presample, TriggerBalancedPresampleConfig)
    known: list[Json] = [*state["recent"], [serial, own]]
    if config.tail is not None:
        # one more than `tail` is kept: should this trigger be dropped, the next reaches as far back as it did
        known = known[-config.tail - 1 :]
    elif not is_balanced:
        known = []
    recipe = build_recipe(
        serial,
        _reached(state, own, config),
        config=config,
        seed=derived_seed(seed, Purpose.SELECTION, serial),
        stream=stream,
        groups=known if is_balanced else None,
    )
    changes: dict[str, Json] = {"recent": known}
    if recipe is None or not isinstance(config.presample, RoundsPresampleConfig):
        return changes, recipe
    changes["log"] = [*state["log"], _draw(recipe, config)]
    return changes, recipe | {"run_seed": seed, "log": changes["log"], "draws": [serial]}


def build_recipe(
    serial: int, ranges: Ranges, *, config: NewDataConfig, seed: int, stream: Stream, groups: Groups | None
) -> Recipe | None:
    """The training set of trigger `serial` out of `ranges`; None if that comes to no samples.

    `groups` says which trigger each sample belongs to, where that matters.
    """
    ranges = _within_window(ranges, config, stream)
    total = num_positions(ranges)
    limited = _limited(total, config)
    num_samples = presampled(limited, config.presample)
    if num_samples == 0:
        return None
    recipe: Recipe = {
        "trigger": serial,
        "ranges": ranges,
        "num_samples": num_samples,
        "method": config.model_dump(exclude_none=True),
        "seed": seed,
        "first_ts": stream.timestamp(position_at(ranges, total - limited if config.keep == "last" else 0)),
        "last_ts": stream.timestamp(ranges[-1][1] - 1),
    }
    return recipe if groups is None else recipe | {"groups": groups}


def _reached(state: Mapping[str, Json], own: Ranges, config: NewDataConfig) -> Ranges:
    if config.tail is None:
        return [[0, own[-1][1]]]
    if config.tail == 0:
        return own
    return merge_ranges([*(r for _, ranges in state["recent"][-config.tail :] for r in ranges), *own])


def _within_window(ranges: Ranges, config: NewDataConfig, stream: Stream) -> Ranges:
    """Those with ts > ts of the last one − window."""
    if config.window is None:
        return ranges
    last_ts = stream.timestamp(ranges[-1][1] - 1)
    oldest_ts = min(math.nextafter(last_ts - config.window, math.inf), last_ts)
    return starting_at(ranges, stream.first_at_or_after(oldest_ts, ranges[0][0], ranges[-1][1]))


def _limited(total: int, config: NewDataConfig) -> int:
    return min(total, config.limit or total)


def _draw(recipe: Recipe, config: NewDataConfig) -> Json:
    """The entry of a draw in the log of draws: `take` of the first `of` that are drawn from the ranges."""
    ranges = recipe["ranges"]
    total = num_positions(ranges)
    limited = _limited(total, config)
    if config.keep == "last":
        ranges = starting_at(ranges, position_at(ranges, total - limited))
    return {"draw": recipe["trigger"], "ranges": ranges, "of": limited, "take": recipe["num_samples"]}
