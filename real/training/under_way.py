"""A training under way: all that it is made of.

Everything in it that changes is in its checkpoint (see `resume`), so one that goes on from there takes the same steps,
to the last bit on a CPU, as if it had not been interrupted.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor

from real.downsampling import Kept, keep
from real.minibatches import Minibatches
from real.models import hidden_features
from real.training.clock import Stopwatch
from real.training.context import StoppedError, TrainingContext
from real.training.fetching import Feed
from real.training.gradient import Network
from real.training.samples import Samples
from real.training.stopping import Stopping
from twinclock.policies.downsampling import Effort, KCenterDownsamplingConfig, ScoredDownsamplingConfig


@dataclass(slots=True, kw_only=True)
class Training:
    """One training under way."""

    context: TrainingContext
    todo: Effort
    network: Network
    samples: Samples
    class_weights: Tensor | None
    """Of each sample, by its class; float64, on the CPU."""
    held_out: Samples | None
    held_out_weights: Tensor | None
    optimizer: torch.optim.Optimizer
    schedule: torch.optim.lr_scheduler.LambdaLR | None
    order_rng: torch.Generator
    stopping: Stopping
    feed: Feed = field(init=False)
    step: int = 0
    """Steps done, over all epochs."""
    losses: list[float] = field(default_factory=list)
    """Of the minibatches of this epoch that have been looked at."""
    waited: Stopwatch = field(default_factory=Stopwatch)
    """For samples."""

    def __post_init__(self) -> None:
        downsample, batch_size = self.context.config.downsample, self.context.config.batch_size
        self.feed = Feed(
            Minibatches(downsample, len(self.samples.targets), batch_size, self.judge, self.order_rng),
            self.samples,
            self.class_weights,
            self.num_minibatches,
            batch_size=batch_size,
            asks_the_model=downsample is not None and downsample.kind != "rs2",
            ranks=self.context.ranks,
        )

    @property
    def steps_per_epoch(self) -> int:
        """All epochs have as many."""
        return self.todo.num_steps // self.context.config.epochs

    @property
    def minibatches_per_epoch(self) -> int:
        """All epochs have as many."""
        return -(-self.todo.num_kept // self.context.config.batch_size)

    def num_minibatches(self, step: int) -> int:
        """Of a step, counted from 0: as many as are accumulated, or what the epoch still has; none after the last."""
        if step >= self.todo.num_steps:
            return 0
        accumulate = self.context.config.accumulate
        return min(accumulate, self.minibatches_per_epoch - step % self.steps_per_epoch * accumulate)

    def judge(self, config: ScoredDownsamplingConfig, candidates: Tensor, num_kept: int) -> Kept:
        """Ask the model, as it is now, which of some places in the training set to keep."""
        self.waited.stop()  # this is computing
        network, context = self.network, self.context
        said: list[Tensor] = []
        network.model.eval()
        with torch.no_grad():
            for places in torch.split(candidates, self.samples.scored_at_once):
                if context.should_stop():
                    raise StoppedError
                inputs = self.samples.features_at(places)
                if isinstance(config, KCenterDownsamplingConfig):
                    said.append(hidden_features(network.model, context.config.model, inputs))
                else:
                    said.append(network.outputs(inputs))
            targets = self.samples.targets_at(candidates)
            kept = keep(config, network.objective.losses, torch.cat(said), targets, num_kept, self.order_rng)
        network.model.train()
        self.waited.start()
        return context.ranks.as_first(Kept(candidates[kept.chosen], kept.weights))
