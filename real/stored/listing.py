"""Which models a run has stored, what became of them, and how good they were found."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import polars as pl

from real.active import active_trigger
from real.store import MODELS, ModelStore, read_pruned
from twinclock.activations import rejected_models
from twinclock.errors import RunError
from twinclock.result import Run


@dataclass(frozen=True, slots=True, kw_only=True)
class Listed:
    """One model of a run; None where the tables, or the folder, don't say."""

    trigger: int
    parent: int | None
    first_ts: float | None
    last_ts: float | None
    num_samples: int | None
    size_bytes: int | None
    """Of its files on disk; None: they are not there."""
    loss: float | None
    score: tuple[str, float] | None
    """Metric and value of its newest evaluation that has a value."""
    state: str
    """`active`, `stored`, `rejected` by the gate, `pruned`, or `missing`."""


def stored_run(folder: Path) -> Run:
    """A run that has stored models. RunError if there is no such run, or it stored none."""
    run = Run.load(folder)
    if not (folder / MODELS).is_dir():
        expected = "expected a run whose models were trained, after its first training"
        raise RunError(f"{folder}: no stored models here ({run.header['executor']}, {run.state}); {expected}")
    return run


def listed(folder: Path) -> list[Listed]:
    """The models of a run by trigger, those in its tables and those in its folder. RunError if it has none."""
    run, store = stored_run(folder), ModelStore(folder / MODELS)
    known = {row["model"]: row for row in run.models.iter_rows(named=True)}
    on_disk, pruned, active = set(store.triggers()), set(read_pruned(store.root)), active_trigger(folder)
    rejected, scores = set(rejected_models(run.tables)), newest_scores(run.evaluations)
    found = []
    for trigger in sorted(known.keys() | on_disk):
        row = known.get(trigger, {})
        if trigger in on_disk:
            state = "active" if trigger == active else "rejected" if trigger in rejected else "stored"
        else:
            state = "pruned" if trigger in pruned else "missing"
        found.append(
            Listed(
                trigger=trigger,
                parent=row.get("parent"),
                first_ts=row.get("first_ts"),
                last_ts=row.get("last_ts"),
                num_samples=row.get("num_samples"),
                size_bytes=_size_bytes(store.folder(trigger)) if trigger in on_disk else None,
                loss=row.get("loss"),
                score=scores.get(trigger),
                state=state,
            )
        )
    return found


def newest_scores(evaluations: pl.DataFrame) -> dict[int, tuple[str, float]]:
    """Model → metric and value of its newest evaluation: that on the latest interval, the latest made of them."""
    scored = evaluations.filter(pl.col("value").is_not_null()).sort("end_ts", "evaluated_s", maintain_order=True)
    # of several metrics the first one of the configuration comes first in an evaluation
    newest = scored.filter(pl.col("evaluated_s") == pl.col("evaluated_s").last().over("model")).filter(
        pl.col("end_ts") == pl.col("end_ts").last().over("model")
    )
    rows = newest.unique("model", keep="first", maintain_order=True).select("model", "metric", "value").rows()
    return {model: (metric, value) for model, metric, value in rows}


def _size_bytes(folder: Path) -> int:
    return sum(file.stat().st_size for file in folder.iterdir())
