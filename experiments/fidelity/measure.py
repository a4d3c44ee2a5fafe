"""Holding the simulation of a study against real runs of the same policies."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

from experiments.engines.local import local
from experiments.fidelity.performing import PerformAll, machines, measured
from experiments.fidelity.policies import Policy, facts_of, policies
from experiments.fidelity.predicting import predicted
from experiments.fidelity.records import FORMAT, PolicyRecord, Prediction, RealRun, Record
from experiments.fidelity.result import PAGE_FILE, FidelityResult
from experiments.progress import ProgressWatcher, watching_in_python
from experiments.report.write import report
from experiments.store import held
from experiments.study import Study, load_study
from twinclock.errors import ConfigError, Interrupted


def fidelity(
    study: str | Path | Mapping[str, Any] | Study,
    *,
    out: str | Path | None = None,
    repeats: int = 3,
    watcher: ProgressWatcher | None = None,
) -> FidelityResult:
    """Run each variant of a study for real, predict it with costs from another variant's runs, and grade that.

    `out`: a folder, new or of the same study; `runs/NAME-fidelity` if there is none. `repeats`: real runs of each
    variant, with the study's first seed and those that follow it: they differ by the machine and by the chances of
    training. Those that are there already are not run again, so that the same call with more repeats adds, and with as
    many only predicts and grades anew. The variants are run whatever executor the study names.

    A real run or a prediction that fails is part of the result, and the others go on. ConfigError if the study is
    wrong, RunError if the folder can't be used or holds runs of something else. An interrupt leaves what is done;
    the same call goes on. Without a `watcher`, a notebook shows a bar.
    """
    if watcher is None:
        with watching_in_python() as watcher:
            return fidelity(study, out=out, repeats=repeats, watcher=watcher)
    loaded = load_study(study)
    folder = Path("runs") / f"{loaded.name}-fidelity" if out is None else Path(out)
    return measure(loaded, folder, repeats, partial(local, num_workers=1, timeout_s=loaded.timeout), watcher)


def measure(
    study: Study, folder: Path, repeats: int, perform_all: PerformAll, watcher: ProgressWatcher
) -> FidelityResult:
    """The same with something of one's own that performs the real runs, one after another."""
    if repeats < 1:
        raise ConfigError(f"--repeats: got {repeats}, expected a whole number > 0")
    planned = policies(study)
    with held(folder, "another process"):
        try:
            runs = measured(planned, repeats, folder, perform_all, watcher)
        except KeyboardInterrupt:
            raise Interrupted(f"interrupted; the same command goes on, in {folder}") from None
        predictions = predicted(planned, runs, folder, watcher)
        record = Record(
            format=FORMAT,
            name=study.name,
            question=study.question,
            seed=study.all_seeds[0],
            repeats=repeats,
            machine=machines(folder),
            policies=tuple(_record(each, runs[each.label], predictions[each.label]) for each in planned),
        )
        made = FidelityResult(record, folder)
        made.write(folder)
        report(made, out=folder / PAGE_FILE)
    return made


def _record(policy: Policy, runs: tuple[RealRun, ...], prediction: Prediction) -> PolicyRecord:
    facts = facts_of(policy)
    return PolicyRecord(
        label=policy.label,
        graph=facts.graph,
        mode=facts.mode,
        trigger=facts.trigger,
        depends_on=facts.depends_on,
        num_devices=facts.num_devices,
        runs=runs,
        prediction=prediction,
    )
