"""A run in a few figures, derived from its tables alone, the same for both modes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import polars as pl

from twinclock.activations import activated_models, rejected_models
from twinclock.config import Config
from twinclock.freshness import freshness
from twinclock.lost import lost_jobs
from twinclock.occupied import occupied
from twinclock.policies.evaluation import (
    NO_BOUNDS,
    Composed,
    EvaluationPlan,
    Span,
    all_bounds,
    composite,
    scores_in_use,
)
from twinclock.usage import left_out, totals, usage

Tables = Mapping[str, pl.DataFrame]

_BROKEN_OFF = ("preempted", "superseded", "cancelled")
"""Ends of a training that was stopped on purpose."""
_WAITED_FOR = ("training_slot", "device")
"""Resources whose waiting counts as queueing; `admission` is a lock held for a moment."""
_PLANS: Mapping[Composed, tuple[str, ...]] = {
    "active": ("active", "all"),
    "trained": ("trained", "all"),
    "served": ("served",),
}
"""Whose scores a composite is made of → the plans that have them, by their key `models`."""
_NOT_PLANNED: Mapping[str, Any] = {"value": None, "left_out": 1.0}


def summarise(config: Config, header: Mapping[str, Any], tables: Tables) -> dict[str, Any]:
    """The figures that people compare.

    `stage_s`: seconds spent in each stage, summed over its runs. `device_s`: seconds that devices were held, split
    between jobs that have one at once; `utilisation`, `down_s`, `usd`, `busy_usd` and `joules` are those of `usage`,
    `usd_left_out` and `joules_left_out` the pools whose price or power nobody gave; what is about latency, staleness
    and backlog is that of `freshness`. `queued_s`: seconds that trainings waited for a slot or a device, and other work
    for a device, each waiting one counted; `training_queued_s` and `evaluation_queued_s` are parts of it.
    `lost_evaluations` and `lost_observations` are those that no attempt got done.
    `rejected_models` were stored, and turned away by the gate.
    `stopped_trainings` made way for a newer one, `failed_trainings` did not: both count attempts.
    `accuracy`, `trained_accuracy`, `served_accuracy`, each with what it leaves out, are those of
    `composites` that have this metric. None where there is nothing.
    """
    stage_runs, devices, batches = tables["stage_runs"], tables["devices"], tables["batches"]
    busy = occupied(devices)
    outcomes = tables["trainings"]["outcome"]
    trained, stopped = int((outcomes == "trained").sum()), int(outcomes.is_in(_BROKEN_OFF).sum())
    queued = queueing(tables)
    used = usage(config.cluster, busy, tables["outages"], header.get("makespan_s"))
    by_stage = (
        stage_runs.group_by("stage")
        .agg((pl.col("ended_s") - pl.col("started_s")).sum().alias("seconds"))
        .sort(["seconds", "stage"], descending=[True, False])
    )
    scores, lost = composites(config, tables), lost_jobs(tables)["what"]
    accuracy = {each["models"]: each for each in scores if each["metric"] == "accuracy"}
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
        "quarantined": int(max(_sum(batches["quarantined"]), _sum(tables["quarantine"]["records"]))),
        "batches": batches.height,
        "triggers": tables["triggers"].height,
        "positions": tables["triggers"].sort("trigger")["position"].to_list(),
        "trainings": trained,
        "stopped_trainings": stopped,
        "failed_trainings": outcomes.len() - trained - stopped,
        "models": tables["models"].height,
        "rejected_models": len(rejected_models(tables)),
        "evaluations": tables["evaluations"].height,
        "faults": tables["faults"].height,
        "lost_evaluations": int((lost == "evaluations").sum()),
        "lost_observations": int((lost == "observations").sum()),
        "device_s": _sum(busy["busy_s"]),
        **totals(used),
        **left_out(used),
        **freshness(tables, header.get("makespan_s")),
        "queued_s": _waited_s(queued),
        "training_queued_s": _waited_s(queued.filter(pl.col("work") == "training")),
        "evaluation_queued_s": _waited_s(queued.filter(pl.col("work") == "evaluation")),
        "accuracy": accuracy.get("active", _NOT_PLANNED)["value"],
        "accuracy_left_out": accuracy.get("active", _NOT_PLANNED)["left_out"],
        "trained_accuracy": accuracy.get("trained", _NOT_PLANNED)["value"],
        "trained_accuracy_left_out": accuracy.get("trained", _NOT_PLANNED)["left_out"],
        "served_accuracy": accuracy.get("served", _NOT_PLANNED)["value"],
        "served_accuracy_left_out": accuracy.get("served", _NOT_PLANNED)["left_out"],
        "composites": scores,
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


def composites(config: Config, tables: Tables) -> list[dict[str, Any]]:
    """One number for the scores over time, for each metric and each way to say which model is in use, where planned.

    In the order of the metrics, each with `metric`, `models` (`active`, `trained` or `served`), the number
    of the `plan` that it is taken from, `value` and `left_out` as in `Composite`.
    """
    measured = tables["evaluations"]["metric"].unique().sort().to_list()
    found = []
    for metric in dict.fromkeys([*config.evaluation.metrics, *measured]):
        for which in _PLANS:
            plan, scores = _planned_scores(config, tables, which, metric)
            if plan is not None:
                made = composite(scores)
                row = {"metric": metric, "models": which, "plan": plan}
                found.append({**row, "value": made.value, "left_out": made.left_out})
    return found


def composite_scores(config: Config, tables: Tables, which: Composed, metric: str) -> pl.DataFrame:
    """The scores that a composite is made of, as `scores_in_use` gives them; no row if no plan asks for such models."""
    return _planned_scores(config, tables, which, metric)[1]


def _planned_scores(config: Config, tables: Tables, which: Composed, metric: str) -> tuple[int | None, pl.DataFrame]:
    """Of the first plan that has a score of a model in use, else of the first that asks for one; and its number."""
    evaluations = tables["evaluations"].filter(pl.col("metric") == metric)
    planned: list[tuple[int | None, pl.DataFrame]] = []
    for number, plan in enumerate(config.evaluation.plans):
        if plan.models in _PLANS[which]:
            scores = scores_of_plan(evaluations.filter(pl.col("plan") == number), tables, plan, which)
            if scores["value"].is_not_null().any():
                return number, scores
            planned.append((number, scores))
    return planned[0] if planned else (None, scores_in_use(evaluations.clear(), NO_BOUNDS, [], which))


def scores_of_plan(evaluations: pl.DataFrame, tables: Tables, plan: EvaluationPlan, which: Composed) -> pl.DataFrame:
    """The scores of the models in use, as `scores_in_use` gives them, from rows of one plan and one metric."""
    span = data_span(tables)
    bounds = all_bounds(plan, None if span is None else Span(*span), _entries(tables["models"]))
    once = evaluations.unique(["model", "start_ts", "end_ts"], keep="first", maintain_order=True)
    return scores_in_use(once, bounds, _entries(activated_models(tables)), which)


def _entries(models: pl.DataFrame) -> list[dict[str, Any]]:
    """Rows of `models` as far as plans look at them."""
    rows = models.filter(pl.col("last_ts").is_not_null())
    return rows.select(pl.col("model").alias("trigger"), "first_ts", "last_ts").to_dicts()


def _waited_s(queued: pl.DataFrame) -> float:
    return _sum(queued["granted_s"] - queued["requested_s"])


def _sum(values: pl.Series) -> float:
    return float(values.sum() or 0.0)
