"""Placement: which of the free devices a job gets.

All devices of a job are of one pool. Within the pool they are of one node, if one has enough; else of as few nodes
as possible, and on devices with enough memory for it. A job is placed on what is free now: it does not wait for a
better place. Since none waits, a short evaluation could take a fast device a moment before a long training asks for it,
so `fastest` looks at who asks.
What each policy does is in `PLACEMENTS`. Ties go to the pool that is named first.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TypeAlias

from twinclock.cluster import ClusterConfig, Device, Placing, devices_of
from twinclock.messages import Acquire

PLACEMENTS: Mapping[Placing, str] = {
    "first_fit": """The first pool that has enough free devices.

    Within the pool the first node that has enough.
    """,
    "best_fit": """The pool with the fewest free devices that are enough, so that large gaps stay whole.

    Within the pool likewise the node.
    """,
    "fastest": """The pool with the fastest devices, of those that have enough free; for an evaluation the slowest.

    It does not wait for a faster one that is busy. An evaluation would be faster there, too, but a training that asks
    a moment later would have to do with what is left.
    """,
    "cheapest": """The pool with the lowest price an hour, of those that have enough free.

    One without a price counts as free of charge. It does not wait for a cheaper one that is busy.
    """,
}
"""What each policy does: one line, and then exactly."""

Place: TypeAlias = Callable[[Sequence[str], int, Acquire], tuple[str, ...] | None]
"""(names of the free devices in order, how many are needed, for what) → those that it gets; None if none fit."""
Memory: TypeAlias = Callable[[Acquire], float]
"""Bytes that a job takes on each of its devices."""
_CAN_BE_SLOW = "evaluation"
"""The queue of work that nothing waits for, but in the variant `sequential`."""


def placing(cluster: ClusterConfig, names: Sequence[str], memory_bytes: Memory) -> Place | None:
    """The placement policy of a cluster whose devices have these names; None where all devices are alike."""
    if cluster.pools is None:
        return None
    how = cluster.placement
    known = {device.name: device for device in devices_of(cluster, names)}
    room_bytes = {name: cluster.room_bytes(device.kind) for name, device in known.items()}

    def place(free: Sequence[str], needed: int, ask: Acquire) -> tuple[str, ...] | None:
        wanted_bytes = memory_bytes(ask)
        roomy = [known[name] for name in free if wanted_bytes <= room_bytes[name]]
        pools = _grouped(roomy, lambda device: device.pool)
        fitting = [pool for pool in pools if len(pool) >= needed]
        if not fitting:
            return None
        nodes = _grouped(_preferred_pool(how, fitting, ask.queue), lambda device: str(device.node))
        wide = [node for node in nodes if len(node) >= needed]
        if wide:
            chosen = min(wide, key=len) if how == "best_fit" else wide[0]
        else:
            chosen = [device for node in sorted(nodes, key=len, reverse=True) for device in node]
        return tuple(device.name for device in chosen[:needed])

    return place


def _preferred_pool(how: Placing, pools: Sequence[list[Device]], queue: str) -> list[Device]:
    match how:
        case "first_fit":
            return pools[0]
        case "best_fit":
            return min(pools, key=len)
        case "fastest" if queue == _CAN_BE_SLOW:
            return min(pools, key=lambda pool: pool[0].kind.speed)
        case "fastest":
            return max(pools, key=lambda pool: pool[0].kind.speed)
        case "cheapest":
            return min(pools, key=lambda pool: pool[0].kind.usd_per_hour or 0.0)


def _grouped(devices: Sequence[Device], key: Callable[[Device], str]) -> list[list[Device]]:
    """The devices by key, in the order in which keys first occur."""
    groups: dict[str, list[Device]] = {}
    for device in devices:
        groups.setdefault(key(device), []).append(device)
    return list(groups.values())
