"""What the user brings along for real runs, looked at before one starts: models, losses, trainers, evaluators."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import Any

from twinclock.config import Config, ImportedModelConfig
from twinclock.dataset import TableConfig
from twinclock.errors import ConfigError
from twinclock.imports import create, import_object


def problems(config: Config) -> Iterator[str]:
    """Whatever can't be imported, made or called as it will be, as `key: …`. Imports nothing that is not named."""
    model, trainer, evaluator = config.training.model, config.training.trainer, config.evaluation.evaluator
    looks: list[Callable[[], None]] = []
    if isinstance(model, ImportedModelConfig):
        looks.append(partial(_look_at_model, model, _arguments(config, model)))
    if config.training.loss is not None:
        looks.append(partial(_look_at_loss, config.training.loss))
    if trainer is not None:
        looks.append(partial(_look_at, trainer, "training.trainer", "fit"))
    if evaluator is not None:
        looks.append(partial(_look_at, evaluator, "evaluation.evaluator", "evaluate"))
    for look in looks:
        try:
            look()
        except ConfigError as error:
            yield str(error)


def _arguments(config: Config, model: ImportedModelConfig) -> dict[str, Any]:
    """What the class is called with; the values are examples."""
    arguments: dict[str, Any] = {"num_inputs": 1, "num_classes": 1}
    if model.categorical == "codes":
        arguments["num_categories"] = (1,)
    if isinstance(config.data, TableConfig) and config.data.columns.features.arrays:
        arguments["input_shape"] = (1,)
    return {**arguments, **model.args}


def _look_at_model(config: ImportedModelConfig, arguments: Mapping[str, Any]) -> None:
    """Models are made with numbers that only a training set has, so here their arguments are looked at by name."""
    made_by = import_object(config.path, "training.model.path")
    if not callable(made_by):
        raise ConfigError(f"training.model.path: {config.path} is a {type(made_by).__name__}, expected a class")
    try:
        signature = inspect.signature(made_by)
    except (TypeError, ValueError):
        return  # some classes that are not written in Python don't say
    try:
        signature.bind(**arguments)
    except TypeError as error:
        raise ConfigError(
            f"training.model.args: {config.path} is called with {', '.join(arguments)}, but {error}"
        ) from None


def _look_at_loss(path: str) -> None:
    loss = import_object(path, "training.loss")
    if not callable(loss):
        raise ConfigError(f"training.loss: {path} is a {type(loss).__name__}, expected a function")


def _look_at(path: str, key: str, method: str) -> None:
    made = create(path, key)
    if not callable(getattr(made, method, None)):
        raise ConfigError(f"{key}: {path} has no method {method}")
