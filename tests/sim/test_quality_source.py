"""From which runs scores may be taken, and how loudly a run says that it lacks some."""

from __future__ import annotations

import sys
from io import StringIO
from typing import Any

import pytest
import yaml
from rich.console import Console

import twinclock as tc
from twinclock import cli
from twinclock.config import load_config
from twinclock.errors import ConfigError
from twinclock.launch import plan_run
from twinclock.result import Run
from twinclock.show import show_run

DATA = {"kind": "table", "dataset": "portal_rodents", "limit": 1500}
PLANS = {"plans": [{"kind": "between_triggers", "models": "all"}]}
BASE: dict[str, Any] = {
    "name": "source",
    "data": DATA,
    "batching": {"n": 100},
    "trigger": {"kind": "amount", "n": 300},
    "evaluation": PLANS,
}
PROXY = {"quality": {"kind": "proxy"}}


@pytest.fixture(scope="module")
def source(tmp_path_factory) -> Run:
    return tc.run({**BASE, "sim": PROXY}, on="sim", out=tmp_path_factory.mktemp("runs") / "source")


def by(source: Run, kind: str = "measured") -> dict[str, Any]:
    return {"quality": {"kind": kind, "run": str(source.folder)}}


def refused(config: dict[str, Any]) -> str:
    with pytest.raises(ConfigError) as told:
        plan_run(load_config(config), "sim")
    assert len(str(told.value).splitlines()) == 1
    return str(told.value)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"trigger": {"kind": "amount", "n": 200}}, "has another section trigger, expected the same as here"),
        ({"selection": {"tail": 1}}, "has another section selection, expected the same as here"),
        ({"training": {"epochs": 2}}, "has another training.epochs, expected the same as here"),
        ({"data": {**DATA, "limit": 900}}, "has another section data, expected the same as here"),
        ({"data": {**DATA, "label_delay": "1d"}}, "has another data.label_delay, expected the same as here"),
        (
            {"evaluation": {"plans": [{"kind": "slicing", "every": "1y"}]}},
            "evaluation.plans.0: got kind slicing with models active, expected one of the plans of ",
        ),
        (
            {"evaluation": {"plans": [*PLANS["plans"], {"kind": "between_triggers"}]}},
            "evaluation.plans.1: got kind between_triggers with models active, expected one of",
        ),
        (
            {"evaluation": {**PLANS, "metrics": ["accuracy", "log_loss"]}},
            "evaluation.metrics: got log_loss, expected accuracy, which ",
        ),
    ],
)
def test_another_policy_than_the_one_measured_is_refused_before_anything_runs(source, change, told):
    assert told in refused({**BASE, **change, "sim": by(source)})


def test_what_changes_no_score_may_differ(source):
    same = {
        "data": {**DATA, "chunk": 77},
        "batching": {"n": 33},
        "cluster": {"devices": 3},
        "seed": 5,
        "variant": "sequential",
        "evaluation": {"plans": [{**PLANS["plans"][0], "when": "after_pipeline"}], "at_once": 1},
    }
    run = tc.run({**BASE, **same, "sim": by(source)}, on="sim")
    key = ["model", "start_ts", "end_ts", "metric", "value"]
    assert run.evaluations.select(key).sort(key).equals(source.evaluations.select(key).sort(key))
    assert (run.summary["lost_evaluations"], run.summary["lost_observations"]) == (0, 0)


@pytest.mark.parametrize("kind", ["measured", "matrix"])
@pytest.mark.parametrize("quality", [{}, {"kind": "formula"}])
def test_a_simulated_run_measured_nothing_unless_its_models_were_fitted(tmp_path, kind, quality):
    made = tc.run({**BASE, "sim": {"quality": quality}}, on="sim", out=tmp_path / "formula")
    told = refused({**BASE, "sim": by(made, kind)})
    of = quality.get("kind", "decay")
    assert f"{made.folder} is a simulated run, whose scores nobody measured (its sim.quality is of kind {of})" in told
    assert "expected a real run, or one simulated with kind proxy" in told


CLOCKED = {"kind": "cost", "interval": 300, "per_training_second": 1e9}
"""How often it fires depends on how long trainings take, which nobody knows beforehand."""


def clocked(training_s: float, **sim: Any) -> dict[str, Any]:
    costs = {"training": {"kind": "constant", "seconds": training_s}, "noise_sigma": 0.0}
    return {**BASE, "trigger": CLOCKED, "sim": {"costs": costs, **sim}}


def test_scores_that_turn_out_to_be_missing_are_counted_and_explained(tmp_path, monkeypatch, capsys):
    slow = tc.run(clocked(4000.0, **PROXY), on="sim", out=tmp_path / "slow")
    made = clocked(1.0, **by(slow))
    run = tc.run(made, on="sim")
    assert run.models.height > slow.models.height, "the policy fires more often, so models were never measured"
    missing = run.summary["lost_evaluations"]
    assert missing > 0
    console = Console(file=StringIO(), width=400)
    show_run(run, console)
    line = next(each for each in console.file.getvalue().splitlines() if "scores are missing" in each)
    assert f"{missing} evaluations" in line
    assert f"DataError: sim.quality.run: {slow.folder} has not measured accuracy of model" in line

    file = tmp_path / "made.yaml"
    file.write_text(yaml.safe_dump(made))
    monkeypatch.setattr(sys, "argv", ["twinclock", "run", str(file), "--on", "sim", "--quiet"])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    assert ended.value.code == cli.USER_ERROR
    told = capsys.readouterr().err.splitlines()
    assert len(told) == 1
    assert told[0].startswith("error: scores are missing: ")


def test_injected_faults_are_told_but_are_no_mistake_of_the_users(tmp_path, monkeypatch, capsys):
    made = {**BASE, "faults": {"evaluation": 0.7}}
    run = tc.run(made, on="sim")
    tried = run.faults.filter(attempt=2).height
    assert run.summary["lost_evaluations"] == tried > 0
    assert run.summary["faults"] > tried, "some were mended by a second attempt"
    file = tmp_path / "made.yaml"
    file.write_text(yaml.safe_dump(made))
    monkeypatch.setattr(sys, "argv", ["twinclock", "run", str(file), "--on", "sim"])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    assert ended.value.code == 0
    assert "failed for good" in capsys.readouterr().out
