"""The page of policies and its pictures: none is missing, and each shows what a run of its configuration comes to."""

from __future__ import annotations

import re
from typing import get_args

import pytest

from experiments import policy_pictures
from twinclock.policies.triggers import TriggerConfig

KINDS = [model.model_fields["kind"].default for model in get_args(get_args(TriggerConfig)[0])]
TITLE = re.compile(r"[\d,]+ triggers")


def title(svg: str) -> str:
    return TITLE.findall(svg)[0]


def test_every_kind_of_trigger_has_a_section_and_all_but_those_of_users_a_picture():
    page = policy_pictures.PAGE.read_text(encoding="utf-8")
    assert sorted(re.findall(r"^### `(\w+)`", page, re.MULTILINE)) == sorted(KINDS)
    assert policy_pictures.configurations().keys() == set(KINDS) - {"custom"}
    assert {file.stem for file in policy_pictures.FOLDER.glob("*.svg")} == set(KINDS) - {"custom"}


@pytest.mark.parametrize("kind", policy_pictures.configurations())
def test_a_picture_shows_what_its_configuration_comes_to(kind):
    config = policy_pictures.configurations()[kind]
    assert config["trigger"]["kind"] == kind
    drawn = policy_pictures.picture(config)
    assert title(drawn.decode()) == title((policy_pictures.FOLDER / f"{kind}.svg").read_text(encoding="utf-8"))


def test_the_same_bytes_whenever_it_is_drawn():
    config = policy_pictures.configurations()["amount"]
    assert policy_pictures.picture(config) == policy_pictures.picture(config)
