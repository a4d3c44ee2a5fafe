"""Modelled arrivals: their distribution, the rhythm of days and weeks, presets, and streams recorded elsewhere."""

from __future__ import annotations

import datetime as dt
import math
import tracemalloc

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from sim.arrivals import gamma_shape, modelled_stream, weibull_shape
from sim.recorded import InterpolatedStream, recorded_stream
from sim.rhythm import make_rhythm
from tests import simulated
from twinclock.arrivals import PRESETS, ArrivalsConfig, DailyConfig, RecordedConfig, WeeklyConfig
from twinclock.config import dump_yaml, load_config
from twinclock.errors import ConfigError, DataError, UserError
from twinclock.launch import plan_run
from twinclock.stream import Stream

NUM = 100_000
DAY_S, WEEK_S = 86_400.0, 7 * 86_400.0


def arrivals(seed=5, **keys):
    return modelled_stream(ArrivalsConfig(**{"num_samples": NUM, "every": 2.0, **keys}), seed)


def gaps(**keys):
    return np.diff(arrivals(**keys).timestamps(0, NUM), prepend=0.0)


# Distributions


def theory(family, mean, cv):
    if family == "gamma":
        return stats.gamma(gamma_shape(cv), scale=mean / gamma_shape(cv))
    shape = weibull_shape(cv)
    return stats.weibull_min(shape, scale=mean / math.gamma(1 + 1 / shape))


@pytest.mark.parametrize("family", ["gamma", "weibull"])
@pytest.mark.parametrize("cv", [0.01, 0.3, 1.0, 1.09, 4.0, 13.15, 15.1, 100.0])
def test_parameters_have_the_mean_and_the_variation_that_were_asked_for(family, cv):
    assert theory(family, 2.0, cv).mean() == pytest.approx(2.0, rel=1e-9)
    assert theory(family, 2.0, cv).std() == pytest.approx(2.0 * cv, rel=1e-6)


def test_a_variation_of_one_is_the_exponential_distribution():
    assert gamma_shape(1.0) == 1.0
    assert weibull_shape(1.0) == pytest.approx(1.0, rel=1e-12)


@pytest.mark.parametrize("family", ["gamma", "weibull"])
@pytest.mark.parametrize("cv", [0.1, 0.5, 1.0, 2.0, 3.0])
def test_gaps_have_the_mean_and_the_variation_of_their_distribution(family, cv):
    """Within five standard errors: that of the mean, and by the delta method that of the variation."""
    drawn = gaps(family=family, cv=cv)
    _, _, skew, kurtosis = (float(each) for each in theory(family, 2.0, cv).stats("mvsk"))
    mean_error = cv / math.sqrt(NUM)
    cv_error = cv * math.sqrt((kurtosis + 2) / 4 - skew * cv + cv**2) / math.sqrt(NUM)
    assert abs(drawn.mean() / 2.0 - 1) < 5 * mean_error
    assert abs(drawn.std() / drawn.mean() - cv) < 5 * cv_error


@pytest.mark.parametrize("family", ["gamma", "weibull"])
@pytest.mark.parametrize("cv", [0.1, 0.5, 1.0, 2.0])
def test_gaps_pass_a_kolmogorov_smirnov_test_and_fail_that_of_others(family, cv):
    drawn = gaps(family=family, cv=cv)
    assert stats.kstest(drawn, theory(family, 2.0, cv).cdf).pvalue > 0.01
    assert stats.kstest(drawn, theory(family, 2.0, cv * 1.1).cdf).pvalue < 0.001
    if cv != 1.0:
        other = "weibull" if family == "gamma" else "gamma"
        assert stats.kstest(drawn, theory(other, 2.0, cv).cdf).pvalue < 0.01


@pytest.mark.parametrize("cv", [13.15, 15.1])
def test_gaps_of_wild_traces_follow_their_distribution_where_a_clock_can_see_them(cv):
    """Most gaps are shorter than what a sum of seconds resolves; shares of the longer ones are compared."""
    for family in ("gamma", "weibull"):
        drawn, expected = gaps(family=family, cv=cv), theory(family, 2.0, cv)
        for longer_s in (1e-3, 0.1, 2.0, 50.0):
            share = float(expected.sf(longer_s))
            assert abs((drawn > longer_s).mean() - share) < 4 * math.sqrt(share * (1 - share) / NUM)


def test_exponential_and_equal_gaps():
    assert stats.kstest(gaps(family="exponential"), stats.expon(scale=2.0).cdf).pvalue > 0.01
    assert gaps(family="equal") == pytest.approx(np.full(NUM, 2.0))


def test_another_seed_is_another_stream():
    assert (gaps(cv=2.0, seed=1) != gaps(cv=2.0, seed=2)).any()
    assert (gaps(cv=2.0, seed=1) == gaps(cv=2.0, seed=1)).all()


# Days and weeks

DAILY = {"max_over_min": 3.28, "peak_hour": 14}


def counts_by(stream: Stream, unit_s: float, num_units: int):
    """Samples in each hour of the day, or day of the week, over whole weeks from data time 0."""
    num_weeks = math.floor(stream.timestamp(stream.num_samples - 1) / WEEK_S)
    times = stream.timestamps(0, stream.first_at_or_after(num_weeks * WEEK_S, 0, stream.num_samples))
    return np.bincount((times // unit_s).astype(int) % num_units, minlength=num_units)


def test_hours_of_the_day_have_their_share():
    """With equal gaps in operational time nothing is left to chance but the rounding at the ends of hours."""
    counts = counts_by(arrivals(family="equal", every=20.0, daily=DAILY), 3600.0, 24)
    assert counts.argmax() == 14
    assert counts.argmin() == 2
    assert counts.max() / counts.min() == pytest.approx(3.28, rel=0.01)
    swing = 2.28 / 4.28
    expected = 1 + swing * np.cos(2 * np.pi * (np.arange(24) - 14) / 24)
    assert counts / counts.mean() == pytest.approx(expected, rel=0.01)


def test_random_arrivals_keep_the_rhythm_within_chance():
    counts = counts_by(arrivals(family="exponential", every=20.0, daily=DAILY), 3600.0, 24)
    swing = 2.28 / 4.28
    expected = counts.sum() / 24 * (1 + swing * np.cos(2 * np.pi * (np.arange(24) - 14) / 24))
    assert stats.chisquare(counts, expected).pvalue > 0.01
    assert stats.chisquare(counts).pvalue < 1e-6


def test_weekends_have_their_share():
    days = counts_by(arrivals(family="equal", every=60.0, weekly={"weekend_share": 0.25}), DAY_S, 7)
    # data time 0 is a Thursday
    assert days / days[0] == pytest.approx([1, 1, 0.25, 0.25, 1, 1, 1], rel=0.01)


def test_calendar_times_have_the_hours_and_days_of_the_calendar():
    start = 1_700_000_000.0
    stream = arrivals(family="equal", every=60.0, daily=DAILY, weekly={"weekend_share": 0.1}, start=start)
    times = pl.Series((stream.timestamps(0, 5 * 7 * 1440) * 1e3).astype(np.int64)).cast(pl.Datetime("ms"))
    hours, days = times.dt.hour().to_numpy(), times.dt.weekday().to_numpy()
    assert np.bincount(hours).argmax() == 14
    assert (np.bincount(days)[[6, 7]] < 0.12 * np.bincount(days)[1:6].max()).all()


def test_the_rhythm_leaves_the_mean_as_it_was():
    for rhythm in (
        {"daily": DAILY},
        {"weekly": {"weekend_share": 0.2}},
        {"daily": DAILY, "weekly": {"weekend_share": 3.0}},
    ):
        stream = arrivals(family="equal", every=WEEK_S / 10_000, **rhythm)
        assert stream.timestamp(10_000 - 1) == pytest.approx(WEEK_S)
        assert stream.timestamp(70_000 - 1) == pytest.approx(7 * WEEK_S)


def test_without_a_difference_there_is_no_rhythm():
    flat = arrivals(cv=2.0, daily={"max_over_min": 1.0}, weekly={"weekend_share": 1.0})
    assert flat.timestamps(0, NUM) == pytest.approx(arrivals(cv=2.0).timestamps(0, NUM))


RATIOS = st.floats(1.0, 1000.0)
SHARES = st.floats(0.001, 1000.0)


@settings(derandomize=True, deadline=None)
@given(RATIOS, st.integers(0, 23), SHARES, st.lists(st.floats(-1e11, 1e11), min_size=1, max_size=50))
def test_data_time_never_turns_back_and_operational_time_is_its_inverse(ratio, peak_hour, share, times):
    rhythm = make_rhythm(DailyConfig(max_over_min=ratio, peak_hour=peak_hour), WeeklyConfig(weekend_share=share))
    hours = np.arange(-400, 400) * 3600.0
    operational = np.array([rhythm.operational(ts) for ts in [*times, *hours]])
    slowest = float(rhythm.rates.min())
    close = np.sort(
        np.concatenate([operational, np.nextafter(operational, math.inf), np.nextafter(operational, -math.inf)])
    )
    assert (np.diff(rhythm.data_time(close)) >= 0).all()
    back = rhythm.data_time(operational)
    rounding_s = np.spacing(np.maximum(np.abs(operational), WEEK_S))
    num_roundings = len(rhythm.rates)  # the hours of a week are added up, and each sum may be off by half a bit
    assert (np.abs(back - [*times, *hours]) <= num_roundings * rounding_s / min(slowest, 1.0)).all()


# Reading

STREAMS = {
    "gamma": {"cv": 3.0},
    "weibull with days": {"family": "weibull", "cv": 2.0, "every": 30.0, "daily": DAILY},
    "equal with weeks": {"family": "equal", "every": 30.0, "weekly": {"weekend_share": 0.3}, "start": 1.7e9},
    "philly": {"preset": "philly_jobs", "every": 100.0},
}
LONG = 200_000
WHOLE = {name: arrivals(**{**keys, "num_samples": LONG}).timestamps(0, LONG) for name, keys in STREAMS.items()}


@pytest.mark.parametrize("name", STREAMS)
def test_timestamps_never_decrease(name):
    assert (np.diff(WHOLE[name]) >= 0).all()


@settings(derandomize=True, deadline=None, max_examples=60)
@given(name=st.sampled_from(sorted(STREAMS)), data=st.data())
def test_a_stream_is_the_same_however_it_is_read(name, data):
    times, stream = WHOLE[name], arrivals(**{**STREAMS[name], "num_samples": LONG})
    edges = st.sampled_from([0, 65_535, 65_536, 65_537, 131_071, 131_072, LONG - 1])
    positions = st.integers(0, LONG - 1) | edges
    for _ in range(data.draw(st.integers(1, 4))):
        how, one, other = data.draw(st.tuples(st.sampled_from(["one", "range", "search"]), positions, positions))
        first, stop = sorted((one, other))
        if how == "one":
            assert stream.timestamp(one) == times[one]
        elif how == "range":
            assert (stream.timestamps(first, stop) == times[first:stop]).all()
        else:
            ts = times[data.draw(positions)] + data.draw(st.sampled_from([0.0, 1e-3, -1e-3, 1e4]))
            assert stream.first_at_or_after(ts, first, stop) == first + np.searchsorted(times[first:stop], ts)


def test_memory_does_not_grow_with_the_samples():
    stream = arrivals(cv=2.0, every=1e-3, num_samples=10**12, daily=DAILY)
    stream.timestamp(0)
    tracemalloc.start()
    try:
        last = stream.timestamp(60 * 65_536)
        _, peak_bytes = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert last > 0
    assert peak_bytes < 20 * 65_536 * 8  # of 60 blocks


# Configuration


def config(**data):
    return load_config({"trigger": {"kind": "amount", "n": 1}, "data": {"kind": "arrivals", **data}})


def test_a_preset_brings_its_figures_and_each_can_be_said_otherwise():
    philly = config(num_samples=10, preset="philly_jobs").data
    assert philly.every == pytest.approx(3600 / 31.5)
    assert (philly.family, philly.cv, philly.daily.max_over_min) == ("weibull", 15.1, 3.28)
    code = config(num_samples=10, preset="azure_code").data
    assert (1 / code.every, code.cv, code.daily) == (pytest.approx(2.4), 13.15, None)
    conversation = config(num_samples=10, preset="azure_conversation", family="gamma", every="3s").data
    assert (conversation.every, conversation.cv, conversation.family) == (3.0, 1.09, "gamma")
    assert config(num_samples=10, preset="philly_jobs", family="exponential", daily=None).data.daily is None


@pytest.mark.parametrize("preset", PRESETS)
def test_a_saved_configuration_keeps_the_figures(preset, tmp_path):
    chosen = config(num_samples=10, preset=preset)
    (tmp_path / "saved.yaml").write_text(dump_yaml(chosen))
    assert load_config(tmp_path / "saved.yaml") == chosen
    assert "cv: null" not in dump_yaml(chosen)


@pytest.mark.parametrize("preset", PRESETS)
def test_presets_have_the_rate_that_was_published(preset):
    stream = modelled_stream(config(num_samples=4 * NUM, preset=preset).data, 0)
    per_s = 4 * NUM / stream.timestamp(4 * NUM - 1)
    assert per_s == pytest.approx(PRESETS[preset].per_s, rel=5 * PRESETS[preset].cv / math.sqrt(4 * NUM))


@pytest.mark.parametrize(
    ("keys", "line"),
    [
        ({"cv": 0.0}, "data.cv: got 0.0, expected a number >= 0.01"),
        ({"cv": -1.0}, "data.cv: got -1.0, expected a number >= 0.01"),
        ({"cv": float("nan")}, "data.cv: got NaN, expected a finite number"),
        ({"cv": float("inf")}, "data.cv: got Infinity, expected a finite number"),
        ({"cv": 1e9}, "data.cv: got 1000000000.0, expected a number <= 100"),
        ({}, "data.cv: missing for family gamma, expected a number from 0.01 to 100"),
        ({"family": "exponential", "cv": 2.0}, "data.cv: got 2, expected null for family exponential"),
        ({"family": "equal", "cv": 2.0}, "data.cv: got 2, expected null for family equal"),
        ({"family": "normal", "cv": 2.0}, 'data.family: got "normal", expected one of gamma, weibull, exponential'),
        ({"cv": 1.0, "every": 0.0}, "data.every: got 0.0, expected a number > 0"),
        ({"cv": 1.0, "every": float("nan")}, "data.every: got NaN, expected a"),
        ({"cv": 1.0, "every": 1e300}, "data.every: 10 samples every 1e+300 s span more than the 1e+12 s"),
        ({"cv": 1.0, "num_samples": 10**15}, "data.every: 1000000000000000 samples every 2 s span more than"),
        ({"cv": 1.0, "num_samples": 0}, "data.num_samples: got 0, expected a number > 0"),
        ({"cv": 1.0, "start": 1e300}, "data.start: got 1e+300, expected a number <= 1e+12"),
        ({"cv": 1.0, "preset": "philly"}, 'data.preset: got "philly", expected one of philly_jobs, azure_conversation'),
        ({"cv": 1.0, "daily": {"max_over_min": 0.5}}, "data.daily.max_over_min: got 0.5, expected a number >= 1"),
        ({"cv": 1.0, "daily": {"max_over_min": float("inf")}}, "data.daily.max_over_min: got Infinity, expected a fin"),
        ({"cv": 1.0, "daily": {**DAILY, "peak_hour": 24}}, "data.daily.peak_hour: got 24, expected a number <= 23"),
        ({"cv": 1.0, "daily": {}}, "data.daily.max_over_min: missing"),
        ({"cv": 1.0, "weekly": {"weekend_share": 0.0}}, "data.weekly.weekend_share: got 0.0, expected a number >= 0.0"),
        ({"cv": 1.0, "weekly": {"weekend_share": -2.0}}, "data.weekly.weekend_share: got -2.0, expected a number >="),
    ],
)  # fmt: skip
def test_arrivals_that_can_not_be_are_one_line(keys, line):
    with pytest.raises(ConfigError) as caught:
        config(**{"num_samples": 10, "every": 2.0, **keys})
    assert line in str(caught.value)
    assert "\n" not in str(caught.value)
    assert str(caught.value).count("data.") == 1


def test_modelled_arrivals_are_not_for_training():
    with pytest.raises(UserError, match=r"data.kind: got arrivals.* expected table"):
        plan_run(config(num_samples=10, preset="azure_code"), "real")


def test_checking_a_stream_does_not_read_it_to_its_end():
    plan = plan_run(config(num_samples=10**12, every=1e-3, cv=5.0), "sim")
    assert plan.stream._starts == [0.0]


# Whole runs


@pytest.mark.parametrize("mode", ["replay", "live"])
@pytest.mark.parametrize("name", STREAMS)
def test_runs(name, mode):
    """Every sample is taken once, a trigger has what is labelled, and live none fires before its samples came."""
    data = {"kind": "arrivals", "num_samples": 230, "label_delay": "1h", **{"every": 2.0, **STREAMS[name]}}
    run, _, stream = simulated.simulate({"mode": mode, "data": data, "trigger": {"kind": "amount", "n": 60}})
    batches = run.batches.sort("first")
    assert batches["first"].to_list() == [0, *batches["stop"].to_list()[:-1]]
    assert batches["stop"].max() == 230
    assert run.triggers["position"].to_list() == [59, 119, 179]
    times = stream.timestamps(0, 230)
    for row in run.triggers.iter_rows(named=True):
        assert row["stop"] == np.sum(times + 3600.0 <= times[row["position"]])  # the labels that are known
        if mode == "live":
            assert row["fired_s"] >= times[row["position"]] - times[0] - 1e-6


# Recorded timestamps

TIMES = [5.0, 6.0, 6.0, 10.0, 30.0]


@pytest.fixture
def recorded(tmp_path):
    """Gives the stream of a file with some times, under some configuration."""

    def opened(times=TIMES, name="times.parquet", **keys):
        frame = pl.DataFrame({"when": times, "other": range(len(times))})
        (frame.write_csv if name.endswith("csv") else frame.write_parquet)(tmp_path / name)
        return recorded_stream(RecordedConfig(path=str(tmp_path / name), **{"time": "when", **keys}))

    return opened


def listed(stream):
    return stream.timestamps(0, stream.num_samples).tolist()


@pytest.mark.parametrize("name", ["times.parquet", "times.csv"])
def test_recorded_times_are_those_of_the_file(recorded, name):
    assert listed(recorded(name=name)) == TIMES
    assert listed(recorded(name=name, limit=2)) == [5.0, 6.0]
    assert listed(recorded([3, 4, 9], name)) == [3.0, 4.0, 9.0]
    days = [dt.date(1970, 1, 2), dt.date(1970, 1, 4)]
    assert listed(recorded(days, name)) == [86_400.0, 3 * 86_400.0]
    moments = [dt.datetime(1970, 1, 1, 0, 0, 1, 500_000), dt.datetime(1970, 1, 1, 1)]
    assert listed(recorded(moments, name)) == [1.5, 3600.0]


def test_time_is_stretched_from_the_first_sample(recorded):
    assert listed(recorded(stretch=2.0)) == [5.0, 7.0, 7.0, 15.0, 55.0]
    assert listed(recorded(stretch=0.5)) == [5.0, 5.5, 5.5, 7.5, 17.5]


def test_more_or_fewer_samples_come_in_the_same_time(recorded):
    assert listed(recorded(rate=2.0)) == [5.0, 5.5, 6.0, 6.0, 6.0, 8.0, 10.0, 20.0, 30.0]
    assert listed(recorded(rate=0.5)) == [5.0, 6.0, 30.0]
    assert listed(recorded(rate=0.01)) == [5.0]
    assert listed(recorded(rate=2.0, stretch=10.0))[-2:] == [155.0, 255.0]


@settings(derandomize=True, deadline=None)
@given(
    times=st.lists(st.floats(-1e9, 1e9), min_size=1, max_size=20),
    rate=st.floats(0.05, 20.0),
    data=st.data(),
)
def test_an_interpolated_stream_agrees_with_itself(times, rate, data):
    times = np.sort(np.array(times))
    stream = InterpolatedStream(times, rate)
    whole = stream.timestamps(0, stream.num_samples)
    assert (np.diff(whole) >= 0).all()
    assert whole[0] == times[0]
    assert whole[-1] <= times[-1]
    assert whole == pytest.approx(np.interp(np.arange(len(whole)) / rate, np.arange(len(times)), times), abs=1e-5)
    first, stop = sorted(data.draw(st.tuples(*[st.integers(0, len(whole))] * 2)))
    ts = data.draw(st.floats(-1e9, 1e9) | st.sampled_from(whole.tolist()))
    assert (stream.timestamps(first, stop) == whole[first:stop]).all()
    assert [stream.timestamp(position) for position in range(first, stop)] == whole[first:stop].tolist()
    assert stream.first_at_or_after(ts, first, stop) == first + np.searchsorted(whole[first:stop], ts)


@pytest.mark.parametrize(
    ("times", "keys", "line"),
    [
        ([1.0, float("nan"), 2.0], {}, "time column 'when' is no finite number in row 1 (counted from 0): nan"),
        ([1.0, float("inf")], {}, "time column 'when' is no finite number in row 1 (counted from 0): inf"),
        ([1.0, None], {}, "time column 'when' is null in row 1 (counted from 0), expected a time"),
        ([1.0, 3.0, 2.0], {}, "not sorted by time column 'when': row 2 (counted from 0) has 2.0, after 3.0"),
        (["soon", "later"], {}, "time column 'when' is String, expected a number of seconds, a date or a datetime"),
        ([-1.5e308, 1.5e308], {}, "time column 'when' spans more seconds than there are numbers for"),
        ([0.0, 1e308], {"stretch": 1e3}, "time column 'when' spans more seconds than there are numbers for"),
        ([1.0], {"time": "whn"}, "no column 'whn' (asked for by data.time); did you mean when?"),
    ],
)
@pytest.mark.parametrize("name", ["times.parquet", "times.csv"])
def test_files_that_hold_no_stream_are_one_line(recorded, name, times, keys, line):
    with pytest.raises(DataError) as caught:
        recorded(times, name, **keys)
    assert name in str(caught.value)
    assert line in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["times.parquet", "times.csv"])
def test_files_that_can_not_be_read_are_one_line(tmp_path, name):
    def error():
        with pytest.raises(DataError) as caught:
            recorded_stream(RecordedConfig(path=str(tmp_path / name), time="when"))
        return str(caught.value)

    assert "no such file, expected a Parquet or CSV file" in error()
    (tmp_path / name).write_bytes(b"")
    assert "can't be read as" in error()
    (tmp_path / name).write_bytes(b"\xff\xfe\x00\x81" * 300)
    assert "\n" not in error()
    (tmp_path / name).unlink()
    (tmp_path / name).mkdir()
    assert "is a folder" in error()


def test_a_file_with_a_heading_only(tmp_path):
    (tmp_path / "times.csv").write_text("when\n")
    with pytest.raises(DataError, match=r"no rows|is String"):
        recorded_stream(RecordedConfig(path=str(tmp_path / "times.csv"), time="when"))


@pytest.mark.parametrize(
    ("keys", "line"),
    [
        ({"stretch": 0.0}, "data.stretch: got 0.0, expected a number >= 1e-09"),
        ({"stretch": float("nan")}, "data.stretch: got NaN, expected a finite number"),
        ({"rate": -1.0}, "data.rate: got -1.0, expected a number >= 1e-06"),
        ({"rate": 1e9}, "data.rate: got 1000000000.0, expected a number <= 1e+06"),
        ({"path": "times.txt"}, "data.path: got times.txt, expected a file whose name ends in .parquet or .csv"),
    ],
)
def test_scales_that_can_not_be_are_one_line(keys, line):
    with pytest.raises(ConfigError) as caught:
        config(**{"kind": "recorded", "path": "times.csv", "time": "when", **keys})
    assert line in str(caught.value)


def test_a_relative_path_counts_from_the_file_and_a_run_says_what_it_read(tmp_path, monkeypatch):
    folder = tmp_path / "there"
    folder.mkdir()
    (folder / "times.csv").write_text("when\n1\n2\n")
    (folder / "run.yaml").write_text(
        "trigger: {kind: amount, n: 1}\ndata: {kind: recorded, path: times.csv, time: when}\n"
    )
    monkeypatch.chdir(tmp_path)
    plan = plan_run(load_config("there/run.yaml"), "sim")
    assert listed(plan.stream) == [1.0, 2.0]
    before = plan.hashes["data"]
    (folder / "times.csv").write_text("when\n1\n3\n")
    assert plan_run(load_config("there/run.yaml"), "sim").hashes["data"] != before


@pytest.mark.parametrize("mode", ["replay", "live"])
@pytest.mark.parametrize("rate", [1.0, 3.0])
def test_runs_of_recorded_times(tmp_path, mode, rate):
    pl.DataFrame({"when": np.cumsum(np.arange(40) % 7)}).write_csv(tmp_path / "times.csv")
    data = {"kind": "recorded", "path": str(tmp_path / "times.csv"), "time": "when", "rate": rate}
    run, _, stream = simulated.simulate({"mode": mode, "data": data, "trigger": {"kind": "time", "every": 30.0}})
    assert run.batches["stop"].max() == stream.num_samples == 39 * rate + 1
    fired = run.triggers.filter(pl.col("num_samples") > 0)
    periods = 1 + (stream.timestamps(0, stream.num_samples) - stream.timestamp(0)) // 30.0
    assert fired["position"].to_list() == [int((periods <= n).sum()) - 1 for n in range(1, int(periods[-1]))]
