"""The tables of a run: their columns, with their types, and what identifies a row. The same for every executor.

Columns ending in `_s` are seconds on the executor's clock, those ending in `_ts` are data time.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import polars as pl

SCHEMAS: Mapping[str, Mapping[str, Any]] = {
    "stage_runs": {
        "id": pl.String,
        "stage": pl.String,
        "parent": pl.String,
        "trigger": pl.Int64,
        "batch": pl.Int64,
        "attempt": pl.Int64,
        "queued_s": pl.Float64,
        "started_s": pl.Float64,
        "ended_s": pl.Float64,
        "data_ts": pl.Float64,
        "device": pl.String,
        "outcome": pl.String,
        "error": pl.String,
        "registers": pl.String,
    },
    "batches": {
        "batch": pl.Int64,
        "first": pl.Int64,
        "stop": pl.Int64,
        "last_ts": pl.Float64,
        "cut_s": pl.Float64,
        "quarantined": pl.Int64,
    },
    "decisions": {
        "batch": pl.Int64,
        "first": pl.Int64,
        "stop": pl.Int64,
        "observation": pl.Float64,
        "threshold": pl.Float64,
        "verdict": pl.String,
        "reason": pl.String,
        "decided_s": pl.Float64,
    },
    "observations": {
        "batch": pl.Int64,
        "decision": pl.Int64,
        "member": pl.String,
        "kind": pl.String,
        "first": pl.Int64,
        "stop": pl.Int64,
        "model": pl.Int64,
        "name": pl.String,
        "value": pl.Float64,
        "observed_s": pl.Float64,
    },
    "triggers": {
        "trigger": pl.Int64,
        "position": pl.Int64,
        "first": pl.Int64,
        "stop": pl.Int64,
        "num_samples": pl.Int64,
        "first_ts": pl.Float64,
        "last_ts": pl.Float64,
        "training_samples": pl.Int64,
        "fired_s": pl.Float64,
    },
    "trainings": {
        "id": pl.String,
        "trigger": pl.Int64,
        "outcome": pl.String,
        "num_samples": pl.Int64,
        "parent": pl.Int64,
        "device": pl.String,
        "queued_s": pl.Float64,
        "granted_s": pl.Float64,
        "started_s": pl.Float64,
        "ended_s": pl.Float64,
        "loss": pl.Float64,
        "error": pl.String,
        "lost_s": pl.Float64,
    },
    "models": {
        "model": pl.Int64,
        "parent": pl.Int64,
        "first_ts": pl.Float64,
        "last_ts": pl.Float64,
        "num_samples": pl.Int64,
        "size_bytes": pl.Int64,
        "loss": pl.Float64,
        "path": pl.String,
        "stored_s": pl.Float64,
    },
    "evaluations": {
        "plan": pl.Int64,
        "model": pl.Int64,
        "start_ts": pl.Float64,
        "end_ts": pl.Float64,
        "metric": pl.String,
        "value": pl.Float64,
        "num_samples": pl.Int64,
        "evaluated_s": pl.Float64,
    },
    "faults": {
        "id": pl.String,
        "stage": pl.String,
        "attempt": pl.Int64,
        "outcome": pl.String,
        "type": pl.String,
        "message": pl.String,
        "at_s": pl.Float64,
    },
    "devices": {
        "resource": pl.String,
        "unit": pl.String,
        "holder": pl.String,
        "requested_s": pl.Float64,
        "granted_s": pl.Float64,
        "released_s": pl.Float64,
    },
    "quarantine": {
        "source": pl.String,
        "line": pl.Int64,
        "reason": pl.String,
        "detail": pl.String,
        "record": pl.String,
        "records": pl.Int64,
        "quarantined_s": pl.Float64,
    },
    "outages": {
        "device": pl.String,
        "cause": pl.String,
        "noticed_s": pl.Float64,
        "from_s": pl.Float64,
        "until_s": pl.Float64,
    },
}
"""Table → column → type. Nullable throughout; a table without rows has its columns all the same."""

KEYS: Mapping[str, tuple[str, ...]] = {
    "batches": ("batch",),
    "triggers": ("trigger",),
    "models": ("model",),
    "evaluations": ("plan", "model", "start_ts", "end_ts", "metric"),
}
"""What identifies a row, where a run and its resumed twin must agree row by row."""
