"""The simulator as an executor that `twinclock` finds by its entry point `sim`."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from sim.arrivals import modelled_stream, poisson_stream
from sim.calibrated import calibration_notes
from sim.config import SimConfig
from sim.costs import training_source
from sim.quality import DEFAULTS
from sim.quality.supported import problems as quality_problems
from sim.recorded import recorded_stream
from twinclock.allocator import Allocator, Granting
from twinclock.arrivals import ArrivalsConfig, RecordedConfig
from twinclock.cluster import modelled_devices
from twinclock.config import Config, PoissonDataConfig, UniformDataConfig
from twinclock.dataset import load_table
from twinclock.errors import DataError
from twinclock.executor import Executor
from twinclock.folder import FolderConfig
from twinclock.luck import FaultPlan
from twinclock.section import parse_section
from twinclock.stages import Context
from twinclock.stream import ClockTime, Stream, UniformStream
from twinclock.watch import Watcher

section: type[BaseModel] = SimConfig
is_resumable = False


def unsupported(config: Config) -> list[str]:
    """What can't be simulated: samples that are still to come, and what the kind of quality in use has no answer to."""
    if isinstance(config.data, FolderConfig):
        instead = "expected kind table with the samples that came, in the folder `samples` of a real run"
        return [f"data.kind: got folder, whose samples are still to come; {instead}"]
    sim = parse_section(SimConfig, config.sim, config.name, under="sim")
    training_source(sim.costs, config.training)
    return quality_problems(sim.quality, config, lambda: open_stream(config))


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
    if isinstance(data, FolderConfig):
        raise DataError("data.kind: got folder, whose samples are still to come")
    return load_table(data).stream()


def devices(config: Config) -> tuple[str, ...]:
    """As many as the configuration says: modelled devices are always there."""
    return tuple(device.name for device in modelled_devices(config.cluster))


def notes(config: Config) -> Mapping[str, Any]:
    """Which of the figures that matter most are the uncalibrated defaults, and where those of trainings are from."""
    sim = parse_section(SimConfig, config.sim, config.name, under="sim")
    defaults = SimConfig()
    figures = {
        "training costs": sim.costs.training == defaults.costs.training,
        "evaluation costs": sim.costs.evaluation == defaults.costs.evaluation,
        "quality": sim.quality in DEFAULTS,
    }
    return {
        "uncalibrated": [name for name, is_default in figures.items() if is_default],
        "cost_notes": [
            *(() if sim.calibration is None else calibration_notes(sim.calibration, config.training)),
            *training_source(sim.costs, config.training).notes(config.training),
            *_not_modelled(config),
        ],
    }


def _not_modelled(config: Config) -> list[str]:
    """What about trainings is charged otherwise than it would be."""
    if config.training.early_stopping is None:
        return []
    charged = f"each training is charged all its {config.training.epochs} epochs"
    return [f"training.early_stopping is not modelled: {charged}"]


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
    return open_fleet({pipeline: context}, allocator)


def open_fleet(contexts: Mapping[str, Context], allocator: Granting) -> Executor:
    """A SimPy executor for several pipelines; the cluster, and what happens to it, is that of the first."""
    from sim.executor import SimExecutor
    from sim.operations import bodies
    from sim.outages import begin_outages

    modelled, nodes, ages, grant_s = {}, None, dict[str, float](), dict[str, float]()
    for pipeline, context in contexts.items():
        config = context.config
        sim = parse_section(SimConfig, config.sim, config.name, under="sim")
        modelled[pipeline], grant_s[pipeline] = bodies(context, sim, ages), sim.costs.grant_s
        if sim.interference.same_node > 0 or (config.cluster.jobs_per_device > 1 and sim.interference.same_device > 0):
            nodes = {device.name: (device.pool, device.node) for device in modelled_devices(config.cluster)}
    answer_s = (lambda pipeline, _: grant_s[pipeline]) if any(grant_s.values()) else None
    executor, shared = SimExecutor(modelled, allocator, nodes, answer_s), next(iter(contexts.values())).config
    begin_outages(executor, shared.cluster, FaultPlan(shared.faults, shared.seed))
    return executor
