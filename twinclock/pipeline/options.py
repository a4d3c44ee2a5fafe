"""What pipelines can need, and what their graphs can be asked to differ in."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeAlias, get_args

from twinclock.graph import ONCE, Retry

Variant: TypeAlias = Literal["seed", "sequential", "overlapped"]
VARIANTS: tuple[Variant, ...] = get_args(Variant)

RESOURCES = ("training_slot", "admission", "activation", "device")
"""What stages can need, in the order in which nested holders must ask.

`training_slot`: trainings at once. `admission`: one unit, guards the register `pending`. `activation`: one unit,
guards the register `active_model` where there is a gate. `device`: what computes. Asking in one order everywhere is
what rules out circular waiting.
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class GraphOptions:
    """What a graph can be asked to differ in; everything else about it is fixed."""

    variant: Variant = "seed"
    devices_per_training: int = 1
    training_timeout_s: float | None = None
    training_retry: Retry = ONCE
    evaluation_timeout_s: float | None = None
    evaluation_retry: Retry = ONCE
    observation_on_device: bool = False
    """Does OBSERVE hold a device?"""
    observation_timeout_s: float | None = None
    observation_retry: Retry = ONCE
    evaluations_yield: bool = False
    """Does an evaluation give its device back when somebody else waits for it?"""
    gate: bool = False
    """Is a stored model scored beside the active one before it may take its place?"""
    evaluations_at_once: int | None = None
    """Evaluation jobs of one plan that may run at once; None: as many as there are devices."""


USUAL = GraphOptions()
