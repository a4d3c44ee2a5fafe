"""Where a training set's samples are from, as its model's lineage says it: without making the set."""

from __future__ import annotations

import pytest

from twinclock.policies import selection
from twinclock.policies.selection import FreshnessConfig, NewDataConfig
from twinclock.stream import UniformStream

STREAM = UniformStream(1000, 1.0)
NONE = {"total": 0, "items": []}


def recipes(config, *fires):
    state = selection.initial_state()
    for position in fires:
        state, _, recipe = selection.on_trigger(state, position, NONE, config=config, seed=3, stream=STREAM)
        yield recipe


@pytest.mark.parametrize(
    ("method", "expected"),
    [
        ({}, [[0, 300]]),
        ({"tail": 0}, [[200, 300]]),
        ({"tail": 1}, [[100, 300]]),
        ({"window": 50}, [[250, 300]]),
        ({"limit": 30}, [[270, 300]]),
        ({"limit": 3000}, [[0, 300]]),
        ({"limit": 30, "keep": "uniform"}, [[0, 300]]),
        ({"limit": 30, "presample": {"kind": "uniform", "ratio": 0.5}}, [[270, 300]]),
        ({"limit": 130, "presample": {"kind": "uniform_without_replacement", "ratio": 0.5}}, [[170, 300]]),
    ],
)
def test_all_samples_are_from_the_ranges_and_from_no_smaller_ones(method, expected):
    *_, recipe = recipes(NewDataConfig.model_validate(method), 99, 199, 299)
    assert selection.sample_ranges(recipe) == expected
    first, stop = expected[0]
    made = selection.positions(recipe)
    assert first <= made.min()
    assert made.max() < stop
    if "presample" not in method and "keep" not in method:
        assert sorted(made) == list(range(first, stop))


def test_a_share_of_fresh_samples_is_drawn_from_everything():
    *_, recipe = recipes(FreshnessConfig(unused=50.0, limit=20), 99, 199, 299)
    assert selection.sample_ranges(recipe) == [[0, 300]]
