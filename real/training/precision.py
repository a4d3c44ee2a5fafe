"""What a model computes in: single precision, or half of it where torch knows that to do no harm (autocast)."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from typing import Literal

import torch

from twinclock.errors import ConfigError


class Precision:
    """`bf16` has the range of `fp32`; in `fp16` small gradients vanish, so the loss is scaled up for them."""

    def __init__(self, name: Literal["fp32", "bf16", "fp16"], device: torch.device) -> None:
        """ConfigError for fp16 without a CUDA device."""
        if name == "fp16" and device.type != "cuda":
            raise ConfigError(
                "training.precision: got fp16, which needs a CUDA device; expected fp32 or bf16 on the CPU"
            )
        self._device = device
        self._dtype = {"fp32": None, "bf16": torch.bfloat16, "fp16": torch.float16}[name]
        self.scaler = torch.amp.GradScaler(device.type, enabled=name == "fp16")
        """Does nothing but for fp16."""

    def autocast(self) -> AbstractContextManager[object]:
        """To go forward through the model in."""
        return nullcontext() if self._dtype is None else torch.autocast(self._device.type, self._dtype)
