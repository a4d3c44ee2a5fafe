"""How the devices of a cluster are shared out between the jobs of its pipelines: order, place, memory."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from twinclock.allocator import Sharing
from twinclock.cluster import ClusterConfig
from twinclock.config import Config
from twinclock.messages import Acquire
from twinclock.policies.placement import placing
from twinclock.policies.queueing import ranking

DEVICE = "device"
"""The resource that all pipelines of a cluster share."""


def scheduling(cluster: ClusterConfig, devices: Sequence[str], configs: Mapping[str, Config]) -> dict[str, Sharing]:
    """Resource → how its units are shared out, for pipelines on these devices."""

    def memory_bytes(ask: Acquire) -> float:
        config = configs[ask.pipeline]
        return config.training.memory_bytes if ask.queue == "training" else config.evaluation.memory_bytes

    rank = ranking(cluster, {pipeline: config.training.epochs for pipeline, config in configs.items()})
    return {DEVICE: Sharing(rank, placing(cluster, devices, memory_bytes), cluster.jobs_per_device)}
