"""Latency, staleness and backlog: by hand, and against sample-by-sample loops on random runs."""

from __future__ import annotations

import numpy as np
import pytest
from handmade import tables
from hypothesis import given, settings
from simulated import breaking, configs, faults, simulate

import twinclock as tc
from twinclock.freshness import freshness


def batch(first, stop, cut_s):
    return {"batch": 0, "first": first, "stop": stop, "last_ts": 0.0, "cut_s": cut_s}


def stored(*models):
    """(trigger, position, stored_s) each."""
    return {
        "triggers": [{"trigger": trigger, "position": position} for trigger, position, _ in models],
        "models": [{"model": trigger, "stored_s": stored_s} for trigger, _, stored_s in models],
    }


def test_by_hand():
    """Batches of 10 at 0, 10, 20; models up to 9 at 5, up to 14 at 18; the run ends at 30."""
    told = freshness(
        tables(
            batches=[batch(0, 10, 0.0), batch(10, 20, 10.0), batch(20, 30, 20.0)],
            decisions=[{"verdict": "fired"}, {"verdict": "dropped"}, {"verdict": "coalesced"}],
            **stored((0, 9, 5.0), (1, 14, 18.0)),
        ),
        30.0,
    )
    assert told["incorporation_p50_s"] == 5.0  # 10 samples waited 5 s, 5 waited 8 s
    assert told["incorporation_p95_s"] == told["incorporation_p99_s"] == 8.0
    assert told["not_incorporated"] == 15
    # from 5 to 18 the newest is from 0, then from 10
    assert told["staleness_s"] == pytest.approx(((18**2 - 5**2) + (20**2 - 8**2)) / 2 / 25)
    assert told["staleness_max_s"] == 20.0
    # 10 until 5, none until 10, 10 until 18, 5 until 20, 15 until 30
    assert told["backlog"] == pytest.approx((50 + 0 + 80 + 10 + 150) / 30)
    assert told["backlog_max"] == 15
    assert told["missed_triggers"] == 2


def test_nothing_is_told_of_nothing():
    told = freshness(tables(), None)
    assert {value for key, value in told.items() if key.endswith("_s")} == {None}
    assert (told["not_incorporated"], told["missed_triggers"], told["backlog"]) == (0, 0, None)
    told = freshness(tables(batches=[batch(0, 10, 1.0)]), 4.0)
    assert told["incorporation_p50_s"] is told["staleness_s"] is None
    assert told["not_incorporated"] == told["backlog_max"] == 10
    assert told["backlog"] == 7.5


@settings(max_examples=80, derandomize=True, deadline=None)
@given(configs(), faults())
def test_random_runs_sample_by_sample(config, broken):
    run = simulate(config, wrap=breaking(broken)).run
    told, makespan_s = freshness(run.tables, run.header["makespan_s"]), run.header["makespan_s"]
    taken = {
        p: cut
        for first, stop, cut in run.batches.select("first", "stop", "cut_s").iter_rows()
        for p in range(first, stop)
    }
    position = dict(run.triggers.select("trigger", "position").iter_rows())
    stores = sorted((at, position[model]) for model, at in run.models.select("model", "stored_s").iter_rows())
    first_store = {p: min((at for at, reach in stores if reach >= p), default=None) for p in taken}
    waited = sorted(at - taken[p] for p, at in first_store.items() if at is not None)
    for percent in (50, 95, 99):
        expected = None if not waited else waited[int(np.ceil(percent / 100 * len(waited))) - 1]
        assert told[f"incorporation_p{percent}_s"] == (None if expected is None else pytest.approx(expected))
    assert told["not_incorporated"] == sum(at is None for at in first_store.values())
    if taken and makespan_s > 0:
        total = sum((makespan_s if first_store[p] is None else first_store[p]) - cut for p, cut in taken.items())
        assert told["backlog"] == pytest.approx(total / makespan_s)
        assert 0 <= told["backlog"] <= told["backlog_max"] <= len(taken)
    if told["staleness_s"] is not None:
        assert 0 <= told["staleness_s"] <= told["staleness_max_s"] <= makespan_s


def test_more_trainings_at_a_time_make_data_wait_less():
    config = {
        "data": {"kind": "uniform", "num_samples": 2000, "every": 1.0},
        "mode": "live",
        "batching": {"kind": "time", "seconds": 10},
        "trigger": {"kind": "amount", "n": 50},
        "variant": "overlapped",
        "sim": {"costs": {"training": {"setup_s": 100.0, "samples_per_s": 1e6}, "noise_sigma": 0.0}},
    }
    one = tc.run({**config, "overlap": {"on_trigger": "coalesce"}}, on="sim").summary
    three = tc.run({**config, "overlap": {"trainings_at_once": 3}, "cluster": {"devices": 3}}, on="sim").summary
    assert one["missed_triggers"] > 0 == three["missed_triggers"]
    assert three["incorporation_p95_s"] < one["incorporation_p95_s"]
    assert three["staleness_s"] < one["staleness_s"]
    assert three["backlog"] < one["backlog"]
