"""The `real:` section of a configuration: what the torch executor computes on."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from twinclock.config import Config
from twinclock.durations import Duration
from twinclock.section import Section, parse_section


class RayConfig(Section):
    """What a worker asks of a Ray cluster (`--on ray`); on CUDA each asks for one GPU besides."""

    cpus_per_device: float = Field(default=1.0, gt=0)
    """CPUs of a node that each worker is given."""
    wait: Duration = 60.0
    """Clock seconds that a worker waits for a place in the cluster before the run, or the job, fails."""


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
    ray: RayConfig = RayConfig()
    """For `--on ray`."""


def real_section(config: Config) -> RealConfig:
    """The section `real` of a configuration. ConfigError if something in it is wrong."""
    return parse_section(RealConfig, config.real, config.name, under="real")
