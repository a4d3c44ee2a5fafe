"""How fresh the models of a run were on its clock: incorporation latency, staleness, backlog.

A sample is *taken in* when its ingest batch is cut, and *incorporated* when the first model is stored whose trigger
lies at or after it; with a gate, when the first such model becomes active. What a selection then leaves out of the
training set is not looked at: the question is how long new data take to have their say. Live, the time that a sample
waits for its batch to fill comes before all this; replayed, data come as fast as they are taken, so the figures say how
fast the pipeline is, not how old its models are.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from twinclock.activations import activated_models

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

PERCENTILES = (50, 95, 99)
_MISSED = ("dropped", "coalesced")


def freshness(tables: Mapping[str, pl.DataFrame], makespan_s: float | None) -> dict[str, Any]:
    """The figures, in seconds and samples; None where there is nothing to tell.

    `incorporation_p50_s`, `…p95…`, `…p99…`: percentiles, over the samples that were incorporated, of the seconds from
    taken in to incorporated: the least that so large a share does not exceed. `not_incorporated`: samples that never
    were. `staleness_s`, `staleness_max_s`: mean over the clock, and largest, of the seconds since the newest sample of
    the newest model was taken in, from the first model to the end. `backlog`, `backlog_max`: samples that were taken in
    and not yet incorporated, mean over the clock and largest. `missed_triggers`: fires that got no training of their
    own, because they were dropped or became part of a newer trigger.
    """
    firsts, stops, cut_s = _cuts(tables)
    stored_s, reached = _stores(tables)
    taken = int(stops[-1]) if len(stops) else 0
    verdicts = tables["decisions"]["verdict"]
    return {
        **_incorporation(firsts, stops, cut_s, stored_s, reached),
        "not_incorporated": max(0, taken - (int(reached[-1]) if len(reached) else 0)),
        **_staleness(firsts, cut_s, stored_s, reached, makespan_s),
        **_backlog(firsts, stops, cut_s, stored_s, reached, makespan_s),
        "missed_triggers": int(verdicts.is_in(_MISSED).sum()),
    }


def incorporation_latencies(tables: Mapping[str, pl.DataFrame]) -> tuple[Floats, Ints]:
    """Seconds from taken in to incorporated, ascending, and how many samples took each; those that were at all."""
    return _latencies(*_cuts(tables), *_stores(tables))


def staleness_shares(tables: Mapping[str, pl.DataFrame], makespan_s: float | None) -> tuple[Floats, Floats]:
    """Seconds, ascending, and the share of the clock in which models were at most so stale, linear in between.

    The clock is that from the first model to the end. Empty while there is no end, or no time after the first model.
    """
    firsts, _, cut_s = _cuts(tables)
    pieces = _stale(firsts, cut_s, *_stores(tables), makespan_s)
    if pieces is None:
        return np.array([]), np.array([])
    # from one model to the next staleness grows as the clock does: so long it is between these two
    newest_s, stored_s, until_s = pieces
    least_s, most_s = stored_s - newest_s, until_s - newest_s
    seconds, where = np.unique(np.concatenate([least_s, most_s]), return_inverse=True)
    changes = np.bincount(where, np.repeat([1.0, -1.0], len(least_s)), len(seconds))
    spent_s = np.concatenate([[0.0], np.cumsum(np.cumsum(changes)[:-1] * np.diff(seconds))])
    return seconds, spent_s / spent_s[-1]


def _cuts(tables: Mapping[str, pl.DataFrame]) -> tuple[Ints, Ints, Floats]:
    """First position, position after the last, and time of the cut of each ingest batch that has samples."""
    batches = tables["batches"].filter(pl.col("stop") > pl.col("first")).sort("first")
    return batches["first"].to_numpy(), batches["stop"].to_numpy(), batches["cut_s"].to_numpy()


def _stores(tables: Mapping[str, pl.DataFrame]) -> tuple[Floats, Ints]:
    """When models came that reach further than all before, and the position after the last that each reaches.

    That is when they were stored; with a gate when they became active, if they did.
    """
    positions = tables["triggers"].select(pl.col("trigger").alias("model"), "position")
    active = activated_models(tables).drop_nulls("activated_s")
    stored = active.join(positions, on="model").sort("activated_s", "position")
    reached = np.maximum.accumulate(stored["position"].to_numpy() + 1)
    further = np.diff(reached, prepend=0) > 0
    return stored["activated_s"].to_numpy()[further], reached[further]


def _incorporation(
    firsts: Ints, stops: Ints, cut_s: Floats, stored_s: Floats, reached: Ints
) -> dict[str, float | None]:
    keys = [f"incorporation_p{percent}_s" for percent in PERCENTILES]
    latency_s, counts = _latencies(firsts, stops, cut_s, stored_s, reached)
    if len(latency_s) == 0:
        return dict.fromkeys(keys)
    running = np.cumsum(counts)
    ranks = [int(np.searchsorted(running, percent / 100 * running[-1])) for percent in PERCENTILES]
    return {key: float(latency_s[rank]) for key, rank in zip(keys, ranks, strict=True)}


def _latencies(firsts: Ints, stops: Ints, cut_s: Floats, stored_s: Floats, reached: Ints) -> tuple[Floats, Ints]:
    if len(firsts) == 0 or len(reached) == 0:
        return np.array([]), np.array([], np.int64)
    # pieces of batches whose samples were all incorporated by the same model
    edges = np.unique(np.concatenate([firsts, stops, reached]))
    begins, ends = edges[:-1], edges[1:]
    batch = np.searchsorted(firsts, begins, side="right") - 1
    store = np.searchsorted(reached, begins, side="right")
    counted = (batch >= 0) & (begins < stops[np.maximum(batch, 0)]) & (store < len(reached))
    latency_s = stored_s[store[counted]] - cut_s[batch[counted]]
    counts = (ends - begins)[counted]
    order = np.argsort(latency_s, kind="stable")
    return latency_s[order], counts[order]


def _staleness(
    firsts: Ints, cut_s: Floats, stored_s: Floats, reached: Ints, makespan_s: float | None
) -> dict[str, float | None]:
    pieces = _stale(firsts, cut_s, stored_s, reached, makespan_s)
    if makespan_s is None or pieces is None:
        return {"staleness_s": None, "staleness_max_s": None}
    newest_s, stored_s, until_s = pieces
    area = ((until_s - newest_s) ** 2 - (stored_s - newest_s) ** 2).sum() / 2
    return {
        "staleness_s": float(area / (makespan_s - stored_s[0])),
        "staleness_max_s": float((until_s - newest_s).max()),
    }


def _stale(
    firsts: Ints, cut_s: Floats, stored_s: Floats, reached: Ints, makespan_s: float | None
) -> tuple[Floats, Floats, Floats] | None:
    """For each model: when its newest sample was taken in, when it was stored, and when the next was, or the end."""
    if makespan_s is None or len(reached) == 0 or len(firsts) == 0 or makespan_s <= stored_s[0]:
        return None
    newest_s = cut_s[np.searchsorted(firsts, reached - 1, side="right") - 1]
    return newest_s, stored_s, np.append(stored_s[1:], makespan_s)


def _backlog(
    firsts: Ints, stops: Ints, cut_s: Floats, stored_s: Floats, reached: Ints, makespan_s: float | None
) -> dict[str, float | int | None]:
    if makespan_s is None or makespan_s <= 0 or len(firsts) == 0:
        return {"backlog": None, "backlog_max": None}
    # a model can't reach beyond what was taken in before it was stored, so stores come after the cuts they rest on
    times = np.concatenate([cut_s, stored_s, [makespan_s]])
    changes = np.concatenate([stops - firsts, -np.diff(reached, prepend=int(firsts[0])), [0]])
    order = np.argsort(times, kind="stable")
    waiting = np.cumsum(changes[order])
    held_s = np.diff(times[order], append=makespan_s)
    return {"backlog": float((waiting * held_s).sum() / makespan_s), "backlog_max": int(waiting.max())}
