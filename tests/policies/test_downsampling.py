"""What a training with downsampling comes to, and which configurations there are."""

from __future__ import annotations

import inspect
from fractions import Fraction
from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from twinclock.config import load_config
from twinclock.errors import ConfigError
from twinclock.policies.downsampling import (
    DownsamplingConfig,
    Effort,
    LossDownsamplingConfig,
    MarginDownsamplingConfig,
    Rs2DownsamplingConfig,
    downsampling_kinds,
    effort,
    num_kept,
    share,
)

KINDS = get_args(get_args(DownsamplingConfig)[0])
BATCH = "batch_then_sample"


def test_without_downsampling_every_epoch_steps_on_everything():
    plain = effort(None, num_samples=100, epochs=3, batch_size=32)
    assert plain == Effort(num_kept=100, num_steps=3 * 4, num_scored=0)


def test_sample_then_batch_scores_the_whole_set_before_every_period():
    def of(epochs, period):
        config = LossDownsamplingConfig(ratio=0.25, period=period)
        return effort(config, num_samples=100, epochs=epochs, batch_size=10)

    assert of(4, 1) == Effort(num_kept=25, num_steps=4 * 3, num_scored=400)
    assert of(4, 2).num_scored == 200  # before epochs 0 and 2
    assert of(5, 2).num_scored == 300  # before epochs 0, 2 and 4
    assert of(5, 99).num_scored == 100


def test_batch_then_sample_keeps_a_share_of_each_minibatch():
    config = MarginDownsamplingConfig(ratio=0.5, mode=BATCH)
    # minibatches of 10, 10 and 5, of which 5, 5 and 2 are kept: a full minibatch and one of 2
    assert effort(config, num_samples=25, epochs=2, batch_size=10) == Effort(num_kept=12, num_steps=4, num_scored=50)


def test_rs2_never_asks_the_model():
    config = Rs2DownsamplingConfig(ratio=0.1)
    assert effort(config, num_samples=95, epochs=4, batch_size=5) == Effort(num_kept=9, num_steps=8, num_scored=0)


@pytest.mark.parametrize(
    ("ratio", "num_samples", "kept"),
    [
        (0.5, 7, 3),
        (0.29, 100, 29),  # in floating point 0.29 · 100 is less than 29
        (0.1, 30, 3),
        (1e-9, 5, 1),
        (1.0, 7, 7),
        (0.5, 1, 1),
        (0.5, 0, 0),
    ],
)
def test_the_share_is_rounded_down_and_at_least_one(ratio, num_samples, kept):
    assert share(ratio, num_samples) == kept


@given(st.integers(1, 100), st.integers(0, 300), st.integers(1, 50), st.integers(1, 5))
def test_batch_then_sample_by_hand(percent, num_samples, batch_size, epochs):
    config = MarginDownsamplingConfig(ratio=percent / 100, mode=BATCH)
    sizes = [min(batch_size, num_samples - first) for first in range(0, num_samples, batch_size)]
    kept = sum(max(1, int(Fraction(percent, 100) * size)) for size in sizes)
    assert num_kept(config, num_samples, batch_size) == kept
    todo = effort(config, num_samples=num_samples, epochs=epochs, batch_size=batch_size)
    assert todo.num_steps == epochs * len(range(0, kept, batch_size))
    assert todo.num_scored == epochs * num_samples


def test_kinds():
    assert downsampling_kinds("classification") == (
        "loss",
        "gradnorm",
        "margin",
        "least_confidence",
        "entropy",
        "k_center",
        "rs2",
    )
    assert downsampling_kinds("regression") == ("loss", "k_center", "rs2")


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_says_what_it_does_and_who_thought_of_it(kind):
    first_line = inspect.getdoc(kind).splitlines()[0]
    assert first_line.endswith(".")
    assert len(first_line) < 100
    assert any(year in kind.source for year in ("2009", "2017", "2018", "2024"))


def error_of(training, **more):
    with pytest.raises(ConfigError) as caught:
        load_config({"trigger": {"kind": "amount", "n": 5}, "training": training, **more})
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize(
    ("downsample", "message"),
    [
        ({"kind": "hardest", "ratio": 0.5}, 'training.downsample.kind: got "hardest", expected one of loss, gradnorm'),
        ({"kind": "loss"}, "training.downsample.ratio: missing"),
        ({"kind": "loss", "ratio": 0}, "training.downsample.ratio: got 0, expected a number > 0"),
        ({"kind": "loss", "ratio": 1.5}, "training.downsample.ratio: got 1.5, expected a number <= 1"),
        ({"kind": "loss", "ratio": 0.5, "period": 0}, "training.downsample.period: got 0, expected a number > 0"),
        (
            {"kind": "loss", "ratio": 0.5, "mode": BATCH, "period": 2},
            "training.downsample.period: got 2, expected 1: with batch_then_sample every minibatch is scored",
        ),
        (
            {"kind": "rs2", "ratio": 0.5, "mode": BATCH},
            'training.downsample.mode: got "batch_then_sample", expected sample_then_batch',
        ),
        ({"kind": "loss", "ratio": 0.5, "replacement": True}, "training.downsample.replacement: unknown key"),
    ],
)
def test_what_can_not_be_is_named(downsample, message):
    assert message in error_of({"downsample": downsample})


def test_only_what_makes_sense_for_a_regression():
    of = {"task": "regression", "downsample": {"kind": "entropy", "ratio": 0.5}}
    text = error_of(of, evaluation={"metrics": ["mae"]})
    assert "training.downsample.kind: got entropy, expected one of loss, k_center, rs2 for training.task regr" in text


def test_a_trainer_of_the_users_own_would_ignore_it():
    text = error_of({"trainer": "mine:Trainer", "downsample": {"kind": "rs2", "ratio": 0.5}})
    assert "training.downsample: only the built-in trainer can, got mine:Trainer under training.trainer" in text
