"""What is different between two models of a run."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import polars as pl

from real.store import MODELS, ModelStore
from real.stored.listing import stored_run
from twinclock.graph import Json


@dataclass(frozen=True, slots=True, kw_only=True)
class TensorDifference:
    """One tensor of the weights of two models, B after A."""

    name: str
    shapes: tuple[tuple[int, ...] | None, tuple[int, ...] | None]
    """None: the model has no such tensor."""
    norm: float | None
    """‖B − A‖₂; None where the shapes differ."""
    relative: float | None
    """The same divided by ‖A‖₂; None where that is 0 too."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """Two models side by side."""

    lineage: list[tuple[str, Json, Json]]
    """Keys of the lineages, nested ones joined by dots, whose values differ; None where there is none."""
    tensors: list[TensorDifference]
    scores: pl.DataFrame
    """Columns metric, plan, intervals (that both were scored on), a, b: means over those."""


def difference(folder: Path, a: int, b: int) -> Difference:
    """Of the models of two triggers. RunError if the run, or one of the models, is not there or damaged."""
    run, store = stored_run(folder), ModelStore(folder / MODELS)
    one, other = store.load(a), store.load(b)
    ours, theirs = dict(_leaves(one.lineage)), dict(_leaves(other.lineage))
    return Difference(
        lineage=[
            (key, ours.get(key), theirs.get(key))
            for key in dict.fromkeys([*ours, *theirs])
            if ours.get(key) != theirs.get(key)
        ],
        tensors=[
            _tensor(name, one.weights.get(name), other.weights.get(name))
            for name in dict.fromkeys([*one.weights, *other.weights])
        ],
        scores=common_scores(run.evaluations, a, b),
    )


def common_scores(evaluations: pl.DataFrame, a: int, b: int) -> pl.DataFrame:
    """The mean scores of two models over the intervals that both have a score on, for each metric and plan."""
    on = ["metric", "plan", "start_ts", "end_ts"]
    scored = evaluations.filter(pl.col("value").is_not_null()).unique(["model", *on], keep="first", maintain_order=True)
    ours, theirs = (scored.filter(pl.col("model") == model).select(*on, "value") for model in (a, b))
    return (
        ours.join(theirs, on=on, suffix="_b")
        .group_by("metric", "plan")
        .agg(pl.len().alias("intervals"), pl.col("value").mean().alias("a"), pl.col("value_b").mean().alias("b"))
        .sort("metric", "plan")
    )


def _leaves(value: Json, prefix: str = "") -> list[tuple[str, Json]]:
    if not isinstance(value, Mapping):
        return [(prefix, value)]
    return [leaf for key, inner in value.items() for leaf in _leaves(inner, f"{prefix}.{key}" if prefix else str(key))]


def _tensor(name: str, one: Json, other: Json) -> TensorDifference:
    shapes = tuple(None if each is None else tuple(each.shape) for each in (one, other))
    norm = relative = None
    if shapes[0] == shapes[1]:
        before = one.double()
        norm, size = float((other.double() - before).norm()), float(before.norm())
        relative = norm / size if size > 0.0 else None
    return TensorDifference(name=name, shapes=(shapes[0], shapes[1]), norm=norm, relative=relative)


def shown(value: Json, width: int = 60) -> str:
    """A value of a lineage in at most so many characters; `-` for none."""
    text = "-" if value is None else value if isinstance(value, str) else json.dumps(value)
    return text if len(text) <= width else f"{text[: width - 1]}…"
