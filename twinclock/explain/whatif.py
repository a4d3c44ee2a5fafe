"""What if the configuration had been another one: the same luck, another outcome, and where the difference is from."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import polars as pl

from twinclock.config import Config, load_config
from twinclock.errors import ConfigError
from twinclock.explain.critical import critical_path
from twinclock.progress import watching_in_python
from twinclock.result import Run
from twinclock.run_folder import read_header
from twinclock.watch import Watcher

_SIMULATOR = "sim"
"""The executor that runs a configuration again within seconds, with random numbers that belong to what they are for."""
_ROUNDING = 1e-9
"""Relative; sums of many seconds differ by as much although nothing else does."""
_WHERE = ("stage", "doing", "held_for")


@dataclass(frozen=True)
class WhatIf:
    """A configuration simulated twice, as it is and changed."""

    unchanged: Run
    changed: Run
    overrides: tuple[str, ...]

    @property
    def figures(self) -> pl.DataFrame:
        """The summary's figures that differ: `figure`, `unchanged`, `changed`, `difference`."""
        before, after = self.unchanged.summary, self.changed.summary
        numbers = [(name, _number(before[name]), _number(after[name])) for name in before if name != "seed"]
        rows = [(name, ours, theirs) for name, ours, theirs in numbers if _differ(ours, theirs)]
        kinds = {"figure": pl.String, "unchanged": pl.Float64, "changed": pl.Float64}
        difference = (pl.col("changed") - pl.col("unchanged")).alias("difference")
        return pl.DataFrame(rows, schema=kinds, orient="row").with_columns(difference)

    @property
    def causes(self) -> pl.DataFrame:
        """Where the two makespans differ: seconds on the critical path, by what was done, largest difference first.

        Columns `stage`, `doing`, `held_for` as in `critical_path`, then `unchanged_s`, `changed_s` and
        `difference_s`, which adds up to the difference of the makespans. What takes the same time is left out.
        """
        before, after = pl.col("unchanged_s").sum(), pl.col("changed_s").sum()
        both = pl.concat([_seconds(self.unchanged, "unchanged_s"), _seconds(self.changed, "changed_s")], how="diagonal")
        noticed_s = _ROUNDING * max(each.header["makespan_s"] for each in (self.unchanged, self.changed))
        return (
            both.group_by(_WHERE)
            .agg(before, after, (after - before).alias("difference_s"))
            .filter(pl.col("difference_s").abs() > noticed_s)
            .sort([pl.col("difference_s").abs(), *_WHERE], descending=[True, False, False, False])
        )


def whatif(run: Run | str | Path, overrides: Sequence[str], *, watcher: Watcher | None = None) -> WhatIf:
    """Simulate the configuration of a run twice, as it is and with `overrides` (`path.to.key=value` each).

    `run` is a run of any executor, or its folder, finished or not. Whatever is drawn at random is drawn
    alike in both, so the difference is that of the change and not of luck (unless the change is of the seed).
    ConfigError or DataError if either can't be simulated, RunError if there is no such run.
    """
    if not overrides:
        raise ConfigError("whatif: got nothing to change, expected path.to.key=value")
    if watcher is None:
        with watching_in_python() as watcher:
            return whatif(run, overrides, watcher=watcher)
    from twinclock import launch

    config = _config_of(run)
    changed = load_config(config, overrides=overrides)
    plans = [launch.plan_run(each, _SIMULATOR) for each in (config, changed)]
    unchanged, other = (launch.run_in_memory(plan, watcher) for plan in plans)
    return WhatIf(unchanged, other, tuple(overrides))


def _config_of(run: Run | str | Path) -> Config:
    if isinstance(run, Run):
        return run.config
    read_header(Path(run))
    return load_config(Path(run) / "config.yaml")


def _seconds(run: Run, column: str) -> pl.DataFrame:
    path = critical_path(run)
    return path.select(*_WHERE, (pl.col("end_s") - pl.col("begin_s")).alias(column))


def _number(value: object) -> float | None:
    return float(value) if isinstance(value, int | float) else None


def _differ(ours: float | None, theirs: float | None) -> bool:
    if ours is None or theirs is None:
        return ours is not theirs
    return not math.isclose(ours, theirs, rel_tol=_ROUNDING)
