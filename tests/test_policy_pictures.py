"""The page of policies and its pictures: none is missing, and each shows what a run of its configuration comes to."""

from __future__ import annotations

import re
from typing import get_args

import pytest

import twinclock as tc
from experiments import policy_pictures
from twinclock.policies.catalog import catalog
from twinclock.policies.triggers import TriggerConfig
from twinclock.yaml_text import read_yaml

KINDS = [model.model_fields["kind"].default for model in get_args(get_args(TriggerConfig)[0])]


def texts(svg: str) -> list[str]:
    """All that is written in a picture: its title and the years below."""
    return re.findall(r"<text [^>]*>([^<]*)</text>", svg)


def drawn_by(svg: str) -> list[str]:
    return re.findall(r"Matplotlib v\S+", svg)


def test_every_kind_of_trigger_has_a_section_and_a_picture():
    page = policy_pictures.PAGE.read_text(encoding="utf-8")
    assert sorted(re.findall(r"^### `(\w+)`", page, re.MULTILINE)) == sorted(KINDS)
    assert sorted(re.findall(r"\(images/policies/(\w+)\.svg\)", page)) == sorted(KINDS)
    assert policy_pictures.configurations().keys() == set(KINDS)
    assert {file.stem for file in policy_pictures.FOLDER.glob("*.svg")} == set(KINDS)


@pytest.mark.parametrize("kind", policy_pictures.configurations())
def test_a_picture_shows_what_its_configuration_comes_to(kind):
    config = policy_pictures.configurations()[kind]
    assert config["trigger"]["kind"] == kind
    drawn = policy_pictures.picture(config).decode()
    committed = (policy_pictures.FOLDER / f"{kind}.svg").read_text(encoding="utf-8")
    again = f"draw it again: python -m experiments.policy_pictures {kind}"
    assert texts(committed) == texts(drawn), again
    assert texts(drawn)[-1].startswith(f"{kind}: ")
    if drawn_by(committed) == drawn_by(drawn):  # another matplotlib may draw the same picture in other bytes
        assert committed == drawn, again


def test_the_same_bytes_whenever_it_is_drawn():
    config = policy_pictures.configurations()["amount"]
    assert policy_pictures.picture(config) == policy_pictures.picture(config)


# Policies that are no triggers


KS = "ks: {kind: ks, rule: {kind: hypothesis_test, p: 0.1}}"
IN_DRIFT = (
    f"trigger: {{kind: drift, interval: 9, windows: {{kind: amount, ref: 9, cur: 9}}, metrics: {{{KS}, m: YAML}}}}"
)
CONTEXTS = {
    "threshold rule": "trigger: {kind: performance, interval: 9, rules: [YAML]}",
    "drift metric": IN_DRIFT,
    "windows": f"trigger: {{kind: drift, interval: 9, windows: YAML, metrics: {{{KS}}}}}",
}
"""Group → where the YAML of its table belongs, if that is no configuration by itself."""


def rows() -> list[tuple[str, list[str]]]:
    """The tables of policies: (group, cells) of each row."""
    found = []
    for table in re.findall(r"^\|.* in YAML \|\n(?:\|.*\n)+", policy_pictures.PAGE.read_text("utf-8"), re.MULTILINE):
        head, _, *lines = ([cell.strip() for cell in line.strip("| ").split(" | ")] for line in table.splitlines())
        found += [(head[0], cells) for cells in lines]
    return found


def test_every_policy_is_on_the_page():
    listed = sorted((group, cells[0].strip("`")) for group, cells in rows())
    assert listed == sorted((each.group, each.name) for each in catalog() if each.group != "trigger")


@pytest.mark.parametrize(("group", "cells"), [pytest.param(*row, id=f"{row[0]} {row[1][0]}") for row in rows()])
def test_the_yaml_of_a_policy_is_a_configuration(group, cells):
    name, use, costs, yaml = (cell.strip("`") for cell in cells)
    assert use
    assert costs
    assert name.replace("<n>", "3") in yaml
    context = CONTEXTS.get(group, "YAML")
    if name == "hypothesis_test":
        context = IN_DRIFT.replace("m: YAML", "m: {kind: ks, rule: YAML}")
    tc.load_config({"trigger": {"kind": "amount", "n": 9}, **read_yaml(context.replace("YAML", yaml), name)})
