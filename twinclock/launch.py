"""Running a configuration from start to end, and going on with a run that stopped."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from twinclock import plugins
from twinclock.allocator import Allocator
from twinclock.check import check_capacity, ensure_sound
from twinclock.config import Config, config_hash, dump_yaml, load_config
from twinclock.errors import ConfigError, Interrupted, RunError
from twinclock.executor import Executor, drive
from twinclock.graph import Node, Retry, graph_hash, to_json
from twinclock.journal import Journal
from twinclock.machine import Machine
from twinclock.messages import Command, Ended, Event, Finish, Start
from twinclock.pipeline import GraphOptions, build_graph
from twinclock.records import Recorder
from twinclock.result import Run
from twinclock.run_folder import RunFolder, read_header, wall_clock_date
from twinclock.stages import Context, decide
from twinclock.stream import ClockTime, Stream
from twinclock.watch import UNWATCHED, Watcher

PIPELINE = "main"
_STAGE_RUNS_A_PART = 200_000
"""Stage runs that are kept in memory before they are written to the run's folder."""


def run(
    config: str | Path | Mapping[str, Any] | Config,
    *,
    on: str,
    out: str | Path | None = None,
    seed: int | None = None,
    overrides: Sequence[str] = (),
    watcher: Watcher = UNWATCHED,
) -> Run:
    """Run a configuration on an executor, from start to end.

    `out`: a new folder for the run. A simulated run needs none; a real one gets `runs/NAME-N` if it has
    none. `overrides`: `path.to.key=value` each. Raises ConfigError, DataError or RunError for what the
    user can mend; a run that itself failed is returned, with the outcome `failed` and its faults in the
    tables. KeyboardInterrupt leaves a journaled run resumable.
    """
    loaded = load_config(config, overrides=[*overrides, *([] if seed is None else [f"seed={seed}"])])
    plan = plan_run(loaded, on)
    if out is None and not plan.plugin.is_resumable:
        return _run_in_memory(plan, watcher)
    header = {"executor": on, "name": loaded.name, "hashes": plan.hashes, **plan.plugin.notes(loaded)}
    with RunFolder.create(_free_folder(loaded.name) if out is None else Path(out), header) as folder:
        (folder.path / "config.yaml").write_text(dump_yaml(loaded), encoding="utf-8")
        (folder.path / "graph.json").write_text(json.dumps(to_json(plan.graph), indent=1), encoding="utf-8")
        return _run_in_folder(plan, folder, watcher)


def resume(folder: str | Path, *, watcher: Watcher = UNWATCHED) -> Run:
    """Go on with a journaled run that crashed or was suspended; what it returns and raises is as for `run`.

    RunError if there is nothing to resume: no run, a finished one, one without a journal, one that
    another process has, or a journal of another configuration or version.
    """
    path = Path(folder)
    header = read_header(path)
    plan = plan_run(load_config(path / "config.yaml"), header["executor"])
    if not plan.plugin.is_resumable:
        raise RunError(f"{path}: a run on {header['executor']!r} keeps no journal; run it again instead")
    with RunFolder.reopen(path) as held:
        held.update_header(state="running")
        return _run_in_folder(plan, held, watcher)


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
        """What must be the same for a journal to mean the same."""
        return {"graph": graph_hash(self.graph), "config": config_hash(self.config)}


def plan_run(config: Config, on: str) -> RunPlan:
    """Check a configuration for an executor: graph, data, devices. ConfigError or DataError says what is wrong."""
    plugin = plugins.find(on)
    if problems := plugin.unsupported(config):
        raise ConfigError(f"{config.name}: can't run on {on}: " + "; ".join(problems))
    graph = build_graph(graph_options(config))
    ensure_sound(graph)
    at_once = 1 if config.overlap is None else config.overlap.trainings_at_once
    slots = tuple(f"slot:{index}" for index in range(at_once))
    units = {"training_slot": slots, "admission": ("admission",), "device": plugin.devices(config)}
    if too_much := check_capacity(graph, {resource: len(names) for resource, names in units.items()}):
        raise ConfigError(f"{config.name}: " + "; ".join(map(str, too_much)))
    stream = plugin.open_stream(config)
    if stream.num_samples == 0:
        raise ConfigError(f"{config.name}: data: the stream has no samples")
    return RunPlan(config, on, plugin, graph, stream, units)


def graph_options(config: Config) -> GraphOptions:
    """The options of the stage graph that a configuration asks for."""
    training, evaluation = config.training, config.evaluation
    return GraphOptions(
        variant=config.variant,
        devices_per_training=training.devices,
        training_timeout_s=training.timeout,
        training_retry=Retry(max_attempts=training.retry.attempts, backoff_s=training.retry.backoff),
        evaluation_timeout_s=evaluation.timeout,
        evaluation_retry=Retry(max_attempts=evaluation.retry.attempts, backoff_s=evaluation.retry.backoff),
        evaluations_at_once=evaluation.at_once,
    )


def replayed(machine: Machine, journal: Journal, context: Context) -> Iterator[tuple[ClockTime, Event, list[Command]]]:
    """Feed a machine all that its journal holds, making every decision again.

    RunError if a decision comes out differently now: a policy is not deterministic, or its code changed.
    """
    deciding: dict[int, Start] = {}
    for now, event in journal.events():
        if isinstance(event, Ended) and (start := deciding.pop(event.id, None)) is not None:
            _compare_decision(context, start, event)
        commands = machine.feed(event)
        deciding |= {c.id: c for c in commands if isinstance(c, Start) and c.stage.kind == "decide"}
        yield now, event, commands


def _compare_decision(context: Context, start: Start, event: Ended) -> None:
    if event.outcome not in start.stage.outcomes:
        return
    outcome, values = decide(context, start)
    now, then = ([outcome, json.loads(json.dumps(dict(values)))], [event.outcome, dict(event.values)])
    if now != then:
        raise RunError(
            f"{start.stage.operation} decided {_short(then)} when it ran, but {_short(now)} when made again: "
            "a policy is not deterministic, or its code has changed since"
        )


def _short(decision: list[Any]) -> str:
    text = json.dumps(decision)
    return text if len(text) <= 200 else text[:197] + "..."


def _run_in_memory(plan: RunPlan, watcher: Watcher) -> Run:
    observer = _Observer(plan, None, None, watcher)
    finish, makespan_s = _drive(plan, Machine(plan.graph, PIPELINE), observer, None, ClockTime(0.0))
    header = {"executor": plan.executor, "name": plan.config.name, **plan.plugin.notes(plan.config)}
    return Run(plan.config, {**header, **_ending(finish, makespan_s)}, observer.recorder.take())


def _run_in_folder(plan: RunPlan, folder: RunFolder, watcher: Watcher) -> Run:
    machine = Machine(plan.graph, PIPELINE)
    journal = Journal(folder.path, plan.hashes, wall_clock_date()) if plan.plugin.is_resumable else None
    observer = _Observer(plan, folder, journal, watcher)
    from_clock = ClockTime(0.0)
    try:
        if journal is not None:
            from_clock = journal.last_clock()
            for now, event, commands in replayed(machine, journal, Context(plan.config, plan.stream)):
                observer.recorder.record(now, event, commands)
        finish, makespan_s = _drive(plan, machine, observer, folder.path, from_clock)
    except KeyboardInterrupt:
        if plan.plugin.is_resumable:
            folder.update_header(state="suspended")
            raise Interrupted(f"interrupted; go on with: twinclock resume {folder.path}") from None
        folder.update_header(state="interrupted")
        raise Interrupted(f"interrupted; {folder.path} is unfinished") from None
    finally:
        if journal is not None:
            journal.close()
        folder.write_tables(observer.recorder.take())
    folder.update_header(finished=wall_clock_date(), **_ending(finish, makespan_s))
    return Run.load(folder.path)


def _drive(
    plan: RunPlan, machine: Machine, observer: _Observer, folder: Path | None, from_clock: ClockTime
) -> tuple[Finish, ClockTime]:
    """Open the executor, hand it what an earlier process left open, and run to the end."""
    allocator = Allocator(plan.units, {"evaluation": plan.config.cluster.patience.evaluation})
    held, commands = machine.outstanding()
    for id_, placement in held:
        allocator.adopt((PIPELINE, id_), placement)
    observer.watcher.begin(plan.stream.num_samples)
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
    finally:
        executor.close()


class _Observer:
    """Journal first, then the tables, then whoever wants to watch."""

    def __init__(self, plan: RunPlan, folder: RunFolder | None, journal: Journal | None, watcher: Watcher) -> None:
        self.recorder = Recorder(plan.stream.timestamp)
        self._folder = folder
        self._journal = journal
        self.watcher = watcher

    def record(self, now: ClockTime, event: Event, commands: Sequence[Command]) -> None:
        if self._journal is not None:
            self._journal.record(now, event, commands)
        self.recorder.record(now, event, commands)
        self.watcher.event(now, event, commands)
        if self._folder is not None and self.recorder.num_gathered >= _STAGE_RUNS_A_PART:
            self._folder.write_tables(self.recorder.take())


def _ending(finish: Finish, makespan_s: ClockTime) -> dict[str, Any]:
    error = None if finish.error is None else finish.error.get("message")
    return {"state": "finished", "outcome": finish.outcome, "error": error, "makespan_s": makespan_s}


def _free_folder(name: str) -> Path:
    """`runs/NAME-1`, or the next number that is not taken."""
    number = 1
    while (path := Path("runs") / f"{name}-{number}").exists():
        number += 1
    return path
