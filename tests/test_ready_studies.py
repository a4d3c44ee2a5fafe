"""The studies that come with the project: their files are right, and what is said of them is what they found."""

from __future__ import annotations

import json
import re

import pytest

from experiments.findings import COMPARED_WITHIN, FINDINGS, STUDIES, findings
from experiments.metric_names import figure_text
from experiments.study import load_study
from experiments.sweep import sweep
from experiments.variants import variants
from twinclock.config import load_config
from twinclock.launch import plan_run

CONFIGURATIONS = {"demo", "flights"}
"""Files in the same folder that are of a single run."""
READY = tuple(COMPARED_WITHIN)
FOUND = json.loads(FINDINGS.read_text(encoding="utf-8"))
PAGE = (STUDIES / "README.md").read_text(encoding="utf-8")
SECTIONS = dict(re.findall(r"^## `([\w-]+)`\n(.*?)(?=^## |\Z)", PAGE, re.MULTILINE | re.DOTALL))
_FIGURE = re.compile(r"\d[\d,]*\.\d+|\d[\d,]*(?= %)")


def lines(name: str, start: str) -> list[str]:
    return [line.removeprefix(start) for line in SECTIONS[name].splitlines() if line.startswith(start)]


def cells(row: str) -> list[str]:
    return [cell.strip().strip("`") for cell in row.strip("|").split("|")]


def test_each_has_a_file_a_section_and_findings():
    assert {file.stem for file in STUDIES.glob("*.yaml")} - CONFIGURATIONS == set(READY)
    assert list(SECTIONS) == list(FOUND) == list(READY)


@pytest.mark.parametrize("name", READY)
def test_every_variant_can_be_run(name):
    study = load_study(STUDIES / f"{name}.yaml")
    assert study.name == name
    assert f"*{study.question}*" in SECTIONS[name]
    for variant in variants(study):
        plan_run(load_config(variant.values(study, study.all_seeds[0])), study.on)


@pytest.mark.parametrize("name", READY)
def test_figures_in_its_tables_are_those_that_were_found(name):
    head, rule, *rows = lines(name, "|")
    assert rows
    assert set(rule) <= set("-|: ")
    _, *metrics = cells(head)
    for row in rows:
        variant, *values = cells(row)
        means = FOUND[name]["means"][variant]
        assert values == [figure_text(means[metric]) for metric in metrics], variant


@pytest.mark.parametrize("name", READY)
def test_verdicts_are_quoted_as_they_are(name):
    quoted = lines(name, "> - ")
    assert quoted
    assert set(quoted) <= {line for verdict in FOUND[name]["verdicts"].values() for line in verdict}


@pytest.mark.parametrize("name", READY)
def test_figures_in_its_text_are_in_the_table_the_verdict_or_the_file(name):
    shown = "\n".join([*lines(name, "|"), *lines(name, ">"), (STUDIES / f"{name}.yaml").read_text(encoding="utf-8")])
    prose = "\n".join(line for line in SECTIONS[name].splitlines() if not line.startswith(("|", ">")))
    missing = [
        figure for figure in _FIGURE.findall(prose) if not re.search(rf"(?<![\d.,]){re.escape(figure)}(?![\d])", shown)
    ]
    assert not missing


def test_sweeping_again_finds_the_same(tmp_path):
    name = "how-many-gpus"
    made = sweep(STUDIES / f"{name}.yaml", out=tmp_path / name, num_workers=1)
    assert findings(made) == FOUND[name], f"python -m experiments.findings {name} writes it anew"
