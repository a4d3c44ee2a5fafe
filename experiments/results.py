"""What came of a study: tidy frames, one row for each run and one for each of its figures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import polars as pl

from experiments.fingerprint import run_ids
from experiments.job import Job, launched
from experiments.store import Result, read_results
from experiments.study import Study, load_study
from experiments.variants import Variant, axis_columns, variants
from twinclock import plugins
from twinclock.errors import ConfigError, RunError
from twinclock.run_folder import replace_durably, told_as_run_error

if TYPE_CHECKING:
    from twinclock.result import Run

STUDY_FILE = "study.yaml"
RUNS_FILE = "runs.parquet"
"""Written before anything is run, so that it says what was planned, and at the end, so that it says what came of it."""
_RUNS = "runs"
"""The folder, in a study's, that holds the folders of those runs that need one."""


@dataclass(frozen=True)
class StudyResult:
    """What came of a study, as far as it was run."""

    study: Study
    runs: pl.DataFrame
    """One row for each run, by variant and seed.

    Columns: `run` (id), `variant`, `seed`, one for each axis (its level; null where the axis does not apply), `state`
    (`done`, `failed`, `timeout`, `crashed`; `missing` if it was not run yet), `error`.
    """
    metrics: pl.DataFrame
    """One row for each figure of each run that is done: `run`, `metric`, `value` (null if the run has none)."""
    folder: Path | None = None

    @classmethod
    def load(cls, folder: str | Path) -> StudyResult:
        """A study from its folder, also one that goes on. RunError if there is none."""
        path = Path(folder)
        file = path / STUDY_FILE
        if not file.exists():
            raise RunError(f"{path}: no {STUDY_FILE} here, expected the folder of a study")
        try:
            runs = pl.read_parquet(path / RUNS_FILE)
        except (OSError, pl.exceptions.PolarsError) as error:
            told = str(error).splitlines()[0]
            raise RunError(f"{path / RUNS_FILE}: can't be read ({told}), expected the runs of a study") from None
        return collect(load_study(file), runs, read_results(path), path)

    @property
    def variants(self) -> tuple[str, ...]:
        """The labels of all variants, in the study's order."""
        return tuple(self.runs["variant"].unique(maintain_order=True))

    @property
    def axes(self) -> tuple[str, ...]:
        """The columns of `runs` that are axes."""
        return axis_columns(self.study)

    @cached_property
    def wide(self) -> pl.DataFrame:
        """The runs that are done, with a column for each metric."""
        done = self.runs.filter(pl.col("state") == "done").drop("state", "error")
        figures = self.metrics.pivot("metric", index="run", values="value")
        return done.join(figures, on="run", how="left", maintain_order="left")

    @property
    def unfinished(self) -> pl.DataFrame:
        """The runs that are not done: `variant`, `seed`, `state`, `error`."""
        return self.runs.filter(pl.col("state") != "done").select("variant", "seed", "state", "error")

    def run_of(self, variant: str, seed: int | None = None) -> Run:
        """One run with all its tables; without `seed`, that of the first seed that is done.

        A simulated run is simulated again, which gives the same. ConfigError if there is no such variant or seed,
        RunError if the run is not done, or what decides it has changed since.
        """
        of_variant = self.runs.filter(pl.col("variant") == variant)
        if of_variant.is_empty():
            raise ConfigError(
                f"{self.study.name}: variant: got {variant!r}, expected one of {', '.join(self.variants)}"
            )
        seeds = of_variant["seed"].to_list()
        if seed is not None and seed not in seeds:
            raise ConfigError(f"{self.study.name}: seed: got {seed}, expected one of {', '.join(map(str, seeds))}")
        wanted = pl.col("state") == "done" if seed is None else pl.col("seed") == seed
        row = of_variant.filter(wanted).head(1).to_dicts()
        if not row or row[0]["state"] != "done":
            raise RunError(f"{self.study.name}: no run of {variant!r} is done")
        (found,) = (each for each in variants(self.study) if each.label == variant)
        run, of_seed = row[0]["run"], row[0]["seed"]
        job = _job(self.study, run, found, of_seed, found.values(self.study, of_seed), self.folder)
        if job.folder is None and run_ids([job.config], job.on) != [run]:
            raise RunError(f"{self.study.name}: {job.label}: the code or the data is another now; sweep it again")
        return launched(job)

    def _repr_html_(self) -> str:
        from experiments.show import study_html

        return study_html(self)

    def write(self, folder: Path) -> None:
        """Leave `runs.parquet` and `metrics.parquet` in a folder, each whole or as it was before."""
        write_table(self.runs, folder / RUNS_FILE)
        write_table(self.metrics, folder / "metrics.parquet")


@dataclass(frozen=True, slots=True)
class PlannedRun:
    """A run of a study: one variant with one seed."""

    variant: Variant
    seed: int
    run: str
    """Its id."""
    config: dict[str, Any] | None
    """None if the variant's changes can't be made at all; `error` then says why."""
    error: str | None = None


def plan(study: Study) -> tuple[PlannedRun, ...]:
    """All runs of a study, by variant and seed, with their ids. ConfigError if the study itself is wrong."""
    return plan_variants(study, variants(study), study.all_seeds)


def plan_variants(study: Study, of: Sequence[Variant], seeds: Sequence[int]) -> tuple[PlannedRun, ...]:
    """The runs of some variants with some seeds, by variant and seed. ConfigError if there is no such executor."""
    plugins.find(study.on)
    pairs = [(variant, seed) for variant in of for seed in seeds]
    configs: list[dict[str, Any] | str] = []
    for variant, seed in pairs:
        try:
            configs.append(variant.values(study, seed))
        except ConfigError as error:
            configs.append(str(error))
    ids = run_ids(configs, study.on)
    return tuple(
        PlannedRun(variant, seed, run, None, config)
        if isinstance(config, str)
        else PlannedRun(variant, seed, run, config)
        for (variant, seed), config, run in zip(pairs, configs, ids, strict=True)
    )


def jobs(study: Study, planned: Sequence[PlannedRun], folder: Path | None) -> list[Job]:
    """What has to be performed for these runs, each id once."""
    by_id = {each.run: (each, each.config) for each in planned if each.config is not None}
    return [_job(study, run, each.variant, each.seed, config, folder) for run, (each, config) in by_id.items()]


def planned_runs(study: Study, planned: Sequence[PlannedRun]) -> pl.DataFrame:
    """The frame `StudyResult.runs` before anything was run."""
    levels_of = {name: [each.variant.levels.get(name) for each in planned] for name in axis_columns(study)}
    return pl.DataFrame(
        {
            "run": [each.run for each in planned],
            "variant": [each.variant.label for each in planned],
            "seed": [each.seed for each in planned],
            **{name: level_column(name, levels) for name, levels in levels_of.items()},
            "state": ["missing" if each.error is None else "failed" for each in planned],
            "error": pl.Series([each.error for each in planned], dtype=pl.String),
        }
    )


def collect(study: Study, runs: pl.DataFrame, results: Mapping[str, Result], folder: Path | None) -> StudyResult:
    """The frames of a study, from the planned runs and what is known of them."""
    known = [(run, result.state, result.error) for run, result in results.items()]
    ended = pl.DataFrame(known, schema=dict.fromkeys(("run", "state", "error"), pl.String), orient="row")
    told = runs.join(ended, on="run", how="left", maintain_order="left", suffix="_known")
    is_known = pl.col("state_known").is_not_null()
    runs = told.with_columns(
        pl.when(is_known).then("state_known").otherwise("state").alias("state"),
        pl.when(is_known).then("error_known").otherwise("error").alias("error"),
    ).drop("state_known", "error_known")
    wanted = [run for run in runs["run"].unique(maintain_order=True) if run in results]
    figures = [(run, metric, value) for run in wanted for metric, value in results[run].figures.items()]
    kinds = {"run": pl.String, "metric": pl.String, "value": pl.Float64}
    return StudyResult(study, runs, pl.DataFrame(figures, schema=kinds, orient="row"), folder)


def write_table(table: pl.DataFrame, file: Path) -> None:
    """Write a frame as Parquet, whole or not at all. RunError if it can't be."""
    with told_as_run_error(file.parent), replace_durably(file) as unfinished:
        table.write_parquet(unfinished, compression="zstd")


def level_column(name: str, levels: Sequence[Any]) -> pl.Series:
    """Numbers as numbers if all of them are, else everything as text."""
    given = [level for level in levels if level is not None]
    if all(isinstance(level, bool) for level in given):
        return pl.Series(name, levels, pl.Boolean if given else pl.String)
    if not any(isinstance(level, bool) for level in given):
        if all(isinstance(level, int) for level in given):
            return pl.Series(name, levels, pl.Int64)
        if all(isinstance(level, int | float) for level in given):
            return pl.Series(name, [None if level is None else float(level) for level in levels], pl.Float64)
    return pl.Series(name, [None if level is None else str(level) for level in levels], pl.String)


def _job(study: Study, run: str, variant: Variant, seed: int, config: dict[str, Any], folder: Path | None) -> Job:
    needs_folder = plugins.find(study.on).is_resumable
    if needs_folder and folder is None:
        raise RunError(f"{study.name}: runs on {study.on} need a folder, and this study has none")
    own = str(folder / _RUNS / run) if needs_folder and folder is not None else None
    return Job(run, f"{variant.label}, seed {seed}", config, study.on, own)
