"""The built-in trainer, and the names that trainers of a user's own need."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import cast

import polars as pl
import torch
from torch import nn

from real.encoding import UNKNOWN, Encoding, fit_encoding
from real.memory import telling_of_memory
from real.models import ModelError, inherit_weights, model_for, torch_device
from real.training.checkpoint import Checkpoint
from real.training.clock import Stopwatch
from real.training.compiling import compiled
from real.training.context import Progress, StoppedError, Trainer, TrainingContext, TrainingResult
from real.training.gradient import Network
from real.training.loop import descend
from real.training.objective import class_weights, make_objective, sample_weights
from real.training.optimizer import inherit_state, make_optimizer, make_schedule, optimizer_tensors
from real.training.precision import Precision
from real.training.resume import restore
from real.training.samples import Samples, samples_of
from real.training.stopping import Stopping
from real.training.under_way import Training
from twinclock.policies.downsampling import effort

__all__ = ["Checkpoint", "Progress", "StoppedError", "TorchTrainer", "Trainer", "TrainingContext", "TrainingResult"]


class TorchTrainer:
    """Gradient descent on the loss, by minibatches, as `training:` in the configuration says.

    The loss is the cross-entropy, or for a regression the squared error of the normalised label, or one of the user's
    own. Starting from a model, its encoding is extended (see `encoding`): its normalisation, inputs and classes stay,
    and so do their weights; inputs and classes that are new begin with fresh weights. The optimizer begins anew, or
    with the state that it had. On a CPU the same context gives the same weights, bit by bit, also if it goes on from a
    checkpoint.
    """

    def fit(self, context: TrainingContext) -> TrainingResult:
        """Train. StoppedError when asked to stop, with a checkpoint kept if a step was done.

        ModelError if there are no samples, if the loss or the weights stop being finite, or if there is no gradient;
        DeviceOutOfMemory; ConfigError for what can't be had here.
        """
        with telling_of_memory(context.device, f"minibatches of {context.config.batch_size} samples"):
            return _fit(context)


def _fit(context: TrainingContext) -> TrainingResult:
    rows, parent, config = context.rows, context.start_from, context.config
    if rows.height == 0:
        raise ModelError("the training set has 0 samples, expected at least one")
    encoding = fit_encoding(
        rows,
        context.columns,
        extending=None if parent is None else parent.encoding,
        task=config.task,
        categorical=config.model.categorical,
    )
    device = torch_device(context.device)
    samples, held_out = samples_of(encoding, rows, device), _held_out(encoding, context.validation, device)
    with _seeded(context.seed, device):
        model = model_for(config.model, encoding)
        if parent is not None:
            inherit_weights(model, parent.weights)
        model.to(device)
        training = _training(context, encoding, model, samples, held_out)
        if context.resume_from is not None:
            restore(training, context.resume_from)
        whole = Stopwatch()
        with whole, compiled(config.compile):
            descend(training)
    return TrainingResult(
        weights={name: tensor.cpu() for name, tensor in model.state_dict().items()},
        encoding=encoding,
        loss=training.stopping.loss,
        num_steps=training.step,
        num_epochs=training.step // training.steps_per_epoch,
        validation_loss=training.stopping.validation_loss,
        wait_share=training.waited.seconds / whole.seconds,
        optimizer=optimizer_tensors(training.optimizer, model) if config.optimizer.state == "keep" else None,
    )


def _training(
    context: TrainingContext, encoding: Encoding, model: nn.Module, samples: Samples, held_out: Samples | None
) -> Training:
    config, parent = context.config, context.start_from
    todo = effort(
        config.downsample,
        num_samples=len(samples.targets),
        epochs=config.epochs,
        batch_size=config.batch_size,
        accumulate=config.accumulate,
    )
    optimizer = make_optimizer(config.optimizer, model)
    if parent is not None and parent.optimizer is not None and config.optimizer.state == "keep":
        inherit_state(optimizer, model, parent.optimizer)
    weights = class_weights(config, encoding.classes, samples.targets)
    forward = cast(nn.Module, torch.compile(model)) if config.compile else model
    return Training(
        context=context,
        todo=todo,
        network=Network(
            model=model,
            forward=forward,
            stepping=context.ranks.sharing(forward),
            num_outputs=encoding.num_outputs,
            objective=make_objective(config),
            precision=Precision(config.precision, samples.device),
        ),
        samples=samples,
        class_weights=sample_weights(weights, samples.targets),
        held_out=held_out,
        held_out_weights=None if held_out is None else sample_weights(weights, held_out.targets),
        optimizer=optimizer,
        schedule=make_schedule(
            config.schedule,
            optimizer,
            num_steps=todo.num_steps,
            steps_per_epoch=todo.num_steps // config.epochs,
        ),
        order_rng=torch.Generator().manual_seed(context.seed),
        stopping=Stopping(config.early_stopping),
    )


def _held_out(encoding: Encoding, rows: pl.DataFrame | None, device: torch.device) -> Samples | None:
    """Those of the samples held out that a loss can be had of: not those of a class that is not trained on."""
    if rows is None:
        return None
    if encoding.task == "classification":
        rows = rows.filter(pl.Series(encoding.labels(rows) != UNKNOWN))
    return samples_of(encoding, rows, device) if rows.height else None


@contextmanager
def _seeded(seed: int, device: torch.device) -> Iterator[None]:
    """Torch's global random streams begin at `seed`, and are afterwards what they were before."""
    with torch.random.fork_rng(devices=[] if device.type == "cpu" else [device]):
        torch.manual_seed(seed)
        yield
