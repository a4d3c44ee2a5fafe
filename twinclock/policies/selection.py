"""Selection: which samples a trigger trains on, kept as a recipe.

Every sample informed belongs to the trigger that follows it. A recipe says which ranges, how many
and with which seed; `positions` makes the samples of it, for whoever needs them one by one.

The selector's state is one small JSON value:

| key | holds |
|---|---|
| serial | number of the next trigger |
| first | first position that belongs to the next trigger |
| informed | positions informed so far: [0, informed) |
| last_ts | data time of the last trigger's last sample; None before the first that had samples |
| recent | the latest triggers that had samples, as far back as `tail` reaches: [serial, ranges] each |
| owed | ranges given back by trainings that failed for good, not yet in a later trigger |
| returned | how many entries of the register `skipped` went into `owed` |
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from twinclock.graph import Json
from twinclock.section import Section
from twinclock.seeds import Purpose, derived_seed
from twinclock.stream import Stream

State: TypeAlias = dict[str, Json]
TriggerRecord: TypeAlias = dict[str, Json]
Recipe: TypeAlias = dict[str, Json]
Ranges: TypeAlias = list[list[int]]


class NewDataConfig(Section):
    """The trigger's own samples, and those of the triggers before it as far as `tail` reaches."""

    kind: Literal["new_data"] = "new_data"
    tail: int | None = Field(default=None, ge=0)
    """How many earlier triggers' samples to add; None: all data since the start."""
    limit: int | None = Field(default=None, gt=0)
    """At most so many samples, of the whole set; None: all."""
    keep: Literal["last", "uniform"] = "last"
    """Which ones if there are more than `limit`: the last by position, or drawn uniformly."""


def initial_state() -> State:
    """The state before the first sample."""
    return {"serial": 0, "first": 0, "informed": 0, "last_ts": None, "recent": [], "owed": [], "returned": 0}


def on_trigger(
    state: Mapping[str, Json],
    position: int,
    skipped: Mapping[str, Json],
    *,
    config: NewDataConfig,
    seed: int,
    stream: Stream,
) -> tuple[State, TriggerRecord, Recipe | None]:
    """The trigger that a fire at `position` makes, and its training set; None if it has no samples.

    `skipped` is the register of that name: `{"total": n, "items": [{"trigger": k, "ranges": …}, …]}`.
    What it gives back joins the next trigger that has samples, as if it were that trigger's own.
    ValueError if `position` is before the sample ahead of the first one not yet in a trigger.
    """
    first, stop = state["first"], position + 1
    if stop < first:
        raise ValueError(f"fire at position {position}, but samples up to {first - 1} already belong to a trigger")
    after = _take_back({**state, "serial": state["serial"] + 1, "informed": max(state["informed"], stop)}, skipped)
    trigger: TriggerRecord = {
        "serial": state["serial"],
        "position": position,
        "first": first,
        "stop": stop,
        "first_ts": None,
        "last_ts": None,
        "previous_last_ts": state["last_ts"],
        "num_samples": stop - first,
        "returned": [],
    }
    if first == stop:
        return after, trigger, None
    trigger |= {
        "first_ts": stream.timestamp(first),
        "last_ts": stream.timestamp(position),
        "returned": after["owed"],
    }
    own = merge_ranges([*after["owed"], [first, stop]])
    older = [ranges for _, ranges in after["recent"][-config.tail :]] if config.tail else []
    ranges = [[0, stop]] if config.tail is None else merge_ranges([*(r for each in older for r in each), *own])
    # one more than `tail` is kept: should this trigger be dropped, the next reaches as far back as it did
    recent = [] if config.tail is None else [*after["recent"], [trigger["serial"], own]][-config.tail - 1 :]
    after |= {"first": stop, "last_ts": trigger["last_ts"], "recent": recent, "owed": []}
    return (
        after,
        trigger,
        _recipe(
            trigger["serial"],
            ranges,
            config.model_dump(),
            derived_seed(seed, Purpose.SELECTION, trigger["serial"]),
            stream,
        ),
    )


def on_remaining(state: Mapping[str, Json], batch: Mapping[str, Json]) -> State:
    """The rest of an ingest batch is informed; it waits for the next trigger."""
    return {**state, "informed": max(state["informed"], batch["stop"])}


def on_dropped(state: Mapping[str, Json], trigger: Mapping[str, Json]) -> State:
    """The latest trigger is none after all: its number is free again, its samples belong to the next."""
    if trigger["serial"] != state["serial"] - 1:
        raise ValueError(f"trigger {trigger['serial']} can't be dropped: trigger {state['serial'] - 1} came after it")
    return {
        **state,
        "serial": trigger["serial"],
        "first": trigger["first"],
        "last_ts": trigger["previous_last_ts"],
        "recent": [[serial, ranges] for serial, ranges in state["recent"] if serial != trigger["serial"]],
        "owed": merge_ranges([*state["owed"], *trigger["returned"]]),
    }


def given_back(trigger: Mapping[str, Json]) -> dict[str, Json]:
    """The entry for the register `skipped`: everything that counted as the trigger's own."""
    return {
        "trigger": trigger["serial"],
        "ranges": merge_ranges([*trigger["returned"], [trigger["first"], trigger["stop"]]]),
    }


def coalesced(
    older: tuple[Mapping[str, Json], Mapping[str, Json]],
    newer: tuple[Mapping[str, Json], Mapping[str, Json]],
    stream: Stream,
) -> tuple[TriggerRecord, Recipe]:
    """Two triggers, each with its training set, as one: at the newer's position, with the samples of both."""
    (old, old_set), (new, new_set) = older, newer
    trigger: TriggerRecord = {**new, "returned": merge_ranges([*old["returned"], *new["returned"]])}
    if old["stop"] == new["first"]:
        trigger |= {key: old[key] for key in ("first", "first_ts", "previous_last_ts")}
        trigger["num_samples"] = new["stop"] - old["first"]
    else:  # others lie between: the older one's samples come in from outside
        trigger["returned"] = merge_ranges([*trigger["returned"], [old["first"], old["stop"]]])
    ranges = merge_ranges([*old_set["ranges"], *new_set["ranges"]])
    return trigger, _recipe(new["serial"], ranges, new_set["method"], new_set["seed"], stream)


def positions(recipe: Mapping[str, Json]) -> NDArray[np.int64]:
    """The training set itself: every position once, in the shuffled order that the recipe's seed gives."""
    total = _num_positions(recipe["ranges"])
    num_samples = recipe["num_samples"]
    rng = np.random.default_rng(recipe["seed"])
    if recipe["method"]["keep"] == "uniform":
        return _at(recipe["ranges"], rng.choice(total, size=(num_samples,), replace=False))
    return _at(recipe["ranges"], rng.permutation(np.arange(total - num_samples, total)))


def merge_ranges(ranges: Iterable[Sequence[int]]) -> Ranges:
    """The same positions as sorted half-open ranges that neither overlap nor touch, none empty."""
    merged: Ranges = []
    for first, stop in sorted((r[0], r[1]) for r in ranges if r[0] < r[1]):
        if merged and first <= merged[-1][1]:
            merged[-1][1] = max(merged[-1][1], stop)
        else:
            merged.append([first, stop])
    return merged


def _recipe(serial: int, ranges: Ranges, method: Mapping[str, Json], seed: int, stream: Stream) -> Recipe:
    total = _num_positions(ranges)
    num_samples = min(total, method["limit"] or total)
    earliest = total - num_samples if method["keep"] == "last" else 0
    return {
        "trigger": serial,
        "ranges": ranges,
        "num_samples": num_samples,
        "method": dict(method),
        "seed": seed,
        "first_ts": stream.timestamp(int(_at(ranges, np.array([earliest]))[0])),
        "last_ts": stream.timestamp(ranges[-1][1] - 1),
    }


def _take_back(state: State, skipped: Mapping[str, Json]) -> State:
    """What `skipped` has gained since the last look is owed; a trigger left without samples no longer counts."""
    num_new = skipped["total"] - state["returned"]
    if num_new == 0:
        return state
    entries = skipped["items"][-num_new:]
    owed = merge_ranges([*state["owed"], *(r for entry in entries for r in entry["ranges"])])
    recent = [[serial, ranges] for serial, ranges in state["recent"] if merge_ranges([*owed, *ranges]) != owed]
    return {**state, "owed": owed, "recent": recent, "returned": skipped["total"]}


def _num_positions(ranges: Ranges) -> int:
    return sum(stop - first for first, stop in ranges)


def _at(ranges: Ranges, ranks: NDArray[np.int64]) -> NDArray[np.int64]:
    """The positions that stand at `ranks` when the ranges are counted through."""
    bounds = np.array(ranges, dtype=np.int64)
    lengths = bounds[:, 1] - bounds[:, 0]
    starts = np.cumsum(lengths) - lengths
    which = np.searchsorted(starts, ranks, side="right") - 1
    chosen: NDArray[np.int64] = bounds[which, 0] + ranks - starts[which]
    return chosen
