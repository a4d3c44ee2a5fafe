"""Minibatches on their way to the device: the next one is gathered while the model computes on this one."""

from __future__ import annotations

from concurrent.futures import Future, ThreadPoolExecutor
from types import TracebackType
from typing import NamedTuple

from torch import Tensor

from real.downsampling import Kept
from real.training.samples import Samples

_WORTH_A_THREAD_BYTES = 2**18
"""Size of a minibatch from which on gathering it takes longer than handing it to a thread."""


class Fetched(NamedTuple):
    """A minibatch on the device."""

    inputs: Tensor
    targets: Tensor
    weights: Tensor | None
    weight: float
    """Σ weight of its samples."""


class Fetcher:
    """Fetches minibatches one after another; to be used as a context, for it may have a thread."""

    def __init__(self, samples: Samples, *, in_thread: bool) -> None:
        """`in_thread`: gather in a thread of its own what is known to follow."""
        self._samples = samples
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="samples") if in_thread else None
        self._ahead: tuple[Kept, Future[Fetched]] | None = None

    def __enter__(self) -> Fetcher:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._thread is not None:
            self._thread.shutdown(wait=True, cancel_futures=True)

    def fetch(self, minibatch: Kept, following: Kept | None) -> Fetched:
        """A minibatch; the one that follows it, if that is known, is gathered meanwhile."""
        ahead, self._ahead = self._ahead, None
        # what the thread has not begun is done sooner here: it may be waiting for a core
        if ahead is not None and ahead[0] is minibatch and not ahead[1].cancel():
            fetched = ahead[1].result()
        else:
            fetched = _gathered(self._samples, minibatch)
        if self._thread is not None and following is not None:
            self._ahead = following, self._thread.submit(_gathered, self._samples, following)
        return fetched


def is_worth_a_thread(samples: Samples, batch_size: int) -> bool:
    """Are minibatches large enough to be gathered while the model computes on the one before?"""
    return batch_size * samples.features[:1].nbytes >= _WORTH_A_THREAD_BYTES


def weight_of(minibatch: Kept) -> float:
    """Σ weight of its samples."""
    return float(len(minibatch.chosen)) if minibatch.weights is None else float(minibatch.weights.sum())


def _gathered(samples: Samples, minibatch: Kept) -> Fetched:
    return Fetched(
        samples.features_at(minibatch.chosen),
        samples.targets_at(minibatch.chosen),
        None if minibatch.weights is None else minibatch.weights.to(samples.device),
        weight_of(minibatch),
    )
