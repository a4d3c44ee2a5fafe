"""The checkpoint of a training: what is in it, and how a training goes on from one."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping

import torch
from torch import Tensor

from real.training.checkpoint import Checkpoint
from real.training.under_way import Training
from twinclock.graph import Json

_SPAN = "/"
"""Between the name of a part and that of its tensor."""


def checkpoint_of(training: Training) -> Checkpoint:
    """All of a training that changes, between two steps."""
    optimizer = training.optimizer.state_dict()
    best, stopping = training.stopping.state()
    minibatches, num_used = training.feed.state()
    parts: dict[str, Mapping[str, Tensor]] = {
        "model": training.network.model.state_dict(),
        "best": best,
        "minibatches": minibatches,
        "random": _random_states(training.samples.device),
        "loop": {"losses": torch.tensor(training.losses, dtype=torch.float64)},
        "optimizer": {
            f"{index}{_SPAN}{key}": each for index, state in optimizer["state"].items() for key, each in state.items()
        },
    }
    return Checkpoint(
        tensors={f"{part}{_SPAN}{name}": each for part, tensors in parts.items() for name, each in tensors.items()},
        state={
            "of": _identity(training),
            "step": training.step,
            "used": num_used,
            "stopping": stopping,
            "param_groups": optimizer["param_groups"],
            "scaler": training.network.precision.scaler.state_dict(),
            "schedule": None if training.schedule is None else training.schedule.state_dict(),
        },
    )


def restore(training: Training, checkpoint: Checkpoint) -> bool:
    """Go on from there. False, and nothing is changed, if it is the checkpoint of another training."""
    state = checkpoint.state
    if state.get("of") != _identity(training):
        return False
    training.step = state["step"]
    training.losses = _part(checkpoint, "loop")["losses"].tolist()
    training.network.model.load_state_dict(_part(checkpoint, "model"))
    training.stopping.restore(_part(checkpoint, "best"), state["stopping"], training.samples.device)
    training.feed.restore(_part(checkpoint, "minibatches"), state["used"], state["step"])
    states: dict[int, dict[str, Tensor]] = {}
    for name, each in _part(checkpoint, "optimizer").items():
        index, _, key = name.partition(_SPAN)
        states.setdefault(int(index), {})[key] = each
    training.optimizer.load_state_dict({"state": states, "param_groups": state["param_groups"]})
    training.network.precision.scaler.load_state_dict(state["scaler"])
    if training.schedule is not None:
        training.schedule.load_state_dict(state["schedule"])
    _set_random_states(_part(checkpoint, "random"), training.samples.device)
    return True


def _identity(training: Training) -> Json:
    """What the training is of: a checkpoint of another configuration or training set is worth nothing here."""
    context = training.context
    config = json.dumps(context.config.model_dump(mode="json"), sort_keys=True)
    return {
        "config": hashlib.sha256(config.encode()).hexdigest(),
        "seed": context.seed,
        "num_samples": len(training.samples.targets),
        "shapes": {name: list(each.shape) for name, each in training.network.model.state_dict().items()},
    }


def _part(checkpoint: Checkpoint, part: str) -> dict[str, Tensor]:
    prefix = part + _SPAN
    return {name.removeprefix(prefix): each for name, each in checkpoint.tensors.items() if name.startswith(prefix)}


def _random_states(device: torch.device) -> dict[str, Tensor]:
    """Of the global streams, which models draw from (dropout)."""
    found = {"cpu": torch.get_rng_state()}
    if device.type == "cuda":
        found["cuda"] = torch.cuda.get_rng_state(device)
    return found


def _set_random_states(states: Mapping[str, Tensor], device: torch.device) -> None:
    torch.set_rng_state(states["cpu"])
    if device.type == "cuda" and "cuda" in states:
        torch.cuda.set_rng_state(states["cuda"], device)
