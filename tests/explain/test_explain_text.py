"""What is said and drawn of where the time went, and the commands that say it."""

from __future__ import annotations

import json
from io import StringIO

import pytest
from handmade import run as by_hand
from handmade import stage_run
from matplotlib.text import Text
from rich.console import Console
from simulated import breaking, costs, seconds, simulate
from typer.testing import CliRunner

import twinclock as tc
from twinclock.cli import app
from twinclock.errors import UserError
from twinclock.explain.text import critical_line, show_whatif
from twinclock.plots import save

CONFIG = {
    "name": "study",
    "data": {"kind": "uniform", "num_samples": 40, "every": 1.0},
    "batching": {"n": 10},
    "trigger": {"kind": "amount", "n": 10},
    "training": {"retry": {"attempts": 2, "backoff": 4.0}},
    "evaluation": {"plans": [{"kind": "slicing", "every": 10.0, "models": "trained"}]},
}
SIM = costs(training=seconds(5.0), evaluation=seconds(1.0))


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("runs") / "study"
    tc.run({**CONFIG, "sim": SIM}, on="sim", out=path)
    return path


def shown(made) -> str:
    console = Console(file=StringIO(), width=120, color_system=None)
    show_whatif(made, console)
    return console.file.getvalue()


def invoke(*arguments):
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def test_the_critical_path_in_one_line():
    run = simulate({**CONFIG, "variant": "sequential", "sim": SIM}).run
    line = critical_line(run)
    assert line.startswith(f"critical path ({run.summary['makespan_s']:.3g} s): ")
    assert "WAIT_FOR_TRAINING_COMPLETION working, " in line
    assert line.index("TRAINING_COMPLETION") < line.index("EVALUATION_COMPLETION"), "the largest part comes first"
    waits = critical_line(simulate({**CONFIG, "sim": SIM}).run)
    assert "RUN_TRAINING waiting for device of evaluation" in waits


def test_a_path_on_which_nothing_takes_time_has_a_line_too():
    assert critical_line(by_hand({"makespan_s": 0.0})) == "critical path: nothing on it takes time"


def test_what_if_is_told_side_by_side_and_with_its_causes(folder):
    text = shown(tc.whatif(folder, ["cluster.devices=2"]))
    assert "changed: cluster.devices=2" in text
    heading = next(line for line in text.splitlines() if "difference" in line)
    assert heading.split() == ["figure", "unchanged", "changed", "difference"]
    cause = next(line for line in text.splitlines() if "device of evaluation" in line)
    assert cause.split()[0] == "RUN_TRAINING"
    assert text.rstrip().splitlines()[-1].split()[0] == "makespan"
    assert "luck" not in text


def test_what_if_says_where_luck_comes_in_and_where_nothing_differs(folder):
    assert "part of the difference is luck" in shown(tc.whatif(folder, ["seed=7"]))
    assert "take the same time, stage by stage" in shown(tc.whatif(folder, ["name=other"]))


def test_many_causes_are_cut_short(folder):
    every = {"decide_s": 0.1, "connect_s": 1.0, "launch_s": 0.3, "results_s": 0.2}
    text = shown(tc.whatif(folder, [f"sim.costs.{key}={value}" for key, value in every.items()]))
    assert " others " in text


def test_the_commands(folder, tmp_path):
    told = invoke("whatif", folder, "--set", "cluster.devices=2", "--set", "training.epochs=2", "--quiet")
    assert told.exit_code == 0, told.output
    assert "changed: cluster.devices=2, training.epochs=2" in told.output
    told = invoke("trace", folder)
    assert told.output == f"trace: {folder / 'trace.json'}\n"
    assert invoke("trace", folder, "-o", tmp_path / "other.json").exit_code == 0
    assert (tmp_path / "other.json").read_text() == (folder / "trace.json").read_text()
    assert json.loads((tmp_path / "other.json").read_text())["otherData"] == {
        "name": "study", "executor": "sim", "state": "finished",
    }  # fmt: skip
    told = invoke("show", folder)
    assert "critical path (" in told.output
    assert (folder / "time_by_stage.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["whatif", "nowhere", "--set", "seed=1"], "nowhere: no such folder, expected the folder of a run"),
        (["whatif", "RUN"], "whatif: got nothing to change, expected path.to.key=value"),
        (["whatif", "RUN", "--set", "cluster.divices=2"], "--set cluster.divices=2: cluster.divices: unknown key"),
        (["trace", "nowhere"], "nowhere: no such folder, expected the folder of a run"),
        (["trace", "RUN", "-o", "no/such/folder.json"], "no/such/folder.json: can't be written"),
    ],
)
def test_mistakes_are_one_line(folder, arguments, said):
    done = invoke(*(folder if each == "RUN" else each for each in arguments))
    assert isinstance(done.exception, UserError)
    assert said in str(done.exception)
    assert "\n" not in str(done.exception)


def drawn(figure) -> list[str]:
    return [text.get_text() for text in figure.findobj(Text) if text.get_visible()]


def test_the_picture_has_a_bar_for_each_stage_in_parts(tmp_path):
    config = {**CONFIG, "variant": "overlapped", "mode": "live", "sim": costs(training=seconds(15.0), decide_s=0.2)}
    run = simulate(config, wrap=breaking({0: "late"})).run
    figure = run.plot.time_by_stage()
    said = drawn(figure)
    assert {"WAIT_FOR_TRAINING_COMPLETION", "CLAIM_TRIGGERS", "WAIT_FOR_NEW_DATA"} <= set(said)
    keys = [text.get_text() for text in figure.legends[0].get_texts()]
    assert keys == [
        "working", "waiting for a training slot", "waiting for data", "waiting for a lock, or another attempt",
        "on the critical path",
    ]  # fmt: skip
    save(figure, tmp_path / "a.png")
    save(run.plot.time_by_stage(), tmp_path / "b.png")
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()


@pytest.mark.parametrize(
    ("run", "said"),
    [
        (by_hand(), "no stage took any time"),
        (by_hand(stage_runs=[stage_run("INIT", 0.0, 0.0)]), "no stage took any time"),
        (by_hand({"state": "running", "makespan_s": None}), "the run has no end yet"),
    ],
)
def test_a_picture_of_nothing_says_why(run, said):
    assert any(said in text for text in drawn(run.plot.time_by_stage()))
