"""Queueing: which of the jobs that wait for devices is next.

A discipline gives each request a place in the line as it asks. What each does is in `DISCIPLINES`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import TypeAlias

from twinclock.cluster import ClusterConfig, Discipline
from twinclock.messages import Acquire
from twinclock.stream import ClockTime

DISCIPLINES: Mapping[Discipline, str] = {
    "priority": """Evaluations let others pass, but not for ever.

    Place in the line: the time of asking, for evaluations plus `cluster.patience.evaluation`.
    """,
    "fifo": """Who asked first is first.

    Place in the line: the time of asking.
    """,
    "shortest_first": """The smallest job is first, and a large one may wait for long.

    Place in the line: the samples that the job goes through; for a training those of its training set times the epochs,
    for an evaluation those of its intervals. An observation, which the pipeline waits for, has 0.
    """,
    "preemptive": """Evaluations come last, and give their devices back as soon as a training or an observation waits.

    Place in the line: the time of asking, for evaluations infinite. Those that were granted theirs last are stopped
    first, and no more than it takes; they stand in the line again, and begin anew.
    """,
}
"""What each discipline does: one line, and then exactly."""

Rank: TypeAlias = Callable[[Acquire, ClockTime], float]
"""(request, when it was made) → its place in the line; lower ones come first."""
Epochs: TypeAlias = Mapping[str, int]
"""Pipeline → how often a training goes through its training set."""


def first_come(_ask: Acquire, now: ClockTime) -> float:
    """By the time of asking."""
    return now


def ranking(cluster: ClusterConfig, epochs: Epochs) -> Rank:
    """The places that the discipline of a cluster gives to requests for its devices."""
    match cluster.discipline:
        case "fifo":
            return first_come
        case "priority":
            patience_s = cluster.patience.evaluation
            return lambda ask, now: now + patience_s if ask.queue == "evaluation" else now
        case "shortest_first":
            return lambda ask, _now: float(num_samples(ask, epochs))
        case "preemptive":
            return lambda ask, now: math.inf if ask.queue == "evaluation" else now


def num_samples(ask: Acquire, epochs: Epochs) -> int:
    """Samples that a job goes through, each epoch of a training counted; 0 if the request doesn't say."""
    if ask.work is None:
        return 0
    if ask.queue == "training":
        return int(ask.work["num_samples"]) * epochs[ask.pipeline]
    return sum(interval["stop"] - interval["first"] for interval in ask.work["intervals"])
