"""What is taken from runs: the figures of each, and how far their stage runs are apart, one by one."""

from __future__ import annotations

from collections.abc import Sequence

import polars as pl

from experiments.fidelity.records import Figures, StageMatch
from twinclock.result import Run


def figures_of(run: Run) -> Figures:
    """The figures of a run that is done."""
    summary = run.summary
    return Figures(
        makespan_s=summary["makespan_s"],
        device_s=summary["device_s"],
        queued_s=summary["queued_s"],
        training_queued_s=summary["training_queued_s"],
        evaluation_queued_s=summary["evaluation_queued_s"],
        accuracy=summary["accuracy"],
        positions=tuple(summary["positions"]),
        stage_s=dict(summary["stage_s"]),
    )


def match_stages(real: Sequence[pl.DataFrame], simulated: pl.DataFrame) -> tuple[StageMatch, ...]:
    """The stage runs of the repeats and of the simulation by id, stage by stage. Each frame: the table `stage_runs`."""
    repeats = pl.concat([_seconds(table).with_columns(repeat=pl.lit(number)) for number, table in enumerate(real)])
    middle = repeats.group_by("stage", "id").agg(pl.col("seconds").median(), pl.col("started_s").median())
    both = middle.join(_seconds(simulated), on=("stage", "id"), how="inner", suffix="_simulated")
    apart = _relative("seconds_simulated", "seconds").mean()
    start_off_s = (pl.col("started_s_simulated") - pl.col("started_s")).abs().mean()
    matched = both.group_by("stage").agg(pl.len().alias("num"), apart.alias("mape"), start_off_s.alias("start_off_s"))
    found = {row["stage"]: row for row in matched.iter_rows(named=True)}
    among = _among(repeats)
    num_real = dict(middle.group_by("stage").len().iter_rows())
    num_simulated = dict(simulated.group_by("stage").len().iter_rows())
    return tuple(
        StageMatch(
            stage=stage,
            num_real=num_real.get(stage, 0),
            num_simulated=num_simulated.get(stage, 0),
            num_matched=found[stage]["num"] if stage in found else 0,
            mape=found[stage]["mape"] if stage in found else None,
            real_mape=among.get(stage),
            start_off_s=found[stage]["start_off_s"] if stage in found else None,
        )
        for stage in sorted({*num_real, *num_simulated})
    )


def _among(repeats: pl.DataFrame) -> dict[str, float | None]:
    """Stage → the mean of |one − other| / other over all ordered pairs of repeats."""
    pairs = repeats.join(repeats, on=("stage", "id"), suffix="_other").filter(
        pl.col("repeat") != pl.col("repeat_other")
    )
    return dict(pairs.group_by("stage").agg(_relative("seconds", "seconds_other").mean()).iter_rows())


def _seconds(stage_runs: pl.DataFrame) -> pl.DataFrame:
    ended = stage_runs.filter(pl.col("ended_s").is_not_null())
    return ended.select("stage", "id", "started_s", (pl.col("ended_s") - pl.col("started_s")).alias("seconds"))


def _relative(one: str, other: str) -> pl.Expr:
    """|one − other| / other; null where the other took no time."""
    return pl.when(pl.col(other) > 0.0).then((pl.col(one) - pl.col(other)).abs() / pl.col(other))
