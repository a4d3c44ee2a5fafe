from __future__ import annotations

import math
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from twinclock.config import dump_yaml, load_config
from twinclock.errors import ConfigError
from twinclock.policies.batching import (
    AdaptiveBatchingConfig,
    FixedBatchingConfig,
    SizeOrTimeoutBatchingConfig,
    TimeBatchingConfig,
    chunk_size,
    cut,
    first_batch_size,
    max_wait_s,
    next_batch_size,
)
from twinclock.yaml_text import read_yaml

FIXED = FixedBatchingConfig(n=30)
TIMED = TimeBatchingConfig(seconds=5)
EITHER = SizeOrTimeoutBatchingConfig(n=30, seconds="1m")
ADAPTIVE = AdaptiveBatchingConfig(min=10, max=100, step=15, target=2.0)


@pytest.mark.parametrize(
    ("config", "first", "chunk", "wait_s"),
    [
        (FIXED, 30, 990, math.inf),
        (TIMED, 1000, 1000, 5.0),  # as many as are taken in at a time
        (EITHER, 30, 990, 60.0),
        (ADAPTIVE, 10, 10, math.inf),  # one batch at a time: the next may have another size
    ],
)
def test_the_first_size_the_chunk_and_the_wait_are_those_of_the_kind(config, first, chunk, wait_s):
    assert first_batch_size(config, 1000) == first
    assert chunk_size(config, first, 1000) == chunk
    assert max_wait_s(config) == wait_s


def test_a_chunk_is_at_least_one_batch():
    assert chunk_size(FIXED, 30, 7) == 30


@pytest.mark.parametrize("config", [FIXED, TIMED, EITHER])
def test_only_an_adaptive_size_changes(config):
    assert next_batch_size(config, 30, 0.0) == next_batch_size(config, 30, 1e9) == 30


def sizes(config, seconds):
    """The sizes, from the first on, if the batches took so many seconds."""
    found = [first_batch_size(config, 1000)]
    for handled_s in seconds:
        found.append(next_batch_size(config, found[-1], handled_s))
    return found


FAST, SLOW = 1.0, 3.0


def test_a_size_grows_by_a_step_and_shrinks_by_a_tenth():
    assert sizes(ADAPTIVE, [FAST, FAST, SLOW, SLOW, SLOW, FAST]) == [10, 25, 40, 36, 32, 28, 43]


def test_a_size_stays_within_its_bounds():
    assert sizes(ADAPTIVE, [FAST] * 8) == [10, 25, 40, 55, 70, 85, 100, 100, 100]
    assert sizes(ADAPTIVE, [FAST, *[SLOW] * 10]) == [10, 25, 22, 19, 17, 15, 13, 11, 10, 10, 10, 10]


def test_on_target_is_fast_enough():
    assert sizes(ADAPTIVE, [2.0, math.nextafter(2.0, 3.0)]) == [10, 25, 22]


def test_a_batch_of_one_can_not_shrink():
    assert sizes(AdaptiveBatchingConfig(min=1, max=9, step=1, target=1), [SLOW, FAST, SLOW]) == [1, 1, 2, 1]


@given(st.integers(1, 10**12))
def test_a_tenth_less_is_rounded_down(n):
    """In whole numbers: 0.9 as a float is a little more than nine tenths."""
    after = next_batch_size(AdaptiveBatchingConfig(min=1, max=10**12, step=1, target=1), n, SLOW)
    assert after == 1 or 10 * after <= 9 * n < 10 * (after + 1)


# In a configuration


def configured(batching, **more):
    return load_config({"trigger": {"kind": "amount", "n": 5}, "batching": batching, **more})


def test_a_size_without_a_kind_is_fixed():
    assert configured({"n": 7}).batching == FixedBatchingConfig(n=7)
    assert configured({}).batching == FixedBatchingConfig(n=500)


@pytest.mark.parametrize("config", [FIXED, TIMED, EITHER, ADAPTIVE])
def test_each_kind_is_written_and_read_back(config):
    loaded = configured(config.model_dump(), mode="live")
    assert loaded.batching == config
    assert load_config(read_yaml(dump_yaml(loaded), "written")) == loaded


@pytest.mark.parametrize(
    ("batching", "message"),
    [
        (5, "batching: got 5, expected a mapping"),
        ({"kind": "adaptve"}, 'batching.kind: got "adaptve", expected one of fixed, time, size_or_timeout, adaptive'),
        ({"n": 0}, "batching.n: got 0, expected a number > 0"),
        ({"kind": "time"}, "batching.seconds: missing"),
        ({"kind": "time", "seconds": 0}, "batching.seconds: got 0, expected a number > 0"),
        ({"kind": "size_or_timeout", "n": 5}, "batching.seconds: missing"),
        (
            {"kind": "size_or_timeout", "n": 5, "second": 1},
            "batching.second: unknown key (got 1); did you mean seconds",
        ),
        ({"kind": "adaptive", "min": 1, "max": 9, "step": 1, "target": 0}, "batching.target: got 0, expected"),
        ({"kind": "adaptive", "min": 1, "max": 9, "step": 0, "target": 1}, "batching.step: got 0, expected"),
        (
            {"kind": "adaptive", "min": 10, "max": 9, "step": 1, "target": 1},
            "batching.max: got 9, expected at least min, which is 10",
        ),
        (
            {"kind": "time", "seconds": 5},
            "batching.kind: got time, expected fixed, size_or_timeout or adaptive in mode replay, where samples don't "
            "arrive in time",
        ),
    ],
)
def test_what_can_not_be_cut_is_told_in_one_line(batching, message):
    with pytest.raises(ConfigError) as error:
        configured(batching)
    assert message in str(error.value)
    assert "\n" not in str(error.value)


# Cutting


def test_a_chunk_is_cut_and_numbered():
    batches = cut({"first": 100, "stop": 125, "watermark": None}, 10, 7)
    assert [(b["serial"], b["first"], b["stop"]) for b in batches] == [(7, 100, 110), (8, 110, 120), (9, 120, 125)]


def test_only_the_last_batch_knows_how_far_time_has_come():
    batches = cut({"first": 0, "stop": 20, "watermark": 3.5}, 10, 0)
    assert [batch["watermark"] for batch in batches] == [None, 3.5]


def test_time_alone_makes_an_empty_batch():
    assert cut({"first": 5, "stop": 5, "watermark": 3.5}, 10, 2) == [
        {"serial": 2, "first": 5, "stop": 5, "watermark": 3.5}
    ]
    assert cut({"first": 5, "stop": 5, "watermark": None}, 10, 2) == []


@given(first=st.integers(0, 10**9), length=st.integers(0, 200), size=st.integers(1, 50))
def test_every_sample_is_in_exactly_one_batch(first, length, size):
    batches = cut({"first": first, "stop": first + length, "watermark": None}, size, 0)
    edges = [first, *(batch["stop"] for batch in batches)]
    assert [(b["first"], b["stop"]) for b in batches] == list(pairwise(edges))
    assert edges[-1] == first + length
    assert all(0 < b["stop"] - b["first"] <= size for b in batches)
