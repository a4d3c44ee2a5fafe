"""The file of a calibration: written from real runs, read by `sim.calibration`, refused in one line."""

from __future__ import annotations

import json
import shutil
from unittest.mock import patch

import pytest
from typer.testing import CliRunner

import twinclock as tc
from experiments.fingerprint import run_ids
from sim.calibrated import merged
from sim.calibration import calibrate, figures
from sim.config import SimConfig
from twinclock.cli import add_commands, app
from twinclock.errors import ConfigError, RunError
from twinclock.section import parse_section
from twinclock.yaml_text import read_yaml, write_yaml

REAL = {
    "name": "short",
    "seed": 3,
    "data": {"kind": "table", "dataset": "portal_rodents", "limit": 6000},
    "batching": {"kind": "fixed", "n": 500},
    "trigger": {"kind": "amount", "n": 500},
    "training": {"epochs": 2},
    "evaluation": {"plans": [{"kind": "slicing", "every": "180d", "models": "all", "when": "after_training"}]},
    "real": {"device": "cpu"},
}
SIMULATED = {
    "name": "other",
    "data": {"kind": "uniform", "num_samples": 2000, "every": 1.0},
    "trigger": {"kind": "amount", "n": 200},
}
FILE = {
    "costs": {"decide_s": 0.5, "training": {"kind": "formula", "setup_s": 7.0, "samples_per_s": 100.0}},
    "quality": {"kind": "decay", "peak": 0.7, "floor": 0.3},
    "fitted": {"date": "2026-01-02T03:04:05+00:00", "runs": [{"name": "a"}, {"name": "a"}], "training": {}},
}


@pytest.fixture(scope="module")
def real(tmp_path_factory):
    folder = tmp_path_factory.mktemp("real") / "run"
    return tc.run(REAL, on="real", out=folder)


@pytest.fixture(scope="module")
def calibrated(real):
    with patch.object(figures, "RESAMPLES", 99):
        return calibrate([real.folder])


def written(folder, values=FILE, name="costs.yaml"):
    file = folder / name
    file.write_text(write_yaml(values))
    return str(file)


def section(**values):
    return parse_section(SimConfig, values, "study.yaml", under="sim")


def refusal(**values):
    with pytest.raises(ConfigError) as caught:
        section(**values)
    assert "\n" not in str(caught.value)
    return str(caught.value)


# A real run


def test_a_real_run_simulated_anew_takes_as_long(real, calibrated, tmp_path):
    file = calibrated.write(tmp_path / "costs.yaml")
    again = tc.run({**REAL, "sim": {"calibration": str(file)}}, on="sim")
    assert again.summary["positions"] == real.summary["positions"]
    assert again.summary["device_s"] == pytest.approx(real.summary["device_s"], rel=0.15)
    stages = real.summary["stage_s"]
    for stage in ("STORE_TRAINED_MODEL", "STORE_EVALUATION_RESULTS", "HANDLE_TRIGGERS_WITHIN_BATCH"):
        assert again.summary["stage_s"][stage] == pytest.approx(stages[stage], rel=0.15)
    assert again.summary["composites"] == real.summary["composites"]  # from the measured matrix
    assert again.summary["uncalibrated"] == []
    assert again.header["cost_notes"][0].startswith(f"costs from {file}, fitted on 20")
    assert again.header["cost_notes"][0].endswith("to 1 run of short")


def test_the_file_says_what_it_is_from(real, calibrated, tmp_path):
    values = read_yaml(calibrated.write(tmp_path / "costs.yaml").read_text(), "costs.yaml")
    assert list(values) == ["costs", "quality", "fitted"]
    fitted = values["fitted"]
    assert fitted["runs"][0]["name"] == "short"
    assert fitted["runs"][0]["config"] == real.header["hashes"]["config"]
    assert (tmp_path / fitted["runs"][0]["folder"]).resolve() == real.folder.resolve()
    assert (fitted["executor"], fitted["device"]) == ("real", "cpu")
    assert fitted["data"] == {"kind": "table", "dataset": "portal_rodents", "limit": 6000}
    assert fitted["training"]["batch_size"] == [real.config.training.batch_size]
    assert {each["key"] for each in fitted["figures"]} >= {"costs.grant_s", "costs.training.samples_per_s"}
    assert fitted["formula"]["kind"] in ("decay", "formula")
    assert values["quality"]["kind"] == "matrix"


def test_the_figures_are_shown_as_text_and_as_html(calibrated):
    for text in (str(calibrated), calibrated._repr_html_()):
        assert "costs.training.samples_per_s" in text
        assert "not fitted: costs.drift" in text


def test_the_residuals_are_drawn(calibrated):
    titles = {axes.get_title() for axes in calibrated.plot_residuals().axes}
    assert {"trainings", "evaluations", "accuracy"} <= titles


def test_the_command_writes_the_file_and_the_picture(real, tmp_path):
    add_commands()
    out = tmp_path / "costs.yaml"
    with patch.object(figures, "RESAMPLES", 99):
        done = CliRunner().invoke(app, ["calibrate", str(real.folder), "-o", str(out)])
    assert done.exit_code == 0, done.output
    assert out.exists()
    assert (tmp_path / "costs-residuals.png").stat().st_size > 10_000
    assert "costs.grant_s" in done.output


# Runs that are refused


def refused(*folders):
    with pytest.raises(RunError) as caught:
        calibrate(folders)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def copy_of(run, folder, **header):
    shutil.copytree(run.folder, folder)
    file = folder / "run.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), **header}))
    return folder


def test_what_is_no_finished_real_run_is_refused(real, tmp_path):
    assert "expected the folder of a finished real run" in refused()
    assert "no such folder" in refused(tmp_path / "none")
    assert "its outcome is failed, expected a finished run" in refused(
        copy_of(real, tmp_path / "failed", outcome="failed")
    )
    simulated = tc.run(SIMULATED, on="sim", out=tmp_path / "sim")
    assert "a simulated run, whose seconds nobody measured" in refused(simulated.folder)


def test_runs_that_do_not_belong_together_are_refused_by_key(real, tmp_path):
    other = copy_of(real, tmp_path / "other")
    config = other / "config.yaml"
    config.write_text(config.read_text().replace("precision: fp32", "precision: bf16"))
    assert 'training.precision is "bf16", and "fp32" in' in refused(real.folder, other)
    cuda = copy_of(real, tmp_path / "cuda", devices=["cuda:0"])
    assert 'the kind of device is "cuda", and "cpu" in' in refused(real.folder, cuda)


# Reading it


def test_the_file_takes_the_place_of_the_defaults_key_by_key(tmp_path):
    sim = section(calibration=written(tmp_path), costs={"training": {"setup_s": 1.0}, "launch_s": 3.0})
    assert sim.costs.decide_s == 0.5  # the file
    assert sim.costs.training.model_dump() == {
        "kind": "formula",
        "setup_s": 1.0,  # said beside it
        "samples_per_s": 100.0,
        "step_s": 0.0,  # said nowhere
    }
    assert sim.costs.launch_s == 3.0
    assert sim.quality.peak == 0.7
    assert section(calibration=written(tmp_path), quality={"peak": 0.8}).quality.floor == 0.3


def test_another_kind_replaces_a_subsection_whole(tmp_path):
    file = written(tmp_path)
    constant = section(calibration=file, costs={"training": {"kind": "constant", "seconds": 5.0}})
    assert constant.costs.training.model_dump() == {"kind": "constant", "seconds": 5.0}
    matrix = written(tmp_path, {**FILE, "quality": {"kind": "matrix", "run": "r"}}, "matrix.yaml")
    # no kind is said, which means decay
    assert section(calibration=matrix, quality={"peak": 0.8}).quality.model_dump()["kind"] == "decay"
    assert section(calibration=matrix).quality.run == str(tmp_path / "r")
    several = written(tmp_path, {**FILE, "quality": {"kind": "matrix", "run": ["r", "s"]}}, "several.yaml")
    assert section(calibration=several).quality.runs == (str(tmp_path / "r"), str(tmp_path / "s"))


def test_merging_goes_by_key_and_takes_lists_whole():
    below = {"costs": {"a": 1, "b": {"c": 2, "d": 3}, "l": [1, 2]}}
    assert merged(below, {"costs": {"b": {"c": 4}, "l": [5]}}) == {"costs": {"a": 1, "b": {"c": 4, "d": 3}, "l": [5]}}


def test_another_training_is_said_to_be_extrapolated(tmp_path):
    training = {"model": {"kind": "logistic"}, "batch_size": [32, 64]}
    file = written(tmp_path, {**FILE, "fitted": {**FILE["fitted"], "training": training}})
    config = {**SIMULATED, "training": {"model": {"kind": "mlp"}, "batch_size": 64}, "sim": {"calibration": file}}
    notes = tc.run(config, on="sim").header["cost_notes"]
    assert notes == [
        f"costs from {file}, fitted on 2026-01-02 to 2 runs of a",
        f"extrapolated: {file} was fitted with another training.model",
    ]


def test_a_wrong_file_is_refused_in_one_line(tmp_path):
    said = refusal(calibration=str(tmp_path / "none.yaml"))
    assert said.startswith("study.yaml: sim.calibration: ")
    assert "No such file or directory); expected a file as twinclock calibrate writes it" in said
    assert "not YAML" in refusal(calibration=foreign(tmp_path, "a: [1"))
    assert 'got "hello"; expected a file' in refusal(calibration=foreign(tmp_path, "hello"))
    assert "costs: got null, expected a mapping" in refusal(calibration=foreign(tmp_path, "trigger: {kind: amount}"))
    stray = written(tmp_path, {**FILE, "trigger": {}})
    assert "trigger: unknown key" in refusal(calibration=stray)
    wrong = written(tmp_path, {**FILE, "costs": {"decide_s": -1.0}})
    assert f"{wrong}: costs.decide_s: got -1.0, expected a number >= 0" in refusal(calibration=wrong)
    assert "sim.calibration: got 3, expected a string" in refusal(calibration=3)


def foreign(folder, text):
    file = folder / "foreign.yaml"
    file.write_text(text)
    return str(file)


def test_a_file_that_changes_is_read_anew(tmp_path):
    file = written(tmp_path)
    before = run_ids([{**SIMULATED, "sim": {"calibration": file}}], "sim")
    assert section(calibration=file).costs.decide_s == 0.5
    written(tmp_path, {**FILE, "costs": {"decide_s": 0.25}})
    assert section(calibration=file).costs.decide_s == 0.25
    assert run_ids([{**SIMULATED, "sim": {"calibration": file}}], "sim") != before
