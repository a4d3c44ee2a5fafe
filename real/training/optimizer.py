"""How the weights are stepped: optimizer and learning rate, and what of its state goes on in the next model."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

import torch
from torch import Tensor, nn

from twinclock.training import ConstantScheduleConfig, OptimizerConfig, ScheduleConfig, StepScheduleConfig


def make_optimizer(config: OptimizerConfig, model: nn.Module) -> torch.optim.Optimizer:
    """With fresh state."""
    if config.kind == "adam":
        return torch.optim.Adam(model.parameters(), lr=config.lr, weight_decay=config.weight_decay)
    return torch.optim.SGD(model.parameters(), lr=config.lr, weight_decay=config.weight_decay, momentum=config.momentum)


def make_schedule(
    config: ScheduleConfig, optimizer: torch.optim.Optimizer, *, num_steps: int, steps_per_epoch: int
) -> torch.optim.lr_scheduler.LambdaLR | None:
    """To be stepped after each step of the optimizer; None: the learning rate stays."""
    if isinstance(config, ConstantScheduleConfig) and config.warmup_steps == 0:
        return None
    factor = lr_factor(config, num_steps=num_steps, steps_per_epoch=steps_per_epoch)
    return torch.optim.lr_scheduler.LambdaLR(optimizer, factor)


def lr_factor(config: ScheduleConfig, *, num_steps: int, steps_per_epoch: int) -> Callable[[int], float]:
    """From the number of steps done to the share of `optimizer.lr` that the next one takes."""

    def factor(step: int) -> float:
        if step < config.warmup_steps:
            return (step + 1) / config.warmup_steps
        if isinstance(config, ConstantScheduleConfig):
            return 1.0
        if isinstance(config, StepScheduleConfig):
            return float(config.factor ** (step // steps_per_epoch // config.every_epochs))
        done = (step - config.warmup_steps) / max(1, num_steps - config.warmup_steps)
        left = (1 + math.cos(math.pi * done)) / 2 if config.kind == "cosine" else 1 - done
        return config.end + (1 - config.end) * left

    return factor


def optimizer_tensors(optimizer: torch.optim.Optimizer, model: nn.Module) -> dict[str, Tensor]:
    """The state of an optimizer, as `key of the state:name of the parameter`."""
    return {
        f"{key}:{name}": value
        for name, parameter in model.named_parameters()
        for key, value in optimizer.state.get(parameter, {}).items()
        if isinstance(value, Tensor)
    }


def inherit_state(optimizer: torch.optim.Optimizer, model: nn.Module, tensors: Mapping[str, Tensor]) -> None:
    """Give a fresh optimizer the state of that of an older, perhaps smaller model.

    As for the weights, the old state is the front corner of the new; what is behind is 0, as in a fresh one.
    """
    parameters = dict(model.named_parameters())
    for label, old in tensors.items():
        key, _, name = label.partition(":")
        # the number of steps has no shape to grow, and stays on the CPU
        new = old.clone() if key == "step" else torch.zeros_like(parameters[name])
        if key != "step":
            new[tuple(slice(size) for size in old.shape)].copy_(old)
        optimizer.state[parameters[name]][key] = new
