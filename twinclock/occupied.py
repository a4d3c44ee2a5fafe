"""For how long devices were held, where several jobs may have one at once: their time is split evenly between them."""

from __future__ import annotations

import numpy as np
import polars as pl
from numpy.typing import NDArray


def occupied(holdings: pl.DataFrame) -> pl.DataFrame:
    """The holdings of devices, each with `busy_s`: device-seconds, so that no device has more than there was time.

    `holdings`: the table `devices` of a run, or of several that share a cluster. While k jobs have a device, each
    has 1/k of its time.
    """
    held = holdings.filter(pl.col("resource") == "device")
    alone = held.with_columns((pl.col("released_s") - pl.col("granted_s")).alias("busy_s"))
    by_unit = held.sort("unit", "granted_s")
    follows = by_unit["unit"] == by_unit["unit"].shift(1)
    if not (follows & (by_unit["granted_s"] < by_unit["released_s"].shift(1))).any():
        return alone
    parts = [
        part.with_columns(pl.Series("busy_s", _split(part["granted_s"].to_numpy(), part["released_s"].to_numpy())))
        for part in alone.partition_by("unit", maintain_order=True)
    ]
    return pl.concat(parts)


def _split(begins: NDArray[np.float64], ends: NDArray[np.float64]) -> NDArray[np.float64]:
    """The integral of 1 / (number of holdings there are) over each holding."""
    times = np.unique(np.concatenate([begins, ends]))
    begun, ended = (np.searchsorted(np.sort(moments), times[:-1], "right") for moments in (begins, ends))
    num_there = begun - ended
    each_s = np.where(num_there > 0, np.diff(times) / np.maximum(num_there, 1), 0.0)
    until_s = np.concatenate([[0.0], np.cumsum(each_s)])
    found: NDArray[np.float64] = until_s[np.searchsorted(times, ends)] - until_s[np.searchsorted(times, begins)]
    return found
