"""What a user brings along is looked at when the configuration is checked, and only for who will use it."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import pytest

from twinclock.config import load_config
from twinclock.errors import ConfigError
from twinclock.launch import plan_run

PARTS = """
class Net:
    def __init__(self, num_inputs, num_classes, width=4):
        raise AssertionError("not made before there is a training set")

class Trainer:
    def fit(self, context): ...

class Evaluator:
    def evaluate(self, context): ...

class Lazy: ...

class Needy:
    def __init__(self, more): ...

number = 3
"""


@pytest.fixture
def parts(tmp_path, monkeypatch) -> str:
    (tmp_path / "brought_parts.py").write_text(PARTS)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "brought_parts", raising=False)
    return "brought_parts"


def config(**sections: Any) -> dict[str, Any]:
    return {
        "trigger": {"kind": "amount", "n": 5000},
        "data": {"kind": "table", "dataset": "portal_rodents"},
        **sections,
    }


def model(path: str, **args: Any) -> dict[str, Any]:
    return config(training={"model": {"kind": "import", "path": path, "args": args}})


@pytest.mark.parametrize(
    ("made", "told"),
    [
        (model("nowhere.at_all:Net"), "training.model.path: can't import nowhere.at_all:Net: no module 'nowhere'"),
        (model("brought_parts:Nett"), "training.model.path: module brought_parts has no 'Nett'; did you mean Net"),
        (model("brought_parts:number"), "training.model.path: brought_parts:number is a int, expected a class"),
        (
            model("brought_parts:Net", widht=3),
            "training.model.args: brought_parts:Net is called with num_inputs, num_classes, widht, but got an "
            "unexpected keyword argument 'widht'",
        ),
        (model("brought_parts:Needy"), "training.model.args: brought_parts:Needy is called with num_inputs, "),
        (config(training={"trainer": "brought_parts:Lazy"}), "training.trainer: brought_parts:Lazy has no method fit"),
        (config(training={"trainer": "nowhere:Trainer"}), "training.trainer: can't import nowhere:Trainer"),
        (
            config(evaluation={"evaluator": "brought_parts:Needy"}),
            "evaluation.evaluator: brought_parts:Needy() failed: TypeError: ",
        ),
        (
            config(evaluation={"evaluator": "brought_parts:Trainer"}),
            "evaluation.evaluator: brought_parts:Trainer has no method evaluate",
        ),
    ],
)
def test_what_will_not_work_is_told_by_the_check_of_real_runs_alone(parts, made, told):
    plan_run(load_config(made), "sim")
    with pytest.raises(ConfigError) as raised:
        plan_run(load_config(made), "real")
    assert told in str(raised.value)
    assert len(str(raised.value).splitlines()) == 1


def test_all_problems_are_told_at_once(parts):
    made = model("nowhere:Net")
    made["training"]["trainer"] = "nowhere:Trainer"
    with pytest.raises(ConfigError, match=r"training\.model\.path: .*; training\.trainer: "):
        plan_run(load_config(made), "real")


def test_what_will_work_passes(parts):
    made = model("brought_parts:Net", width=3)
    made["training"]["trainer"] = "brought_parts:Trainer"
    made["evaluation"] = {"evaluator": "brought_parts:Evaluator"}
    plan_run(load_config(made), "real")


def test_a_check_for_the_simulator_imports_none_of_it(tmp_path):
    (tmp_path / "brought_parts.py").write_text(PARTS)
    code = f"""
import sys
from twinclock.config import load_config
from twinclock.launch import plan_run
plan_run(load_config({model("brought_parts:Net")!r}), "sim")
assert not {{"brought_parts", "torch"}} & set(sys.modules), sorted(sys.modules)
"""
    subprocess.run([sys.executable, "-c", code], cwd=tmp_path, check=True)
