"""The models behind a simulated run: what things cost, how good models are, when samples arrive."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sim import costs as sim_costs
from sim.arrivals import poisson_stream
from sim.config import Costs, DecayQuality, ReadCost, SimConfig, StoreCost, TrainingCost
from sim.costs import linear_s, noise, store_s, training_source
from sim.quality import accuracy
from sim.throughput.protocol import Held, Job
from twinclock.config import TrainingConfig
from twinclock.errors import ConfigError
from twinclock.section import parse_section
from twinclock.seeds import Purpose

# Costs


def training_s(costs, num_samples, epochs, batch_size, num_devices=1):
    job = Job(num_samples=num_samples, epochs=epochs, batch_size=batch_size)
    return sim_costs.training_s(costs, training_source(costs, TrainingConfig()), job, Held(num_devices))


def scoring_s(costs, num_scored, num_devices=1):
    job, source = Job(num_samples=0, epochs=1, batch_size=1, num_scored=num_scored), training_source
    seconds = sim_costs.training_s(costs, source(costs, TrainingConfig()), job, Held(num_devices))
    return seconds - costs.training.setup_s


def test_linear_costs():
    cost = ReadCost(setup_s=2.0, samples_per_s=100.0)
    assert linear_s(cost, 0) == 2.0
    assert linear_s(cost, 250) == 4.5


def test_a_training_costs_its_setup_once_and_its_samples_every_epoch():
    costs = Costs(training=TrainingCost(setup_s=3.0, samples_per_s=50.0), scaling_efficiency=0.8)
    assert training_s(costs, 100, 1, 64) == 5.0
    assert training_s(costs, 100, 5, 64) == 13.0
    assert training_s(costs, 100, 5, 64, 2) == pytest.approx(3.0 + 10.0 / 1.8)
    assert training_s(costs, 0, 5, 64, 2) == 3.0


@pytest.mark.parametrize(("batch_size", "steps"), [(1, 100), (30, 4), (50, 2), (64, 2), (100, 1), (1000, 1)])
def test_a_gradient_step_costs_the_same_however_many_samples_it_has(batch_size, steps):
    """The last minibatch of an epoch may be smaller; a second device takes over samples, but makes no fewer steps."""
    costs = Costs(training=TrainingCost(setup_s=3.0, samples_per_s=50.0, step_s=0.25), scaling_efficiency=1.0)
    assert training_s(costs, 100, 1, batch_size) == 3.0 + 2.0 + 0.25 * steps
    assert training_s(costs, 100, 4, batch_size) == 3.0 + 4 * (2.0 + 0.25 * steps)
    assert training_s(costs, 100, 4, batch_size, 2) == 3.0 + 4 * (1.0 + 0.25 * steps)
    assert training_s(costs, 0, 4, batch_size) == 3.0


def test_a_larger_minibatch_trains_faster_up_to_the_throughput():
    """A step on a full minibatch takes alpha + beta · its size; so many samples a second are the curve."""
    costs = Costs(training=TrainingCost(setup_s=0.0, samples_per_s=1000.0, step_s=0.01))
    curve = [6400 / training_s(costs, 6400, 1, size) for size in (1, 4, 16, 64, 256, 6400)]
    assert curve == sorted(curve)
    assert curve[0] == pytest.approx(1 / (0.01 + 0.001))
    assert curve[3] == pytest.approx(64 / (0.01 + 0.064))
    assert 990 < curve[-1] < 1000


def test_scoring_a_sample_costs_the_share_of_a_step_that_goes_forward():
    costs = Costs(training=TrainingCost(setup_s=3.0, samples_per_s=50.0), scaling_efficiency=0.8, forward_share=0.25)
    assert scoring_s(costs, 0) == 0.0
    assert scoring_s(costs, 400) == 2.0
    assert scoring_s(costs, 400, 2) == pytest.approx(2.0 / 1.8)


def test_storing_costs_latency_and_bytes():
    assert store_s(Costs(store=StoreCost(latency_s=0.5, bytes_per_s=1000.0, model_bytes=4000))) == 4.5


def test_noise_is_log_normal_with_mean_one():
    factors = [noise(0.2, 7, Purpose.TRAINING_NOISE, serial) for serial in range(4000)]
    assert np.mean(factors) == pytest.approx(1.0, abs=3 * 0.2 / math.sqrt(4000))
    logs = np.log(factors) + 0.2**2 / 2
    assert abs(logs.mean()) < 3 * 0.2 / math.sqrt(4000)
    assert logs.std() == pytest.approx(0.2, rel=0.04)
    share_below = [(logs < 0.2 * z).mean() for z in (-1.0, 0.0, 1.0)]
    assert share_below == pytest.approx([0.1587, 0.5, 0.8413], abs=0.025)


def test_without_sigma_there_is_no_noise():
    assert noise(0.0, 7, Purpose.TRAINING_NOISE, 3) == 1.0


def test_noise_depends_on_its_key_alone():
    key = (0.2, 7, Purpose.TRAINING_NOISE, 3)
    before = noise(*key)
    others = {
        noise(0.2, 7, Purpose.TRAINING_NOISE, 4),
        noise(0.2, 8, *key[2:]),
        noise(0.2, 7, Purpose.EVALUATION_NOISE, 3),
    }
    assert len(others | {before}) == 4
    assert noise(*key) == before


def test_noise_stays_what_it_was_in_recorded_results():
    """A change of these numbers changes every simulated run: it needs a new purpose, and a line in the changelog."""
    assert noise(0.09, 0, Purpose.TRAINING_NOISE, 0) == pytest.approx(NOISE[0], rel=1e-12)
    assert noise(0.09, 0, Purpose.EVALUATION_NOISE, 3, 1, 5000) == pytest.approx(NOISE[1], rel=1e-12)


NOISE = (0.9841062170560639, 1.0694729695166625)


@pytest.mark.parametrize(
    ("section", "key"),
    [
        ({"costs": {"training": {"setup_s": -1.0, "samples_per_s": 1.0}}}, "sim.costs.training.setup_s"),
        ({"costs": {"training": {"setup_s": 1.0, "samples_per_s": 0.0}}}, "sim.costs.training.samples_per_s"),
        (
            {"costs": {"training": {"setup_s": 1.0, "samples_per_s": 9.0, "step_s": -1.0}}},
            "sim.costs.training.step_s",
        ),
        ({"costs": {"noise_sigma": float("nan")}}, "sim.costs.noise_sigma"),
        ({"costs": {"scaling_efficiency": 1.5}}, "sim.costs.scaling_efficiency"),
        ({"costs": {"decide": 1.0}}, "sim.costs.decide"),
        ({"quality": {"kind": "rising"}}, "sim.quality.kind"),
        ({"quality": {"half_life_s": 0.0}}, "sim.quality.half_life_s"),
    ],
)
def test_costs_that_can_not_be_are_named(section, key):
    with pytest.raises(ConfigError, match=key):
        parse_section(SimConfig, section, "demo.yaml", under="sim")


# Quality

QUALITY = DecayQuality(peak=0.9, floor=0.1, half_samples=100.0, half_life_s=50.0)


def lineage(num_samples, last_ts=0.0):
    return {"trigger": 0, "num_samples": num_samples, "last_ts": last_ts}


def test_accuracy_by_hand():
    assert accuracy(QUALITY, lineage(100), -10.0, 10.0) == 0.5  # half of what there is to gain, no age
    assert accuracy(QUALITY, lineage(100), 40.0, 60.0) == pytest.approx(0.3)  # and half of it lost
    assert accuracy(QUALITY, lineage(300), 90.0, 110.0) == pytest.approx(0.1 + 0.8 * 0.75 * 0.25)


def test_data_that_a_model_knows_do_not_age_it():
    assert accuracy(QUALITY, lineage(100, last_ts=500.0), 0.0, 10.0) == 0.5


def test_a_model_of_no_samples_knows_nothing():
    assert accuracy(QUALITY, lineage(0), 0.0, 10.0) == 0.1
    assert accuracy(DecayQuality(half_samples=0.0), lineage(0), 0.0, 1.0) == pytest.approx(0.1)


@settings(derandomize=True, deadline=None)
@given(st.integers(0, 10**9), st.integers(0, 10**9), st.floats(0, 1e12), st.floats(0, 1e12))
def test_more_samples_never_hurt_and_age_never_helps(few, many, young_s, old_s):
    few, many, young_s, old_s = *sorted((few, many)), *sorted((young_s, old_s))
    best = accuracy(QUALITY, lineage(many), young_s, young_s)
    worst = accuracy(QUALITY, lineage(few), old_s, old_s)
    assert 0.1 <= worst <= best <= 0.9


# Arrivals

MEAN_S = 2.0
NUM = 200_000
STREAM = poisson_stream(NUM, MEAN_S, 100.0, seed=3)


def test_gaps_are_exponential():
    times = STREAM.timestamps(0, NUM)
    gaps = np.sort(np.diff(times, prepend=100.0))
    assert (gaps >= 0).all()
    assert gaps.mean() == pytest.approx(MEAN_S, rel=0.01)
    # Kolmogorov-Smirnov; the critical value at 1 % is 1.63 / sqrt(n)
    distance = np.abs(1 - np.exp(-gaps / MEAN_S) - np.arange(1, NUM + 1) / NUM).max()
    assert distance < 1.63 / math.sqrt(NUM)


def test_counts_in_equal_intervals_are_poisson():
    times = STREAM.timestamps(0, NUM)
    counts = np.bincount(((times - 100.0) // 20.0).astype(int))[:-1]
    assert counts.mean() == pytest.approx(10.0, rel=0.01)
    assert counts.var() == pytest.approx(10.0, rel=0.04)


def test_a_timestamp_is_the_same_however_it_is_asked_for():
    times = STREAM.timestamps(0, NUM)
    fresh = poisson_stream(NUM, MEAN_S, 100.0, seed=3)
    positions = [150_000, 0, 65_536, 65_535, 199_999, 131_072, 7, 65_537]  # back and forth over the blocks
    assert [fresh.timestamp(position) for position in positions] == times[positions].tolist()
    assert (fresh.timestamps(65_000, 140_000) == times[65_000:140_000]).all()
    assert len(fresh.timestamps(5, 5)) == 0


def test_a_longer_stream_begins_like_a_shorter_one():
    assert (
        poisson_stream(500, MEAN_S, 0.0, 1).timestamps(0, 100) == poisson_stream(100, MEAN_S, 0.0, 1).timestamps(0, 100)
    ).all()


def test_streams_of_other_seeds_are_other_streams():
    assert (
        poisson_stream(100, MEAN_S, 0.0, 1).timestamps(0, 100) != poisson_stream(100, MEAN_S, 0.0, 2).timestamps(0, 100)
    ).all()


@settings(derandomize=True, deadline=None, max_examples=200)
@given(st.integers(0, NUM), st.integers(0, NUM), st.floats(0.0, 100.0 + MEAN_S * NUM * 1.1) | st.integers(0, NUM - 1))
def test_the_first_at_or_after_is_its_definition(first, stop, ts):
    first, stop = sorted((first, stop))
    times = STREAM.timestamps(0, NUM)
    ts = float(times[ts]) if isinstance(ts, int) else ts
    later = np.nonzero(times[first:stop] >= ts)[0]
    assert STREAM.first_at_or_after(ts, first, stop) == (first + later[0] if len(later) else stop)


def test_looking_for_a_time_far_on_does_not_draw_what_lies_before_again(monkeypatch):
    stream = poisson_stream(50 * 65_536, MEAN_S, 0.0, seed=1)
    ts = stream.timestamp(45 * 65_536)
    drawn = []
    draw = stream._draw
    monkeypatch.setattr(stream, "_block", lambda block: drawn.append(block) or draw(block))
    assert stream.first_at_or_after(ts, 0, stream.num_samples) == 45 * 65_536
    assert set(drawn) <= {44, 45}


@pytest.mark.parametrize(("num_samples", "interval_s"), [(-1, 1.0), (5, 0.0), (5, -1.0), (5, float("nan"))])
def test_streams_that_can_not_be(num_samples, interval_s):
    with pytest.raises(ValueError, match="expected num_samples >= 0 and interval_s > 0"):
        poisson_stream(num_samples, interval_s, 0.0, 0)
