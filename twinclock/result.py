"""What came of a run: tables, summary, pictures; in memory or from its folder."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import polars as pl

from twinclock.config import Config, load_config
from twinclock.occupied import occupied
from twinclock.run_folder import StoredTables, read_header
from twinclock.summary import summarise
from twinclock.usage import usage

if TYPE_CHECKING:
    from twinclock.plots import RunPlots


@dataclass(frozen=True)
class Run:
    """What came of a run: its tables as polars frames, its summary, its pictures."""

    config: Config
    header: Mapping[str, Any]
    tables: Mapping[str, pl.DataFrame]
    folder: Path | None = None

    @classmethod
    def load(cls, folder: str | Path) -> Run:
        """A run from its folder, finished or not (`state` says which). RunError if there is none.

        A table is read when it is first asked for; RunError if it can't be.
        """
        path = Path(folder)
        header = read_header(path)
        return cls(load_config(path / "config.yaml"), header, StoredTables(path), path)

    @property
    def name(self) -> str:
        """`demo (sim)`: the configuration's name and the executor."""
        return f"{self.config.name} ({self.header['executor']})"

    @property
    def state(self) -> str:
        """`finished`; or `running`, `suspended`, `interrupted` or `crashed`. A killed run still says `running`."""
        return str(self.header["state"])

    @property
    def outcome(self) -> str | None:
        """`done` or `failed`; None if the run did not finish."""
        outcome: str | None = self.header.get("outcome")
        return outcome

    @cached_property
    def summary(self) -> dict[str, Any]:
        """The run in a few figures; see `twinclock.summary`."""
        return summarise(self.config, self.header, self.tables)

    @property
    def usage(self) -> pl.DataFrame:
        """Device-seconds, money and energy of each pool of the cluster, busy, idle and down; see `twinclock.usage`."""
        return usage(self.config.cluster, occupied(self.devices), self.outages, self.header.get("makespan_s"))

    @property
    def stage_runs(self) -> pl.DataFrame:
        """One row for each stage run."""
        return self.tables["stage_runs"]

    @property
    def batches(self) -> pl.DataFrame:
        """One row for each ingest batch."""
        return self.tables["batches"]

    @property
    def decisions(self) -> pl.DataFrame:
        """What the trigger policy decided, and why."""
        return self.tables["decisions"]

    @property
    def observations(self) -> pl.DataFrame:
        """Scores and distances that the trigger policy asked for."""
        return self.tables["observations"]

    @property
    def triggers(self) -> pl.DataFrame:
        """One row for each trigger, empty ones included."""
        return self.tables["triggers"]

    @property
    def trainings(self) -> pl.DataFrame:
        """One row for each attempt at a training."""
        return self.tables["trainings"]

    @property
    def models(self) -> pl.DataFrame:
        """The stored models with their lineage."""
        return self.tables["models"]

    @property
    def activations(self) -> pl.DataFrame:
        """With a gate: for each stored model whether it became active, and the scores that decided it."""
        return self.tables["activations"]

    @property
    def evaluations(self) -> pl.DataFrame:
        """One row for each model, interval and metric."""
        return self.tables["evaluations"]

    @property
    def faults(self) -> pl.DataFrame:
        """Everything that failed, also what a retry mended."""
        return self.tables["faults"]

    @property
    def devices(self) -> pl.DataFrame:
        """When each unit of each resource was held, and how long that was waited for."""
        return self.tables["devices"]

    @property
    def outages(self) -> pl.DataFrame:
        """When a device was not there: its node had failed, or it had been reclaimed."""
        return self.tables["outages"]

    @property
    def quarantine(self) -> pl.DataFrame:
        """The records of a source that grows which were turned away, and why."""
        return self.tables["quarantine"]

    @property
    def plot(self) -> RunPlots:
        """Pictures of this run."""
        from twinclock.plots import RunPlots

        return RunPlots(self)

    def _repr_html_(self) -> str:
        from twinclock.show import run_html

        return run_html(self)
