"""What a trigger, and every trigger inside it, needs of a run: read off its configuration, before anything runs."""

from __future__ import annotations

from collections.abc import Iterator

from twinclock.policies.observations import ERROR
from twinclock.policies.triggers import TriggerConfig
from twinclock.policies.triggers.budget import BudgetTriggerConfig
from twinclock.policies.triggers.cara import CaraTriggerConfig
from twinclock.policies.triggers.cost import CostTriggerConfig
from twinclock.policies.triggers.drift import DetectorMetric, DistanceMetric, DriftTriggerConfig
from twinclock.policies.triggers.ensemble import EnsembleTriggerConfig
from twinclock.policies.triggers.misclassifications import METRIC
from twinclock.policies.triggers.performance import PerformanceTriggerConfig


def each_trigger(config: TriggerConfig, key: str = "trigger") -> Iterator[tuple[str, TriggerConfig]]:
    """The trigger and all inside it, each with its key in the configuration."""
    yield key, config
    if isinstance(config, EnsembleTriggerConfig):
        for name, member in config.of.items():
            yield from each_trigger(member, f"{key}.of.{name}")
    if isinstance(config, BudgetTriggerConfig):
        yield from each_trigger(config.of, f"{key}.of")


def metrics_needed(config: TriggerConfig) -> tuple[str, ...]:
    """What the trigger itself wants measured of models; detectors of errors and those inside it not counted."""
    match config:
        case PerformanceTriggerConfig():
            return config.metrics
        case CostTriggerConfig(regret="avoidable_misclassification_latency"):
            return (METRIC,)
        case CaraTriggerConfig():
            return (config.metric,)
        case _:
            return ()


def all_metrics_needed(config: TriggerConfig) -> tuple[str, ...]:
    """What the trigger, and those inside it, want measured of models."""
    return tuple(dict.fromkeys(metric for _, each in each_trigger(config) for metric in metrics_needed(each)))


def looks_at_models(config: TriggerConfig) -> bool:
    """Does the trigger, or one inside it, need to know what models make of the samples?"""
    watches = any(isinstance(each, DriftTriggerConfig) and each.looks_at_models for _, each in each_trigger(config))
    return watches or bool(all_metrics_needed(config))


def features_named(config: DriftTriggerConfig) -> tuple[str, ...]:
    """The feature columns that a drift trigger names."""
    watched = [
        metric.value
        for metric in config.metrics.values()
        if isinstance(metric, DetectorMetric) and metric.value != ERROR
    ]
    return tuple(dict.fromkeys([*(config.features or ()), *watched]))


def compares_all_features(config: DriftTriggerConfig) -> bool:
    """Does a drift trigger compare all features that are numeric?"""
    compares = any(isinstance(each, DistanceMetric) for each in config.metrics.values())
    return compares and config.of == "features" and config.features is None
