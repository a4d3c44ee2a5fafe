"""Searching a study: batch after batch is proposed, tried and kept, until there are as many trials as asked for."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any, TypeAlias

from experiments.engines.local import local_workers
from experiments.fingerprint import code_version, run_ids
from experiments.progress import ProgressWatcher, watching_in_python
from experiments.search import pruning
from experiments.search.bench import Bench, tried, tried_in_full
from experiments.search.confirm import REAL, confirmed
from experiments.search.goals import Goals, goals_of
from experiments.search.results import SearchResult, collect
from experiments.search.space import ensure_searchable
from experiments.search.trials import Ended, Proposed, Trials, optuna_here, propose
from experiments.study import Study, load_study
from experiments.sweep import runs_at_once, study_folder
from experiments.variants import Variant
from twinclock import plugins
from twinclock.errors import ConfigError, Interrupted

BATCH_SIZE = 8
"""Trials that are proposed together. Not the number of cores, so that the trials are the same on every machine."""

Try: TypeAlias = Callable[[Bench, Sequence[Proposed], Sequence[Ended]], Iterator[Ended]]


def search(
    study: str | Path | Mapping[str, Any] | Study,
    *,
    objectives: Sequence[str] | None = None,
    at_most: Mapping[str, float | str] | None = None,
    num_trials: int = 100,
    batch_size: int = BATCH_SIZE,
    seed: int = 0,
    prune: bool = True,
    confirm: int = 0,
    out: str | Path | None = None,
    num_workers: int | None = None,
    watcher: ProgressWatcher | None = None,
) -> SearchResult:
    """Search among the variants of a study for those that no other beats, in the means over its seeds.

    `objectives`: figures of a run, with a minus where less is better; None: the study's metrics. `at_most`: metric →
    the most that it may be, a number, or a duration such as `40h` for seconds. `num_trials`: variants to try, those of
    earlier calls included; fewer if the study has no more. `batch_size`: how many are proposed together, each knowing
    those before the batch. `prune`: leave out those that a short simulation shows to be beaten. `confirm`: run so
    many of the front for real. `out`, `num_workers`: as in `sweep`; what a sweep has done is not done again.

    The same search, whose study, code, data and options but `num_trials`, `confirm` and `num_workers` are the same,
    goes on where it was, and makes the same trials if it starts anew. A variant that fails is a trial that says so.

    ConfigError if the study, a metric or an option is wrong, or Optuna is not installed; RunError if the folder can't
    be used. An interrupt leaves what is done. Without a `watcher`, a notebook shows a bar.
    """
    if watcher is None:
        with watching_in_python() as watcher:
            return search(
                study, objectives=objectives, at_most=at_most, num_trials=num_trials, batch_size=batch_size, seed=seed,
                prune=prune, confirm=confirm, out=out, num_workers=num_workers, watcher=watcher,
            )  # fmt: skip
    loaded = load_study(study)
    _ensure_options(loaded, num_trials, batch_size, seed, confirm)
    ensure_searchable(loaded)
    goals = goals_of(loaded, objectives, at_most or {})
    try_all = tried if prune and pruning.can_prune(loaded) else tried_in_full
    optuna_here()
    folder = Path("runs") / loaded.name if out is None else Path(out)
    name = f"{loaded.name} {_fingerprint(loaded, goals, batch_size, seed, try_all is tried)}"
    workers = partial(local_workers, timeout_s=loaded.timeout)
    at_once = runs_at_once(loaded, num_workers)
    with study_folder(folder, loaded) as store, Trials.open(folder, name, goals) as trials:
        results = store.all()
        watcher.begin("trials", num_trials, min(len(trials.ended), num_trials))
        try:
            with workers(num_workers=at_once) as perform_all:
                bench = Bench(loaded, goals, folder, store, perform_all, results)
                for ended in _trials_to_come(bench, trials, try_all, num_trials, batch_size, seed):
                    trials.add(ended)
                    watcher.ended(f"trial {len(trials.ended) - 1}, {ended.variant.label}", ended.state, ended.error)
            made = collect(loaded, goals, trials.ended, folder)
            if confirm:
                with workers(num_workers=1) as perform_all:
                    bench = Bench(loaded, goals, folder, store, perform_all, results)
                    made = confirmed(made, trials.ended, bench, confirm, watcher)
            made.write()
        except KeyboardInterrupt:
            collect(loaded, goals, trials.ended, folder).write()
            told = f"interrupted with {len(trials.ended)} of {num_trials} trials"
            raise Interrupted(f"{told}; the same command goes on, in {folder}") from None
        return made


def _trials_to_come(
    bench: Bench, trials: Trials, try_all: Try, num_trials: int, batch_size: int, seed: int
) -> Iterator[Ended]:
    """Those that are left, each to be added to the trials before the next is asked for.

    A batch that was interrupted is proposed again from its beginning, for it is to be the same batch.
    """
    while (num_ended := len(trials.ended)) < num_trials:
        first = num_ended - num_ended % batch_size
        before = trials.ended[:first]
        size = min(batch_size, num_trials - first)
        batch = propose(bench.study, bench.goals, before, size, seed)[num_ended - first :]
        if not batch:
            return  # every variant was tried
        yield from try_all(bench, batch, before)


def _ensure_options(study: Study, num_trials: int, batch_size: int, seed: int, confirm: int) -> None:
    for option, value, least in (
        ("--trials", num_trials, 1),
        ("--batch", batch_size, 1),
        ("--seed", seed, 0),
        ("--confirm", confirm, 0),
    ):
        if value < least:
            raise ConfigError(f"{option}: got {value}, expected a whole number >= {least}")
    if confirm and study.on == REAL:
        raise ConfigError(
            f"--confirm: got {confirm} for a study on {REAL}, expected one on sim: this one is real already"
        )
    if confirm:
        plugins.find(REAL)  # before the trials, not after them


def _fingerprint(study: Study, goals: Goals, batch_size: int, seed: int, prunes: bool) -> str:
    """What makes a search another one, as an id: everything that decides its trials."""
    base = Variant(study.name, {}, {})
    said = {
        "axes": [axis.model_dump(mode="json") for axis in study.axes],
        "base": run_ids([base.values(study, each) for each in study.all_seeds], study.on),
        "batch_size": batch_size,
        "code": code_version(),
        "goals": asdict(goals),
        "pruning": [pruning.SHARE, pruning.NUM_BETTER, pruning.MARGIN] if prunes else None,
        "seed": seed,
    }
    return hashlib.sha256(json.dumps(said, sort_keys=True).encode()).hexdigest()[:16]
