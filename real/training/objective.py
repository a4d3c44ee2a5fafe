"""What a training makes small: the loss of the task or one of the user's own, and what a sample weighs in it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from real.downsampling import SampleLosses
from real.encoding import UNKNOWN
from real.models import ModelError, mean_loss, sample_losses, weighted_loss
from twinclock.errors import ConfigError
from twinclock.imports import import_object
from twinclock.policies.metrics import Task
from twinclock.training import TrainingConfig


@dataclass(frozen=True, slots=True)
class Objective:
    """The loss of a task, or a user's own."""

    task: Task
    custom: SampleLosses | None

    def losses(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """The loss of each sample. ModelError if a user's own gives something else."""
        if self.custom is None:
            return sample_losses(self.task, outputs, targets)
        found: Any = self.custom(outputs, targets)
        if not isinstance(found, Tensor) or found.shape != (len(outputs),):
            got = f"shape {tuple(found.shape)}" if isinstance(found, Tensor) else f"a {type(found).__name__}"
            raise ModelError(f"training.loss gives {got}, expected a tensor of shape ({len(outputs)},): a loss each")
        return found

    def loss(self, outputs: Tensor, targets: Tensor, weights: Tensor | None) -> Tensor:
        """Σ weight · loss / Σ weight; without weights the mean. Weights are positive and float64."""
        if self.custom is None:
            if weights is None:
                return mean_loss(self.task, outputs, targets)
            return weighted_loss(self.task, outputs, targets, weights)
        losses = self.losses(outputs, targets)
        return losses.mean() if weights is None else (losses * (weights / weights.sum()).to(losses.dtype)).sum()


def make_objective(config: TrainingConfig) -> Objective:
    """ConfigError if the user's loss can't be had."""
    if config.loss is None:
        return Objective(config.task, None)
    custom = import_object(config.loss, "training.loss")
    if not callable(custom):
        raise ConfigError(f"training.loss: {config.loss} is a {type(custom).__name__}, expected a function")
    return Objective(config.task, custom)


def class_weights(config: TrainingConfig, classes: tuple[str, ...], targets: Tensor) -> Tensor | None:
    """What a sample of each class weighs, float64, on the CPU; None: all the same.

    `balanced`: n / (k · n_c) for the k classes among the `targets`, so that all of them pull alike; others 1.
    """
    if config.class_weights is None:
        return None
    if isinstance(config.class_weights, Mapping):
        said = config.class_weights
        return torch.tensor([said.get(each, 1.0) for each in classes], dtype=torch.float64)
    counts = targets.cpu().bincount(minlength=len(classes)).double()
    balanced = len(targets) / ((counts > 0).sum() * counts)
    return torch.where(counts > 0, balanced, 1.0)


def sample_weights(weights: Tensor | None, targets: Tensor) -> Tensor | None:
    """The weight of each sample by its class, on the CPU; of an unknown class 1."""
    if weights is None:
        return None
    at = targets.cpu()
    return torch.where(at == UNKNOWN, 1.0, weights[at.clamp(min=0)])
