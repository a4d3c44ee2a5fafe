"""The torch executor as `twinclock` finds it by its entry point `real`."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import BaseModel

from real import active as active_link
from real import brought
from real.active import check_links
from real.config import RealConfig, real_section
from twinclock.allocator import Allocator
from twinclock.cluster import device_names
from twinclock.config import Config
from twinclock.dataset import TableConfig, load_table
from twinclock.errors import ConfigError, DataError
from twinclock.executor import Executor
from twinclock.faults import FaultsConfig
from twinclock.folder import FolderConfig
from twinclock.graph import Json
from twinclock.stages import Context
from twinclock.stream import ClockTime, RecordedStream, Stream
from twinclock.watch import Watcher

section: type[BaseModel] = RealConfig
is_resumable = True


def unsupported(config: Config) -> list[str]:
    """What can't be run for real: what is only modelled, classes that aren't there."""
    device = real_section(config).device
    problems = []
    if not isinstance(config.data, TableConfig | FolderConfig):
        problems.append(f"data.kind: got {config.data.kind}, whose samples have no features; expected table or folder")
    if config.cluster.pools is not None:
        problems.append("cluster.pools: the devices of a real run are those that are there; expected cluster.devices")
    if config.cluster.jobs_per_device > 1:
        problems.append(f"cluster.jobs_per_device: got {config.cluster.jobs_per_device}, expected 1")
    if config.cluster.device.speed != 1.0:
        problems.append(f"cluster.device.speed: got {config.cluster.device.speed:g}, which can only be simulated")
    if config.cluster.device.spot is not None:
        problems.append("cluster.device.spot: that a device is reclaimed can only be simulated; expected null")
    if config.training.precision == "fp16" and (device == "cpu" or (device == "auto" and not num_cuda_devices())):
        problems.append("training.precision: got fp16, which needs a CUDA device; expected fp32 or bf16 on the CPU")
    return [*problems, *_faults_not_injected(config.faults), *brought.problems(config)]


def _faults_not_injected(faults: FaultsConfig) -> list[str]:
    """What a fault plan asks for and nobody can make happen here."""
    problems = []
    if faults.device_shape != 1.0:
        got = f"faults.device_shape: got {faults.device_shape:g}"
        problems.append(f"{got}, and a real run does not know how old its devices are; expected 1")
    if faults.stragglers.share > 0:
        got = f"faults.stragglers.share: got {faults.stragglers.share:g}"
        problems.append(f"{got}, and real devices are as fast as they are; expected 0")
    if faults.nodes is not None:
        problems.append("faults.nodes: that a node fails can only be simulated; expected null")
    return problems


def open_stream(config: Config) -> Stream:
    """The timestamps of the data set."""
    if isinstance(config.data, FolderConfig):
        if not config.data.folder.is_dir():
            raise DataError(f"{config.data.path}: no such folder, expected one that files of samples come into")
        return RecordedStream(np.empty(0))  # nothing yet: what comes will land in the folder of the run
    if not isinstance(config.data, TableConfig):
        raise ConfigError(f"{config.name}: data.kind: got {config.data.kind}, expected table or folder")
    return load_table(config.data).stream()


def devices(config: Config) -> tuple[str, ...]:
    """Names of the devices that are used: CUDA devices, or slots on the CPU where there is none."""
    wanted = config.cluster.devices
    kind = real_section(config).device
    num_cuda = 0 if kind == "cpu" else num_cuda_devices()
    if kind == "cuda" or num_cuda:
        if num_cuda < wanted:
            raise ConfigError(f"{config.name}: cluster.devices: got {wanted}, but there are {num_cuda} CUDA devices")
        return device_names("cuda", wanted)
    return device_names("cpu", wanted)


def notes(config: Config) -> Mapping[str, Any]:
    """Which kind of device the run used."""
    return {"devices": list(devices(config))}


def open(
    context: Context,
    allocator: Allocator,
    *,
    pipeline: str,
    folder: Path | None,
    from_clock: ClockTime,
    watcher: Watcher,
) -> Executor:
    """An executor with one worker process per device for one run."""
    from real.executor import RealExecutor
    from real.operations import bodies
    from real.pool import WorkerPool
    from real.worker import worker_main

    if folder is None:
        raise ConfigError("a real run needs a folder")
    check_links(folder)
    config = context.config
    workers = WorkerPool(worker_main, devices(config), (str(folder), config))
    return RealExecutor(
        {pipeline: bodies(context, folder)}, allocator, workers, watcher, from_clock, real_section(config).grace
    )


def restore(folder: Path, registers: Mapping[str, Json]) -> None:
    """Let the link to the active model lead where the journal says."""
    if "active_model" in registers:
        active = registers["active_model"]
        active_link.restore(folder, None if active is None else active["trigger"])


def num_cuda_devices() -> int:
    """CUDA devices that this process sees. Torch, a second to import, is asked only where there is an NVIDIA driver."""
    if not Path("/proc/driver/nvidia").exists() and not Path("/dev/nvidiactl").exists():
        return 0
    import torch

    return torch.cuda.device_count()
