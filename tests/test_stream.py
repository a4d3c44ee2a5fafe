from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from twinclock.stream import RecordedStream, Stream, UniformStream, first_decrease

TIMES = st.floats(-1e9, 1e9, allow_nan=False)


def brute_first_at_or_after(stream: Stream, ts: float, first: int, stop: int) -> int:
    return next((i for i in range(first, stop) if stream.timestamp(i) >= ts), stop)


@settings(deadline=None)
@given(times=st.lists(TIMES, max_size=20), data=st.data())
def test_recorded_stream_finds_what_a_scan_finds(times, data):
    stream = RecordedStream(np.sort(np.array(times, dtype=np.float64)))
    first = data.draw(st.integers(0, stream.num_samples))
    stop = data.draw(st.integers(first, stream.num_samples))
    ts = data.draw(TIMES | st.sampled_from(times) if times else TIMES)
    assert stream.first_at_or_after(ts, first, stop) == brute_first_at_or_after(stream, ts, first, stop)


@settings(deadline=None)
@given(
    num_samples=st.integers(0, 30),
    interval_s=st.floats(0, 1e3),
    start_s=st.floats(-1e12, 1e12),
    factor=st.floats(-3, 33),
    data=st.data(),
)
def test_uniform_stream_agrees_with_its_own_timestamps(num_samples, interval_s, start_s, factor, data):
    stream = UniformStream(num_samples, interval_s, start_s)
    assert stream.timestamps(0, num_samples).tolist() == [stream.timestamp(i) for i in range(num_samples)]
    first = data.draw(st.integers(0, num_samples))
    ts = start_s + factor * interval_s
    for close in (ts, math.nextafter(ts, math.inf), math.nextafter(ts, -math.inf)):
        expected = brute_first_at_or_after(stream, close, first, num_samples)
        assert stream.first_at_or_after(close, first, num_samples) == expected


def test_uniform_stream_of_billions_takes_no_memory():
    stream = UniformStream(4_400_000_000, 0.5)
    assert stream.first_at_or_after(2_000_000_000.2, 0, stream.num_samples) == 4_000_000_001
    assert stream.timestamps(4_399_999_998, 4_400_000_000).tolist() == [2_199_999_999.0, 2_199_999_999.5]


def test_ties_are_in_order_and_a_decrease_is_not():
    assert first_decrease(np.array([1.0, 1.0, 2.0])) is None
    assert first_decrease(np.array([])) is None
    assert first_decrease(np.array([1.0, 3.0, 2.0, 1.0])) == 2


@pytest.mark.parametrize(
    ("times", "message"), [([0.0, 2.0, 1.0], "position 2 is earlier"), ([0.0, np.nan], "position 1 is not a finite")]
)
def test_recorded_stream_refuses_what_is_no_time_axis(times, message):
    with pytest.raises(ValueError, match=message):
        RecordedStream(np.array(times))


def test_uniform_stream_refuses_negative_sizes():
    with pytest.raises(ValueError, match="got -1"):
        UniformStream(-1, 1.0)
