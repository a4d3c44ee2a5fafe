"""The triggers that only count or look at the time: what a warm-up may use."""

from __future__ import annotations

from typing import Annotated, TypeAlias

from pydantic import Field

from twinclock.policies.triggers.amount import AlwaysTriggerConfig, AmountTrigger, AmountTriggerConfig
from twinclock.policies.triggers.never import NeverTrigger, NeverTriggerConfig
from twinclock.policies.triggers.protocol import Trigger
from twinclock.policies.triggers.time import TimeTrigger, TimeTriggerConfig

SimpleTriggerConfig: TypeAlias = Annotated[
    AlwaysTriggerConfig | AmountTriggerConfig | NeverTriggerConfig | TimeTriggerConfig, Field(discriminator="kind")
]


def build_simple(config: SimpleTriggerConfig) -> Trigger:
    """A fresh trigger, at the start of the stream."""
    match config:
        case AlwaysTriggerConfig() | AmountTriggerConfig():
            return AmountTrigger(config)
        case NeverTriggerConfig():
            return NeverTrigger()
        case TimeTriggerConfig():
            return TimeTrigger(config)
