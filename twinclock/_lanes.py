"""What the timeline of a run shows, as plain intervals of clock time: one lane for each device and kind of stage.

Nothing here draws. Lanes of very many intervals are reduced to shares, so that a picture of a hundred
thousand stage runs is as large as one of a hundred.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl
from numpy.typing import NDArray

from twinclock.summary import Tables, holdings, queueing

Floats = NDArray[np.float64]

_STAGES = {
    "WAIT_FOR_NEW_DATA": "wait",
    "RUN_TRAINING": "training",
    "WAIT_FOR_TRAINING_COMPLETION": "training",
    "TRAINING_COMPLETED": "training",
    "STORE_TRAINED_MODEL": "store",
    "SCORE_CANDIDATE": "evaluation",
    "ACTIVATE_MODEL": "store",
    "STORE_EVALUATION_RESULTS": "store",
    "WAIT_FOR_EVALUATION_COMPLETION": "evaluation",
    "OBSERVE": "other",
    "INIT_CLUSTER_CONNECTION": "cluster",
    "EXIT": "cluster",
}
"""Stage → lane; all others take in data or decide."""
_NAMES = {
    "cluster": "connect, close",
    "wait": "wait for data",
    "decide": "ingest, decide",
    "training": "train",
    "store": "store",
    "evaluation": "evaluate",
    "other": "observe",
}
_QUEUES = {"training": "training queue", "evaluation": "evaluation queue", "other": "other queue"}


WORK = ("training", "lost", "evaluation", "other")
"""What devices are held for; `lost` came to nothing."""


@dataclass(frozen=True, slots=True)
class Spans:
    """Intervals of clock time, seconds, which may overlap."""

    starts: Floats
    ends: Floats

    @property
    def total_s(self) -> float:
        """Sum of the lengths."""
        return float(np.sum(self.ends - self.starts))

    @property
    def covered_s(self) -> float:
        """Length of the union."""
        return merged(self).total_s


@dataclass(frozen=True, slots=True)
class StageLane:
    """One kind of stage over time."""

    name: str
    kind: str
    spans: Spans


@dataclass(frozen=True, slots=True)
class DeviceLane:
    """What one device was held for."""

    unit: str
    work: Mapping[str, Spans]
    """Kind of work → when; nothing overlaps."""
    labels: Mapping[str, list[int | None]]
    """Kind of work → the trigger that each interval is for."""


def stage_lanes(tables: Tables) -> list[StageLane]:
    """The lanes that have anything in them, each queue above what is queued for."""
    runs = tables["stage_runs"].select(
        pl.col("stage").replace_strict(_STAGES, default="decide", return_dtype=pl.String).alias("kind"),
        "started_s",
        "ended_s",
    )
    waits = queueing(tables)
    lanes = []
    for kind, name in _NAMES.items():
        queue = waits.filter(pl.col("work") == kind)
        if not queue.is_empty():
            lanes.append(StageLane(_QUEUES[kind], "queue", _spans(queue["requested_s"], queue["granted_s"])))
        ran = runs.filter(pl.col("kind") == kind)
        if not ran.is_empty():
            lanes.append(StageLane(name, kind, _spans(ran["started_s"], ran["ended_s"])))
    return lanes


def held_for(tables: Tables) -> pl.DataFrame:
    """The rows of `holdings` that are about devices, where `work` is `lost` if the work came to nothing."""
    held = holdings(tables).filter(pl.col("resource") == "device")
    ended_well = pl.col("outcome").is_in(["trained", "done"]) | (pl.col("work") == "other")
    return held.with_columns(pl.when(ended_well).then("work").otherwise(pl.lit("lost")).alias("work"))


def device_lanes(tables: Tables) -> list[DeviceLane]:
    """One lane for each device that was ever held, in the order of their numbers."""
    held = held_for(tables)
    lanes = []
    for unit in sorted(held["unit"].unique().to_list(), key=by_number):
        work, labels = {}, {}
        for kind in WORK:
            part = held.filter(pl.col("unit") == unit, pl.col("work") == kind)
            if not part.is_empty():
                work[kind] = _spans(part["granted_s"], part["released_s"])
                labels[kind] = part["trigger"].to_list()
        lanes.append(DeviceLane(unit, work, labels))
    return lanes


def in_one(lanes: Sequence[DeviceLane]) -> dict[str, Spans]:
    """What all the devices were held for, by kind of work."""
    of_kind = {kind: [lane.work[kind] for lane in lanes if kind in lane.work] for kind in WORK}
    return {
        kind: Spans(np.concatenate([each.starts for each in spans]), np.concatenate([each.ends for each in spans]))
        for kind, spans in of_kind.items()
        if spans
    }


def merged(spans: Spans) -> Spans:
    """The same, in order, with intervals that overlap or touch made one."""
    if len(spans.starts) == 0:
        return spans
    order = np.argsort(spans.starts)
    starts, reach = spans.starts[order], np.maximum.accumulate(spans.ends[order])
    begins = np.concatenate([[True], starts[1:] > reach[:-1]])
    stops = np.concatenate([begins[1:], [True]])
    return Spans(starts[begins], reach[stops])


def at_once(spans: Spans, weights: Floats | None = None) -> tuple[Floats, Floats]:
    """How many there are at each time: the edges where that changes, and the number between each two of them.

    With `weights`, one for each interval, their sum instead of the number.
    """
    edges, where = np.unique(np.concatenate([spans.starts, spans.ends]), return_inverse=True)
    each = np.ones(len(spans.starts)) if weights is None else weights
    change = np.concatenate([each, -each])
    changes = np.bincount(where, change, len(edges))
    return edges[changes != 0], np.cumsum(changes[changes != 0])[:-1]


def mean_at_once(spans: Spans, edges: Floats, weights: Floats | None = None) -> Floats:
    """How many there are on average between each two of some edges; with `weights`, as in `at_once`."""
    times, counts = at_once(spans, weights)
    if len(times) < 2:
        return np.zeros(len(edges) - 1)
    area = np.concatenate([[0.0], np.cumsum(counts * np.diff(times))])
    means: Floats = np.diff(np.interp(edges, times, area)) / np.diff(edges)
    return means


def _spans(starts: pl.Series, ends: pl.Series) -> Spans:
    return Spans(starts.to_numpy(), ends.to_numpy())


def by_number(unit: str) -> list[tuple[int, str]]:
    """Sorts names of units: `cpu:10` behind `cpu:9`."""
    return [(int(part), "") if part.isdigit() else (-1, part) for part in re.split(r"(\d+)", unit)]
