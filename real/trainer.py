"""The built-in trainer, and the names that trainers of a user's own need."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from itertools import islice
from typing import NamedTuple

import torch
from torch import Tensor, nn

from real.downsampling import Kept, keep
from real.encoding import fit_encoding
from real.minibatches import minibatches
from real.models import (
    ModelError,
    build_model,
    check_outputs,
    hidden_features,
    inherit_weights,
    mean_loss,
    torch_device,
    weighted_loss,
)
from real.training.context import Progress, StoppedError, Trainer, TrainingContext, TrainingResult
from twinclock.policies.downsampling import Effort, KCenterDownsamplingConfig, ScoredDownsamplingConfig, effort
from twinclock.training import OptimizerConfig

__all__ = ["Progress", "StoppedError", "TorchTrainer", "Trainer", "TrainingContext", "TrainingResult"]

_STEPS_A_LOOK = 50
"""Steps after which losses are looked at; looking makes the CPU wait for a GPU."""
_SCORED_AT_ONCE = 65_536
_REMEDY = "try a smaller training.optimizer.lr, or set training.clip_norm"


class TorchTrainer:
    """Gradient descent on the loss, by minibatches, as `training:` in the configuration says.

    The loss is the cross-entropy, or for a regression the squared error of the normalised label. Starting
    from a model, its encoding is extended (see `encoding`): its normalisation, inputs and classes stay,
    and so do their weights; inputs and classes that are new begin with fresh weights. The
    optimizer always begins anew. On a CPU the same context gives the same weights, bit by bit.
    """

    def fit(self, context: TrainingContext) -> TrainingResult:
        """Train. ModelError if there are no samples, or if the loss or the weights stop being finite."""
        rows, parent, config = context.rows, context.start_from, context.config
        if rows.height == 0:
            raise ModelError("the training set has 0 samples, expected at least one")
        encoding = fit_encoding(
            rows, context.columns, extending=None if parent is None else parent.encoding, task=config.task
        )
        device = torch_device(context.device)
        features = torch.from_numpy(encoding.features(rows)).to(device)
        targets = torch.from_numpy(encoding.targets(rows)).to(device)
        todo = effort(config.downsample, num_samples=rows.height, epochs=config.epochs, batch_size=config.batch_size)
        with _seeded(context.seed, device):
            model = build_model(config.model, num_inputs=encoding.num_inputs, num_classes=encoding.num_outputs)
            if parent is not None:
                inherit_weights(model, parent.weights)
            model.to(device)
            loss = _descend(
                _Training(model, context.ranks.sharing(model), encoding.num_outputs, features, targets, todo, context)
            )
        return TrainingResult(
            weights={name: tensor.cpu() for name, tensor in model.state_dict().items()},
            encoding=encoding,
            loss=loss,
            num_steps=todo.num_steps,
        )


class _Training(NamedTuple):
    """All that stays the same during one training, but for the model's weights."""

    model: nn.Module
    shared: nn.Module
    """The same, to be called in a step."""
    num_outputs: int
    features: Tensor
    targets: Tensor
    todo: Effort
    context: TrainingContext


def _descend(training: _Training) -> float:
    """All epochs; the mean loss of the last one, over the samples stepped on."""
    model, context, config = training.model, training.context, training.context.config
    steps_per_epoch = training.todo.num_steps // config.epochs
    optimizer = _optimizer(config.optimizer, model)
    order_rng = torch.Generator().manual_seed(context.seed)
    losses: list[float] = []
    step = 0
    model.train()
    judge = partial(_judge, training, order_rng)
    epochs = minibatches(config.downsample, len(training.targets), config.batch_size, judge, order_rng)
    for epoch, epoch_minibatches in enumerate(islice(epochs, config.epochs), 1):
        losses = []
        unseen: list[Tensor] = []
        for minibatch in epoch_minibatches:
            if context.should_stop():
                raise StoppedError
            loss = _loss(training, minibatch)
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]  # torch has no types for it
            if config.clip_norm is not None:
                nn.utils.clip_grad_norm_(model.parameters(), config.clip_norm)
            optimizer.step()
            unseen.append(loss.detach())
            step += 1
            if len(unseen) == _STEPS_A_LOOK or step == epoch * steps_per_epoch:
                seen = context.ranks.mean(torch.stack(unseen)).tolist()
                unseen = []
                _check_finite(seen, len(losses), epoch, steps_per_epoch)
                losses += seen
                context.report(
                    Progress(
                        epoch=epoch,
                        num_epochs=config.epochs,
                        step=step,
                        num_steps=training.todo.num_steps,
                        loss=sum(seen) / len(seen),
                    )
                )
    if not all(bool(tensor.isfinite().all()) for tensor in model.state_dict().values()):
        raise ModelError(f"the weights are not finite after the last step, which is {step}; {_REMEDY}")
    size_of_last = training.todo.num_kept - config.batch_size * (steps_per_epoch - 1)
    return (config.batch_size * sum(losses[:-1]) + size_of_last * losses[-1]) / training.todo.num_kept


def _loss(training: _Training, minibatch: Kept) -> Tensor:
    """The loss of a minibatch, ready to go backward; on several devices what this one adds to it."""
    task, device = training.context.config.task, training.targets.device
    minibatch, factor = training.context.ranks.part(minibatch)
    chosen = minibatch.chosen.to(device)
    outputs = training.shared(training.features.index_select(0, chosen))
    check_outputs(outputs, len(chosen), training.num_outputs, training.model)
    targets = training.targets.index_select(0, chosen)
    if minibatch.weights is None:
        return mean_loss(task, outputs, targets) * factor
    return weighted_loss(task, outputs, targets, minibatch.weights.to(device)) * factor


def _judge(
    training: _Training, rng: torch.Generator, config: ScoredDownsamplingConfig, candidates: Tensor, num_kept: int
) -> Kept:
    """Ask the model, as it is now, which of some places in the training set to keep."""
    model, context, device = training.model, training.context, training.targets.device
    said: list[Tensor] = []
    model.eval()
    with torch.no_grad():
        for places in torch.split(candidates, _SCORED_AT_ONCE):
            if context.should_stop():
                raise StoppedError
            inputs = training.features.index_select(0, places.to(device))
            if isinstance(config, KCenterDownsamplingConfig):
                said.append(hidden_features(model, context.config.model, inputs))
            else:
                said.append(model(inputs))
                check_outputs(said[-1], len(inputs), training.num_outputs, model)
        targets = training.targets.index_select(0, candidates.to(device))
        kept = keep(config, context.config.task, torch.cat(said), targets, num_kept, rng)
    model.train()
    return context.ranks.as_first(Kept(candidates[kept.chosen], kept.weights))


def _optimizer(config: OptimizerConfig, model: nn.Module) -> torch.optim.Optimizer:
    kind = torch.optim.Adam if config.kind == "adam" else torch.optim.SGD
    return kind(model.parameters(), lr=config.lr, weight_decay=config.weight_decay)


def _check_finite(losses: list[float], num_before: int, epoch: int, steps_per_epoch: int) -> None:
    for index, loss in enumerate(losses):
        if not math.isfinite(loss):
            minibatch = num_before + index + 1
            step = (epoch - 1) * steps_per_epoch + minibatch
            raise ModelError(
                f"the loss is {loss} at step {step} (epoch {epoch}, minibatch {minibatch} of {steps_per_epoch}); "
                f"{_REMEDY}"
            )


@contextmanager
def _seeded(seed: int, device: torch.device) -> Iterator[None]:
    """Torch's global random streams begin at `seed`, and are afterwards what they were before."""
    with torch.random.fork_rng(devices=[] if device.type == "cpu" else [device]):
        torch.manual_seed(seed)
        yield
