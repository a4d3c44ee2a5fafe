"""Runs made by hand: tables with only what a test needs, everything else null or empty."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import polars as pl

from twinclock.config import load_config
from twinclock.result import Run
from twinclock.schemas import SCHEMAS

CONFIG = {
    "name": "hand",
    "trigger": {"kind": "amount", "n": 10},
    "evaluation": {"plans": [{"kind": "slicing", "every": 10}]},
}


def tables(**rows: Sequence[Mapping[str, Any]]) -> dict[str, pl.DataFrame]:
    """All tables of a run; those that are named have these rows."""
    made = {name: pl.DataFrame(list(rows.pop(name, ())), schema=dict(schema)) for name, schema in SCHEMAS.items()}
    assert not rows, f"no such tables: {', '.join(rows)}"
    return made


def run(header: Mapping[str, Any] | None = None, config: Mapping[str, Any] | None = None, **rows: Any) -> Run:
    """A run with these tables; finished and done, with a makespan of 100 s, unless the header says otherwise."""
    finished = {"executor": "sim", "state": "finished", "outcome": "done", "error": None, "makespan_s": 100.0}
    return Run(load_config({**CONFIG, **(config or {})}), {**finished, **(header or {})}, tables(**rows))


def model(serial: int, first_ts: float, last_ts: float) -> dict[str, Any]:
    """A row of `models`."""
    return {"model": serial, "first_ts": first_ts, "last_ts": last_ts}


def score(model: int, start: float, end: float, value: float | None, **more: Any) -> dict[str, Any]:
    """A row of `evaluations`."""
    row = {"plan": 0, "model": model, "start_ts": start, "end_ts": end, "metric": "accuracy", "value": value}
    return {**row, "num_samples": 1, **more}


def batch(first: int, stop: int, last_ts: float) -> dict[str, Any]:
    """A row of `batches`."""
    return {"batch": 0, "first": first, "stop": stop, "last_ts": last_ts}


def trigger(serial: int, first_ts: float | None, last_ts: float | None, fired_s: float = 0.0) -> dict[str, Any]:
    """A row of `triggers`; one without times has no samples."""
    num_samples = 0 if last_ts is None else 10
    row = {"trigger": serial, "position": 10 * serial + 9, "num_samples": num_samples, "fired_s": fired_s}
    return {**row, "first_ts": first_ts, "last_ts": last_ts}


def held(holder: str, requested: float, granted: float, released: float, **more: Any) -> dict[str, Any]:
    """A row of `devices`."""
    row = {"resource": "device", "unit": "sim:0", "holder": holder}
    return {**row, "requested_s": requested, "granted_s": granted, "released_s": released, **more}


def stage_run(stage: str, started: float, ended: float, **more: Any) -> dict[str, Any]:
    """A row of `stage_runs`."""
    row = {"id": f"/{stage}#0", "stage": stage, "parent": "/", "started_s": started, "ended_s": ended}
    return {**row, "outcome": "done", **more}


def training(
    serial: int, requested: float, granted: float, released: float, outcome: str = "trained"
) -> dict[str, Any]:
    """The rows, by table, that a training on one device leaves."""
    place = f"/train{serial}#0/on_device#0"
    stages = [
        stage_run("RUN_TRAINING", granted, granted, parent=place, trigger=serial),
        stage_run("WAIT_FOR_TRAINING_COMPLETION", granted, released, parent=place, trigger=serial, outcome=outcome),
    ]
    return {
        "stage_runs": stages,
        "devices": [held(place, requested, granted, released)],
        "trainings": [{"id": place, "trigger": serial, "outcome": outcome}],
    }


def together(*parts: Mapping[str, Sequence[Mapping[str, Any]]]) -> dict[str, list[Mapping[str, Any]]]:
    """The rows of several parts, table by table."""
    joined: dict[str, list[Mapping[str, Any]]] = {}
    for part in parts:
        for name, rows in part.items():
            joined.setdefault(name, []).extend(rows)
    return joined
