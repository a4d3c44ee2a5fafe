"""How a training gets on by the samples held out, and when that says to end it."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from twinclock.graph import Json
from twinclock.training import EarlyStoppingConfig


class Stopping:
    """Keeps the best weights, and says when there has been nothing better for long enough."""

    def __init__(self, config: EarlyStoppingConfig | None) -> None:
        """None: never, and the last weights are the best."""
        self._config = config
        self._num_since = 0
        self._weights: dict[str, Tensor] = {}
        self.validation_loss: float | None = None
        """Of the weights that are the result; None: nothing was held out."""
        self.loss: float | None = None
        """Mean training loss over their epoch; None: no epoch has ended."""

    @property
    def is_over(self) -> bool:
        """Is the training to end?"""
        return self._config is not None and self._num_since >= self._config.patience

    def judge(self, model: nn.Module, loss: float, validation_loss: float | None) -> None:
        """An epoch has ended."""
        best = self.validation_loss
        if self._config is None or best is None or validation_loss is None:
            is_better = True
        else:
            is_better = validation_loss < best - self._config.min_delta
        self._num_since = 0 if is_better else self._num_since + 1
        if is_better:
            self.loss, self.validation_loss = loss, validation_loss
            if self._config is not None:
                self._weights = {name: each.clone() for name, each in model.state_dict().items()}

    def finish(self, model: nn.Module) -> None:
        """Give the model its best weights."""
        if self._weights:
            model.load_state_dict(self._weights)

    def state(self) -> tuple[dict[str, Tensor], Json]:
        """For a checkpoint."""
        return self._weights, [self._num_since, self.validation_loss, self.loss]

    def restore(self, weights: Mapping[str, Tensor], state: Json, device: torch.device) -> None:
        """Go on from there."""
        self._weights = {name: each.to(device) for name, each in weights.items()}
        self._num_since, self.validation_loss, self.loss = state
