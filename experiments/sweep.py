"""Sweeping a study: every variant with every seed, each run by itself, on as many cores or machines as there are."""

from __future__ import annotations

import os
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from functools import partial
from pathlib import Path
from typing import Any

from experiments.engines.local import local
from experiments.engines.ray import on_ray
from experiments.figures import ensure_figure
from experiments.job import Job
from experiments.progress import ProgressWatcher, watching_in_python
from experiments.results import (
    RUNS_FILE,
    STUDY_FILE,
    PlannedRun,
    StudyResult,
    collect,
    jobs,
    plan,
    planned_runs,
    write_table,
)
from experiments.store import Result, ResultStore
from experiments.study import Study, dump_study, load_study
from twinclock import plugins
from twinclock.errors import ConfigError, Interrupted, RunError
from twinclock.policies.metrics import find_metric
from twinclock.run_folder import replace_durably, told_as_run_error

ENGINES = ("local", "ray")
Engine = Callable[[Iterable[Job]], Generator[tuple[Job, Result]]]


def sweep(
    study: str | Path | Mapping[str, Any] | Study,
    *,
    out: str | Path | None = None,
    num_workers: int | None = None,
    engine: str = "local",
    ray_address: str | None = None,
    watcher: ProgressWatcher | None = None,
) -> StudyResult:
    """Run all of a study that is not done yet.

    `out`: its folder, new or of the same study; `runs/NAME` if there is none. What is done there already, by the same
    configuration, data and code, is not done again. A run that fails, takes too long or dies is a row that says so, and
    the others go on; another sweep tries it again. `num_workers`: how many runs at once; None: as many as there are
    cores, or one where runs take real time. `engine`: `local`, processes of this machine, or `ray`, a cluster (the one
    at `ray_address`, or a new one on this machine).

    ConfigError if the study is wrong, RunError if its folder can't be used. An interrupt leaves what is done; the same
    call goes on. Without a `watcher`, a notebook shows a bar.
    """
    if watcher is None:
        with watching_in_python() as watcher:
            return sweep(
                study, out=out, num_workers=num_workers, engine=engine, ray_address=ray_address, watcher=watcher
            )
    loaded = load_study(study)
    planned = plan(loaded)
    folder = Path("runs") / loaded.name if out is None else Path(out)
    perform_all = _engine(loaded, engine, num_workers, ray_address)
    with study_folder(folder, loaded) as store:
        runs = planned_runs(loaded, planned)
        write_table(runs, folder / RUNS_FILE)
        results = store.all()
        todo = _todo(loaded, planned, results, folder)
        num_runs = len({each.run for each in planned})
        watcher.begin("runs", num_runs, num_runs - len(todo))
        first_done = next((each for each in results.values() if is_done(each)), None)
        try:
            if first_done is not None:
                _ensure_metrics(loaded, first_done)
            with closing(perform_all(todo)) as ended:
                for job, result in ended:
                    store.add(job.run, result)
                    watcher.ended(job.label, result.state, result.error)
                    if first_done is None and is_done(result):
                        first_done = result
                        _ensure_metrics(loaded, first_done)
        except KeyboardInterrupt:
            left = len(_todo(loaded, planned, store.all(), folder))
            raise Interrupted(f"interrupted with {left} runs to do; the same command goes on, in {folder}") from None
        finally:
            made = collect(loaded, runs, store.all(), folder)
            made.write(folder)
        return made


@contextmanager
def study_folder(folder: Path, study: Study) -> Iterator[ResultStore]:
    """The results in a study's folder, new or of the same study, held by this process. RunError if it can't be used."""
    _ensure_same_study(folder, study)
    with ResultStore.hold(folder) as store:
        with told_as_run_error(folder), replace_durably(folder / STUDY_FILE) as unfinished:
            unfinished.write_text(dump_study(study), encoding="utf-8")
        yield store


def _ensure_metrics(study: Study, done: Result) -> None:
    """ConfigError if a run that is done shows that a metric of the study is none."""
    for metric in study.compared:
        if find_metric(metric.name.partition("_")[2]) is None:  # a composite may be planned in some variants only
            ensure_figure(metric.name, done.figures, f"{study.name}: metrics")


def _todo(study: Study, planned: Sequence[PlannedRun], results: Mapping[str, Result], folder: Path) -> list[Job]:
    return [job for job in jobs(study, planned, folder) if not is_done(results.get(job.run))]


def is_done(result: Result | None) -> bool:
    """Is there nothing left to do for a run with this result?"""
    return result is not None and result.state == "done"


def _engine(study: Study, engine: str, num_workers: int | None, ray_address: str | None) -> Engine:
    _ensure_workers(num_workers)
    if engine == "ray":
        return partial(on_ray, num_workers=num_workers, timeout_s=study.timeout, address=ray_address)
    if engine != "local":
        raise ConfigError(f"--engine: got {engine!r}, expected one of {', '.join(ENGINES)}")
    if ray_address is not None:
        raise ConfigError(f"--ray-address: got {ray_address!r} with the engine local, expected --engine ray")
    return partial(local, num_workers=runs_at_once(study, num_workers), timeout_s=study.timeout)


def runs_at_once(study: Study, num_workers: int | None) -> int:
    """How many runs on this machine: as many as asked for, else as cores, or one where they take real time."""
    _ensure_workers(num_workers)
    takes_real_time = plugins.find(study.on).is_resumable
    return num_workers or (1 if takes_real_time else len(os.sched_getaffinity(0)))


def _ensure_workers(num_workers: int | None) -> None:
    if num_workers is not None and num_workers < 1:
        raise ConfigError(f"-j: got {num_workers}, expected a whole number > 0")


def _ensure_same_study(folder: Path, study: Study) -> None:
    """RunError if a folder holds something else."""
    file = folder / STUDY_FILE
    if file.exists():
        there = load_study(file).name
        if there != study.name:
            raise RunError(f"{folder}: holds the study {there!r}, expected a new folder or one of {study.name!r}")
    elif folder.is_dir() and any(folder.iterdir()):
        raise RunError(f"{folder}: not empty and no study, expected a new folder or one of {study.name!r}")
