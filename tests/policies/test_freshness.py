"""A share of samples that no training has used: sizes by the formula, sets by brute force."""

from __future__ import annotations

from decimal import ROUND_FLOOR, Decimal

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from twinclock.policies.selection import (
    FreshnessConfig,
    coalesced,
    given_back,
    initial_state,
    on_dropped,
    on_trigger,
    positions,
    training_set_size,
)
from twinclock.policies.selection.shares import fresh_and_used
from twinclock.stream import UniformStream

STREAM = UniformStream(10_000, 1.0)


def ask(state, position, *failed, seed=0, **config):
    skipped = {"total": len(failed), "items": list(failed)}
    return on_trigger(state, position, skipped, config=FreshnessConfig(**config), seed=seed, stream=STREAM)


def sizes(num_new, num_triggers, **config):
    state, found = initial_state(), []
    for k in range(num_triggers):
        state, _, recipe = ask(state, num_new * (k + 1) - 1, **config)
        assert len(positions(recipe)) == recipe["num_samples"]
        found.append(recipe["num_samples"])
    return found


def test_three_times_six_new_samples():
    assert sizes(6, 3, unused=20) == [6, 7, 8]
    assert sizes(6, 3, unused=50) == [6, 12, 12]


@pytest.mark.parametrize(
    ("unused", "used", "percent", "limit", "expected"),
    [
        (6, 0, 20, None, (6, 0)),  # nothing used yet: all that is unused
        (6, 0, 20, 4, (4, 0)),
        (6, 6, 20, None, (1, 6)),  # min(30, 7)
        (11, 7, 20, None, (1, 7)),  # min(55, 8)
        (6, 6, 50, None, (6, 6)),  # min(12, 12): not smaller
        (6, 12, 50, None, (6, 6)),  # min(12, 24)
        (6, 12, 50, 12, (6, 6)),  # not above the limit
        (6, 12, 50, 11, (5, 6)),
        (6, 12, 50, 1, (0, 1)),
        (7, 100, 70, None, (7, 3)),  # min(10, 333)
        (1, 1, 99, None, (1, 0)),  # min(1, 100)
        (1, 3, 20, None, (0, 3)),  # min(5, 3)
        (6, 12, 100, None, (6, 0)),  # only what is unused
        (6, 12, 100, 5, (5, 0)),
        (0, 12, 50, None, (0, 0)),
        (29, 1000, 29, None, (29, 71)),  # 100 * 29 / 29 = 100, without rounding
        (1, 999, 0.1, None, (1, 999)),  # decimals as written: 100 / 0.1 = 1000 and 99900 / 99.9 = 1000
    ],
)
def test_how_many_of_each(unused, used, percent, limit, expected):
    assert fresh_and_used(unused, used, FreshnessConfig(unused=percent, limit=limit)) == expected


@given(
    st.integers(0, 500),
    st.integers(0, 500),
    st.one_of(st.integers(1, 100), st.sampled_from([0.5, 33.3, 66.67, 99.99])),
    st.none() | st.integers(1, 700),
)
def test_there_are_enough_of_each_and_the_share_is_kept(unused, used, percent, limit):
    fresh, again = fresh_and_used(unused, used, FreshnessConfig(unused=percent, limit=limit))
    assert (fresh, again) == by_the_text(unused, used, percent, limit)
    assert 0 <= fresh <= unused
    assert 0 <= again <= used
    assert (fresh + again == 0) == (unused == 0)
    if used and fresh + again:
        assert abs(fresh - (fresh + again) * percent / 100) < 1


def by_the_text(unused, used, percent, limit):
    u = Decimal(str(percent))
    if used == 0:
        return (unused if limit is None else min(unused, limit)), 0
    one = int((100 * unused / u).to_integral_value(ROUND_FLOOR))
    other = one if u == 100 else int((100 * used / (100 - u)).to_integral_value(ROUND_FLOOR))
    total = min(one, other)
    if limit is not None and total > limit:
        fresh = int((limit * u / 100).to_integral_value(ROUND_FLOOR))
        return fresh, limit - fresh
    return (total - used, used) if other < one else (unused, total - unused)


@pytest.mark.parametrize("unused", [0, -1, 100.5, None, "20"])
def test_what_is_no_percentage(unused):
    with pytest.raises(ValidationError):
        FreshnessConfig(unused=unused)


def test_an_empty_trigger_trains_nothing_even_if_something_is_unused():
    state, _, _ = ask(initial_state(), 5, unused=20)
    state, _, _ = ask(state, 11, unused=20)  # 5 of these are left
    after, trigger, recipe = ask(state, 11, unused=20)
    assert (trigger["serial"], trigger["num_samples"], recipe) == (2, 0, None)
    assert after["log"] == state["log"]


def test_draws_of_both_kinds_are_uniform():
    fresh, again = np.zeros(12), np.zeros(12)
    for seed in range(300):
        state, _, _ = ask(initial_state(), 5, unused=50, limit=6, seed=seed)
        state, _, recipe = ask(state, 11, unused=50, limit=4, seed=seed)
        drawn = positions(recipe)
        fresh[drawn[drawn >= 6]] += 1
        again[drawn[drawn < 6]] += 1
    # 2 of 6, three hundred times: 100 expected of each, standard deviation about 8
    assert (np.abs(fresh[6:] - 100) < 40).all()
    assert (np.abs(again[:6] - 100) < 40).all()


def test_a_failed_training_used_nothing():
    state, _, _ = ask(initial_state(), 5, unused=50)
    state, failed, _ = ask(state, 11, unused=50)  # used 6, unused 6
    entry = given_back(failed)
    state, trigger, recipe = ask(state, 17, entry, unused=50)  # U 12, V 6
    assert trigger["returned"] == [[6, 12]]
    assert recipe["num_samples"] == 12
    assert len([p for p in positions(recipe) if p >= 6]) == 6
    assert state["used"] == 12


def some_of(serials):
    return st.lists(st.sampled_from(sorted(serials)), unique=True) if serials else st.just([])


@settings(deadline=None, max_examples=150)
@given(data=st.data())
def test_sets_are_those_of_a_reference_with_sets(data):
    """Each draw has what is asked for of the unused and of the used samples, whatever was dropped or failed before."""
    percent = data.draw(st.sampled_from([20, 50, 75, 100, 12.5]))
    limit = data.draw(st.none() | st.integers(1, 25))
    config = FreshnessConfig(unused=percent, limit=limit)
    state, items, position = initial_state(), [], -1
    newly_used: dict[int, set[int]] = {}
    outstanding = {}
    for _ in range(data.draw(st.integers(1, 7))):
        for serial in data.draw(some_of(outstanding)):
            items.append(given_back(outstanding.pop(serial)))
            del newly_used[serial]
        position += data.draw(st.integers(0, 9))
        skipped = {"total": len(items), "items": items}
        told = {"config": config, "seed": 3, "stream": STREAM}
        num_expected = training_set_size(state, max(position, -1), skipped, **told)
        state, trigger, recipe = on_trigger(state, position, skipped, **told)
        if trigger["num_samples"] == 0:
            assert (recipe, num_expected) == (None, 0)
            continue
        used = set().union(*newly_used.values())
        unused = set(range(position + 1)) - used
        chosen = set(positions(recipe).tolist())
        fresh, again = by_the_text(len(unused), len(used), percent, limit)
        assert (len(chosen & unused), len(chosen & used)) == (fresh, again)
        assert len(chosen) == recipe["num_samples"] == num_expected
        if data.draw(st.integers(0, 4)) == 0:
            state = on_dropped(state, trigger)
            continue
        newly_used[trigger["serial"]] = chosen & unused
        outstanding[trigger["serial"]] = trigger
        assert state["used"] == len(set().union(*newly_used.values()))


def test_coalesced_triggers_train_on_what_each_drew():
    state, *first = ask(initial_state(), 5, unused=50)
    state, *second = ask(state, 11, unused=50, limit=6)
    state, *third = ask(state, 17, unused=50, limit=8)
    apart = {*positions(second[1]).tolist(), *positions(third[1]).tolist()}
    trigger, recipe = coalesced(second, third, STREAM)
    assert set(positions(recipe).tolist()) == apart
    assert recipe["num_samples"] == len(apart) < 14, "some were used by both"
    assert (trigger["first"], trigger["stop"]) == (6, 18)
    after, _, _ = ask(state, 23, given_back(trigger), unused=50)
    assert after["log"][3:5] == [{"failed": 1}, {"failed": 2}]
    assert first[1]["draws"] == [0]
