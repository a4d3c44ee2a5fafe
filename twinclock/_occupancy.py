"""How many devices each kind of work has over the clock, how many are idle or down, and what all of them cost."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import polars as pl

from twinclock._lanes import WORK, Floats, Spans, held_for, mean_at_once, merged
from twinclock.cluster import ClusterConfig
from twinclock.result import Run

KINDS = (*WORK, "idle", "down")
"""What a device can be held for, or else be, at each moment."""
TOO_MANY = "too many changes to tell apart: means"
"""What a picture says if its edges are not exact."""

_SECONDS_PER_HOUR = 3600.0
_MAX_EDGES = 1200
_NUM_BINS = 600


@dataclass(frozen=True, slots=True)
class Occupancy:
    """What the devices of a run did between each two of some moments of the clock."""

    edges: Floats
    """Clock seconds, from 0 to the end of the run, or as far as it has come."""
    devices: Mapping[str, Floats]
    """Kind → mean number of devices; all kinds that occur, in the order of `KINDS`."""
    usd_per_s: Mapping[str, Floats]
    """Kind → mean price of those devices; empty if no device has one."""
    is_exact: bool
    """The numbers don't change between two moments; else there were too many changes for that."""

    def until(self, rates: Floats) -> Floats:
        """The integral of such a mean, up to each of the moments."""
        return np.concatenate([[0.0], np.cumsum(rates * np.diff(self.edges))])


def occupancy(run: Run) -> Occupancy:
    """The devices of a run over its clock; as far as the tables go if it is not finished.

    The time of a device that several jobs have at once is split evenly between them, as in `twinclock.occupied`. What
    is paid for is that of `twinclock.usage`.
    """
    end_s = reached_s(run)
    held = _shares(held_for(run.tables).with_columns(pl.col("released_s").fill_null(end_s)))
    away = run.outages.with_columns(pl.col("until_s").fill_null(end_s).clip(upper_bound=end_s))
    away = away.filter(pl.col("from_s") < pl.col("until_s"))
    moments = np.concatenate([held["from_s"], held["until_s"], away["from_s"], away["until_s"]])
    edges, is_exact = edges_of(moments, end_s)
    devices = {kind: np.zeros(len(edges) - 1) for kind in KINDS}
    usd_per_s = {kind: np.zeros(len(edges) - 1) for kind in KINDS}
    prices = _pools(run.config.cluster)
    for pool, (num_devices, usd_per_hour) in prices.items():
        here = held if pool is None else held.filter(pl.col("unit").str.starts_with(f"{pool}:"))
        gone = away if pool is None else away.filter(pl.col("device").str.starts_with(f"{pool}:"))
        number = {kind: _mean(here.filter(pl.col("work") == kind), edges) for kind in WORK}
        number["down"] = _mean_away(gone, edges)
        number["idle"] = np.maximum(num_devices - sum(number.values()), 0.0)
        paid = {**number, "down": number["down"] - _mean_away(gone.filter(pl.col("cause") == "reclaimed"), edges)}
        for kind in KINDS:
            devices[kind] += number[kind]
            usd_per_s[kind] += paid[kind] * ((usd_per_hour or 0.0) / _SECONDS_PER_HOUR)
    occurring = [kind for kind in KINDS if devices[kind].any()]
    is_priced = any(usd is not None for _, usd in prices.values())
    return Occupancy(
        edges,
        {kind: devices[kind] for kind in occurring},
        {kind: usd_per_s[kind] for kind in occurring} if is_priced else {},
        is_exact,
    )


def edges_of(moments: Floats, end_s: float) -> tuple[Floats, bool]:
    """The moments at which something changes, with 0 and `end_s`; even bins, and False, if there are too many."""
    edges = np.unique(np.concatenate([moments[(moments >= 0.0) & (moments <= end_s)], [0.0, end_s]]))
    is_exact = len(edges) <= _MAX_EDGES
    return edges if is_exact else np.linspace(0.0, end_s, _NUM_BINS + 1), is_exact


def reached_s(run: Run) -> float:
    """The end of a run on its clock, or how far its tables go; 0 if they are empty."""
    ends = [run.header.get("makespan_s"), run.stage_runs["ended_s"].max(), run.devices["released_s"].max()]
    return max((float(end) for end in ends if isinstance(end, int | float)), default=0.0)


def _pools(cluster: ClusterConfig) -> dict[str | None, tuple[int, float | None]]:
    """Pool → its number of devices, and the price of one in USD per hour."""
    if cluster.pools is None:
        return {None: (cluster.devices, cluster.device.usd_per_hour)}
    return {pool.name: (pool.num_devices, pool.device.usd_per_hour) for pool in cluster.pools}


def _shares(held: pl.DataFrame) -> pl.DataFrame:
    """Pieces of holdings, `from_s` to `until_s`, with the `share` of the device that each has all the while."""
    parts = []
    for _, part in held.sort("granted_s").group_by("unit", maintain_order=True):
        begins, ends = part["granted_s"].to_numpy(), part["released_s"].to_numpy()
        times = np.unique(np.concatenate([begins, ends]))
        first, last = np.searchsorted(times, begins), np.searchsorted(times, ends)
        if (begins[1:] >= ends[:-1]).all():
            share, row = np.ones(len(begins)), np.arange(len(begins))
        else:
            counts = last - first
            row = np.repeat(np.arange(len(begins)), counts)
            piece = np.concatenate([np.arange(a, b) for a, b in zip(first, last, strict=True)])
            share = 1.0 / np.bincount(piece, minlength=len(times))[piece]
            begins, ends = times[piece], times[piece + 1]
        parts.append(
            part.select("unit", "work")[row].with_columns(
                pl.Series("from_s", begins), pl.Series("until_s", ends), pl.Series("share", share)
            )
        )
    empty = {"unit": pl.String, "work": pl.String, "from_s": pl.Float64, "until_s": pl.Float64, "share": pl.Float64}
    return pl.concat(parts) if parts else pl.DataFrame(schema=empty)


def _mean(pieces: pl.DataFrame, edges: Floats) -> Floats:
    spans = Spans(pieces["from_s"].to_numpy(), pieces["until_s"].to_numpy())
    return mean_at_once(spans, edges, pieces["share"].to_numpy())


def _mean_away(outages: pl.DataFrame, edges: Floats) -> Floats:
    """The mean number of devices that are not there; outages of one device may overlap."""
    found = np.zeros(len(edges) - 1)
    for _, part in outages.group_by("device", maintain_order=True):
        found += mean_at_once(merged(Spans(part["from_s"].to_numpy(), part["until_s"].to_numpy())), edges)
    return found
