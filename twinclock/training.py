"""The section `training` of a configuration: what is trained, how, and what becomes of a training that fails."""

from __future__ import annotations

from typing import Annotated, Any, Literal, TypeAlias

from pydantic import Field, model_validator

from twinclock.durations import Delay, Duration
from twinclock.policies.downsampling import DownsamplingConfig, downsampling_kinds
from twinclock.policies.metrics import Task
from twinclock.section import ImportPath, ListOf, Section, WrongKeyError


class TrainingRetryConfig(Section):
    """What happens when a training fails or takes too long."""

    attempts: int = Field(default=3, gt=0)
    """How often it is tried in all."""
    backoff: Delay = 1.0
    """Clock seconds before the second attempt; doubled before each further one."""


class LogisticConfig(Section):
    """Logistic regression."""

    kind: Literal["logistic"] = "logistic"


class MlpConfig(Section):
    """A multi-layer perceptron."""

    kind: Literal["mlp"] = "mlp"
    hidden: ListOf[Annotated[int, Field(gt=0)]] = (64,)
    """Width of each hidden layer."""


class ImportedModelConfig(Section):
    """A user's own model class."""

    kind: Literal["import"] = "import"
    path: ImportPath
    args: dict[str, Any] = Field(default_factory=dict)
    """Keyword arguments for the class."""


ModelConfig: TypeAlias = Annotated[LogisticConfig | MlpConfig | ImportedModelConfig, Field(discriminator="kind")]


class OptimizerConfig(Section):
    """How the weights are stepped."""

    kind: Literal["adam", "sgd"] = "adam"
    lr: float = Field(default=0.001, gt=0)
    weight_decay: float = Field(default=0.0, ge=0)


class CheckpointConfig(Section):
    """When a training keeps a checkpoint, from which its next attempt goes on; with both: whichever comes first."""

    every: Duration | None = None
    """Seconds of training from one to the next; None: none is due by time."""
    every_steps: int | None = Field(default=None, gt=0)
    """Steps of the optimizer from one to the next; None: none is due by steps."""


class TrainingConfig(Section):
    """One training: what, for how long, and on how much hardware."""

    task: Task = "classification"
    """Whether the label is a class or a number."""
    model: ModelConfig = LogisticConfig()
    epochs: int = Field(default=5, gt=0)
    batch_size: int = Field(default=64, gt=0)
    """Samples in a gradient step."""
    optimizer: OptimizerConfig = OptimizerConfig()
    start_from: Literal["scratch", "active"] = "scratch"
    """Fresh weights, or those of the active model."""
    clip_norm: float | None = Field(default=None, gt=0)
    """Largest norm of a gradient; None: not clipped."""
    downsample: DownsamplingConfig | None = None
    """Step on a part of the training set only, picked anew as the model learns; None: on all of it."""
    trainer: ImportPath | None = None
    """A user's own trainer; None: the built-in one."""
    devices: int = Field(default=1, gt=0)
    """Devices held by one training."""
    memory_bytes: float = Field(default=0.0, ge=0)
    """Memory that a training takes on each of its devices, against `memory_bytes` of the devices."""
    timeout: Duration | None = None
    """Clock seconds from the grant of the devices; None: no limit."""
    retry: TrainingRetryConfig = TrainingRetryConfig()
    checkpoint: CheckpointConfig = CheckpointConfig()

    @model_validator(mode="after")
    def _can_downsample(self) -> TrainingConfig:
        if self.downsample is None:
            return self
        if self.trainer is not None:
            raise WrongKeyError(
                "downsample", f"only the built-in trainer can, got {self.trainer} under training.trainer; expected null"
            )
        if self.task not in self.downsample.tasks:
            known = ", ".join(downsampling_kinds(self.task))
            raise WrongKeyError(
                "downsample.kind", f"got {self.downsample.kind}, expected one of {known} for training.task {self.task}"
            )
        return self
