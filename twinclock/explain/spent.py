"""Where did the time go: by stage, working or waiting, and by unit of a resource, busy or idle."""

from __future__ import annotations

import polars as pl

from twinclock.explain.causes import Causes, causes_of
from twinclock.explain.critical import WAITS_FOR_DATA, ensure_finished, path_along
from twinclock.result import Run
from twinclock.summary import holdings

_WAITS = {"device": "waiting_device_s", "training_slot": "waiting_slot_s"}
"""What is waited for → its column; all else is `waiting_other_s`."""
_OTHER = "waiting_other_s"
_WORK = ("training", "evaluation", "other")


def time_by_stage(run: Run) -> pl.DataFrame:
    """Seconds of each stage, those with most on the critical path first. RunError if the run is not finished.

    | column | meaning |
    |---|---|
    | stage, count | the stage, and how often it ran |
    | working_s, median_s | seconds that it ran, over all its runs and of the one in the middle |
    | waiting_device_s, waiting_slot_s | seconds that it, or the composite that begins with it, waited for these |
    | waiting_data_s | seconds that it waited for data to arrive |
    | waiting_other_s | seconds that it waited for the lock `admission`, or rested before another attempt |
    | critical_s, critical_share | its seconds on the critical path, working or waiting; their share of the makespan |

    Stage runs go on beside each other, so the seconds can add up to more than the makespan; `critical_s` adds
    up to it. A composite that came to no stage run has waited too, and is left out.
    """
    ensure_finished(run)
    causes = causes_of(run)
    path = path_along(run, causes)
    seconds = (pl.col("ended_s") - pl.col("started_s")).alias("seconds")
    is_data = pl.col("stage") == WAITS_FOR_DATA
    runs = run.stage_runs.select("stage", "id", seconds)
    table = runs.group_by("stage").agg(
        pl.len().cast(pl.Int64).alias("count"),
        pl.col("seconds").filter(~is_data).sum().alias("working_s"),
        pl.col("seconds").filter(~is_data).median().fill_null(0.0).alias("median_s"),
        pl.col("seconds").filter(is_data).sum().alias("waiting_data_s"),
    )
    waited = [pl.col("seconds").filter(column=column).sum().alias(column) for column in (*_WAITS.values(), _OTHER)]
    waits = _waits(causes).group_by("stage").agg(waited)
    critical = path.group_by("stage").agg((pl.col("end_s") - pl.col("begin_s")).sum().alias("critical_s"))
    makespan_s = float(run.header["makespan_s"])
    share = pl.when(makespan_s > 0.0).then(pl.col("critical_s") / makespan_s).otherwise(0.0)
    return (
        table.join(waits, on="stage", how="left")
        .join(critical, on="stage", how="left")
        .with_columns(pl.col(pl.Float64).fill_null(0.0))
        .select(
            *("stage", "count", "working_s", "median_s", *_WAITS.values(), "waiting_data_s", _OTHER, "critical_s"),
            share.alias("critical_share"),
        )
        .sort(["critical_s", "working_s", "stage"], descending=[True, True, False])
    )


def time_by_unit(run: Run) -> pl.DataFrame:
    """Seconds of each unit that was ever held: `resource`, `unit`, seconds held by kind of work, and `idle_s`.

    `training_s`, `evaluation_s`, `other_s` and `idle_s` add up to the makespan. RunError if the run is not finished.
    """
    ensure_finished(run)
    makespan_s = float(run.header["makespan_s"])
    held_s = pl.col("released_s") - pl.col("granted_s")
    unheld_s = pl.col("granted_s") - pl.col("released_s").shift(1, fill_value=0.0)
    after_s = makespan_s - pl.col("released_s").last()
    return (
        holdings(run.tables)
        .sort("granted_s", "released_s")
        .group_by("resource", "unit", maintain_order=True)
        .agg(
            *(held_s.filter(pl.col("work") == kind).sum().alias(f"{kind}_s") for kind in _WORK),
            (unheld_s.sum() + after_s).alias("idle_s"),
        )
        .sort("resource", "unit")
    )


def _waits(causes: Causes) -> pl.DataFrame:
    """Each wait for a resource, and each rest: `stage`, `column` (that it counts for), `seconds`."""
    runs = causes.stage_runs
    found: list[tuple[str, str, float]] = []
    for row, stage in enumerate(runs.stages):
        cause = causes.of(row)
        found += [(stage, _WAITS.get(each.resource, _OTHER), each.granted_s - each.requested_s) for each in cause.asked]
        if cause.is_retry:
            again_s = cause.asked[0].requested_s if cause.asked else runs.started_s[row]
            found.append((stage, _OTHER, again_s - runs.ended_s[cause.row]))
    return pl.DataFrame(found, schema={"stage": pl.String, "column": pl.String, "seconds": pl.Float64}, orient="row")
