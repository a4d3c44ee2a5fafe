"""Where the time went: nothing of it is lost, and nothing is counted twice."""

from __future__ import annotations

import polars as pl
import pytest
from handmade import held
from handmade import run as by_hand
from hypothesis import given, settings
from simulated import breaking, configs, costs, faults, seconds, simulate

from twinclock.errors import RunError
from twinclock.explain.spent import time_by_stage, time_by_unit

WAITS = ("waiting_device_s", "waiting_slot_s", "waiting_data_s", "waiting_other_s")


@settings(deadline=None, derandomize=True, max_examples=60)
@given(configs(), faults())
def test_no_second_is_lost(config, broken):
    run = simulate(config, wrap=breaking(broken)).run
    spent, summary = time_by_stage(run), run.summary
    assert dict(spent.select("stage", "count").iter_rows()) == dict(run.stage_runs.group_by("stage").len().iter_rows())
    ran = dict(spent.select("stage", pl.col("working_s") + pl.col("waiting_data_s")).iter_rows())
    assert ran == pytest.approx(summary["stage_s"])
    assert spent["critical_s"].sum() == pytest.approx(summary["makespan_s"])
    assert spent["critical_share"].sum() == pytest.approx(1.0 if summary["makespan_s"] else 0.0)
    assert spent["waiting_device_s"].sum() + spent["waiting_slot_s"].sum() == pytest.approx(summary["queued_s"])
    assert (spent.select(pl.min_horizontal(pl.col(pl.Float64)))["working_s"] >= 0.0).all()


@settings(deadline=None, derandomize=True, max_examples=60)
@given(configs(), faults())
def test_every_unit_is_busy_or_idle(config, broken):
    run = simulate(config, wrap=breaking(broken)).run
    units = time_by_unit(run)
    for row in units.drop("resource", "unit").iter_rows():
        assert sum(row) == pytest.approx(run.summary["makespan_s"])
        assert all(part >= 0.0 for part in row)
    devices = units.filter(resource="device")
    assert devices.select(pl.sum_horizontal("training_s", "evaluation_s", "other_s")).sum().item() == pytest.approx(
        run.summary["device_s"]
    )


def test_a_story_second_by_second():
    """One device, live: a training of 5 s after each 10 samples; its evaluation takes 2 s, and so do two in the end."""
    config = {
        "mode": "live",
        "data": {"kind": "uniform", "num_samples": 20, "every": 0.5},
        "batching": {"n": 10},
        "evaluation": {"plans": [{"kind": "slicing", "every": 5.0, "models": "trained"}]},
        "training": {"retry": {"attempts": 2, "backoff": 1.0}},
        "sim": costs(training=seconds(5.0), evaluation=seconds(2.0)),
    }
    run = simulate(config, wrap=breaking({0: "late"})).run
    # 0 to 4.5 data; 4.5 to 7 the attempt that fails half-way, rest to 8, 8 to 13 the next; at 13 all data are there
    spent = {row["stage"]: row for row in time_by_stage(run).iter_rows(named=True)}
    training = spent["WAIT_FOR_TRAINING_COMPLETION"]
    assert (training["count"], training["working_s"], training["median_s"]) == (3, 12.5, 5.0)
    assert spent["WAIT_FOR_NEW_DATA"]["waiting_data_s"] == 4.5
    assert spent["WAIT_FOR_NEW_DATA"]["working_s"] == 0.0
    assert spent["RUN_TRAINING"]["waiting_other_s"] == 1.0
    evaluation = spent["WAIT_FOR_EVALUATION_COMPLETION"]
    assert run.summary["makespan_s"] == pytest.approx(13.0 + 2.0 + 5.0 + 2.0 + 2.0)
    assert spent["RUN_TRAINING"]["waiting_device_s"] == pytest.approx(2.0)
    assert evaluation["waiting_device_s"] == 0.0
    assert evaluation["critical_s"] == pytest.approx(4.0)
    unit = time_by_unit(run).row(0, named=True)
    assert unit == pytest.approx(
        {"resource": "device", "unit": "sim:0", "training_s": 12.5, "evaluation_s": 6.0, "other_s": 0.0, "idle_s": 5.5}
    )


def test_idle_time_is_what_lies_between_the_holdings_of_a_unit():
    devices = [held("/a", 0, 10, 30), held("/b", 0, 40, 90), held("/c", 0, 0, 100, unit="sim:1")]
    assert time_by_unit(by_hand(devices=devices)).select("unit", "idle_s", "other_s").rows() == [
        ("sim:0", 30.0, 70.0),
        ("sim:1", 0.0, 100.0),
    ]


def test_a_run_without_an_end_is_refused():
    running = by_hand({"state": "suspended", "makespan_s": None})
    for asked in (time_by_stage, time_by_unit):
        with pytest.raises(RunError, match="state suspended, expected a finished run"):
            asked(running)


def test_a_run_without_a_stage_run_has_empty_tables():
    empty = by_hand()
    assert time_by_stage(empty).is_empty()
    assert set(WAITS) <= set(time_by_stage(empty).columns)
    assert time_by_unit(empty).is_empty()
