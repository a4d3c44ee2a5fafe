"""Devices that are gone for a while: nodes that fail and are repaired, spot capacity that is reclaimed and comes back.

Both go on beside the pipelines, by the clock, whether the devices are used or not. None of it keeps a run alive but the
return of a device that somebody may be waiting for.
"""

from __future__ import annotations

from dataclasses import dataclass

from sim.executor import SimExecutor
from twinclock.cluster import ClusterConfig, SpotConfig, modelled_devices
from twinclock.faults import NodesConfig
from twinclock.luck import FaultPlan, life_s
from twinclock.messages import Outage


def begin_outages(executor: SimExecutor, cluster: ClusterConfig, plan: FaultPlan) -> None:
    """Let what is to be gone be gone, from now on."""
    devices = modelled_devices(cluster)
    if plan.faults.nodes is not None:
        nodes: dict[tuple[str, int], list[str]] = {}
        for device in devices:
            nodes.setdefault((device.pool, device.node), []).append(device.name)
        pools = list(dict.fromkeys(pool for pool, _ in nodes))
        for (pool, node), names in nodes.items():
            where = f"node {node}" if cluster.pools is None else f"node {node} of pool {pool}"
            _Node(executor, plan, plan.faults.nodes, tuple(names), where, (pools.index(pool), node)).live(0)
    for index, device in enumerate(devices):
        if device.kind.spot is not None:
            _Spot(executor, plan, device.kind.spot, device.name, index).live(0)


@dataclass(frozen=True, slots=True)
class _Node:
    """A node that fails again and again."""

    executor: SimExecutor
    plan: FaultPlan
    config: NodesConfig
    devices: tuple[str, ...]
    where: str
    key: tuple[int, int]
    """Of its draws: the number of its pool, and its own."""

    def live(self, number: int) -> None:
        """Until the failure after `number` repairs, and so on."""
        config, drawn = self.config, self.plan.outing_of_node(*self.key, number)
        away_s = config.repair * (drawn.away if config.repairs == "exponential" else 1.0)

        def fail() -> None:
            until_s = self.executor.now() + away_s
            self.executor.take_out(self.devices)
            outage = Outage(self.devices, "node_failed", None, until_s)
            self.executor.lose(outage, {"type": "NodeFailed", "message": f"{self.where} failed"})
            self.executor.later(away_s, come_back)

        def come_back() -> None:
            self.executor.bring_back(self.devices)
            self.live(number + 1)

        self.executor.meanwhile(life_s(config.mtbf, config.shape, drawn.there), fail)


@dataclass(frozen=True, slots=True)
class _Spot:
    """A device that is reclaimed again and again."""

    executor: SimExecutor
    plan: FaultPlan
    config: SpotConfig
    device: str
    index: int

    def live(self, number: int) -> None:
        """Until it is reclaimed for the `number`-th time, counted from 0, and so on."""
        config, drawn = self.config, self.plan.outing_of_device(self.index, number)
        away_s, devices, executor = config.away * drawn.away, (self.device,), self.executor

        def notice() -> None:
            noticed_s = executor.now()
            executor.take_out(devices)
            executor.give_notice(self.device, noticed_s + config.notice)
            executor.later(config.notice, lambda: reclaim(noticed_s))

        def reclaim(noticed_s: float) -> None:
            outage = Outage(devices, "reclaimed", noticed_s, executor.now() + away_s)
            executor.lose(outage, {"type": "DeviceReclaimed", "message": f"device {self.device} was reclaimed"})
            executor.later(away_s, come_back)

        def come_back() -> None:
            executor.bring_back(devices)
            self.live(number + 1)

        executor.meanwhile(config.lasts * drawn.there, notice)
