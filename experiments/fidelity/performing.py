"""The real runs: every policy as often as wanted, one run after another, and none that is there already."""

from __future__ import annotations

import os
import platform
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TypeAlias

from experiments.fidelity.matching import figures_of
from experiments.fidelity.policies import Policy
from experiments.fidelity.records import RealRun
from experiments.job import Job, what_failed
from experiments.progress import ProgressWatcher
from experiments.store import Result
from twinclock.config import config_hash, load_config
from twinclock.errors import RunError, UserError
from twinclock.journal import num_incarnations
from twinclock.result import Run
from twinclock.run_folder import HEADER, read_header, told_as_run_error

REAL = "real"
"""The executor that shows what is so."""
_MACHINES = "machines.txt"
PerformAll: TypeAlias = Callable[[Iterable[Job]], Generator[tuple[Job, Result]]]
"""What performs jobs in the order given; closing it ends the one under way."""


def run_folder(folder: Path, policy: Policy, repeat: int) -> Path:
    """Where a repeat of a policy is."""
    return folder / "runs" / f"{policy.folder}-r{repeat}"


def measured(
    policies: Sequence[Policy], repeats: int, folder: Path, perform_all: PerformAll, watcher: ProgressWatcher
) -> dict[str, tuple[RealRun, ...]]:
    """Label → the repeats of each policy. A run that fails says why, and the others go on.

    A run that is finished is left as it is, one that was begun goes on. RunError if a folder holds another
    configuration than the study now asks for.
    """
    wanted = {
        str(run_folder(folder, policy, repeat)): (policy, repeat) for policy, repeat in _in_turn(policies, repeats)
    }
    for path, (policy, repeat) in wanted.items():
        _ensure_same(Path(path), policy, repeat)
    todo = [path for path in wanted if not _is_finished(Path(path))]
    jobs = [_job(path, *wanted[path]) for path in todo if wanted[path][0].config is not None]
    watcher.begin("real runs", len(wanted), len(wanted) - len(jobs))
    if jobs:
        _note_machine(folder)
    results: dict[str, Result] = {}
    with closing(perform_all(jobs)) as ended:
        for job, result in ended:
            results[job.run] = result
            watcher.ended(job.label, result.state, result.error)
    runs: dict[str, list[RealRun]] = {policy.label: [] for policy in policies}
    for path, (policy, repeat) in sorted(wanted.items(), key=lambda each: each[1][1]):
        runs[policy.label].append(_told(Path(path), policy, repeat, results.get(path)))
    return {label: tuple(each) for label, each in runs.items()}


def _in_turn(policies: Sequence[Policy], repeats: int) -> Iterator[tuple[Policy, int]]:
    """All policies once, then all again from the next one on, and so forth: drift of the machine meets all alike."""
    for repeat in range(1, repeats + 1):
        first = (repeat - 1) % len(policies)
        yield from ((policy, repeat) for policy in [*policies[first:], *policies[:first]])


def _job(path: str, policy: Policy, repeat: int) -> Job:
    return Job(path, f"{policy.label}, real run {repeat}", policy.repeated(repeat), REAL, path)


def _is_finished(path: Path) -> bool:
    return (path / HEADER).exists() and read_header(path)["state"] == "finished"


def _ensure_same(path: Path, policy: Policy, repeat: int) -> None:
    """RunError if there is a run, and it is of another configuration."""
    if policy.config is None or not (path / HEADER).exists():
        return
    try:
        wanted = load_config(policy.repeated(repeat))
    except UserError:
        return  # which its run will tell
    if read_header(path)["hashes"]["config"] != config_hash(wanted):
        raise RunError(
            f"{path}: a run of another configuration than repeat {repeat} of {policy.label!r} has now; "
            "expected a new folder (--out), or this one without that run"
        )


def _told(path: Path, policy: Policy, repeat: int, result: Result | None) -> RealRun:
    if policy.config is None:
        return RealRun(repeat, "failed", policy.error, None)
    if not _is_finished(path):
        state, error = ("failed", "it did not end") if result is None else (result.state, result.error)
        return RealRun(repeat, state, error, None)
    run = Run.load(path)
    resumed = num_incarnations(path) > 1
    if (failure := what_failed(run)) is not None:
        return RealRun(repeat, "failed", f"{failure}; remove {path} to have it run again", None, resumed)
    return RealRun(repeat, "done", None, figures_of(run), resumed)


def finished_runs(policy: Policy, runs: Mapping[str, Sequence[RealRun]], folder: Path) -> list[Path]:
    """The folders of those repeats of a policy that are done."""
    return [run_folder(folder, policy, run.repeat) for run in runs[policy.label] if run.figures is not None]


def machines(folder: Path) -> str:
    """What the real runs in a folder ran on."""
    file = folder / _MACHINES
    return "; ".join(file.read_text(encoding="utf-8").splitlines()) if file.exists() else ""


def _note_machine(folder: Path) -> None:
    """Add this machine to those that real runs ran on, once."""
    try:
        torch = f", torch {version('torch')}"
    except PackageNotFoundError:
        torch = ""
    here = f"{os.cpu_count()} × {platform.machine()}, Python {platform.python_version()}{torch}"
    known = machines(folder).split("; ") if machines(folder) else []
    if here not in known:
        with told_as_run_error(folder):
            (folder / _MACHINES).write_text("\n".join([*known, here]) + "\n", encoding="utf-8")
