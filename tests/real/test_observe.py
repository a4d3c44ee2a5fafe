"""Short runs that show what a configuration costs: their sizes, and what is said where there can be none."""

from __future__ import annotations

import json

import pytest
from inline_pool import InlinePool
from real_runs import small

import twinclock as tc
from twinclock.cli import main
from twinclock.errors import ConfigError, RunError


@pytest.fixture
def inline(monkeypatch):
    monkeypatch.setattr("real.pool.WorkerPool", InlinePool)


def many(**changed):
    data = {"kind": "table", "dataset": "portal_rodents", "limit": changed.pop("limit", 6000)}
    return small(data=data, training={"epochs": 1, "batch_size": 32}, **changed)


def test_trainings_of_several_sizes_with_two_sizes_of_minibatches(tmp_path, inline):
    told = []
    made = tc.observe(many(), out=tmp_path / "observed", training_s=0.5, told=told.append)
    assert told == list(made.runs) == ["probe", "batch-32", "batch-128", "policy"]
    for name in ("batch-32", "batch-128"):
        run = made.runs[name]
        sizes = run.trainings["num_samples"].to_list()
        assert len(sizes) == 6
        assert sizes == [sizes[0] * number for number in range(1, 7)]
        assert run.config.training.batch_size == int(name.removeprefix("batch-"))
        # jobs of one interval and jobs of many
        assert run.evaluations.group_by("plan", "model").len()["len"].n_unique() > 1
    assert made.folders == [tmp_path / "observed" / name for name in told]
    assert made.runs["policy"].config.trigger == tc.load_config(many()).trigger
    assert "batch-128" in made._repr_html_()


def test_several_devices_may_be_used_at_once(tmp_path, inline):
    made = tc.observe(many(cluster={"devices": 2}), out=tmp_path / "observed", training_s=0.5)
    run = made.runs["together"]
    assert run.config.overlap.trainings_at_once == 2
    assert (run.config.cluster.devices, run.trainings.height) == (2, 6)


def test_a_live_configuration_with_faults_is_observed_in_peace(tmp_path, inline):
    live = many(mode="live", live={"speed_up": 1.0}, faults={"training": 0.9})
    made = tc.observe(live, out=tmp_path / "observed", training_s=0.5)
    assert all(run.outcome == "done" and run.faults.is_empty() for run in made.runs.values())


def test_too_few_samples(tmp_path):
    with pytest.raises(ConfigError, match=r"data: got 500 samples, expected at least 768 to see costs by"):
        tc.observe(many(limit=500), out=tmp_path / "observed")


def test_samples_that_are_still_to_come(tmp_path):
    folder = {"kind": "folder", "path": str(tmp_path), "time": "t", "label": "l", "features": {"numeric": ["x"]}}
    with pytest.raises(ConfigError, match=r"data\.kind: got folder, expected table"):
        tc.observe(small(data=folder, mode="live"), out=tmp_path / "observed")


def test_a_folder_that_holds_something(tmp_path):
    (tmp_path / "mine").touch()
    with pytest.raises(RunError, match="not empty, expected a new folder for the runs"):
        tc.observe(many(), out=tmp_path)


def test_a_training_that_fails_is_told_with_its_place(tmp_path):
    wild = {"model": {"kind": "mlp", "hidden": [8]}, "optimizer": {"kind": "sgd", "lr": 1e30}}
    config = many()
    config["training"].update(wild)
    said = r"probe: not all went well \(the loss is .*, so what it costs can't be observed"
    with pytest.raises(RunError, match=said):
        tc.observe(config, out=tmp_path / "observed", training_s=0.5)


def test_the_command_says_what_comes_next(tmp_path, inline, monkeypatch, capsys):
    monkeypatch.setattr("experiments.observe.TRAINING_S", 0.5)
    (tmp_path / "config.yaml").write_text(json.dumps(many()))
    arguments = ["twinclock", "observe", str(tmp_path / "config.yaml"), "--out", str(tmp_path / "observed")]
    monkeypatch.setattr("sys.argv", arguments)
    monkeypatch.setattr("signal.signal", lambda *_: None)  # the handlers of the process are pytest's
    with pytest.raises(SystemExit) as left:
        main()
    assert left.value.code in (0, None)
    assert f"now: twinclock calibrate {tmp_path / 'observed'}/*" in capsys.readouterr().out
