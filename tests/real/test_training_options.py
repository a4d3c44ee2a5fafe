"""What a training is made of, option by option: steps, learning rates, losses, weights, precision, and when it ends."""

from __future__ import annotations

import math

import polars as pl
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import TypeAdapter
from real_samples import frame, separable, stored, train
from safetensors.torch import save
from training_parts import Noting

from real.models import ModelError
from real.training.objective import class_weights
from real.training.optimizer import lr_factor
from twinclock.config import load_config
from twinclock.errors import ConfigError
from twinclock.training import ScheduleConfig, TrainingConfig, training_effort

MLP = {"kind": "mlp", "hidden": [8]}
SGD = {"kind": "sgd", "lr": 0.1}


def bits(result):
    return save({name: each.contiguous() for name, each in result.weights.items()})


def close(first, second, atol=1e-6):
    return all(torch.allclose(first.weights[name], second.weights[name], atol=atol) for name in first.weights)


# Accumulation


@settings(deadline=None, max_examples=20, derandomize=True)
@given(st.integers(1, 50), st.integers(1, 9), st.integers(1, 6), st.sampled_from([None, "balanced", {"yes": 5.0}]))
def test_a_step_takes_the_mean_over_its_samples_however_they_are_cut(num_samples, batch_size, accumulate, weights):
    """Ragged ends too: one large minibatch steps as several small ones do."""
    options = {"optimizer": SGD, "epochs": 2, "model": MLP, "class_weights": weights}
    small = train(separable(num_samples), batch_size=batch_size, accumulate=accumulate, **options)
    large = train(separable(num_samples), batch_size=batch_size * accumulate, **options)
    assert small.num_steps == large.num_steps
    assert close(small, large)
    config = TrainingConfig.model_validate({"batch_size": batch_size, "accumulate": accumulate, "epochs": 2})
    assert training_effort(config, num_samples).steps.num_steps == small.num_steps


def test_weights_of_downsampling_count_in_a_step_of_several_minibatches():
    options = {"optimizer": SGD, "epochs": 2, "downsample": {"kind": "loss", "ratio": 0.5}, "model": MLP}
    assert close(
        train(separable(90), batch_size=5, accumulate=4, **options), train(separable(90), batch_size=20, **options)
    )


# Learning rate


def rates(num_steps, steps_per_epoch, **schedule):
    config = TypeAdapter(ScheduleConfig).validate_python(schedule)
    factor = lr_factor(config, num_steps=num_steps, steps_per_epoch=steps_per_epoch)
    return [factor(step) for step in range(num_steps)]


def test_learning_rates_by_hand():
    assert rates(4, 2, kind="constant", warmup_steps=2) == [0.5, 1.0, 1.0, 1.0]
    assert rates(4, 2, kind="linear") == [1.0, 0.75, 0.5, 0.25]
    assert rates(5, 5, kind="linear", warmup_steps=1, end=0.2) == pytest.approx([1.0, 1.0, 0.8, 0.6, 0.4])
    assert rates(4, 2, kind="cosine") == pytest.approx([1.0, (1 + math.sqrt(0.5)) / 2, 0.5, (1 - math.sqrt(0.5)) / 2])
    assert rates(6, 2, kind="step", factor=0.5) == [1.0, 1.0, 0.5, 0.5, 0.25, 0.25]
    assert rates(6, 1, kind="step", every_epochs=3) == pytest.approx([1.0, 1.0, 1.0, 0.1, 0.1, 0.1])


@settings(deadline=None)
@given(
    st.sampled_from(["constant", "cosine", "linear", "step"]), st.integers(0, 30), st.integers(1, 10), st.integers(1, 9)
)
def test_a_learning_rate_grows_then_falls_and_is_never_too_large(kind, warmup, epochs, steps_per_epoch):
    found = rates(epochs * steps_per_epoch, steps_per_epoch, kind=kind, warmup_steps=warmup)
    assert all(0.0 <= each <= 1.0 for each in found)
    assert found[:warmup] == sorted(found[:warmup])
    assert found[warmup:] == sorted(found[warmup:], reverse=True)


def test_the_schedule_is_what_the_optimizer_steps_by():
    """One step of plain descent on one minibatch: half the learning rate goes half as far."""
    options = {"epochs": 1, "batch_size": 400, "optimizer": SGD}
    full, half = (
        train(separable(), schedule=each, **options)
        for each in ({"kind": "constant"}, {"kind": "constant", "warmup_steps": 2})
    )
    assert torch.allclose(half.weights["weight"] * 2, full.weights["weight"])


def test_momentum_goes_on():
    options = {"epochs": 5, "batch_size": 400}
    plain, rolling = (train(separable(), optimizer={**SGD, "momentum": each}, **options) for each in (0.0, 0.9))
    assert rolling.weights["weight"].norm() > 1.5 * plain.weights["weight"].norm()


# State of the optimizer


@pytest.mark.parametrize("optimizer", [{"kind": "adam", "lr": 0.02}, {**SGD, "momentum": 0.9}])
def test_state_that_is_kept_makes_two_trainings_one(optimizer):
    """One step an epoch, so their order does not matter."""
    options = {"model": MLP, "batch_size": 400, "optimizer": {**optimizer, "state": "keep"}}
    first = train(separable(), epochs=3, **options)
    parent = stored(first, **options)
    kept = train(separable(), epochs=2, start_from=parent, **options)
    assert close(kept, train(separable(), epochs=5, **options))
    reset = train(separable(), epochs=2, start_from=parent, **{**options, "optimizer": optimizer})
    assert not close(reset, kept, atol=1e-4)
    assert reset.optimizer is None


def test_new_inputs_and_classes_begin_with_fresh_state():
    options = {"model": MLP, "batch_size": 400, "optimizer": {"kind": "adam", "lr": 1e-9, "state": "keep"}}
    first = train(separable(), epochs=3, **options)
    grown = separable().with_columns(
        c=pl.Series(["w" if row % 3 == 0 else "u" for row in range(400)]),
        y=pl.Series(["maybe" if row % 5 == 0 else "no" for row in range(400)]),
    )
    warm = train(grown, epochs=1, start_from=stored(first, **options), **options)
    assert warm.optimizer["step:0.weight"] == 4
    for name, old in first.optimizer.items():
        if name.startswith("exp_avg_sq"):
            corner = warm.optimizer[name][tuple(slice(size) for size in old.shape)]
            assert bool((corner >= 0.998 * old).all()), name  # it decays by 0.999 a step
    old, new = first.optimizer["exp_avg_sq:2.weight"], warm.optimizer["exp_avg_sq:2.weight"]
    assert (old.shape, new.shape) == ((2, 8), (3, 8))


# Losses and weights


@pytest.mark.parametrize("downsample", [None, {"kind": "loss", "ratio": 0.5}])
def test_a_loss_of_the_users_own(downsample):
    options = {"model": MLP, "epochs": 2, "downsample": downsample, "class_weights": {"yes": 2.0}, "optimizer": SGD}
    assert bits(train(separable(), loss="training_parts:cross_entropy", **options)) == bits(
        train(separable(), **options)
    )


def test_a_loss_of_the_users_own_is_what_gets_small():
    """The median makes absolute errors small, the mean squared ones: most labels are 0, few are large."""
    rows = pl.DataFrame({"a": [0.0] * 10, "b": [0.0] * 10, "c": ["u"] * 10, "y": [0.0] * 8 + [10.0] * 2})
    options = {"task": "regression", "epochs": 400, "optimizer": {"kind": "adam", "lr": 0.02}}
    own, usual = (train(rows, loss=each, **options) for each in ("training_parts:mean_errors", None))

    def predicted(result):
        inputs = torch.from_numpy(result.encoding.features(rows[:1]))
        outputs = inputs @ result.weights["weight"].T + result.weights["bias"]
        return float(result.encoding.predictions(outputs.double().numpy())[0])

    assert predicted(own) == pytest.approx(0.0, abs=0.3)
    assert predicted(usual) == pytest.approx(2.0, abs=0.3)


@pytest.mark.parametrize(
    ("loss", "error", "line"),
    [
        ("training_parts:one_number", ModelError, r"training.loss gives shape \(\), expected a tensor of shape \(3,\)"),
        ("training_parts:no_tensor", ModelError, "training.loss gives a float, expected a tensor"),
        ("training_parts:not_a_function", ConfigError, "training.loss: .* is a int, expected a function"),
        ("training_parts:mean_eror", ConfigError, "training.loss: .* did you mean mean_errors"),
    ],
)
def test_what_is_no_loss_is_said(loss, error, line):
    with pytest.raises(error, match=line):
        train(frame(), loss=loss)


def test_balanced_weights_make_classes_pull_alike():
    targets = torch.tensor([0] * 6 + [1] * 2 + [2])
    config = TrainingConfig(class_weights="balanced")
    weights = class_weights(config, ("a", "b", "c", "only in an older model"), targets)
    assert weights.tolist() == pytest.approx([9 / (3 * 6), 9 / (3 * 2), 9 / 3, 1.0])
    said = class_weights(TrainingConfig(class_weights={"b": 4.0, "of none": 2.0}), ("a", "b"), targets)
    assert said.tolist() == [1.0, 4.0]


def test_a_weight_counts_as_so_many_samples():
    rows = separable(60)
    twice = pl.concat([rows, rows.filter(y="yes")])
    options = {"epochs": 30, "batch_size": 200, "optimizer": SGD}
    # normalised alike: a weight changes nothing about mean and deviation of a column
    parent = stored(train(rows, epochs=1, batch_size=200, optimizer={"kind": "sgd", "lr": 1e-12}))
    weighed = train(rows, class_weights={"yes": 2.0}, start_from=parent, **options)
    assert close(weighed, train(twice, start_from=parent, **options), atol=1e-5)


# Validation and early stopping


def test_early_stopping_keeps_the_best_weights():
    """The labels of what is held out say the opposite: it only gets worse from the first epoch on."""
    opposite = separable(50, seed=2, labels=("yes", "no"))
    options = {"epochs": 10, "model": MLP, "held_out": opposite, "validation": {"share": 0.5}}
    stopped = train(separable(), early_stopping={"patience": 3}, **options)
    assert (stopped.num_epochs, stopped.num_steps) == (4, 4 * 7)
    one = train(separable(), **{**options, "epochs": 1})
    assert bits(stopped) == bits(one)
    assert (stopped.loss, stopped.validation_loss) == (one.loss, one.validation_loss)
    free = train(separable(), **options)
    assert free.num_epochs == 10
    assert free.validation_loss > stopped.validation_loss


def test_what_gets_better_by_less_than_it_has_to_does_not_count():
    options = {"epochs": 9, "held_out": separable(50, seed=2), "validation": {"share": 0.5}}
    assert train(separable(), early_stopping={"patience": 2}, **options).num_epochs == 9
    assert train(separable(), early_stopping={"patience": 2, "min_delta": 0.5}, **options).num_epochs == 3


def test_the_loss_on_what_is_held_out_by_hand():
    tiny = {"optimizer": {"kind": "sgd", "lr": 1e-12}, "epochs": 1, "validation": {"share": 0.5}}
    held_out = frame(y=["p", "q", "a class that nobody trains on"])
    assert train(frame(), held_out=held_out, **tiny).validation_loss == pytest.approx(math.log(2))
    assert train(frame(), held_out=held_out[2:], **tiny).validation_loss is None
    assert train(frame(), **tiny).validation_loss is None


def test_a_loss_on_what_is_held_out_that_is_not_finite_is_said():
    rows = pl.DataFrame({"a": [0.0, 1.0], "b": [0.0, 0.0], "c": ["u", "u"], "y": [0.0, 1.0]})
    far = rows.with_columns(y=pl.lit(1e308))
    options = {"task": "regression", "epochs": 2, "validation": {"share": 0.5}}
    with pytest.raises(ModelError, match="the loss on the samples held out is inf after epoch 1"):
        train(rows, held_out=far, loss="training_parts:steep", **options)


# Precision


def test_bf16_is_computed_in_and_learns():
    Noting.dtypes.clear()
    model = {"kind": "import", "path": "training_parts:Noting"}
    result = train(separable(), model=model, precision="bf16", optimizer={"kind": "adam", "lr": 0.05})
    assert set(Noting.dtypes) == {torch.bfloat16}
    assert {each.dtype for each in result.weights.values()} == {torch.float32}
    assert result.loss < 0.4


def test_fp16_needs_a_gpu():
    with pytest.raises(ConfigError, match=r"training.precision: got fp16, which needs a CUDA device; expected fp32"):
        train(frame(), precision="fp16")


# What is refused


@pytest.mark.parametrize(
    ("training", "line"),
    [
        ({"optimizer": {"kind": "adam", "momentum": 0.5}}, "training.optimizer.momentum: got 0.5, expected 0 for adam"),
        (
            {"optimizer": {"kind": "sgd", "momentum": 1.0}},
            "training.optimizer.momentum: got 1.0, expected a number < 1",
        ),
        ({"early_stopping": {}}, "training.early_stopping: needs samples to judge by; expected training.validation"),
        ({"validation": {"share": 1.0}}, "training.validation.share: got 1.0, expected a number < 1"),
        ({"validation": {}}, "training.validation.share: missing"),
        (
            {"task": "regression", "class_weights": "balanced"},
            'training.class_weights: got "balanced", expected null for regression',
        ),
        ({"class_weights": {"a": 0.0}}, "training.class_weights.a: got 0.0, expected a number > 0"),
        ({"class_weights": "even"}, 'training.class_weights: got "even", expected balanced'),
        ({"loss": "x:y", "downsample": {"kind": "gradnorm", "ratio": 0.5}}, "training.downsample.kind: got gradnorm"),
        ({"schedule": {"kind": "cosine", "factor": 0.5}}, "training.schedule.factor: unknown key"),
        ({"schedule": {"kind": "exponential"}}, 'training.schedule.kind: got "exponential", expected one of constant'),
        ({"accumulate": 0}, "training.accumulate: got 0, expected a number > 0"),
        ({"checkpoint": {"every_steps": 0}}, "training.checkpoint.every_steps: got 0, expected a number > 0"),
        ({"precision": "fp8"}, 'training.precision: got "fp8", expected one of fp32, bf16, fp16'),
    ],
)
def test_what_can_not_be_is_said_in_a_line(training, line):
    with pytest.raises(ConfigError) as caught:
        load_config({"trigger": {"kind": "amount", "n": 5}, "training": training})
    assert line in str(caught.value)
    assert "\n" not in str(caught.value)


def test_the_reported_share_of_waiting_is_a_share():
    assert 0.0 < train(separable()).wait_share < 1.0
