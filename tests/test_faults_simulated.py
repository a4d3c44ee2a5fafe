"""Faults of a simulated run: as many as the configuration says, the same for every policy, and nothing is lost."""

from __future__ import annotations

import polars as pl
import pytest

import twinclock as tc
from twinclock.config import load_config
from twinclock.errors import ConfigError
from twinclock.launch import plan_run

CONFIG = {
    "data": {"kind": "uniform", "num_samples": 8_000, "every": 1.0, "chunk": 8_000},
    "batching": {"n": 1000},
    "trigger": {"kind": "amount", "n": 20},
    "selection": {"tail": 0},
    "training": {"epochs": 1, "retry": {"attempts": 3, "backoff": 0.0}},
    "evaluation": {"plans": [{"kind": "between_triggers"}]},
}
COSTS = {"training": {"setup_s": 10.0, "samples_per_s": 1e9}, "noise_sigma": 0.0}


def run(faults, costs=COSTS, **config):
    return tc.run({**CONFIG, **config, "sim": {"costs": costs, "faults": faults}}, on="sim")


def share_failed(run, stage) -> float:
    rows = run.stage_runs.filter(pl.col("stage") == stage)
    return (rows["outcome"] == "failed").mean()


def test_nothing_goes_wrong_unless_it_is_asked_for():
    assert run({}).faults.is_empty()


@pytest.mark.parametrize(
    ("key", "stage"),
    [
        ("training", "WAIT_FOR_TRAINING_COMPLETION"),
        ("store", "STORE_TRAINED_MODEL"),
        ("evaluation", "WAIT_FOR_EVALUATION_COMPLETION"),
    ],
)
def test_as_many_attempts_fail_as_the_configuration_says(key, stage):
    """Of 400 triggers; the bound is three standard deviations and a half."""
    broken = run({key: 0.2})
    assert share_failed(broken, stage) == pytest.approx(0.2, abs=0.07)
    assert set(broken.faults["stage"]) == {stage}
    assert set(broken.faults["type"]) == {"JobFailed"}
    assert broken.outcome == "done"


def test_a_training_fails_after_an_evenly_drawn_part_of_its_time():
    waits = run({"training": 0.3}).stage_runs.filter(
        pl.col("stage") == "WAIT_FOR_TRAINING_COMPLETION", pl.col("outcome") == "failed"
    )
    lasted_s = (waits["ended_s"] - waits["started_s"]).to_numpy()
    assert lasted_s.max() < 10.0
    assert lasted_s.mean() == pytest.approx(5.0, abs=0.9)


def test_devices_fail_at_their_rate_whatever_runs_on_them():
    """Failures over the time that devices were at work, within three and a half standard deviations of 1/mtbf."""
    broken = run({"device_mtbf": 40.0})
    work = broken.stage_runs.filter(pl.col("stage") == "WAIT_FOR_TRAINING_COMPLETION")
    num_failed = (work["outcome"] == "failed").sum()
    at_work_s = (work["ended_s"] - work["started_s"]).sum()
    assert num_failed > 80
    assert num_failed / at_work_s == pytest.approx(1 / 40.0, rel=3.5 / num_failed**0.5)
    assert set(broken.faults["type"]) == {"DeviceFailed"}
    assert broken.faults["message"][0] == "a device of sim:0 failed"


def test_more_devices_fail_sooner():
    few, many = (
        run({"device_mtbf": 100.0}, cluster={"devices": n}, training={**CONFIG["training"], "devices": n})
        for n in (1, 4)
    )
    assert share_failed(many, "WAIT_FOR_TRAINING_COMPLETION") > 2 * share_failed(few, "WAIT_FOR_TRAINING_COMPLETION")


def test_stragglers_take_their_factor():
    waits = run({"stragglers": {"share": 0.1, "factor": 3.0}}).stage_runs.filter(
        pl.col("stage") == "WAIT_FOR_TRAINING_COMPLETION"
    )
    lasted_s = (waits["ended_s"] - waits["started_s"]).round(6)
    assert set(lasted_s) == {10.0, 30.0}
    assert (lasted_s == 30.0).mean() == pytest.approx(0.1, abs=0.053)


def test_the_same_triggers_meet_the_same_luck_in_another_run():
    """Fewer trainings, other batches, another variant: what fails at a trigger and an attempt stays the same."""

    def failed(made):
        rows = made.faults.filter(pl.col("stage") == "WAIT_FOR_TRAINING_COMPLETION").join(
            made.stage_runs.select("id", "trigger"), on="id"
        )
        return set(rows.select("trigger", "attempt").iter_rows())

    long = failed(run({"training": 0.2}))
    short = failed(run({"training": 0.2}, data={**CONFIG["data"], "num_samples": 2000}, batching={"n": 7}))
    assert short == {each for each in long if each[0] < 100}
    assert failed(run({"training": 0.2, "evaluation": 0.5}, variant="sequential")) == long
    assert failed(run({"training": 0.4})) > long
    assert failed(run({"training": 0.2}, seed=1)) != long


def test_a_connection_that_is_lost_ends_the_run_and_says_so():
    lost = run({"connect": 1.0})
    assert lost.outcome == "failed"
    assert lost.faults["stage"].to_list() == ["INIT_CLUSTER_CONNECTION"]


def test_an_observation_that_fails_for_good_is_a_decision_without_one():
    trigger = {"kind": "performance", "interval": 500, "rules": [{"kind": "static", "threshold": 0.99}]}
    broken = run({"observation": 1.0}, trigger=trigger)
    assert broken.outcome == "done"
    assert broken.summary["positions"] == [499], "the forced first one only"
    assert set(broken.faults["stage"]) == {"OBSERVE"}


@pytest.mark.parametrize(
    ("faults", "message"),
    [
        ({"training": 1.5}, "sim.faults.training: got 1.5, expected a number <= 1"),
        ({"training": -0.1}, "sim.faults.training: got -0.1, expected a number >= 0"),
        ({"training": float("nan")}, "sim.faults.training: got NaN"),
        ({"device_mtbf": 0}, "sim.faults.device_mtbf: got 0, expected a number > 0"),
        ({"stragglers": {"factor": 0.5}}, "sim.faults.stragglers.factor: got 0.5, expected a number >= 1"),
        ({"trainig": 0.1}, "sim.faults.trainig: unknown key (got 0.1); did you mean training?"),
    ],
)
def test_what_is_no_plan_of_faults(faults, message):
    with pytest.raises(ConfigError) as raised:
        plan_run(load_config({**CONFIG, "sim": {"faults": faults}}), "sim")
    assert message in str(raised.value)
