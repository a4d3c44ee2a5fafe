"""Trigger policies: when to train. A new one is a file beside `amount.py`, and a line in each list here."""

from __future__ import annotations

from typing import Annotated, TypeAlias

from pydantic import Field

from twinclock.policies.triggers.amount import AmountTrigger, AmountTriggerConfig
from twinclock.policies.triggers.conformance import check_trigger
from twinclock.policies.triggers.protocol import (
    Answer,
    Decision,
    DependsOn,
    Fire,
    Observation,
    Observe,
    Quiet,
    Samples,
    Trigger,
)
from twinclock.policies.triggers.time import TimeTrigger, TimeTriggerConfig

TriggerConfig: TypeAlias = Annotated[AmountTriggerConfig | TimeTriggerConfig, Field(discriminator="kind")]


def build_trigger(config: TriggerConfig) -> Trigger:
    """A fresh trigger, at the start of the stream."""
    match config:
        case AmountTriggerConfig():
            return AmountTrigger(config)
        case TimeTriggerConfig():
            return TimeTrigger(config)


__all__ = [
    "AmountTrigger",
    "AmountTriggerConfig",
    "Answer",
    "Decision",
    "DependsOn",
    "Fire",
    "Observation",
    "Observe",
    "Quiet",
    "Samples",
    "TimeTrigger",
    "TimeTriggerConfig",
    "Trigger",
    "TriggerConfig",
    "build_trigger",
    "check_trigger",
]
