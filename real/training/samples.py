"""Samples as tensors: on the device where they have room, else in the memory of the host."""

from __future__ import annotations

from typing import NamedTuple

import polars as pl
import torch
from torch import Tensor

from real.encoding import Encoding

_LARGEST_SHARE = 0.5
"""Of the device's free memory that samples may take; the rest is for the model, its gradients and activations."""

_SCORED_AT_ONCE = 65_536


class Samples(NamedTuple):
    """Some rows, encoded."""

    features: Tensor
    targets: Tensor
    device: torch.device
    """Where they are computed on; elsewhere they lie in the host's memory."""
    scored_at_once: int
    """Samples that go forward through the model at a time when nothing is learnt from them."""

    def features_at(self, places: Tensor) -> Tensor:
        """The features of some places, which are on the CPU; on the device."""
        return self._at(self.features, places)

    def targets_at(self, places: Tensor) -> Tensor:
        """The targets of some places, which are on the CPU; on the device."""
        return self._at(self.targets, places)

    def _at(self, tensor: Tensor, places: Tensor) -> Tensor:
        if tensor.device == self.device:
            return tensor.index_select(0, places.to(self.device))
        # gathered in pinned memory and copied while the device computes; none is given again before its copy is done
        gathered = torch.empty((len(places), *tensor.shape[1:]), dtype=tensor.dtype, pin_memory=True)
        torch.index_select(tensor, 0, places, out=gathered)
        return gathered.to(self.device, non_blocking=True)


def samples_of(encoding: Encoding, rows: pl.DataFrame, device: torch.device) -> Samples:
    """Rows as the model takes them."""
    features, targets = torch.from_numpy(encoding.features(rows)), torch.from_numpy(encoding.targets(rows))
    if has_room(features.nbytes + targets.nbytes, device):
        features, targets = features.to(device), targets.to(device)
    on = torch.empty(0, device=device).device
    return Samples(features, targets, on, encoding.rows_at_once(_SCORED_AT_ONCE))


def has_room(num_bytes: int, device: torch.device) -> bool:
    """May samples of this size lie on the device?"""
    if device.type != "cuda":
        return True
    free_bytes, _ = torch.cuda.mem_get_info(device)
    return num_bytes <= _LARGEST_SHARE * free_bytes
