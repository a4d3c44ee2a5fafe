from __future__ import annotations

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from twinclock.policies.batching import FixedBatchingConfig, cut, first_batch_size


def test_the_size_is_the_users():
    assert first_batch_size(FixedBatchingConfig(n=30)) == 30


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
