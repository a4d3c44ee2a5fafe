"""What a run used of its cluster: seconds, money and energy of each pool, busy and idle.

Busy is a device while it is held, idle for the rest of the makespan: both together are all devices times the
makespan, and so for money and energy.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import polars as pl

from twinclock.cluster import ClusterConfig

_SECONDS_PER_HOUR = 3600.0

SCHEMA = {
    "pool": pl.String,
    "devices": pl.Int64,
    "busy_s": pl.Float64,
    "idle_s": pl.Float64,
    "busy_usd": pl.Float64,
    "idle_usd": pl.Float64,
    "busy_joules": pl.Float64,
    "idle_joules": pl.Float64,
}


def usage(cluster: ClusterConfig, holdings: pl.DataFrame, makespan_s: float | None) -> pl.DataFrame:
    """One row for each pool: device-seconds, USD and joules, null where no price or power is given.

    `holdings`: the table `devices` of a run. Without pools there is one row, whose `pool` is null. No row at all while
    the run has no makespan: nobody knows then how long its devices will have been idle.
    """
    if makespan_s is None:
        return pl.DataFrame([], SCHEMA)
    held = holdings.filter(pl.col("resource") == "device").select(
        pl.col("unit").str.split(":").list.first().alias("pool"),
        (pl.col("released_s") - pl.col("granted_s")).alias("busy_s"),
    )
    if cluster.pools is None:
        pools: list[tuple[str | None, int, Any]] = [(None, cluster.devices, cluster.device)]
        busy: dict[str | None, float] = {None: float(held["busy_s"].sum())}
    else:
        pools = [(pool.name, pool.num_devices, pool.device) for pool in cluster.pools]
        busy = dict(held.group_by("pool").agg(pl.col("busy_s").sum()).iter_rows())
    rows = []
    for name, num_devices, device in pools:
        busy_s = busy.get(name, 0.0)
        idle_s = num_devices * makespan_s - busy_s
        price = None if device.usd_per_hour is None else device.usd_per_hour / _SECONDS_PER_HOUR
        rows.append(
            {
                "pool": name,
                "devices": num_devices,
                "busy_s": busy_s,
                "idle_s": idle_s,
                "busy_usd": _times(busy_s, price),
                "idle_usd": _times(idle_s, price),
                "busy_joules": _times(busy_s, device.busy_watts),
                "idle_joules": _times(idle_s, device.idle_watts),
            }
        )
    return pl.DataFrame(rows, SCHEMA)


def totals(used: pl.DataFrame) -> dict[str, float | None]:
    """`utilisation` (busy share of all device-seconds), `usd`, `busy_usd` and `joules`, over all pools.

    Null is what no pool tells; pools that don't tell add nothing, and are named by `left_out`.
    """
    busy_s, idle_s = float(used["busy_s"].sum()), float(used["idle_s"].sum())
    return {
        "utilisation": busy_s / (busy_s + idle_s) if busy_s + idle_s > 0 else None,
        "usd": _known_sum(used, "busy_usd", "idle_usd"),
        "busy_usd": _known_sum(used, "busy_usd"),
        "joules": _known_sum(used, "busy_joules", "idle_joules"),
    }


def left_out(used: pl.DataFrame) -> dict[str, list[str]]:
    """Pools that a total has no figure of, while it has of others: names under `usd_left_out` and `joules_left_out`."""
    return {
        f"{total}_left_out": used.filter(pl.col(column).is_null().and_(pl.col(column).is_not_null().any()))[
            "pool"
        ].to_list()
        for total, column in (("usd", "busy_usd"), ("joules", "busy_joules"))
    }


def left_out_lines(pools: Mapping[str, Sequence[str]]) -> Iterator[str]:
    """What `left_out` has found, or a summary with it, in words."""
    for total, figure, keys in (("usd", "money", "usd_per_hour"), ("joules", "energy", "idle_watts and busy_watts")):
        if names := pools[f"{total}_left_out"]:
            which = f"pool {names[0]}, which has" if len(names) == 1 else f"the pools {', '.join(names)}, which have"
            yield f"{figure} leaves out {which} no {keys}: more was spent"


def _times(seconds: float, rate: float | None) -> float | None:
    return None if rate is None else seconds * rate


def _known_sum(used: pl.DataFrame, *columns: str) -> float | None:
    known = pl.concat([used[column] for column in columns]).drop_nulls()
    return None if known.is_empty() else float(known.sum())
