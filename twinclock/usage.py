"""What a run used of its cluster: seconds, money and energy of each pool, busy, idle and down.

Busy is a device while it is held, down while its node is being repaired or it is reclaimed, idle for the rest of the
makespan: all three together are all devices times the makespan. What is down takes no energy. A failed node is paid for
as if it were idle, a reclaimed device is not.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import polars as pl

from twinclock.cluster import ClusterConfig

_SECONDS_PER_HOUR = 3600.0

SCHEMA = {
    "pool": pl.String,
    "devices": pl.Int64,
    "busy_s": pl.Float64,
    "idle_s": pl.Float64,
    "down_s": pl.Float64,
    "busy_usd": pl.Float64,
    "idle_usd": pl.Float64,
    "down_usd": pl.Float64,
    "busy_joules": pl.Float64,
    "idle_joules": pl.Float64,
}


def usage(
    cluster: ClusterConfig, holdings: pl.DataFrame, outages: pl.DataFrame, makespan_s: float | None
) -> pl.DataFrame:
    """One row for each pool: device-seconds, USD and joules, null where no price or power is given.

    `holdings`: those of the devices of a run, with `busy_s` of `occupied`; `outages`: its table. Without pools there is
    one row, whose `pool` is null. No row at all while the run has no makespan: nobody knows then how long its devices
    will have been idle.
    """
    if makespan_s is None:
        return pl.DataFrame([], SCHEMA)
    held = holdings.select(pl.col("unit").str.split(":").list.first().alias("pool"), "busy_s")
    if cluster.pools is None:
        pools: list[tuple[str | None, int, Any]] = [(None, cluster.devices, cluster.device)]
        busy: dict[str | None, float] = {None: float(held["busy_s"].sum())}
    else:
        pools = [(pool.name, pool.num_devices, pool.device) for pool in cluster.pools]
        busy = dict(held.group_by("pool").agg(pl.col("busy_s").sum()).iter_rows())
    rows = []
    for name, num_devices, device in pools:
        busy_s = busy.get(name, 0.0)
        gone = outages if name is None else outages.filter(pl.col("device").str.starts_with(f"{name}:"))
        down_s, unpaid_s = _away(gone, makespan_s)
        idle_s = num_devices * makespan_s - busy_s - down_s
        price = None if device.usd_per_hour is None else device.usd_per_hour / _SECONDS_PER_HOUR
        rows.append(
            {
                "pool": name,
                "devices": num_devices,
                "busy_s": busy_s,
                "idle_s": idle_s,
                "down_s": down_s,
                "busy_usd": _times(busy_s, price),
                "idle_usd": _times(idle_s, price),
                "down_usd": _times(down_s - unpaid_s, price),
                "busy_joules": _times(busy_s, device.busy_watts),
                "idle_joules": _times(idle_s, device.idle_watts),
            }
        )
    return pl.DataFrame(rows, SCHEMA)


def totals(used: pl.DataFrame) -> dict[str, float | None]:
    """`utilisation` (busy share of all device-seconds), `down_s`, `usd`, `busy_usd` and `joules`, over all pools.

    Null is what no pool tells; pools that don't tell add nothing, and are named by `left_out`.
    """
    busy_s, idle_s, down_s = (float(used[column].sum()) for column in ("busy_s", "idle_s", "down_s"))
    all_s = busy_s + idle_s + down_s
    return {
        "utilisation": busy_s / all_s if all_s > 0 else None,
        "down_s": down_s,
        "usd": _known_sum(used, "busy_usd", "idle_usd", "down_usd"),
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


def _away(outages: pl.DataFrame, makespan_s: float) -> tuple[float, float]:
    """Device-seconds within the makespan that devices were not there, and those that are not paid for."""
    down_s = unpaid_s = 0.0
    for _, gone in outages.group_by("device", maintain_order=True):
        down_s += _covered_s(gone.select("from_s", "until_s").iter_rows(), makespan_s)
        reclaimed = gone.filter(pl.col("cause") == "reclaimed")
        unpaid_s += _covered_s(reclaimed.select("from_s", "until_s").iter_rows(), makespan_s)
    return down_s, unpaid_s


def _covered_s(intervals: Iterable[tuple[float, ...]], makespan_s: float) -> float:
    """Seconds of [0, makespan) that lie in any of the intervals."""
    covered_s = reached_s = 0.0
    for from_s, until_s in sorted(intervals):
        end_s = min(until_s, makespan_s)
        covered_s += max(0.0, end_s - max(from_s, reached_s))
        reached_s = max(reached_s, end_s)
    return covered_s


def _times(seconds: float, rate: float | None) -> float | None:
    return None if rate is None else seconds * rate


def _known_sum(used: pl.DataFrame, *columns: str) -> float | None:
    known = pl.concat([used[column] for column in columns]).drop_nulls()
    return None if known.is_empty() else float(known.sum())
