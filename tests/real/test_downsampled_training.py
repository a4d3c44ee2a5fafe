"""The built-in trainer with downsampling: what it scores, what it steps on, what it learns."""

from __future__ import annotations

import math
from itertools import chain

import counting_models
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from real_samples import context, frame, separable, train
from safetensors.torch import save

from real.downsampling import Kept
from real.minibatches import Minibatches
from real.models import ModelError
from real.trainer import StoppedError, TorchTrainer
from real.training import samples
from twinclock.config import TrainingConfig
from twinclock.errors import ConfigError
from twinclock.policies.downsampling import effort

COUNTING = {"kind": "import", "path": "counting_models:Counting"}
SCORED = ("loss", "gradnorm", "margin", "least_confidence", "entropy", "k_center")
CASES = [
    {"kind": kind, "mode": mode, **more}
    for kind in SCORED
    for mode, more in (("sample_then_batch", {"period": 2}), ("batch_then_sample", {}))
] + [{"kind": "rs2", "replacement": replacement} for replacement in (True, False)]


def rng(seed=0):
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize("downsample", CASES, ids=lambda case: f"{case['kind']} {case.get('mode', '')}")
def test_it_scores_and_steps_on_as_many_samples_as_the_policy_says(downsample):
    config = {"epochs": 3, "batch_size": 16, "model": COUNTING, "downsample": {"ratio": 0.3, **downsample}}
    counting_models.forwards.clear()
    result = train(separable(90), **config)
    learnt = [size for training, size in counting_models.forwards if training]
    scored = [size for training, size in counting_models.forwards if not training]
    todo = effort(TrainingConfig.model_validate(config).downsample, num_samples=90, epochs=3, batch_size=16)
    assert sum(learnt) == 3 * todo.num_kept
    assert len(learnt) == result.num_steps == todo.num_steps
    assert sum(scored) == todo.num_scored
    assert math.isfinite(result.loss)


@pytest.mark.parametrize("downsample", CASES, ids=lambda case: f"{case['kind']} {case.get('mode', '')}")
def test_same_seed_same_weights(downsample):
    options = {"epochs": 2, "batch_size": 16, "downsample": {"ratio": 0.4, **downsample}}
    first, again, other = (train(separable(60), seed=seed, **options) for seed in (1, 1, 2))
    assert save(dict(first.weights)) == save(dict(again.weights))
    assert save(dict(first.weights)) != save(dict(other.weights))


@pytest.mark.parametrize("kind", [*SCORED, "rs2"])
def test_it_still_learns(kind):
    options = {"epochs": 5, "optimizer": {"kind": "adam", "lr": 0.1}, "batch_size": 20}
    rows = separable(200)
    result = train(rows, downsample={"kind": kind, "ratio": 0.5}, **options)
    inputs = torch.from_numpy(result.encoding.features(rows))
    predicted = (inputs @ result.weights["weight"].T + result.weights["bias"]).argmax(dim=1)
    assert (predicted == torch.from_numpy(result.encoding.labels(rows))).double().mean() > 0.9


def test_progress_counts_the_steps_that_are_taken():
    reported = []
    downsample = {"kind": "margin", "ratio": 0.5, "mode": "batch_then_sample"}
    result = train(separable(100), epochs=2, batch_size=10, downsample=downsample, report=reported.append)
    assert reported[-1].step == reported[-1].num_steps == result.num_steps == 2 * 5


def test_a_wild_model_is_said_when_it_is_asked():
    wild = {"kind": "sgd", "lr": 1e30}
    model = {"kind": "mlp", "hidden": [8]}
    with pytest.raises(ModelError, match="not finite"):
        train(separable(64), model=model, optimizer=wild, downsample={"kind": "margin", "ratio": 0.5})


def test_it_stops_while_it_scores(monkeypatch):
    monkeypatch.setattr(samples, "_SCORED_AT_ONCE", 10)
    asked = []

    def should_stop() -> bool:
        asked.append(True)
        return len(asked) > 3

    training = context(separable(100), should_stop=should_stop, downsample={"kind": "loss", "ratio": 0.5})
    with pytest.raises(StoppedError):
        TorchTrainer().fit(training)
    assert len(asked) == 4


def test_scored_in_parts_is_scored_all_the_same(monkeypatch):
    downsample = {"kind": "entropy", "ratio": 0.3}
    whole = train(separable(100), epochs=1, downsample=downsample)
    monkeypatch.setattr(samples, "_SCORED_AT_ONCE", 7)
    assert save(dict(train(separable(100), epochs=1, downsample=downsample).weights)) == save(dict(whole.weights))


def test_k_center_needs_a_model_that_embeds():
    model = {"kind": "import", "path": "counting_models:WithoutEmbed"}
    with pytest.raises(ConfigError, match=r"training\.model\.path: counting_models:WithoutEmbed has no method embed"):
        train(frame(), model=model, downsample={"kind": "k_center", "ratio": 0.5})
    assert train(frame(), model=model, downsample={"kind": "margin", "ratio": 0.5}).num_steps == 5


# Minibatches


def listed(config, num_samples, batch_size, judge, num_epochs):
    todo = effort(config, num_samples=num_samples, epochs=1, batch_size=batch_size)
    minibatches = Minibatches(config, num_samples, batch_size, judge, rng())
    return [[minibatches.take().chosen.tolist() for _ in range(todo.num_steps)] for _ in range(num_epochs)]


def first_of(log):
    """A judge that keeps the smallest places, with ten times the place as weight."""

    def judge(_config, candidates, num_kept):
        log.append(len(candidates))
        chosen = candidates.sort().values[:num_kept]
        return Kept(chosen, chosen.double() * 10.0 + 1.0)

    return judge


def downsampling(**keys):
    return TrainingConfig.model_validate({"downsample": keys}).downsample


def test_what_was_kept_serves_until_the_next_scoring():
    log = []
    config = downsampling(kind="loss", ratio=0.5, period=2)
    epochs = listed(config, 10, 3, first_of(log), 4)
    assert [[len(each) for each in epoch] for epoch in epochs] == [[3, 2]] * 4
    assert all(sorted(chain(*epoch)) == [0, 1, 2, 3, 4] for epoch in epochs)
    assert epochs[0] != epochs[1]  # shuffled anew
    assert log == [10, 10]


def test_what_is_kept_of_minibatches_gathers_to_full_ones():
    log = []
    config = downsampling(kind="loss", ratio=0.5, mode="batch_then_sample")
    (epoch,) = listed(config, 23, 4, first_of(log), 1)
    assert log == [4, 4, 4, 4, 4, 3]
    assert [len(each) for each in epoch] == [4, 4, 3]
    assert len(set(chain(*epoch))) == 11


def test_weights_stay_with_their_samples():
    for mode in ("sample_then_batch", "batch_then_sample"):
        config = downsampling(kind="loss", ratio=0.7, mode=mode)
        minibatches = Minibatches(config, 20, 6, first_of([]), rng())
        for each in (minibatches.take(), minibatches.take()):
            assert each.weights.tolist() == [place * 10.0 + 1.0 for place in each.chosen.tolist()]


@settings(deadline=None)
@given(st.sampled_from(CASES), st.integers(1, 100), st.integers(1, 60), st.integers(1, 20), st.integers(1, 5))
def test_minibatches_are_as_many_as_the_policy_says(case, percent, num_samples, batch_size, num_epochs):
    log = []
    config = downsampling(ratio=percent / 100, **case)
    epochs = listed(config, num_samples, batch_size, first_of(log), num_epochs)
    todo = effort(config, num_samples=num_samples, epochs=num_epochs, batch_size=batch_size)
    assert [sum(map(len, epoch)) for epoch in epochs] == [todo.num_kept] * num_epochs
    assert sum(map(len, epochs)) == todo.num_steps
    assert sum(log) == todo.num_scored
    for epoch in epochs:
        assert all(len(each) == batch_size for each in epoch[:-1])
        assert len(set(chain(*epoch))) == todo.num_kept
