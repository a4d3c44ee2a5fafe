"""Selection: which samples a trigger trains on, kept as a recipe.

Every sample informed belongs to the trigger that follows it; with a delay of labels, to the first one
at which its label is known. A recipe says which ranges, how many and with which seed; `positions`
makes the samples of it, for whoever needs them one by one. How many they are is known without
making them, and without features or labels.

| module | holds |
|---|---|
| config | What a user may ask for |
| selector | Whose samples are whose: what happens at a trigger, after it, and if it comes to nothing |
| new_data, freshness | The kinds of selection: how many, and the recipe |
| history | The draws that later draws depend on, and how they are made again |
| materialize | From a recipe to positions |
| ranges, shares | Arithmetic of ranges, and of fair shares |
"""

from __future__ import annotations

from twinclock.policies.selection.coalesce import coalesced
from twinclock.policies.selection.config import FreshnessConfig, NewDataConfig, PresampleConfig, SelectionConfig
from twinclock.policies.selection.materialize import Labels, positions, sample_ranges
from twinclock.policies.selection.ranges import merge_ranges
from twinclock.policies.selection.selector import (
    given_back,
    initial_state,
    known_stop,
    on_dropped,
    on_remaining,
    on_trigger,
    reach,
    training_set_size,
)

__all__ = [
    "FreshnessConfig",
    "Labels",
    "NewDataConfig",
    "PresampleConfig",
    "SelectionConfig",
    "coalesced",
    "given_back",
    "initial_state",
    "known_stop",
    "merge_ranges",
    "on_dropped",
    "on_remaining",
    "on_trigger",
    "positions",
    "reach",
    "sample_ranges",
    "training_set_size",
]
