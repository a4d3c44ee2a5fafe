"""Downsampling: a training that steps on a part of its training set only, picked anew as the model learns.

*Sample then batch*: before some of the epochs the whole set is scored, and the epochs up to the next scoring
step on what was kept. *Batch then sample*: every minibatch is scored, and what is kept of each gathers
until it fills a minibatch, which is stepped on; what is left at the end of an epoch is a last, smaller one.

Here stand the configurations, and what a training comes to in samples and steps, which a trainer does
and a cost model charges. Of n samples max(1, ⌊ratio · n⌋) are kept, of the whole set or of each minibatch. The
ratio is taken as the decimal that the user wrote: 0.29 of 100 are 29.
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from typing import Annotated, ClassVar, Literal, Protocol, TypeAlias, TypeVar, get_args

from pydantic import Field, model_validator

from twinclock.policies.metrics import Task
from twinclock.section import Section, WrongKeyError

Mode: TypeAlias = Literal["sample_then_batch", "batch_then_sample"]
"""Score the whole set before some of the epochs, or each minibatch when its turn comes."""
Ratio: TypeAlias = Annotated[float, Field(gt=0, le=1)]
"""How much is kept: of n samples max(1, ⌊ratio · n⌋). [share]"""
Period: TypeAlias = Annotated[int, Field(gt=0)]
"""From one scoring of the whole set to the next; only for sample_then_batch. [epochs]"""
C = TypeVar("C", bound="_Periodic")

_IMPORTANCE = "A. Katharopoulos, F. Fleuret: Not All Samples Are Created Equal, ICML 2018"
_SURVEY = "B. Settles: Active Learning Literature Survey, University of Wisconsin-Madison, 2009"


class _Periodic(Protocol):
    @property
    def mode(self) -> Mode: ...

    @property
    def period(self) -> int: ...


def _check_period(config: C) -> C:
    if config.mode == "batch_then_sample" and config.period != 1:
        expected = "expected 1: with batch_then_sample every minibatch is scored"
        raise WrongKeyError("period", f"got {config.period}, {expected}")
    return config


class LossDownsamplingConfig(Section):
    """Draws samples in proportion to their loss.

    Drawn without replacement, p = loss / Σ loss, and each weighs 1 / (n · p). All losses 0: p = 1 / n. Samples of
    loss 0 are drawn only if there are too few others, uniformly, and weigh 1.
    """

    kind: Literal["loss"] = "loss"
    ratio: Ratio
    mode: Mode = "sample_then_batch"
    period: Period = 1

    tasks: ClassVar[tuple[Task, ...]] = ("classification", "regression")
    source: ClassVar[str] = (
        "A. Katharopoulos, F. Fleuret: Biased Importance Sampling for Deep Neural Network Training, 2017"
    )
    _period = model_validator(mode="after")(_check_period)


class GradNormDownsamplingConfig(Section):
    """Draws samples in proportion to how hard they pull at the model's outputs.

    Score: ‖softmax − onehot‖₂, the norm of the loss's gradient at the outputs. Drawn and weighted as for loss.
    """

    kind: Literal["gradnorm"] = "gradnorm"
    ratio: Ratio
    mode: Mode = "sample_then_batch"
    period: Period = 1

    tasks: ClassVar[tuple[Task, ...]] = ("classification",)
    source: ClassVar[str] = _IMPORTANCE
    _period = model_validator(mode="after")(_check_period)


class MarginDownsamplingConfig(Section):
    """Keeps the samples whose two most likely classes are closest to each other.

    Score: p₁ − p₂, the smallest are kept. A model of one class has p₂ = 0.
    """

    kind: Literal["margin"] = "margin"
    ratio: Ratio
    mode: Mode = "sample_then_batch"
    period: Period = 1

    tasks: ClassVar[tuple[Task, ...]] = ("classification",)
    source: ClassVar[str] = _SURVEY
    _period = model_validator(mode="after")(_check_period)


class LeastConfidenceDownsamplingConfig(Section):
    """Keeps the samples whose most likely class is the least likely.

    Score: max p, the smallest are kept.
    """

    kind: Literal["least_confidence"] = "least_confidence"
    ratio: Ratio
    mode: Mode = "sample_then_batch"
    period: Period = 1

    tasks: ClassVar[tuple[Task, ...]] = ("classification",)
    source: ClassVar[str] = _SURVEY
    _period = model_validator(mode="after")(_check_period)


class EntropyDownsamplingConfig(Section):
    """Keeps the samples about whose class the model is least sure by entropy.

    Score: −Σ p · ln p, the largest are kept.
    """

    kind: Literal["entropy"] = "entropy"
    ratio: Ratio
    mode: Mode = "sample_then_batch"
    period: Period = 1

    tasks: ClassVar[tuple[Task, ...]] = ("classification",)
    source: ClassVar[str] = _SURVEY
    _period = model_validator(mode="after")(_check_period)


class KCenterDownsamplingConfig(Section):
    """Keeps samples such that every other one is close to one of them.

    Greedy: after the first sample, always the one farthest (Euclidean) from all that are kept, the first of
    several. Distances are between the inputs of the model's last layer; a model of the user's own says
    what they are with its method `embed`.
    """

    kind: Literal["k_center"] = "k_center"
    ratio: Ratio
    mode: Mode = "sample_then_batch"
    period: Period = 1

    tasks: ClassVar[tuple[Task, ...]] = ("classification", "regression")
    source: ClassVar[str] = (
        "O. Sener, S. Savarese: Active Learning for Convolutional Neural Networks: A Core-Set Approach, ICLR 2018"
    )
    _period = model_validator(mode="after")(_check_period)


class Rs2DownsamplingConfig(Section):
    """Draws a uniform subset anew for each epoch, without looking at the model.

    No sample is twice in a subset. With replacement each subset is drawn from the whole set; without, from what no
    subset of the present round had, and when too few are left for a whole subset, a new round begins.
    """

    kind: Literal["rs2"] = "rs2"
    ratio: Ratio
    replacement: bool = False
    """Whether the next epoch's subset may hold samples of this one's."""
    mode: Literal["sample_then_batch"] = "sample_then_batch"
    """A subset of the whole set, for each epoch."""
    period: Literal[1] = 1
    """From one subset to the next. [epochs]"""

    tasks: ClassVar[tuple[Task, ...]] = ("classification", "regression")
    source: ClassVar[str] = (
        "P. Okanovic et al.: Repeated Random Sampling for Minimizing the Time-to-Accuracy of Learning, ICLR 2024"
    )


ScoredDownsamplingConfig: TypeAlias = (
    LossDownsamplingConfig
    | GradNormDownsamplingConfig
    | MarginDownsamplingConfig
    | LeastConfidenceDownsamplingConfig
    | EntropyDownsamplingConfig
    | KCenterDownsamplingConfig
)
"""Those that ask the model."""
DownsamplingConfig: TypeAlias = Annotated[ScoredDownsamplingConfig | Rs2DownsamplingConfig, Field(discriminator="kind")]


def downsampling_kinds(task: Task) -> tuple[str, ...]:
    """The kinds that make sense for a task."""
    models = get_args(get_args(DownsamplingConfig)[0])
    return tuple(model.model_fields["kind"].default for model in models if task in model.tasks)


@dataclass(frozen=True, slots=True, kw_only=True)
class Effort:
    """What a training comes to."""

    num_kept: int
    """Samples stepped on in one epoch: the effective size of the training set."""
    num_steps: int
    """Steps of the optimizer, over all epochs."""
    num_scored: int
    """Samples that went forward through the model only to be scored, over all epochs."""


def effort(
    config: DownsamplingConfig | None, *, num_samples: int, epochs: int, batch_size: int, accumulate: int = 1
) -> Effort:
    """What training on `num_samples` samples comes to, with `accumulate` minibatches a step, or what there is left."""
    kept = num_kept(config, num_samples, batch_size)
    return Effort(
        num_kept=kept,
        num_steps=epochs * -(-kept // (batch_size * accumulate)),
        num_scored=_num_scored(config, num_samples, epochs),
    )


def num_kept(config: DownsamplingConfig | None, num_samples: int, batch_size: int) -> int:
    """Samples of a training set that an epoch steps on."""
    if config is None:
        return num_samples
    if config.mode == "sample_then_batch":
        return share(config.ratio, num_samples)
    full, rest = divmod(num_samples, batch_size)
    return full * share(config.ratio, batch_size) + share(config.ratio, rest)


def share(ratio: float, num_samples: int) -> int:
    """max(1, ⌊ratio · n⌋) of n samples, of none: none."""
    return min(num_samples, max(1, int(Fraction(str(ratio)) * num_samples)))


def _num_scored(config: DownsamplingConfig | None, num_samples: int, epochs: int) -> int:
    if config is None or config.kind == "rs2":
        return 0
    return num_samples * -(-epochs // config.period)
