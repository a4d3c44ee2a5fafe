"""A run and its replay side by side: the same stage runs, with the same outcomes, at the same times?"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property

import polars as pl

from sim.replay.recording import Recording
from sim.replay.simulation import Problem, Simulation
from twinclock.result import Run

TOLERANCE = 0.01
"""The share by which the makespan of a replay may be off."""
_EXACT_S = 1e-6
"""What rounding may come to: times are added up in another order than they were taken apart."""


@dataclass(frozen=True)
class Replay:
    """What came of a replay: where its control flow is not that of the run, and how far its clock is off."""

    run: Run
    from_s: float
    """The clock time from which on the run was replayed: 0, or that of the snapshot in its journal."""
    stage_runs: pl.DataFrame
    """One row for each stage run of either: `id`, `stage`, and `outcome`, `started_s`, `ended_s` of both.

    The columns of the replay end in `_replayed`; what only one of the two had is null in those of the other.
    `started_off_s`, `ended_off_s`: the replay's time less that of the run.
    """
    positions: tuple[int, ...]
    """Of the triggers of the run."""
    replayed_positions: tuple[int, ...]
    makespan_s: float
    replayed_makespan_s: float
    problems: tuple[Problem, ...]
    """In the order in which they were met; what comes after the first may follow from it."""

    @property
    def is_same(self) -> bool:
        """Is the control flow that of the run?"""
        return not self.problems

    @property
    def makespan_off(self) -> float:
        """By which share of the time that was replayed the makespan is off; positive if the replay took longer."""
        off_s, span_s = self.replayed_makespan_s - self.makespan_s, self.makespan_s - self.from_s
        return off_s / span_s if span_s > 0.0 else 0.0

    @property
    def is_within(self) -> bool:
        """Is the control flow the same, and the makespan within 1 %?"""
        return self.is_same and abs(self.makespan_off) <= TOLERANCE

    @property
    def is_exact(self) -> bool:
        """Is nothing off by more than rounding?"""
        return self.is_same and max(self.largest_off_s, abs(self.replayed_makespan_s - self.makespan_s)) <= _EXACT_S

    @property
    def largest_off_s(self) -> float:
        """The largest difference of a start or an end, in seconds; 0 if there is none to compare."""
        return float(self._off_s.max() or 0.0)  # type: ignore[arg-type]  # of numbers, a number

    @property
    def median_off_s(self) -> float:
        """The median difference of a start or an end, in seconds; 0 if there is none to compare."""
        return float(self._off_s.median() or 0.0)  # type: ignore[arg-type]  # of numbers, a number

    @cached_property
    def _off_s(self) -> pl.Series:
        off = [self.stage_runs[name].abs() for name in ("started_off_s", "ended_off_s")]
        return pl.concat(off).drop_nulls()

    def __str__(self) -> str:
        from sim.replay.show import replay_text

        return replay_text(self)

    def _repr_html_(self) -> str:
        from sim.replay.show import replay_html

        return replay_html(self)


def compared(recording: Recording, simulation: Simulation) -> Replay:
    """What is different between a run and its replay."""
    stage_runs = _side_by_side(recording.tables["stage_runs"], simulation.tables["stage_runs"])
    positions, replayed = (_positions(each.tables) for each in (recording, simulation))
    problems = [*simulation.problems, *_other_outcomes(stage_runs), *_other_units(recording.tables, simulation.tables)]
    if positions != replayed:
        first = next((n for n, (a, b) in enumerate(zip(positions, replayed, strict=False)) if a != b), None)
        at = f"#{min(len(positions), len(replayed))}" if first is None else f"#{first}"
        told = f"{len(replayed)} triggers, expected {len(positions)}; the first difference is {at}"
        problems.append(Problem("triggers", simulation.makespan_s, told))
    return Replay(
        run=recording.run,
        from_s=recording.from_s if recording.snapshot is not None else 0.0,
        stage_runs=stage_runs,
        positions=positions,
        replayed_positions=replayed,
        makespan_s=recording.makespan_s,
        replayed_makespan_s=simulation.makespan_s,
        problems=tuple(sorted(problems, key=lambda problem: problem.at_s)),
    )


def _side_by_side(real: pl.DataFrame, replayed: pl.DataFrame) -> pl.DataFrame:
    columns = ("id", "stage", "outcome", "started_s", "ended_s")
    joined = real.select(columns).join(
        replayed.select(columns), on="id", how="full", suffix="_replayed", coalesce=True, maintain_order="left_right"
    )
    return joined.select(
        "id",
        pl.coalesce("stage", "stage_replayed"),
        *(name for each in ("outcome", "started_s", "ended_s") for name in (each, f"{each}_replayed")),
        *((pl.col(f"{each}_s_replayed") - pl.col(f"{each}_s")).alias(f"{each}_off_s") for each in ("started", "ended")),
    )


def _positions(tables: Mapping[str, pl.DataFrame]) -> tuple[int, ...]:
    return tuple(tables["triggers"]["position"].to_list())


def _other_outcomes(stage_runs: pl.DataFrame) -> Iterator[Problem]:
    """Stage runs that only one of the two had, or that ended otherwise. That the replay had one more is known."""
    other = stage_runs.filter(
        pl.col("outcome").is_not_null() & pl.col("outcome").ne_missing(pl.col("outcome_replayed"))
    )
    for row in other.iter_rows(named=True):
        came = row["outcome_replayed"]
        what = "did not end in the replay" if came is None else f"ended {came}"
        at_s = row["ended_s"] if came is None else row["ended_s_replayed"]
        yield Problem(row["id"], at_s, f"{what}, expected {row['outcome']}")


def _other_units(real: Mapping[str, pl.DataFrame], replayed: Mapping[str, pl.DataFrame]) -> Iterator[Problem]:
    """Who was granted other units than in the run."""
    held, by = {}, ["resource", "holder"]
    for which, tables in (("real", real), ("replayed", replayed)):
        grants = tables["devices"].filter(pl.col("granted_s").is_not_null())
        held[which] = grants.group_by(by, maintain_order=True).agg(
            pl.col("unit").sort().str.join(", "), pl.col("granted_s").min()
        )
    both = held["real"].join(held["replayed"], on=by, suffix="_replayed", maintain_order="left")
    for row in both.filter(pl.col("unit") != pl.col("unit_replayed")).iter_rows(named=True):
        yield Problem(
            row["holder"], row["granted_s_replayed"], f"was granted {row['unit_replayed']}, expected {row['unit']}"
        )
