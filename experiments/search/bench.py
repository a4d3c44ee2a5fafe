"""Trying a batch of variants: short simulations first, then the runs of those that are left, each run once."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path

from experiments.fingerprint import run_ids
from experiments.job import Job
from experiments.results import PlannedRun, jobs, plan_variants
from experiments.search.goals import Goals, ensure_known, mean_figures
from experiments.search.pruning import is_beaten, shortened
from experiments.search.trials import Ended, Proposed
from experiments.store import Result, ResultStore
from experiments.study import Study
from experiments.sweep import is_done
from twinclock.errors import ConfigError


@dataclass(frozen=True, slots=True)
class Bench:
    """Where runs are performed, and what is known of those that were."""

    study: Study
    goals: Goals
    folder: Path
    """The study's."""
    store: ResultStore
    perform_all: Callable[[Iterable[Job]], Generator[tuple[Job, Result]]]
    results: dict[str, Result] = field(default_factory=dict)
    """By run; also those of earlier searches and sweeps in the same folder."""

    def perform(self, wanted: Iterable[Job]) -> Iterator[Job]:
        """The jobs that were not done yet, as they end; their results are durable, and in `results`."""
        todo = {job.run: job for job in wanted if not is_done(self.results.get(job.run))}
        with closing(self.perform_all(todo.values())) as ended:
            for job, result in ended:
                self.store.add(job.run, result)
                self.results[job.run] = result
                yield job


def tried(bench: Bench, batch: Sequence[Proposed], before: Sequence[Ended]) -> Iterator[Ended]:
    """What came of a batch, in its order. ConfigError if a run is done and has no such figure as is searched for."""
    yield from _ended(bench, batch, before, _short_figures(bench, batch))


def tried_in_full(bench: Bench, batch: Sequence[Proposed], before: Sequence[Ended]) -> Iterator[Ended]:
    """The same without short simulations, so nothing is pruned."""
    yield from _ended(bench, batch, before, [None] * len(batch))


def _short_figures(bench: Bench, batch: Sequence[Proposed]) -> list[dict[str, float] | None]:
    """The figures of each variant on the first part of the stream, with the first seed; None where there are none."""
    study, configs = bench.study, []
    for each in batch:
        try:
            configs.append(shortened(each.variant.values(study, study.all_seeds[0])))
        except ConfigError:
            configs.append(None)
    given = [config for config in configs if config is not None]
    ids = iter(run_ids(given, study.on))
    short_runs = [None if config is None else next(ids) for config in configs]
    wanted = [
        Job(run, f"{each.variant.label}, short", config, study.on, None)
        for each, config, run in zip(batch, configs, short_runs, strict=True)
        if config is not None and run is not None
    ]
    deque(bench.perform(wanted), maxlen=0)
    results = [None if run is None else bench.results[run] for run in short_runs]
    return [mean_figures([result]) if result is not None and is_done(result) else None for result in results]


def _ended(
    bench: Bench, batch: Sequence[Proposed], before: Sequence[Ended], shorts: Sequence[dict[str, float] | None]
) -> Iterator[Ended]:
    is_left_out = [is_beaten(bench.goals, short, before) for short in shorts]
    left = [each.variant for each, is_out in zip(batch, is_left_out, strict=True) if not is_out]
    runs = iter(_by_variant(plan_variants(bench.study, left, bench.study.all_seeds), len(bench.study.all_seeds)))
    planned = deque(
        (each, short, () if is_out else next(runs))
        for each, short, is_out in zip(batch, shorts, is_left_out, strict=True)
    )
    wanted = jobs(bench.study, [run for _, _, of_trial in planned for run in of_trial], bench.folder)
    seen = [bench.results[job.run] for job in wanted if is_done(bench.results.get(job.run))]
    has_been_seen = any(each.figures for each in before)
    if seen and not has_been_seen:
        ensure_known(bench.goals, seen[0].figures)
        has_been_seen = True
    unended = {job.run for job in wanted if not is_done(bench.results.get(job.run))}
    for job in bench.perform(wanted):
        unended.discard(job.run)
        if not has_been_seen and is_done(bench.results[job.run]):
            ensure_known(bench.goals, bench.results[job.run].figures)
            has_been_seen = True
        while planned and unended.isdisjoint(run.run for run in planned[0][2]):
            yield _outcome(bench, *planned.popleft())
    for each, short, of_trial in planned:
        yield _outcome(bench, each, short, of_trial)


def _by_variant(runs: Sequence[PlannedRun], num_seeds: int) -> list[Sequence[PlannedRun]]:
    return [runs[start : start + num_seeds] for start in range(0, len(runs), num_seeds)]


def _outcome(bench: Bench, proposed: Proposed, short: dict[str, float] | None, runs: Sequence[PlannedRun]) -> Ended:
    """What the runs of one trial came to; without any, it was pruned."""
    if not runs:
        return Ended(proposed, "pruned", {}, short)
    if (error := _what_failed(bench, runs)) is not None:
        return Ended(proposed, "failed", {}, short, error)
    found = mean_figures([bench.results[each.run] for each in runs])
    if missing := [name for name in bench.goals.names if name not in found]:
        return Ended(proposed, "failed", {}, short, f"{', '.join(missing)}: no value in this variant")
    keeps_bounds = all(violation <= 0 for violation in bench.goals.violations(found).values())
    return Ended(proposed, "done" if keeps_bounds else "infeasible", found, short)


def _what_failed(bench: Bench, runs: Sequence[PlannedRun]) -> str | None:
    for each in runs:
        if each.config is None:
            return each.error
        result = bench.results[each.run]
        if result.state == "failed":
            return result.error
        if result.state != "done":
            return f"{result.state} with seed {each.seed}: {result.error}"
    return None
