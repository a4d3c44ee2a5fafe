"""Samples that come late: held back, sorted and handed over, or turned away."""

from __future__ import annotations

import io
import math
from itertools import pairwise
from pathlib import Path
from unittest.mock import patch

import numpy as np
import polars as pl
import pytest
import simulated
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.console import Console

import twinclock as tc
from sim import plugin
from twinclock.config import load_config
from twinclock.dataset import TableConfig, load_table
from twinclock.errors import ConfigError, DataError
from twinclock.lateness import OnTime, ReorderedStream, handover, reorder
from twinclock.show import show_run
from twinclock.stream import RecordedStream

# By hand: the newest is 10 when 7 comes, and 20 when 9 and 14 do

CAME = np.array([5.0, 10.0, 7.0, 20.0, 9.0, 14.0, 16.0, 30.0, 21.0])


def test_what_is_too_late_is_turned_away_and_the_rest_is_sorted():
    assert reorder(CAME, 4.0).timestamps.tolist() == [5, 7, 10, 16, 20, 30]
    assert reorder(CAME, 6.0).timestamps.tolist() == [5, 7, 10, 14, 16, 20, 30]
    assert reorder(CAME, 11.0).timestamps.tolist() == sorted(CAME)
    assert reorder(CAME, 0.0).timestamps.tolist() == [5, 10, 20, 30]
    assert reorder(CAME, 6.0).rows.tolist() == [0, 2, 1, 5, 6, 3, 7]


def test_the_watermark_is_the_newest_less_what_is_allowed():
    reordered = reorder(CAME, 6.0)
    assert [reordered.watermark(now) for now in (4.9, 5.0, 10.0, 19.0, 20.0, 29.9)] == [-math.inf, -1, 4, 4, 14, 14]
    assert [reordered.watermark(now) for now in (30.0, 99.0)] == [30.0, 99.0]  # all have come: nothing is held back
    assert [reordered.reached(ts) for ts in (-9.0, 4.0, 4.1, 14.0, 14.1, 30.0, 31.0)] == [5, 10, 20, 20, 30, 30, 31]


def test_a_quarantined_sample_counts_for_those_handed_over_next():
    reordered = reorder(CAME, 6.0)  # 9 comes before 14 and with the watermark there, 21 last and with it at 24
    assert [reordered.num_quarantined(position, position + 1) for position in range(7)] == [0, 0, 0, 1, 0, 0, 1]
    assert reordered.num_quarantined(0, 7) == 2
    assert reordered.num_quarantined(3, 3) == 0


def test_times_of_coming_say_who_is_late():
    """Row 1 is the newest and comes first; row 0 comes when the newest is 10 s newer."""
    times, come = np.array([0.0, 10.0, 4.0]), np.array([30.0, 11.0, 12.0])
    assert reorder(times, 6.0, come).rows.tolist() == [2, 1]
    assert reorder(times, 10.0, come).rows.tolist() == [0, 2, 1]
    late = reorder(times, 10.0, come)
    assert [late.watermark(now) for now in (10.0, 11.0, 29.0, 30.0)] == [-math.inf, 0.0, 0.0, 30.0]


def test_samples_in_order_are_all_taken_and_on_time():
    stream = RecordedStream(np.array([1.0, 2.0]))
    on_time = handover(stream)
    assert on_time == OnTime(stream)
    assert (on_time.watermark(5.0), on_time.reached(5.0), on_time.num_quarantined(0, 2)) == (5.0, 5.0, 0)
    in_order = reorder(np.array([1.0, 1.0, 2.0]), 0.0)
    assert in_order.rows.tolist() == [0, 1, 2]
    assert [in_order.moment(position) for position in range(3)] == [1.0, 1.0, 2.0]


def test_a_sample_is_not_there_before_it_has_come_also_if_the_watermark_is():
    """Its time is that of the newest, so it is not late; but it comes a second after it."""
    tied = reorder(np.array([0.0, 0.0, 3.0]), 0.0, np.array([0.0, 1.0, 3.0]))
    assert tied.rows.tolist() == [0, 1, 2]
    assert [tied.moment(position) for position in range(3)] == [0.0, 1.0, 3.0]
    assert [tied.arrived(0, now) for now in (0.0, 1.0, 3.0)] == [1, 2, 3]


# Against a buffer that is filled and emptied row by row


def buffered(times, allowed_s, come):
    """(row, when it is handed over, turned away until then), and all turned away."""
    held, out, turned_away = [], [], 0
    newest, order = -math.inf, sorted(range(len(times)), key=lambda row: come[row])
    for place, row in enumerate(order):
        newest = max(newest, times[row])
        if times[row] < newest - allowed_s:
            turned_away += 1
        else:
            held.append((times[row], place, row))
        is_last = place == len(order) - 1
        ready = sorted(each for each in held if is_last or each[0] <= newest - allowed_s)
        held = [each for each in held if each not in ready]
        out += [(each[2], come[row], turned_away) for each in ready]
    return out, turned_away


ROWS = st.lists(st.tuples(st.integers(0, 30), st.integers(0, 30)), min_size=1, max_size=25)


@settings(derandomize=True, deadline=None, max_examples=300)
@given(ROWS, st.integers(0, 12), st.booleans(), st.data())
def test_a_buffer_hands_over_the_same(rows, allowed_s, has_arrival, data):
    times = np.array([float(ts) for ts, _ in rows])
    come = np.array([float(at) for _, at in rows]) if has_arrival else np.maximum.accumulate(times)
    reordered = reorder(times, float(allowed_s), come if has_arrival else None)
    expected, num_turned_away = buffered(times.tolist(), allowed_s, come.tolist())
    assert reordered.rows.tolist() == [row for row, _, _ in expected]
    stream = ReorderedStream(reordered)
    assert stream.num_samples == len(expected)
    assert stream.timestamps(0, len(expected)).tolist() == times[reordered.rows].tolist()
    assert [reordered.moment(p) for p in range(len(expected))] == [at for _, at, _ in expected]
    for now in sorted({*come.tolist(), -1.0, 31.0}):
        there = sum(at <= now for _, at, _ in expected)
        assert handover(stream).arrived(0, now) == there
    cuts = [0, *sorted(data.draw(st.sets(st.integers(1, len(expected))))), len(expected)]
    counts = [reordered.num_quarantined(first, stop) for first, stop in pairwise(cuts)]
    assert sum(counts) == num_turned_away
    assert min(counts) >= 0
    ts = data.draw(st.integers(-2, 40))
    at = reordered.reached(float(ts))
    assert reordered.watermark(at) >= ts
    assert reordered.watermark(math.nextafter(at, -math.inf)) < ts or at <= come.min()


# Tables

COLUMNS = {"time": "t", "label": "y", "features": {"numeric": ["x"]}}


@pytest.fixture
def table(tmp_path: Path):
    """Writes rows whose feature is their number in the file; gives what `data` says about them."""

    def written(times=CAME, **keys):
        frame = pl.DataFrame({"t": times, "y": [n % 2 for n in range(len(times))], "x": range(len(times))})
        come = keys.pop("come", None)
        frame = frame if come is None else frame.with_columns(a=pl.Series(come))
        frame.write_parquet(tmp_path / "rows.parquet")
        return {"path": str(tmp_path / "rows.parquet"), **COLUMNS, **keys}

    return written


def loaded(data):
    return load_table(TableConfig.model_validate(data))


def test_rows_of_a_table_are_in_the_order_of_their_positions(table):
    rows = loaded(table(allowed_lateness="6s"))
    assert rows.frame["x"].to_list() == [0, 2, 1, 5, 6, 3, 7]
    assert rows.frame["y"].to_list() == [0, 0, 1, 1, 0, 1, 1]
    assert rows.timestamps.tolist() == rows.stream().timestamps(0, 7).tolist() == [5, 7, 10, 14, 16, 20, 30]
    assert rows.num_samples == rows.stream().num_samples == 7


def test_a_column_of_arrivals_orders_the_rows(table):
    rows = loaded(table([0.0, 10.0, 4.0], come=[30.0, 11.0, 12.0], allowed_lateness=6.0, arrival="a"))
    assert rows.frame["x"].to_list() == [2, 1]


def test_without_an_allowance_rows_out_of_order_are_an_error_as_before(table):
    with pytest.raises(DataError, match="not sorted by time column 't': row 2"):
        loaded(table())


@pytest.mark.parametrize(
    ("keys", "line"),
    [
        ({"allowed_lateness": -1.0}, "data.allowed_lateness: got -1.0, expected a number >= 0"),
        ({"allowed_lateness": float("nan")}, "data.allowed_lateness: got NaN"),
        ({"arrival": "a"}, "data.allowed_lateness: got null, expected a duration beside data.arrival"),
    ],
)
def test_an_allowance_that_can_not_be_is_one_line(table, keys, line):
    with pytest.raises(ConfigError) as caught:
        load_config({"trigger": {"kind": "amount", "n": 2}, "data": {"kind": "table", **table(), **keys}})
    assert line in str(caught.value)


@pytest.mark.parametrize(
    ("come", "arrival", "line"),
    [
        ([1.0, None, 3.0], "a", "arrival column 'a' is null in row 1"),
        ([1.0, 2.0, math.inf], "a", "arrival column 'a' is no finite number in row 2"),
        (["x", "y", "z"], "a", "arrival column 'a' is String, expected a number of seconds, a date or a datetime"),
        ([1.0, 2.0, 3.0], "b", "no column 'b' (asked for by data.arrival)"),
    ],
)
def test_arrivals_that_can_not_be_are_one_line(table, come, arrival, line):
    with pytest.raises(DataError) as caught:
        loaded(table([1.0, 2.0, 3.0], come=come, allowed_lateness=0.0, arrival=arrival))
    assert line in str(caught.value)


def test_a_time_that_is_missing_is_an_error_also_with_an_allowance(table):
    with pytest.raises(DataError, match="time column 't' is no finite number in row 1"):
        loaded(table([1.0, math.nan, 3.0], allowed_lateness=5.0))


# Whole runs


def run_of(data, mode, **config):
    config = {"mode": mode, "data": {"kind": "table", **data}, "batching": {"n": 1}, **config}
    return simulated.simulate({"sim": simulated.costs(), **config}).run


def test_live_a_sample_is_there_when_the_watermark_has_passed_it(table):
    live = run_of(table(allowed_lateness=6.0), "live", trigger={"kind": "amount", "n": 2}).batches
    # data time 5 is clock 0; 10 has come at 5 s, 20 at 15 s, and the last at 25 s
    assert live.select("last_ts", "cut_s", "quarantined").rows() == [
        (ts, pytest.approx(at, abs=1e-6), quarantined)
        for ts, at, quarantined in [
            (5, 15, 0), (7, 15, 0), (10, 15, 0), (14, 15, 1), (16, 25, 0), (20, 25, 0), (30, 25, 1)
        ]
    ]  # fmt: skip


def test_in_replay_nothing_waits_and_the_same_samples_are_taken(table):
    data = table(allowed_lateness=6.0)
    replay, live = (run_of(data, mode, trigger={"kind": "amount", "n": 2}) for mode in ("replay", "live"))
    for column in ("first", "stop", "last_ts", "quarantined"):
        assert replay.batches[column].to_list() == live.batches[column].to_list(), column
    assert replay.triggers["position"].to_list() == live.triggers["position"].to_list() == [1, 3, 5]
    assert replay.summary["quarantined"] == live.summary["quarantined"] == 2
    assert replay.summary["samples"] == 7


def test_what_was_quarantined_is_shown_if_anything_was(table):
    some, none = (run_of(table(allowed_lateness=s), "replay", trigger={"kind": "amount", "n": 2}) for s in (6.0, 30.0))
    assert shown(some).count("quarantined 2") == 1
    assert "quarantined" not in shown(none)


def shown(run):
    console = Console(file=io.StringIO(), width=100, color_system=None)
    show_run(run, console)
    return " ".join(console.file.getvalue().split())


def test_live_a_period_is_over_when_the_watermark_says_so(table):
    """The row of 3 comes after that of 8: it is in its period if 6 s are allowed, for which the period waits."""
    trigger = {"kind": "time", "every": 5.0, "start": 0.0}
    times = np.array([1.0, 4.0, 2.0, 8.0, 3.0, 12.0, 17.0, 40.0])
    early = run_of(table(times, allowed_lateness=0.0), "live", trigger=trigger).triggers
    late = run_of(table(times, allowed_lateness=6.0), "live", trigger=trigger).triggers
    assert early["num_samples"].to_list()[:3] == [2, 1, 1]
    assert late["num_samples"].to_list()[:3] == [4, 1, 1]
    assert early["fired_s"].to_list()[:3] == pytest.approx([7.0, 11.0, 16.0])  # with the rows of 8, 12 and 17
    assert late["fired_s"].to_list()[:3] == pytest.approx([11.0, 16.0, 39.0])  # 12 - 6 >= 5, 17 - 6 >= 10, 40 - 6 >= 15


@settings(derandomize=True, deadline=None, max_examples=40)
@given(ROWS, st.sampled_from([0, 3, 12]), st.sampled_from(["amount", "time"]), st.sampled_from([1, 4, 1000]))
def test_every_sample_is_taken_or_counted_in_both_modes(rows, allowed_s, kind, n):
    times = np.array([float(ts) for ts, _ in rows])
    stream = ReorderedStream(reorder(times, float(allowed_s), np.array([float(at) for _, at in rows])))
    trigger = {"amount": {"kind": "amount", "n": 3}, "time": {"kind": "time", "every": 4.0}}[kind]
    data = {"kind": "uniform", "num_samples": 1, "every": 1.0, "chunk": 5}
    with patch.object(plugin, "open_stream", lambda _config: stream):
        runs = [
            tc.run({"mode": mode, "trigger": trigger, "data": data, "batching": {"n": n}}, on="sim")
            for mode in ("replay", "live")
        ]
    for run in runs:
        assert run.summary["samples"] + run.summary["quarantined"] == len(rows)
    replay, live = (run.triggers.filter(pl.col("num_samples") > 0)["position"].to_list() for run in runs)
    assert live[: len(replay)] == replay


def test_an_earlier_run_without_the_column_can_still_be_read(tmp_path):
    run = tc.run(
        {"trigger": {"kind": "amount", "n": 5}, "data": {"kind": "uniform", "num_samples": 20, "every": 1.0}},
        on="sim",
        out=tmp_path / "run",
    )
    for part in (tmp_path / "run").glob("tables/batches/*.parquet"):
        pl.read_parquet(part).drop("quarantined").write_parquet(part)
    again = tc.Run.load(tmp_path / "run")
    assert again.summary == run.summary
