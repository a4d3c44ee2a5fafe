"""One training on several devices: the ranks that do it together, one in the worker of each device.

All ranks hold the same model. Of every global minibatch each takes a slice, and the gradients are summed, so that a
step is that of one device with the whole minibatch. Rank 0 reports, keeps checkpoints and leaves the model.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from typing import NamedTuple, cast

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from real.downsampling import Kept

_PEER_LOST = ("gloo", "NCCL", "Connection closed by peer", "Connection reset by peer")
"""What torch says, in errors of no type of their own, if another rank does not answer."""


class PeerLostError(Exception):
    """Another rank of the same training has failed or died; what happened, it says, or its death does."""


class Part(NamedTuple):
    """What a rank does of a minibatch."""

    minibatch: Kept
    factor: float
    """The mean of the ranks' losses, each times its factor, is the loss of the whole; so are the gradients. It is 0 for
    a rank that has nothing to do; that one goes through the motions with a sample, so that the others need not wait."""


@dataclass(frozen=True, slots=True)
class Ranks:
    """Who takes part in a training, and which of them this process is."""

    rank: int = 0
    size: int = 1

    @property
    def is_first(self) -> bool:
        """Is it the one that reports, keeps checkpoints and leaves the model?"""
        return self.rank == 0

    def agreed(self, question: Callable[[], bool]) -> Callable[[], bool]:
        """The same yes or no on all ranks: yes if any says yes. All ranks have to ask equally often."""
        if self.size == 1:
            return question

        def asked() -> bool:
            answer = torch.tensor(int(question()))
            dist.all_reduce(answer, dist.ReduceOp.MAX)
            return bool(answer)

        return asked

    def sharing(self, model: nn.Module) -> nn.Module:
        """The model as to be called in a step: going backward then gives every rank the mean of all ranks' gradients.

        All ranks go on with the weights of rank 0.
        """
        return model if self.size == 1 else DistributedDataParallel(model)

    def part(self, minibatch: Kept) -> Part:
        """The part of this rank of a minibatch. All ranks have to call it with the same one."""
        if self.size == 1:
            return Part(minibatch, 1.0)
        num_samples = len(minibatch.chosen)
        first, stop = (rank * num_samples // self.size for rank in (self.rank, self.rank + 1))
        # where there are fewer samples than ranks: some models can't do with none
        mine = slice(first, stop) if first < stop else slice(1)
        share = (stop - first) / num_samples
        weights = minibatch.weights
        if weights is not None:
            share = float(weights[first:stop].sum() / weights.sum())
            weights = weights[mine]
        return Part(Kept(minibatch.chosen[mine], weights), share * self.size)

    def bringing_together(self, stepping: object, is_last: bool) -> AbstractContextManager[None]:
        """To go through the model in, forward and backward; gradients come together in the last minibatch of a step."""
        if isinstance(stepping, DistributedDataParallel) and not is_last:
            return cast(AbstractContextManager[None], stepping.no_sync())
        return nullcontext()

    def first(self, value: float) -> float:
        """What rank 0 has in its place: on GPUs, the same sum can differ in the last digits."""
        if self.size == 1:
            return value
        shared = torch.tensor(value, dtype=torch.float64)
        dist.broadcast(shared, 0)
        return float(shared)

    def mean(self, values: Tensor) -> Tensor:
        """The mean over all ranks, number by number."""
        if self.size > 1:
            dist.all_reduce(values)
            values /= self.size
        return values

    def as_first(self, kept: Kept) -> Kept:
        """The same of what a model has chosen; its tensors are of the CPU."""
        if self.size > 1:
            for tensor in (kept.chosen, kept.weights):
                if tensor is not None:
                    dist.broadcast(tensor, 0)
        return kept


ALONE = Ranks()
"""The ranks of a training on one device."""


@contextmanager
def joined(ranks: Ranks, rendezvous: str, device: str) -> Iterator[None]:
    """With more than one rank, be in a process group; see `process_group`.

    PeerLostError if the work inside ends because another rank is gone.
    """
    if ranks.size == 1:
        yield
        return
    try:
        with process_group(ranks, rendezvous, device):
            yield
    except (RuntimeError, dist.DistError) as error:
        if isinstance(error, dist.DistError) or any(each in str(error) for each in _PEER_LOST):
            told = " ".join(str(error).split())[:200]
            raise PeerLostError(f"another rank of the training is gone ({told})") from error
        raise


@contextmanager
def process_group(ranks: Ranks, rendezvous: str, device: str) -> Iterator[None]:
    """Find each other by a file that all ranks see and that is not there before; by gloo, on CUDA by nccl beside it.

    Waits for all.
    """
    is_cuda = device.startswith("cuda")
    if is_cuda:
        torch.cuda.set_device(device)
    dist.init_process_group(
        "cpu:gloo,cuda:nccl" if is_cuda else "gloo",
        init_method=f"file://{rendezvous}",
        rank=ranks.rank,
        world_size=ranks.size,
    )
    try:
        yield
    finally:
        dist.destroy_process_group()  # a rank that waits for this one hears of its end
