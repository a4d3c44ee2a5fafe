"""The engine's triggers against a second implementation, written from the definitions alone."""

from __future__ import annotations

import math
import os

import pytest
import reference_triggers
from trigger_cases import BATCH_SIZES, CONFIGS, Case, Seconds, distance_of, fires_of, random_case, score_of_model

NUM_TRIGGERS = int(os.environ.get("TWINCLOCK_NUM_TRIGGERS", "200"))
"""Random policies of each kind."""


def reference(case: Case) -> list[int]:
    return reference_triggers.fires(
        case.config,
        case.timestamps,
        scores=case.scores,
        distances=case.distances,
        train_seconds=case.train_seconds,
        label_delay_s=case.label_delay_s,
        score_of_model=score_of_model,
        distance_of=distance_of,
    )


@pytest.mark.parametrize("kind", CONFIGS)
def test_random_triggers_fire_where_the_reference_does(kind):
    for seed in range(NUM_TRIGGERS):
        case = random_case(kind, seed)
        assert fires_of(case, BATCH_SIZES[seed % len(BATCH_SIZES)]) == reference(case), (seed, case)


def test_a_member_that_needs_the_next_sample_to_see_a_gap_gets_it():
    """Found by these: the ensemble asked such a member for ever."""
    of = {"gap": {"kind": "custom", "import": "trigger_cases:GapTrigger", "args": {"pause": 5}}}
    case = Case({"kind": "ensemble", "of": {**of, "a": {"kind": "amount", "n": 4}}, "rule": "any"}, (0, 1, 9, 10, 20))
    for size in BATCH_SIZES:
        assert fires_of(case, size) == [1, 3] == reference(case)


def test_a_member_learns_from_an_observation_that_only_a_later_sample_lets_it_ask_for():
    """Found by these: answered before that sample was shown, the member forgot what else was due by then."""
    rule = {"kind": "quantile", "metric": "r2", "window": 3, "q": 0.25}
    member = {"kind": "performance", "interval": "3s", "rules": [rule]}
    case = Case(
        {"kind": "ensemble", "of": {"a": member}, "rule": "all"},
        timestamps=(2.0, 37.0, 40.0, 43.0, 44.0, 112.0, 147.0),
        scores=(1.0, 0.0, 0.0, 1.0, 0.0, 1.0, 1.0),
        label_delay_s=12.0,
    )
    for size in BATCH_SIZES:
        assert fires_of(case, size) == [0, 4, 5] == reference(case)


AVOIDABLE = {
    "kind": "cost",
    "interval": 4,
    "regret": "avoidable_misclassification_latency",
    "per_training_second": 0.5,
}


@pytest.mark.parametrize(
    ("more", "scores", "expected"),
    [
        # r = 0 and 1.6: A = 1.6 · 4 / 2 = 3.2, worth 6.4 s; less than none would have made up for some of it
        ({"expected_accuracy": 0.9}, (None, 1.0, 0.5), [3, 11]),
        # the warm-up's 1.0 is what to expect later: r = 2, A = 4, worth 8 s
        ({"warmup": {"intervals": 2, "trigger": {"kind": "never"}}}, (None, 1.0, 0.5), [3, 11]),
        # nothing is learned from what is not a number
        ({}, (None, math.nan, 1.0, 0.5), [3, 15]),
    ],
    ids=["better than expected", "warm-up", "not a number"],
)
def test_what_a_cost_trigger_makes_of_accuracies(more, scores, expected):
    """Found by these."""
    num_samples = 4 * len(scores)
    case = Case(AVOIDABLE | more, tuple(map(float, range(num_samples))), scores, train_seconds=Seconds(5.0))
    for size in BATCH_SIZES:
        assert fires_of(case, size) == expected == reference(case)
