from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from twinclock.policies.selection import (
    NewDataConfig,
    coalesced,
    given_back,
    initial_state,
    merge_ranges,
    on_dropped,
    on_remaining,
    on_trigger,
    positions,
)
from twinclock.stream import UniformStream

STREAM = UniformStream(10_000, 0.5)
NONE_SKIPPED = {"total": 0, "items": []}


def ask(state, position, skipped=NONE_SKIPPED, seed=0, **config):
    return on_trigger(state, position, skipped, config=NewDataConfig(**config), seed=seed, stream=STREAM)


def sets(fires, **config):
    """The ranges that each fire trains on."""
    state, found = initial_state(), []
    for position in fires:
        state, _, recipe = ask(state, position, **config)
        found.append(recipe and recipe["ranges"])
    return found


def register(*entries):
    return {"total": len(entries), "items": list(entries)}


def test_tail_says_how_far_back_a_training_set_reaches():
    fires = [9, 19, 29, 39]
    assert sets(fires) == [[[0, 10]], [[0, 20]], [[0, 30]], [[0, 40]]]
    assert sets(fires, tail=0) == [[[0, 10]], [[10, 20]], [[20, 30]], [[30, 40]]]
    assert sets(fires, tail=1) == [[[0, 10]], [[0, 20]], [[10, 30]], [[20, 40]]]
    assert sets(fires, tail=2) == [[[0, 10]], [[0, 20]], [[0, 30]], [[10, 40]]]


def test_an_empty_trigger_takes_a_number_but_no_place_in_the_tail():
    state, _, _ = ask(initial_state(), 9, tail=1)
    state, empty, recipe = ask(state, 9, tail=1)
    assert recipe is None
    assert empty == {
        "serial": 1,
        "position": 9,
        "first": 10,
        "stop": 10,
        "first_ts": None,
        "last_ts": None,
        "previous_last_ts": 4.5,
        "num_samples": 0,
        "returned": [],
    }
    _, trigger, recipe = ask(state, 19, tail=1)
    assert (trigger["serial"], trigger["previous_last_ts"]) == (2, 4.5)
    assert recipe["ranges"] == [[0, 20]]


def test_a_fire_before_the_first_sample_is_an_empty_trigger():
    state, trigger, recipe = ask(initial_state(), -1)
    assert (trigger["first"], trigger["stop"], trigger["previous_last_ts"], recipe) == (0, 0, None, None)
    assert state["serial"] == 1


def test_trigger_and_recipe_say_what_is_in_them():
    state, _, _ = ask(initial_state(), 9, tail=1)
    state, trigger, recipe = ask(state, 29, tail=1, limit=25)
    assert trigger == {
        "serial": 1,
        "position": 29,
        "first": 10,
        "stop": 30,
        "first_ts": 5.0,
        "last_ts": 14.5,
        "previous_last_ts": 4.5,
        "num_samples": 20,
        "returned": [],
    }
    seed = recipe.pop("seed")
    assert 0 <= seed < 2**63
    assert recipe == {
        "trigger": 1,
        "ranges": [[0, 30]],
        "num_samples": 25,
        "method": {"kind": "new_data", "tail": 1, "limit": 25, "keep": "last"},
        "first_ts": 2.5,
        "last_ts": 14.5,
    }


def test_a_fire_can_not_take_samples_back():
    state, _, _ = ask(initial_state(), 9)
    with pytest.raises(ValueError, match="samples up to 9 already belong"):
        ask(state, 5)


@pytest.mark.parametrize("tail", [None, 0, 1, 3])
def test_a_dropped_trigger_leaves_no_trace(tail):
    state, _, _ = ask(initial_state(), 9, tail=tail)
    state, _, _ = ask(state, 19, tail=tail)
    straight, trigger, recipe = ask(state, 49, tail=tail)
    for position in (29, 39):
        state, dropped, _ = ask(state, position, tail=tail)
        state = on_dropped(state, dropped)
    assert ask(state, 49, tail=tail) == (straight, trigger, recipe)
    assert trigger["serial"] == 2


def test_only_the_latest_trigger_can_be_dropped():
    state, first, _ = ask(initial_state(), 9)
    state, _, _ = ask(state, 19)
    with pytest.raises(ValueError, match="trigger 0 can't be dropped: trigger 1 came after it"):
        on_dropped(state, first)


class TestSamplesOfFailedTrainings:
    """They count for the next trigger, and for good."""

    def test_they_join_the_next_training_set(self):
        state, first, _ = ask(initial_state(), 9, tail=0)
        state, second, recipe = ask(state, 19, register(given_back(first)), tail=0)
        assert recipe["ranges"] == [[0, 20]]
        assert (second["first"], second["num_samples"], second["returned"]) == (10, 10, [[0, 10]])
        _, _, recipe = ask(state, 29, register(given_back(first)), tail=0)
        assert recipe["ranges"] == [[20, 30]]

    def test_they_are_not_lost_when_the_next_training_fails_too(self):
        state, first, _ = ask(initial_state(), 9, tail=0)
        state, second, _ = ask(state, 19, register(given_back(first)), tail=0)
        _, _, recipe = ask(state, 29, register(given_back(first), given_back(second)), tail=0)
        assert recipe["ranges"] == [[0, 30]]

    def test_they_are_not_lost_when_the_next_trigger_is_dropped(self):
        state, first, _ = ask(initial_state(), 9, tail=0)
        state, second, _ = ask(state, 19, register(given_back(first)), tail=0)
        _, _, recipe = ask(on_dropped(state, second), 29, register(given_back(first)), tail=0)
        assert recipe["ranges"] == [[0, 30]]

    def test_an_empty_trigger_passes_them_on(self):
        state, first, _ = ask(initial_state(), 9, tail=0)
        state, _, recipe = ask(state, 9, register(given_back(first)), tail=0)
        assert recipe is None
        _, _, recipe = ask(state, 19, register(given_back(first)), tail=0)
        assert recipe["ranges"] == [[0, 20]]

    def test_a_trigger_left_without_samples_takes_no_place_in_the_tail(self):
        state, _, _ = ask(initial_state(), 9, tail=1)
        state, failed, _ = ask(state, 19, tail=1)
        state, _, recipe = ask(state, 29, register(given_back(failed)), tail=1)
        assert recipe["ranges"] == [[0, 30]]
        _, _, recipe = ask(state, 39, register(given_back(failed)), tail=1)
        assert recipe["ranges"] == [[10, 40]]

    def test_a_late_failure_leaves_a_gap_of_what_was_trained_meanwhile(self):
        state, first, _ = ask(initial_state(), 9, tail=0)
        state, _, _ = ask(state, 19, tail=0)
        _, _, recipe = ask(state, 29, register(given_back(first)), tail=0)
        assert recipe["ranges"] == [[0, 10], [20, 30]]
        assert sorted(positions(recipe)) == [*range(10), *range(20, 30)]


class TestCoalesced:
    """Two triggers as one."""

    def test_neighbours_become_one_trigger_at_the_newer_position(self):
        state, *old = ask(initial_state(), 9, tail=0)
        state, _, _ = ask(state, 9, tail=0)
        _, *new = ask(state, 29, tail=0)
        trigger, recipe = coalesced(old, new, STREAM)
        assert (trigger["serial"], trigger["first"], trigger["stop"], trigger["num_samples"]) == (2, 0, 30, 30)
        assert (trigger["first_ts"], trigger["last_ts"], trigger["previous_last_ts"]) == (0.0, 14.5, None)
        assert (recipe["trigger"], recipe["ranges"], recipe["num_samples"]) == (2, [[0, 30]], 30)

    def test_the_limit_holds_for_the_whole_set(self):
        state, *old = ask(initial_state(), 9, tail=0, limit=8)
        _, *new = ask(state, 19, tail=0, limit=8)
        _, recipe = coalesced(old, new, STREAM)
        assert sorted(positions(recipe)) == list(range(12, 20))
        assert recipe["first_ts"] == 6.0

    def test_what_lies_between_is_not_taken_along(self):
        state, *old = ask(initial_state(), 9, tail=0)
        state, _, _ = ask(state, 19, tail=0)
        _, *new = ask(state, 29, tail=0)
        trigger, recipe = coalesced(old, new, STREAM)
        assert (trigger["first"], trigger["num_samples"], trigger["returned"]) == (20, 10, [[0, 10]])
        assert recipe["ranges"] == given_back(trigger)["ranges"] == [[0, 10], [20, 30]]


def test_limit_keeps_the_last_or_draws_from_the_whole_set():
    _, _, recipe = ask(initial_state(), 99, limit=10)
    assert sorted(positions(recipe)) == list(range(90, 100))
    _, _, recipe = ask(initial_state(), 99, limit=10, keep="uniform")
    drawn = positions(recipe)
    assert len(set(drawn.tolist())) == 10
    assert drawn.min() < 50


def test_uniform_draws_are_uniform():
    counts = np.zeros(20)
    for seed in range(400):
        _, _, recipe = ask(initial_state(), 19, seed=seed, limit=5, keep="uniform")
        counts[positions(recipe)] += 1
    assert (np.abs(counts - 100) < 50).all()  # 100 expected of each, standard deviation below 9


def test_sets_are_shuffled_by_seed_and_trigger_alone():
    state, _, first = ask(initial_state(), 99, seed=3)
    assert positions(first).tolist() != sorted(positions(first).tolist())
    assert positions(first).tolist() == positions(json.loads(json.dumps(first))).tolist()
    _, _, other_seed = ask(initial_state(), 99, seed=4)
    assert positions(first).tolist() != positions(other_seed).tolist()
    state, _, _ = ask(state, 99, seed=3)
    after_an_empty_one = ask(state, 199, seed=3)[2]
    assert after_an_empty_one["seed"] != first["seed"]


@settings(deadline=None)
@given(data=st.data())
def test_each_sample_belongs_to_one_trigger_or_to_the_remainder(data):
    """Random fires, failures and drops in batches: nothing lost, nothing twice, all through JSON."""
    num_samples = data.draw(st.integers(1, 60))
    tail = data.draw(st.none() | st.integers(0, 3))
    config = NewDataConfig(
        tail=tail,
        limit=data.draw(st.none() | st.integers(1, 30)),
        keep=data.draw(st.sampled_from(["last", "uniform"])),
    )
    state, skipped = initial_state(), register()
    own: dict[int, set[int]] = {}
    ready = 0
    while ready < num_samples:
        stop = data.draw(st.integers(ready + 1, num_samples))
        for position in sorted(data.draw(st.lists(st.integers(max(ready - 1, 0), stop - 1), max_size=3))):
            state, trigger, recipe = on_trigger(state, position, skipped, config=config, seed=1, stream=STREAM)
            samples = set(range(trigger["first"], trigger["stop"]))
            assert trigger["num_samples"] == len(samples)
            assert (recipe is None) == (not samples)
            if recipe is None:
                own[trigger["serial"]] = set()
                continue
            given_ = {p for first, end in trigger["returned"] for p in range(first, end)}
            whole = {p for first, end in recipe["ranges"] for p in range(first, end)}
            assert samples | given_ <= whole
            if tail is None:
                assert whole == set(range(trigger["stop"]))
            if tail == 0:
                assert whole == samples | given_
            assert recipe["ranges"] == merge_ranges(recipe["ranges"])
            chosen = positions(recipe).tolist()
            assert len(chosen) == len(set(chosen)) == recipe["num_samples"] == min(len(whole), config.limit or 60)
            assert set(chosen) <= whole
            fate = data.draw(st.sampled_from(["trained", "trained", "failed", "dropped"]))
            if fate == "dropped":
                state = on_dropped(state, trigger)
                continue
            own[trigger["serial"]] = samples
            if fate == "failed":
                skipped = register(*skipped["items"], given_back(trigger))
            state = json.loads(json.dumps(state))
        state = on_remaining(state, {"first": ready, "stop": stop})
        ready = stop
    assert sorted(own) == list(range(state["serial"]))
    assigned = sorted(p for samples in own.values() for p in samples)
    assert [*assigned, *range(state["first"], state["informed"])] == list(range(num_samples))


@given(st.lists(st.tuples(st.integers(0, 30), st.integers(0, 30))))
def test_merged_ranges_hold_the_same_positions(ranges):
    merged = merge_ranges(ranges)
    assert {p for a, b in merged for p in range(a, b)} == {p for a, b in ranges for p in range(a, b)}
    edges = [edge for pair in merged for edge in pair]
    assert edges == sorted(set(edges))
