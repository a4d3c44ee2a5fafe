"""Which samples a training steps on: scores of samples, what is kept by them, and the weights of what is kept.

Pure functions on tensors. `twinclock.policies.downsampling` says what each kind is, `minibatches` when it is asked.
Scores are float64, shape (samples,). Draws come from a generator of the CPU, and so do not depend on the device.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple, TypeAlias

import torch
from torch import Tensor

from real.models import ModelError
from twinclock.policies.downsampling import (
    EntropyDownsamplingConfig,
    GradNormDownsamplingConfig,
    KCenterDownsamplingConfig,
    LeastConfidenceDownsamplingConfig,
    LossDownsamplingConfig,
    MarginDownsamplingConfig,
    ScoredDownsamplingConfig,
)

SampleLosses: TypeAlias = Callable[[Tensor, Tensor], Tensor]
"""From a model's outputs and the targets to the loss of each sample."""


class Kept(NamedTuple):
    """Some of the samples that there were to choose from."""

    chosen: Tensor
    """Their places among those: int64, on the CPU, each once."""
    weights: Tensor | None
    """What each weighs in the loss: float64, on the CPU, positive; None: all the same."""


def keep(
    config: ScoredDownsamplingConfig,
    losses: SampleLosses,
    said: Tensor,
    targets: Tensor,
    num_kept: int,
    rng: torch.Generator,
) -> Kept:
    """Keep `num_kept` samples by what the model says of them.

    `said` has shape (samples, numbers): for k_center the inputs of the model's last layer, else its outputs; `targets`
    is what these are held against, by `losses`. ModelError if a score is not finite.
    """
    said = said.double()
    match config:
        case LossDownsamplingConfig():
            return draw_in_proportion(_finite(losses(said, targets)), num_kept, rng)
        case GradNormDownsamplingConfig():
            return draw_in_proportion(_finite(gradient_norms(said, targets)), num_kept, rng)
        case MarginDownsamplingConfig():
            return Kept(smallest(_finite(margins(said)), num_kept), None)
        case LeastConfidenceDownsamplingConfig():
            return Kept(smallest(_finite(confidences(said)), num_kept), None)
        case EntropyDownsamplingConfig():
            return Kept(smallest(-_finite(entropies(said)), num_kept), None)
        case KCenterDownsamplingConfig():
            return Kept(k_center(_finite(said), num_kept), None)


def gradient_norms(outputs: Tensor, labels: Tensor) -> Tensor:
    """‖softmax − onehot‖₂ of each sample."""
    differences = outputs.softmax(dim=1)
    differences[torch.arange(len(labels), device=labels.device), labels] -= 1.0
    return differences.square().sum(dim=1).sqrt()


def margins(outputs: Tensor) -> Tensor:
    """The two largest probabilities' difference; of one class, which has no second, its probability."""
    likeliest = outputs.softmax(dim=1).topk(min(2, outputs.shape[1]), dim=1).values
    return likeliest[:, 0] - likeliest[:, 1:].sum(dim=1)


def confidences(outputs: Tensor) -> Tensor:
    """The largest probability of each sample."""
    return outputs.softmax(dim=1).amax(dim=1)


def entropies(outputs: Tensor) -> Tensor:
    """−Σ p · ln p of each sample, in nats; p = 0 adds 0."""
    probabilities = outputs.softmax(dim=1)
    return torch.xlogy(probabilities, probabilities).sum(dim=1).neg()


def smallest(scores: Tensor, num_kept: int) -> Tensor:
    """Places of the smallest scores; of equal ones the first."""
    return scores.sort(stable=True).indices[:num_kept].cpu()


def draw_in_proportion(scores: Tensor, num_kept: int, rng: torch.Generator) -> Kept:
    """Draw one after another, none twice, each with p = score / Σ score among those left; weights are 1 / (n · p).

    If all scores are 0, p = 1 / n. If fewer are positive than are to be kept, the rest is drawn uniformly from those
    of score 0, as if for them p = 1 / n: their loss pulls at nothing, so their weight of 1 is only there to be finite.
    """
    scores = scores.double().cpu()
    positive, zero = (scores > 0.0).nonzero()[:, 0], (scores <= 0.0).nonzero()[:, 0]
    # the first to arrive in a race of exponential waiting times are such a draw
    waits = torch.empty(len(positive), dtype=torch.float64).exponential_(generator=rng) / scores[positive]
    drawn = positive[waits.sort(stable=True).indices[:num_kept]]
    filled = zero[torch.randperm(len(zero), generator=rng)[: num_kept - len(drawn)]]
    weights = scores.sum() / (len(scores) * scores[drawn])
    return Kept(torch.cat([drawn, filled]), torch.cat([weights, torch.ones(len(filled), dtype=torch.float64)]))


def k_center(points: Tensor, num_kept: int) -> Tensor:
    """Greedy k-center: the first point, then each time the one farthest from all chosen, the first of several.

    `points` has shape (samples, features). n · k distances are computed, n at a time.
    """
    chosen = torch.zeros(num_kept, dtype=torch.int64)
    nearest = torch.full((len(points),), torch.inf, dtype=points.dtype, device=points.device)
    at = 0
    for index in range(num_kept):
        chosen[index] = at
        nearest = torch.minimum(nearest, (points - points[at]).square().sum(dim=1))
        nearest[at] = -1.0  # never again, even if every other point lies on a chosen one
        at = int(nearest.argmax())
    return chosen


def next_subset(
    left: Tensor, num_samples: int, num_kept: int, replacement: bool, rng: torch.Generator
) -> tuple[Tensor, Tensor]:
    """A subset in random order, without a sample twice, and what is left of the round for the next one.

    Without replacement a sample comes again only in another round; a round ends when too few are left for a subset.
    """
    if len(left) < num_kept:
        per_round = 1 if replacement else num_samples // num_kept
        left = torch.randperm(num_samples, generator=rng)[: per_round * num_kept]
    return left[:num_kept], left[num_kept:]


def _finite(scores: Tensor) -> Tensor:
    if not bool(scores.isfinite().all()):
        raise ModelError(
            "what the model says of the training set is not finite, so training.downsample can't choose from it; "
            "try a smaller training.optimizer.lr, or set training.clip_norm"
        )
    return scores
