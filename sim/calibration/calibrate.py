"""From the folders of real runs to the costs, the interference and the quality that the simulator needs for them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from sim.calibration.accuracy import fit_accuracy
from sim.calibration.constants import line_s, mean_figure, median_figure
from sim.calibration.durations import Fit, fit_seconds
from sim.calibration.figures import Figure
from sim.calibration.likeness import check_likeness, finished_runs
from sim.calibration.observations import Observations, observe
from sim.calibration.overlap import BESIDE, Slowing, alone_s, beside_matrix, fit_slowing
from sim.calibration.result import Calibration
from sim.calibration.warmup import fit_warmup
from sim.config import ReadCost, StoreCost
from sim.throughput.formula import EvaluationCost
from twinclock.errors import RunError
from twinclock.result import Run
from twinclock.stages import DECISIONS

Floats = NDArray[np.float64]
_LEAST_TRAININGS, _LEAST_SIZES = 5, 3
_OBSERVE = "`twinclock observe CONFIG` makes one"
_AT_ONCE = 1e12
"""Samples a second where the number of samples is not seen to matter."""


def calibrate(folders: Sequence[str | Path]) -> Calibration:
    """Fit every cost that the simulator uses to finished real runs of one model.

    Runs with different batch sizes, epochs, triggers or numbers of devices tell more together. RunError, one line, if
    a folder is no finished real run, the runs do not belong together, or they show too little; it says what would help.
    """
    runs = finished_runs([folders] if isinstance(folders, str | Path) else folders)
    check_likeness(runs)
    return fit_runs(runs)


def fit_runs(runs: Sequence[Run]) -> Calibration:
    """The same of runs that are known to be fit for it. RunError if they show too little."""
    seen = observe(runs)
    where = ", ".join(str(run.folder or run.name) for run in runs)
    _check_enough(seen, where)
    missing: list[str] = []
    slowing = _slowing(seen, missing)
    factor = slowing.factor if slowing is not None else 0.0
    training, training_s = _fit_trainings(seen.trainings, factor, where)
    evaluation, evaluation_s = _fit_evaluations(seen.evaluations, factor)
    warmup = fit_warmup(_training_columns(seen.trainings), seen.trainings["is_warmup"].to_numpy(),
                        alone_s(beside_matrix(seen.trainings), factor), training)  # fmt: skip
    costs: dict[str, Any] = {}
    figures: list[Figure] = []
    _put_constants(costs, figures, seen, missing)
    _put_training(costs, figures, training, seen.trainings, missing)
    figures.append(warmup)
    costs["warmup_s"] = warmup.value
    _put_evaluation(costs, figures, evaluation, seen.evaluations, missing)
    for key, fit, seconds in (
        ("noise_sigma", training, training_s),
        ("evaluation_noise_sigma", evaluation, evaluation_s),
    ):
        costs[key] = fit.sigma
        figures.append(Figure(f"costs.{key}", fit.sigma, None, None, "", len(seconds)))
    interference = None
    if slowing is not None:
        interference = {"same_node": slowing.factor}
        figures.append(Figure("interference.same_node", slowing.factor, slowing.low, slowing.high, "", len(training_s)))
    from_scratch = all(run.config.training.start_from == "scratch" for run in runs)
    accuracy = fit_accuracy(seen.scores, from_scratch=from_scratch) if _classifies(runs) else None
    if accuracy is None:
        missing.append(_without_quality(runs))
    else:
        figures.extend(accuracy.figures)
    return Calibration(
        costs=costs,
        interference=interference,
        quality=None if accuracy is None else accuracy.quality,
        matrix=_matrix(runs),
        figures=tuple(figures),
        missing=tuple(missing),
        residuals=_residuals(seen, factor, training, evaluation),
        scores=None if accuracy is None else accuracy.scores,
        runs=tuple(runs),
    )


def _check_enough(seen: Observations, where: str) -> None:
    trainings, evaluations = seen.trainings, seen.evaluations
    if trainings.height < _LEAST_TRAININGS:
        got = f"{trainings.height} training{'s' * (trainings.height != 1)} that ran through"
        raise RunError(f"{where}: {got}, expected at least {_LEAST_TRAININGS}; {_OBSERVE}")
    sizes = trainings.filter(~pl.col("is_warmup")).select(pl.col("num_samples") * pl.col("epochs")).n_unique()
    if sizes < _LEAST_SIZES:
        got = f"trainings of {sizes} size{'s' * (sizes != 1)} besides the first on each device"
        raise RunError(f"{where}: {got}, expected at least {_LEAST_SIZES}; {_OBSERVE}")
    if evaluations.filter(~pl.col("is_warmup")).height < _LEAST_SIZES:
        got = f"{evaluations.height} evaluation job{'s' * (evaluations.height != 1)}"
        raise RunError(
            f"{where}: {got}, expected at least {_LEAST_SIZES} besides the first on each device: "
            f"a run with evaluation.plans; {_OBSERVE}"
        )


def _training_columns(trainings: pl.DataFrame) -> Floats:
    return trainings.select(
        pl.lit(1.0).alias("setup"), "steps", seen=pl.col("num_samples") * pl.col("epochs")
    ).to_numpy().astype(np.float64)  # fmt: skip


def _evaluation_columns(evaluations: pl.DataFrame) -> Floats:
    return evaluations.select(pl.lit(1.0).alias("setup"), "intervals", "num_samples").to_numpy().astype(np.float64)


def _slowing(seen: Observations, missing: list[str]) -> Slowing | None:
    steady = seen.trainings.filter(~pl.col("is_warmup"))
    if steady[BESIDE].list.len().max() == 1:
        missing.append("interference: no training had another job beside it; a run on two devices would tell")
        return None
    found = fit_slowing(_training_columns(steady), beside_matrix(steady))
    if found is None:
        missing.append(
            "interference: hardly any trainings alone beside some side by side; a run on one device besides would tell"
        )
    return found


def _fit_trainings(trainings: pl.DataFrame, factor: float, where: str) -> tuple[Fit, Floats]:
    steady = trainings.filter(~pl.col("is_warmup"))
    seconds = alone_s(beside_matrix(steady), factor)
    if (seconds <= 0).any():
        raise RunError(f"{where}: trainings that took no time, expected some for each; {_OBSERVE}")
    fit = fit_seconds(_training_columns(steady), seconds, optional=(1, 2))
    if fit.numbers[1] == fit.numbers[2] == 0:
        raise RunError(
            f"{where}: trainings that take no longer on more samples, expected them to; "
            f"a run with sizes further apart would help: {_OBSERVE}"
        )
    return fit, seconds


def _fit_evaluations(evaluations: pl.DataFrame, factor: float) -> tuple[Fit, Floats]:
    steady = evaluations.filter(~pl.col("is_warmup"))
    seconds = np.maximum(alone_s(beside_matrix(steady), factor), 1e-9)
    return fit_seconds(_evaluation_columns(steady), seconds, optional=(1, 2)), seconds


def _put_constants(costs: dict[str, Any], figures: list[Figure], seen: Observations, missing: list[str]) -> None:
    by_stage = {str(stage): table["seconds"].to_numpy() for (stage,), table in seen.stages.group_by("stage")}
    decided = {stage: by_stage[stage] for stage in DECISIONS if stage in by_stage}
    every = np.concatenate(list(decided.values()))
    figures.append(mean_figure("costs.decide_s", every))
    costs["decide_s"] = figures[-1].value
    costs["decide_by_stage"] = {}
    for stage, seconds in decided.items():
        figures.append(mean_figure(f"costs.decide_by_stage.{stage}", seconds))
        costs["decide_by_stage"][stage] = figures[-1].value
    nothing = np.empty(0)
    for key, of_all, seconds in (
        ("grant_s", mean_figure, seen.grants["seconds"].to_numpy()),
        ("connect_s", median_figure, by_stage.get("INIT_CLUSTER_CONNECTION", nothing)),
        ("launch_s", mean_figure, by_stage.get("RUN_TRAINING", nothing)),
        ("results_s", mean_figure, by_stage.get("STORE_EVALUATION_RESULTS", nothing)),
    ):
        if len(seconds):
            figures.append(of_all(f"costs.{key}", seconds))
            costs[key] = figures[-1].value
        else:
            missing.append(f"costs.{key}: the runs show none")
    costs["read"] = _line("costs.read", seen.chunks, "num_samples", ReadCost().samples_per_s, figures, missing)
    _put_store(costs, figures, seen.stores, missing)
    _put_drift(costs, figures, by_stage, seen, missing)


def _line(
    key: str, table: pl.DataFrame, size: str, default_rate: float, figures: list[Figure], missing: list[str]
) -> dict[str, float]:
    """A setup, and a throughput if the sizes tell it; if not the setup is what the default throughput leaves of it."""
    sizes, seconds = table[size].to_numpy().astype(float), table["seconds"].to_numpy()
    setup_s, each_s = line_s(sizes, seconds)
    whole = mean_figure(f"{key}: mean", seconds)
    figures.append(whole)
    if each_s is not None:
        return {"setup_s": setup_s, "samples_per_s": 1.0 / each_s}
    missing.append(f"{key}.samples_per_s: not told from {key}.setup_s; a run with another size of chunks would tell")
    return {"setup_s": max(0.0, whole.value - float(sizes.mean()) / default_rate)}


def _put_store(costs: dict[str, Any], figures: list[Figure], stores: pl.DataFrame, missing: list[str]) -> None:
    if stores.is_empty():
        missing.append("costs.store: the runs store no models")
        return
    size_bytes = round(stores["size_bytes"].mean())  # type: ignore[arg-type]
    whole = mean_figure("costs.store: mean", stores["seconds"].to_numpy())
    figures.append(whole)
    missing.append("costs.store.bytes_per_s: models of one architecture have much the same size, so it is not fitted")
    latency_s = max(0.0, whole.value - size_bytes / StoreCost().bytes_per_s)
    costs["store"] = {"latency_s": latency_s, "model_bytes": size_bytes}


def _put_drift(
    costs: dict[str, Any], figures: list[Figure], by_stage: dict[str, Floats], seen: Observations, missing: list[str]
) -> None:
    seconds = seen.distances["seconds"].to_numpy()
    if not len(seconds):
        missing.append("costs.drift: no distances were observed; a run with a trigger of kind drift would tell")
        return
    figures.append(mean_figure("costs.drift.setup_s", seconds))
    costs["drift"] = {"setup_s": figures[-1].value, "samples_per_s": _AT_ONCE}


def _put_training(
    costs: dict[str, Any], figures: list[Figure], fit: Fit, trainings: pl.DataFrame, missing: list[str]
) -> None:
    costs["training"] = _numbers_of("costs.training", fit, ("setup_s", "step_s", "samples_per_s"), trainings, figures)
    if 1 not in fit.told:
        missing.append(
            "costs.training.step_s: not told from samples_per_s; a run with another training.batch_size would tell"
        )
    if 2 not in fit.told:  # small models: what counts is how many steps there are, not how many samples each has
        costs["training"]["samples_per_s"] = _AT_ONCE
        missing.append("costs.training.samples_per_s: not told from step_s; a run with larger minibatches would tell")


def _put_evaluation(
    costs: dict[str, Any], figures: list[Figure], fit: Fit, evaluations: pl.DataFrame, missing: list[str]
) -> None:
    numbers = _numbers_of("costs.evaluation", fit, ("setup_s", "interval_s", "samples_per_s"), evaluations, figures)
    if 1 not in fit.told:
        missing.append("costs.evaluation.interval_s: not told from setup_s; a run whose jobs differ in intervals would")
    if 2 not in fit.told:
        # the default throughput stands, and what it takes is no part of the setup
        samples_s = float(evaluations["num_samples"].mean()) / EvaluationCost().samples_per_s  # type: ignore[arg-type]
        numbers["setup_s"] = max(0.0, numbers["setup_s"] - samples_s)
        missing.append("costs.evaluation.samples_per_s: not told from setup_s; a run with longer intervals would tell")
    costs["evaluation"] = numbers


def _numbers_of(
    key: str, fit: Fit, names: tuple[str, str, str], table: pl.DataFrame, figures: list[Figure]
) -> dict[str, Any]:
    """The third number is seconds a sample, and its key wants samples a second."""
    numbers: dict[str, Any] = {"kind": "formula"}
    steady = int((~table["is_warmup"]).sum())
    spread = float(np.median(np.abs(fit.residuals)))
    for column in fit.told:
        value, low, high = (float(each[column]) for each in (fit.numbers, fit.low, fit.high))
        unit = "s"
        if column == 2:
            unit, value = "samples/s", 1.0 / value
            low, high = 1.0 / high, (1.0 / low if low > 0 else float("inf"))
        numbers[names[column]] = value
        figures.append(Figure(f"{key}.{names[column]}", value, low, high, unit, steady, table.height - steady, spread))
    return numbers


def _classifies(runs: Sequence[Run]) -> bool:
    return all(run.config.training.task == "classification" for run in runs)


def _without_quality(runs: Sequence[Run]) -> str:
    if not _classifies(runs):
        return f"quality: it is about accuracy, which models of task {runs[0].config.training.task} have not"
    return "quality: too few scores of accuracy; a run with evaluation.metrics accuracy, and more models, would tell"


def _matrix(runs: Sequence[Run]) -> tuple[Path, ...]:
    """The runs that have measured all their models on all intervals: those of the policy with the most scores.

    None where the runs are of different data (as those of `observe` are): they would answer only for their own.
    """
    if len({run.config.data.model_dump_json() for run in runs}) > 1:
        return ()
    measured: dict[str, list[tuple[int, Path]]] = {}
    for run in runs:
        plans = [number for number, plan in enumerate(run.config.evaluation.plans) if plan.models == "all"]
        height = run.evaluations.filter(pl.col("plan").is_in(plans), pl.col("value").is_not_null()).height
        if height and run.folder is not None:
            policy = run.config.model_copy(update={"seed": 0, "name": ""}).model_dump_json()
            measured.setdefault(policy, []).append((height, run.folder))
    most = max(measured.values(), key=max, default=[])
    return tuple(folder for _, folder in most)


def _residuals(seen: Observations, factor: float, training: Fit, evaluation: Fit) -> pl.DataFrame:
    """One row for each training and evaluation job: what it took alone, and what it takes by the fit."""
    tables = []
    for name, table, columns, fit in (
        ("training", seen.trainings, _training_columns(seen.trainings), training),
        ("evaluation", seen.evaluations, _evaluation_columns(seen.evaluations), evaluation),
    ):
        fitted_s = columns @ fit.numbers
        seconds = alone_s(beside_matrix(table), factor)
        made = table.select("run", "device", "num_samples", "is_warmup")
        far = np.zeros(table.height, bool)
        far[~table["is_warmup"].to_numpy()] = fit.is_outlier
        tables.append(
            made.with_columns(pl.lit(name).alias("job"), pl.Series("seconds", seconds),
                              pl.Series("fitted_s", fitted_s), pl.Series("is_outlier", far))
        )  # fmt: skip
    return pl.concat(tables)
