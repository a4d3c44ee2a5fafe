"""Draws that depend on earlier draws: a log small enough for the selector's state, and how to make them again.

The log holds, in the order in which they happened,

| entry | means |
|---|---|
| {draw, stop, fresh, used} | `freshness`: trigger `draw` took `fresh` unused and `used` used samples of [0, stop) |
| {draw, ranges, of, take} | rounds: trigger `draw` took `take` samples of `of` that were drawn from the ranges |
| {failed} | the training of that trigger failed for good: what it had marked is marked no longer |

With the run's seed that is enough to make each draw again. It grows by one entry a trigger.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from twinclock.graph import Json
from twinclock.policies.selection.ranges import positions_at
from twinclock.seeds import Purpose, derived_seed

Log = Sequence[Mapping[str, Json]]
Positions = NDArray[np.int64]


def with_failures(state: Mapping[str, Json], serials: Iterable[int]) -> dict[str, Json]:
    """What changes in the selector's state when the draws of these triggers are forgotten; some may have none."""
    log, used = list(state["log"]), state["used"]
    draws = {entry["draw"]: entry for entry in log if "draw" in entry}
    for serial in serials:
        if serial in draws:
            log.append({"failed": serial})
            used -= draws[serial].get("fresh", 0)
    return {"log": log, "used": used}


def without_draw(state: Mapping[str, Json], serial: int) -> dict[str, Json]:
    """What changes in the selector's state when the latest trigger turns out to be none."""
    log = state["log"]
    if not log or log[-1].get("draw") != serial:
        return {}
    return {"log": log[:-1], "used": state["used"] - log[-1].get("fresh", 0)}


def freshness_draws(log: Log, run_seed: int, wanted: Collection[int]) -> list[Positions]:
    """The samples that each of the wanted triggers drew, sorted, in the order of the log."""
    failing = {entry["failed"] for entry in log if "failed" in entry}
    is_used = np.zeros(max(entry.get("stop", 0) for entry in log), bool)
    unused, seen = np.empty(0, np.int64), 0
    marked: dict[int, Positions] = {}
    found = []
    for entry in log:
        if "failed" in entry:
            back = marked.pop(entry["failed"])
            is_used[back] = False
            unused = np.sort(np.concatenate([unused, back]))
            continue
        serial, stop = entry["draw"], entry["stop"]
        unused = np.concatenate([unused, np.arange(seen, stop)])
        seen = max(seen, stop)
        chosen = _chosen(len(unused), entry["fresh"], run_seed, serial, 0)
        fresh, unused = unused[chosen], np.delete(unused, chosen)
        if serial in wanted:
            used = np.flatnonzero(is_used[:stop])
            found.append(np.sort(np.concatenate([fresh, used[_chosen(len(used), entry["used"], run_seed, serial, 1)]])))
        is_used[fresh] = True
        if serial in failing:
            marked[serial] = fresh
    return found


def round_draws(log: Log, run_seed: int, wanted: Collection[int]) -> list[Positions]:
    """The same for draws in rounds, within which a sample is taken once.

    Each sample is marked with the round that last used it. The present round is the highest mark there is.
    """
    failing = {entry["failed"] for entry in log if "failed" in entry}
    marks = np.zeros(max(entry["ranges"][-1][1] for entry in log if "draw" in entry), np.int32)
    number = 1
    marked: dict[int, tuple[Positions, NDArray[np.int32], NDArray[np.int32]]] = {}
    found = []
    for entry in log:
        if "failed" in entry:
            back, before, after = marked.pop(entry["failed"])
            stands = marks[back] == after
            marks[back[stands]] = before[stands]
            number = max(1, int(marks.max()))
            continue
        serial, num_samples = entry["draw"], entry["take"]
        unused, others = _by_use(entry, marks, number, run_seed)
        if len(unused) < num_samples:
            rest = others[_chosen(len(others), num_samples - len(unused), run_seed, serial, 1)]
            taken, rounds = np.concatenate([unused, rest]), np.repeat([number, number + 1], [len(unused), len(rest)])
            number += 1
        else:
            taken = unused[_chosen(len(unused), num_samples, run_seed, serial, 1)]
            rounds = np.full(num_samples, number)
        if serial in failing:
            marked[serial] = (taken, marks[taken], rounds.astype(np.int32))
        marks[taken] = rounds
        if serial in wanted:
            found.append(np.sort(taken))
    return found


def _by_use(
    entry: Mapping[str, Json], marks: NDArray[np.int32], number: int, run_seed: int
) -> tuple[Positions, Positions]:
    """The samples that a draw is from: those unused in the round, and the others, each sorted."""
    ranges = entry["ranges"]
    total = sum(stop - first for first, stop in ranges)
    if entry["of"] < total:
        at = positions_at(ranges, np.sort(_chosen(total, entry["of"], run_seed, entry["draw"], 0)))
        is_unused = marks[at] < number
        return at[is_unused], at[~is_unused]
    unused = np.concatenate([np.flatnonzero(marks[first:stop] < number) + first for first, stop in ranges])
    if len(unused) >= entry["take"]:
        return unused, np.empty(0, np.int64)  # the others are not needed, and to find them takes as long again
    others = np.concatenate([np.flatnonzero(marks[first:stop] >= number) + first for first, stop in ranges])
    return unused, others


def _chosen(total: int, num_samples: int, run_seed: int, serial: int, part: int) -> Positions:
    """The indices of a uniform draw without replacement that belongs to a trigger; `part` tells its draws apart."""
    if num_samples == total:
        return np.arange(total)
    rng = np.random.default_rng(derived_seed(run_seed, Purpose.SELECTION, serial, part))
    return rng.choice(total, size=(num_samples,), replace=False)
