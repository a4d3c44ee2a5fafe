"""The `real:` section of a configuration: what the torch executor computes on."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from twinclock.durations import Duration
from twinclock.section import Section

GRACE_S = 10.0


class RealConfig(Section):
    """Everything the real run needs beyond what both runs share."""

    device: Literal["auto", "cpu", "cuda"] = "auto"
    """What the workers compute on; auto: CUDA if there is any, else the CPU."""
    threads_per_worker: int = Field(default=1, gt=0)
    """CPU threads of torch in each worker. Results are repeatable to the last bit for the same number only."""
    grace: Duration = GRACE_S
    """Seconds that a job has to stop when it is asked to, before its worker is killed: one that takes too long, is
    superseded, or runs when the run is interrupted."""
