from __future__ import annotations

import json
import time
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from twinclock.errors import ConfigError, DataError
from twinclock.policies import Answer, Fire, Observe, Quiet, Samples, Trigger, build_trigger, check_trigger
from twinclock.policies.observations import score_request
from twinclock.policies.triggers import AmountTriggerConfig, TimeTriggerConfig
from twinclock.stream import DataTime, RecordedStream, Stream, UniformStream

BATCH_SIZES = (1, 3, 7, None)


def fires(trigger: Trigger, stream: Stream, batch_size: int | None = None) -> list[int]:
    """The fires over a whole stream in batches of a size; None: all at once."""
    found = []
    size = batch_size or max(1, stream.num_samples)
    for first in range(0, stream.num_samples, size):
        samples = Samples(stream=stream, first=first, stop=min(first + size, stream.num_samples))
        found += fires_in(trigger, samples)
    return found


def fires_in(trigger: Trigger, samples: Samples) -> list[int]:
    found = []
    while isinstance(answer := trigger.advance(samples, None), Fire):
        found.append(answer.position)
        trigger.on_fire(answer.position)
    assert isinstance(answer, Quiet)
    return found


def amount(n: int) -> Trigger:
    return build_trigger(AmountTriggerConfig(n=n))


def every(seconds: float, start: float | None = None) -> Trigger:
    return build_trigger(TimeTriggerConfig(every=seconds, start=start))


def recorded(*times: float) -> RecordedStream:
    return RecordedStream(np.array(times, dtype=np.float64))


def amount_by_definition(n: int, num_samples: int) -> list[int]:
    return [i for i in range(num_samples) if (i + 1) % n == 0]


def time_by_definition(times: list[float], seconds: float, start: float | None) -> list[int]:
    found = []
    boundary = None
    for i, ts in enumerate(times):
        if boundary is None:
            boundary = (ts if start is None else start) + seconds
        while ts >= boundary:
            found.append(i - 1)
            boundary += seconds
    return found


@pytest.mark.parametrize("size", BATCH_SIZES)
def test_amount_fires_at_each_multiple(size):
    assert fires(amount(6), UniformStream(20, 1.0), size) == [5, 11, 17]


@pytest.mark.parametrize("size", BATCH_SIZES)
def test_time_fires_once_for_each_period_even_without_samples(size):
    assert fires(every(30), recorded(0, 10, 20, 100, 110, 200), size) == [2, 2, 2, 4, 4, 4]


@pytest.mark.parametrize("size", BATCH_SIZES)
def test_time_fires_before_the_first_sample_if_periods_began_earlier(size):
    assert fires(every(30, start=0), recorded(100, 101, 131), size) == [-1, -1, -1, 1]


def test_time_does_not_fire_at_the_end_of_a_stream():
    assert fires(every(10), recorded(0, 5, 9.99)) == []
    assert fires(every(10), recorded(0, 5, 10)) == [1]


ticks = st.integers(0, 12).map(float) | st.floats(0, 50)
streams = st.lists(ticks, max_size=25).map(lambda gaps: np.cumsum(np.array(gaps, dtype=np.float64)))


@settings(deadline=None)
@given(n=st.integers(1, 12), num_samples=st.integers(0, 60))
def test_amount_is_its_definition_in_batches_of_any_size(n, num_samples):
    stream = UniformStream(num_samples, 1.0)
    for size in BATCH_SIZES:
        assert fires(amount(n), stream, size) == amount_by_definition(n, num_samples)


@settings(deadline=None)
@given(times=streams, seconds=st.integers(1, 20) | st.floats(0.5, 30), start=st.none() | st.floats(-40, 700))
def test_time_is_its_definition_in_batches_of_any_size(times, seconds, start):
    for size in BATCH_SIZES:
        assert fires(every(seconds, start), recorded(*times), size) == time_by_definition(
            times.tolist(), seconds, start
        )


def log_of(trigger: Trigger, stream: Stream, cuts: list[int]) -> list[Answer]:
    """Every decision, with the stream cut at `cuts`."""
    rows: list = []
    edges = [0, *sorted(cuts), stream.num_samples]
    for first, stop in pairwise(edges):
        while True:
            answer = trigger.advance(Samples(stream=stream, first=first, stop=stop), None)
            rows += answer.decisions
            if isinstance(answer, Quiet):
                break
    return rows


@settings(deadline=None)
@given(times=streams, data=st.data(), make=st.sampled_from([lambda: amount(4), lambda: every(9), lambda: every(9, -3)]))
def test_decisions_do_not_depend_on_batches_either(times, data, make):
    stream = recorded(*times)
    cuts = data.draw(st.lists(st.integers(0, stream.num_samples), max_size=5))
    assert log_of(make(), stream, cuts) == log_of(make(), stream, [])


@settings(deadline=None)
@given(times=streams, data=st.data(), make=st.sampled_from([lambda: amount(4), lambda: every(9), lambda: every(9, -3)]))
def test_state_goes_through_json_at_any_position(times, data, make):
    stream = recorded(*times)
    cut = data.draw(st.integers(0, stream.num_samples))
    first = make()
    before = fires_in(first, Samples(stream=stream, first=0, stop=cut))
    second = make()
    second.load_state_dict(json.loads(json.dumps(first.state_dict())))
    assert second.state_dict() == first.state_dict()
    assert second.next_deadline() == first.next_deadline()
    after = fires_in(second, Samples(stream=stream, first=cut, stop=stream.num_samples))
    assert before + after == fires(make(), stream)


def test_decisions_tell_the_samples_and_the_threshold():
    trigger = amount(3)
    answer = trigger.advance(Samples(stream=UniformStream(9, 1.0), first=2, stop=9), None)
    assert [(d.first, d.stop, d.verdict, d.threshold) for d in answer.decisions] == [(0, 3, "fired", 3)]
    trigger = every(2.0)
    answer = trigger.advance(Samples(stream=UniformStream(9, 1.0), first=0, stop=9), None)
    assert [(d.first, d.stop, d.verdict, d.threshold) for d in answer.decisions] == [(0, 2, "fired", 2.0)]
    answer = trigger.advance(Samples(stream=UniformStream(9, 1.0), first=0, stop=9), None)
    assert [(d.first, d.stop, d.threshold) for d in answer.decisions] == [(2, 4, 4.0)]


class TestLive:
    """What a watermark shows to be over needs no later sample."""

    def test_a_passed_boundary_fires_at_the_last_sample_before_it(self):
        stream = recorded(0, 4, 8, 31)
        trigger = every(10)
        at = DataTime
        assert fires_in(trigger, Samples(stream=stream, first=0, stop=3, watermark=at(9.9))) == []
        assert trigger.next_deadline() == 10.0
        assert fires_in(trigger, Samples(stream=stream, first=3, stop=3, watermark=at(10.0))) == [2]
        assert trigger.next_deadline() == 20.0
        assert fires_in(trigger, Samples(stream=stream, first=3, stop=3, watermark=at(30.5))) == [2, 2]
        assert fires_in(trigger, Samples(stream=stream, first=3, stop=4, watermark=at(31.0))) == []

    def test_periods_pass_before_the_first_sample_only_if_their_start_is_known(self):
        nothing = Samples(stream=recorded(50), first=0, stop=0, watermark=DataTime(45.0))
        assert every(10).next_deadline() is None
        assert fires_in(every(10), nothing) == []
        assert fires_in(every(10, start=20), nothing) == [-1, -1]

    @settings(deadline=None)
    @given(times=streams.filter(len), data=st.data())
    def test_watermarks_only_show_earlier_what_samples_show_anyway(self, times, data):
        stream = recorded(*times)
        trigger = every(7)
        found = []
        first = 0
        for now in [*sorted(data.draw(st.lists(st.floats(0, float(times[-1])), max_size=6))), float(times[-1])]:
            stop = stream.first_at_or_after(np.nextafter(now, np.inf), first, stream.num_samples)
            found += fires_in(trigger, Samples(stream=stream, first=first, stop=stop, watermark=DataTime(now)))
            first = stop
        assert found == fires(every(7), stream)

    def test_amount_sets_no_deadline(self):
        assert amount(3).next_deadline() is None


def test_a_period_below_the_resolution_of_time_is_an_error_not_a_hang():
    with pytest.raises(DataError, match=r"trigger\.every"):
        fires(every(1e-9), recorded(1e9, 1e9 + 1))


@pytest.mark.parametrize("make", [lambda: amount(6), lambda: amount(1), lambda: every(5), lambda: every(3, start=-4)])
def test_triggers_keep_to_the_protocol(make):
    check_trigger(make)


@pytest.mark.parametrize("make", [lambda: amount(1_000), lambda: every(1_000.0)])
def test_a_trigger_costs_its_batches_not_its_samples(make):
    num_samples, batch_size = 2_000_000, 10_000
    stream = RecordedStream(np.arange(num_samples, dtype=np.float64) * 0.5)
    trigger = make()
    started = time.perf_counter()
    fires(trigger, stream, batch_size)
    rate = num_samples / (time.perf_counter() - started)
    assert rate > 10e6, f"{rate / 1e6:.0f} M samples/s"


class Faulty:
    """An amount trigger with one fault."""

    depends_on = "data"

    def __init__(self, fault: str) -> None:
        self.fault = fault
        self.inner = amount(4)
        if fault == "world":
            self.depends_on = "weather"

    def __getattr__(self, name):
        if name == "on_fire" and self.fault == "method":
            raise AttributeError(name)
        return getattr(self.inner, name)

    def advance(self, samples, observation):
        if self.fault == "answer":
            return None
        if self.fault == "endless":
            return Fire(position=samples.stop - 1, reason="again")
        if self.fault == "early":
            return Fire(position=samples.first - 2, reason="too early")
        if self.fault == "batch":
            reached = self.inner.state_dict()["reached"]
            answer = self.inner.advance(samples, None)
            return Fire(position=samples.stop - 1, reason="x") if reached < samples.stop else answer
        return self.inner.advance(samples, observation)

    def state_dict(self):
        state = self.inner.state_dict()
        return {**state, "array": np.zeros(1)} if self.fault == "json" else state

    def load_state_dict(self, state):
        if self.fault != "forgetful":
            self.inner.load_state_dict(state)


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        ("method", "has no on_fire"),
        ("world", "depends_on is 'weather', expected data, scores or clock"),
        ("answer", "answers None, expected Fire, Observe or Quiet"),
        ("endless", "no Quiet after"),
        ("early", "fires at -2"),
        ("batch", "with batches of 3 it fires at 2, 5"),
        ("json", "state_dict is not JSON"),
        ("forgetful", "state_dict after load_state_dict differs"),
    ],
)
def test_the_conformance_kit_finds_a_fault(fault, message):
    with pytest.raises(ConfigError) as caught:
        check_trigger(lambda: Faulty(fault))
    assert message in str(caught.value)


class Peeking:
    """An amount trigger that looks where it should not."""

    depends_on = "data"

    def __init__(self, look) -> None:
        self.look = look
        self.inner = amount(5)

    def __getattr__(self, name):
        return getattr(self.inner, name)

    def advance(self, samples, observation):
        if samples.stop + 3 <= samples.stream.num_samples:
            self.look(samples)
        return self.inner.advance(samples, observation)


@pytest.mark.parametrize(
    "look",
    [
        lambda samples: samples.stream.timestamp(samples.stop),
        lambda samples: samples.stream.timestamp(samples.stop + 2),
        lambda samples: samples.stream.timestamps(samples.first, samples.stop + 1),
        lambda samples: samples.stream.first_at_or_after(7.0, samples.first, samples.stream.num_samples),
    ],
    ids=["next", "later", "a range", "a search"],
)
def test_the_conformance_kit_finds_who_reads_the_future(look):
    with pytest.raises(
        ConfigError, match=r"trigger Peeking, .*, batches of 1: looks at sample \d+, but is shown those"
    ):
        check_trigger(lambda: Peeking(look))


@pytest.mark.parametrize(
    "look",
    [
        lambda samples: samples.stream.timestamp(samples.stop - 1),
        lambda samples: samples.stream.timestamps(0, samples.stop),
        lambda samples: samples.stream.first_at_or_after(7.0, samples.stop + 2, samples.stop),
        lambda samples: samples.preview(samples.stop - 1),
    ],
)
def test_what_was_shown_may_be_looked_at(look):
    check_trigger(lambda: Peeking(look))


class Slow:
    """Fires after so many samples, or so much data time, and the second time at the end of the batch."""

    depends_on = "data"

    def __init__(self, num_samples=0, seconds=0.0) -> None:
        self.num_samples, self.seconds = num_samples, seconds
        self.reached, self.since, self.fired = 0, None, 0

    def advance(self, samples, observation):
        for position in range(max(self.reached, samples.first), samples.stop):
            now = samples.stream.timestamp(position)
            self.since = now if self.since is None else self.since
            self.reached = position + 1
            if position % max(1, self.num_samples) == self.num_samples - 1 or 0 < self.seconds <= now - self.since:
                self.since, self.fired = now, self.fired + 1
                late = self.fired > 1
                if late:
                    self.reached = samples.stop
                return Fire(position=samples.stop - 1 if late else position, reason="due")
        return Quiet()

    def on_fire(self, position): ...
    def on_training_cost(self, num_samples, seconds): ...
    def on_new_model(self, model): ...
    def next_deadline(self): ...
    def state_dict(self):
        return {"reached": self.reached, "since": self.since, "fired": self.fired}

    def load_state_dict(self, state):
        self.reached, self.since, self.fired = state["reached"], state["since"], state["fired"]


@pytest.mark.parametrize(
    "period", [{"num_samples": 300}, {"num_samples": 60_000}, {"seconds": 7200.0}, {"seconds": 3e7}, {"seconds": 2e8}]
)
def test_the_conformance_kit_finds_a_fault_that_shows_after_long_periods_only(period):
    with pytest.raises(ConfigError, match=r"trigger Slow, .* samples, .*: with batches of .* it fires at"):
        check_trigger(lambda: Slow(**period))


class Asking:
    """Fires at every fifth sample whose made-up score is low."""

    depends_on = "scores"

    def __init__(self) -> None:
        self.reached = 0

    def advance(self, samples, observation):
        if observation is not None:
            self.reached = observation["stop"]
            if observation["values"]["accuracy"] < 0.5:
                return Fire(position=observation["stop"] - 1, reason="low")
        position = self.reached + 4 - self.reached % 5
        request = score_request(decision=0, first=self.reached, stop=position + 1, metrics=["accuracy"])
        return Observe(request=request, position=position) if position < samples.stop else Quiet()

    def on_fire(self, position): ...
    def on_training_cost(self, num_samples, seconds): ...
    def on_new_model(self, model): ...
    def next_deadline(self): ...
    def state_dict(self):
        return {"reached": self.reached}

    def load_state_dict(self, state):
        self.reached = state["reached"]


def test_the_conformance_kit_answers_observations():
    check_trigger(Asking)
