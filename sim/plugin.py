"""The simulator as an executor that `twinclock` finds by its entry point `sim`."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from sim.arrivals import modelled_stream, poisson_stream
from sim.config import MeasuredQuality, SimConfig
from sim.quality import METRICS, make_quality
from sim.recorded import recorded_stream
from twinclock.allocator import Allocator
from twinclock.arrivals import ArrivalsConfig, RecordedConfig
from twinclock.config import Config, PoissonDataConfig, UniformDataConfig
from twinclock.dataset import load_table
from twinclock.executor import Executor
from twinclock.policies.needs import each_trigger, metrics_needed
from twinclock.policies.triggers.drift import DriftTriggerConfig
from twinclock.section import parse_section
from twinclock.stages import Context
from twinclock.stream import ClockTime, Stream, UniformStream
from twinclock.watch import Watcher
from twinclock.work import device_names

section: type[BaseModel] = SimConfig
is_resumable = False


def unsupported(config: Config) -> list[str]:
    """What can't be simulated: metrics that the quality model has no formula for, and embeddings.

    The measured scores of a real run can stand in for both.
    """
    sim = parse_section(SimConfig, config.sim, config.name, under="sim")
    if isinstance(sim.quality, MeasuredQuality):
        make_quality(sim.quality)
        return []
    otherwise = "or sim.quality of kind measured"
    wanted = [("evaluation.metrics", metric) for metric in config.evaluation.metrics]
    problems = []
    for key, trigger in each_trigger(config.trigger):
        wanted += [(key, metric) for metric in metrics_needed(trigger)]
        if isinstance(trigger, DriftTriggerConfig) and trigger.of == "embeddings":
            problems.append(f"{key}.of: got embeddings, which only trained models have; expected features, {otherwise}")
    problems += [
        f"{key}: got {metric}, expected {', '.join(METRICS)}, {otherwise}"
        for key, metric in dict.fromkeys(wanted)
        if metric not in METRICS
    ]
    return problems


def open_stream(config: Config) -> Stream:
    """Modelled arrivals, or the timestamps of a file or a data set."""
    data = config.data
    if isinstance(data, UniformDataConfig):
        return UniformStream(data.num_samples, data.every, data.start)
    if isinstance(data, PoissonDataConfig):
        return poisson_stream(data.num_samples, data.every, data.start, config.seed)
    if isinstance(data, ArrivalsConfig):
        return modelled_stream(data, config.seed)
    if isinstance(data, RecordedConfig):
        return recorded_stream(data)
    return load_table(data).stream()


def devices(config: Config) -> tuple[str, ...]:
    """As many as the configuration says: modelled devices are always there."""
    return device_names("sim", config.cluster.devices)


def notes(config: Config) -> Mapping[str, Any]:
    """Which of the figures that matter most are the uncalibrated defaults."""
    sim = parse_section(SimConfig, config.sim, config.name, under="sim")
    defaults = SimConfig()
    figures = {
        "training costs": (sim.costs.training, defaults.costs.training),
        "evaluation costs": (sim.costs.evaluation, defaults.costs.evaluation),
        "quality": (sim.quality, defaults.quality),
    }
    return {"uncalibrated": [name for name, (ours, default) in figures.items() if ours == default]}


def open(
    context: Context,
    allocator: Allocator,
    *,
    pipeline: str,
    folder: Path | None,
    from_clock: ClockTime,
    watcher: Watcher,
) -> Executor:
    """A SimPy executor for one run."""
    from sim.executor import SimExecutor
    from sim.operations import bodies

    sim = parse_section(SimConfig, context.config.sim, context.config.name, under="sim")
    return SimExecutor({pipeline: bodies(context, sim)}, allocator)
