"""The loop: step after step, epoch after epoch, and what is looked at, reported and kept on the way."""

from __future__ import annotations

import math
from functools import partial

import torch
from torch import Tensor, nn

from real.models import ModelError
from real.training.clock import Due
from real.training.context import Progress, StoppedError
from real.training.fetching import Fetched
from real.training.gradient import backward, check_first_gradient
from real.training.resume import checkpoint_of
from real.training.under_way import Training

_STEPS_A_LOOK = 50
"""Steps after which losses are looked at; looking makes the CPU wait for a GPU."""
_REMEDY = "try a smaller training.optimizer.lr, or set training.clip_norm"


def descend(training: Training) -> None:
    """Take the steps that are left. StoppedError when asked to stop, with a checkpoint kept; else as `fit`."""
    due = Due(training.context.config.checkpoint, training.step)
    unseen: list[Tensor] = []
    """Losses of minibatches that have not been looked at."""
    training.network.model.train()
    with training.feed:
        while training.step < training.todo.num_steps and not training.stopping.is_over:
            if _is_due(training, due):
                unseen = _look(training, unseen)
                _keep(training, due)
            try:
                if training.context.should_stop():
                    raise StoppedError
                with training.waited:
                    minibatches = training.feed.next_step()  # asks too, if it asks the model for long
            except StoppedError:
                if due.is_new(training.step):
                    _look(training, unseen)
                    _keep(training, due)
                raise
            unseen += _take_step(training, minibatches)
            training.step += 1
            is_end_of_epoch = training.step % training.steps_per_epoch == 0
            if len(unseen) >= _STEPS_A_LOOK or is_end_of_epoch:
                unseen = _look(training, unseen)
            if is_end_of_epoch:
                training.stopping.judge(training.network.model, _epoch_loss(training), _validation_loss(training))
                training.losses = []
    training.stopping.finish(training.network.model)
    if not all(bool(tensor.isfinite().all()) for tensor in training.network.model.state_dict().values()):
        raise ModelError(f"the weights are not finite after the last step, which is {training.step}; {_REMEDY}")


def _take_step(training: Training, minibatches: list[Fetched]) -> list[Tensor]:
    """One step of the optimizer; the loss of each minibatch."""
    network, optimizer, config = training.network, training.optimizer, training.context.config
    scaler = network.precision.scaler
    step_weight = sum(each.weight for each in minibatches) if len(minibatches) > 1 else None
    optimizer.zero_grad()
    losses = []
    for number, minibatch in enumerate(minibatches, 1):
        with training.context.ranks.bringing_together(network.stepping, number == len(minibatches)):
            losses.append(backward(network, minibatch, step_weight, partial(_where_now, training, number)))
    if config.clip_norm is not None:
        scaler.unscale_(optimizer)
        nn.utils.clip_grad_norm_(network.model.parameters(), config.clip_norm)
    if training.step == 0:
        check_first_gradient(network, minibatches, partial(_where_now, training, len(minibatches)))
    scale = scaler.get_scale()
    scaler.step(optimizer)
    scaler.update()
    if training.schedule is not None and scaler.get_scale() >= scale:  # else the step was left out
        training.schedule.step()
    return losses


def _look(training: Training, unseen: list[Tensor]) -> list[Tensor]:
    """See that losses are finite, and report how far the training is; nothing is then left to look at."""
    if not unseen:
        return []
    seen = training.context.ranks.mean(torch.stack(unseen)).tolist()
    for loss in seen:
        training.losses.append(loss)
        if not math.isfinite(loss):
            minibatch = len(training.losses)
            before = (_epoch(training) - 1) * training.steps_per_epoch
            step = before + -(-minibatch // training.context.config.accumulate)
            raise ModelError(f"the loss is {loss} {_where(training, step, minibatch)}; {_REMEDY}")
    training.context.report(
        Progress(
            epoch=_epoch(training),
            num_epochs=training.context.config.epochs,
            step=training.step,
            num_steps=training.todo.num_steps,
            loss=sum(seen) / len(seen),
        )
    )
    return []


def _epoch(training: Training) -> int:
    """The epoch of the last step, counted from 1."""
    return -(-training.step // training.steps_per_epoch)


def _where_now(training: Training, number: int) -> str:
    """The step that is being taken, and which of its minibatches, counted from 1."""
    first = training.step % training.steps_per_epoch * training.context.config.accumulate
    return _where(training, training.step + 1, first + number)


def _where(training: Training, step: int, minibatch: int) -> str:
    """A step of the training, and a minibatch of its epoch, counted from 1."""
    epoch = -(-step // training.steps_per_epoch)
    return f"at step {step} (epoch {epoch}, minibatch {minibatch} of {training.minibatches_per_epoch})"


def _epoch_loss(training: Training) -> float:
    """Mean over the samples stepped on."""
    batch_size, losses = training.context.config.batch_size, training.losses
    size_of_last = training.todo.num_kept - batch_size * (training.minibatches_per_epoch - 1)
    return (batch_size * sum(losses[:-1]) + size_of_last * losses[-1]) / training.todo.num_kept


def _validation_loss(training: Training) -> float | None:
    """Mean over the samples held out, weighted as in training. ModelError if it is not finite."""
    held_out, weights, network = training.held_out, training.held_out_weights, training.network
    if held_out is None:
        return None
    total = 0.0
    network.model.eval()
    with torch.no_grad():
        for places in torch.split(torch.arange(len(held_out.targets)), held_out.scored_at_once):
            outputs = network.outputs(held_out.features_at(places))
            losses = network.objective.losses(outputs, held_out.targets_at(places)).double().cpu()
            total += float(losses.sum() if weights is None else (losses * weights[places]).sum())
    network.model.train()
    loss = training.context.ranks.first(total / (len(held_out.targets) if weights is None else float(weights.sum())))
    if not math.isfinite(loss):
        raise ModelError(f"the loss on the samples held out is {loss} after epoch {_epoch(training)}; {_REMEDY}")
    return loss


def _is_due(training: Training, due: Due) -> bool:
    """Is a checkpoint? The clocks of several devices need not agree, but all look at the losses then."""
    step, context = training.step, training.context
    if context.config.checkpoint.every is None:
        return due.is_due(step)
    return context.ranks.agreed(lambda: due.is_due(step))()


def _keep(training: Training, due: Due) -> None:
    training.context.save_checkpoint(checkpoint_of(training))
    due.kept(training.step)
