"""Costs fitted to runs: they give back what a run was made with, within the interval that they state."""

from __future__ import annotations

import math
from unittest.mock import patch

import numpy as np
import polars as pl
import pytest

import twinclock as tc
from sim.calibration import figures
from sim.calibration.accuracy import fit_accuracy
from sim.calibration.calibrate import fit_runs
from sim.calibration.constants import mean_figure, mean_s
from sim.calibration.durations import fit_seconds
from sim.calibration.overlap import alone_s, beside_matrix, fit_slowing, with_neighbours
from twinclock.errors import RunError


@pytest.fixture(autouse=True, scope="module")
def few_resamples():
    """Enough for intervals of two digits."""
    with patch.object(figures, "RESAMPLES", 149):
        yield


SIZES = np.linspace(500, 20_000, 24)
STEPS = np.where(np.arange(24) % 2 == 0, np.ceil(SIZES / 32), np.ceil(SIZES / 256))
COLUMNS = np.stack([np.ones(24), STEPS, SIZES], axis=1)
TRUTH = np.array([0.1, 0.001, 1 / 20_000])


def noisy(seed, sigma=0.1, truth=TRUTH):
    return COLUMNS @ truth * np.exp(sigma * np.random.default_rng(seed).standard_normal(len(COLUMNS)))


COSTS = {
    "decide_s": 0.002,
    "decide_by_stage": {"EVALUATE": 0.01},
    "grant_s": 0.003,
    "connect_s": 2.5,
    "launch_s": 0.02,
    "results_s": 0.03,
    "read": {"setup_s": 0.05, "samples_per_s": 50e6},
    "training": {"setup_s": 0.4, "samples_per_s": 2000.0},
    "warmup_s": 3.0,
    "evaluation": {"setup_s": 0.2, "interval_s": 0.05, "samples_per_s": 10_000.0},
    "store": {"latency_s": 0.04, "model_bytes": 5_000},
    "noise_sigma": 0.05,
}
CONFIG = {
    "name": "made",
    "data": {"kind": "uniform", "num_samples": 12_000, "every": 60.0, "chunk": 1000},
    "batching": {"kind": "fixed", "n": 500},
    "trigger": {"kind": "amount", "n": 500},
    "training": {"epochs": 2, "batch_size": 64},
    "evaluation": {"plans": [{"kind": "slicing", "every": "1d", "models": "all", "when": "after_training"}]},
    "sim": {"costs": COSTS, "quality": {"kind": "decay", "peak": 0.9, "floor": 0.2, "half_life_s": 2e5}},
}


def made(**changed):
    return tc.run({**CONFIG, **changed}, on="sim")


@pytest.fixture(scope="module")
def calibrated():
    return fit_runs([made()])


def figure(found, key):
    (one,) = [each for each in found.figures if each.key == key]
    return one


# A simulated run


def test_costs_without_noise_are_those_that_the_run_was_made_with(calibrated):
    costs = calibrated.costs
    for key in ("connect_s", "launch_s", "results_s"):
        assert costs[key] == pytest.approx(COSTS[key])
    assert 0.002 < costs["decide_s"] < 0.01  # of the others: the mean of all decisions, EVALUATE's among them
    assert costs["decide_by_stage"]["EVALUATE"] == pytest.approx(0.01)
    assert costs["decide_by_stage"]["TRAINING_COMPLETED"] == pytest.approx(0.002)
    assert costs["grant_s"] == pytest.approx(0.003)
    assert costs["read"] == {"setup_s": pytest.approx(0.05)}
    assert costs["store"] == {"latency_s": pytest.approx(0.04), "model_bytes": 5000}


def test_costs_with_noise_are_those_of_the_run_within_their_intervals(calibrated):
    for key, truth in (
        ("costs.training.samples_per_s", 2000.0),
        ("costs.evaluation.samples_per_s", 10_000.0),
        ("costs.warmup_s", 3.0),
    ):
        one = figure(calibrated, key)
        assert one.low <= truth <= one.high, one
        assert one.value == pytest.approx(truth, rel=0.15), one
    assert calibrated.costs["noise_sigma"] == pytest.approx(0.05, rel=0.4)


def test_the_first_training_on_a_device_is_left_out_and_said_to_be(calibrated):
    one = figure(calibrated, "costs.training.samples_per_s")
    assert (one.num_observations, one.num_left_out) == (23, 1)
    (cold,) = calibrated.residuals.filter(pl.col("job") == "training", "is_warmup").rows(named=True)
    assert cold["seconds"] > cold["fitted_s"] + 2.5


def test_a_run_that_does_not_warm_up_has_no_costs_of_it():
    found = fit_runs([made(sim={"costs": {**COSTS, "warmup_s": 0.0}})])
    assert found.costs["warmup_s"] == 0.0


def test_quality_is_that_of_the_run(calibrated):
    quality = calibrated.quality
    assert quality["kind"] == "decay"
    assert quality["peak"] == pytest.approx(0.9, abs=0.01)
    assert quality["half_life_s"] == pytest.approx(2e5, rel=0.05)
    assert figure(calibrated, "quality.floor").spread == pytest.approx(1.0, abs=1e-3)


def test_what_the_run_does_not_show_is_left_out_and_said(calibrated):
    said = " ".join(calibrated.missing)
    assert "drift" not in calibrated.costs
    assert "step_s" not in calibrated.costs["training"]
    assert calibrated.interference is None
    for key in ("costs.drift", "costs.training.step_s", "interference", "costs.read.samples_per_s"):
        assert key in said


def test_two_batch_sizes_tell_the_seconds_of_a_step():
    costs = {**COSTS, "training": {"setup_s": 0.4, "step_s": 0.02, "samples_per_s": 2000.0}}
    runs = [made(training={"epochs": 2, "batch_size": size}, sim={"costs": costs}) for size in (16, 256)]
    found = fit_runs(runs)
    assert found.costs["training"]["step_s"] == pytest.approx(0.02, rel=0.1)
    assert found.costs["training"]["samples_per_s"] == pytest.approx(2000.0, rel=0.1)
    assert figure(found, "costs.training.step_s").num_left_out == 2


def test_a_run_simulated_anew_takes_as_long(calibrated):
    before = made()
    again = made(sim={"costs": {**calibrated.costs}})
    for stage in ("WAIT_FOR_TRAINING_COMPLETION", "WAIT_FOR_EVALUATION_COMPLETION", "EVALUATE", "RUN_TRAINING"):
        assert again.summary["stage_s"][stage] == pytest.approx(before.summary["stage_s"][stage], rel=0.03)


# Two devices


def test_interference_is_that_of_the_run():
    side_by_side = {
        "variant": "overlapped",
        "cluster": {"devices": 3},
        "overlap": {"trainings_at_once": 3},
        "sim": {"costs": {**COSTS, "warmup_s": 0.0}, "interference": {"same_node": 0.4}},
    }
    found = fit_runs([made(**side_by_side), made(sim={"costs": COSTS})])
    one = figure(found, "interference.same_node")
    assert one.low <= 0.4 <= one.high, one
    assert found.interference["same_node"] == pytest.approx(0.4, abs=0.08)
    assert found.costs["training"]["samples_per_s"] == pytest.approx(2000.0, rel=0.1)


def test_seconds_beside_others_are_counted_by_how_many_they_were():
    run = made()
    working = pl.DataFrame(
        {
            "stage": ["OBSERVE"] * 3,
            "device": ["a", "b", "c"],
            "started_s": [0.0, 2.0, 5.0],
            "ended_s": [10.0, 6.0, 8.0],
        }
    )
    jobs = working.filter(pl.col("device") == "a").select("device", "started_s", "ended_s")

    class Told:
        stage_runs = working

    assert beside_matrix(with_neighbours(jobs, Told())).tolist() == [[4.0, 5.0, 1.0]]
    assert alone_s(np.array([[4.0, 5.0, 1.0]]), 0.5) == pytest.approx([4 + 5 / 1.5 + 1 / 2])
    assert run.outcome == "done"


def test_jobs_that_are_never_alone_do_not_tell_the_interference():
    seconds = noisy(0)
    beside = np.stack([np.zeros(24), seconds], axis=1)
    assert fit_slowing(COLUMNS, beside) is None
    assert fit_slowing(COLUMNS, seconds[:, None]) is None


# What is fitted to seconds


def test_the_truth_lies_in_the_interval_about_as_often_as_it_says():
    inside = np.zeros(3)
    seeds = 24
    for seed in range(seeds):
        fit = fit_seconds(COLUMNS, noisy(seed), optional=())
        inside += (fit.low <= TRUTH) & (fit.high >= TRUTH)
    assert (inside / seeds >= 0.8).all(), inside / seeds


@pytest.mark.parametrize("sigma", [0.05, 0.3])
def test_all_jobs_together_take_as_long_as_they_did(sigma):
    """Their mean is above their median, and a fit of medians alone would be too low."""
    for seed in range(5):
        seconds = noisy(seed, sigma)
        fit = fit_seconds(COLUMNS, seconds, optional=())
        assert (fit.fitted_s * fit.mean_factor).sum() == pytest.approx(seconds.sum(), rel=0.02)


def test_the_noise_is_told():
    found = [fit_seconds(COLUMNS, noisy(seed), optional=()).sigma for seed in range(6)]
    assert np.mean(found) == pytest.approx(0.1, rel=0.2)


def test_a_job_that_took_ten_times_as_long_hardly_matters_and_is_told():
    seconds = noisy(1, 0.05)
    before = fit_seconds(COLUMNS, seconds, optional=())
    seconds[20] *= 10
    after = fit_seconds(COLUMNS, seconds, optional=())
    assert after.numbers == pytest.approx(before.numbers, rel=0.15)
    assert after.is_outlier.tolist() == [each == 20 for each in range(24)]


def test_what_jobs_do_not_tell_apart_is_left_out():
    columns = np.stack([np.ones(24), SIZES / 32, SIZES], axis=1)
    fit = fit_seconds(columns, columns @ TRUTH, optional=(1,))
    assert fit.told == (0, 2)
    assert fit.numbers == pytest.approx([0.1, 0.0, 0.001 / 32 + 1 / 20_000])


# Means


def test_a_mean_keeps_the_sum_of_short_and_long_times():
    seconds = np.array([0.001] * 60 + [0.02] * 20)
    assert mean_s(seconds) == pytest.approx(seconds.mean())


def test_a_single_hiccup_is_bounded():
    seconds = np.array([0.001] * 40 + [3.0])
    assert mean_s(seconds) < 0.0012


def test_a_mean_of_few_has_no_interval_and_one_of_more_holds_the_truth():
    assert mean_figure("x", np.array([1.0, 2.0])).low is None
    rng = np.random.default_rng(3)
    means = [mean_figure("x", rng.lognormal(0.0, 0.3, 25)) for _ in range(30)]
    assert sum(each.low <= math.exp(0.045) <= each.high for each in means) >= 25


# Quality


def scored(accuracy, seed=0, noise=0.01):
    rng = np.random.default_rng(seed)
    models = [(model, 500.0 * (model + 1), age) for model in range(20) for age in np.linspace(0, 4e5, 6)]
    table = pl.DataFrame(models, schema=["model", "num_samples", "age_s"], orient="row")
    value = accuracy(table["num_samples"].to_numpy(), table["age_s"].to_numpy())
    return table.with_columns(
        pl.lit(0).alias("run"),
        pl.lit(3).alias("epochs"),
        pl.lit(1000).alias("num_scored"),
        value=pl.Series(value + noise * rng.standard_normal(len(value))),
    )


def test_a_decay_is_recovered_within_its_intervals():
    found = fit_accuracy(scored(lambda n, age: 0.2 + 0.6 * n / (n + 800) * 2 ** (-age / 1.5e5)), from_scratch=True)
    assert found.quality["kind"] == "decay"
    by_key = {each.key: each for each in found.figures}
    for key, truth in (("floor", 0.2), ("gain", 0.6), ("half_samples", 800), ("half_life_s", 1.5e5)):
        one = by_key[f"quality.{key}"]
        assert one.low <= truth <= one.high, one
    assert by_key["quality.floor"].spread > 0.98


def test_a_curve_that_no_hyperbola_meets_is_fitted_by_the_formula():
    def value(n, age):
        """It begins at 0.55 and falls to 0.05; with `decay` both are one number."""
        return 0.05 + (1 - 1 / (3e-4 * 3 * n + 2.5) - 0.05 - 0.05) * 2 ** (-age / 1e5)

    table = scored(value, noise=0.001)
    found = fit_accuracy(table, from_scratch=True)
    assert found.quality["kind"] == "formula"
    assert found.quality["learning"]["b0"] == pytest.approx(3e-4, rel=0.2)
    # models that were started from others have gone through more than their own samples
    assert fit_accuracy(table, from_scratch=False).quality["kind"] == "decay"


def test_a_few_scores_are_too_few():
    assert fit_accuracy(scored(lambda n, age: 0.5 + 0 * n).head(6), from_scratch=True) is None


# Too little


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"trigger": {"kind": "amount", "n": 4000}}, "3 trainings that ran through, expected at least 5"),
        ({"selection": {"kind": "new_data", "tail": 0}}, "trainings of 1 size besides the first on each device"),
        ({"evaluation": {"plans": []}}, "0 evaluation jobs"),
    ],
)
def test_too_little_is_refused_and_what_would_help_is_said(changed, said):
    with pytest.raises(RunError) as caught:
        fit_runs([made(**changed)])
    assert said in str(caught.value)
    assert "twinclock observe CONFIG" in str(caught.value)
    assert "\n" not in str(caught.value)
