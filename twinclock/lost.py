"""Scores that a run lacks because whoever was to give them failed for good."""

from __future__ import annotations

from collections.abc import Mapping

import polars as pl

_SCORING = {
    "WAIT_FOR_EVALUATION_COMPLETION": "evaluations",
    "SCORE_CANDIDATE": "evaluations",
    "OBSERVE": "observations",
}
"""Stages that score, and what one of their jobs is called."""
_USERS = ("ConfigError", "DataError")
"""Types of faults that are the user's to mend, so that trying again is of no use."""
_ATTEMPT = r"@\d+$"


def lost_jobs(tables: Mapping[str, pl.DataFrame]) -> pl.DataFrame:
    """The evaluations and observations that no attempt got done, each with its last fault, in order of time.

    Columns `what` (`evaluations`, to which those for the gate belong, or `observations`), and `type` and `message` of
    the fault.
    """
    job = pl.col("id").str.replace(_ATTEMPT, "").alias("job")
    done = tables["stage_runs"].filter(pl.col("stage").is_in(list(_SCORING)), pl.col("outcome") == "done").select(job)
    failed = tables["faults"].filter(pl.col("stage").is_in(list(_SCORING))).with_columns(job)
    last = failed.join(done, on="job", how="anti").unique("job", keep="last", maintain_order=True)
    return last.select(pl.col("stage").replace(_SCORING).alias("what"), "type", "message")


def lost_line(tables: Mapping[str, pl.DataFrame]) -> str | None:
    """How many scores are missing and why, in one line; None if none is."""
    return _told(lost_jobs(tables))


def users_line(tables: Mapping[str, pl.DataFrame]) -> str | None:
    """The same of those that are missing for a reason that the user can mend; None if none is."""
    return _told(lost_jobs(tables).filter(pl.col("type").is_in(_USERS)))


def _told(lost: pl.DataFrame) -> str | None:
    if lost.is_empty():
        return None
    counts = lost["what"].value_counts().sort("what").rows()
    jobs = " and ".join(f"{count} {what if count > 1 else what[:-1]}" for what, count in counts)
    _, kind, message = lost.row(-1)
    why = " ".join(f"{kind}: {message}".split())
    return f"scores are missing: {jobs} failed for good{', the last' if lost.height > 1 else ''} with {why}"
