"""Thousands of whole pipelines drawn at random, each simulated and held to what has to be true of every run.

A seed that fails: `python tests/fuzz.py --runs 1 --seed SEED` is the same run, and prints its case, shrunk.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest
from dst.completeness import NOT_DRAWN, can_be_said, said
from dst.draw import Case, draw_case
from dst.files import CASES_FOLDER, case_text, read_case
from dst.fuzz import judge, outcome
from dst.invariants import INVARIANTS
from dst.mutants import MUTANTS
from dst.shrink import shrunk
from dst.witness import witness

NUM_RUNS = int(os.environ.get("TWINCLOCK_NUM_PIPELINES", "500"))
_RUNS_A_TEST = max(20, NUM_RUNS // 100)
_ENOUGH = 300
"""Seeds within which a defect has to be found."""
_WHERE = {
    "a training that is done is stopped": "preempt",
    "the gate lets through what is worse": "gate",
    "a rejected model is scored as the active one": "gate",
}
"""Defect → what cases have to say to show it, where few do; the others are left out, for they take time only."""


@pytest.mark.parametrize("first", range(0, NUM_RUNS, _RUNS_A_TEST))
def test_every_run_keeps_the_rules(first):
    for seed in range(first, min(first + _RUNS_A_TEST, NUM_RUNS)):
        broken, message = outcome(seed).verdict[2:]
        assert broken is None, f"{broken}: {message}; again: python tests/fuzz.py --runs 1 --seed {seed}"


@pytest.mark.parametrize("file", sorted(CASES_FOLDER.glob("*.yaml")), ids=lambda file: file.stem)
def test_a_case_that_failed_once_fails_no_more(file):
    verdict = judge(read_case(file))
    assert (verdict.refused, verdict.broken) == (None, None), verdict.message


# What is drawn

_NEVER = {
    "CLAIM_TRIGGERS nothing",  # whoever claims was started because a trigger waits
    "WAIT_FOR_NEW_DATA end",  # FETCH_NEW_DATA, which comes first, has told of the end
}
"""Outcomes that no simulated run comes to."""


def test_everything_that_a_configuration_can_say_is_drawn():
    forgotten = sorted(can_be_said() - said(map(draw_case, range(2000))) - NOT_DRAWN.keys())
    assert not forgotten, (
        f"no case says {', '.join(forgotten)}: draw them in tests/dst/draw.py (pipelines, fleets), draw_triggers.py or "
        "draw_sim.py (sim), where the section that they belong to is drawn; or, if they can't be, add them to "
        "NOT_DRAWN in tests/dst/completeness.py, with the reason. Where a new key changes what is true of a run, look "
        "through tests/dst/invariants as well"
    )


def test_what_is_not_drawn_is_there_to_be_drawn():
    gone = NOT_DRAWN.keys() - can_be_said()
    assert not gone, f"NOT_DRAWN in tests/dst/completeness.py excuses what no configuration can say: {sorted(gone)}"


def test_few_cases_are_refused_and_much_happens_in_the_others():
    """Every outcome of every stage comes up, but for those that need something from outside."""
    found: Counter[str] = Counter()
    meant: set[str] = set()
    for seed in range(400):
        witnessed = witness(draw_case(seed))
        found["refused"] += witnessed.refused is not None
        for seen in witnessed.pipelines.values():
            for each in seen.trace.runs:
                found[f"{each.operation} {each.outcome}"] += 1
                meant |= {f"{each.operation} {name}" for name in each.start.stage.outcomes}
    assert found.pop("refused", 0) <= 8
    never = meant - found.keys()
    assert never <= _NEVER, sorted(never - _NEVER)


# The fuzzer itself


def test_the_digest_is_the_same_in_any_process():
    def told(num_processes: int, hash_seed: str) -> str:
        command = [sys.executable, "tests/fuzz.py", "--runs", "12", "--seed", "5", "-j", str(num_processes)]
        environment = {**os.environ, "PYTHONHASHSEED": hash_seed}
        root = Path(__file__).parent.parent
        run = subprocess.run(command, cwd=root, env=environment, capture_output=True, text=True, check=True)
        return run.stdout

    one = told(1, "1")
    assert "0 broken; digest " in one
    assert told(2, "2") == one


@pytest.mark.parametrize("defect", MUTANTS)
def test_a_defect_is_found(defect):
    said = _WHERE.get(defect, "")
    seeds = (seed for seed in range(_ENOUGH) if said in case_text(draw_case(seed)))
    with MUTANTS[defect]():
        assert any(outcome(seed).verdict.broken for seed in seeds), f"{_ENOUGH} seeds, and not found"


def test_an_invariant_says_in_its_docstring_what_it_is():
    assert len(INVARIANTS) > 40
    assert all(rule.__doc__ for rule in INVARIANTS)


def test_a_case_comes_back_from_its_file(tmp_path):
    for seed in range(40):
        case = draw_case(seed)
        (tmp_path / "case.yaml").write_text(case_text(case), encoding="utf-8")
        assert read_case(tmp_path / "case.yaml") == case


def test_a_failing_case_is_shrunk_to_what_it_takes():
    with MUTANTS["a trigger is lost"]():
        found = next(seed for seed in range(_ENOUGH) if outcome(seed).verdict.broken)
        broken = outcome(found).verdict.broken
        assert broken is not None
        case = shrunk(draw_case(found), broken, most_tries=80)
        assert judge(case).broken == broken
    assert len(case_text(case)) < len(case_text(draw_case(found))) / 2
    assert judge(case).broken is None


def test_a_case_that_raises_is_a_finding():
    case = Case(
        {
            "name": "ends",
            "trigger": {"kind": "amount", "n": 5},
            "data": {"kind": "uniform", "num_samples": 9, "every": 1.0},
        }
    )
    assert judge(case).broken is None
    refused = Case({**case.config, "trigger": {"kind": "amount", "n": 0}})
    assert "trigger.n" in (judge(refused).refused or "")
