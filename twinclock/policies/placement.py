"""Placement: which of the free devices a job gets.

All devices of a job are of one pool. Within the pool they are of one node, if one has enough; else of as few nodes
as possible. A job is placed on what is free now: it does not wait for a better place. Since none waits, a short
evaluation could take a fast device a moment before a long training asks for it, so `fastest` looks at who asks.
What each policy does is in `PLACEMENTS`. Ties go to the pool that is named first.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TypeAlias

from twinclock.cluster import ClusterConfig, Device, Placing, devices_of

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

Place: TypeAlias = Callable[[Sequence[str], int, str], tuple[str, ...] | None]
"""(names of the free devices in order, how many are needed, queue of who asks) → those that it gets; None if none fit.
"""
_CAN_BE_SLOW = "evaluation"
"""The queue of work that nothing waits for, but in the variant `sequential`."""


def placements(cluster: ClusterConfig, names: Sequence[str]) -> dict[str, Place]:
    """Resource → its placement policy, for devices of these names; none where all are alike."""
    return {} if cluster.pools is None else {"device": placing(cluster.placement, devices_of(cluster, names))}


def placing(how: Placing, devices: Sequence[Device]) -> Place:
    """The placement policy `how` for a cluster of these devices."""
    known = {device.name: device for device in devices}

    def place(free: Sequence[str], needed: int, queue: str) -> tuple[str, ...] | None:
        pools = _grouped([known[name] for name in free], lambda device: device.pool)
        fitting = [pool for pool in pools if len(pool) >= needed]
        if not fitting:
            return None
        nodes = _grouped(_preferred_pool(how, fitting, queue), lambda device: str(device.node))
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
