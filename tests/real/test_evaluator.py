from __future__ import annotations

import dataclasses
import math

import pytest
import torch
from real_samples import evaluation, frame, separable, stored, train

from real import evaluator
from real.evaluator import LEAST_PROBABILITY, TorchEvaluator
from real.models import ModelError
from real.trainer import StoppedError
from twinclock.errors import ConfigError

UNSEEN_LOSS = -math.log(LEAST_PROBABILITY)


@pytest.fixture(scope="module")
def model():
    return stored(train(separable(), epochs=20, optimizer={"kind": "adam", "lr": 0.05}))


def by_metric(rows, interval=0):
    """metric → value, of one interval (two metrics each)."""
    return {row["metric"]: row["value"] for row in rows[2 * interval : 2 * interval + 2]}


def test_a_row_for_each_interval_and_metric(model):
    rows = TorchEvaluator().evaluate(evaluation(model, separable(300, seed=9), (0, 100), (100, 300)))
    assert [(row["start"], row["end"], row["metric"], row["num_samples"]) for row in rows] == [
        (0.0, 100.0, "accuracy", 100),
        (0.0, 100.0, "log_loss", 100),
        (100.0, 300.0, "accuracy", 200),
        (100.0, 300.0, "log_loss", 200),
    ]
    assert by_metric(rows)["accuracy"] > 0.95
    assert 0.0 < by_metric(rows)["log_loss"] < 0.3


def test_an_untrained_model_scores_as_it_must():
    uniform = stored(train(frame(), epochs=1, optimizer={"kind": "sgd", "lr": 1e-30}))
    scores = by_metric(TorchEvaluator().evaluate(evaluation(uniform, frame(), (0, 3))))
    assert scores == pytest.approx({"accuracy": 2 / 3, "log_loss": math.log(2)})


def test_intervals_may_overlap_repeat_and_come_in_any_order(model):
    rows = separable(300, seed=9)
    spans = [(200, 300), (0, 150), (100, 250), (0, 150), (7, 8)]
    together = TorchEvaluator().evaluate(evaluation(model, rows, *spans))
    alone = [row for span in spans for row in TorchEvaluator().evaluate(evaluation(model, rows, span))]
    assert [row["value"] for row in together] == pytest.approx([row["value"] for row in alone], abs=1e-6)
    assert [row["num_samples"] for row in together] == [row["num_samples"] for row in alone]


def test_an_empty_interval_has_no_value(model):
    rows = TorchEvaluator().evaluate(evaluation(model, separable(), (50, 50), (60, 70)))
    assert [(row["value"], row["num_samples"]) for row in rows[:2]] == [(None, 0), (None, 0)]
    assert rows[2]["value"] is not None
    assert TorchEvaluator().evaluate(evaluation(model, separable())) == []


def test_a_label_never_seen_in_training_is_wrong_and_all_but_impossible(model):
    rows = separable(4, labels=("never", "never"))
    scores = by_metric(TorchEvaluator().evaluate(evaluation(model, rows, (0, 4))))
    assert scores == pytest.approx({"accuracy": 0.0, "log_loss": UNSEEN_LOSS})


def test_a_probability_that_is_too_small_is_cut_off(model):
    sure = dataclasses.replace(model, weights={name: 1e6 * each for name, each in model.weights.items()})
    scores = by_metric(TorchEvaluator().evaluate(evaluation(sure, separable(40, labels=("yes", "no")), (0, 40))))
    assert scores["log_loss"] <= UNSEEN_LOSS
    assert scores["log_loss"] > 0.9 * UNSEEN_LOSS


def test_one_class_is_always_right_about_it():
    only = stored(train(frame(y=["p", "p", "p"])))
    scores = by_metric(TorchEvaluator().evaluate(evaluation(only, frame(), (0, 3))))
    assert scores == pytest.approx({"accuracy": 2 / 3, "log_loss": UNSEEN_LOSS / 3})
    right = by_metric(TorchEvaluator().evaluate(evaluation(only, frame(), (0, 1))))
    assert [str(value) for value in right.values()] == ["1.0", "0.0"]


def test_features_with_gaps_are_scored(model):
    rows = frame(
        a=[math.nan, None, math.inf], b=[None, math.nan, -math.inf], c=[None, "new", "u"], y=["yes", "no", "no"]
    )
    scores = by_metric(TorchEvaluator().evaluate(evaluation(model, rows, (0, 3))))
    assert all(math.isfinite(value) for value in scores.values())


def test_many_rows_are_scored_in_parts(model, monkeypatch):
    rows = separable(300, seed=9)
    whole = TorchEvaluator().evaluate(evaluation(model, rows, (0, 300)))
    monkeypatch.setattr(evaluator, "_ROWS_AT_ONCE", 7)
    in_parts = TorchEvaluator().evaluate(evaluation(model, rows, (0, 300)))
    assert [row["value"] for row in in_parts] == pytest.approx([row["value"] for row in whole], abs=1e-6)


def test_outputs_that_are_not_finite_are_said(model):
    broken = dataclasses.replace(model, weights={name: each * torch.nan for name, each in model.weights.items()})
    with pytest.raises(ModelError, match="outputs that are not finite"):
        TorchEvaluator().evaluate(evaluation(broken, separable(), (0, 3)))


def test_weights_of_another_architecture_are_said(model):
    other = dataclasses.replace(model, weights={"unknown": torch.zeros(2)})
    with pytest.raises(ModelError, match="don't fit") as caught:
        TorchEvaluator().evaluate(evaluation(other, separable(), (0, 3)))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("metric", ["f1", "rmse"])
def test_a_metric_that_is_unknown_or_of_another_task_is_said(model, metric):
    with pytest.raises(ConfigError, match=rf"evaluation\.metrics: got {metric}, expected accuracy, .* for a class"):
        TorchEvaluator().evaluate(evaluation(model, separable(), (0, 3), metrics=("accuracy", metric)))


def test_it_stops_when_asked_to(model):
    context = dataclasses.replace(evaluation(model, separable(), (0, 3)), should_stop=lambda: True)
    with pytest.raises(StoppedError):
        TorchEvaluator().evaluate(context)
