"""What a job takes of its device: memory at its peak, and how busy the device is."""

from __future__ import annotations

import resource
import sys
import threading
import time
from typing import NamedTuple

_SAMPLE_EVERY_S = 0.5
_RSS_UNIT_BYTES = 1 if sys.platform == "darwin" else 1024


class Usage(NamedTuple):
    """Of one job."""

    peak_memory_bytes: int
    """CUDA: what torch had allocated for the job at its peak. CPU: the worker's resident memory at its peak so far."""
    utilisation: float | None
    """CUDA: mean of NVML's share of time in which the GPU computed; None without nvidia-ml-py. CPU: the worker's CPU
    time as a share of the job's time; with several threads it can be above 1."""


class Meter:
    """Measures from when it is made until it is read, in the worker, on the device as the worker calls it."""

    def __init__(self, device: str) -> None:
        self._gpu = _Gpu(device) if device.startswith("cuda") else None
        self._began_s = time.perf_counter()
        self._cpu_s = time.process_time()

    def read(self) -> Usage:
        """What the job has taken until now. To be called once."""
        if self._gpu is not None:
            return self._gpu.read()
        elapsed_s, cpu_s = time.perf_counter() - self._began_s, time.process_time() - self._cpu_s
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * _RSS_UNIT_BYTES
        return Usage(peak, cpu_s / elapsed_s if elapsed_s > 0 else None)


class _Gpu:
    """Samples the utilisation in a thread."""

    def __init__(self, device: str) -> None:
        import torch

        self._device = torch.device(device)
        self._samples: list[int] = []
        self._over = threading.Event()
        torch.cuda.reset_peak_memory_stats(self._device)
        self._sampler = threading.Thread(target=self._sample, name="utilisation", daemon=True)
        self._sampler.start()

    def read(self) -> Usage:
        import torch

        self._over.set()
        self._sampler.join()
        mean = sum(self._samples) / len(self._samples) / 100.0 if self._samples else None
        return Usage(torch.cuda.max_memory_allocated(self._device), mean)

    def _sample(self) -> None:
        """Until the job is over, and once then; never, where NVML can't be asked."""
        import torch

        is_over = False
        while not is_over:
            is_over = self._over.wait(_SAMPLE_EVERY_S)
            try:
                self._samples.append(torch.cuda.utilization(self._device))
            except Exception:  # not installed, or not permitted: what it raises depends on the driver
                return
