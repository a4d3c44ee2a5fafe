from __future__ import annotations

import json
from typing import Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import Field

from twinclock.config import Config, config_hash, dump_yaml, load_config, parse_section
from twinclock.durations import parse_duration
from twinclock.errors import ConfigError
from twinclock.policies.evaluation import SlicingPlan
from twinclock.section import Section

MINIMAL = {"trigger": {"kind": "amount", "n": 500}}


@pytest.fixture
def file(tmp_path):
    def write(text: str):
        path = tmp_path / "demo.yaml"
        path.write_text(text)
        return path

    return write


def error_of(source, *overrides: str) -> str:
    with pytest.raises(ConfigError) as caught:
        load_config(source, overrides=overrides)
    text = str(caught.value)
    assert "\n" not in text
    return text


def test_all_that_the_documentation_shows_is_accepted(file):
    config = load_config(
        file(
            """
            name: everything
            seed: 7
            variant: overlapped
            mode: live
            data:
              kind: table
              path: rows.parquet
              time: t
              label: y
              features: {numeric: [a, b], categorical: [c]}
              limit: 1000
              chunk: 100
            live: {speed_up: 1e6}
            batching: {kind: fixed, n: 50}
            trigger: {kind: time, every: 30d, start: 0}
            selection: {kind: new_data, tail: 2, limit: 400, keep: uniform}
            training:
              model: {kind: mlp, hidden: [64, 32]}
              epochs: 3
              batch_size: 32
              optimizer: {kind: sgd, lr: 1e-3, weight_decay: 0.1}
              start_from: active
              clip_norm: 1
              trainer: mine.training:Trainer
              downsample: null
              devices: 2
              timeout: 1h
              retry: {attempts: 2, backoff: 0}
            evaluation:
              plans:
                - {kind: slicing, every: 1y, from: 0, to: 1e9, models: all, when: after_pipeline}
                - {kind: between_triggers, models: trained}
              metrics: [accuracy]
              at_once: 1
              timeout: 10m
              retry: {attempts: 1}
            cluster: {devices: 2, patience: {evaluation: 60}}
            overlap: {on_trigger: coalesce, trainings_at_once: 1}
            sim: {costs: {training: 3}}
            real: {device: cpu}
            """
        )
    )
    assert config.trigger.every == 30 * 86_400.0
    assert config.training.optimizer.lr == 0.001
    assert config.training.timeout == 3_600.0
    assert config.evaluation.plans[0].every == 365 * 86_400.0
    assert config.evaluation.plans[1].models == "trained"
    assert config.sim == {"costs": {"training": 3}}
    assert config.real == {"device": "cpu"}


def test_a_training_may_predict_numbers_and_downsample(file):
    config = load_config(
        file(
            """
            trigger: {kind: amount, n: 5}
            training:
              task: regression
              downsample: {kind: loss, ratio: 0.5, mode: sample_then_batch, period: 2}
            evaluation: {metrics: [mae, rmse, r2]}
            """
        )
    )
    assert config.training.downsample.period == 2
    assert load_config(file(dump_yaml(config))) == config


def test_python_says_what_yaml_says(file):
    from_yaml = load_config(
        file("trigger: {kind: time, every: 2h}\nevaluation: {plans: [{kind: slicing, every: 60, from: 5}]}")
    )
    from_objects = Config(
        trigger={"kind": "time", "every": "2h"}, evaluation={"plans": [SlicingPlan(every=60, from_=5.0)]}
    )
    assert from_yaml == from_objects == load_config(from_objects) == load_config(from_objects.model_dump())


def test_defaults_are_the_bundled_data_and_one_device():
    config = load_config(MINIMAL)
    assert config.data.dataset == "portal_rodents"
    assert (config.variant, config.mode, config.cluster.devices) == ("seed", "replay", 1)
    assert config.overlap is None
    assert load_config({**MINIMAL, "variant": "overlapped"}).overlap.on_trigger == "queue"


def test_a_configuration_does_not_change():
    config = load_config(MINIMAL)
    with pytest.raises(ValueError, match="frozen"):
        config.seed = 3


def test_written_out_and_read_back_it_is_the_same(file):
    config = load_config(
        {
            **MINIMAL,
            "name": "on",
            "variant": "overlapped",
            "training": {
                "optimizer": {"lr": 1e-9},
                "model": {"kind": "import", "path": "a:B", "args": {"x": [1, "no"]}},
            },
            "evaluation": {"plans": [{"kind": "slicing", "every": "1d", "from": 0.5}]},
        }
    )
    again = load_config(file(dump_yaml(config)))
    assert again == config
    assert config_hash(again) == config_hash(config)


def test_the_hash_tells_any_two_configurations_apart():
    plain = load_config(MINIMAL)
    assert config_hash(plain) == config_hash(load_config(MINIMAL))
    for change in ("seed=1", "training.epochs=6", "sim.x=1", "trigger.n=501"):
        assert config_hash(load_config(MINIMAL, overrides=[change])) != config_hash(plain)


def test_a_relative_data_path_is_taken_from_the_files_folder(file, tmp_path, monkeypatch):
    rows = "data: {kind: table, path: sub/rows.parquet, time: t, label: y, features: {numeric: [x]}}\n"
    path = file(rows + "trigger: {kind: amount, n: 1}")
    assert load_config(path).data.path == str(tmp_path / "sub/rows.parquet")
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    assert load_config("../demo.yaml").data.file.resolve() == tmp_path / "sub/rows.parquet"
    here = str(tmp_path / "elsewhere" / "other.parquet")
    assert load_config(path, overrides=["data.path=other.parquet"]).data.path == here


def test_overrides_are_yaml_and_make_the_sections_on_their_way():
    config = load_config(
        MINIMAL,
        overrides=[
            "training.optimizer.lr=1e-2",
            "trigger={kind: time, every: 1d}",
            "evaluation.plans=[{kind: slicing, every: 1d}]",
            "evaluation.plans.0.every=2d",
            "training.clip_norm=null",
        ],
    )
    assert config.training.optimizer.lr == 0.01
    assert config.trigger.kind == "time"
    assert config.evaluation.plans[0].every == 2 * 86_400.0


def test_overrides_leave_what_they_were_given_alone():
    given_ = {"trigger": {"kind": "amount", "n": 500}}
    load_config(given_, overrides=["trigger.n=3"])
    assert given_ == MINIMAL


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("training.optimzer.lr=1", 'training.optimzer: unknown key (got {"lr": 1}); did you mean optimizer?'),
        ("epochs=3", "epochs: unknown key (got 3); known: name, seed"),
        ("training.epochs=few", 'training.epochs: got "few", expected a whole number'),
        ("trigger.n.x=1", "unknown key: trigger.n is 500, which has no keys"),
        ("trigger.n", "expected path.to.key=value"),
        ("=3", "expected path.to.key=value"),
        ("trigger.n=[1", "not YAML"),
    ],
)
def test_a_wrong_override_is_named(override, message):
    text = error_of(MINIMAL, override)
    assert text.startswith(f"--set {override}: ")
    assert message in text


def test_a_list_is_overridden_by_index():
    source = {**MINIMAL, "evaluation": {"plans": [{"kind": "slicing", "every": 1}]}}
    assert "evaluation.plans is a list of 1, expected an index, got 3" in error_of(source, "evaluation.plans.3.every=2")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"sed": 1}, "sed: unknown key (got 1); did you mean seed?"),
        ({"training": {"epoch": 3}}, "training.epoch: unknown key (got 3); did you mean epochs?"),
        ({"seed": "x"}, 'seed: got "x", expected a whole number'),
        ({"seed": True}, "seed: got true, expected a whole number"),
        ({"seed": -1}, "seed: got -1, expected a number >= 0"),
        ({"name": 3}, "name: got 3, expected a string"),
        (
            {"name": ""},
            'name: got "", expected a name on one line, without / and \\, that begins with neither a dot nor a space',
        ),
        ({"trigger": {"kind": "time", "every": 10**400}}, "expected a number of seconds or"),
        ({"training": {"clip_norm": 10**400}}, "training.clip_norm: got"),
        ({"training": 5}, "training: got 5, expected a mapping"),
        ({"training": {"optimizer": {"lr": "fast"}}}, 'training.optimizer.lr: got "fast", expected a number'),
        ({"training": {"optimizer": {"lr": float("nan")}}}, "training.optimizer.lr: got NaN, expected a finite number"),
        ({"training": {"clip_norm": 0}}, "training.clip_norm: got 0, expected a number > 0"),
        ({"training": {"trainer": "mine"}}, 'training.trainer: got "mine", expected package.module:name'),
        ({"training": {"model": {"kind": "mlp", "hidden": 64}}}, "training.model.hidden: got 64, expected a list"),
        ({"training": {"model": {"kind": "mlp", "hidden": [1, "a"]}}}, 'training.model.hidden.1: got "a"'),
        ({"training": {"devices": 3}}, "training.devices: got 3, expected at most cluster.devices, which is 1"),
        ({"trigger": {"kind": "amont", "n": 3}}, 'trigger.kind: got "amont", expected one of always, amount,'),
        ({"trigger": {"n": 3}}, "trigger.kind: missing"),
        ({"trigger": {"kind": "amount"}}, "trigger.n: missing"),
        (
            {"trigger": {"kind": "time", "every": "30 days"}},
            'trigger.every: got "30 days", expected a number of seconds or',
        ),
        ({"trigger": {"kind": "time", "every": True}}, "trigger.every: got true, expected a number of seconds or"),
        ({"trigger": {"kind": "time", "every": 0}}, "trigger.every: got 0, expected a number > 0"),
        ({"variant": "overlaped"}, 'variant: got "overlaped", expected one of seed, sequential, overlapped'),
        ({"overlap": {"on_trigger": "drop"}}, "overlap: only for variant overlapped, got variant seed"),
        ({"data": {"kind": "table"}}, "data: got neither dataset nor path"),
        ({"data": {"kind": "table", "path": "x", "label": "y"}}, "data: time, features missing"),
        (
            {"data": {"kind": "table", "dataset": "portal"}},
            'data.dataset: got "portal", expected one of portal_rodents',
        ),
        ({"data": {"kind": "uniform", "num_samples": 3.5, "every": 1}}, "data.num_samples: got 3.5, expected a whole"),
        ({"evaluation": {"metrics": ["f1"]}}, "evaluation.metrics: got f1, expected accuracy"),
        ({"evaluation": {"metrics": ["r2"]}}, "evaluation.metrics: got r2, expected accuracy"),
        (
            {"evaluation": {"plans": [{"kind": "slicing", "every": 1, "form": 3}]}},
            "evaluation.plans.0.form: unknown key",
        ),
        (
            {"evaluation": {"plans": [{"kind": "slicing", "every": 1, "from": 3, "to": 2}]}},
            "evaluation.plans.0.to: got 2, expected more than from, which is 3",
        ),
        ({3: 4}, "3: got 3, expected a string as key"),
    ],
)
def test_a_wrong_value_is_named_with_its_key_and_what_was_expected(change, message):
    text = error_of({**MINIMAL, **change})
    assert text.startswith("config: ")
    assert message in text


def test_all_problems_come_in_one_line_that_names_the_file(file):
    path = file("seed: x\ntraining: {epoch: 3, optimizer: {lr: fast}}\n")
    assert error_of(path) == (
        f'{path}: seed: got "x", expected a whole number; trigger: missing, and it has no default; '
        'training.optimizer.lr: got "fast", expected a number; '
        "training.epoch: unknown key (got 3); did you mean epochs?"
    )


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "trigger: {kind: amount, n: 1}\ntrigger: {kind: amount, n: 2}",
            "line 2, column 1: not YAML: found duplicate key",
        ),
        ("trigger: [1", "not YAML"),
        ("a: 'x", "not YAML"),
        ("a: \x07", "not YAML"),
        ("- 3", "got [3], expected a mapping of sections"),
        ("", "got null, expected a mapping of sections"),
        ("data: 3\ntrigger: {kind: amount, n: 1}", "data: got 3, expected a mapping"),
    ],
)
def test_a_file_that_is_no_configuration(file, text, message):
    path = file(text)
    assert error_of(path).startswith(f"{path}: ")
    assert message in error_of(path)


def test_a_file_that_can_not_be_read(tmp_path):
    assert "nope.yaml: no such file" in error_of(tmp_path / "nope.yaml")
    assert "can't be read (Is a directory)" in error_of(tmp_path)
    (tmp_path / "latin.yaml").write_bytes(b"name: \xe9")
    assert "can't be read (not UTF-8 text)" in error_of(tmp_path / "latin.yaml")


def test_yaml_is_read_as_version_1_2(file):
    config = load_config(file("name: on\ntrigger: {kind: amount, n: 3}\ntraining: {optimizer: {lr: 1e-3}}"))
    assert config.name == "on"
    assert config.training.optimizer.lr == 0.001


@given(st.integers(0, 10**6), st.sampled_from([("s", 1), ("m", 60), ("h", 3600), ("d", 86400), ("w", 604800)]))
def test_durations(number, unit):
    assert parse_duration(f"{number}{unit[0]}") == number * unit[1]
    assert parse_duration(number) == number


@pytest.mark.parametrize("value", ["", "d", "1.5d", "-1d", "1 d", "1D", "1dd", None, True, [1], "٣d"])
def test_what_is_no_duration(value):
    with pytest.raises(ValueError, match="expected a number of seconds or <int>s"):
        parse_duration(value)


class OneCost(Section):
    kind: Literal["one"] = "one"
    setup_s: float = Field(default=1.0, ge=0)


class OtherCost(Section):
    kind: Literal["other"] = "other"
    rate: float


class Costs(Section):
    training: OneCost | OtherCost = Field(default=OneCost(), discriminator="kind")


def test_an_executors_section_gets_the_same_errors():
    assert parse_section(Costs, {"training": {"kind": "other", "rate": 2}}, "demo.yaml").training.rate == 2
    with pytest.raises(ConfigError) as caught:
        parse_section(Costs, {"training": {"kind": "other", "rat": 2}, "x": 1}, "demo.yaml", under="sim")
    assert str(caught.value) == (
        "demo.yaml: sim.training.rate: missing, and it has no default; "
        "sim.training.rat: unknown key (got 2); did you mean rate?; sim.x: unknown key (got 1); known: training"
    )


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
        lambda inner: (
            st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["kind", "n", "model", "x"]), inner)
        ),
        max_leaves=5,
    ),
    st.sampled_from(["name", "seed", "data", "trigger", "training", "evaluation", "overlap", "cluster", "selection"]),
)
def test_whatever_a_key_holds_only_the_documented_error_comes_out(value, key):
    text = ""
    try:
        load_config({**MINIMAL, key: value})
    except ConfigError as error:
        text = str(error)
    assert not text or (key in text and "\n" not in text)


def test_the_written_form_is_plain_json_too():
    assert json.loads(load_config(MINIMAL).model_dump_json())["trigger"] == {"kind": "amount", "n": 500}
