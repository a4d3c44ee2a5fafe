"""One training on several devices: the ranks that do it together, one in the worker of each device.

All ranks hold the same model. Of every global minibatch each takes a slice, and the gradients are summed, so that a
step is that of one device with the whole minibatch. Rank 0 reports, keeps checkpoints and leaves the model.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
import torch.distributed as dist

_PEER_LOST = ("gloo", "NCCL", "Connection closed by peer", "Connection reset by peer")
"""What torch says, in errors of no type of their own, if another rank does not answer."""


class PeerLostError(Exception):
    """Another rank of the same training has failed or died; what happened, it says, or its death does."""


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


ALONE = Ranks()
"""The ranks of a training on one device."""


@contextmanager
def joined(ranks: Ranks, rendezvous: str, device: str) -> Iterator[None]:
    """The ranks find each other by a file that all see and that is not there before; gloo, on CUDA nccl beside it.

    Waits for all. PeerLostError if the work inside ends because another rank is gone.
    """
    if ranks.size == 1:
        yield
        return
    backend = "cpu:gloo,cuda:nccl" if device.startswith("cuda") else "gloo"
    try:
        if device.startswith("cuda"):
            torch.cuda.set_device(device)
        dist.init_process_group(backend, init_method=f"file://{rendezvous}", rank=ranks.rank, world_size=ranks.size)
        yield
    except (RuntimeError, dist.DistError) as error:
        if isinstance(error, dist.DistError) or any(each in str(error) for each in _PEER_LOST):
            raise PeerLostError(
                f"another rank of the training is gone ({' '.join(str(error).split())[:200]})"
            ) from error
        raise
    finally:
        if dist.is_initialized():
            dist.destroy_process_group()  # a rank that waits for this one hears of its end
