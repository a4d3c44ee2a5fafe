"""Hostile values for every key of every policy: one clear line before anything runs, or a run that ends well."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from typing import Any, get_args

import numpy as np
import polars as pl
import pytest
import yaml

import twinclock as tc
from twinclock import cli
from twinclock.config import load_config
from twinclock.errors import ConfigError
from twinclock.launch import plan_run
from twinclock.policies.triggers import TriggerConfig

STATIC = {"kind": "static", "metric": "accuracy", "threshold": 0.8}
SIMPLE = {"kind": "amount", "n": 50}
CASES: dict[str, dict[str, Any]] = {
    "amount": {"trigger": {"kind": "amount", "n": 60}},
    "always": {"trigger": {"kind": "always", "n": 60}},
    "time": {"trigger": {"kind": "time", "every": 50, "start": 0, "final": True}},
    "performance": {
        "trigger": {
            "kind": "performance",
            "interval": 40,
            "rules": [
                STATIC,
                {"kind": "quantile", "metric": "accuracy", "window": 3, "q": 0.05},
                {"kind": "rolling", "metric": "accuracy", "window": 3, "deviation": 0.05, "absolute": True},
                {
                    "kind": "avoidable_misclassifications",
                    "threshold": 10,
                    "expected_accuracy": 0.9,
                    "allow_reduction": False,
                    "mode": "lookahead",
                    "window": 3,
                },
            ],
            "warmup": {"intervals": 3, "trigger": SIMPLE},
            "cooldown": {"samples": 50},
        }
    },
    "drift": {
        "trigger": {
            "kind": "drift",
            "interval": 40,
            "metrics": {
                "far": {"kind": "mmd", "rule": {"kind": "static", "threshold": 0.05}},
                "unlikely": {"kind": "ks", "rule": {"kind": "hypothesis_test", "p": 0.05}},
                "changed": {"kind": "adwin", "value": "a"},
            },
            "windows": {"kind": "amount", "ref": 80, "cur": 40, "overlap": False},
            "aggregate": {"kind": "at_least", "k": 2},
            "features": ["a", "b"],
            "sample": 20,
            "cooldown": {"seconds": 50},
        }
    },
    "windows of time": {
        "trigger": {
            "kind": "drift",
            "interval": "50s",
            "metrics": {
                "far": {"kind": "ks", "rule": {"kind": "static", "threshold": 0.5}},
                "changed": {"kind": "kswin", "value": "a"},
            },
            "windows": {"kind": "time", "ref": 80, "cur": 40, "overlap": True},
        }
    },
    "cost": {
        "trigger": {
            "kind": "cost",
            "interval": 40,
            "regret": "incorporation_latency",
            "per_training_second": 50,
            "window": 10,
        }
    },
    "continuum": {"trigger": {"kind": "continuum", "w": 10, "alpha": 0.01, "beta": 1}},
    "cara": {"trigger": {"kind": "cara", "interval": 40, "mode": "threshold", "tuning": 3, "per_training_second": 10}},
    "budget": {
        "trigger": {
            "kind": "budget",
            "of": SIMPLE,
            "limit": 5,
            "unit": "money",
            "horizon": 100,
            "pace": "even",
            "usd_per_device_hour": 2,
        }
    },
    "ensemble": {
        "trigger": {
            "kind": "ensemble",
            "of": {"a": SIMPLE, "t": {"kind": "time", "every": 50}},
            "rule": {"kind": "at_least", "k": 2},
        }
    },
    "custom": {"trigger": {"kind": "custom", "import": "no_such_module:Trigger", "args": {"n": 3}}},
    "oracle": {
        "trigger": {"kind": "oracle", "run": "no/such/run", "per_training_second": 10, "delay": 1, "metric": "accuracy"}
    },
    "batching": {"batching": {"kind": "adaptive", "min": 5, "max": 50, "step": 3, "target": 1.0}},
    "new_data": {
        "selection": {
            "kind": "new_data",
            "tail": 1,
            "limit": 50,
            "keep": "last",
            "window": 100,
            "presample": {"kind": "label_balanced", "ratio": 0.5, "limit": 40},
        }
    },
    "freshness": {"selection": {"kind": "freshness", "unused": 20, "limit": 50}},
    "downsampling": {
        "training": {"downsample": {"kind": "loss", "mode": "sample_then_batch", "ratio": 0.5, "period": 1}}
    },
    "overlap": {"variant": "overlapped", "overlap": {"on_trigger": "queue", "trainings_at_once": 2}},
    "plans": {
        "evaluation": {
            "plans": [
                {"kind": "slicing", "every": 50, "from": 0, "to": 300, "models": "active", "when": "after_training"},
                {"kind": "periodic", "every": 50, "from": 0, "to": 300, "half": 20},
                {"kind": "offset", "offsets": [-5, 5]},
                {"kind": "static", "intervals": [[0, 50]]},
            ]
        }
    },
}
HOSTILE = [-1, 0, 1.5, 10**30, 10**400, float("nan"), float("inf"), True, None, "garbage", "-5d", "0d", [], {}, [[]]]


@pytest.fixture(scope="module")
def base(tmp_path_factory) -> dict[str, Any]:
    rng = np.random.default_rng(0)
    path = tmp_path_factory.mktemp("data") / "samples.parquet"
    num_samples = 300
    pl.DataFrame(
        {
            "time": np.arange(num_samples, dtype=float),
            "a": rng.normal(size=num_samples),
            "b": rng.normal(size=num_samples),
            "label": rng.choice(["x", "y"], num_samples),
        }
    ).write_parquet(path)
    return {
        "name": "hostile",
        "data": {
            "kind": "table",
            "path": str(path),
            "time": "time",
            "features": {"numeric": ["a", "b"]},
            "label": "label",
        },
        "batching": {"kind": "fixed", "n": 30},
        "trigger": SIMPLE,
    }


def keys(section: Any, at: tuple[str | int, ...] = ()) -> Iterator[tuple[str | int, ...]]:
    inside = section.items() if isinstance(section, dict) else enumerate(section) if isinstance(section, list) else ()
    for key, value in inside:
        yield (*at, key)
        yield from keys(value, (*at, key))


def changed(config: dict[str, Any], key: tuple[str | int, ...], value: Any) -> dict[str, Any]:
    config = copy.deepcopy(config)
    inside: Any = config
    for each in key[:-1]:
        inside = inside[each]
    inside[key[-1]] = value
    return config


def test_every_kind_of_trigger_is_looked_at():
    kinds = {get_args(each.model_fields["kind"].annotation)[0] for each in get_args(get_args(TriggerConfig)[0])}
    looked_at = {case["trigger"]["kind"] for case in CASES.values() if "trigger" in case}
    assert kinds - looked_at == {"never", "best_effort", "on_batch"}, "those have no parameters"


@pytest.mark.parametrize("name", [name for name in CASES if name not in ("custom", "oracle")])
def test_as_it_stands_each_case_is_right(base, name):
    assert tc.run({**base, **CASES[name]}, on="sim").outcome == "done"


@pytest.mark.parametrize(("name", "key"), [(name, key) for name, case in CASES.items() for key in keys(case)])
def test_a_hostile_value_is_one_line_or_does_no_harm(base, name, key):
    for value in HOSTILE:
        config = changed({**base, **CASES[name]}, key, value)
        try:
            plan_run(load_config(config), "sim")
        except ConfigError as error:
            told = str(error)
            assert len(told.splitlines()) == 1
            assert str(key[0]) in told, f"{told} does not name the key {key}"
            assert len(told) < 600
        else:
            assert tc.run(config, on="sim").outcome == "done"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"rules": [{**STATIC, "metric": "acuracy"}]}, "trigger.rules.0.metric: got acuracy, expected one of accuracy"),
        (
            {"rules": [{**STATIC, "threshold": 80}]},
            "trigger.rules.0.threshold: got 80, expected a value of accuracy: 0 to 1",
        ),
        (
            {"rules": [{**STATIC, "metric": "r2"}]},
            "trigger: got r2, expected accuracy, or sim.quality of kind measured",
        ),
        ({"interval": 301}, "trigger.interval: got 301, expected at most the 300 samples of the data"),
        (
            {"interval": "300s"},
            "trigger.interval: got 300s, expected at most the 299 s of data time that the data span",
        ),
    ],
)
def test_what_a_performance_trigger_can_not_be(base, change, message):
    trigger = {"kind": "performance", "interval": 40, "rules": [STATIC], **change}
    with pytest.raises(ConfigError) as raised:
        plan_run(load_config({**base, "trigger": trigger}), "sim")
    assert message in str(raised.value)


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        (("windows", "ref"), 301, "trigger.windows.ref: got 301, expected at most the 300 samples of the data"),
        (("features",), ["a", "c"], "trigger: got feature 'c', expected a numeric one: a, b"),
        (("metrics", "changed", "value"), "c", "trigger: got feature 'c', expected a numeric one: a, b"),
        (("metrics", "far", "rule", "threshold"), -0.1, "threshold: got -0.1"),
        (("metrics", "far", "kind"), "mmdd", 'trigger.metrics.far.kind: got "mmdd", expected one of'),
        (("metrics", "unlikely", "kind"), "psi", "got hypothesis_test, which psi has not"),
    ],
)
@pytest.mark.parametrize("features", [["a", "b"], None])
def test_what_a_drift_trigger_can_not_be(base, key, value, message, features):
    trigger = changed(changed(CASES["drift"]["trigger"], ("features",), features), key, value)
    trigger["metrics"]["far"]["kind"] = trigger["metrics"]["far"]["kind"].replace(
        "mmd", "ks" if key[-1] == "threshold" else "mmd"
    )
    with pytest.raises(ConfigError) as raised:
        plan_run(load_config({**base, "trigger": trigger}), "sim")
    assert message in str(raised.value)


def test_what_is_wrong_for_every_executor_is_said_once(base, tmp_path, monkeypatch, capsys):
    path = tmp_path / "wrong.yaml"
    path.write_text(yaml.safe_dump(changed({**base, **CASES["drift"]}, ("trigger", "windows", "ref"), 301)))
    monkeypatch.setattr("sys.argv", ["twinclock", "check", str(path)])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    told = capsys.readouterr().err.splitlines()
    assert ended.value.code == cli.USER_ERROR
    assert len(told) == 1
    assert told[0].startswith(f"ray, real, sim: {path}: trigger.windows.ref: got 301")
