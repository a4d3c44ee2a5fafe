"""Ingest batches: how many samples the trigger policy and the selector see at a time."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

from pydantic import Field

from twinclock.graph import Json
from twinclock.section import Section


class FixedBatchingConfig(Section):
    """Batches of n samples; the last of a chunk may be shorter."""

    kind: Literal["fixed"] = "fixed"
    n: int = Field(default=500, gt=0)


def first_batch_size(config: FixedBatchingConfig) -> int:
    """Samples in the first ingest batch."""
    return config.n


def cut(chunk: Mapping[str, Json], batch_size: int, next_serial: int) -> list[dict[str, Json]]:
    """The chunk as ingest batches, numbered from `next_serial`.

    Only the last may say how far data time has come (`watermark`); a chunk without samples that does
    gives one batch without samples, else none.
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
    return batches
