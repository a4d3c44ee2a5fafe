"""A user's small convolutional network, the images it is to tell apart, and other models of their own for tests."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from torch import Tensor, nn

SHAPE = (1, 8, 8)


def images(num_samples: int, seed: int = 0) -> pl.DataFrame:
    """Noise with a bright bar in it, upright or flat, at a place that differs: `y` says which."""
    rng = np.random.default_rng(seed)
    pixels = rng.integers(0, 60, size=(num_samples, *SHAPE), dtype=np.uint8)
    is_upright = rng.random(num_samples) < 0.5
    for image, upright, at in zip(pixels[:, 0], is_upright, rng.integers(8, size=num_samples), strict=True):
        bar = image.T[at] if upright else image[at]
        bar += 150
    kinds = np.where(is_upright, "upright", "flat")
    return pl.DataFrame({"t": np.arange(num_samples), "image": pl.Series(pixels), "y": kinds})


def image_file(folder: Path, num_samples: int) -> dict[str, Any]:
    """The section `data` for a file of such images."""
    images(num_samples).write_parquet(folder / "images.parquet")
    features = {"arrays": ["image"]}
    return {"kind": "table", "path": str(folder / "images.parquet"), "time": "t", "label": "y", "features": features}


class Cnn(nn.Module):
    """One convolution, pooled over the whole image."""

    def __init__(self, num_inputs: int, num_classes: int, input_shape: tuple[int, ...]) -> None:
        super().__init__()
        assert (num_inputs, input_shape) == (64, SHAPE)
        self.look = nn.Sequential(nn.Conv2d(1, 8, 3), nn.ReLU(), nn.AdaptiveMaxPool2d(1), nn.Flatten())
        self.decide = nn.Linear(8, num_classes)

    def embed(self, inputs: Tensor) -> Tensor:
        return self.look(inputs)

    def forward(self, inputs: Tensor) -> Tensor:
        return self.decide(self.look(inputs))


class ByCode(nn.Module):
    """A vector for each category of each column, and nothing else."""

    def __init__(self, num_inputs: int, num_classes: int, num_categories: tuple[int, ...]) -> None:
        super().__init__()
        assert len(num_categories) <= num_inputs
        self.votes = nn.ModuleList(nn.Embedding(each, num_classes) for each in num_categories)

    def forward(self, inputs: Tensor) -> Tensor:
        return sum(votes(inputs[:, at].long()) for at, votes in enumerate(self.votes))
