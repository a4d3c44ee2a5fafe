"""Models and losses for tests of what a training is made of."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class Deaf(nn.Linear):
    """Its outputs do not depend on its weights, as if somebody had detached them."""

    def __init__(self, num_inputs: int, num_classes: int) -> None:
        super().__init__(num_inputs, num_classes)

    def forward(self, inputs: Tensor) -> Tensor:
        return super().forward(inputs).detach()


class Mute(Deaf):
    """Its outputs depend on its weights, but by nothing."""

    def forward(self, inputs: Tensor) -> Tensor:
        return nn.functional.linear(inputs, self.weight * 0.0, self.bias * 0.0)


class Greedy(Deaf):
    """Asks for more memory than there is."""

    def forward(self, inputs: Tensor) -> Tensor:
        return torch.empty(len(inputs), 10**15, device=inputs.device)


class Noting(Deaf):
    """Notes what type its outputs are computed in."""

    dtypes: list[torch.dtype] = []  # noqa: RUF012 - a note for the test

    def forward(self, inputs: Tensor) -> Tensor:
        outputs = nn.functional.linear(inputs, self.weight, self.bias)
        Noting.dtypes.append(outputs.dtype)
        return outputs


def mean_errors(outputs: Tensor, targets: Tensor) -> Tensor:
    """The absolute error of each sample of a regression."""
    return (outputs[:, 0] - targets).abs()


def steep(outputs: Tensor, targets: Tensor) -> Tensor:
    """The eighth power of the error of each sample of a regression, which is soon too large for its type."""
    return (outputs[:, 0] - targets).pow(8)


def cross_entropy(outputs: Tensor, targets: Tensor) -> Tensor:
    """The usual one, said again."""
    return nn.functional.cross_entropy(outputs, targets, reduction="none")


def one_number(outputs: Tensor, targets: Tensor) -> Tensor:
    """Not what is expected."""
    return nn.functional.cross_entropy(outputs, targets)


def no_tensor(outputs: Tensor, targets: Tensor) -> float:
    """Not what is expected either."""
    return 0.0


not_a_function = 3
