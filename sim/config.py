"""The `sim:` section of a configuration: what things cost and how good models are, where time is modelled.

The defaults are round figures for a small tabular model on one CPU core. They are not measured: a run
that uses them says so in its summary.
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise
from typing import Annotated, Any

from pydantic import Field, field_validator, model_validator

from sim.calibrated import merged, read_calibration
from sim.numbers import NotNegative, Positive, Share
from sim.quality.config import QualityConfig
from sim.quality.decay import DecayQuality
from sim.throughput.config import EvaluationSource, TrainingSource
from sim.throughput.formula import EvaluationCost, TrainingCost
from twinclock.errors import ConfigError
from twinclock.section import ListOf, Section, WrongKeyError, nearest, parse_section, shown
from twinclock.stages import DECISIONS

Seconds = NotNegative
Rate = Positive


class ReadCost(Section):
    """Seconds = setup + samples / throughput."""

    setup_s: Seconds = 0.0002
    """Seconds that do not depend on the number of samples."""
    samples_per_s: Rate = 50e6
    """Throughput, samples a second."""


class DriftCost(Section):
    """Seconds = setup + samples / throughput."""

    setup_s: Seconds = 0.005
    """Seconds that do not depend on the number of samples."""
    samples_per_s: Rate = 1e6
    """Throughput, samples a second."""


class LoadingCost(Section):
    """Reading a training's samples, while it computes: whichever takes longer counts. Off by default."""

    bytes_per_s: Rate | None = None
    """Bandwidth for one training, however many devices it has; None: reading takes no time."""
    sample_bytes: Annotated[float, Field(gt=0, allow_inf_nan=False)] | None = None
    """Size of a sample as it is read, bytes."""

    @model_validator(mode="after")
    def _both(self) -> LoadingCost:
        if (self.bytes_per_s is None) != (self.sample_bytes is None):
            missing = "bytes_per_s" if self.bytes_per_s is None else "sample_bytes"
            raise WrongKeyError(missing, "missing, and loading takes both bytes_per_s and sample_bytes")
        return self


class CheckpointCost(Section):
    """What it costs a training to keep a checkpoint, and to go on from one. When it does is `training.checkpoint`."""

    pause_s: Seconds = 0.0
    """Seconds that it stands still for each."""
    restore_s: Seconds = 0.0
    """Seconds until an attempt that goes on from one is where it was."""

    @model_validator(mode="before")
    @classmethod
    def _not_when(cls, values: Any) -> Any:
        if isinstance(values, Mapping) and "every" in values:
            raise WrongKeyError("every", f"got {shown(values['every'])}, expected it under training.checkpoint.every")
        return values


class StoreCost(Section):
    """Seconds = latency + bytes / bandwidth."""

    latency_s: Seconds = 0.005
    bytes_per_s: Rate = 200e6
    model_bytes: Annotated[int, Field(ge=0)] = 100_000
    """Size of a stored model, bytes."""


class EfficiencyAt(Section):
    """What further devices add, where there are so many."""

    devices: Annotated[int, Field(gt=1)]
    share: Share
    """Of a device's throughput, on average over the second to the last."""


class Costs(Section):
    """How long each thing takes."""

    decide_s: Seconds = 0.0002
    """Seconds of every stage that only decides, if nothing else is said of it."""
    decide_by_stage: dict[str, Seconds] = Field(default_factory=dict)
    """Stage that only decides → its seconds, where they are others."""
    grant_s: Seconds = 0.0
    """Seconds from a device being free for a stage until the pipeline goes on with it."""
    connect_s: Seconds = 1.0
    """Seconds until the cluster is there (INIT_CLUSTER_CONNECTION)."""
    launch_s: Seconds = 0.002
    """Seconds to hand a training to its device (RUN_TRAINING)."""
    results_s: Seconds = 0.001
    """Seconds to store the results of an evaluation (STORE_EVALUATION_RESULTS)."""
    read: ReadCost = ReadCost()
    """Taking a chunk of data (REPLAY_DATA, FETCH_NEW_DATA)."""
    training: TrainingSource = TrainingCost()
    warmup_s: Seconds = 0.0
    """Seconds longer that the first training on each device takes."""
    forward_share: Share = 1 / 3
    """Share of a training's seconds a sample that goes forward through the model: what scoring a sample costs."""
    evaluation: EvaluationSource = EvaluationCost()
    """Each interval of a job counts its samples and its own seconds; the setup counts once a job."""
    drift: DriftCost = DriftCost()
    """Distances between windows and detectors; each metric counts the samples that it looks at."""
    store: StoreCost = StoreCost()
    noise_sigma: Seconds = 0.09
    """Log-normal sigma of training and evaluation times around the model; 0 switches the noise off."""
    scaling_efficiency: Share = 0.9
    """Share of the throughput of a second, third, … device that a training on several devices gets."""
    efficiency_by_devices: ListOf[EfficiencyAt] = ()
    """The same by number of devices, on average over the second to the last of them; empty: one share for all."""
    node_efficiency: Share = 1.0
    """What a device adds that is on another node than most, as a share of what it would add on theirs."""
    loading: LoadingCost = LoadingCost()
    checkpoint: CheckpointCost = CheckpointCost()

    @field_validator("decide_by_stage")
    @classmethod
    def _stages_decide(cls, seconds: dict[str, float]) -> dict[str, float]:
        if unknown := [name for name in seconds if name not in DECISIONS]:
            raise ValueError(f"got {unknown[0]}, expected a stage that decides; {nearest(unknown[0], list(DECISIONS))}")
        return seconds

    @model_validator(mode="after")
    def _more_devices_are_no_slower(self) -> Costs:
        for number, (few, many) in enumerate(pairwise(self.efficiency_by_devices), start=1):
            key = f"efficiency_by_devices.{number}"
            if many.devices <= few.devices:
                raise WrongKeyError(
                    f"{key}.devices", f"got {many.devices}, expected more than the {few.devices} before"
                )
            if (many.devices - 1) * many.share < (few.devices - 1) * few.share:
                least = (few.devices - 1) * few.share / (many.devices - 1)
                expected = f"expected at least {least:.4g}, or {few.devices} devices would be faster"
                raise WrongKeyError(f"{key}.share", f"got {many.share:g}, {expected}")
        return self


class InterferenceConfig(Section):
    """How much longer a job takes for each other one that computes beside it, as a share of its seconds alone."""

    same_device: NotNegative = 1.0
    """On its device (`cluster.jobs_per_device`); at 1 the jobs have the device in turns."""
    same_node: NotNegative = 0.0
    """On other devices of its node, where they share memory, caches or a network."""


class SimConfig(Section):
    """Everything the simulated run needs beyond what both runs share."""

    calibration: str | None = None
    """File of `twinclock calibrate`: what it holds takes the place of the defaults, key by key."""
    costs: Costs = Costs()
    quality: QualityConfig = DecayQuality()
    interference: InterferenceConfig = InterferenceConfig()

    @model_validator(mode="before")
    @classmethod
    def _calibrated(cls, values: Any) -> Any:
        if not isinstance(values, Mapping) or not isinstance(values.get("calibration"), str):
            return values
        try:
            found = read_calibration(values["calibration"])
            parse_section(cls, found.sections, found.file)
        except ConfigError as error:
            raise WrongKeyError("calibration", str(error)) from None
        return merged(found.sections, values)
