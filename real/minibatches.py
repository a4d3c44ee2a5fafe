"""The minibatches of a training, epoch by epoch: all of the training set, or what downsampling keeps of it.

They come one at a time, and are lazy: what the model is asked, it is asked when the epoch, or the minibatch, is due.
How many samples and steps come of it is what `twinclock.policies.downsampling.effort` says. Between two of them the
state can be had as tensors, from which the same minibatches follow again.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TypeAlias, TypeGuard

import torch
from torch import Tensor

from real.downsampling import Kept, next_subset
from twinclock.policies.downsampling import DownsamplingConfig, Rs2DownsamplingConfig, ScoredDownsamplingConfig, share

Judge: TypeAlias = Callable[[ScoredDownsamplingConfig, Tensor, int], Kept]
"""From places in the training set, and how many of them to keep, to those kept, as the model is now."""


class Minibatches:
    """Endless: after the last minibatch of an epoch comes the first of the next."""

    def __init__(
        self, config: DownsamplingConfig | None, num_samples: int, batch_size: int, judge: Judge, rng: torch.Generator
    ) -> None:
        """Of a training set of `num_samples`; `rng` is of the CPU, and so are all places and weights."""
        self._config = config
        self._num_samples = num_samples
        self._batch_size = batch_size
        self._judge = judge
        self._rng = rng
        self._left = Kept(_NOTHING, None)
        """What this epoch has not come to yet."""
        self._waiting = Kept(_NOTHING, None)
        """Kept of earlier minibatches of this epoch, and not yet handed over."""
        self._judged = Kept(_NOTHING, None)
        """What the last scoring of the whole set kept."""
        self._round = _NOTHING
        """What no subset of this round had."""
        self._num_begun = 0
        """Epochs."""

    def take(self) -> Kept:
        """The next minibatch, as places in the training set; all but the last of an epoch have `batch_size`."""
        if len(self._left.chosen) == len(self._waiting.chosen) == 0:
            self._left = self._begun()
            self._num_begun += 1
        if _is_judged_by_minibatch(self._config):
            return self._gathered(self._config)
        taken, self._left = self._cut(self._left)
        return taken

    def state(self) -> dict[str, Tensor]:
        """All that the minibatches to come depend on, but for the model."""
        found = {"rng": self._rng.get_state(), "round": self._round, "num_begun": torch.tensor(self._num_begun)}
        for name, kept in (("left", self._left), ("waiting", self._waiting), ("judged", self._judged)):
            found[f"{name}.chosen"] = kept.chosen
            if kept.weights is not None:
                found[f"{name}.weights"] = kept.weights
        return found

    def restore(self, state: Mapping[str, Tensor]) -> None:
        """Go on from there."""
        self._rng.set_state(state["rng"])
        self._round, self._num_begun = state["round"], int(state["num_begun"])
        self._left, self._waiting, self._judged = (
            Kept(state[f"{name}.chosen"], state.get(f"{name}.weights")) for name in ("left", "waiting", "judged")
        )

    def _begun(self) -> Kept:
        """What a new epoch goes through, in its order."""
        config = self._config
        if config is None or _is_judged_by_minibatch(config):
            return Kept(torch.randperm(self._num_samples, generator=self._rng), None)
        num_kept = share(config.ratio, self._num_samples)
        if isinstance(config, Rs2DownsamplingConfig):
            subset, self._round = next_subset(self._round, self._num_samples, num_kept, config.replacement, self._rng)
            return Kept(subset, None)
        if self._num_begun % config.period == 0:
            self._judged = self._judge(config, torch.arange(self._num_samples), num_kept)
        return _at(self._judged, torch.randperm(num_kept, generator=self._rng))

    def _gathered(self, config: ScoredDownsamplingConfig) -> Kept:
        """Judge one minibatch after another; what is kept gathers until it fills one, or the epoch is over."""
        while len(self._left.chosen) and len(self._waiting.chosen) < self._batch_size:
            candidates, left = self._cut(self._left)
            kept = self._judge(config, candidates.chosen, share(config.ratio, len(candidates.chosen)))
            self._left, self._waiting = left, _joined(self._waiting, kept)
        taken, self._waiting = self._cut(self._waiting)
        return taken

    def _cut(self, kept: Kept) -> tuple[Kept, Kept]:
        return _at(kept, slice(self._batch_size)), _at(kept, slice(self._batch_size, None))


_NOTHING = torch.empty(0, dtype=torch.int64)


def _is_judged_by_minibatch(config: DownsamplingConfig | None) -> TypeGuard[ScoredDownsamplingConfig]:
    return config is not None and config.mode == "batch_then_sample"


def _at(kept: Kept, places: Tensor | slice) -> Kept:
    return Kept(kept.chosen[places], None if kept.weights is None else kept.weights[places])


def _joined(first: Kept, second: Kept) -> Kept:
    if len(first.chosen) == 0:
        return second
    weights = None if first.weights is None or second.weights is None else torch.cat([first.weights, second.weights])
    return Kept(torch.cat([first.chosen, second.chosen]), weights)
