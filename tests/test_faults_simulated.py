"""Faults of a simulated run: as many as the configuration says, the same for every policy, and nothing is lost."""

from __future__ import annotations

import math

import numpy as np
import polars as pl
import pytest

import twinclock as tc
from twinclock.config import load_config
from twinclock.errors import ConfigError
from twinclock.luck import life_s

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
    return tc.run({**CONFIG, **config, "sim": {"costs": costs}, "faults": faults}, on="sim")


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
    assert broken.faults["message"][0] == "device sim:0 failed"


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


def in_use_between_failures(broken) -> list[float]:
    """Seconds at work from one failure of the one device to the next; RUN_TRAINING and decisions do not count."""
    at_work = pl.col("stage").is_in(["WAIT_FOR_TRAINING_COMPLETION", "WAIT_FOR_EVALUATION_COMPLETION"])
    lives, lived_s = [], 0.0
    for row in broken.stage_runs.filter(at_work).sort("started_s").iter_rows(named=True):
        lived_s += row["ended_s"] - row["started_s"]
        if row["outcome"] == "failed":
            lives.append(lived_s)
            lived_s = 0.0
    return lives


@pytest.mark.parametrize("shape", [0.6, 1.0, 2.5])
def test_lives_of_devices_are_weibull_whatever_is_done_in_them(shape):
    """Some hundred lives of 40 s on average, in trainings of 10 s: a job fails more or less as its device is old."""
    from scipy.stats import kstest, weibull_min

    longer = {"data": {**CONFIG["data"], "num_samples": 24_000}}
    lives = np.array(in_use_between_failures(run({"device_mtbf": 40.0, "device_shape": shape}, **longer)))
    assert len(lives) > 200
    assert lives.mean() == pytest.approx(40.0, abs=4 * lives.std() / len(lives) ** 0.5)
    assert kstest(lives, weibull_min(shape, scale=40.0 / math.gamma(1 + 1 / shape)).cdf).pvalue > 0.01


@pytest.mark.parametrize("shape", [0.5, 1.0, 3.0])
def test_a_life_cut_into_draws_is_the_same_life(shape):
    """Of 40,000: whoever has survived for 25 s draws anew what is left, and still lives 40 s on average."""
    rng = np.random.default_rng(7)
    first = np.array([life_s(40.0, shape, drawn) for drawn in rng.standard_exponential(40_000)])
    cut = np.array([life_s(40.0, shape, drawn, age_s=25.0) for drawn in rng.standard_exponential(40_000)])
    lives = np.where(first < 25.0, first, 25.0 + cut)
    assert lives.mean() == pytest.approx(40.0, abs=4 * lives.std() / 200)
    assert np.quantile(lives, 0.9) == pytest.approx(np.quantile(first, 0.9), rel=0.03)


def test_lives_of_the_shape_one_do_not_depend_on_age():
    assert life_s(40.0, 1.0, 0.3, age_s=1e6) == life_s(40.0, 1.0, 0.3) == 12.0


def test_what_comes_first_is_what_an_attempt_fails_of():
    both = run({"device_mtbf": 20.0, "training": 0.5})
    shares, lives = run({"training": 0.5}), run({"device_mtbf": 20.0})
    firsts = [failed_after(made) for made in (both, shares, lives)]
    attempts = firsts[1].keys() & firsts[2].keys()
    assert len(attempts) > 20
    assert {firsts[0][each] == min(firsts[1][each], firsts[2][each]) for each in attempts} == {True}
    assert set(both.faults["type"]) == {"JobFailed", "DeviceFailed"}


def failed_after(made):
    """(trigger, attempt) → seconds after which the training failed."""
    rows = made.stage_runs.filter(
        (pl.col("stage") == "WAIT_FOR_TRAINING_COMPLETION") & (pl.col("outcome") == "failed")
    ).with_columns(pl.col("id").str.extract(r"on_device#0@(\d)").alias("at"))
    took = (pl.col("ended_s") - pl.col("started_s")).round(6)
    return {(trigger, at): seconds for trigger, at, seconds in rows.select("trigger", "at", took).iter_rows()}


def test_a_change_of_one_share_leaves_the_other_luck_as_it_was():
    few, more = failed_after(run({"training": 0.2})), failed_after(run({"training": 0.4, "evaluation": 0.3}))
    assert few.items() < more.items()
    stragglers = run({"training": 0.2, "stragglers": {"share": 0.5, "factor": 1.0}})
    assert failed_after(stragglers) == few


@pytest.mark.parametrize(
    ("faults", "message"),
    [
        ({"training": 1.5}, "faults.training: got 1.5, expected a number <= 1"),
        ({"training": -0.1}, "faults.training: got -0.1, expected a number >= 0"),
        ({"training": float("nan")}, "faults.training: got NaN"),
        ({"device_mtbf": 0}, "faults.device_mtbf: got 0, expected a number > 0"),
        ({"device_shape": 0}, "faults.device_shape: got 0, expected a number >= 0.1"),
        ({"stragglers": {"factor": 0.5}}, "faults.stragglers.factor: got 0.5, expected a number >= 1"),
        ({"trainig": 0.1}, "faults.trainig: unknown key (got 0.1); did you mean training?"),
    ],
)
def test_what_is_no_plan_of_faults(faults, message):
    with pytest.raises(ConfigError) as raised:
        load_config({**CONFIG, "faults": faults})
    assert message in str(raised.value)
