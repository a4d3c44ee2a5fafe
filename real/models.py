"""Models: the built-in ones, those that users bring along, what their outputs lose, and what goes wrong.

A model class is called as `Class(num_inputs=…, num_classes=…, **args)` and maps a float32 tensor of shape
(samples, num_inputs) to logits of shape (samples, num_classes). For a regression num_classes is 1, and what it
gives is the normalised label. Where a policy asks for what the model makes of a sample before it decides, the
class needs a method `embed(inputs)` too, which gives a tensor of shape (samples, any number).

If the features have arrays, it is called with `input_shape=…` too, and its inputs have shape (samples, *input_shape).
That is an array's own shape if there is nothing but one column of arrays, and (num_inputs,) otherwise.
With `categorical: codes` it is called with `num_categories=…` too: a tuple with a number for each categorical column.
The first inputs then are their codes: whole numbers below that number, from 0, which stands for unknown categories.
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise

import torch
from torch import Tensor, nn

from real.coded_inputs import EmbeddedCodes
from real.encoding import Encoding
from real.store import StoredModel
from twinclock.config import ImportedModelConfig, LogisticConfig, MlpConfig, ModelConfig
from twinclock.errors import ConfigError, UserError
from twinclock.imports import create
from twinclock.policies.metrics import Task


class ModelError(UserError):
    """A model can't be trained on these samples, or gives what is no prediction."""


def build_model(
    config: ModelConfig,
    *,
    num_inputs: int,
    num_classes: int,
    num_categories: tuple[int, ...] = (),
    input_shape: tuple[int, ...] | None = None,
) -> nn.Module:
    """A model with fresh weights, drawn from torch's global random stream, on the CPU.

    `num_categories`: of each input that holds a code, which are the first, the number of codes. `input_shape`: of a
    sample, if the features have arrays. ConfigError if the user's class can't be imported, or does not take its
    arguments.
    """
    is_flat = input_shape is None or len(input_shape) == 1
    first: list[nn.Module] = [] if is_flat else [nn.Flatten()]
    match config:
        case LogisticConfig():
            layer = nn.Linear(num_inputs, num_classes)
            # convex: there is no symmetry to break, and what was never trained then says nothing
            nn.init.zeros_(layer.weight)
            nn.init.zeros_(layer.bias)
            return layer if is_flat else nn.Sequential(*first, layer)
        case MlpConfig():
            width = num_inputs
            if config.embedding is not None:
                embedded = EmbeddedCodes(num_categories, config.embedding)
                first, width = [*first, embedded], embedded.width(num_inputs)
            layers: list[nn.Module] = []
            for num_in, num_out in pairwise((width, *config.hidden)):
                layers += [nn.Linear(num_in, num_out), nn.ReLU()]
            last_width = config.hidden[-1] if config.hidden else width
            return nn.Sequential(*first, *layers, nn.Linear(last_width, num_classes))
        case ImportedModelConfig():
            arguments: dict[str, object] = {"num_inputs": num_inputs, "num_classes": num_classes}
            if config.categorical == "codes":
                arguments["num_categories"] = num_categories
            if input_shape is not None:
                arguments["input_shape"] = input_shape
            model = create(config.path, "training.model.path", **arguments, **config.args)
            if not isinstance(model, nn.Module):
                raise ConfigError(
                    f"training.model.path: {config.path} gives a {type(model).__name__}, expected a torch.nn.Module"
                )
            return model


def model_for(config: ModelConfig, encoding: Encoding) -> nn.Module:
    """A model with fresh weights for what an encoding gives. ConfigError as for `build_model`."""
    return build_model(
        config,
        num_inputs=encoding.num_inputs,
        num_classes=encoding.num_outputs,
        num_categories=encoding.num_categories,
        input_shape=encoding.input_shape if encoding.arrays else None,
    )


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
    model = model_for(stored.config, stored.encoding)
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
            return inputs.flatten(1)
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
