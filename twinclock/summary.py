"""A run in a few figures, derived from its tables alone, the same for both modes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import polars as pl

from twinclock.config import Config
from twinclock.policies.intervals import models_in_use

Tables = Mapping[str, pl.DataFrame]

_BROKEN_OFF = ("preempted", "superseded", "cancelled")
"""Ends of a training that was stopped on purpose."""
_WAITED_FOR = ("training_slot", "device")
"""Resources whose waiting counts as queueing; `admission` is a lock held for a moment."""


def summarise(config: Config, header: Mapping[str, Any], tables: Tables) -> dict[str, Any]:
    """The figures that people compare.

    `stage_s`: seconds spent in each stage, summed over its runs. `device_s`: seconds that devices were
    held. `queued_s`: seconds that trainings waited for a slot or a device, and other work for a device,
    each waiting one counted; `training_queued_s` and `evaluation_queued_s` are parts of it.
    `stopped_trainings` made way for a newer one, `failed_trainings` did not: both count attempts.
    `accuracy`, `accuracy_left_out`: see `active_accuracy`. None where there is nothing.
    """
    stage_runs, devices, batches = tables["stage_runs"], tables["devices"], tables["batches"]
    busy = devices.filter(pl.col("resource") == "device")
    outcomes = tables["trainings"]["outcome"]
    trained, stopped = int((outcomes == "trained").sum()), int(outcomes.is_in(_BROKEN_OFF).sum())
    queued = queueing(tables)
    by_stage = (
        stage_runs.group_by("stage")
        .agg((pl.col("ended_s") - pl.col("started_s")).sum().alias("seconds"))
        .sort(["seconds", "stage"], descending=[True, False])
    )
    accuracy, left_out = active_accuracy(tables)
    return {
        "name": config.name,
        "executor": header["executor"],
        "state": header["state"],
        "outcome": header.get("outcome"),
        "error": header.get("error"),
        "seed": config.seed,
        "variant": config.variant,
        "mode": config.mode,
        "makespan_s": header.get("makespan_s"),
        "stage_runs": stage_runs.height,
        "samples": batches["stop"].max() or 0,
        "batches": batches.height,
        "triggers": tables["triggers"].height,
        "positions": tables["triggers"].sort("trigger")["position"].to_list(),
        "trainings": trained,
        "stopped_trainings": stopped,
        "failed_trainings": outcomes.len() - trained - stopped,
        "models": tables["models"].height,
        "evaluations": tables["evaluations"].height,
        "faults": tables["faults"].height,
        "device_s": _sum(busy["released_s"] - busy["granted_s"]),
        "queued_s": _waited_s(queued),
        "training_queued_s": _waited_s(queued.filter(pl.col("work") == "training")),
        "evaluation_queued_s": _waited_s(queued.filter(pl.col("work") == "evaluation")),
        "accuracy": accuracy,
        "accuracy_left_out": left_out,
        "uncalibrated": list(header.get("uncalibrated", ())),
        "stage_s": dict(by_stage.iter_rows()),
    }


def edit_distance(positions: Sequence[int], others: Sequence[int]) -> int:
    """How many triggers have to be added or taken away to make one run's trigger positions the other's.

    Both lists are in order; a position occurs once for each of its triggers.
    """
    ours, theirs = Counter(positions), Counter(others)
    return (ours - theirs).total() + (theirs - ours).total()


def holdings(tables: Tables) -> pl.DataFrame:
    """The table `devices` with what each unit was held for.

    Further columns `work` (`training`, `evaluation` or `other`), `trigger` and `outcome`, that of the
    training or evaluation; the latter two are null where there is none. In order of the grants.
    """
    stage_runs = tables["stage_runs"]
    trained = stage_runs.filter(pl.col("stage") == "RUN_TRAINING").select(
        pl.col("parent").alias("holder"), pl.lit("training").alias("work"), "trigger"
    )
    evaluated = stage_runs.filter(pl.col("stage") == "WAIT_FOR_EVALUATION_COMPLETION").select(
        pl.col("id").alias("holder"), pl.lit("evaluation").alias("work"), "trigger", "outcome"
    )
    outcomes = tables["trainings"].select(pl.col("id").alias("holder"), "outcome").unique("holder", keep="last")
    known = pl.concat([trained.join(outcomes, on="holder", how="left"), evaluated]).unique("holder", keep="last")
    held = tables["devices"].join(known, on="holder", how="left")
    slot = pl.col("resource") == "training_slot"
    work = pl.when(slot).then(pl.lit("training")).otherwise(pl.col("work").fill_null("other"))
    return held.with_columns(work.alias("work")).sort("granted_s", "unit", "holder")


def queueing(tables: Tables) -> pl.DataFrame:
    """One row for each wait for a slot or a device: columns `work`, `requested_s`, `granted_s`."""
    waited = holdings(tables).filter(pl.col("resource").is_in(_WAITED_FOR), pl.col("granted_s") > pl.col("requested_s"))
    one_each = waited.unique(["resource", "holder", "requested_s"], keep="first", maintain_order=True)
    return one_each.select("work", "requested_s", "granted_s")


def data_span(tables: Tables) -> tuple[float, float] | None:
    """Data time of the first and of the last sample taken in, as far as the tables know; None if they don't."""
    taken_in = tables["batches"].filter(pl.col("stop") > pl.col("first"))["last_ts"]
    known = pl.concat([tables["triggers"]["first_ts"], tables["models"]["first_ts"], taken_in]).drop_nulls()
    return None if known.is_empty() else (float(known.to_numpy().min()), float(known.to_numpy().max()))


class CompositeScore(NamedTuple):
    """The score of the model in use at each time, as one number."""

    value: float | None
    """Mean over the intervals that have a score, weighted by their data time; None if none has."""
    left_out: float
    """Share of the stream's data time, in [0, 1], that has no such score: none counts as 0."""


def active_accuracy(tables: Tables) -> CompositeScore:
    """Accuracy of the active model over the data time of the stream, from its first sample to its last.

    Left out are the time before the first model, intervals without samples, and what was not evaluated.
    """
    scores = active_scores(tables)
    known = scores.filter(pl.col("value").is_not_null())
    weight = known["end_ts"] - known["start_ts"]
    span = data_span(tables)
    if span is None or _sum(weight) == 0.0:
        return CompositeScore(None, 1.0)
    first, last = min([span[0], *known["start_ts"]]), max([span[1], *known["end_ts"]])
    # neighbouring intervals may overlap by the timestamp that they share: no time counts twice
    begun = pl.max_horizontal("start_ts", pl.col("end_ts").cum_max().shift(1))
    covered_s = known.select((pl.col("end_ts") - begun).clip(lower_bound=0.0).sum()).item()
    left_out = 1.0 - covered_s / (last - first)
    # a sum of many lengths misses the whole by rounding
    return CompositeScore(_sum(known["value"] * weight) / _sum(weight), left_out if left_out > 1e-12 else 0.0)


def active_scores(tables: Tables, metric: str = "accuracy") -> pl.DataFrame:
    """The score of the active model on each interval of one evaluation plan, in data-time order.

    The plan is the first that scored an active model, else the first that has the metric. Columns
    start_ts, end_ts, model, value, num_samples; `model` is null where no model was active yet, `value`
    where the interval has no samples or the active model was not scored on it.
    """
    evaluations = tables["evaluations"].filter(pl.col("metric") == metric)
    plans = [_scores_of_plan(evaluations, tables, plan) for plan in evaluations["plan"].unique().sort()]
    scored = [scores for scores in plans if scores["value"].is_not_null().any()]
    return next(iter([*scored, *plans, _scores_of_plan(evaluations, tables, 0)]))


def _scores_of_plan(evaluations: pl.DataFrame, tables: Tables, plan: int) -> pl.DataFrame:
    evaluations = evaluations.filter(pl.col("plan") == plan)
    intervals = evaluations.select("start_ts", "end_ts").unique().sort("start_ts", "end_ts")
    models = tables["models"].select(pl.col("model").alias("trigger"), "last_ts").to_dicts()
    active = models_in_use(models, "active", intervals["start_ts"].to_numpy())
    serials = [None if model is None else model["trigger"] for model in active]
    scores = evaluations.select("model", "start_ts", "end_ts", pl.col("value").fill_nan(None), "num_samples")
    chosen = intervals.with_columns(pl.Series("model", serials, dtype=pl.Int64))
    return chosen.join(scores, on=["model", "start_ts", "end_ts"], how="left").sort("start_ts", "end_ts")


def _waited_s(queued: pl.DataFrame) -> float:
    return _sum(queued["granted_s"] - queued["requested_s"])


def _sum(values: pl.Series) -> float:
    return float(values.sum() or 0.0)
