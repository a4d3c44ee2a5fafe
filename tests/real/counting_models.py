"""Models for tests that note how many samples went through them, and in which mode."""

from __future__ import annotations

from torch import Tensor, nn

forwards: list[tuple[bool, int]] = []
"""Of each forward pass: is it one to learn from, and its number of samples."""


class Counting(nn.Module):
    """Linear, with a hidden layer to embed in."""

    def __init__(self, num_inputs: int, num_classes: int) -> None:
        super().__init__()
        self.hidden = nn.Linear(num_inputs, 3)
        self.last = nn.Linear(3, num_classes)

    def forward(self, inputs: Tensor) -> Tensor:
        forwards.append((self.training, len(inputs)))
        return self.last(self.hidden(inputs))

    def embed(self, inputs: Tensor) -> Tensor:
        forwards.append((self.training, len(inputs)))
        return self.hidden(inputs)


class WithoutEmbed(nn.Linear):
    """Has no hidden layer."""

    def __init__(self, num_inputs: int, num_classes: int) -> None:
        super().__init__(num_inputs, num_classes)


class Flat(WithoutEmbed):
    """Embeds into nothing that has a row per sample."""

    def embed(self, inputs: Tensor) -> Tensor:
        return inputs.sum(dim=1)


class NoTensor(WithoutEmbed):
    """Embeds into no tensor."""

    def embed(self, inputs: Tensor) -> list[float]:
        return inputs.tolist()
