"""From what came to what landed: late records and duplicates turned away, the rest sorted and durable in one step.

The *watermark* is the newest data time that came, less the lateness that is allowed. What came together, in one file,
is held against the watermark of all before it. A record is handed over when the watermark has reached its time.
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import polars as pl

from real.sources.protocol import Arrival, Fetched, Refused
from real.store import new_folder
from twinclock.landed import HELD, KEYS, MANIFEST, ROWS, LandedSamples, Landing, manifest, read_parquet
from twinclock.run_folder import QUARANTINE
from twinclock.schemas import SCHEMAS
from twinclock.stream import ClockTime

_KEY_SCHEMA = {"key": pl.String, "ts": pl.Float64}


@dataclass(frozen=True, slots=True)
class Window:
    """What has to be remembered of all that came, to judge what comes."""

    newest_ts: float
    """-inf: nothing came yet."""
    watermark: float
    held: pl.DataFrame
    """Records not handed over yet, in the order of their time."""
    keys: pl.DataFrame | None
    """Key and time of the records at or after the watermark; None: records have no keys."""


class Sorted(NamedTuple):
    """What came of some arrivals."""

    window: Window
    rows: pl.DataFrame
    """The records that are handed over, in the order of their time."""
    refused: list[Refused]


def sort_in(
    window: Window, arrivals: Sequence[Arrival], *, time: str, allowed_lateness_s: float, is_last: bool
) -> Sorted:
    """Judge arrivals one after another, and hand over what the watermark has reached; at the end, all."""
    newest_ts, watermark, keys = window.newest_ts, window.watermark, window.keys
    pieces, refused = [window.held], list[Refused]()
    for arrival in arrivals:
        refused += arrival.refused
        ts = arrival.rows[time].to_numpy()
        is_late = ts < watermark
        is_twice = np.zeros(len(ts), bool)
        if keys is not None and arrival.keys is not None:
            known = arrival.keys.is_in(keys["key"].to_list()).to_numpy()
            in_time = np.flatnonzero(~is_late)
            is_twice[in_time] = ~arrival.keys[in_time].is_first_distinct().to_numpy()
            is_twice |= known & ~is_late
        for is_wrong, reason, detail in (
            (is_late, "late", f"older than {watermark:.15g} s of data time, up to which all was handed over"),
            (is_twice, "duplicate", "a record with this key has come before"),
        ):
            at = np.flatnonzero(is_wrong).tolist()
            texts = arrival.texts(at)
            refused += [
                Refused(arrival.source, int(arrival.lines[row]), reason, detail, text, 1)  # type: ignore[arg-type]
                for row, text in zip(at, texts, strict=True)
            ]
        right = pl.Series(~(is_late | is_twice), dtype=pl.Boolean)
        taken = arrival.rows.filter(right)
        pieces.append(taken)
        if taken.height:
            newest_ts = max(newest_ts, float(taken[time].to_numpy().max()))
            watermark = newest_ts - allowed_lateness_s
        if keys is not None and arrival.keys is not None:
            new = pl.DataFrame({"key": arrival.keys.filter(right), "ts": taken[time]}, schema=_KEY_SCHEMA)
            keys = pl.concat([keys, new]).filter(pl.col("ts") >= watermark)
    if is_last:
        watermark = newest_ts
    waiting = pl.concat(pieces).sort(time, maintain_order=True)
    is_reached = pl.col(time) <= watermark
    after = Window(newest_ts, watermark, waiting.filter(~is_reached), keys)
    return Sorted(after, waiting.filter(is_reached), refused)


def land(
    samples: LandedSamples,
    fetched: Fetched,
    *,
    empty: pl.DataFrame,
    has_keys: bool,
    time: str,
    allowed_lateness_s: float,
    now: ClockTime,
) -> None:
    """Make the next landing of what was fetched. OSError if it can't be written. `empty`: no row, all columns.

    Afterwards `samples` has it. One that is there already, of a process that died, or is faster, stays.
    """
    before = samples.landings[-1] if samples.landings else None
    window = _window(samples, before, empty, has_keys)
    sorted_in = sort_in(
        window, fetched.arrivals, time=time, allowed_lateness_s=allowed_lateness_s, is_last=fetched.is_last
    )
    rows, after = sorted_in.rows, sorted_in.window
    first = 0 if before is None else before.stop
    landing = Landing(
        number=len(samples.landings),
        first=first,
        stop=first + rows.height,
        last_ts=float(rows[time][-1]) if rows.height else None,
        newest_ts=_finite(after.newest_ts),
        watermark=_finite(after.watermark),
        landed_s=now,
        quarantined=sum(each.records for each in sorted_in.refused),
        is_last=fetched.is_last,
        position=fetched.position,
        origins=tuple(arrival.origin for arrival in fetched.arrivals),
    )
    quarantine = pl.DataFrame(
        [(*each, now) for each in sorted_in.refused], schema=dict(SCHEMAS["quarantine"]), orient="row"
    )
    with new_folder(samples.landing(landing.number)) as folder:
        rows.write_parquet(folder / ROWS)
        after.held.write_parquet(folder / HELD)
        quarantine.write_parquet(folder / QUARANTINE)
        if after.keys is not None:
            after.keys.write_parquet(folder / KEYS)
        (folder / MANIFEST).write_text(json.dumps(manifest(landing), allow_nan=False), encoding="utf-8")
    samples.refresh()


def _window(samples: LandedSamples, before: Landing | None, empty: pl.DataFrame, has_keys: bool) -> Window:
    """What the last landing left to remember."""
    if before is None:
        return Window(-math.inf, -math.inf, empty, pl.DataFrame(schema=_KEY_SCHEMA) if has_keys else None)
    folder = samples.landing(before.number)
    return Window(
        -math.inf if before.newest_ts is None else before.newest_ts,
        -math.inf if before.watermark is None else before.watermark,
        read_parquet(folder / HELD),
        read_parquet(folder / KEYS) if has_keys else None,
    )


def _finite(ts: float) -> float | None:
    return ts if math.isfinite(ts) else None
