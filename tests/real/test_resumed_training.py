"""A training that is stopped and goes on from its checkpoint comes to the same, bit by bit, as one that is not."""

from __future__ import annotations

import itertools
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from real_samples import context, separable, stored, train
from safetensors.torch import save
from torch import nn

from real.trainer import StoppedError, TorchTrainer
from real.training import fetching
from real.training.checkpoint import read_checkpoint, write_checkpoint

ROWS, HELD_OUT = separable(60), separable(20, seed=1)
SCORED = ("loss", "gradnorm", "margin", "least_confidence", "entropy", "k_center")
DOWNSAMPLES = [
    None,
    *({"kind": "rs2", "ratio": 0.4, "replacement": each} for each in (True, False)),
    *({"kind": kind, "ratio": 0.4, "period": 2} for kind in SCORED),
    *({"kind": kind, "ratio": 0.4, "mode": "batch_then_sample"} for kind in SCORED),
]
OPTIMIZERS = [
    {"kind": "adam", "lr": 0.02, "weight_decay": 0.01},
    {"kind": "sgd", "lr": 0.1},
    {"kind": "sgd", "lr": 0.1, "momentum": 0.9},
]
SCHEDULES = [
    {"kind": "constant"},
    {"kind": "constant", "warmup_steps": 5},
    {"kind": "cosine", "warmup_steps": 3, "end": 0.1},
    {"kind": "linear"},
    {"kind": "step", "every_epochs": 2, "factor": 0.5},
]


class Dropping(nn.Sequential):
    """Draws from the global stream, and has state that is no parameter."""

    def __init__(self, num_inputs: int, num_classes: int) -> None:
        hidden = nn.Linear(num_inputs, 6)
        super().__init__(hidden, nn.BatchNorm1d(6), nn.ReLU(), nn.Dropout(0.3), nn.Linear(6, num_classes))

    def embed(self, inputs):
        return self[0](inputs)


MODELS = [
    {"kind": "logistic"},
    {"kind": "mlp", "hidden": [5]},
    {"kind": "import", "path": "test_resumed_training:Dropping"},
]

TRAININGS = st.fixed_dictionaries(
    {
        "downsample": st.sampled_from(DOWNSAMPLES),
        "optimizer": st.sampled_from(OPTIMIZERS),
        "schedule": st.sampled_from(SCHEDULES),
        "model": st.sampled_from(MODELS),
        "accumulate": st.sampled_from([1, 1, 3]),
        "batch_size": st.sampled_from([7, 16]),
        "clip_norm": st.sampled_from([None, 0.5]),
        "class_weights": st.sampled_from([None, "balanced", {"yes": 3.0}]),
        "precision": st.sampled_from(["fp32", "fp32", "bf16"]),
        "early_stopping": st.sampled_from([None, {"patience": 1, "min_delta": 0.02}]),
        "epochs": st.just(3),
        "validation": st.just({"share": 0.25}),
    }
)


def outcome(result):
    weights = save({name: each.contiguous() for name, each in result.weights.items()})
    return weights, result.loss, result.num_steps, result.num_epochs, result.validation_loss


def interrupted(config, folder: Path, stops, **options):
    """Train, and stop at each of some questions whether to, counted over all attempts but for the last."""
    begun = context(ROWS, **options, **config)
    for stop in stops:
        asked = itertools.count()
        attempt = replace(
            begun,
            validation=HELD_OUT,
            resume_from=read_checkpoint(folder).checkpoint,
            save_checkpoint=lambda checkpoint: write_checkpoint(folder, checkpoint),
            should_stop=lambda asked=asked, stop=stop: next(asked) == stop,
        )
        try:
            return TorchTrainer().fit(attempt)
        except StoppedError:
            torch.rand(7)  # another process has other streams
    return TorchTrainer().fit(replace(begun, validation=HELD_OUT, resume_from=read_checkpoint(folder).checkpoint))


@pytest.mark.parametrize("num_ahead", [None, 1, 3])
@settings(deadline=None, max_examples=10, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(config=TRAININGS, stops=st.lists(st.integers(0, 40), min_size=1, max_size=3))
def test_it_comes_to_the_same_to_the_last_bit(tmp_path_factory, monkeypatch, num_ahead, config, stops):
    """Also if the samples of some steps are gathered ahead, which large minibatches are."""
    whole = TorchTrainer().fit(replace(context(ROWS, **config), validation=HELD_OUT))
    with monkeypatch.context() as patched:
        if num_ahead is not None:
            patched.setattr(fetching, "_WORTH_A_THREAD_BYTES", 0)
            patched.setattr(fetching, "_AHEAD_BYTES", num_ahead * config["batch_size"] * config["accumulate"] * 4 * 4)
        assert outcome(interrupted(config, tmp_path_factory.mktemp("kept"), stops)) == outcome(whole)


@pytest.mark.parametrize("downsample", DOWNSAMPLES, ids=str)
def test_every_place_to_stop_at_is_as_good(downsample, tmp_path_factory):
    config = {"downsample": downsample, "epochs": 3, "batch_size": 16, "accumulate": 2}
    whole = outcome(TorchTrainer().fit(replace(context(ROWS, **config), validation=HELD_OUT)))
    for stop in range(0, 12, 2):
        assert outcome(interrupted(config, tmp_path_factory.mktemp("kept"), [stop])) == whole, stop


def test_what_starts_from_a_model_goes_on_with_that_models_start(tmp_path):
    parent = stored(train(ROWS, model=MODELS[1]), model=MODELS[1])
    config = {"model": MODELS[1], "epochs": 2, "batch_size": 8}
    whole = TorchTrainer().fit(replace(context(ROWS, start_from=parent, **config), validation=HELD_OUT))
    assert outcome(interrupted(config, tmp_path, [5, 3], start_from=parent)) == outcome(whole)


def kept_steps(config, **options):
    kept = []
    train(ROWS, save_checkpoint=kept.append, batch_size=10, epochs=2, checkpoint=config, **options)
    return [each.state["step"] for each in kept]


def test_checkpoints_are_due_by_steps_by_time_or_not_at_all():
    """12 steps; after the last one there is a model."""
    assert kept_steps({}) == []
    assert kept_steps({"every_steps": 5}) == [5, 10]
    assert kept_steps({"every_steps": 12}) == []
    assert kept_steps({"every": "1w"}) == []
    assert kept_steps({"every": 1e-9}) == list(range(1, 12))
    assert kept_steps({"every": "1w", "every_steps": 4}) == [4, 8]


def test_what_is_asked_to_stop_keeps_what_it_has_and_only_that():
    for stop, steps in ((0, []), (1, [1]), (7, [7])):
        kept, asked = [], itertools.count()
        with pytest.raises(StoppedError):
            train(ROWS, save_checkpoint=kept.append, should_stop=lambda a=asked, s=stop: next(a) == s, batch_size=10)
        assert [each.state["step"] for each in kept] == steps


@pytest.mark.parametrize("other", [{"seed": 6}, {"epochs": 4}, {"optimizer": {"kind": "sgd", "lr": 0.1}}])
def test_the_checkpoint_of_another_training_is_worth_nothing(other):
    kept = []
    train(ROWS, save_checkpoint=kept.append, batch_size=10, checkpoint={"every_steps": 5})
    options = {"batch_size": 10, "checkpoint": {"every_steps": 5}, **other}
    assert outcome(train(ROWS, resume_from=kept[0], **options)) == outcome(train(ROWS, **options))
