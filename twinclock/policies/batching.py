"""Ingest batches: how many samples the trigger policy and the selector see at a time."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Annotated, ClassVar, Literal, TypeAlias

from pydantic import Field, model_validator

from twinclock.durations import Duration
from twinclock.graph import Json
from twinclock.section import Section, WrongKeyError, kind_if_unsaid


class FixedBatchingConfig(Section):
    """Every ingest batch has the same number of samples.

    The last of a chunk may have fewer. Live, a batch that is not full waits for more, until the stream
    ends or a deadline of the trigger policy passes.
    """

    source: ClassVar[str] = ""

    kind: Literal["fixed"] = "fixed"
    n: int = Field(default=500, gt=0)
    """Size of a batch. [samples]"""


class TimeBatchingConfig(Section):
    """An ingest batch is what arrives within a time that its first sample begins.

    Live only. The clock time runs from the arrival of the first sample that was not taken yet; a sample
    that comes while the pipeline is busy begins it too. When it is over, all that has arrived is the
    batch: if the pipeline comes back later, that is more than one such time brought. `data.chunk`
    samples are a batch without waiting any longer, and none has more. While no sample waits no time
    runs, so there are no empty batches. A deadline of the trigger policy hands over what waits.
    """

    source: ClassVar[str] = ""

    kind: Literal["time"] = "time"
    seconds: Duration
    """How long the first sample of a batch waits. [clock s]"""


class SizeOrTimeoutBatchingConfig(Section):
    """An ingest batch has n samples, or fewer once its first has waited too long.

    Live, a batch is taken when it is full, or when its first sample arrived so many clock seconds ago;
    time in which the pipeline was busy counts. The first of a backlog are full batches, and the rest is
    taken with them only if its own first sample has waited long enough. No time runs while no sample
    waits. In replay nothing waits, and this is `fixed`.
    """

    source: ClassVar[str] = ""

    kind: Literal["size_or_timeout"] = "size_or_timeout"
    n: int = Field(gt=0)
    """Size of a full batch. [samples]"""
    seconds: Duration
    """How long the first sample of a batch waits at most. [clock s]"""


class AdaptiveBatchingConfig(Section):
    """The ingest batch grows by a step while it is handled fast enough, and shrinks by a tenth if not.

    The size n begins at `min`. After a batch that was handled in s seconds it is n + step if s <= target,
    else floor(0.9 n); never less than `min` or more than `max`. s runs on the executor's clock from the
    start of taking the batch in until the pipeline comes for the next; waiting for samples is not in it,
    trainings that stop ingestion are. Batches that were cut short count, those without samples don't.
    One batch is taken at a time, whatever `data.chunk` says. Live, it waits until it is full, as `fixed`.
    """

    source: ClassVar[str] = "Crankshaw et al., Clipper: A Low-Latency Online Prediction Serving System, NSDI 2017"

    kind: Literal["adaptive"] = "adaptive"
    min: int = Field(gt=0)
    """Size of the first batch, and the least of any. [samples]"""
    max: int = Field(gt=0)
    """Largest size of a batch. [samples]"""
    step: int = Field(gt=0)
    """By how much the size grows after a batch that was fast enough. [samples]"""
    target: Duration
    """How fast a batch should be handled. [clock s]"""

    @model_validator(mode="after")
    def _ordered(self) -> AdaptiveBatchingConfig:
        if self.max < self.min:
            raise WrongKeyError("max", f"got {self.max}, expected at least min, which is {self.min}")
        return self


BatchingConfig: TypeAlias = Annotated[
    FixedBatchingConfig | TimeBatchingConfig | SizeOrTimeoutBatchingConfig | AdaptiveBatchingConfig,
    Field(discriminator="kind"),
    kind_if_unsaid("fixed"),
]


def first_batch_size(config: BatchingConfig, max_chunk: int) -> int:
    """Samples in the first ingest batch; `max_chunk`: those that are taken in at a time (`data.chunk`)."""
    match config:
        case FixedBatchingConfig() | SizeOrTimeoutBatchingConfig():
            return config.n
        case TimeBatchingConfig():
            return max_chunk
        case AdaptiveBatchingConfig():
            return config.min


def next_batch_size(config: BatchingConfig, batch_size: int, handled_s: float) -> int:
    """Samples in the next ingest batch, after one of `batch_size` took `handled_s` clock seconds.

    Additive increase, multiplicative decrease (Crankshaw et al., NSDI 2017) if it is adaptive.
    """
    if not isinstance(config, AdaptiveBatchingConfig):
        return batch_size
    if handled_s <= config.target:
        return min(config.max, batch_size + config.step)
    return max(config.min, batch_size * 9 // 10)


def chunk_size(config: BatchingConfig, batch_size: int, max_chunk: int) -> int:
    """Samples taken in at a time: whole ingest batches, as many as fit, at least one."""
    if isinstance(config, AdaptiveBatchingConfig):
        return batch_size  # the next may have another size
    return max(1, max_chunk // batch_size) * batch_size


def max_wait_s(config: BatchingConfig) -> float:
    """Clock seconds after which a sample is taken though its batch is not full; inf: not before it is."""
    if isinstance(config, TimeBatchingConfig | SizeOrTimeoutBatchingConfig):
        return config.seconds
    return math.inf


def cut(chunk: Mapping[str, Json], batch_size: int, next_serial: int) -> list[dict[str, Json]]:
    """The chunk as ingest batches, numbered from `next_serial`.

    Only the last may say how far data time has come (`watermark`); a chunk without samples that does
    gives one batch without samples, else none. The last also says how many records were turned away on the way
    to this chunk, where the chunk says so.
    """
    starts = range(chunk["first"], chunk["stop"], batch_size)
    batches = [
        {"serial": serial, "first": first, "stop": min(first + batch_size, chunk["stop"]), "watermark": None}
        for serial, first in enumerate(starts, next_serial)
    ]
    if chunk["watermark"] is not None:
        if not batches:
            batches = [{"serial": next_serial, "first": chunk["first"], "stop": chunk["stop"], "watermark": None}]
        batches[-1]["watermark"] = chunk["watermark"]
    if "quarantined" in chunk and batches:
        batches[-1]["quarantined"] = chunk["quarantined"]
    return batches
