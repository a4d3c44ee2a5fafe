"""Running a configuration from start to end, and going on with a run that stopped."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, replace
from functools import cache, partial
from pathlib import Path
from typing import Any

from twinclock import plugins, preflight
from twinclock.allocator import Allocator
from twinclock.arrivals import RecordedConfig
from twinclock.check import check_capacity, ensure_sound
from twinclock.config import Config, config_hash, dump_yaml, load_config
from twinclock.dataset import TableConfig, check_numeric_label, fingerprint
from twinclock.errors import ConfigError, DeadlockError, Interrupted, LivelockError, RunError, UserError
from twinclock.executor import Executor, SuspendingExecutor, drive
from twinclock.folder import FolderConfig
from twinclock.graph import ONCE, Json, Node, Retry, graph_hash, to_json
from twinclock.journal import Journal, SupersededError
from twinclock.landed import LandedSamples
from twinclock.machine import Machine
from twinclock.messages import Finish
from twinclock.monitoring.monitor import monitored
from twinclock.observer import Journaled, RunObserver
from twinclock.pipeline import GraphOptions, build_graph
from twinclock.policies.needs import looks_at_models
from twinclock.progress import watching_in_python
from twinclock.recovery import replayed
from twinclock.result import Run
from twinclock.run_folder import HEADER, SAMPLES, RunFolder, read_header, wall_clock_date
from twinclock.scheduling import DEVICE, scheduling
from twinclock.stages import Context
from twinclock.stream import ClockTime, Stream
from twinclock.watch import Watcher

PIPELINE = "main"


def run(
    config: str | Path | Mapping[str, Any] | Config,
    *,
    on: str,
    out: str | Path | None = None,
    seed: int | None = None,
    overrides: Sequence[str] = (),
    watcher: Watcher | None = None,
) -> Run:
    """Run a configuration on an executor, from start to end.

    `out`: a new folder for the run. A simulated run needs none; a real one gets `runs/NAME-N` if it has
    none. `overrides`: `path.to.key=value` each. Raises ConfigError, DataError or RunError for what the
    user can mend; a run that itself failed is returned, with the outcome `failed` and its faults in the
    tables. KeyboardInterrupt leaves a journaled run resumable. Without a `watcher`, a notebook shows bars.
    """
    if watcher is None:
        with watching_in_python() as watcher:
            return run(config, on=on, out=out, seed=seed, overrides=overrides, watcher=watcher)
    loaded = load_config(config, overrides=[*overrides, *([] if seed is None else [f"seed={seed}"])])
    plugins.find(on)
    with located(config, loaded):
        plan = plan_run(loaded, on)
    if out is None and not plan.plugin.is_resumable:
        return run_in_memory(plan, watcher)
    hashes = plan.hashes
    path, began = _free_folder(loaded.name) if out is None else Path(out), wall_clock_date()
    with _interruptible(path, plan.plugin), RunFolder.create(path) as folder:
        write_plan(folder, plan)
        with _journal(Journal.create, plan, hashes, folder, began) as journal:
            folder.write_header({"created": began, "state": "running", "hashes": hashes, **labels(plan)})
            return _run_in_folder(plan, folder, journal, watcher)


def resume(folder: str | Path, *, watcher: Watcher | None = None) -> Run:
    """Go on with a journaled run that crashed or was suspended; what it returns and raises is as for `run`.

    RunError if there is nothing to resume: no run, a finished one, one without a journal, one that
    another process has, or a journal of another configuration, of other data or of another version.
    """
    if watcher is None:
        with watching_in_python() as watcher:
            return resume(folder, watcher=watcher)
    path = Path(folder)
    executor = read_header(path)["executor"]
    plugin = plugins.find(executor)
    if not plugin.is_resumable:
        raise RunError(f"{path}: a run on {executor!r} keeps no journal; run it again instead")
    with _interruptible(path, plugin), RunFolder.reopen(path) as held:
        loaded = load_config(path / "config.yaml")
        with located(path / "config.yaml", loaded):
            plan = plan_run(loaded, executor)
        with _journal(Journal.open, plan, plan.hashes, held, wall_clock_date()) as journal:
            return _run_in_folder(plan, held, journal, watcher)


@dataclass(frozen=True, slots=True)
class RunPlan:
    """A configuration that was checked against an executor, with all that is known before it runs."""

    config: Config
    executor: str
    plugin: plugins.ExecutorPlugin
    graph: Node
    stream: Stream
    units: Mapping[str, tuple[str, ...]]

    @property
    def hashes(self) -> dict[str, str]:
        """What must be the same for a journal to mean the same; reads the data file. DataError if it can't."""
        data = self.config.data
        recorded = {"data": fingerprint(data)} if isinstance(data, TableConfig | RecordedConfig) else {}
        return {"config": config_hash(self.config), "graph": graph_hash(self.graph), **recorded}


def plan_run(config: Config, on: str) -> RunPlan:
    """Check a configuration for an executor: graph, data, devices. ConfigError or DataError says what is wrong."""
    plugin = plugins.find(on)
    if config.training.task == "regression" and isinstance(config.data, TableConfig):
        check_numeric_label(config.data)
    if problems := plugin.unsupported(config):
        raise ConfigError(f"{config.name}: can't run on {on}: " + "; ".join(problems))
    graph = _sound_graph(graph_options(config))
    units = units_of(config, plugin.devices(config))
    capacity = {resource: len(names) for resource, names in units.items()}
    at_most = min(capacity["device"], config.cluster.most_at_once())
    if too_much := check_capacity(graph, capacity | {"device": at_most}):
        raise ConfigError(f"{config.name}: " + "; ".join(map(str, too_much)))
    stream = plugin.open_stream(config)
    if stream.num_samples == 0 and not isinstance(config.data, FolderConfig):
        raise ConfigError(f"{config.name}: data: the stream has no samples")
    if unfit := preflight.problems(config, stream):
        raise ConfigError(f"{config.name}: " + "; ".join(unfit))
    return RunPlan(config, on, plugin, graph, stream, units)


def units_of(config: Config, devices: Sequence[str]) -> dict[str, tuple[str, ...]]:
    """Resource → the names of its units, for a run that has these devices."""
    at_once = 1 if config.overlap is None else config.overlap.trainings_at_once
    return {
        "training_slot": tuple(f"slot:{index}" for index in range(at_once)),
        "admission": ("admission",),
        "activation": ("activation",),
        DEVICE: tuple(devices),
    }


def machine_of(plan: RunPlan, snapshot: Json | None) -> Machine:
    """A machine that has not begun, or as a journal's snapshot has it."""
    if snapshot is None:
        return Machine(plan.graph, PIPELINE)
    return Machine.restore(plan.graph, snapshot["machine"], PIPELINE)


def allocator_of(plan: RunPlan) -> Allocator:
    """The units of a run, none of them held."""
    return Allocator(plan.units, scheduling(plan.config.cluster, plan.units[DEVICE], {PIPELINE: plan.config}))


@contextmanager
def located(source: object, config: Config) -> Iterator[None]:
    """What is wrong with a configuration from a file names the file; from elsewhere it goes by the run's name."""
    try:
        yield
    except ConfigError as error:
        if not isinstance(source, str | Path):
            raise
        raise ConfigError(f"{source}: {str(error).removeprefix(f'{config.name}: ')}") from error


@cache
def _sound_graph(options: GraphOptions) -> Node:
    """Built once for all the runs of a sweep that share it, and checked once for all that differ in numbers only."""
    _ensure_sound(
        replace(
            options,
            training_timeout_s=_any(options.training_timeout_s),
            evaluation_timeout_s=_any(options.evaluation_timeout_s),
            observation_timeout_s=_any(options.observation_timeout_s),
            training_retry=ONCE,
            evaluation_retry=ONCE,
            observation_retry=ONCE,
        )
    )
    return build_graph(options)


@cache
def _ensure_sound(options: GraphOptions) -> None:
    """Whether a graph is sound depends on no timeout or retry: that these are in bounds, the configuration sees to."""
    ensure_sound(build_graph(options))


def _any(timeout_s: float | None) -> float | None:
    return None if timeout_s is None else 1.0


def graph_options(config: Config) -> GraphOptions:
    """The options of the stage graph that a configuration asks for."""
    training, evaluation = config.training, config.evaluation
    on_device, observing = config.observation.on_device, config.observation.retry
    return GraphOptions(
        variant=config.variant,
        devices_per_training=training.devices,
        training_timeout_s=training.timeout,
        training_retry=Retry(max_attempts=training.retry.attempts, backoff_s=training.retry.backoff),
        evaluation_timeout_s=evaluation.timeout,
        evaluation_retry=Retry(max_attempts=evaluation.retry.attempts, backoff_s=evaluation.retry.backoff),
        evaluations_yield=config.cluster.discipline == "preemptive",
        gate=training.gate is not None,
        evaluations_at_once=evaluation.at_once,
        observation_on_device=looks_at_models(config.trigger) if on_device is None else on_device,
        observation_timeout_s=config.observation.timeout,
        observation_retry=Retry(max_attempts=observing.attempts, backoff_s=observing.backoff),
    )


@contextmanager
def _interruptible(path: Path, plugin: plugins.ExecutorPlugin) -> Iterator[None]:
    """An interrupt says how to go on with the run in `path`, if it has come so far that there is one."""
    try:
        yield
    except KeyboardInterrupt:
        is_run = (path / HEADER).exists()
        raise Interrupted(f"interrupted; {_how_on(path, plugin)}" if is_run else "interrupted") from None


def _how_on(path: Path, plugin: plugins.ExecutorPlugin) -> str:
    return f"go on with: twinclock resume {path}" if plugin.is_resumable else f"{path} is unfinished"


def _journal(
    get: Callable[[Path, Mapping[str, str], str], Journal],
    plan: RunPlan,
    hashes: Mapping[str, str],
    folder: RunFolder,
    started: str,
) -> AbstractContextManager[Journal | None]:
    return get(folder.path, hashes, started) if plan.plugin.is_resumable else nullcontext()


def run_in_memory(plan: RunPlan, watcher: Watcher) -> Run:
    """Run what was planned, on an executor that needs no folder, and leave nothing behind."""
    observer = RunObserver(plan.stream, None, None, watcher)
    watcher.begin(plan.stream.num_samples)
    finish, makespan_s = _drive(plan, Machine(plan.graph, PIPELINE), observer, None, ClockTime(0.0))
    return Run(plan.config, {**labels(plan), **ending(finish, makespan_s)}, observer.tables())


def _run_in_folder(plan: RunPlan, folder: RunFolder, journal: Journal | None, watcher: Watcher) -> Run:
    """Replay what there is, then run to the end; whatever goes wrong, the folder says how far the run came."""
    num_samples: int | None = plan.stream.num_samples
    if isinstance(plan.config.data, FolderConfig):  # samples come as it runs, and lie in its folder
        plan, num_samples = replace(plan, stream=LandedSamples(folder.path / SAMPLES, plan.config.data)), None
    watching: AbstractContextManager[Watcher]
    watcher.begin(num_samples)
    if journal is None:
        machine, num_parts, from_clock = Machine(plan.graph, PIPELINE), 0, ClockTime(0.0)
        observer, watching = RunObserver(plan.stream, folder, None, watcher), nullcontext(watcher)
    else:
        machine, observer, num_parts = _as_left(plan, folder, journal, watcher)
        from_clock = journal.last_clock()
        watching = monitored(folder.path, Context(plan.config, plan.stream), machine, from_clock, watcher)
    try:
        folder.drop_tables(num_parts)
        folder.update_header(state="running", error=None)
        with watching as observer.watcher:
            finish, makespan_s = _drive(plan, machine, observer, folder.path, from_clock)
        observer.write(folder)
        folder.update_header(finished=wall_clock_date(), **ending(finish, makespan_s))
    except SupersededError:
        raise  # the folder is another process's now
    except KeyboardInterrupt:
        _abandon(folder, observer, "suspended" if journal else "interrupted", None)
        raise
    except Exception as error:
        _abandon(folder, observer, "crashed", f"{type(error).__name__}: {error}")
        if isinstance(error, (UserError, OSError, DeadlockError, LivelockError)):
            raise RunError(f"{error}; {_how_on(folder.path, plan.plugin)}") from error
        raise
    return Run.load(folder.path)


def _as_left(plan: RunPlan, folder: RunFolder, journal: Journal, watcher: Watcher) -> tuple[Machine, RunObserver, int]:
    """Machine and observer where the journal ends, and how many parts of the tables lie before its first event."""
    snapshot = journal.snapshot()
    machine = machine_of(plan, snapshot)
    observer = RunObserver(plan.stream, folder, Journaled(journal, machine), watcher)
    if snapshot is not None:
        _, outstanding = machine.outstanding()
        observer.restore(snapshot, outstanding)
    for now, event, commands in replayed(machine, journal, Context(plan.config, plan.stream)):
        observer.note(now, event, commands)
    return machine, observer, 0 if snapshot is None else snapshot["num_parts"]


def _drive(
    plan: RunPlan, machine: Machine, observer: RunObserver, folder: Path | None, from_clock: ClockTime
) -> tuple[Finish, ClockTime]:
    """Open the executor, hand it what an earlier process left open, and run to the end."""
    allocator = allocator_of(plan)
    held, commands = machine.outstanding()
    for request, placement in held:
        try:
            allocator.adopt(request, placement)
        except ValueError as error:
            raise RunError(f"{plan.config.name}: the run was left holding a device that is not here: {error}") from None
    if folder is not None and machine.begun and isinstance(plan.plugin, plugins.RestoringPlugin):
        plan.plugin.restore(folder, machine.registers)
    executor: Executor = plan.plugin.open(
        Context(plan.config, plan.stream),
        allocator,
        pipeline=PIPELINE,
        folder=folder,
        from_clock=from_clock,
        watcher=observer.watcher,
    )
    try:
        for command in commands:
            executor.perform(command)
        finishes = drive({PIPELINE: machine}, executor, {PIPELINE: observer})
        return finishes[PIPELINE], executor.now()
    except KeyboardInterrupt:
        if isinstance(executor, SuspendingExecutor):
            executor.suspend()
        raise
    finally:
        executor.close()


def _abandon(folder: RunFolder, observer: RunObserver, state: str, error: str | None) -> None:
    """The run stops before its end: keep what can be kept. Never raises, for something has gone wrong already."""
    for keep in (partial(observer.write, folder), partial(folder.update_header, state=state, error=error)):
        with contextlib.suppress(RunError):
            keep()


def write_plan(folder: RunFolder, plan: RunPlan) -> None:
    """Leave in a run's folder what is run."""
    folder.write_text("config.yaml", dump_yaml(plan.config))
    folder.write_text("graph.json", json.dumps(to_json(plan.graph), indent=1))


def labels(plan: RunPlan) -> dict[str, Any]:
    """What the header of a run says of who runs it, and how."""
    return {"executor": plan.executor, "name": plan.config.name, **plan.plugin.notes(plan.config)}


def ending(finish: Finish, makespan_s: ClockTime) -> dict[str, Any]:
    """What the header of a run says once it is over."""
    error = finish.error or {}
    return {
        "state": "finished",
        "outcome": finish.outcome,
        "error": error.get("message"),
        "error_type": error.get("type"),
        "makespan_s": makespan_s,
    }


def _free_folder(name: str) -> Path:
    """`runs/NAME-1`, or the next number that is not taken."""
    number = 1
    while (path := Path("runs") / f"{name}-{number}").exists():
        number += 1
    return path
