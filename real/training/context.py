"""What a trainer is given, and what it gives back.

A trainer of the user's own (`training.trainer: package.module:Class`) is a class without arguments
whose `fit` does what `Trainer.fit` says; it may use any torch loop, `Dataset` and collate function.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Protocol

import polars as pl
from torch import Tensor

from real.encoding import Encoding
from real.store import StoredModel
from real.training.checkpoint import Checkpoint
from real.training.distributed import ALONE, Ranks
from twinclock.dataset import Columns
from twinclock.training import TrainingConfig


class StoppedError(Exception):
    """A job was asked to stop, and did."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """How far a training is."""

    epoch: int
    """The epoch under way, counted from 1."""
    num_epochs: int
    step: int
    """Gradient steps done, over all epochs."""
    num_steps: int
    loss: float
    """Mean over the steps since the last report."""


def _drop(checkpoint: Checkpoint) -> None:
    """Keep nothing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingContext:
    """All that a training may look at, and the way to say how it goes."""

    rows: pl.DataFrame
    """The training set: features and label of each sample, in the shuffled order of its recipe."""
    columns: Columns
    """The role of each column."""
    validation: pl.DataFrame | None = None
    """The samples that `training.validation` holds out, oldest first; None: it holds out none."""
    config: TrainingConfig
    seed: int
    """For every random draw of the training; the same seed has to give the same weights."""
    device: str
    """`cpu` or `cuda`, with the number of the device: `cuda:0`."""
    start_from: StoredModel | None
    """The model to start from; None: from scratch."""
    report: Callable[[Progress], None]
    """Cheap enough for every step; what is too frequent is dropped."""
    should_stop: Callable[[], bool]
    """To be asked often (each step); once it is true, keep a checkpoint if there is something to keep, and raise
    StoppedError."""
    resume_from: Checkpoint | None = None
    """What an earlier attempt at this same training kept last, to go on from; None: begin at the beginning."""
    save_checkpoint: Callable[[Checkpoint], None] = _drop
    """To be called when a checkpoint is due (`training.checkpoint`): it is durable on return, in place of the last."""
    ranks: Ranks = ALONE
    """With `training.devices` above 1, the processes that are given this same training, each with a device of its own,
    in one process group of `torch.distributed`. Of what they return, report and keep, that of rank 0 counts. All have
    to ask `should_stop` equally often, for all get the same answer."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingResult:
    """What a training has come to."""

    weights: Mapping[str, Tensor]
    """The model's `state_dict`."""
    encoding: Encoding
    """What the model was trained with; kept with it."""
    loss: float | None
    """Mean training loss over the epoch that the weights are from; finite."""
    num_steps: int
    """Steps of the optimizer."""
    num_epochs: int | None = None
    """Epochs gone through; None: all of `training.epochs`."""
    validation_loss: float | None = None
    """Mean loss over the samples held out; None: there are none."""
    wait_share: float | None = None
    """Share of the time of all steps in which the next one waited for its samples; None: not measured."""
    optimizer: Mapping[str, Tensor] | None = None
    """State of the optimizer for the trainings that go on from this model; None: they begin with none."""


class Trainer(Protocol):
    """Turns a training set into a model."""

    def fit(self, context: TrainingContext) -> TrainingResult:
        """Train. Raises StoppedError when asked to stop; anything else that it raises is the training's failure."""
