"""The gate's verdict, and what a configuration may ask of it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from twinclock.config import load_config
from twinclock.errors import ConfigError
from twinclock.policies.gate import GateConfig, judge

SCORES = st.floats(-1e6, 1e6)
LIMITS = st.floats(0.0, 1e3)
HIGHER, LOWER = "accuracy", "log_loss"


@given(SCORES, SCORES, LIMITS)
def test_a_candidate_may_be_worse_by_so_much_and_no_more(candidate, active, limit):
    passed = judge(GateConfig(metric=HIGHER, max_worse=limit), candidate, active)
    assert passed.is_activated == (active - candidate <= limit)


@given(SCORES, SCORES, LIMITS)
def test_of_what_is_better_low_the_same_holds_upside_down(candidate, active, limit):
    higher = judge(GateConfig(metric=HIGHER, max_worse=limit), candidate, active)
    lower = judge(GateConfig(metric=LOWER, max_worse=limit), -candidate, -active)
    own = judge(GateConfig(metric="mine", max_worse=limit, better="lower"), -candidate, -active)
    assert higher.is_activated == lower.is_activated == own.is_activated


@given(SCORES, SCORES, LIMITS, st.floats(0.0, 1e3))
def test_who_is_better_never_fares_worse(candidate, active, limit, more):
    gate, wider = (GateConfig(metric=HIGHER, max_worse=each) for each in (limit, limit + more))
    if judge(gate, candidate, active).is_activated:
        assert judge(gate, candidate + more, active).is_activated
        assert judge(wider, candidate, active).is_activated


@given(st.one_of(st.none(), SCORES), st.one_of(st.none(), SCORES))
def test_without_both_scores_the_active_model_stays(candidate, active):
    passed = judge(GateConfig(metric=HIGHER, max_worse=1e9), candidate, active)
    assert passed.is_activated == (candidate is not None and active is not None)


def test_the_reason_says_both_scores_or_whose_is_missing():
    gate = GateConfig(metric=HIGHER, max_worse=0.01)
    assert judge(gate, 0.5, 0.75).reason == "accuracy 0.5, the active model has 0.75"
    assert judge(gate, None, 0.75).reason == "no accuracy of the candidate"
    assert judge(gate, None, None).reason == "no accuracy of the candidate and the active model"


def problem(training: dict, evaluator: str | None = None) -> str:
    with pytest.raises(ConfigError) as error:
        load_config({"trigger": {"kind": "never"}, "training": training, "evaluation": {"evaluator": evaluator}})
    assert "\n" not in str(error.value)
    return str(error.value)


VALIDATION = {"validation": {"share": 0.2}}


@pytest.mark.parametrize(
    ("gate", "evaluator", "told"),
    [
        ({"metric": "accuracy"}, None, "training.gate.max_worse: missing"),
        ({"metric": "accuracy", "max_worse": -0.1}, None, "training.gate.max_worse: got -0.1"),
        ({"metric": "acuracy", "max_worse": 0}, None, "training.gate.metric: got acuracy, expected one of accuracy"),
        ({"metric": "mae", "max_worse": 0}, None, "training.gate.metric: got mae, expected one of accuracy"),
        ({"metric": "accuracy", "max_worse": 0, "better": "higher"}, None, "training.gate.better: got higher"),
        ({"metric": "mine", "max_worse": 0}, "a:B", "training.gate.better: missing, expected higher or lower"),
    ],
)
def test_what_is_wrong_with_a_gate_is_said(gate, evaluator, told):
    assert told in problem({**VALIDATION, "gate": gate}, evaluator)


def test_a_gate_needs_samples_to_score_on():
    told = problem({"gate": {"metric": "accuracy", "max_worse": 0.1}})
    assert "training.gate: got metric accuracy, expected training.validation too" in told


def test_a_metric_of_ones_own_says_which_way_it_is_better():
    gate = {"metric": "mine", "max_worse": 0.1, "better": "lower"}
    config = {"trigger": {"kind": "never"}, "training": {**VALIDATION, "gate": gate}}
    loaded = load_config({**config, "evaluation": {"evaluator": "a:B"}})
    assert loaded.training.gate is not None
    assert not loaded.training.gate.higher_is_better
