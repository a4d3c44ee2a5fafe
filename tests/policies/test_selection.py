from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from twinclock.policies.selection import (
    FreshnessConfig,
    NewDataConfig,
    coalesced,
    given_back,
    initial_state,
    merge_ranges,
    on_dropped,
    on_remaining,
    on_trigger,
    positions,
    training_set_size,
)
from twinclock.policies.selection.shares import presampled
from twinclock.stream import RecordedStream, UniformStream

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
        "reach": None,
        "previous_reach": 5.0,
        "num_samples": 0,
        "returned": [],
    }
    _, trigger, recipe = ask(state, 19, tail=1)
    assert (trigger["serial"], trigger["previous_reach"]) == (2, 5.0)
    assert recipe["ranges"] == [[0, 20]]


def test_a_fire_before_the_first_sample_is_an_empty_trigger():
    state, trigger, recipe = ask(initial_state(), -1)
    assert (trigger["first"], trigger["stop"], trigger["previous_reach"], recipe) == (0, 0, None, None)
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
        "reach": 15.0,
        "previous_reach": 5.0,
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
        assert (trigger["first_ts"], trigger["last_ts"], trigger["previous_reach"]) == (0.0, 14.5, None)
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


class TestWindow:
    """Keeps what is younger than the set's last sample by less than the window."""

    def test_it_is_open_on_the_side_of_the_past(self):
        assert sets([9, 29], window=5.0) == [[[0, 10]], [[20, 30]]]  # every 0.5 s: ts > 14.5 - 5
        assert sets([9, 29], window=5.25) == [[[0, 10]], [[19, 30]]]

    def test_it_counts_from_the_last_sample_of_the_set(self):
        stream = RecordedStream(np.array([0.0, 10.0, 20.0, 20.0, 30.0, 30.0]))
        for position, window, kept in [(4, 10.0, [4]), (5, 10.5, [2, 3, 4, 5]), (3, 1e-30, [2, 3]), (5, 1e9, range(6))]:
            _, _, recipe = on_trigger(
                initial_state(), position, NONE_SKIPPED, config=NewDataConfig(window=window), seed=0, stream=stream
            )
            assert sorted(positions(recipe)) == list(kept)

    def test_the_limit_is_of_what_it_leaves(self):
        _, _, recipe = ask(initial_state(), 99, window=10.0, limit=15, keep="uniform")
        assert recipe["num_samples"] == 15
        assert positions(recipe).min() >= 80
        _, _, recipe = ask(initial_state(), 99, window=10.0, limit=30)
        assert sorted(positions(recipe)) == list(range(80, 100))

    def test_it_holds_for_coalesced_triggers_as_for_one(self):
        state, *old = ask(initial_state(), 9, tail=0, window=4.0)
        _, *new = ask(state, 13, tail=0, window=4.0)
        _, recipe = coalesced(old, new, STREAM)
        assert (recipe["ranges"], recipe["num_samples"]) == ([[6, 14]], 8)


class TestDelayOfLabels:
    """A sample without a known label waits for a later trigger."""

    def fire(self, state, position, delay_s, **config):
        return on_trigger(
            state,
            position,
            NONE_SKIPPED,
            config=NewDataConfig(**config),
            seed=0,
            stream=STREAM,
            label_delay_s=delay_s,
        )

    def test_what_waits_belongs_to_the_next_trigger(self):
        state, first, recipe = self.fire(initial_state(), 9, 2.0, tail=0)  # ts 4.5: known up to 2.5
        assert (first["position"], first["first"], first["stop"], first["num_samples"]) == (9, 0, 6, 6)
        assert (first["first_ts"], first["last_ts"]) == (0.0, 2.5)
        assert recipe["ranges"] == [[0, 6]]
        _, second, recipe = self.fire(state, 19, 2.0, tail=0)
        assert (second["first"], second["stop"], second["previous_reach"]) == (6, 16, 3.0)
        assert (recipe["ranges"], recipe["last_ts"]) == ([[6, 16]], 7.5)

    def test_all_data_so_far_are_those_with_a_label(self):
        _, _, recipe = self.fire(initial_state(), 9, 2.0)
        assert recipe["ranges"] == [[0, 6]]

    def test_the_bound_itself_is_known(self):
        assert self.fire(initial_state(), 9, 0.0)[1]["stop"] == 10
        assert self.fire(initial_state(), 9, 0.5)[1]["stop"] == 9
        assert self.fire(initial_state(), 9, 0.75)[1]["stop"] == 8

    def test_samples_at_one_time_are_known_together(self):
        stream = RecordedStream(np.array([0.0, 1.0, 1.0, 1.0, 2.0]))
        _, trigger, _ = on_trigger(
            initial_state(), 4, NONE_SKIPPED, config=NewDataConfig(), seed=0, stream=stream, label_delay_s=1.0
        )
        assert trigger["stop"] == 4

    def test_a_trigger_that_knows_no_label_is_empty_and_takes_no_place_in_the_tail(self):
        state, empty, recipe = self.fire(initial_state(), 9, 100.0, tail=1)
        assert (empty["first"], empty["stop"], empty["num_samples"], empty["last_ts"], recipe) == (0, 0, 0, None, None)
        state, _, recipe = self.fire(state, 219, 100.0, tail=1)
        assert recipe["ranges"] == [[0, 20]]
        state, trigger, _ = self.fire(state, 219, 100.0, tail=1)
        assert (trigger["serial"], trigger["num_samples"]) == (2, 0)
        _, _, recipe = self.fire(state, 229, 100.0, tail=1)
        assert recipe["ranges"] == [[0, 30]]

    def test_sums_of_times_are_compared_as_they_are_rounded(self):
        """ts + delay <= now in float64: 0.1 + 0.2 is more than 0.3."""
        stream = RecordedStream(np.array([0.1, 0.3]))
        _, trigger, _ = on_trigger(
            initial_state(), 1, NONE_SKIPPED, config=NewDataConfig(), seed=0, stream=stream, label_delay_s=0.2
        )
        assert trigger["num_samples"] == 0


def selections() -> st.SearchStrategy[NewDataConfig | FreshnessConfig]:
    """Any selection, for streams of about sixty samples, half a second apart."""
    kinds = ["uniform", "uniform_without_replacement", "label_balanced", "trigger_balanced"]
    limits = st.none() | st.integers(1, 30)
    presample = st.none() | st.fixed_dictionaries(
        {"kind": st.sampled_from(kinds), "ratio": st.sampled_from([1.0, 0.5, 0.29, 0.07]), "limit": limits}
    )
    return st.one_of(
        st.builds(
            NewDataConfig,
            tail=st.none() | st.integers(0, 3),
            window=st.none() | st.sampled_from([0.5, 3.0, 10.25]),
            limit=limits,
            keep=st.sampled_from(["last", "uniform"]),
            presample=presample,
        ),
        st.builds(FreshnessConfig, unused=st.sampled_from([20, 50, 100, 33.3, 0.5, 97]), limit=limits),
    )


def some_labels(at):
    return at % 3


@settings(deadline=None)
@given(data=st.data())
def test_each_sample_belongs_to_one_trigger_or_waits(data):
    """Random fires, failures and drops in batches: nothing lost, nothing twice, all through JSON."""
    num_samples = data.draw(st.integers(1, 60))
    config = data.draw(selections())
    delay_s = data.draw(st.sampled_from([0.0, 0.0, 0.5, 4.0, 100.0]))
    told = {"config": config, "seed": 1, "stream": STREAM, "label_delay_s": delay_s}
    state, skipped = initial_state(), register()
    own: dict[int, set[int]] = {}
    ready = 0
    while ready < num_samples:
        stop = data.draw(st.integers(ready + 1, num_samples))
        for position in sorted(data.draw(st.lists(st.integers(max(ready - 1, 0), stop - 1), max_size=3))):
            before = json.dumps(state)
            num_expected = training_set_size(state, position, skipped, **told)
            assert json.dumps(state) == before
            state, trigger, recipe = on_trigger(state, position, skipped, **told)
            samples = set(range(trigger["first"], trigger["stop"]))
            known = {p for p in range(position + 1) if STREAM.timestamp(p) + delay_s <= STREAM.timestamp(position)}
            assert set(range(trigger["stop"])) == known
            assert trigger["num_samples"] == len(samples)
            assert num_expected == (0 if recipe is None else recipe["num_samples"])
            if recipe is None:
                own[trigger["serial"]] = samples
                continue
            assert samples
            given_ = {p for first, end in trigger["returned"] for p in range(first, end)}
            whole = {p for first, end in recipe["ranges"] for p in range(first, end)}
            assert recipe["ranges"] == merge_ranges(recipe["ranges"])
            if config.kind == "freshness" or (config.tail is None and config.window is None):
                assert whole == known
            elif config.window is None:
                assert samples | given_ <= whole
                assert config.tail != 0 or whole == samples | given_
            chosen = positions(recipe, some_labels).tolist()
            assert len(chosen) == len(set(chosen)) == recipe["num_samples"]
            assert set(chosen) <= whole <= known
            if config.kind == "new_data":
                there = min(len(whole), config.limit or 60)
                assert len(chosen) == (there if config.presample is None else presampled(there, config.presample))
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


@settings(deadline=None)
@given(selections(), st.lists(st.integers(0, 59), min_size=1, max_size=6).map(sorted), st.sampled_from([0.0, 3.0]))
def test_sets_do_not_depend_on_ingest_batches_and_repeat_with_the_seed(config, fires, delay_s):
    def recipes(batch_size, seed=5):
        state, found = initial_state(), []
        for first in range(0, 60, batch_size):
            stop = min(first + batch_size, 60)
            for position in [each for each in fires if first <= each < stop]:
                state, _, recipe = on_trigger(
                    state, position, NONE_SKIPPED, config=config, seed=seed, stream=STREAM, label_delay_s=delay_s
                )
                found.append(recipe)
            state = on_remaining(state, {"first": first, "stop": stop})
        assert state["informed"] == 60
        return found

    expected = recipes(60)
    for batch_size in (1, 3, 7):
        assert recipes(batch_size) == expected
    again = [each and positions(each, some_labels).tolist() for each in recipes(60)]
    assert again == [each and positions(each, some_labels).tolist() for each in expected]
    assert [each and each["num_samples"] for each in recipes(60, seed=6)] == [
        each and each["num_samples"] for each in expected
    ]


@settings(deadline=None)
@given(selections(), st.lists(st.integers(0, 59), min_size=2, max_size=6).map(sorted), st.data())
def test_coalesced_triggers_have_the_samples_of_all_and_none_twice(config, fires, data):
    """Some of the triggers wait and become one; if its training fails, the next gets everything."""
    state, waiting = initial_state(), None
    own: set[int] = set()
    for position in fires:
        state, trigger, recipe = on_trigger(state, position, NONE_SKIPPED, config=config, seed=2, stream=STREAM)
        if recipe is None or (waiting is None and data.draw(st.booleans())):
            continue
        own |= set(range(trigger["first"], trigger["stop"]))
        parts = {
            position for each in (waiting, (trigger, recipe)) if each for position in positions(each[1], some_labels)
        }
        waiting = (trigger, recipe) if waiting is None else coalesced(waiting, (trigger, recipe), STREAM)
        trigger, recipe = json.loads(json.dumps(waiting))
        chosen = positions(recipe, some_labels).tolist()
        assert len(chosen) == len(set(chosen)) == recipe["num_samples"]
        assert {p for first, stop in given_back(trigger)["ranges"] for p in range(first, stop)} == own
        if "draws" in recipe:
            assert set(chosen) == parts
        else:
            whole = {p for first, stop in recipe["ranges"] for p in range(first, stop)}
            there = min(len(whole), config.limit or 60)
            assert set(chosen) <= whole
            assert len(chosen) == (there if config.presample is None else presampled(there, config.presample))
    if waiting is not None:
        skipped = register(given_back(waiting[0]))
        _, trigger, _ = on_trigger(state, 70, skipped, config=config, seed=2, stream=STREAM)
        assert {p for first, stop in trigger["returned"] for p in range(first, stop)} == own


def test_only_the_newest_trigger_is_named_by_a_set_of_several():
    state, *first = ask(initial_state(), 9, tail=0)
    state, *second = ask(state, 19, tail=0)
    _, *third = ask(state, 29, tail=0)
    trigger, recipe = coalesced(coalesced(first, second, STREAM), third, STREAM)
    assert (trigger["serial"], recipe["trigger"], trigger["absorbed"]) == (2, 2, [0, 1])
    assert given_back(trigger) == {"trigger": 2, "ranges": [[0, 30]], "absorbed": [0, 1]}


def test_a_large_set_is_a_small_recipe():
    stream = UniformStream(2_000_000, 1.0)
    presample = {"kind": "label_balanced", "ratio": 0.5}
    for config in (NewDataConfig(presample=presample), NewDataConfig(tail=0), FreshnessConfig(unused=20)):
        _, _, recipe = on_trigger(initial_state(), 999_999, NONE_SKIPPED, config=config, seed=0, stream=stream)
        assert len(json.dumps(recipe)) < 600
        chosen = positions(recipe, some_labels)
        assert len(np.unique(chosen)) == len(chosen) == recipe["num_samples"]


@given(st.lists(st.tuples(st.integers(0, 30), st.integers(0, 30))))
def test_merged_ranges_hold_the_same_positions(ranges):
    merged = merge_ranges(ranges)
    assert {p for a, b in merged for p in range(a, b)} == {p for a, b in ranges for p in range(a, b)}
    edges = [edge for pair in merged for edge in pair]
    assert edges == sorted(set(edges))
