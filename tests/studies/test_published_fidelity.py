"""The studies by which the simulator is judged: what docs say of them is what the committed records say."""

from __future__ import annotations

import pytest

from experiments.fidelity.policies import policies
from experiments.fidelity.published import NAMES, PAGE, STUDIES, published, with_tables
from experiments.study import load_study
from twinclock.config import load_config
from twinclock.launch import plan_run


@pytest.mark.parametrize("name", NAMES)
def test_the_page_shows_what_the_record_says(name):
    page = PAGE.read_text(encoding="utf-8")
    made = published(name)
    assert with_tables(page, name, made) == page, "python -m experiments.fidelity.published writes it anew"
    for policy in made.record.policies:
        assert f"| {policy.label} |" in page


@pytest.mark.parametrize("name", NAMES)
def test_the_record_is_of_the_study(name):
    planned, record = policies(load_study(STUDIES / f"{name}.yaml")), published(name).record
    assert [each.label for each in record.policies] == [each.label for each in planned]
    assert all(len(each.runs) == record.repeats == 3 for each in record.policies)
    assert all(each.prediction.calibrated_on != each.label for each in record.policies)


@pytest.mark.parametrize("name", NAMES)
def test_every_policy_can_be_run_on_both(name):
    for policy in policies(load_study(STUDIES / f"{name}.yaml")):
        for executor in ("sim", "real"):
            plan_run(load_config(policy.config, overrides=["real.device=cpu"]), executor)  # where there may be no GPU


@pytest.mark.parametrize("name", ["rodents", "flights"])
def test_ten_policies_in_two_graphs(name):
    record = published(name).record
    assert {each.graph for each in record.policies} == {"sequential", "seed"}
    assert len({each.label.rpartition(" · ")[0] for each in record.policies}) >= 10
