"""What a device that is out of memory has to say: how much was asked for, and who has the rest."""

from __future__ import annotations

import re
import traceback
from collections.abc import Iterator
from contextlib import contextmanager

import torch

from real.models import torch_device
from twinclock.errors import UserError

_ASKED = re.compile(r"[Tt]ried to allocate ([0-9.]+) (bytes|[KMGT]iB)")
_UNITS = {"bytes": 1, "KiB": 2**10, "MiB": 2**20, "GiB": 2**30, "TiB": 2**40}


class DeviceOutOfMemory(UserError):  # noqa: N818 - its name is what the table `faults` calls it, like WorkerDied
    """A device has not the memory that a job asks for; the message has the sizes and what may help."""


@contextmanager
def telling_of_memory(device: str, work: str) -> Iterator[None]:
    """DeviceOutOfMemory if the device runs out of memory; what the failed job had of it is then free again.

    `work` says what the job is about, as in "minibatches of 64 samples".
    """
    try:
        yield
    except RuntimeError as error:
        asked = _ASKED.search(str(error))
        if asked is None:
            raise
        told = _told(device, work, float(asked[1]) * _UNITS[asked[2]])
        traceback.clear_frames(error.__traceback__)  # they hold on to tensors
    else:
        return
    if torch_device(device).type == "cuda":
        torch.cuda.empty_cache()
    raise DeviceOutOfMemory(told)


def _told(device: str, work: str, asked_bytes: float) -> str:
    where = torch_device(device)
    if where.type == "cuda":
        free_bytes, total_bytes = torch.cuda.mem_get_info(where)
        used = f"torch uses {_size(torch.cuda.memory_allocated(where))}, "
        room = f"{used}{_size(free_bytes)} of {_size(total_bytes)} are free"
    else:
        room = "the machine has no more for this process"
    return (
        f"{device} is out of memory with {work}: asked for {_size(asked_bytes)}, {room}; try a smaller "
        "training.batch_size (training.accumulate gives as large steps), or training.precision bf16"
    )


def _size(num_bytes: float) -> str:
    for unit in ("GiB", "MiB", "KiB"):
        if num_bytes >= _UNITS[unit]:
            return f"{num_bytes / _UNITS[unit]:.2f} {unit}"
    return f"{num_bytes:.0f} bytes"
