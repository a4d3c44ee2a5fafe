"""The minibatches of a training, epoch by epoch: all of the training set, or what downsampling keeps of it.

Each function gives an endless iterator over epochs, each of which is an iterator over minibatches. Both are lazy: what
the model is asked, it is asked when the epoch, or the minibatch, is due. How many samples and steps
come of it is what `twinclock.policies.downsampling.effort` says.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import count
from typing import TypeAlias

import torch
from torch import Tensor

from real.downsampling import Kept, random_subsets
from twinclock.policies.downsampling import DownsamplingConfig, Rs2DownsamplingConfig, ScoredDownsamplingConfig, share

Epochs: TypeAlias = Iterator[Iterator[Kept]]
Judge: TypeAlias = Callable[[ScoredDownsamplingConfig, Tensor, int], Kept]
"""From places in the training set, and how many of them to keep, to those kept, as the model is now."""


def minibatches(
    config: DownsamplingConfig | None, num_samples: int, batch_size: int, judge: Judge, rng: torch.Generator
) -> Epochs:
    """Minibatches as places in a training set of `num_samples`; all but the last of an epoch have `batch_size`.

    `rng` is of the CPU, and so are all places and weights, given and taken.
    """
    if config is None:
        return _shuffled(num_samples, batch_size, rng)
    if isinstance(config, Rs2DownsamplingConfig):
        return _subsets(config, num_samples, batch_size, rng)
    if config.mode == "sample_then_batch":
        return _sampled_then_batched(config, num_samples, batch_size, judge, rng)
    return _batched_then_sampled(config, num_samples, batch_size, judge, rng)


def _shuffled(num_samples: int, batch_size: int, rng: torch.Generator) -> Epochs:
    while True:
        yield _cut(Kept(torch.randperm(num_samples, generator=rng), None), batch_size)


def _subsets(config: Rs2DownsamplingConfig, num_samples: int, batch_size: int, rng: torch.Generator) -> Epochs:
    for subset in random_subsets(num_samples, share(config.ratio, num_samples), config.replacement, rng):
        yield _cut(Kept(subset, None), batch_size)


def _sampled_then_batched(
    config: ScoredDownsamplingConfig, num_samples: int, batch_size: int, judge: Judge, rng: torch.Generator
) -> Epochs:
    """Every `period` epochs the whole set is judged; each epoch shuffles what was kept."""
    everything, num_kept = torch.arange(num_samples), share(config.ratio, num_samples)
    kept = Kept(everything, None)
    for epoch in count():
        if epoch % config.period == 0:
            kept = judge(config, everything, num_kept)
        yield _cut(_at(kept, torch.randperm(num_kept, generator=rng)), batch_size)


def _batched_then_sampled(
    config: ScoredDownsamplingConfig, num_samples: int, batch_size: int, judge: Judge, rng: torch.Generator
) -> Epochs:
    while True:
        yield _gathered(config, torch.randperm(num_samples, generator=rng), batch_size, judge)


def _gathered(config: ScoredDownsamplingConfig, order: Tensor, batch_size: int, judge: Judge) -> Iterator[Kept]:
    """Judge one minibatch after another; what is kept gathers until it fills one, or the epoch is over."""
    waiting = Kept(order[:0], torch.empty(0, dtype=torch.float64))
    for candidates in torch.split(order, batch_size):
        waiting = _joined(waiting, judge(config, candidates, share(config.ratio, len(candidates))))
        if len(waiting.chosen) >= batch_size:
            yield _at(waiting, slice(batch_size))
            waiting = _at(waiting, slice(batch_size, None))
    if len(waiting.chosen):
        yield waiting


def _cut(kept: Kept, batch_size: int) -> Iterator[Kept]:
    return (_at(kept, slice(first, first + batch_size)) for first in range(0, len(kept.chosen), batch_size))


def _at(kept: Kept, places: Tensor | slice) -> Kept:
    return Kept(kept.chosen[places], None if kept.weights is None else kept.weights[places])


def _joined(first: Kept, second: Kept) -> Kept:
    chosen = torch.cat([first.chosen, second.chosen])
    if first.weights is None or second.weights is None:
        return Kept(chosen, None)
    return Kept(chosen, torch.cat([first.weights, second.weights]))
