"""The engine's triggers against a second implementation, written from the definitions alone."""

from __future__ import annotations

import os

import pytest
import reference_triggers
from trigger_cases import BATCH_SIZES, CONFIGS, Case, distance_of, fires_of, random_case, score_of_model

NUM_TRIGGERS = int(os.environ.get("TWINCLOCK_NUM_TRIGGERS", "400"))
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
