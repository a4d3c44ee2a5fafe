"""Scores, draws and choices of samples, against small examples by hand and brute force."""

from __future__ import annotations

import math
from collections import Counter
from functools import partial
from itertools import chain, islice, pairwise, permutations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from real.downsampling import (
    confidences,
    draw_in_proportion,
    entropies,
    gradient_norms,
    k_center,
    keep,
    margins,
    next_subset,
    smallest,
)
from real.models import ModelError, sample_losses, weighted_loss
from twinclock.policies.downsampling import (
    EntropyDownsamplingConfig,
    GradNormDownsamplingConfig,
    KCenterDownsamplingConfig,
    LeastConfidenceDownsamplingConfig,
    LossDownsamplingConfig,
    MarginDownsamplingConfig,
)

P = torch.tensor([[0.5, 0.3, 0.2], [0.9, 0.05, 0.05], [0.4, 0.4, 0.2], [1.0, 0.0, 0.0]], dtype=torch.float64)
OUTPUTS = P.log()
"""Logits whose softmax is P; of the last sample the model is quite sure."""
LABELS = torch.tensor([0, 1, 2, 0])


def rng(seed=0):
    return torch.Generator().manual_seed(seed)


# Scores


def test_scores_by_hand():
    assert margins(OUTPUTS).tolist() == pytest.approx([0.2, 0.85, 0.0, 1.0])
    assert confidences(OUTPUTS).tolist() == pytest.approx([0.5, 0.9, 0.4, 1.0])
    first = -(0.5 * math.log(0.5) + 0.3 * math.log(0.3) + 0.2 * math.log(0.2))
    assert entropies(OUTPUTS)[[0, 3]].tolist() == pytest.approx([first, 0.0])
    of_first = math.sqrt(0.5**2 + 0.3**2 + 0.2**2)
    of_second = math.sqrt(0.9**2 + 0.95**2 + 0.05**2)
    of_third = math.sqrt(0.4**2 + 0.4**2 + 0.8**2)
    assert gradient_norms(OUTPUTS, LABELS).tolist() == pytest.approx([of_first, of_second, of_third, 0.0])


def test_a_model_of_one_class_is_sure_of_it():
    only = torch.tensor([[3.0], [-1.0]])
    assert margins(only).tolist() == [1.0, 1.0]
    assert entropies(only).tolist() == [0.0, 0.0]


def test_of_equal_scores_the_first_are_kept():
    assert smallest(torch.tensor([2.0, 1.0, 1.0, 0.0, 1.0]), 3).tolist() == [3, 1, 2]


@pytest.mark.parametrize(
    ("config", "kept"),
    [
        (MarginDownsamplingConfig, [2, 0]),
        (LeastConfidenceDownsamplingConfig, [2, 0]),
        (EntropyDownsamplingConfig, [2, 0]),
    ],
)
def test_what_the_model_is_least_sure_of_is_kept(config, kept):
    chosen, weights = keep(config(ratio=0.5), partial(sample_losses, "classification"), OUTPUTS, LABELS, 2, rng())
    assert chosen.tolist() == kept
    assert weights is None


# Draws in proportion


def test_weights_are_one_over_n_p():
    scores = torch.tensor([1.0, 2.0, 5.0, 0.0])
    chosen, weights = draw_in_proportion(scores, 3, rng())
    by_sample = dict(zip(chosen.tolist(), weights.tolist(), strict=True))
    assert by_sample == pytest.approx({0: 8 / (4 * 1), 1: 8 / (4 * 2), 2: 8 / (4 * 5)})


def test_draws_are_those_of_drawing_one_after_another():
    scores = [1.0, 2.0, 5.0]
    expected = {
        pair: (scores[pair[0]] / 8.0) * scores[pair[1]] / (8.0 - scores[pair[0]]) for pair in permutations(range(3), 2)
    }
    generator, num_draws = rng(1), 2_000
    drawn = Counter(
        tuple(draw_in_proportion(torch.tensor(scores), 2, generator).chosen.tolist()) for _ in range(num_draws)
    )
    for pair, probability in expected.items():
        spread = math.sqrt(probability * (1 - probability) / num_draws)
        assert abs(drawn[pair] / num_draws - probability) < 4.5 * spread, pair


def test_all_scores_zero_is_a_uniform_draw():
    generator = rng(2)
    drawn = Counter()
    for _ in range(1000):
        chosen, weights = draw_in_proportion(torch.zeros(4), 2, generator)
        assert len(set(chosen.tolist())) == 2
        assert weights.tolist() == [1.0, 1.0]  # 1 / (n · 1/n)
        drawn.update(chosen.tolist())
    assert all(abs(count / 1000 - 0.5) < 0.08 for count in drawn.values())


def test_too_few_positive_scores_are_filled_up():
    chosen, weights = draw_in_proportion(torch.tensor([0.0, 3.0, 0.0, 0.0]), 3, rng())
    assert chosen[0] == 1
    assert len(set(chosen.tolist())) == 3
    assert weights.tolist() == [1 / 4, 1.0, 1.0]


@given(st.lists(st.sampled_from([0.0, 1e-45, 1e-3, 1.0, 3e38]), min_size=1, max_size=12), st.data())
def test_as_many_as_asked_for_none_twice_all_weights_finite(scores, data):
    num_kept = data.draw(st.integers(1, len(scores)))
    chosen, weights = draw_in_proportion(torch.tensor(scores), num_kept, rng(data.draw(st.integers(0, 9))))
    assert len(set(chosen.tolist())) == len(chosen) == len(weights) == num_kept
    assert bool((weights > 0).all() and weights.isfinite().all())


def test_the_same_seed_draws_the_same():
    scores = torch.rand(50, generator=rng(7))
    first, again, other = (draw_in_proportion(scores, 10, rng(seed)).chosen.tolist() for seed in (1, 1, 2))
    assert first == again != other


def test_loss_and_gradnorm_draw_by_their_scores():
    # sample 3 has neither loss nor gradient, so it is never among three; 1/(n p) are all different
    losses = torch.tensor([-math.log(0.5), -math.log(0.05), -math.log(0.2)])
    norms = gradient_norms(OUTPUTS, LABELS)[:3]
    for config, scores in ((LossDownsamplingConfig, losses), (GradNormDownsamplingConfig, norms)):
        chosen, weights = keep(config(ratio=0.75), partial(sample_losses, "classification"), OUTPUTS, LABELS, 3, rng())
        assert sorted(chosen.tolist()) == [0, 1, 2]
        assert weights.tolist() == pytest.approx((scores.sum() / (4 * scores[chosen])).tolist())


def test_the_loss_of_a_regression_is_the_squared_error():
    outputs, targets = torch.tensor([[1.0], [2.0], [3.0]]), torch.tensor([0.0, 2.0, 5.0])
    chosen, weights = keep(
        LossDownsamplingConfig(ratio=0.7), partial(sample_losses, "regression"), outputs, targets, 2, rng()
    )
    assert sorted(chosen.tolist()) == [0, 2]
    assert dict(zip(chosen.tolist(), weights.tolist(), strict=True)) == pytest.approx({0: 5 / 3, 2: 5 / 12})


@pytest.mark.parametrize(
    "config", [LossDownsamplingConfig, GradNormDownsamplingConfig, MarginDownsamplingConfig, KCenterDownsamplingConfig]
)
def test_what_is_not_finite_is_never_chosen_from(config):
    outputs = OUTPUTS.clone()
    outputs[1, 1] = math.nan
    with pytest.raises(ModelError, match=r"not finite, so training\.downsample can't choose .* training\.clip_norm"):
        keep(config(ratio=0.5), partial(sample_losses, "classification"), outputs, LABELS, 2, rng())


def test_the_weighted_loss_is_the_weighted_mean():
    outputs, targets = torch.tensor([[1.0], [2.0], [3.0]], requires_grad=True), torch.tensor([0.0, 0.0, 0.0])
    loss = weighted_loss("regression", outputs, targets, torch.tensor([1.0, 2.0, 5.0], dtype=torch.float64))
    assert loss.item() == pytest.approx((1 * 1 + 2 * 4 + 5 * 9) / 8)
    loss.backward()
    assert outputs.grad[:, 0].tolist() == pytest.approx([2 * 1 / 8, 4 * 2 / 8, 6 * 5 / 8])
    huge = weighted_loss("regression", outputs, targets, torch.tensor([1e60, 1e60, 1e60], dtype=torch.float64))
    assert huge.item() == pytest.approx(14 / 3)


# k-center


def naive_k_center(points, num_kept):
    """Farthest from all chosen, one distance at a time."""
    chosen = [0]
    while len(chosen) < num_kept:
        best, farthest = -1, -1.0
        for index, point in enumerate(points):
            if index not in chosen:
                distance = min(sum((a - b) ** 2 for a, b in zip(point, points[c], strict=True)) for c in chosen)
                if distance > farthest:
                    best, farthest = index, distance
        chosen.append(best)
    return chosen


def test_k_center_by_hand():
    points = torch.tensor([[0.0], [1.0], [10.0], [9.0], [5.0]])
    assert k_center(points, 4).tolist() == [0, 2, 4, 1]


@given(st.lists(st.tuples(st.integers(-4, 4), st.integers(-4, 4)), min_size=1, max_size=15), st.data())
def test_k_center_is_the_naive_greedy(points, data):
    num_kept = data.draw(st.integers(1, len(points)))
    chosen = k_center(torch.tensor(points, dtype=torch.float64), num_kept).tolist()
    assert chosen == naive_k_center(points, num_kept)
    assert len(set(chosen)) == num_kept


def test_k_center_covers_better_than_chance():
    points = torch.from_numpy(np.random.default_rng(3).normal(size=(400, 5)))
    radius = torch.cdist(points, points[k_center(points, 20)]).amin(dim=1).max()
    by_chance = [
        torch.cdist(points, points[torch.randperm(400, generator=rng(s))[:20]]).amin(1).max() for s in range(9)
    ]
    assert radius < min(by_chance)


# RS2


def subsets_of(num_samples, num_kept, replacement, rng):
    left = torch.empty(0, dtype=torch.int64)
    while True:
        subset, left = next_subset(left, num_samples, num_kept, replacement, rng)
        yield subset


def test_rs2_without_replacement_shows_every_sample_before_any_again():
    subsets = [each.tolist() for each in islice(subsets_of(10, 3, False, rng()), 9)]
    for first in (0, 3, 6):  # ten samples give three subsets of three; the one left over waits for another round
        together = list(chain(*subsets[first : first + 3]))
        assert len(set(together)) == len(together) == 9
    assert subsets[:3] != subsets[3:6]


def test_rs2_with_replacement_draws_each_subset_from_the_whole_set():
    subsets = [each.tolist() for each in islice(subsets_of(10, 5, True, rng(1)), 1000)]
    assert all(len(set(each)) == 5 for each in subsets)
    repeated = [len(set(first) & set(second)) for first, second in pairwise(subsets)]
    assert abs(np.mean(repeated) - 2.5) < 0.15


def test_rs2_of_everything_is_a_shuffle():
    first, second = (each.tolist() for each in islice(subsets_of(20, 20, False, rng()), 2))
    assert sorted(first) == sorted(second) == list(range(20))
    assert first != second
