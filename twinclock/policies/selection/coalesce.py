"""Triggers that are put together while trainings run: one trigger with the samples of all."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeAlias

from twinclock.graph import Json
from twinclock.policies.selection.config import NewDataConfig
from twinclock.policies.selection.materialize import drawn
from twinclock.policies.selection.new_data import Recipe, build_recipe
from twinclock.policies.selection.ranges import merge_ranges
from twinclock.stream import Stream

TriggerRecord: TypeAlias = dict[str, Json]


def coalesced(
    older: tuple[Mapping[str, Json], Mapping[str, Json]],
    newer: tuple[Mapping[str, Json], Mapping[str, Json]],
    stream: Stream,
) -> tuple[TriggerRecord, Recipe]:
    """Two triggers, each with its training set, as one: at the newer's position, with the samples of both.

    The set is selected as if the one trigger had reached all that both did. Where draws depend on earlier
    ones it is the union of what both drew, for that is what counts as used. `absorbed` in the
    trigger says which triggers' draws it stands for besides its own.
    """
    (old, old_set), (new, new_set) = older, newer
    trigger: TriggerRecord = {**new, "returned": merge_ranges([*old["returned"], *new["returned"]])}
    if old["stop"] == new["first"]:
        trigger |= {key: old[key] for key in ("first", "first_ts", "previous_reach")}
        trigger["num_samples"] = new["stop"] - old["first"]
    else:  # others lie between: the older one's samples come in from outside
        trigger["returned"] = merge_ranges([*trigger["returned"], [old["first"], old["stop"]]])
    trigger["absorbed"] = [*old.get("absorbed", []), old["serial"], *new.get("absorbed", [])]
    return trigger, _in_one(old_set, new_set, stream)


def _in_one(old_set: Mapping[str, Json], new_set: Mapping[str, Json], stream: Stream) -> Recipe:
    ranges = merge_ranges([*old_set["ranges"], *new_set["ranges"]])
    if "draws" in new_set:
        union = {
            **new_set,
            "ranges": ranges,
            "first_ts": min(old_set["first_ts"], new_set["first_ts"]),
            "draws": sorted({*old_set["draws"], *new_set["draws"]}),
        }
        return {**union, "num_samples": len(drawn(union))}
    groups = None
    if "groups" in new_set:
        by_serial = dict([*old_set["groups"], *new_set["groups"]])
        groups = [[serial, by_serial[serial]] for serial in sorted(by_serial)]
    recipe = build_recipe(
        new_set["trigger"],
        ranges,
        config=NewDataConfig.model_validate(new_set["method"]),
        seed=new_set["seed"],
        stream=stream,
        groups=groups,
    )
    assert recipe is not None, "more samples than the newer one's, which were some"
    return recipe
