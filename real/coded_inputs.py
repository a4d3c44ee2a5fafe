"""Categories that a model learns what to make of: a vector for each, in the place of its code."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class EmbeddedCodes(nn.Module):
    """Puts vectors for codes, and before all other inputs, which stay as they are.

    In that order, and with codes that only grow, what a smaller model has learnt is the front corner of each of its
    weights and of those of the layer behind it.
    """

    def __init__(self, num_categories: tuple[int, ...], dim: int) -> None:
        """`num_categories`: of each input that holds a code, the number of codes; `dim`: numbers in each vector."""
        super().__init__()
        # code 0 stands for what training does not know: like no mark of one-hot inputs it adds nothing
        self.vectors = nn.ModuleList(nn.Embedding(num_codes, dim, padding_idx=0) for num_codes in num_categories)
        self._dim = dim

    def width(self, num_inputs: int) -> int:
        """Numbers that it makes of `num_inputs` inputs."""
        return num_inputs + len(self.vectors) * (self._dim - 1)

    def forward(self, inputs: Tensor) -> Tensor:
        """From shape (samples, inputs) to (samples, width)."""
        num_codes = len(self.vectors)
        codes = inputs[:, :num_codes].long()
        embedded = [vectors(codes[:, column]) for column, vectors in enumerate(self.vectors)]
        return torch.cat([*embedded, inputs[:, num_codes:]], dim=1)
