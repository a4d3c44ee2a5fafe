"""The torch executor on a Ray cluster, as `twinclock` finds it by its entry point `ray`."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from real import plugin
from real.config import real_section
from real.ray import cluster
from twinclock.allocator import Allocator
from twinclock.cluster import device_names
from twinclock.config import Config
from twinclock.errors import ConfigError
from twinclock.executor import Executor
from twinclock.stages import Context
from twinclock.stream import ClockTime
from twinclock.watch import Watcher

section = plugin.section
is_resumable = True
environment = (cluster.ADDRESS,)
unsupported = plugin.unsupported
open_stream = plugin.open_stream
restore = plugin.restore


def devices(config: Config) -> tuple[str, ...]:
    """Names of the devices that are asked of the cluster; whether it has them is known when it is joined."""
    return device_names(_kind(config), config.cluster.devices)


def notes(config: Config) -> Mapping[str, Any]:
    """Which devices the run asked for."""
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
    """An executor whose workers are actors of the cluster at `RAY_ADDRESS`, or of one on this machine for the run.

    ConfigError if Ray is not installed, no cluster answers, or it has GPUs and nobody says whether to use them.
    """
    from real.executor import RealExecutor
    from real.operations import bodies
    from real.ray.pool import RayPool
    from real.worker import serve

    if folder is None:
        raise ConfigError("a real run needs a folder")
    config = context.config
    needs = real_section(config).ray
    leave = cluster.join(math.ceil(needs.cpus_per_device * config.cluster.devices))
    try:
        _ensure_gpus_are_wanted(config)
        arguments = (str(folder.resolve()), config)
        workers = RayPool(serve, devices(config), arguments, folder=folder, needs=needs, at_end=leave)
    except BaseException:
        leave()
        raise
    run = bodies(context, folder)
    return RealExecutor({pipeline: run}, allocator, workers, watcher, from_clock, real_section(config).grace)


def _kind(config: Config) -> str:
    kind = real_section(config).device
    if kind == "auto":
        return "cuda" if plugin.num_cuda_devices() else "cpu"
    return kind


def _ensure_gpus_are_wanted(config: Config) -> None:
    """The cluster is not asked before it is joined, and a run does not leave its GPUs idle without a word."""
    num_gpus = cluster.imported().cluster_resources().get("GPU", 0.0)
    if num_gpus and real_section(config).device == "auto" and _kind(config) == "cpu":
        raise ConfigError(
            f"{config.name}: real.device: got auto, and this machine has no CUDA device while the Ray cluster has "
            f"{num_gpus:g} GPUs; expected cuda or cpu"
        )
