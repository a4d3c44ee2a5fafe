"""The critical path of a run: what it did, or waited for, at each moment, so that it could not end sooner.

It is walked back from the end. The last stage run is on it; before that, whatever the stage run waited for when it
asked for a device or a slot; before that, the stage run whose end let it ask; and so on, to the start of the run.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import polars as pl

from twinclock.errors import RunError
from twinclock.explain.causes import Causes, causes_of, holders_of
from twinclock.explain.places import NO_ROW
from twinclock.result import Run
from twinclock.summary import holdings

WAITS_FOR_DATA = "WAIT_FOR_NEW_DATA"
"""The stage whose every run is waiting; what else waits, waits for work that somebody does."""

_COLUMNS = {
    "begin_s": pl.Float64,
    "end_s": pl.Float64,
    "stage": pl.String,
    "id": pl.String,
    "trigger": pl.Int64,
    "doing": pl.String,
    "held_by": pl.String,
}


def critical_path(run: Run) -> pl.DataFrame:
    """The segments of the critical path, from the run's start to its end. RunError if the run is not finished.

    Each begins in the very moment in which the one before it ends; the first at 0, the last ends at the makespan.

    | column | meaning |
    |---|---|
    | begin_s, end_s | clock seconds |
    | stage, id, trigger | the stage run that works, or waits to begin |
    | doing | `working`, or what is waited for: see below |
    | held_by | who held what was waited for: the id of a stage run or composite; null: nobody |
    | held_for | `training`, `evaluation` or `other` |

    What can be waited for: a resource (`device`, `training_slot`, `admission`), `data` that has yet to arrive,
    `retry` (the rest after a failure), or the `executor` itself, which is quick but, in a real run, not
    infinitely so. Waiting for a device that several had one after the other gives a segment for each.
    """
    ensure_finished(run)
    return path_along(run, causes_of(run))


def ensure_finished(run: Run) -> None:
    """RunError if the run is not finished."""
    if run.state != "finished":
        raise RunError(f"{run.folder or run.name}: state {run.state}, expected a finished run: it has no end yet")


def path_along(run: Run, causes: Causes) -> pl.DataFrame:
    """The critical path of a finished run whose causes are known already."""
    segments = list(_from_the_end(run, causes))[::-1]
    frame = pl.DataFrame(segments, schema=_COLUMNS, orient="row")
    held_for = dict(holdings(run.tables).select("holder", "work").iter_rows())
    work = pl.Series("held_for", [held_for.get(holder) for holder in frame["held_by"]], dtype=pl.String)
    return frame.with_columns(work)


def _from_the_end(run: Run, causes: Causes) -> Iterator[tuple[Any, ...]]:
    holders = holders_of(run.devices)
    runs = causes.stage_runs
    triggers = runs.frame["trigger"].to_list()
    time_s, row = float(run.header["makespan_s"]), len(runs.ids) - 1
    while row != NO_ROW:
        what = (runs.stages[row], runs.ids[row], triggers[row])
        started_s, ended_s = runs.started_s[row], runs.ended_s[row]
        if ended_s < time_s:  # only once the last has ended, and after the rest that is accounted for below
            yield ended_s, time_s, *what, "executor", None
        yield started_s, ended_s, *what, "data" if what[0] == WAITS_FOR_DATA else "working", None
        time_s = started_s
        cause = causes.of(row)
        for asked in reversed(cause.asked):
            if asked.granted_s < time_s:
                yield asked.granted_s, time_s, *what, "executor", None
            for piece in reversed(holders.while_waiting(asked)):
                yield piece.begin_s, piece.end_s, *what, piece.resource, piece.holder
            time_s = asked.requested_s
        before_s = 0.0 if cause.row == NO_ROW else runs.ended_s[cause.row]
        if before_s < time_s:
            yield before_s, time_s, *what, "retry" if cause.is_retry else "executor", None
            time_s = before_s
        row = cause.row
