"""Presampling: how many, fair shares, and rounds in which every sample is taken once."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from twinclock.policies.selection import (
    NewDataConfig,
    coalesced,
    given_back,
    initial_state,
    on_dropped,
    on_trigger,
    positions,
)
from twinclock.policies.selection.history import _by_use
from twinclock.policies.selection.shares import fair_shares, presampled
from twinclock.stream import UniformStream

STREAM = UniformStream(10_000, 1.0)
ROUNDS = "uniform_without_replacement"


def ask(state, position, *failed, seed=0, kind, ratio=1.0, limit=None, at_most=None, **config):
    """`limit` is that of the presample, `at_most` that of the set before it."""
    presample = {"kind": kind, "ratio": ratio, "limit": limit}
    skipped = {"total": len(failed), "items": list(failed)}
    config = NewDataConfig(presample=presample, limit=at_most, **config)
    return on_trigger(state, position, skipped, config=config, seed=seed, stream=STREAM)


# How many


@pytest.mark.parametrize(
    ("total", "ratio", "limit", "expected"),
    [
        (10, 0.25, None, 2),
        (10, 1.0, None, 10),
        (10, 0.5, 3, 3),
        (10, 0.5, 7, 5),
        (3, 0.3, None, 0),
        (100, 0.29, None, 29),  # 100 * 0.29 is 28.999999999999996 in binary
        (10**6, 1e-05, None, 10),
    ],
)
def test_a_share_of_the_set_rounded_down(total, ratio, limit, expected):
    for kind in ("uniform", ROUNDS, "label_balanced", "trigger_balanced"):
        config = NewDataConfig(presample={"kind": kind, "ratio": ratio, "limit": limit}).presample
        assert presampled(total, config) == expected


def test_a_share_of_nothing_trains_nothing_but_is_no_empty_trigger():
    state, trigger, recipe = ask(initial_state(), 2, kind="uniform", ratio=0.3, tail=1)
    assert (trigger["num_samples"], recipe) == (3, None)
    assert [serial for serial, _ in state["recent"]] == [0]
    _, _, recipe = ask(state, 5, kind="uniform", ratio=0.5, tail=1)
    assert (recipe["ranges"], recipe["num_samples"]) == ([[0, 6]], 3)


def test_it_draws_from_what_window_and_limit_leave():
    _, _, recipe = ask(initial_state(), 99, kind="uniform", ratio=0.5, window=40.0)
    assert recipe["num_samples"] == 20
    assert positions(recipe).min() >= 60
    _, _, recipe = ask(initial_state(), 99, kind="uniform", ratio=0.5, window=40.0, at_most=8)
    assert recipe["num_samples"] == 4
    assert positions(recipe).min() >= 92


# Fair shares


def test_fair_shares_of_the_examples():
    assert fair_shares((1, 1, 20), 10).tolist() == [1, 1, 8]
    assert fair_shares((3, 3), 3).tolist() == [2, 1]


@pytest.mark.parametrize(
    ("sizes", "target", "expected"),
    [
        ((20, 1, 1), 10, [8, 1, 1]),
        ((2, 9), 5, [2, 3]),  # 2 is less than an equal share of 2.5
        ((5, 5, 5), 8, [3, 3, 2]),
        ((0, 4, 0), 3, [0, 3, 0]),
        ((1, 2, 3), 6, [1, 2, 3]),
        ((4, 4), 0, [0, 0]),
        ((), 0, []),
        ((1, 4, 100, 5), 14, [1, 4, 5, 4]),  # after 1: 13 / 3 > 4; after 4: 9 / 2, and the first of the rest gets 5
    ],
)
def test_fair_shares(sizes, target, expected):
    assert fair_shares(sizes, target).tolist() == expected


def test_more_than_there_is_can_not_be_shared():
    with pytest.raises(ValueError, match="at most 3 samples, got 4"):
        fair_shares((1, 2), 4)


@given(st.lists(st.integers(0, 12), min_size=1, max_size=8), st.data())
def test_fair_shares_are_dealt_out_one_by_one(sizes, data):
    """The same as dealing rounds of one to each class that still has some, in ascending order."""
    target = data.draw(st.integers(0, sum(sizes)))
    dealt, left = [0] * len(sizes), target
    while left:
        for index, size in enumerate(sizes):
            if left and dealt[index] < size:
                dealt[index] += 1
                left -= 1
    assert fair_shares(sizes, target).tolist() == dealt


# Balanced draws


def test_labels_get_fair_shares_in_ascending_order():
    labels = np.array(["b"] * 20 + ["c"] + ["a"])
    _, _, recipe = ask(initial_state(), 21, kind="label_balanced", limit=10)
    assert recipe["num_samples"] == 10
    assert Counter(labels[positions(recipe, labels.__getitem__)].tolist()) == {"a": 1, "b": 8, "c": 1}
    halves = np.array([7, 7, 7, -1, -1, -1])
    _, _, recipe = ask(initial_state(), 5, kind="label_balanced", ratio=0.5)
    assert Counter(halves[positions(recipe, halves.__getitem__)].tolist()) == {-1: 2, 7: 1}


def test_labels_are_asked_for_only_if_they_matter():
    def never(at):
        raise AssertionError

    for kind in ("uniform", ROUNDS, "trigger_balanced"):
        _, _, recipe = ask(initial_state(), 9, kind=kind, ratio=0.5)
        assert len(positions(recipe, never)) == 5
    _, _, recipe = ask(initial_state(), 9, kind="label_balanced", ratio=0.5)
    with pytest.raises(ValueError, match="without labels"):
        positions(recipe)


def test_within_a_class_the_draw_is_uniform():
    labels = np.array([0] * 4 + [1] * 12)
    counts = np.zeros(16)
    for seed in range(300):
        _, _, recipe = ask(initial_state(), 15, kind="label_balanced", limit=4, seed=seed)
        counts[positions(recipe, labels.__getitem__)] += 1
    assert (np.abs(counts[:4] - 150) < 45).all()  # standard deviation below 9
    assert (np.abs(counts[4:] - 50) < 33).all()  # below 7


@pytest.mark.parametrize("tail", [None, 2])
def test_triggers_get_fair_shares(tail):
    state, _, _ = ask(initial_state(), 1, kind="trigger_balanced", tail=tail)
    state, _, _ = ask(state, 9, kind="trigger_balanced", tail=tail)
    state, _, recipe = ask(state, 29, kind="trigger_balanced", tail=tail, limit=11)
    of = np.searchsorted([2, 10], positions(recipe), side="right")
    assert np.bincount(of).tolist() == [2, 5, 4]


def test_samples_of_a_failed_training_count_as_those_of_the_trigger_that_took_them():
    state, _, _ = ask(initial_state(), 9, kind="trigger_balanced")
    state, failed, _ = ask(state, 19, kind="trigger_balanced")
    state, _, _ = ask(state, 29, kind="trigger_balanced")
    _, _, recipe = ask(state, 30, given_back(failed), kind="trigger_balanced", limit=9)
    chosen = positions(recipe)
    assert [((chosen >= first) & (chosen < stop)).sum() for first, stop in ([0, 10], [20, 30])] == [3, 3]
    assert recipe["groups"][-1] == [3, [[10, 20], [30, 31]]]


def test_coalesced_triggers_are_still_two_to_be_balanced():
    state, *old = ask(initial_state(), 9, kind="trigger_balanced", tail=0, ratio=0.5)
    _, *new = ask(state, 39, kind="trigger_balanced", tail=0, ratio=0.5)
    _, recipe = coalesced(old, new, STREAM)
    assert recipe["num_samples"] == 20
    assert (positions(recipe) < 10).sum() == 10


# Rounds


def some_of(serials):
    return st.lists(st.sampled_from(sorted(serials)), unique=True) if serials else st.just([])


def test_every_sample_is_taken_once_before_one_is_taken_again():
    """Ten samples, then one more for each set of four."""
    state, sets = initial_state(), []
    for position in (9, 10, 11, 12, 13):
        state, _, recipe = ask(state, position, kind=ROUNDS, limit=4)
        sets.append(set(positions(recipe).tolist()))
    assert [len(each) for each in sets] == [4] * 5
    assert set.union(*sets[:3]) == set(range(12))
    assert 12 in sets[3]
    assert not sets[4] & (sets[3] - {12}), "these three were the first of a new round"


def test_what_ends_a_round_is_unused_in_the_next():
    """Sets of seven: 7 of 10; 4 that end the round and 3 of a new one; then 7 of the 9 that are not those 3."""
    for seed in range(20):
        state, _, first = ask(initial_state(), 9, kind=ROUNDS, limit=7, seed=seed)
        state, _, second = ask(state, 10, kind=ROUNDS, limit=7, seed=seed)
        _, _, third = ask(state, 11, kind=ROUNDS, limit=7, seed=seed)
        again = set(positions(first).tolist()) & set(positions(second).tolist())
        assert len(again) == 3
        assert not again & set(positions(third).tolist())


def test_a_failed_training_does_not_unmark_what_a_later_draw_has_marked():
    """Trigger 1 takes one sample of trigger 0's again, in a new round; that trigger 0 fails does not change that."""
    for seed in range(20):
        state, failed, first = ask(initial_state(), 9, kind=ROUNDS, limit=6, seed=seed)
        state, _, second = ask(state, 10, kind=ROUNDS, limit=6, seed=seed)
        _, _, third = ask(state, 11, given_back(failed), kind=ROUNDS, limit=6, seed=seed)
        again = set(positions(first).tolist()) & set(positions(second).tolist())
        assert len(again) == 1
        assert not again & set(positions(third).tolist())


def test_a_failed_training_leaves_the_round_as_it_was():
    state, _, _ = ask(initial_state(), 9, kind=ROUNDS, limit=6)
    before, failed, _ = ask(state, 10, kind=ROUNDS, limit=6)  # 5 unused, and 1 of a new round
    _, _, recipe = ask(before, 11, given_back(failed), kind=ROUNDS, limit=6)
    _, _, straight = ask(state, 11, kind=ROUNDS, limit=6)  # 6 unused
    assert sorted(positions(recipe)) == sorted(positions(straight))


def test_coalesced_triggers_take_what_each_drew():
    state, *old = ask(initial_state(), 9, kind=ROUNDS, limit=6)
    _, *new = ask(state, 10, kind=ROUNDS, limit=6)
    _, recipe = coalesced(old, new, STREAM)
    assert sorted(positions(recipe)) == list(range(11))
    assert recipe["num_samples"] == 11


@settings(deadline=None, max_examples=150)
@given(data=st.data())
def test_sets_are_those_of_a_reference_with_marks(data):
    """First what is unused in the round; what failed gets its marks back, what was dropped had none."""
    tail = data.draw(st.sampled_from([None, 0, 1, 2]))
    ratio = data.draw(st.sampled_from([1.0, 0.5, 0.3]))
    limit = data.draw(st.none() | st.integers(2, 30))
    config = {"kind": ROUNDS, "tail": tail, "ratio": ratio, "keep": data.draw(st.sampled_from(["last", "uniform"]))}
    config |= {"window": data.draw(st.sampled_from([None, 8.0])), "at_most": data.draw(st.sampled_from([None, 9]))}
    state, items, position, number = initial_state(), [], -1, 1
    marks = dict.fromkeys(range(100), 0)
    undo: dict[int, tuple[dict, dict]] = {}
    outstanding = {}
    for _ in range(data.draw(st.integers(1, 8))):
        for serial in data.draw(some_of(outstanding)):
            items.append(given_back(outstanding.pop(serial)))
            before, after = undo.pop(serial)
            marks |= {p: before[p] for p in before if marks[p] == after[p]}
            number = max(1, *marks.values())
        position += data.draw(st.integers(0, 7))
        state, trigger, recipe = ask(state, position, *items, limit=limit, **config)
        if recipe is None:
            continue
        pool = {p for first, stop in recipe["ranges"] for p in range(first, stop)}
        chosen = set(positions(recipe).tolist())
        assert chosen <= pool
        if config["at_most"] is not None and len(pool) > config["at_most"]:
            if config["keep"] == "last":
                pool = set(sorted(pool)[-config["at_most"] :])
            else:  # drawn, from the ranges, by the rule for all draws
                of = recipe["log"][-1]
                pool = set(_by_use(of, np.zeros(100, np.int32), 1, recipe["run_seed"])[0].tolist())
                assert len(pool) == of["of"] == config["at_most"]
            assert chosen <= pool
        assert len(chosen) == recipe["num_samples"] == min(len(pool) * int(ratio * 10) // 10, limit or 100)
        unused = {p for p in pool if marks[p] < number}
        assert chosen <= unused if len(unused) >= len(chosen) else unused <= chosen
        if data.draw(st.integers(0, 4)) == 0:
            state = on_dropped(state, trigger)
            continue
        before = {p: marks[p] for p in chosen}
        after = {p: number if p in unused else number + 1 for p in chosen}
        marks |= after
        number = max(number, *after.values())
        undo[trigger["serial"]] = (before, after)
        outstanding[trigger["serial"]] = trigger
