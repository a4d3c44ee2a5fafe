"""Which samples of a training set are held out."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from twinclock.policies.selection.validation import num_held_out, split
from twinclock.training import TrainingConfig, training_effort

SHARES = st.decimals("0.001", "0.999", places=3).map(float)


@pytest.mark.parametrize(
    ("num_samples", "share", "held_out"),
    [(100, 0.29, 29), (100, 0.57, 57), (7, 0.5, 3), (5, 0.1, 1), (2, 0.9, 1), (1, 0.5, 0), (0, 0.5, 0)],
)
def test_how_many_by_hand(num_samples, share, held_out):
    assert num_held_out(num_samples, share) == held_out


@given(st.lists(st.integers(0, 10_000), unique=True), SHARES)
def test_the_newest_are_held_out_and_the_rest_keeps_its_order(positions, share):
    training, held_out = split(np.array(positions, np.int64), share)
    assert len(held_out) == num_held_out(len(positions), share)
    newest = sorted(positions)[len(positions) - len(held_out) :]
    assert held_out.tolist() == newest
    assert training.tolist() == [each for each in positions if each not in newest]


def test_what_a_training_comes_to_with_samples_held_out():
    config = TrainingConfig.model_validate(
        {
            "epochs": 3,
            "batch_size": 10,
            "accumulate": 2,
            "validation": {"share": 0.2},
            "downsample": {"kind": "loss", "ratio": 0.5},
        }
    )
    held_out, steps = training_effort(config, 100)
    assert held_out == 20
    assert (steps.num_kept, steps.num_steps, steps.num_scored) == (40, 3 * 2, 3 * 80)
