"""The catalog of policies: nothing is missing, every number has a unit, and the command shows what the code does."""

from __future__ import annotations

import io
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

import pytest
from rich.console import Console

from twinclock.cluster import Discipline, Placing
from twinclock.config import load_config
from twinclock.drift import DETECTORS, DISTANCES
from twinclock.drift.texts import DETECTOR_TEXTS, DISTANCE_TEXTS
from twinclock.errors import ConfigError
from twinclock.policies._examples import EXAMPLES
from twinclock.policies.batching import BatchingConfig
from twinclock.policies.catalog import COMMON_PRACTICE, GROUPS, NoKeys, Policy, catalog
from twinclock.policies.downsampling import DownsamplingConfig
from twinclock.policies.evaluation import EvaluationPlan
from twinclock.policies.metrics import METRIC_NAMES, METRIC_TEXTS
from twinclock.policies.overlap import ON_TRIGGER, OnTrigger, OverlapConfig
from twinclock.policies.placement import PLACEMENTS
from twinclock.policies.queueing import DISCIPLINES
from twinclock.policies.selection import PresampleConfig, SelectionConfig
from twinclock.policies.triggers import TriggerConfig
from twinclock.policies.triggers.drift import DetectorMetric, DistanceMetric
from twinclock.policies.triggers.performance import PerformanceRule
from twinclock.policies.triggers.rules import Rule
from twinclock.policies.triggers.windows import WindowsConfig
from twinclock.section import Section
from twinclock.show_policies import list_policies, show_policies
from twinclock.yaml_text import read_yaml

UNIONS = {
    "trigger": [TriggerConfig],
    "threshold rule": [PerformanceRule, Rule],
    "windows": [WindowsConfig],
    "batching": [BatchingConfig],
    "selection": [SelectionConfig],
    "presampling": [PresampleConfig],
    "downsampling": [DownsamplingConfig],
    "evaluation plan": [EvaluationPlan],
}


CHOICES = {"overlap": "on_trigger", "queueing": "discipline", "placement": "placement", "metric": "metric"}
"""Groups of policies that are no sections → the key whose values they are."""


def sections(annotation: Any) -> Iterator[type[Section]]:
    if isinstance(annotation, type) and issubclass(annotation, Section):
        yield annotation
    for each in get_args(annotation):
        yield from sections(each)


def models() -> Iterator[tuple[Policy, type[Section]]]:
    """Each policy of the catalog with the class that it must be of."""
    by_name = {
        (group, config.model_fields["kind"].default): config
        for group, unions in UNIONS.items()
        for union in unions
        for config in sections(union)
    }
    by_name |= {("drift metric", name): DistanceMetric for name in DISTANCES}
    by_name |= {("drift metric", name): DetectorMetric for name in DETECTORS}
    by_name |= {("metric", name): NoKeys for name in METRIC_NAMES}
    by_name |= {("overlap", name): OverlapConfig for name in get_args(OnTrigger)}
    by_name |= {("queueing", name): NoKeys for name in get_args(Discipline)}
    by_name |= {("placement", name): NoKeys for name in get_args(Placing)}
    listed = {(policy.group, policy.name): policy for policy in catalog()}
    assert listed.keys() == by_name.keys()
    assert len(listed) == len(catalog()), "a policy stands in the catalog twice"
    for key, policy in listed.items():
        yield policy, by_name[key]


MODELS = [pytest.param(policy, model, id=f"{policy.group} {policy.name}") for policy, model in models()]


def test_the_groups_come_in_order_and_each_has_policies():
    assert tuple(dict.fromkeys(policy.group for policy in catalog())) == GROUPS


def test_every_distance_detector_metric_discipline_placement_and_choice_of_overlap_has_a_text():
    assert METRIC_TEXTS.keys() == set(METRIC_NAMES)
    assert PLACEMENTS.keys() == set(get_args(Placing))
    assert DISCIPLINES.keys() == set(get_args(Discipline))
    assert DISTANCE_TEXTS.keys() == set(DISTANCES) == set(get_args(DistanceMetric.model_fields["kind"].annotation))
    assert DETECTOR_TEXTS.keys() == set(DETECTORS) == set(get_args(DetectorMetric.model_fields["kind"].annotation))
    assert ON_TRIGGER.keys() == set(get_args(OnTrigger))


@pytest.mark.parametrize(("policy", "model"), MODELS)
def test_a_policy_says_in_one_line_what_it_does_and_where_it_is_from(policy: Policy, model: type[Section]):
    assert policy.summary.endswith(".")
    assert len(policy.summary) <= 110
    assert policy.semantics, "does not say exactly what it does"
    assert policy.source == COMMON_PRACTICE or len(policy.source) > len("your")
    assert "None" not in " ".join((policy.summary, *policy.semantics))
    for text in (policy.summary, policy.source, *policy.semantics, *(each.meaning for each in policy.parameters)):
        assert text == " ".join(text.split()), "is not on one line"


@pytest.mark.parametrize(("policy", "model"), MODELS)
def test_a_policy_stands_where_the_catalog_says(policy: Policy, model: type[Section]):
    assert policy.places
    for place in policy.places:
        values = read_yaml(place, "place")
        load_config({"trigger": {"kind": "never"}, **values})
        key = CHOICES.get(policy.group, "kind")
        if "evaluation" in values and policy.group == "metric":
            assert policy.name.replace("<n>", "3") in values["evaluation"]["metrics"]
        else:
            name = policy.name.replace("<n>", "3")
            assert {key: name}.items() <= innermost(values, key, name).items()


def test_examples_are_of_policies_that_need_them():
    required = {
        (policy.group, policy.name)
        for policy in catalog()
        if any(each.default == "required" and "." not in each.name for each in policy.parameters)
    }
    placements = {("placement", name) for name in PLACEMENTS}
    assert EXAMPLES.keys() == required | placements, "a placement has no keys, but means something among pools only"


def innermost(values: Any, key: str, name: str) -> dict[str, Any]:
    """The mapping inside `values` that has this name under this key."""
    if isinstance(values, dict) and values.get(key) == name:
        return values
    for each in values.values() if isinstance(values, dict) else values if isinstance(values, list) else ():
        if found := innermost(each, key, name):
            return found
    return {}


def keys(model: type[Section], without: str, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Every key below a policy, with its field; sections that are no policies are gone into."""
    for name, field in model.model_fields.items():
        written = f"{prefix}{field.alias or name}"
        if written.rpartition(".")[2] != without:
            yield written, field
        for inside in sections(field.annotation):
            if inside.__name__ in ("WarmupConfig", "CooldownConfig", "AtLeast"):
                yield from keys(inside, "kind", f"{written}.")


@pytest.mark.parametrize(("policy", "model"), MODELS)
def test_every_key_is_there_with_its_default_and_a_meaning(policy: Policy, model: type[Section]):
    declared = dict(keys(model, "on_trigger" if policy.group == "overlap" else "kind"))
    assert [each.name for each in policy.parameters] == list(declared)
    for parameter in policy.parameters:
        field = declared[parameter.name]
        assert parameter.meaning, parameter.name
        assert parameter.type, parameter.name
        if field.is_required():
            assert parameter.default == "required", parameter.name
        else:
            assert read_yaml(parameter.default, parameter.name) == field.get_default(call_default_factory=True)


@pytest.mark.parametrize(("policy", "model"), MODELS)
def test_every_number_has_a_unit_and_nothing_else_has(policy: Policy, model: type[Section]):
    declared = dict(keys(model, "on_trigger" if policy.group == "overlap" else "kind"))
    for parameter in policy.parameters:
        field = declared[parameter.name]
        assert (parameter.unit is not None) == is_number(field.annotation), parameter.name
        if parameter.type.startswith("duration"):
            assert parameter.unit in ("s of data time", "clock s"), parameter.name


def is_number(annotation: Any) -> bool:
    """Does a number belong here? A section's own numbers are its own."""
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is Literal:
        return any(isinstance(each, int | float) for each in arguments)
    if origin in (Union, UnionType, Annotated, tuple, list):
        return any(is_number(each) for each in arguments if each is not NoneType)
    return annotation in (int, float)


def test_types_and_defaults_are_said_in_words():
    (drift,) = (policy for policy in catalog() if policy.name == "drift")
    (cooldown,) = (each for each in drift.parameters if each.name == "cooldown.seconds")
    assert (cooldown.type, cooldown.unit, cooldown.default) == ("duration > 0, or null", "s of data time", "null")
    said = {each.name: each.type for each in drift.parameters}
    assert said["interval"] == "whole number > 0, or duration"
    assert said["metrics"] == "mapping of names to drift metric"
    assert said["windows"] == "windows, or null"
    assert said["warmup.trigger"] == "trigger: always, amount, never or time"
    (slicing,) = (policy for policy in catalog() if policy.name == "slicing")
    assert {each.name for each in slicing.parameters} == {"every", "from", "to", "models", "when"}


def test_a_key_without_a_text_of_its_own_has_that_of_its_type():
    (loss,) = (policy for policy in catalog() if policy.name == "loss")
    (ratio,) = (each for each in loss.parameters if each.name == "ratio")
    assert (ratio.meaning, ratio.unit) == ("How much is kept: of n samples max(1, ⌊ratio · n⌋).", "share")


def test_docstrings_of_fields_cost_nothing_when_configurations_are_made():
    assert not any(model.model_config.get("use_attribute_docstrings") for _, model in models())


# The command


def printed(show, *arguments: Any, terminal: bool = False, width: int = 160) -> str:
    out = io.StringIO()
    show(*arguments, Console(file=out, width=width, force_terminal=terminal, highlight=False))
    return out.getvalue()


def test_the_list_has_a_line_for_each_policy():
    lines = printed(list_policies).splitlines()
    for policy in catalog():
        (line,) = (each for each in lines if each.split()[: len(policy.group.split()) + 1] == named(policy))
        assert line.endswith(policy.summary)
    assert all(line == line.rstrip() for line in lines)


def named(policy: Policy) -> list[str]:
    return [*policy.group.split(), policy.name]


@pytest.mark.parametrize("name", sorted({policy.name for policy in catalog()}))
def test_a_policy_is_shown_whole(name: str):
    text = " ".join(printed(show_policies, name).split())
    for policy in catalog():
        if policy.name == name:
            for part in (policy.summary, *policy.semantics, *policy.places, policy.source):
                assert part in text
            for each in policy.parameters:
                assert each.name in text
                assert f"default {each.default}" in text or each.default == "required"


def test_policies_of_one_name_are_all_shown():
    text = printed(show_policies, "static")
    assert "static (threshold rule)" in text
    assert "static (evaluation plan)" in text


def test_a_terminal_of_80_columns_is_enough():
    for name in {policy.name for policy in catalog()}:
        text = printed(show_policies, name, width=80)
        keys_shown = {each.name for policy in catalog() if policy.name == name for each in policy.parameters}
        assert all(key in text for key in keys_shown), name


def test_a_terminal_gets_bold_names_and_a_pipe_gets_plain_text():
    assert "\x1b[1m" in printed(list_policies, terminal=True)
    assert "\x1b" not in printed(list_policies)


@pytest.mark.parametrize(
    ("name", "told"),
    [("amout", "did you mean amount?"), ("page-hinkley", "did you mean page_hinkley?"), ("x", "known: always, amount")],
)
def test_an_unknown_name_is_one_line_with_what_is_near(name: str, told: str):
    with pytest.raises(ConfigError, match=f"^policies: got {name}, which is no policy; ") as caught:
        show_policies(name, Console(file=io.StringIO()))
    assert told in str(caught.value)


def test_the_command_lists_and_shows_and_refuses():
    def twinclock(*arguments: str) -> subprocess.CompletedProcess[str]:
        command = [Path(sys.executable).parent / "twinclock", "policies", *arguments]
        return subprocess.run(command, capture_output=True, text=True, timeout=120)

    assert "Fires after every n samples." in twinclock().stdout
    shown = twinclock("amount")
    assert (shown.returncode, shown.stderr) == (0, "")
    assert shown.stdout.startswith("amount (trigger)\nFires after every n samples.\n")
    refused = twinclock("amuont")
    assert (refused.returncode, refused.stdout) == (2, "")
    assert refused.stderr == "error: policies: got amuont, which is no policy; did you mean amount?\n"
