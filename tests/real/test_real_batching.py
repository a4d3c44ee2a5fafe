"""Ingest batches of the kinds that know the clock, in real runs: without loss, also through crashes."""

from __future__ import annotations

import pytest
from crashing import run_through_crashes
from inline_pool import InlinePool
from real_runs import end_state, small

from twinclock import launch

ADAPTIVE = {"kind": "adaptive", "min": 50, "max": 300, "step": 40}


@pytest.fixture(autouse=True)
def _inline(monkeypatch):
    monkeypatch.setattr("real.pool.WorkerPool", InlinePool)


def sizes(run):
    assert run.batches["first"].to_list() == [0, *run.batches["stop"].to_list()[:-1]]
    assert run.batches["stop"][-1] == 2000
    return (run.batches["stop"] - run.batches["first"]).to_list()


def test_a_size_grows_if_a_batch_may_take_an_hour_and_stays_if_it_may_take_no_time(tmp_path):
    hour = launch.run(small(batching={**ADAPTIVE, "target": "1h"}), on="real", out=tmp_path / "hour")
    assert sizes(hour) == [50, 90, 130, 170, 210, 250, 290, 300, 300, 210]
    nothing = launch.run(small(batching={**ADAPTIVE, "target": 1e-9}), on="real", out=tmp_path / "nothing")
    assert sizes(nothing) == [50] * 40
    assert nothing.triggers.drop("fired_s").equals(hour.triggers.drop("fired_s"))


def test_a_size_survives_a_crash(tmp_path):
    config = small(batching={**ADAPTIVE, "target": "1h"})
    undisturbed = launch.run(config, on="real", out=tmp_path / "undisturbed")
    run, num_crashes = run_through_crashes(config, tmp_path / "disturbed", 3, before=True)
    assert num_crashes > 10
    assert end_state(run.folder) == end_state(undisturbed.folder)


@pytest.mark.parametrize(
    "batching",
    [
        {"kind": "size_or_timeout", "n": 150, "seconds": 0.05},
        {"kind": "time", "seconds": 0.05},
        {**ADAPTIVE, "target": 0.002},
    ],
)
def test_live_no_sample_is_lost_and_none_comes_twice(tmp_path, batching):
    """Three years of data a second: how it is cut is a matter of the clock, the triggers are not."""
    config = small(mode="live", live={"speed_up": 1e8}, batching=batching)
    run, num_crashes = run_through_crashes(config, tmp_path / "live", 10, before=True)
    assert run.outcome == "done"
    assert num_crashes >= 1
    assert run.triggers["position"].to_list() == [499, 999, 1499, 1999]
    at_most = {"size_or_timeout": 150, "time": 10_000, "adaptive": 300}[batching["kind"]]
    assert all(0 < size <= at_most for size in sizes(run))
