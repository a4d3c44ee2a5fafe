"""Models: the built-in ones, those that users bring along, what their outputs lose, and what goes wrong.

A model class is called as `Class(num_inputs=…, num_classes=…, **args)` and maps a float32 tensor of shape
(samples, num_inputs) to logits of shape (samples, num_classes). For a regression num_classes is 1, and what it
gives is the normalised label. Where a policy asks for what the model makes of a sample before it decides, the
class needs a method `embed(inputs)` too, which gives a tensor of shape (samples, any number).
"""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Mapping
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn

from real.store import StoredModel
from twinclock.config import ImportedModelConfig, LogisticConfig, MlpConfig, ModelConfig
from twinclock.errors import ConfigError, UserError
from twinclock.policies.metrics import Task
from twinclock.section import nearest


class ModelError(UserError):
    """A model can't be trained on these samples, or gives what is no prediction."""


def build_model(config: ModelConfig, *, num_inputs: int, num_classes: int) -> nn.Module:
    """A model with fresh weights, drawn from torch's global random stream, on the CPU.

    ConfigError if the user's class can't be imported, or does not take its arguments.
    """
    match config:
        case LogisticConfig():
            layer = nn.Linear(num_inputs, num_classes)
            # convex: there is no symmetry to break, and what was never trained then says nothing
            nn.init.zeros_(layer.weight)
            nn.init.zeros_(layer.bias)
            return layer
        case MlpConfig():
            layers: list[nn.Module] = []
            for num_in, num_out in pairwise((num_inputs, *config.hidden)):
                layers += [nn.Linear(num_in, num_out), nn.ReLU()]
            last_width = config.hidden[-1] if config.hidden else num_inputs
            return nn.Sequential(*layers, nn.Linear(last_width, num_classes))
        case ImportedModelConfig():
            arguments = {"num_inputs": num_inputs, "num_classes": num_classes, **config.args}
            model = create(config.path, "training.model.path", **arguments)
            if not isinstance(model, nn.Module):
                raise ConfigError(
                    f"training.model.path: {config.path} gives a {type(model).__name__}, expected a torch.nn.Module"
                )
            return model


def create(path: str, key: str, **arguments: Any) -> Any:
    """What the callable at `package.module:name` gives for these arguments.

    `key` is the key of the configuration, for messages. ConfigError, one line, if it can't be
    imported or raises.
    """
    made_by = import_object(path, key)
    if not callable(made_by):
        raise ConfigError(f"{key}: {path} is a {type(made_by).__name__}, expected a class")
    try:
        return made_by(**arguments)
    except Exception as error:
        given = ", ".join(f"{name}={value!r}" for name, value in arguments.items())
        raise ConfigError(f"{key}: {path}({given}) failed: {_one_line(error)}") from error


def import_object(path: str, key: str) -> Any:
    """What the user means by `package.module:name`; the working directory is searched last.

    ConfigError, one line that begins with `key`, if it can't be imported.
    """
    module_name, _, name = path.partition(":")
    if module_name in ("__main__", "__mp_main__"):
        raise ConfigError(
            f"{key}: {path} is defined in a script or notebook, which a worker process can't import; "
            "expected a class in a module file of its own"
        )
    if os.getcwd() not in sys.path:
        sys.path.append(os.getcwd())
    try:
        module = importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        raise ConfigError(
            f"{key}: can't import {path}: no module {error.name!r} on the Python path or in {os.getcwd()}"
        ) from error
    except Exception as error:
        raise ConfigError(f"{key}: can't import {path}: {_one_line(error)}") from error
    if not hasattr(module, name):
        public = [each for each in vars(module) if not each.startswith("_")]
        raise ConfigError(f"{key}: module {module_name} has no {name!r}; {nearest(name, public)}")
    return getattr(module, name)


def inherit_weights(model: nn.Module, weights: Mapping[str, Tensor]) -> None:
    """Give a fresh model the weights of an older, perhaps smaller one.

    Old inputs and classes come first in the new ones (see `encoding`), so the old weights are the front
    corner of the new; what is behind stays fresh. ModelError if that does not fit.
    """
    fresh = model.state_dict()
    if set(fresh) != set(weights):
        differing = ", ".join(sorted(set(fresh) ^ set(weights)))
        raise ModelError(f"the active model has other weights than training.model: they differ in {differing}")
    for name, tensor in fresh.items():
        old = weights[name]
        if old.dim() != tensor.dim() or any(a > b for a, b in zip(old.shape, tensor.shape, strict=True)):
            raise ModelError(
                f"weight {name} has shape {tuple(old.shape)} in the active model, "
                f"which does not fit into {tuple(tensor.shape)}"
            )
        tensor[tuple(slice(size) for size in old.shape)].copy_(old)


def restored_model(stored: StoredModel) -> nn.Module:
    """A stored model as it was, on the CPU. ModelError if the weights are another architecture's."""
    encoding = stored.encoding
    model = build_model(stored.config, num_inputs=encoding.num_inputs, num_classes=encoding.num_outputs)
    try:
        model.load_state_dict(dict(stored.weights))
    except RuntimeError as error:
        reason = " ".join(str(error).split())
        raise ModelError(f"the stored weights don't fit the model that is configured: {reason}") from None
    return model


def hidden_features(model: nn.Module, config: ModelConfig, inputs: Tensor) -> Tensor:
    """What the model's last layer is given for each sample, shape (samples, features); `config` is the model's own.

    ConfigError if the user's class has no method `embed`, ModelError if that gives something else.
    """
    match config:
        case LogisticConfig():
            return inputs
        case MlpConfig():
            features: Tensor = nn.Sequential(*list(model.children())[:-1])(inputs)
            return features
        case ImportedModelConfig():
            embed = getattr(model, "embed", None)
            if not callable(embed):
                raise ConfigError(f"training.model.path: {config.path} has no method embed, expected embed(inputs)")
            given = embed(inputs)
            expected = f"expected a tensor of shape ({len(inputs)}, any number)"
            if not isinstance(given, Tensor):
                raise ModelError(f"embed of model {config.path} gives a {type(given).__name__}, {expected}")
            if given.dim() != 2 or len(given) != len(inputs):
                raise ModelError(f"embed of model {config.path} gives shape {tuple(given.shape)}, {expected}")
            return given


def sample_losses(task: Task, outputs: Tensor, targets: Tensor) -> Tensor:
    """The loss of each sample: cross-entropy, or for a regression the squared error of the normalised label."""
    if task == "regression":
        return (outputs[:, 0] - targets).square()
    return nn.functional.cross_entropy(outputs, targets, reduction="none")


def mean_loss(task: Task, outputs: Tensor, targets: Tensor) -> Tensor:
    """The mean of the losses of some samples."""
    if task == "regression":
        return nn.functional.mse_loss(outputs[:, 0], targets)
    return nn.functional.cross_entropy(outputs, targets)


def weighted_loss(task: Task, outputs: Tensor, targets: Tensor, weights: Tensor) -> Tensor:
    """Σ weight · loss / Σ weight; the weights are positive, float64, shape (samples,), and may be huge."""
    losses = sample_losses(task, outputs, targets)
    return (losses * (weights / weights.sum()).to(losses.dtype)).sum()


def check_outputs(outputs: object, num_samples: int, num_outputs: int, model: nn.Module) -> None:
    """ModelError unless a model's outputs are one row per sample: a logit for each class, or one number."""
    expected = f"expected a tensor of shape ({num_samples}, {num_outputs}): a logit for each class, "
    expected += "or the number that a regression predicts"
    if not isinstance(outputs, Tensor):
        raise ModelError(f"model {type(model).__name__} gives a {type(outputs).__name__}, {expected}")
    if outputs.shape != (num_samples, num_outputs):
        raise ModelError(f"model {type(model).__name__} gives shape {tuple(outputs.shape)}, {expected}")


def torch_device(name: str) -> torch.device:
    """The torch device of a worker called `cpu:1` or `cuda:1`; all CPU workers share the one CPU."""
    return torch.device("cpu" if name.startswith("cpu") else name)


def _one_line(error: BaseException) -> str:
    return " ".join(f"{type(error).__name__}: {error}".split())
