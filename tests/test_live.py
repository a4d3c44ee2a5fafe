"""Live data: what has arrived when, and triggers at the positions and at the times that data time says."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from simulated import costs, seconds, simulate

from twinclock import work
from twinclock.config import load_config
from twinclock.lateness import handover
from twinclock.live import Pace, wake
from twinclock.policies.batching import cut, first_batch_size
from twinclock.policies.triggers import Fire, Samples
from twinclock.stages import Context
from twinclock.stream import RecordedStream, UniformStream

GAPS = [0.0, 10.0, 20.0, 100.0, 110.0, 200.0]
"""Every 30 s, this stream triggers at 2, 2, 2, 4, 4, 4."""


def live(times, every=30.0, *, n=1, speed_up=1.0, sim=None, **more):
    """A live run on these timestamps; in a world in which nothing takes time, unless `sim` says otherwise."""
    config = {
        "mode": "live",
        "live": {"speed_up": speed_up},
        "trigger": {"kind": "time", "every": every},
        "batching": {"n": n},
        "selection": {"tail": 0},
        "sim": sim or costs(),
        **more,
    }
    return simulate(config, times)


def fires(simulated):
    rows = simulated.run.triggers.select("position", "fired_s").rows()
    return [(position, round(fired_s, 9)) for position, fired_s in rows]


# Pace


@pytest.mark.parametrize("speed_up", [1.0, 60.0, 0.25])
def test_data_time_runs_with_the_clock_from_the_first_sample_on(speed_up):
    pace = Pace(1000.0, speed_up)
    assert pace.clock_time(1000.0) == 0.0
    assert pace.clock_time(1030.0) == 30.0 / speed_up
    assert pace.data_time(10.0) == pytest.approx(1000.0 + 10.0 * speed_up)


origins = st.sampled_from([0.0, 1.7e9, -2.5e9, 1e-6, -1.0, 4e15]) | st.floats(-1e12, 1e12)
speeds = st.sampled_from([1e-9, 1e-3, 1.0, 3.0, 86_400.0, 1e12]) | st.floats(1e-9, 1e12)


@settings(derandomize=True, deadline=None, max_examples=300)
@given(origins, speeds, st.floats(0.0, 1e12), st.floats(0.0, 1e9))
@example(-1e9, 3.0, 1e9, 0.0)  # a sum that cancels: what is left is small, its rounding error is not
def test_when_its_time_has_come_a_sample_has_arrived(origin, speed_up, elapsed_s, earlier_s):
    """Also if the clock got there in two steps; and not before, but for a rounding error."""
    pace, ts = Pace(origin, speed_up), origin + elapsed_s
    at = pace.clock_time(ts)
    earlier = min(at, earlier_s)
    for clock in (at, earlier + (at - earlier)):
        early_s = pace.data_time(clock) - ts
        assert 0.0 <= early_s <= 1e-11 * (abs(origin) + elapsed_s) + 2e-9


# What has arrived, and when to look again


@settings(derandomize=True, deadline=None)
@given(st.lists(st.integers(0, 9), min_size=1, max_size=60), st.data())
def test_what_has_arrived_is_its_definition(gaps, data):
    times = np.cumsum(np.array(gaps, float))
    position = data.draw(st.integers(0, len(times)))
    now = data.draw(st.floats(-1.0, float(times[-1]) + 1.0) | st.sampled_from(times.tolist()))
    late = [i for i in range(position, len(times)) if times[i] > now]
    assert handover(RecordedStream(times)).arrived(position, now) == (late[0] if late else len(times))


def test_a_stream_is_not_asked_for_its_far_end():
    class Near(UniformStream):
        def timestamp(self, position):
            assert position < 2000
            return super().timestamp(position)

    assert handover(Near(10**12, 1.0)).arrived(500, 700.0) == 701


@pytest.mark.parametrize(
    ("position", "batch_size", "deadline", "outcome", "at"),
    [
        (0, 3, None, "ready", 20.0),  # a full batch
        (3, 2, None, "ready", 110.0),
        (4, 10, None, "ready", 200.0),  # the stream's last sample
        (0, 3, 30.0, "ready", 20.0),
        (0, 4, 30.0, "ready", 30.0),  # a deadline, with three samples waiting
        (0, 3, 20.0, "ready", 20.0),
        (3, 2, 30.0, "deadline", 30.0),  # a deadline before the next sample
        (3, 1, 100.0, "ready", 100.0),  # a deadline with the next sample
        (6, 1, 230.0, "end", 200.0),
    ],
)
def test_when_to_look_again(position, batch_size, deadline, outcome, at):
    assert wake(RecordedStream(np.array(GAPS)), position, batch_size, deadline) == (outcome, at)


@pytest.mark.parametrize(
    ("position", "batch_size", "deadline", "max_wait_s", "outcome", "at"),
    [
        (0, 3, None, 15.0, "ready", 15.0),  # the first sample has waited long enough, the batch is not full
        (0, 3, None, 20.0, "ready", 20.0),  # both at once
        (0, 3, None, 25.0, "ready", 20.0),  # full before
        (3, 9, None, 15.0, "ready", 115.0),  # it is the sample that waits, not the pipeline
        (4, 9, None, 500.0, "ready", 200.0),  # the stream's last sample
        (0, 9, 30.0, 15.0, "ready", 15.0),
        (0, 9, 10.0, 15.0, "ready", 10.0),  # a deadline hands over what waits
        (3, 9, 30.0, 15.0, "deadline", 30.0),  # and comes also while none does
        (6, 9, None, 15.0, "end", 200.0),
    ],
)
def test_when_to_look_again_if_samples_do_not_wait_for_ever(position, batch_size, deadline, max_wait_s, outcome, at):
    assert wake(RecordedStream(np.array(GAPS)), position, batch_size, deadline, max_wait_s) == (outcome, at)


def of_kind(kind, **keys):
    return st.fixed_dictionaries(
        {"kind": st.just(kind), **{key: st.sampled_from(values) for key, values in keys.items()}}
    )


clock_seconds = [1e-9, 0.3, 1.0, 9.0, 1e6]
batchings = st.one_of(
    of_kind("fixed", n=[1, 3, 7, 1000]),
    of_kind("time", seconds=clock_seconds),
    of_kind("size_or_timeout", n=[1, 3, 7, 1000], seconds=clock_seconds),
    of_kind("adaptive", min=[1, 3], max=[3, 1000], step=[1, 5], target=clock_seconds),
)


def stepped(times, every, start, speed_up, batching, chunk, busy_s):
    """Fetch and wait as the pipeline does, on a clock that adds up floats; the fires, as (position, clock)."""
    trigger = {"kind": "time", "every": every, "start": start}
    data = {"kind": "uniform", "num_samples": 1, "every": 1.0, "chunk": chunk}
    config = load_config(
        {"trigger": trigger, "data": data, "live": {"speed_up": speed_up}, "mode": "live", "batching": batching}
    )
    context = Context(config, RecordedStream(np.array(times)))
    registers, clock, found, informed = {"policy": None}, 0.0, [], 0
    inputs = {"position": 0, "batch_size": first_batch_size(config.batching, chunk), "taken_s": None}
    for _ in range(20 * len(times) + 200):
        outcome, values = work.live_chunk(context, inputs, registers, clock, False)
        if outcome == "end":
            assert informed == len(times)
            return found
        inputs |= {name: values[name] for name in inputs.keys() & values.keys()}
        if outcome == "nothing":
            at, outcome, values = work.next_wake(context, inputs, registers)
            clock += max(0.0, at - clock)
            if outcome == "ready":
                outcome, values = work.live_chunk(context, inputs, registers, clock, False)
                assert outcome == "chunk", "woken for nothing"
                inputs |= {name: values[name] for name in inputs}
        for batch in cut(values["chunk"], inputs["batch_size"], 0):
            assert batch["first"] == informed
            informed = batch["stop"]
            samples = Samples(
                stream=context.stream, first=batch["first"], stop=batch["stop"], watermark=batch["watermark"]
            )
            while isinstance(answer := context.trigger.advance(samples, None), Fire):
                found.append(answer.position)
                clock += busy_s
            registers["policy"] = {"trigger": context.trigger.state_dict()}
    raise AssertionError("no end in sight")


@settings(derandomize=True, deadline=None, max_examples=400)
@given(
    gaps=st.lists(st.sampled_from([0.0, 0.0, 0.1, 1.0, 1.0, 7.3, 40.0]), min_size=1, max_size=40),
    origin=st.sampled_from([0.0, 5.0, 1.7e9, 1_756_684_800.123, -2.5e9, -20.0]),
    every=st.sampled_from([1.0, 0.7, 10.0]),
    start=st.sampled_from([None, None, -3.0, 2.0]),
    speed_up=st.sampled_from([1e-9, 1e-3, 1.0, 7.0, 86_400.0, 1e9, 1e12]),
    batching=batchings,
    chunk=st.sampled_from([1, 10, 1000]),
    busy_data_s=st.sampled_from([0.0, 0.5, 25.0, 500.0]),
)
@example([0.0, 1e9, 1e-3], -1e9, 3e8, None, 3.0, {"n": 1}, 1, 0.0)
def test_fires_are_those_of_a_replay_whatever_the_pace_and_the_batches(
    gaps, origin, every, start, speed_up, batching, chunk, busy_data_s
):
    times = (origin + np.cumsum(gaps)).tolist()
    start = None if start is None else times[0] + start
    boundary, expected = (times[0] if start is None else start) + every, []
    for i, ts in enumerate(times):
        while ts >= boundary:
            expected.append(i - 1)
            boundary += every
    assert stepped(times, every, start, speed_up, batching, chunk, busy_data_s / speed_up) == expected


# Stories


@pytest.mark.parametrize("n", [1, 2, 3, 7, 1000])
@pytest.mark.parametrize("speed_up", [1.0, 10.0])
def test_a_boundary_is_closed_by_the_clock_at_the_last_sample_before_it(n, speed_up):
    """Whatever the batch size; the clock does not wait for the batch to fill, nor for the next sample."""
    boundaries = [30.0, 60.0, 90.0, 120.0, 150.0, 180.0]
    expected = [(position, b / speed_up) for position, b in zip([2, 2, 2, 4, 4, 4], boundaries, strict=True)]
    assert fires(live(GAPS, n=n, speed_up=speed_up)) == expected


def test_the_open_batch_is_handed_over_before_the_trigger():
    batches = live(GAPS, n=1000).run.batches
    assert batches.select("first", "stop", "cut_s").rows() == [
        (0, 3, 30.0),
        (3, 3, 60.0),
        (3, 3, 90.0),
        (3, 5, 120.0),
        (5, 5, 150.0),
        (5, 5, 180.0),
        (5, 6, 200.0),
    ]


def test_a_batch_is_taken_when_it_is_full():
    batches = live([float(ts) for ts in range(10)], every=100.0, n=4).run.batches
    assert batches.select("first", "stop", "cut_s").rows() == [(0, 4, 3.0), (4, 8, 7.0), (8, 10, 9.0)]


def test_a_sample_on_the_boundary_is_not_in_the_period_that_it_ends():
    assert fires(live([0.0, 10.0, 30.0, 35.0, 61.0])) == [(1, 30.0), (3, 60.0)]


def test_periods_that_began_long_before_the_first_sample_are_over_at_once():
    simulated = live([100.0, 101.0, 131.0], trigger={"kind": "time", "every": 30.0, "start": 0.0}, n=50)
    assert fires(simulated) == [(-1, 0.0), (-1, 0.0), (-1, 0.0), (1, 20.0)]
    assert simulated.run.triggers["num_samples"].to_list() == [0, 0, 0, 2]


def test_nothing_fires_after_the_last_sample_however_late_it_is_taken():
    """The pipeline comes back from its first training long after the stream has ended."""
    slow = costs(training=seconds(500.0))
    for n in (1, 4, 1000):
        assert [position for position, _ in fires(live(GAPS, n=n, sim=slow))] == [2, 2, 2, 4, 4, 4]


def test_a_busy_pipeline_works_off_its_backlog():
    """A training of 65 s from 30 s on: the boundaries at 60 and 90 s have passed when it ends, 120 s has not."""
    simulated = live(GAPS, sim=costs(training=seconds(65.0)))
    assert fires(simulated) == [(2, 30.0), (2, 95.0), (2, 95.0), (4, 120.0), (4, 185.0), (4, 185.0)]
    assert simulated.run.trainings.select("trigger", "started_s", "ended_s").rows() == [
        (0, 30.0, 95.0),
        (3, 120.0, 185.0),
    ]
    assert simulated.run.header["makespan_s"] == 200.0


def test_an_amount_trigger_waits_for_full_batches_and_is_where_it_was():
    times = [float(ts) for ts in range(20)]
    assert fires(live(times, trigger={"kind": "amount", "n": 6}, n=1)) == [(5, 5.0), (11, 11.0), (17, 17.0)]
    assert fires(live(times, trigger={"kind": "amount", "n": 6}, n=4)) == [(5, 7.0), (11, 11.0), (17, 19.0)]


def test_the_time_of_reading_and_deciding_delays_a_trigger_but_does_not_move_it():
    sim = costs(connect_s=8.0, decide_s=1.0, read=seconds(2.0))
    assert [position for position, _ in fires(live(GAPS, sim=sim))] == [2, 2, 2, 4, 4, 4]
    late_s = np.array([fired_s for _, fired_s in fires(live(GAPS, sim=sim))]) - [30, 60, 90, 120, 150, 180]
    assert (late_s >= 3.0).all()
    assert (late_s < 20.0).all()


def test_the_watermark_says_how_far_data_time_has_come():
    simulated = live(GAPS, n=2)
    taken = [run.values["chunk"] for run in simulated.trace.runs if "chunk" in run.values]
    assert [(chunk["first"], chunk["stop"]) for chunk in taken[:3]] == [(0, 2), (2, 3), (3, 3)]
    assert [chunk["watermark"] for chunk in taken[:3]] == [pytest.approx(ts) for ts in (10.0, 30.0, 60.0)]
    assert taken[-1]["watermark"] is None  # nothing comes after the last sample: there is nothing to know


def test_a_stream_that_ends_at_once():
    assert fires(live([7.0])) == []
    assert fires(live([7.0, 7.0, 7.0], n=2)) == []


def test_data_time_that_stands_still_in_a_huge_stream_of_equal_timestamps():
    assert live([5.0] * 500, n=100).run.batches.height == 5


@pytest.mark.parametrize("speed_up", [1e-9, 1e12])
@pytest.mark.parametrize("origin", [-2.5e9, 1.7e9])
def test_epoch_timestamps_at_any_pace(origin, speed_up):
    simulated = live([origin + ts for ts in GAPS], n=4, speed_up=speed_up)
    assert [position for position, _ in fires(simulated)] == [2, 2, 2, 4, 4, 4]
    assert math.isclose(simulated.run.header["makespan_s"], 200.0 / speed_up, rel_tol=1e-6)
