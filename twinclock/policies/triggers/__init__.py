"""Trigger policies: when to train. A new one is a file beside `amount.py`, and a line in each list here."""

from __future__ import annotations

from typing import Annotated, TypeAlias

from pydantic import Field

from twinclock.policies.triggers.amount import AlwaysTriggerConfig, AmountTrigger, AmountTriggerConfig
from twinclock.policies.triggers.budget import BudgetTrigger, BudgetTriggerConfig
from twinclock.policies.triggers.cara import CaraTriggerConfig, cara_trigger
from twinclock.policies.triggers.conformance import check_trigger
from twinclock.policies.triggers.continuum import (
    BestEffortTrigger,
    BestEffortTriggerConfig,
    ContinuumTrigger,
    ContinuumTriggerConfig,
)
from twinclock.policies.triggers.cost import CostTriggerConfig, cost_trigger
from twinclock.policies.triggers.custom import CustomTriggerConfig, custom_trigger
from twinclock.policies.triggers.drift import DriftTriggerConfig, drift_trigger
from twinclock.policies.triggers.ensemble import EnsembleTrigger, EnsembleTriggerConfig
from twinclock.policies.triggers.never import NeverTrigger, NeverTriggerConfig
from twinclock.policies.triggers.on_batch import OnBatchTrigger, OnBatchTriggerConfig
from twinclock.policies.triggers.oracle import OracleTriggerConfig, oracle_trigger
from twinclock.policies.triggers.performance import PerformanceTriggerConfig, performance_trigger
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

TriggerConfig: TypeAlias = Annotated[
    AlwaysTriggerConfig
    | AmountTriggerConfig
    | BestEffortTriggerConfig
    | BudgetTriggerConfig
    | CaraTriggerConfig
    | ContinuumTriggerConfig
    | CostTriggerConfig
    | CustomTriggerConfig
    | DriftTriggerConfig
    | EnsembleTriggerConfig
    | NeverTriggerConfig
    | OnBatchTriggerConfig
    | OracleTriggerConfig
    | PerformanceTriggerConfig
    | TimeTriggerConfig,
    Field(discriminator="kind"),
]

# these two hold other triggers, of any kind
for _holder in (BudgetTriggerConfig, EnsembleTriggerConfig):
    _holder.model_rebuild(_types_namespace={"TriggerConfig": TriggerConfig})


def build_trigger(config: TriggerConfig, *, seed: int = 0, num_devices: int = 1) -> Trigger:
    """A fresh trigger, at the start of the stream.

    `seed` is the run's, `num_devices` what a training holds. ConfigError if something of the user's can't be had.
    """
    match config:
        case AlwaysTriggerConfig() | AmountTriggerConfig():
            return AmountTrigger(config)
        case BestEffortTriggerConfig():
            return BestEffortTrigger()
        case BudgetTriggerConfig():
            return BudgetTrigger(config, build_trigger(config.of, seed=seed, num_devices=num_devices), num_devices)
        case CaraTriggerConfig():
            return cara_trigger(config)
        case ContinuumTriggerConfig():
            return ContinuumTrigger(config)
        case CostTriggerConfig():
            return cost_trigger(config)
        case CustomTriggerConfig():
            return custom_trigger(config)
        case DriftTriggerConfig():
            return drift_trigger(config, seed)
        case EnsembleTriggerConfig():
            members = {
                name: build_trigger(each, seed=seed, num_devices=num_devices) for name, each in config.of.items()
            }
            return EnsembleTrigger(config.rule, members)
        case NeverTriggerConfig():
            return NeverTrigger()
        case OnBatchTriggerConfig():
            return OnBatchTrigger()
        case OracleTriggerConfig():
            return oracle_trigger(config)
        case PerformanceTriggerConfig():
            return performance_trigger(config)
        case TimeTriggerConfig():
            return TimeTrigger(config)


__all__ = [
    "Answer",
    "Decision",
    "DependsOn",
    "Fire",
    "Observation",
    "Observe",
    "Quiet",
    "Samples",
    "Trigger",
    "TriggerConfig",
    "build_trigger",
    "check_trigger",
]
