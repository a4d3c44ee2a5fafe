"""Running a fleet: one clock and one allocator for all pipelines, tables of its own for each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from twinclock import launch, plugins
from twinclock.config import Config
from twinclock.errors import ConfigError, RunError
from twinclock.executor import drive
from twinclock.fleet.config import FleetConfig, load_fleet
from twinclock.fleet.grants import FleetAllocator
from twinclock.fleet.result import Fleet, write_fleet
from twinclock.machine import Machine
from twinclock.messages import Command, Event, Finish
from twinclock.observer import RunObserver
from twinclock.progress import watching_in_python
from twinclock.result import Run
from twinclock.run_folder import RunFolder, told_as_run_error, wall_clock_date
from twinclock.scheduling import DEVICE, scheduling
from twinclock.stages import Context
from twinclock.stream import ClockTime
from twinclock.watch import FleetWatcher


def run_fleet(
    source: str | Path | Mapping[str, Any],
    *,
    on: str = "sim",
    out: str | Path | None = None,
    overrides: Sequence[str] = (),
    watcher: FleetWatcher | None = None,
) -> Fleet:
    """Run all pipelines of a fleet at once, from start to end.

    `out`: a new folder, with a run's folder for each pipeline. Raises ConfigError, DataError or RunError for what the
    user can mend, and ConfigError for an executor that can't run fleets. A pipeline that itself failed has the outcome
    `failed`. Without a `watcher`, a notebook shows bars.
    """
    if watcher is None:
        with watching_in_python() as watcher:
            return run_fleet(source, on=on, out=out, overrides=overrides, watcher=watcher)
    fleet, plans = plan_fleet(source, on, overrides=overrides)
    plugin = _fleet_plugin(fleet, on)
    units = {pipeline: plan.units for pipeline, plan in plans.items()}
    devices = next(iter(units.values()))[DEVICE]
    configs = {pipeline: plan.config for pipeline, plan in plans.items()}
    allocator = FleetAllocator(units, scheduling(fleet.cluster, devices, configs))
    contexts = {pipeline: Context(plan.config, plan.stream) for pipeline, plan in plans.items()}
    with ExitStack() as folders:
        opened = {} if out is None else _opened(plans, _new_folder(Path(out)), folders)
        watchers = {pipeline: watcher.of(pipeline) for pipeline in plans}
        observers = {
            pipeline: _PipelineObserver(RunObserver(plan.stream, opened.get(pipeline), None, watchers[pipeline]))
            for pipeline, plan in plans.items()
        }
        for pipeline, plan in plans.items():
            watchers[pipeline].begin(plan.stream.num_samples)
        executor = plugin.open_fleet(contexts, allocator)
        try:
            machines = {pipeline: Machine(plan.graph, pipeline) for pipeline, plan in plans.items()}
            finishes = drive(machines, executor, observers)
        finally:
            executor.close()
        runs = {
            pipeline: _ended(plan, finishes[pipeline], observers[pipeline], opened.get(pipeline))
            for pipeline, plan in plans.items()
        }
    made = Fleet(fleet.name, fleet.cluster, runs)
    if out is not None:
        write_fleet(made, Path(out))
    return made


def plan_fleet(
    source: str | Path | Mapping[str, Any], on: str, *, overrides: Sequence[str] = ()
) -> tuple[FleetConfig, dict[str, launch.RunPlan]]:
    """Check a fleet for an executor: what to run, pipeline by pipeline. ConfigError or DataError says what is wrong."""
    fleet, configs = load_fleet(source, overrides=overrides)
    _fleet_plugin(fleet, on)
    where = "" if isinstance(source, Mapping) else f"{source}: "
    return fleet, {pipeline: _plan(where, pipeline, config, on) for pipeline, config in configs.items()}


def _fleet_plugin(fleet: FleetConfig, on: str) -> plugins.FleetPlugin:
    plugin = plugins.find(on)
    if not isinstance(plugin, plugins.FleetPlugin):
        raise ConfigError(f"{fleet.name}: fleet: can't run on {on}, where one pipeline has all devices; expected sim")
    return plugin


def _plan(where: str, pipeline: str, config: Config, on: str) -> launch.RunPlan:
    try:
        return launch.plan_run(config, on)
    except ConfigError as error:
        raise ConfigError(f"{where}fleet.{pipeline}: {str(error).removeprefix(f'{config.name}: ')}") from None


def _new_folder(path: Path) -> Path:
    with told_as_run_error(path):
        if path.exists() and any(path.iterdir()):
            raise RunError(f"{path}: not empty; expected a new folder for the fleet")
    return path


def _opened(plans: Mapping[str, launch.RunPlan], path: Path, folders: ExitStack) -> dict[str, RunFolder]:
    """A folder for each pipeline, with its header: a run that goes on."""
    opened = {}
    for pipeline, plan in plans.items():
        folder = opened[pipeline] = folders.enter_context(RunFolder.create(path / pipeline))
        launch.write_plan(folder, plan)
        folder.write_header({"created": wall_clock_date(), "state": "running", **launch.labels(plan)})
    return opened


def _ended(plan: launch.RunPlan, finish: Finish, observer: _PipelineObserver, folder: RunFolder | None) -> Run:
    ending = launch.ending(finish, observer.finished_s)
    if folder is None:
        return Run(plan.config, {**launch.labels(plan), **ending}, observer.inner.tables())
    observer.inner.write(folder)
    folder.update_header(finished=wall_clock_date(), **ending)
    return Run.load(folder.path)


class _PipelineObserver:
    """An observer that notes when its pipeline finished: the others go on, and so does the clock."""

    def __init__(self, inner: RunObserver) -> None:
        self.inner = inner
        self.finished_s = ClockTime(0.0)

    def record(self, now: ClockTime, event: Event, commands: Sequence[Command]) -> None:
        """As every observer; a pipeline is over when its machine says so."""
        self.inner.record(now, event, commands)
        if commands and isinstance(commands[-1], Finish):
            self.finished_s = now
