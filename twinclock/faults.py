"""The `faults:` section of a configuration: what goes wrong in a run, whoever runs it. Nothing by default.

`twinclock.luck` draws from it, for every executor alike.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from twinclock.durations import Duration
from twinclock.section import Section

Share = Annotated[float, Field(ge=0, le=1)]
"""From nothing to all."""
Shape = Annotated[float, Field(ge=0.1, le=100, allow_inf_nan=False)]
"""Of a Weibull distribution: 1 is exponential, below 1 the young fail most, above 1 the old."""

FAILED_BY_PLAN = "failed as the fault plan has it"


class JobFailed(Exception):  # noqa: N818 - its name is what the table `faults` calls it, like WorkerDied
    """An attempt that the fault plan makes fail."""

    def __init__(self) -> None:
        super().__init__(FAILED_BY_PLAN)


class StragglersConfig(Section):
    """Trainings on a device that is slower than others of its kind."""

    share: Share = 0.0
    """Share of training attempts that meet one."""
    factor: Annotated[float, Field(ge=1, allow_inf_nan=False)] = 2.0
    """So many times as long they take."""


class NodesConfig(Section):
    """Nodes that fail with all their devices, and are repaired."""

    mtbf: Duration
    """Mean clock time from the end of a repair, or the start of the run, to the next failure."""
    shape: Shape = 1.0
    """Of the Weibull distribution of that time."""
    repair: Duration
    """Mean clock time for which the node is away."""
    repairs: Literal["exponential", "constant"] = "exponential"
    """How that time is spread."""


class FaultsConfig(Section):
    """What goes wrong; nothing by default."""

    connect: Share = 0.0
    """Share of attempts at INIT_CLUSTER_CONNECTION that fail."""
    training: Share = 0.0
    """Share of training attempts that fail, after an evenly drawn part of their work."""
    store: Share = 0.0
    """Share of attempts at storing a model that fail."""
    evaluation: Share = 0.0
    """Share of evaluation attempts that fail, after an evenly drawn part of their work."""
    observation: Share = 0.0
    """Share of attempts at an observation that fail."""
    device_mtbf: Duration | None = None
    """Mean clock time for which a device is at work before it fails; None: devices never do."""
    device_shape: Shape = 1.0
    """Of the Weibull distribution of that time; a device's age is the time for which it was at work."""
    stragglers: StragglersConfig = StragglersConfig()
    nodes: NodesConfig | None = None
    """Whole nodes that fail; None: none does."""
