"""The cluster as a user describes it: pools of equal devices on nodes, and what they cost.

A pool is one kind of device. A training on several devices gets them all from one pool, because its steps would
wait for the slowest; see `policies.placement` for which.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal, NamedTuple, TypeAlias

from pydantic import Field, model_validator

from twinclock.durations import Delay, Duration
from twinclock.section import ListOf, Name, Section, WrongKeyError

Discipline: TypeAlias = Literal["priority", "fifo", "shortest_first", "preemptive"]
Placing: TypeAlias = Literal["first_fit", "best_fit", "fastest", "cheapest"]


class SpotConfig(Section):
    """Capacity that is taken back when its owner needs it, device by device, and comes again."""

    lasts: Duration
    """Mean clock time (exponential) from when a device comes to the notice that it will be taken."""
    away: Duration
    """Mean clock time (exponential) from when it is taken to when it comes back."""
    notice: Delay = 120.0
    """Clock seconds from the notice to when it is taken."""


class DeviceConfig(Section):
    """A kind of device."""

    speed: float = Field(default=1.0, gt=0)
    """Throughput as a multiple of that of the device that `sim.costs` speaks of; simulated runs only."""
    usd_per_hour: float | None = Field(default=None, ge=0)
    """Price of having it, whether it computes or not; None: no money is reported."""
    idle_watts: float | None = Field(default=None, ge=0)
    """Power while it is not held; None: no energy is reported."""
    busy_watts: float | None = Field(default=None, ge=0)
    """Power while it is held."""
    memory_bytes: float | None = Field(default=None, gt=0)
    """Memory; None: any job fits. With several jobs on a device each may have an equal part of it."""
    spot: SpotConfig | None = None
    """It is spot capacity, in simulated runs; None: it is there all the time."""

    @model_validator(mode="after")
    def _both_powers(self) -> DeviceConfig:
        if (self.idle_watts is None) != (self.busy_watts is None):
            missing = "idle_watts" if self.idle_watts is None else "busy_watts"
            raise WrongKeyError(missing, "missing, and energy takes both idle_watts and busy_watts")
        return self


class PoolConfig(Section):
    """Devices of one kind."""

    name: Name
    """Of your own; its devices are `name:0`, `name:1`, …, node by node."""
    devices_per_node: int = Field(gt=0, le=10_000)
    nodes: int = Field(default=1, gt=0, le=10_000)
    device: DeviceConfig = DeviceConfig()

    @property
    def num_devices(self) -> int:
        """On all nodes."""
        return self.devices_per_node * self.nodes


class PatienceConfig(Section):
    """How long the queues that rank behind training wait before they go first."""

    evaluation: Duration = 600.0
    """Clock seconds."""


class ClusterConfig(Section):
    """What computes: some devices of one kind on one node, or pools."""

    devices: int = Field(default=1, gt=0, le=1_000_000)
    """Where there are no pools."""
    device: DeviceConfig = DeviceConfig()
    """What each of `devices` is."""
    pools: ListOf[PoolConfig] | None = Field(default=None, min_length=1)
    """Instead of `devices` and `device`; simulated runs only."""
    placement: Placing = "first_fit"
    """Which free devices a job gets."""
    discipline: Discipline = "priority"
    """Which of the jobs that wait for devices is next."""
    patience: PatienceConfig = PatienceConfig()
    """For the discipline `priority`."""
    jobs_per_device: int = Field(default=1, gt=0, le=64)
    """So many jobs may have a device at once; simulated runs only."""

    @model_validator(mode="after")
    def _patience_is_asked_for(self) -> ClusterConfig:
        if self.discipline != "priority" and self.patience != PatienceConfig():
            raise WrongKeyError("patience", f"only for discipline priority, got discipline {self.discipline}")
        return self

    @model_validator(mode="after")
    def _one_description(self) -> ClusterConfig:
        if self.pools is None:
            return self
        for key in ("devices", "device"):
            if getattr(self, key) != type(self).model_fields[key].default:
                raise WrongKeyError(key, "not beside pools, each of which says what its devices are")
        names = [pool.name for pool in self.pools]
        for number, name in enumerate(names):
            if name in names[:number]:
                raise WrongKeyError(f"pools.{number}.name", f"got {name} twice, expected each name once")
        return self

    @property
    def num_devices(self) -> int:
        """Of all kinds."""
        return self.devices if self.pools is None else sum(pool.num_devices for pool in self.pools)

    def room_bytes(self, device: DeviceConfig) -> float:
        """Memory that a job may have on a device; infinite if the device doesn't say what it has."""
        return math.inf if device.memory_bytes is None else device.memory_bytes / self.jobs_per_device

    def most_at_once(self, memory_bytes: float = 0.0) -> int:
        """Devices that one job can get: those of the largest pool with so much memory for it on each device."""
        if self.pools is None:
            return self.devices if memory_bytes <= self.room_bytes(self.device) else 0
        return max((p.num_devices for p in self.pools if memory_bytes <= self.room_bytes(p.device)), default=0)


class Device(NamedTuple):
    """One device of a run."""

    name: str
    pool: str
    node: int
    """Counted from 0 in each pool."""
    kind: DeviceConfig


def device_names(kind: str, number: int) -> tuple[str, ...]:
    """Names for `number` devices of a kind, or of a pool: `cpu:0`, `cpu:1`, …"""
    return tuple(f"{kind}:{index}" for index in range(number))


def modelled_devices(cluster: ClusterConfig) -> tuple[Device, ...]:
    """The devices of a simulated run: `sim:0`, `sim:1`, …, or those of the pools."""
    if cluster.pools is None:
        return devices_of(cluster, device_names("sim", cluster.devices))
    return devices_of(cluster, [name for pool in cluster.pools for name in device_names(pool.name, pool.num_devices)])


def devices_of(cluster: ClusterConfig, names: Sequence[str]) -> tuple[Device, ...]:
    """What each device is; `names` are those that the executor gave them, in the order of the pools."""
    if cluster.pools is None:
        return tuple(Device(name, name.partition(":")[0], 0, cluster.device) for name in names)
    places = [
        (pool.name, index // pool.devices_per_node, pool.device)
        for pool in cluster.pools
        for index in range(pool.num_devices)
    ]
    return tuple(Device(name, *place) for name, place in zip(names, places, strict=True))
