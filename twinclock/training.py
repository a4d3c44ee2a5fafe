"""The section `training` of a configuration: what is trained, how, and what becomes of a training that fails."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal, NamedTuple, TypeAlias

from pydantic import Discriminator, Field, Tag, model_validator

from twinclock.durations import Delay, Duration
from twinclock.policies.downsampling import DownsamplingConfig, Effort, downsampling_kinds, effort
from twinclock.policies.gate import GateConfig
from twinclock.policies.metrics import Task
from twinclock.policies.selection.validation import num_held_out
from twinclock.section import ImportPath, ListOf, Section, WrongKeyError, shown


class TrainingRetryConfig(Section):
    """What happens when a training fails or takes too long."""

    attempts: int = Field(default=3, gt=0)
    """How often it is tried in all."""
    backoff: Delay = 1.0
    """Clock seconds before the second attempt; doubled before each further one."""


CategoricalAs: TypeAlias = Literal["one_hot", "codes"]
"""What a model takes for a categorical column: an input for each category, or one input that holds its code."""


class LogisticConfig(Section):
    """Logistic regression."""

    kind: Literal["logistic"] = "logistic"

    @property
    def categorical(self) -> CategoricalAs:
        """What it takes for a categorical column."""
        return "one_hot"


class MlpConfig(Section):
    """A multi-layer perceptron."""

    kind: Literal["mlp"] = "mlp"
    hidden: ListOf[Annotated[int, Field(gt=0)]] = (64,)
    """Width of each hidden layer."""
    embedding: int | None = Field(default=None, gt=0)
    """Numbers that each categorical column is embedded in; None: not embedded, but an input for each category."""

    @property
    def categorical(self) -> CategoricalAs:
        """What it takes for a categorical column."""
        return "one_hot" if self.embedding is None else "codes"


class ImportedModelConfig(Section):
    """A user's own model class."""

    kind: Literal["import"] = "import"
    path: ImportPath
    args: dict[str, Any] = Field(default_factory=dict)
    """Keyword arguments for the class."""
    categorical: CategoricalAs = "one_hot"
    """What it takes for a categorical column; with `codes` it is told of their numbers, `num_categories`."""


ModelConfig: TypeAlias = Annotated[LogisticConfig | MlpConfig | ImportedModelConfig, Field(discriminator="kind")]


class OptimizerConfig(Section):
    """How the weights are stepped."""

    kind: Literal["adam", "sgd"] = "adam"
    lr: float = Field(default=0.001, gt=0)
    weight_decay: float = Field(default=0.0, ge=0)
    momentum: float = Field(default=0.0, ge=0, lt=1)
    """Of sgd."""
    state: Literal["reset", "keep"] = "reset"
    """What a training that starts from the active model has of that one's optimizer: nothing, or its state."""

    @model_validator(mode="after")
    def _momentum_is_of_sgd(self) -> OptimizerConfig:
        if self.momentum > 0 and self.kind != "sgd":
            raise WrongKeyError("momentum", f"got {self.momentum:g}, expected 0 for {self.kind}: only sgd has it")
        return self


Warmup: TypeAlias = Annotated[int, Field(ge=0)]
"""Steps over which the learning rate first grows to `optimizer.lr`, in equal parts."""
EndShare: TypeAlias = Annotated[float, Field(ge=0, le=1)]
"""What is left of the learning rate at the end. [share]"""


class ConstantScheduleConfig(Section):
    """The learning rate stays."""

    kind: Literal["constant"] = "constant"
    warmup_steps: Warmup = 0


class CosineScheduleConfig(Section):
    """The learning rate falls along half a cosine."""

    kind: Literal["cosine"] = "cosine"
    warmup_steps: Warmup = 0
    end: EndShare = 0.0


class LinearScheduleConfig(Section):
    """The learning rate falls along a straight line."""

    kind: Literal["linear"] = "linear"
    warmup_steps: Warmup = 0
    end: EndShare = 0.0


class StepScheduleConfig(Section):
    """The learning rate falls by a factor every few epochs."""

    kind: Literal["step"] = "step"
    warmup_steps: Warmup = 0
    every_epochs: int = Field(default=1, gt=0)
    factor: float = Field(default=0.1, gt=0, le=1)


ScheduleConfig: TypeAlias = Annotated[
    ConstantScheduleConfig | CosineScheduleConfig | LinearScheduleConfig | StepScheduleConfig,
    Field(discriminator="kind"),
]


class ValidationConfig(Section):
    """The newest samples of a training set are held out, to see how a training gets on."""

    share: float = Field(gt=0, lt=1)
    """Of the training set."""


class EarlyStoppingConfig(Section):
    """A training ends when the loss on the held-out samples gets no better; the best weights are kept."""

    patience: int = Field(default=3, gt=0)
    """Epochs without an improvement after which it ends."""
    min_delta: float = Field(default=0.0, ge=0)
    """Least fall of the loss that counts as an improvement."""


class CheckpointConfig(Section):
    """When a training keeps a checkpoint, from which its next attempt goes on; with both: whichever comes first."""

    every: Duration | None = None
    """Seconds of training from one to the next; None: none is due by time."""
    every_steps: int | None = Field(default=None, gt=0)
    """Steps of the optimizer from one to the next; None: none is due by steps."""


def _way_of_weighing(value: object) -> str:
    return "[by label]" if isinstance(value, Mapping) else "[balanced]"


ClassWeights: TypeAlias = Annotated[
    Annotated[Literal["balanced"], Tag("[balanced]")]
    | Annotated[dict[str, Annotated[float, Field(gt=0)]], Tag("[by label]")],
    Discriminator(_way_of_weighing),
]


class TrainingConfig(Section):
    """One training: what, for how long, and on how much hardware."""

    task: Task = "classification"
    """Whether the label is a class or a number."""
    model: ModelConfig = LogisticConfig()
    epochs: int = Field(default=5, gt=0)
    batch_size: int = Field(default=64, gt=0)
    """Samples that go through the model at a time."""
    accumulate: int = Field(default=1, gt=0)
    """Minibatches in a step of the optimizer."""
    optimizer: OptimizerConfig = OptimizerConfig()
    schedule: ScheduleConfig = ConstantScheduleConfig()
    start_from: Literal["scratch", "active"] = "scratch"
    """Fresh weights, or those of the active model."""
    clip_norm: float | None = Field(default=None, gt=0)
    """Largest norm of a gradient; None: not clipped."""
    downsample: DownsamplingConfig | None = None
    """Step on a part of the training set only, picked anew as the model learns; None: on all of it."""
    validation: ValidationConfig | None = None
    """Hold out a part of the training set; None: train on all of it."""
    early_stopping: EarlyStoppingConfig | None = None
    """None: all epochs."""
    loss: ImportPath | None = None
    """A user's own loss, a function from (outputs, targets) to the loss of each sample; None: that of the task."""
    class_weights: ClassWeights | None = None
    """What a sample of each class weighs in the loss; None: all the same."""
    precision: Literal["fp32", "bf16", "fp16"] = "fp32"
    """What the model computes in, where that is known to do no harm."""
    compile: bool = False
    """Compile the model before it is trained (`torch.compile`)."""
    trainer: ImportPath | None = None
    """A user's own trainer; None: the built-in one."""
    gate: GateConfig | None = None
    """A stored model becomes active only if it is not worse than the active one; None: it always does."""
    devices: int = Field(default=1, gt=0)
    """Devices held by one training."""
    memory_bytes: float = Field(default=0.0, ge=0)
    """Memory that a training takes on each of its devices, against `memory_bytes` of the devices."""
    timeout: Duration | None = None
    """Clock seconds from the grant of the devices; None: no limit."""
    retry: TrainingRetryConfig = TrainingRetryConfig()
    checkpoint: CheckpointConfig = CheckpointConfig()

    @model_validator(mode="after")
    def _gate_has_samples(self) -> TrainingConfig:
        if self.gate is not None and self.validation is None:
            expected = "expected training.validation too, such as {share: 0.1}, for samples to score models on"
            raise WrongKeyError("gate", f"got metric {self.gate.metric}, {expected}")
        return self

    @model_validator(mode="after")
    def _can_be_weighed(self) -> TrainingConfig:
        if self.class_weights is not None and self.task != "classification":
            expected = f"expected null for {self.task}, which has no classes"
            raise WrongKeyError("class_weights", f"got {shown(self.class_weights)}, {expected}")
        if self.early_stopping is not None and self.validation is None:
            raise WrongKeyError("early_stopping", "needs samples to judge by; expected training.validation to be set")
        if self.loss is not None and self.downsample is not None and self.downsample.kind == "gradnorm":
            expected = "expected another kind: that one knows the gradient of the cross-entropy only"
            raise WrongKeyError(
                "downsample.kind", f"got gradnorm with a loss of your own under training.loss, {expected}"
            )
        return self

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


class TrainingEffort(NamedTuple):
    """What training on a training set of some size comes to."""

    num_held_out: int
    """Samples that are held out to see how it gets on."""
    steps: Effort
    """On the rest."""


def training_effort(config: TrainingConfig, num_samples: int) -> TrainingEffort:
    """What a training on `num_samples` samples comes to if it goes through all its epochs."""
    held_out = 0 if config.validation is None else num_held_out(num_samples, config.validation.share)
    steps = effort(
        config.downsample,
        num_samples=num_samples - held_out,
        epochs=config.epochs,
        batch_size=config.batch_size,
        accumulate=config.accumulate,
    )
    return TrainingEffort(held_out, steps)
