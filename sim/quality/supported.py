"""What a configuration wants to know of models and its kind of quality can't say: found before anything runs."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from sim.quality.abrupt import MAX_CHANGES, AbruptDrift
from sim.quality.config import QualityConfig
from sim.quality.formula import FormulaQuality
from sim.quality.matrix import MatrixQuality, MatrixScores
from sim.quality.measured import MeasuredQuality, MeasuredScores
from sim.quality.protocol import METRICS
from sim.quality.proxy import ProxyQuality
from sim.quality.source import unmeasured
from twinclock.config import Config
from twinclock.policies.needs import each_trigger, metrics_needed
from twinclock.policies.triggers.drift import DriftTriggerConfig
from twinclock.stream import Stream


def problems(quality: QualityConfig, config: Config, open_stream: Callable[[], Stream]) -> list[str]:
    """Every problem, as `key: got …, expected …`. ConfigError if a run to take scores from is not fit for it."""
    match quality:
        case MeasuredQuality():
            return [*unmeasured(quality.run, MeasuredScores(quality.run, config).config, config)]
        case MatrixQuality():
            return [*_unanswered(config, MatrixScores(quality.runs, config).metrics)]
        case ProxyQuality():
            return [*_without_samples(quality, config), *_unanswered(config, METRICS)]
        case FormulaQuality():
            return [*_too_many_changes(quality, open_stream), *_unanswered(config, METRICS)]
        case _:
            return [*_unanswered(config, METRICS)]


def _unanswered(config: Config, metrics: Sequence[str]) -> Iterator[str]:
    """Metrics that are none of those, errors without accuracy, and embeddings, which only trained models have.

    The measured scores of a real run of the same policy can stand in for all of them.
    """
    otherwise = "or sim.quality of kind measured"
    wanted = [("evaluation.metrics", metric) for metric in config.evaluation.metrics]
    if config.training.gate is not None:
        wanted.append(("training.gate.metric", config.training.gate.metric))
    for key, trigger in each_trigger(config.trigger):
        wanted += [(key, metric) for metric in metrics_needed(trigger)]
        if isinstance(trigger, DriftTriggerConfig) and trigger.of == "embeddings":
            yield f"{key}.of: got embeddings, which only trained models have; expected features, {otherwise}"
        elif isinstance(trigger, DriftTriggerConfig) and trigger.looks_at_models:
            wanted.append((key, "accuracy"))  # errors are drawn from it
    for key, metric in dict.fromkeys(wanted):
        if metric not in metrics:
            yield f"{key}: got {metric}, expected {', '.join(metrics)}, {otherwise}"


def _without_samples(quality: ProxyQuality, config: Config) -> Iterator[str]:
    if config.data.kind != "table":
        yield f"data.kind: got {config.data.kind}, expected table, whose samples sim.quality of kind proxy is fitted on"
    elif config.data.columns.features.arrays:
        got = f"data.features.arrays: got {', '.join(config.data.columns.features.arrays)}"
        yield f"{got}, expected none: sim.quality of kind proxy is fitted on numeric and categorical columns only"
    if config.training.task != "classification":
        got = f"training.task: got {config.training.task}"
        yield f"{got}, expected classification, which is what sim.quality of kind proxy can"
    if quality.learner == "logistic" and config.training.start_from == "active":
        got = "sim.quality.learner: got logistic, which ends the same wherever it starts"
        yield f"{got}; expected descent, or training.start_from: scratch"


def _too_many_changes(quality: FormulaQuality, open_stream: Callable[[], Stream]) -> Iterator[str]:
    for number, drift in enumerate(quality.drift):
        if isinstance(drift, AbruptDrift) and drift.every is not None:
            stream = open_stream()
            span_s = stream.timestamp(stream.num_samples - 1) - stream.timestamp(0) if stream.num_samples else 0.0
            if span_s / MAX_CHANGES > drift.every:
                expected = f"expected at least {span_s / MAX_CHANGES:g} s, or the data have over {MAX_CHANGES} changes"
                yield f"sim.quality.drift.{number}.every: got {drift.every:g} s, {expected}"
