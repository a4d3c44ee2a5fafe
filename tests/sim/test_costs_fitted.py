"""Costs fitted to an earlier run: they give back what a run was made with, and bear noise and outliers."""

from __future__ import annotations

import json

import polars as pl
import pytest

import twinclock as tc
from sim.throughput.fitted import fit
from twinclock.errors import ConfigError

TRUTH = {"setup_s": 3.0, "samples_per_s": 50.0}
RUN = {
    "data": {"kind": "uniform", "num_samples": 2000, "every": 1.0},
    "trigger": {"kind": "amount", "n": 100},
    "training": {"epochs": 2, "batch_size": 64},
}


def made(folder, costs=TRUTH, *, sigma=0.0, **changed):
    config = {**RUN, **changed, "sim": {"costs": {"training": costs, "noise_sigma": sigma, "launch_s": 0.0}}}
    tc.run(config, on="sim", out=folder)
    return str(folder)


def rewritten(folder, change):
    """The same run, with the table of its trainings changed."""
    (file,) = (folder / "tables" / "trainings").glob("*.parquet")
    change(pl.read_parquet(file)).write_parquet(file)
    return str(folder)


def refusal(folder):
    with pytest.raises(ConfigError) as caught:
        fit(folder)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_a_run_without_noise_gives_its_costs_back(tmp_path):
    found = fit(made(tmp_path / "run"))
    assert found.num_trainings == 20
    assert found.cost.setup_s == pytest.approx(3.0)
    assert found.cost.samples_per_s == pytest.approx(50.0)
    assert found.cost.step_s == 0.0
    assert found.r2 == pytest.approx(1.0)
    assert found.median_error == pytest.approx(0.0, abs=1e-9)


def test_trainings_that_went_on_from_a_checkpoint_are_left_out(tmp_path):
    """The last attempts of those took less than their samples do."""
    costs = {"training": TRUTH, "noise_sigma": 0.0, "launch_s": 0.0}
    training = {**RUN["training"], "checkpoint": {"every": 2.0}, "retry": {"attempts": 1000, "backoff": 0.0}}
    broken = {**RUN, "training": training, "faults": {"device_mtbf": 30.0}, "sim": {"costs": costs}}
    run = tc.run(broken, on="sim", out=tmp_path / "run")
    assert run.trainings.filter(pl.col("outcome") == "trained").height == 20
    found = fit(str(tmp_path / "run"))
    assert 3 <= found.num_trainings < 20
    assert found.cost.setup_s == pytest.approx(3.0)
    assert found.cost.samples_per_s == pytest.approx(50.0)


def test_the_seconds_of_a_step_are_told_where_they_can_be(tmp_path):
    """Sets of 100, 200, … samples make 2, 4, 5, … steps of 64: not in proportion."""
    found = fit(made(tmp_path / "run", {**TRUTH, "step_s": 0.5}))
    assert found.has_steps
    assert found.cost.step_s == pytest.approx(0.5)
    assert found.cost.samples_per_s == pytest.approx(50.0)


def test_where_steps_are_in_proportion_to_samples_they_count_as_samples(tmp_path):
    """Each sample comes with 1/50 of a step of 0.5 s."""
    training = {"epochs": 2, "batch_size": 50}
    found = fit(made(tmp_path / "run", {**TRUTH, "step_s": 0.5}, training=training))
    assert not found.has_steps
    assert found.cost.step_s == 0.0
    assert found.cost.samples_per_s == pytest.approx(1 / (1 / 50 + 0.5 / 50))
    assert found.cost.setup_s == pytest.approx(3.0)


def test_noise_does_not_carry_the_fit_away(tmp_path):
    found = fit(made(tmp_path / "run", sigma=0.09))
    assert found.cost.samples_per_s == pytest.approx(50.0, rel=0.1)
    assert 0.9 < found.r2 < 1
    assert 0.01 < found.median_error < 0.15


def test_a_training_that_took_ten_times_as_long_hardly_matters(tmp_path):
    made(tmp_path / "run", sigma=0.02)
    before = fit(str(tmp_path / "run")).cost

    def stall(trainings):
        seconds = pl.col("ended_s") - pl.col("started_s")
        late = pl.when(pl.col("trigger") == 7).then(9 * seconds).otherwise(0.0)
        return trainings.with_columns(ended_s=pl.col("ended_s") + late)

    after = fit(rewritten(tmp_path / "run", stall)).cost
    assert after.samples_per_s == pytest.approx(before.samples_per_s, rel=0.05)


def test_the_speed_of_the_devices_is_taken_out(tmp_path):
    cluster = {"device": {"speed": 4.0}}
    assert fit(made(tmp_path / "run", cluster=cluster)).cost.samples_per_s == pytest.approx(50.0)


def test_a_run_fitted_to_another_one_takes_as_long(tmp_path):
    folder = made(tmp_path / "run")
    again = {"training": {"kind": "fitted", "run": folder}, "noise_sigma": 0.0, "launch_s": 0.0}
    run = tc.run({**RUN, "sim": {"costs": again}}, on="sim")
    assert run.header["makespan_s"] == pytest.approx(tc.Run.load(folder).header["makespan_s"])
    (note,) = run.header["cost_notes"]
    assert f"fitted to 20 trainings of {folder}: setup_s 3, step_s 0, samples_per_s 50; R² 1.0000" in note
    assert "training costs" not in run.summary["uncalibrated"]
    assert "fitted to 20 trainings" in repr_of(run)


def repr_of(run):
    return run._repr_html_()


def test_a_fit_at_another_model_or_batch_is_said_to_be_extrapolated(tmp_path):
    folder = made(tmp_path / "run")
    training = {"epochs": 2, "batch_size": 32, "model": {"kind": "mlp", "hidden": [4]}}
    fitted = {"costs": {"training": {"kind": "fitted", "run": folder}}}
    run = tc.run({**RUN, "training": training, "sim": fitted}, on="sim")
    assert run.header["cost_notes"][1:] == [
        f"extrapolated: {folder} has another training.model",
        f"extrapolated: {folder} has another training.batch_size",
    ]


# What is refused


def test_what_is_no_finished_run_is_refused(tmp_path):
    assert refusal(str(tmp_path / "none")).startswith("sim.costs.training.run: ")
    made(tmp_path / "run")
    header = tmp_path / "run" / "run.json"
    header.write_text(json.dumps({**json.loads(header.read_text()), "outcome": "failed"}))
    assert refusal(str(tmp_path / "run")).endswith("is not done, expected a finished run")


def test_fewer_than_three_sizes_are_refused(tmp_path):
    same = made(tmp_path / "same", selection={"tail": 0})
    assert "has trainings of 1 size(s), expected at least 3" in refusal(same)
    none = made(tmp_path / "none", trigger={"kind": "amount", "n": 5000})
    assert "has trainings of 0 size(s)" in refusal(none)


def test_trainings_on_several_devices_or_parts_are_refused(tmp_path):
    several = made(tmp_path / "several", training={"devices": 2}, cluster={"devices": 2})
    assert "trains on 2 devices, expected one" in refusal(several)
    part = made(tmp_path / "part", training={"downsample": {"kind": "loss", "ratio": 0.5}})
    assert "has a training.downsample" in refusal(part)
    held_out = made(tmp_path / "held out", training={"validation": {"share": 0.5}})
    assert "has a training.validation" in refusal(held_out)


def test_trainings_that_do_not_take_longer_on_more_samples_are_refused(tmp_path):
    constant = made(tmp_path / "run", {"kind": "constant", "seconds": 5.0})
    assert "take no longer on more samples" in refusal(constant)
    nothing = made(tmp_path / "nothing", {"kind": "constant", "seconds": 0.0})
    assert "took no time" in refusal(nothing)


def test_a_refused_run_is_refused_before_anything_runs(tmp_path):
    with pytest.raises(ConfigError, match=r"sim\.costs\.training\.run"):
        tc.run(
            {**RUN, "sim": {"costs": {"training": {"kind": "fitted", "run": "nowhere"}}}}, on="sim", out=tmp_path / "r"
        )
    assert not (tmp_path / "r").exists()
