"""One run of a study, from its configuration to its result; what a worker of any engine performs."""

from __future__ import annotations

import shutil
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from experiments.figures import figures
from experiments.store import Result, State
from twinclock import launch, plugins
from twinclock.errors import RunError, UserError
from twinclock.lost import users_line
from twinclock.result import Run
from twinclock.run_folder import HEADER, read_header
from twinclock.watch import UNWATCHED


@dataclass(frozen=True, slots=True)
class Job:
    """A run that has to be done."""

    run: str
    """Its id."""
    label: str
    """What to call it: the variant and the seed."""
    config: dict[str, Any]
    """The whole configuration, unchecked."""
    on: str
    folder: str | None
    """Where its own folder is, if the executor's runs need one."""


def perform(job: Job) -> Result:
    """Run it. Whatever goes wrong is a result too; only the death of the process is not."""
    began_s = time.perf_counter()
    try:
        run = launched(job)
        error = what_failed(run)
        found = {} if error else figures(run.summary)
    except Exception as raised:
        told = str(raised) if isinstance(raised, UserError) else f"{type(raised).__name__}: {raised}"
        error, found = told.removeprefix("config: "), {}  # which one it is, the row says
    state: State = "failed" if error else "done"
    return Result(state, found, error and " ".join(error.split()), time.perf_counter() - began_s)


def launched(job: Job) -> Run:
    """The run, started; or gone on with, if its folder says that it was begun; or as it is, if it is finished."""
    if job.folder is None:
        return launch.run(job.config, on=job.on, watcher=UNWATCHED)
    folder = Path(job.folder)
    if (folder / HEADER).exists():
        if read_header(folder)["state"] == "finished":
            return Run.load(folder)
        if plugins.find(job.on).is_resumable:
            try:
                return launch.resume(folder, watcher=UNWATCHED)
            except RunError:
                pass  # it can't go on, so it begins anew
    shutil.rmtree(folder, ignore_errors=True)
    return launch.run(job.config, on=job.on, out=folder, watcher=UNWATCHED)


def what_failed(run: Run) -> str | None:
    """Why a finished run is of no use, in one line; None if it is done.

    A score that is missing by a mistake of the user's is such a reason: without it the accuracy is of other intervals.
    """
    if run.outcome != "done":
        return " ".join(str(run.header.get("error") or "the run failed; see its table of faults").split())
    return users_line(run.tables)
