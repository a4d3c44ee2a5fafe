"""Whose samples are whose: what happens to the selector's state at a trigger and around it.

The state is one small JSON value:

| key | holds |
|---|---|
| serial | number of the next trigger |
| first | first position that belongs to the next trigger |
| informed | positions informed so far: [0, informed) |
| reach | up to which data time all samples are known since the last trigger; None before the first that had samples |
| recent | the latest triggers that had samples, as far back as the selection needs: [serial, ranges] each |
| owed | ranges given back by trainings that failed for good, not yet in a later trigger |
| returned | how many entries of the register `skipped` went into `owed` |
| log | the draws that later ones depend on, see `history`; empty if none does |
| used | `freshness`: how many samples have been used |

Only what differs from kind to kind is elsewhere: `new_data` and `freshness` say how many, and which.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Mapping
from typing import TypeAlias

from twinclock.graph import Json
from twinclock.policies.selection import freshness, new_data
from twinclock.policies.selection.coalesce import TriggerRecord
from twinclock.policies.selection.config import FreshnessConfig, NewDataConfig, SelectionConfig
from twinclock.policies.selection.history import with_failures, without_draw
from twinclock.policies.selection.new_data import Recipe
from twinclock.policies.selection.ranges import merge_ranges
from twinclock.stream import DataTime, Stream, earliest

State: TypeAlias = dict[str, Json]


def initial_state() -> State:
    """The state before the first sample."""
    return {
        "serial": 0,
        "first": 0,
        "informed": 0,
        "reach": None,
        "recent": [],
        "owed": [],
        "returned": 0,
        "log": [],
        "used": 0,
    }


def on_trigger(
    state: Mapping[str, Json],
    position: int,
    skipped: Mapping[str, Json],
    *,
    config: SelectionConfig,
    seed: int,
    stream: Stream,
    label_delay_s: float = 0.0,
) -> tuple[State, TriggerRecord, Recipe | None]:
    """The trigger that a fire at `position` makes, and its training set; None if it trains nothing.

    `skipped` is the register of that name: `{"total": n, "items": [{"trigger": k, "ranges": …}, …]}`.
    What it gives back joins the next trigger that has samples, as if it were that trigger's own.
    A sample's label is known from `label_delay_s` of data time after the sample; those whose label is not known
    at the data time of `position` belong to a later trigger. ValueError if `position` is before the
    sample ahead of the first one not yet in a trigger.
    """
    first, stop = state["first"], known_stop(state["first"], position, stream, label_delay_s)
    after: State = {**state, "serial": state["serial"] + 1, "informed": max(state["informed"], position + 1)}
    after |= _taken_back(state, skipped)
    trigger: TriggerRecord = {
        "serial": state["serial"],
        "position": position,
        "first": first,
        "stop": stop,
        "first_ts": None,
        "last_ts": None,
        "reach": None,
        "previous_reach": state["reach"],
        "num_samples": stop - first,
        "returned": [],
    }
    if first == stop:
        return after, trigger, None
    trigger |= {
        "first_ts": stream.timestamp(first),
        "last_ts": stream.timestamp(stop - 1),
        "reach": reach(stream, stop),
        "returned": after["owed"],
    }
    recipe: Recipe | None
    match config:
        case NewDataConfig():
            own = merge_ranges([*after["owed"], [first, stop]])
            changes, recipe = new_data.training_set(
                after, trigger["serial"], own, config=config, seed=seed, stream=stream
            )
        case FreshnessConfig():
            changes, recipe = freshness.training_set(
                after, trigger["serial"], stop, config=config, seed=seed, stream=stream
            )
    after |= {"first": stop, "reach": trigger["reach"], "owed": [], **changes}
    return after, trigger, recipe


def training_set_size(
    state: Mapping[str, Json],
    position: int,
    skipped: Mapping[str, Json],
    *,
    config: SelectionConfig,
    seed: int,
    stream: Stream,
    label_delay_s: float = 0.0,
) -> int:
    """How many samples the training set of a fire at `position` would have; 0 if it would train nothing.

    Takes what `on_trigger` takes, raises what it raises, changes nothing, and costs a few comparisons. The
    size does not depend on `seed`.
    """
    first, stop = state["first"], known_stop(state["first"], position, stream, label_delay_s)
    if first == stop:
        return 0
    after = {**state, **_taken_back(state, skipped)}
    match config:
        case NewDataConfig():
            return new_data.set_size(after, merge_ranges([*after["owed"], [first, stop]]), config, stream)
        case FreshnessConfig():
            return freshness.set_size(after, stop, config)


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
        "reach": trigger["previous_reach"],
        "recent": [[serial, ranges] for serial, ranges in state["recent"] if serial != trigger["serial"]],
        "owed": merge_ranges([*state["owed"], *trigger["returned"]]),
        **without_draw(state, trigger["serial"]),
    }


def given_back(trigger: Mapping[str, Json]) -> dict[str, Json]:
    """The entry for the register `skipped`: everything that counted as the trigger's own, and whom it absorbed."""
    entry: dict[str, Json] = {
        "trigger": trigger["serial"],
        "ranges": merge_ranges([*trigger["returned"], [trigger["first"], trigger["stop"]]]),
    }
    return entry | {"absorbed": trigger["absorbed"]} if "absorbed" in trigger else entry


def reach(stream: Stream, stop: int) -> float:
    """Up to which data time all samples are known to whoever knows those at [0, stop), of which there are some.

    A timestamp stands for the second that it begins, so that is the last one + 1; or less, if the next sample
    comes, or could come, within that second.
    """
    return min(stream.timestamp(stop - 1) + 1.0, earliest(stream, stop))


def known_stop(first: int, position: int, stream: Stream, label_delay_s: float) -> int:
    """Where the samples end whose labels are known at the data time of `position`; at least `first`."""
    stop = position + 1
    if stop < first:
        raise ValueError(f"fire at position {position}, but samples up to {first - 1} already belong to a trigger")
    if label_delay_s == 0.0 or stop == first:
        return stop
    now_ts = stream.timestamp(position)

    def known_from_ts(at: int) -> DataTime:
        return DataTime(stream.timestamp(at) + label_delay_s)

    return first + bisect_right(range(first, stop), now_ts, key=known_from_ts)


def _taken_back(state: Mapping[str, Json], skipped: Mapping[str, Json]) -> dict[str, Json]:
    """What changes in the state by what `skipped` has gained since the last look.

    Its samples are owed, its draws forgotten, and a trigger left without samples no longer counts.
    """
    num_new = skipped["total"] - state["returned"]
    if num_new == 0:
        return {}
    entries = skipped["items"][-num_new:]
    owed = merge_ranges([*state["owed"], *(r for entry in entries for r in entry["ranges"])])
    recent = [[serial, ranges] for serial, ranges in state["recent"] if merge_ranges([*owed, *ranges]) != owed]
    changes: dict[str, Json] = {"owed": owed, "recent": recent, "returned": skipped["total"]}
    if not state["log"]:
        return changes
    return changes | with_failures(
        state, [s for entry in entries for s in (*entry.get("absorbed", []), entry["trigger"])]
    )
