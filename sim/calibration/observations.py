"""What finished runs show, as tables: how long each thing took, and what there was to do."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import polars as pl

from sim.calibration.overlap import with_neighbours
from twinclock.graph import BUILT_IN_OUTCOMES, YIELDED
from twinclock.result import Run

TRAIN, EVALUATE = "WAIT_FOR_TRAINING_COMPLETION", "WAIT_FOR_EVALUATION_COMPLETION"
_CHUNKS = ("REPLAY_DATA", "FETCH_NEW_DATA")
_SECONDS = pl.col("ended_s") - pl.col("started_s")
_RUN = "run"
"""Column: the number of the run, from 0."""


@dataclass(frozen=True)
class Observations:
    """Each table has a column `run`; times are seconds."""

    stages: pl.DataFrame
    """`stage`, `seconds` of each stage run that ended well."""
    trainings: pl.DataFrame
    """`num_samples`, `epochs`, `batch_size`, `steps`, `device`, `seconds`, `is_warmup`, and what `overlap` adds."""
    evaluations: pl.DataFrame
    """`intervals`, `num_samples`, `device`, `seconds`, `is_warmup`, and what `overlap` adds."""
    chunks: pl.DataFrame
    """`num_samples`, `seconds` of each chunk taken in."""
    stores: pl.DataFrame
    """`size_bytes`, `seconds` of each model stored."""
    grants: pl.DataFrame
    """`seconds` from a device being free to the pipeline going on with it."""
    distances: pl.DataFrame
    """`seconds` of each observation of distances or detectors."""
    scores: pl.DataFrame
    """`model`, `num_samples` and `epochs` it was trained on, `age_s`, `value` (accuracy), `num_scored`."""


def observe(runs: Sequence[Run]) -> Observations:
    """What these runs show."""
    return Observations(
        stages=_of_each(runs, _stages),
        trainings=_of_each(runs, _trainings),
        evaluations=_of_each(runs, _evaluations),
        chunks=_of_each(runs, _chunks),
        stores=_of_each(runs, _stores),
        grants=_of_each(runs, _grants),
        distances=_of_each(runs, _distances),
        scores=_of_each(runs, _scores),
    )


def _of_each(runs: Sequence[Run], table: Callable[[Run], pl.DataFrame]) -> pl.DataFrame:
    return pl.concat([table(run).with_columns(pl.lit(number).alias(_RUN)) for number, run in enumerate(runs)])


def _well(run: Run) -> pl.DataFrame:
    bad = [*BUILT_IN_OUTCOMES, YIELDED]
    return run.stage_runs.filter(~pl.col("outcome").is_in(bad))


def _stages(run: Run) -> pl.DataFrame:
    return _well(run).select("stage", seconds=_SECONDS)


def _trainings(run: Run) -> pl.DataFrame:
    """Those that ran through from the start to the end.

    Cold is the first on each device, and the first after a failure, which may have taken the worker with it.
    """
    training = run.config.training
    cold = pl.col("outcome").shift(1).over("device", order_by="started_s")
    all_ = run.trainings.with_columns(is_warmup=cold.is_null() | cold.is_in(["failed", "timeout"]))
    # one that goes on from a checkpoint takes less than its samples do
    broken_off = all_.filter(pl.col("lost_s").is_not_null() | ~pl.col("outcome").is_in(["trained", "superseded"]))
    whole = ~pl.col("trigger").is_in(broken_off["trigger"].implode())
    trained = all_.filter(whole, pl.col("outcome") == "trained").select(
        "num_samples",
        "device",
        "started_s",
        "ended_s",
        "is_warmup",
        epochs=pl.lit(training.epochs),
        batch_size=pl.lit(training.batch_size),
        steps=training.epochs * (pl.col("num_samples") / training.batch_size).ceil(),
        seconds=_SECONDS,
    )
    return with_neighbours(trained, run)


def _evaluations(run: Run) -> pl.DataFrame:
    """A job's scores are noted when its EVALUATION_COMPLETED ends, in the order in which those end."""
    noted = _well(run).filter(pl.col("stage") == "EVALUATION_COMPLETED").select("parent", "ended_s")
    scored = (
        run.evaluations.with_row_index("row")
        .group_by("evaluated_s", "plan", "model")
        .agg(
            pl.col("row").min(),
            intervals=pl.struct("start_ts", "end_ts").n_unique(),
            num_samples=pl.col("num_samples").filter(pl.col("metric") == pl.col("metric").first()).sum(),
        )
        .sort("evaluated_s", "row")
    )
    of_moment = pl.int_range(pl.len())
    matched = noted.with_columns(nth=of_moment.over("ended_s"), count=pl.len().over("ended_s")).join(
        scored.with_columns(nth=of_moment.over("evaluated_s"), count=pl.len().over("evaluated_s")),
        left_on=["ended_s", "nth", "count"],
        right_on=["evaluated_s", "nth", "count"],
    )
    waited = _well(run).filter(pl.col("stage") == EVALUATE, pl.col("device").is_not_null())
    jobs = (
        waited.join(matched.select("parent", "intervals", "num_samples"), on="parent")
        .sort("started_s")
        .select(
            "intervals",
            "num_samples",
            "device",
            "started_s",
            "ended_s",
            is_warmup=pl.int_range(pl.len()).over("device") == 0,
            seconds=_SECONDS,
        )
    )
    return with_neighbours(jobs, run)


def _chunks(run: Run) -> pl.DataFrame:
    """The batches of the n-th chunk are those cut when the n-th HANDLE_NEW_DATA has ended."""
    taken = _well(run).filter(pl.col("stage").is_in(_CHUNKS), pl.col("outcome") == "chunk").sort("ended_s")
    cut = _well(run).filter(pl.col("stage") == "HANDLE_NEW_DATA").sort("ended_s")
    sizes = run.batches.group_by("cut_s").agg(num_samples=(pl.col("stop") - pl.col("first")).sum())
    sizes = cut.join(sizes, left_on="ended_s", right_on="cut_s", how="left", maintain_order="left")
    length = min(taken.height, sizes.height)
    return pl.DataFrame(
        {
            "num_samples": sizes["num_samples"].head(length).fill_null(0),
            "seconds": taken.select(_SECONDS).to_series().head(length),
        }
    )


def _stores(run: Run) -> pl.DataFrame:
    stored = _well(run).filter(pl.col("stage") == "STORE_TRAINED_MODEL")
    sizes = run.models.select("model", "size_bytes")
    return stored.join(sizes, left_on="trigger", right_on="model").select("size_bytes", seconds=_SECONDS)


def _grants(run: Run) -> pl.DataFrame:
    """A unit is free when who had it before has given it back, or before it was asked for."""
    held = run.devices.filter(pl.col("granted_s").is_not_null()).sort("granted_s")
    before = pl.col("released_s").shift(1).over("resource", "unit")
    free_s = pl.max_horizontal("requested_s", before)
    grants = held.with_columns(seconds=pl.col("granted_s") - free_s).filter(pl.col("resource") == "device")
    # of several devices together, the last to be free
    return grants.group_by("holder", "granted_s", maintain_order=True).agg(pl.col("seconds").min()).select("seconds")


def _distances(run: Run) -> pl.DataFrame:
    """An observation is noted when its OBSERVE ends."""
    moments = run.observations.filter(pl.col("kind") == "distance")["observed_s"].unique()
    observed = _well(run).filter(pl.col("stage") == "OBSERVE", pl.col("ended_s").is_in(moments.implode()))
    return observed.select(seconds=_SECONDS)


def _scores(run: Run) -> pl.DataFrame:
    """One for each model and interval; two plans that asked for the same have measured it once."""
    age_s = ((pl.col("start_ts") + pl.col("end_ts")) / 2 - pl.col("last_ts")).clip(lower_bound=0.0)
    scores = run.evaluations.filter(pl.col("metric") == "accuracy", pl.col("value").is_not_null())
    trained = run.models.select("model", "last_ts", trained="num_samples")
    return (
        scores.unique(["model", "start_ts", "end_ts"], keep="first", maintain_order=True)
        .join(trained, on="model")
        .select("model", "value", num_samples="trained", epochs=pl.lit(run.config.training.epochs), age_s=age_s,
                num_scored="num_samples")
    )  # fmt: skip
