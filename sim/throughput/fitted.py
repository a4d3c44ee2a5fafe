"""Training seconds by the formula, its numbers fitted to the trainings of an earlier run, real or simulated.

How they are fitted is in `robust`: by relative errors, so that long trainings don't drown short ones.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import polars as pl
from numpy.typing import NDArray

from sim.throughput.formula import TrainingCost
from sim.throughput.robust import is_told, relative_fit
from twinclock.cluster import modelled_devices
from twinclock.config import TrainingConfig
from twinclock.errors import ConfigError, UserError
from twinclock.result import Run
from twinclock.section import Section

_KEY = "sim.costs.training.run"
_MIN_SIZES = 3


class FittedCost(Section):
    """The formula with the numbers that fit an earlier run best."""

    kind: Literal["fitted"] = "fitted"
    run: str
    """Folder of the run."""


@dataclass(frozen=True, slots=True)
class Fit:
    """What came of fitting."""

    cost: TrainingCost
    training: TrainingConfig
    """Of the run that it is fitted to."""
    num_trainings: int
    r2: float
    """1 − Σ (seconds − fitted)² / Σ (seconds − their mean)², all trainings counting the same."""
    median_error: float
    """Median of |fitted / seconds − 1|."""
    has_steps: bool
    """Could the seconds of a step be told from those of its samples?"""


def fit(folder: str) -> Fit:
    """ConfigError if the run is not there, not done, or not one to fit the formula to."""
    run = _finished(folder)
    # one that goes on from a checkpoint takes less than its samples do
    broken_off = run.trainings.filter(pl.col("lost_s").is_not_null() | (pl.col("outcome") == "preempted"))["trigger"]
    whole = ~pl.col("trigger").is_in(broken_off.implode())
    trained = run.trainings.filter(whole, pl.col("outcome") == "trained").sort("trigger")
    num_samples = trained["num_samples"].to_numpy().astype(float)
    seconds = (trained["ended_s"] - trained["started_s"]).to_numpy()
    if (sizes := len(set(num_samples.tolist()))) < _MIN_SIZES:
        raise ConfigError(f"{_KEY}: {folder} has trainings of {sizes} size(s), expected at least {_MIN_SIZES}")
    if (seconds <= 0).any():
        raise ConfigError(f"{_KEY}: {folder} has trainings that took no time, expected some for each")
    training = run.config.training
    steps = training.epochs * np.ceil(num_samples / training.batch_size)
    columns = np.stack([np.ones_like(steps), steps, training.epochs * num_samples / _speeds(run, trained)], axis=1)
    found, has_steps = _numbers(columns, seconds, can_tell_steps=sizes > _MIN_SIZES)
    if found[2] <= 0:
        raise ConfigError(f"{_KEY}: {folder} has trainings that take no longer on more samples, expected them to")
    fitted = columns @ found
    spread = float(((seconds - seconds.mean()) ** 2).sum())
    cost = TrainingCost(setup_s=float(found[0]), step_s=float(found[1]), samples_per_s=float(1 / found[2]))
    return Fit(
        cost=cost,
        training=training,
        num_trainings=len(seconds),
        r2=1 - float(((seconds - fitted) ** 2).sum()) / spread if spread > 0 else 1.0,
        median_error=float(np.median(np.abs(fitted / seconds - 1))),
        has_steps=has_steps,
    )


def said(found: Fit, folder: str, training: TrainingConfig) -> tuple[str, ...]:
    """How good the fit is, and what about `training` differs from the run that it is fitted to."""
    cost = found.cost
    numbers = f"setup_s {cost.setup_s:.4g}, step_s {cost.step_s:.4g}, samples_per_s {cost.samples_per_s:.4g}"
    quality = f"R² {found.r2:.4f}, median error {100 * found.median_error:.2g} %"
    fitted_to = f"training costs fitted to {found.num_trainings} trainings of {folder}: {numbers}; {quality}"
    matter = ["model", "optimizer", "trainer", "precision", "compile", "accumulate"] + (
        [] if found.has_steps else ["batch_size"]
    )
    differing = [key for key in matter if getattr(found.training, key) != getattr(training, key)]
    return (fitted_to, *(f"extrapolated: {folder} has another training.{key}" for key in differing))


def _finished(folder: str) -> Run:
    try:
        run = Run.load(folder)
    except UserError as error:
        raise ConfigError(f"{_KEY}: {error}") from None
    if run.outcome != "done":
        raise ConfigError(f"{_KEY}: {folder} is not done, expected a finished run")
    if run.config.training.devices != 1:
        got = f"{folder} trains on {run.config.training.devices} devices"
        raise ConfigError(f"{_KEY}: {got}, expected one: how they scale is sim.costs.scaling_efficiency")
    if run.config.training.downsample is not None:
        raise ConfigError(f"{_KEY}: {folder} has a training.downsample, expected trainings on all their samples")
    if run.config.training.validation is not None:
        raise ConfigError(f"{_KEY}: {folder} has a training.validation, expected trainings on all their samples")
    return run


def _speeds(run: Run, trained: pl.DataFrame) -> NDArray[np.float64]:
    """Of the devices trained on; a real device is what it is."""
    if run.header["executor"] != "sim":
        return np.ones(trained.height)
    speeds = {device.name: device.kind.speed for device in modelled_devices(run.config.cluster)}
    return np.array([speeds[name] for name in trained["device"]])


def _numbers(columns: NDArray[Any], seconds: NDArray[Any], *, can_tell_steps: bool) -> tuple[NDArray[Any], bool]:
    """Setup, seconds a step, seconds a sample; a step takes none if that can't be told from its samples' seconds."""
    if can_tell_steps:
        found = relative_fit(columns, seconds)
        if found[1] > 0 and found[2] > 0 and is_told(columns, seconds, found, 1):
            return found, True
    setup, sample = relative_fit(columns[:, [0, 2]], seconds)
    return np.array([setup, 0.0, sample]), False
