"""Trainings that go on from a checkpoint: attempts by hand, what is lost, and the expectation from the literature."""

from __future__ import annotations

import math

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

import twinclock as tc
from sim.config import CheckpointCost
from sim.recovery import Stint, TrainingWork
from twinclock.config import load_config
from twinclock.errors import ConfigError
from twinclock.launch import plan_run

FREE = {
    "decide_s": 0.0,
    "connect_s": 0.0,
    "launch_s": 0.0,
    "read": {"setup_s": 0.0, "samples_per_s": 1e300},
    "store": {"latency_s": 0.0, "bytes_per_s": 1e300, "model_bytes": 0},
    "noise_sigma": 0.0,
}


def config(checkpoint, *, training_s=50.0, triggers=1, attempts=10_000, timeout=None, **changes):
    """`checkpoint`: when there is one, and what it costs."""
    pauses = {key: value for key, value in checkpoint.items() if key.endswith("_s")}
    return {
        "data": {"kind": "uniform", "num_samples": 10 * triggers, "every": 1.0, "chunk": 100_000},
        "batching": {"n": 100_000},
        "trigger": {"kind": "amount", "n": 10},
        "selection": {"tail": 0},
        "training": {
            "epochs": 1,
            "timeout": timeout,
            "retry": {"attempts": attempts, "backoff": 0.0},
            "checkpoint": {key: checkpoint[key] for key in ("every", "every_steps") if key in checkpoint},
        },
        "sim": {"costs": {**FREE, "training": {"kind": "constant", "seconds": training_s}, "checkpoint": pauses}},
        **changes,
    }


# One attempt


def test_an_attempt_by_hand():
    """50 s of work with a checkpoint of 2 s every 10 s: 10 · 2 · 10 · 2 · 10 · 2 · 10 · 2 · 10."""
    stint = Stint(50.0, 0.0, 10.0, CheckpointCost(pause_s=2.0, restore_s=3.0))
    assert stint.seconds == 58.0
    for elapsed_s, kept, lost_s in (
        (0.0, 0.0, 0.0),
        (9.0, 0.0, 9.0),
        (11.0, 0.0, 10.0),  # it stands still, and the checkpoint is not whole
        (12.0, 0.2, 0.0),
        (40.0, 0.6, 4.0),
        (58.0, 0.8, 10.0),  # there is no checkpoint at the end
    ):
        assert stint.share_kept(elapsed_s) == pytest.approx(kept), elapsed_s
        assert stint.lost_s(elapsed_s) == pytest.approx(lost_s), elapsed_s


def test_the_next_attempt_by_hand():
    """20 s are left: restoring 3, then 10 · 2 · 10. On a device of half the speed 40 s are left, and 3 pauses."""
    costs = CheckpointCost(pause_s=2.0, restore_s=3.0)
    assert Stint(50.0, 0.6, 10.0, costs).seconds == pytest.approx(3 + 20 + 2)
    assert Stint(100.0, 0.6, 10.0, costs).seconds == pytest.approx(3 + 40 + 3 * 2)
    assert Stint(50.0, 0.6, 10.0, costs).lost_s(2.0) == 0.0  # it was not yet where it had been
    assert Stint(50.0, 0.6, 10.0, costs).share_kept(15.0) == pytest.approx(0.8)


@given(
    st.floats(0.0, 1e4),
    st.sampled_from([None, 0.1, 7.0, 1e5]),
    st.sampled_from([0.0, 0.5, 9.0]),
    st.lists(st.floats(0.0, 1.0), max_size=5),
)
def test_nothing_is_lost_twice_and_nothing_is_kept_that_was_not_done(work_s, every, pause_s, broken_off):
    kept, lost_s, worked_s, costs = 0.0, 0.0, 0.0, CheckpointCost(pause_s=pause_s, restore_s=1.0)
    for share in broken_off:
        stint = Stint(work_s, kept, every, costs)
        elapsed_s = share * stint.seconds
        worked_s += (stint.share_done(elapsed_s) - kept) * work_s
        lost_s += stint.lost_s(elapsed_s)
        assert kept - 1e-9 <= stint.share_kept(elapsed_s) <= stint.share_done(elapsed_s) + 1e-9
        assert stint.lost_s(elapsed_s) <= (work_s if every is None else every) + 1e-6
        kept = stint.share_kept(elapsed_s)
    last = Stint(work_s, kept, every, costs)
    worked_s += (1 - kept) * work_s
    assert worked_s == pytest.approx(work_s + lost_s, abs=1e-6)
    assert last.share_done(last.seconds) == pytest.approx(1.0 if work_s else kept)


def test_what_is_put_aside_loses_nothing():
    kept: dict[int, float] = {}
    work = TrainingWork(3, Stint(50.0, 0.0, 10.0, CheckpointCost(pause_s=2.0)), kept)
    aside = work.put_aside(17.0, within_s=2.0)
    assert aside is not None
    assert (aside.seconds, aside.outcome, aside.values) == (
        2.0, "preempted", {"checkpoint": {"trigger": 3, "share": pytest.approx(15 / 50)}}
    )  # fmt: skip
    assert kept == {3: pytest.approx(0.3)}
    assert work.put_aside(17.0, within_s=1.9) is None
    assert work.stopped(17.0) == {"lost_s": 5.0}
    assert kept == {3: pytest.approx(0.2)}
    fresh = work.put_aside(12.0, within_s=0.0)  # its checkpoint is just whole: there is nothing to wait for
    assert fresh is not None
    assert fresh.seconds == 0.0
    without = TrainingWork(3, Stint(50.0, 0.0, None, CheckpointCost(pause_s=0.0)), kept)
    assert without.put_aside(12.0, within_s=100.0) is None


# Whole runs


def test_a_timeout_by_hand():
    """50 s of work, 27 s at a time. First 10 · 2 · 10 · 2 · 3: 20 s are kept, 3 are lost.

    Then 3 s to restore, 10 · 2 · 10 · 2: 20 s more are kept, nothing is lost. Then 3 + 10. In all 27 + 27 + 13.
    """
    run = tc.run(config({"every": 10.0, "pause_s": 2.0, "restore_s": 3.0}, timeout=27.0), on="sim")
    rows = run.trainings.select("outcome", pl.col("started_s", "ended_s", "lost_s").round(9)).rows()
    assert rows == [("timeout", 0.0, 27.0, 3.0), ("timeout", 27.0, 54.0, 0.0), ("trained", 54.0, 67.0, None)]
    assert run.header["makespan_s"] == pytest.approx(67.0)


def test_what_is_due_every_so_many_steps_is_due_after_their_share_of_the_work():
    """10 samples in minibatches of 64 are 1 step; 5 epochs of 50 s: a checkpoint every 2 steps, or 20 s."""
    by_steps = config({"every_steps": 2, "pause_s": 2.0, "restore_s": 3.0}, timeout=27.0)
    by_seconds = config({"every": 20.0, "pause_s": 2.0, "restore_s": 3.0}, timeout=27.0)
    both = config({"every": 1000.0, "every_steps": 2, "pause_s": 2.0, "restore_s": 3.0}, timeout=27.0)
    for each in (by_steps, by_seconds, both):
        each["training"]["epochs"] = 5
    rows = [tc.run(each, on="sim").trainings.drop("id").rows() for each in (by_steps, by_seconds, both)]
    assert rows[0] == rows[1] == rows[2]
    assert len(rows[0]) == 3


def test_without_checkpoints_it_begins_anew():
    run = tc.run(config({}, timeout=27.0, attempts=3), on="sim")
    assert run.trainings.select("outcome", "lost_s").rows() == [("timeout", 27.0)] * 3
    assert run.models.is_empty()


@pytest.mark.parametrize(
    ("checkpoint", "mtbf_s"),
    [
        ({"every": 10.0, "pause_s": 1.0, "restore_s": 2.0}, 40.0),
        ({"every": 25.0, "pause_s": 4.0, "restore_s": 0.0}, 100.0),
        ({"every": 5.0, "pause_s": 0.5, "restore_s": 8.0}, 30.0),
    ],
)
def test_failures_take_as_long_as_they_are_expected_to(checkpoint, mtbf_s):
    """Daly 2006: a stretch of s seconds takes M · exp(R/M) · (exp(s/M) − 1), where each failure costs R more.

    Here the first stretch has nothing to restore, and the last no checkpoint after it. 400 trainings of 100 s; the
    bound is four standard errors.
    """
    run = tc.run(config(checkpoint, training_s=100.0, triggers=400, faults={"device_mtbf": mtbf_s}), on="sim")
    every, pause_s, restore_s = checkpoint.values()
    num = round(100.0 / every)
    stretch, restore = math.expm1((every + pause_s) / mtbf_s), math.exp(restore_s / mtbf_s)
    expected = mtbf_s * (stretch + restore * (num - 2) * stretch + restore * math.expm1(every / mtbf_s))
    took_s = run.trainings.group_by("trigger").agg((pl.col("ended_s") - pl.col("started_s")).sum())["ended_s"]
    assert took_s.len() == 400
    assert took_s.mean() == pytest.approx(expected, abs=4 * took_s.std() / 400**0.5)
    assert took_s.std() / 400**0.5 < 0.06 * expected
    lost_s = run.trainings.filter(pl.col("outcome") == "failed")["lost_s"]
    assert 0.0 <= lost_s.min() <= lost_s.max() <= every + 1e-9


def test_young_s_interval_is_near_the_best():
    """√(2 · pause · mtbf), Young 1974: both a third of it and three times as much take longer."""
    pause_s, mtbf_s = 2.0, 100.0
    best = math.sqrt(2 * pause_s * mtbf_s)
    shorter, young, longer = (
        tc.run(
            config(
                {"every": every, "pause_s": pause_s}, training_s=200.0, triggers=200, faults={"device_mtbf": mtbf_s}
            ),
            on="sim",
        ).header["makespan_s"]
        for every in (best / 3, best, best * 3)
    )
    assert young < shorter
    assert young < longer


def test_what_goes_on_from_a_checkpoint_meets_another_fate_at_each_attempt():
    """It fails after a share of what is left, again and again, and comes nearer all the time."""
    run = tc.run(config({"every": 1.0}, triggers=300, faults={"training": 0.5}), on="sim")
    assert run.models.height == 300
    for (_,), tried in run.trainings.group_by("trigger"):
        took_s = (tried["ended_s"] - tried["started_s"]).to_list()
        assert sum(took_s) == pytest.approx(50.0 + (tried["lost_s"].sum() or 0.0))


@pytest.mark.parametrize("restore_s", [-1.0, float("inf")])
def test_what_is_no_checkpoint(restore_s):
    with pytest.raises(ConfigError, match=r"sim.costs.checkpoint.restore_s: got "):
        plan_run(load_config(config({"every": 1.0, "restore_s": restore_s})), "sim")


def test_when_checkpoints_are_kept_is_said_under_training():
    said = config({})
    said["sim"]["costs"]["checkpoint"] = {"every": "10m"}
    with pytest.raises(ConfigError) as caught:
        tc.run(said, on="sim")
    line = 'sim.costs.checkpoint.every: got "10m", expected it under training.checkpoint.every'
    assert str(caught.value).endswith(line)
