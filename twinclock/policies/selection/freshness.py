"""The selection `freshness`: how many samples, and the recipe."""

from __future__ import annotations

from collections.abc import Mapping

from twinclock.graph import Json
from twinclock.policies.selection.config import FreshnessConfig
from twinclock.policies.selection.new_data import Recipe
from twinclock.policies.selection.shares import fresh_and_used
from twinclock.seeds import Purpose, derived_seed
from twinclock.stream import Stream


def set_size(state: Mapping[str, Json], stop: int, config: FreshnessConfig) -> int:
    """How many samples a trigger trains on if the labels of [0, stop) are known."""
    return sum(fresh_and_used(stop - state["used"], state["used"], config))


def training_set(
    state: Mapping[str, Json], serial: int, stop: int, *, config: FreshnessConfig, seed: int, stream: Stream
) -> tuple[dict[str, Json], Recipe]:
    """What changes in the selector's state as trigger `serial` draws from [0, stop), and its training set.

    Some of it are samples of the trigger's own, so there is always something unused to draw.
    """
    num_fresh, num_used = fresh_and_used(stop - state["used"], state["used"], config)
    log = [*state["log"], {"draw": serial, "stop": stop, "fresh": num_fresh, "used": num_used}]
    recipe: Recipe = {
        "trigger": serial,
        "ranges": [[0, stop]],
        "num_samples": num_fresh + num_used,
        "method": config.model_dump(exclude_none=True),
        "seed": derived_seed(seed, Purpose.SELECTION, serial),
        "first_ts": stream.timestamp(0),
        "last_ts": stream.timestamp(stop - 1),
        "run_seed": seed,
        "log": log,
        "draws": [serial],
    }
    return {"log": log, "used": state["used"] + num_fresh}, recipe
