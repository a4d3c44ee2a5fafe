"""The page of policies and its pictures: none is missing, and each shows what a run of its configuration comes to."""

from __future__ import annotations

import re
from typing import get_args

import pytest

from experiments import policy_pictures
from twinclock.policies.triggers import TriggerConfig

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
