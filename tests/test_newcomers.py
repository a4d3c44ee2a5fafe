"""What somebody new types, and gets wrong: one line each, with the place, what was found, and what was expected."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

import twinclock as tc
from twinclock import cli
from twinclock.errors import ConfigError

GOOD = "trigger: {kind: amount, n: 500}\ndata: {kind: uniform, num_samples: 1000, every: 60}\n"

FILES = {
    "empty": ("", "wrong.yaml: got null, expected a mapping of sections such as data and trigger"),
    "a list": ("- amount\n", 'wrong.yaml: got ["amount"], expected a mapping of sections'),
    "tabs": ("trigger:\n\tkind: amount\n", "wrong.yaml: line 2, column 1: not YAML: found character"),
    "unclosed": ("trigger: {kind: amount, n: 5\n", "wrong.yaml: line 2, column 1: not YAML: expected ',' or '}'"),
    "twice": ("trigger: {kind: never}\ntrigger: {kind: never}\n", 'wrong.yaml: line 2, column 1: not YAML: found dupl'),
    "no trigger": ("seed: 1\n", "wrong.yaml: trigger: missing, and it has no default"),
    "a bare kind": ("trigger: amount\n", 'wrong.yaml: trigger: got "amount", expected a mapping, such as {kind: '),
    "no kind": ("trigger: {n: 500}\n", "wrong.yaml: trigger.kind: missing; expected one of always, amount, "),
    "a typo": ("trigger: {kind: amuont, n: 5}\n", 'wrong.yaml: trigger.kind: got "amuont", expected one of always, am'),
    "a quoted number": ('trigger: {kind: amount, n: "500"}\n', 'wrong.yaml: trigger.n: got "500", expected a whole'),
    "a long duration": ("trigger: {kind: time, every: 1 day}\n", 'wrong.yaml: trigger.every: got "1 day", expected a'),
    "a dash": (f"{GOOD}batch-size: 3\n", "wrong.yaml: batch-size: unknown key (got 3); did you mean batching?"),
    "a plan, not a list": (
        f"{GOOD}evaluation: {{plans: {{kind: slicing, every: 1d}}}}\n",
        'wrong.yaml: evaluation.plans: got {"kind": "slicing", "every": "1d"}, expected a list',
    ),
    "a bare plan": (f"{GOOD}evaluation: {{plans: [slicing]}}\n", 'wrong.yaml: evaluation.plans.0: got "slicing", exp'),
    "a metric": (f"{GOOD}evaluation: {{metrics: [acc]}}\n", "wrong.yaml: evaluation.metrics: got acc, expected accu"),
    "a cost": (
        f"{GOOD}sim: {{costs: {{training: {{samples_per_s: 0}}}}}}\n",
        "wrong.yaml: sim.costs.training.samples_per_s: got 0, expected a number > 0",
    ),
    "a section of the simulator": (
        f"{GOOD}sim: {{cost: {{decide_s: 1}}}}\n",
        'wrong.yaml: sim.cost: unknown key (got {"decide_s": 1}); did you mean costs?',
    ),
    "too long an interval": (
        GOOD.replace("kind: amount, n: 500", "kind: performance, interval: 2000, rules: [{kind: quantile}]"),
        "wrong.yaml: trigger.interval: got 2000, expected at most the 1000 samples of the data",
    ),
    "a data set": ("trigger: {kind: never}\ndata: {kind: table, dataset: rats}\n", 'wrong.yaml: data.dataset: got "ra'),
    "no such table": (
        "trigger: {kind: never}\n"
        "data: {kind: table, path: no.parquet, time: t, label: y, features: {numeric: [a]}}\n",
        "no.parquet: no such file, expected a Parquet file",
    ),
    "a CSV file": (
        "trigger: {kind: never}\n"
        "data: {kind: table, path: wrong.yaml, time: t, label: y, features: {numeric: [a]}}\n",
        ", expected a Parquet file",
    ),
}  # fmt: skip

COMMANDS = {
    "no executor": (["run", "good.yaml"], "error: --on: missing, expected one of ray, real, sim"),
    "which executor": (["run", "good.yaml", "--on", "fast"], "error: --on: got fast, expected one of ray, real, sim"),
    "no such file": (
        ["run", "god.yaml", "--on", "sim"],
        "error: god.yaml: no such file, expected a YAML configuration",
    ),
    "a folder": (["check", "."], "error: .: can't be read (Is a directory), expected a YAML configuration"),
    "out is a file": (
        ["run", "good.yaml", "--on", "sim", "--out", "good.yaml"],
        "error: good.yaml: a file; expected a new folder for the run",
    ),
    "out is taken": (
        ["run", "good.yaml", "--on", "sim", "--out", "done"],
        "error: done: not empty; expected a new folder for the run",
    ),
    "a seed": (["run", "good.yaml", "--on", "sim", "--seed=-1"], "error: --seed: got -1, expected a whole number >= 0"),
    "set without a value": (
        ["run", "good.yaml", "--on", "sim", "--set", "trigger.n"],
        "error: --set trigger.n: expected path.to.key=value",
    ),
    "set by the last key": (
        ["run", "good.yaml", "--on", "sim", "--set", "epochs=5"],
        "error: --set epochs=5: epochs: unknown key (got 5); known: name, seed, ",
    ),
    "set a bare kind": (
        ["run", "good.yaml", "--on", "sim", "--set", "trigger=time"],
        'error: --set trigger=time: trigger: got "time", expected a mapping, such as {kind: time}',
    ),
    "for the other executor": (
        ["run", "good.yaml", "--on", "real"],
        "error: good.yaml: can't run on real: data.kind: got uniform, whose samples have no features; expected table",
    ),
    "show nothing": (["show", "nowhere"], "error: nowhere: no such folder, expected the folder of a run"),
    "show a configuration": (["show", "good.yaml"], "error: good.yaml: a file, expected the folder of a run"),
    "show the folder of runs": (
        ["show", "."],
        "error: .: no run.json here; expected the folder of a run, such as done",
    ),
    "compare one": (["compare", "done"], "error: compare: got 1 run, expected two or more"),
    "resume a simulated run": (
        ["resume", "done"],
        "error: done: a run on 'sim' keeps no journal; run it again instead",
    ),
    "change nothing": (["whatif", "done"], "error: whatif: got nothing to change, expected path.to.key=value"),
    "change what is not there": (
        ["whatif", "done", "--set", "cluster.devises=2"],
        "error: --set cluster.devises=2: cluster.devises: unknown key (got 2); did you mean devices",
    ),
    "a policy": (["policies", "drifts"], "error: policies: got drifts, which is no policy; did you mean drift?"),
    "a command": (["rn", "good.yaml"], "error: No such command 'rn'."),
    "an option": (["run", "good.yaml", "--onn", "sim"], "error: No such option: --onn"),
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("new")
    (path / "good.yaml").write_text(GOOD)
    tc.run(path / "good.yaml", on="sim", out=path / "done")
    return path


def told(folder, monkeypatch, capsys, *arguments: str) -> list[str]:
    """The lines on stderr of a command that fails for a mistake of the user's."""
    monkeypatch.chdir(folder)
    monkeypatch.setattr(sys, "argv", ["twinclock", *arguments])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    assert ended.value.code == cli.USER_ERROR
    return capsys.readouterr().err.splitlines()


@pytest.mark.parametrize("mistake", FILES)
def test_a_mistake_in_the_file_is_one_line(folder, monkeypatch, capsys, mistake):
    text, expected = FILES[mistake]
    (folder / "wrong.yaml").write_text(text)
    lines = told(folder, monkeypatch, capsys, "run", "wrong.yaml", "--on", "sim", "--quiet")
    assert len(lines) == 1, lines
    assert lines[0].startswith("error: ")
    assert expected in lines[0], lines[0]


@pytest.mark.parametrize("mistake", FILES)
def test_the_check_says_the_same(folder, monkeypatch, capsys, mistake):
    text, expected = FILES[mistake]
    (folder / "wrong.yaml").write_text(text)
    lines = told(folder, monkeypatch, capsys, "check", "wrong.yaml")
    assert any(expected in line for line in lines), lines


@pytest.mark.parametrize("mistake", COMMANDS)
def test_a_mistake_on_the_command_line_is_one_line(folder, monkeypatch, capsys, mistake):
    arguments, expected = COMMANDS[mistake]
    lines = told(folder, monkeypatch, capsys, *arguments)
    assert len(lines) == 1, lines
    assert lines[0].startswith(expected), lines[0]


def test_of_a_mapping_in_python_the_name_is_told():
    with pytest.raises(ConfigError) as raised:
        tc.run({"name": "mine", "trigger": {"kind": "never"}, "sim": {"cost": 1}}, on="sim")
    assert str(raised.value).startswith("mine: sim.cost: unknown key (got 1)")
