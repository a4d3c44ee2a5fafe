"""Minibatches on their way to the device: those of the next steps are gathered while the model computes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from types import TracebackType
from typing import NamedTuple

from torch import Tensor

from real.downsampling import Kept
from real.minibatches import Minibatches
from real.training.distributed import Ranks
from real.training.samples import Samples

_WORTH_A_THREAD_BYTES = 2**16
"""Size of a minibatch from which on gathering it takes longer than handing it to a thread."""
_AHEAD_BYTES = 2**24
"""Samples that are gathered at a time; a thread that waits for a core for a while then is no hurry."""


class Fetched(NamedTuple):
    """A minibatch on the device, or with several devices the part of this one."""

    inputs: Tensor
    targets: Tensor
    weights: Tensor | None
    weight: float
    """Σ weight of the samples of the whole minibatch."""
    factor: float
    """As in `Part`; 1 if it is the whole."""


@dataclass(slots=True)
class _Block:
    """Some steps that follow each other, gathered together."""

    before: dict[str, Tensor]
    """State of the minibatches that these are taken from."""
    steps: list[list[Kept]]
    coming: Future[list[list[Fetched]]]
    gathered: list[list[Fetched]] | None = None
    num_used: int = 0
    """Steps handed over."""


class Feed:
    """The minibatches of one step after another; to be used as a context, for it may have a thread.

    It looks ahead if minibatches are large, but not where the model, as it is then, has a say in them.
    """

    def __init__(
        self,
        minibatches: Minibatches,
        samples: Samples,
        class_weights: Tensor | None,
        num_minibatches: Callable[[int], int],
        *,
        batch_size: int,
        asks_the_model: bool,
        ranks: Ranks,
    ) -> None:
        """`num_minibatches` of each step, counted from 0, none after the last; `class_weights` of each sample."""
        self._minibatches = minibatches
        self._samples = samples
        self._class_weights = class_weights
        self._num_minibatches = num_minibatches
        minibatch_bytes = batch_size * samples.features[:1].nbytes
        self._size = 1
        """Steps of the next block: few at first, so that the model has not long to wait."""
        self._most_ahead = max(1, _AHEAD_BYTES // max(1, minibatch_bytes * num_minibatches(0)))
        self._asks_the_model = asks_the_model
        self._ranks = ranks
        self._thread: ThreadPoolExecutor | None = None
        if minibatch_bytes >= _WORTH_A_THREAD_BYTES and not asks_the_model:
            self._thread = ThreadPoolExecutor(1, thread_name_prefix="samples")
        self._step = 0
        """The next step to be taken from the minibatches."""
        self._now: _Block | None = None
        self._next: _Block | None = None

    def __enter__(self) -> Feed:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._thread is not None:
            self._thread.shutdown(wait=True, cancel_futures=True)

    def next_step(self) -> list[Fetched]:
        """The minibatches of the next step. If asking the model raises, the state is as it was."""
        if self._thread is None:
            return [self._gathered(each) for each in self._taken_or_restored()]
        if self._now is None or self._now.num_used == len(self._now.steps):
            self._now, self._next = self._next or self._begun(self._thread), None
        if self._next is None and self._num_minibatches(self._step):
            self._next = self._begun(self._thread)
        block = self._now
        if block.gathered is None:
            # what the thread has not begun is done sooner here: it may be waiting for a core
            block.gathered = self._all_of(block.steps) if block.coming.cancel() else block.coming.result()
        block.num_used += 1
        return block.gathered[block.num_used - 1]

    def state(self) -> tuple[dict[str, Tensor], int]:
        """State of the minibatches, and how many steps have been handed over since."""
        if self._now is None:
            return self._minibatches.state(), 0
        return self._now.before, self._now.num_used

    def restore(self, state: Mapping[str, Tensor], num_used: int, step: int) -> None:
        """Go on from there; `step` is the next one."""
        self._minibatches.restore(state)
        self._step = step - num_used
        for _ in range(num_used):
            self._taken()

    def _begun(self, thread: ThreadPoolExecutor) -> _Block:
        before, steps = self._minibatches.state(), list[list[Kept]]()
        size, self._size = self._size, min(2 * self._size, self._most_ahead)
        while len(steps) < size and self._num_minibatches(self._step):
            steps.append(self._taken())
        return _Block(before, steps, thread.submit(self._all_of, steps))

    def _all_of(self, steps: list[list[Kept]]) -> list[list[Fetched]]:
        return [[self._gathered(each) for each in step] for step in steps]

    def _gathered(self, minibatch: Kept) -> Fetched:
        (chosen, weights), factor = self._ranks.part(minibatch)
        return Fetched(
            self._samples.features_at(chosen),
            self._samples.targets_at(chosen),
            None if weights is None else weights.to(self._samples.device),
            _weight(minibatch),
            factor,
        )

    def _taken_or_restored(self) -> list[Kept]:
        if not self._asks_the_model:
            return self._taken()
        before = self._minibatches.state()
        try:
            return self._taken()
        except BaseException:
            self._minibatches.restore(before)
            raise

    def _taken(self) -> list[Kept]:
        taken = [self._minibatches.take() for _ in range(self._num_minibatches(self._step))]
        self._step += 1
        return taken if self._class_weights is None else [_weighed(each, self._class_weights) for each in taken]


def _weighed(minibatch: Kept, class_weights: Tensor) -> Kept:
    by_class = class_weights[minibatch.chosen]
    return Kept(minibatch.chosen, by_class if minibatch.weights is None else by_class * minibatch.weights)


def _weight(minibatch: Kept) -> float:
    return float(len(minibatch.chosen)) if minibatch.weights is None else float(minibatch.weights.sum())
