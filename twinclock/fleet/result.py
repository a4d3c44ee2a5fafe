"""What came of a fleet: the run of each pipeline, what each had of the cluster, and how fairly."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import polars as pl

from twinclock.cluster import ClusterConfig
from twinclock.errors import RunError
from twinclock.occupied import occupied
from twinclock.result import Run
from twinclock.run_folder import FLEET, replace_durably, told_as_run_error
from twinclock.section import parse_section
from twinclock.usage import totals, usage


@dataclass(frozen=True)
class Fleet:
    """What came of the pipelines of a fleet."""

    name: str
    cluster: ClusterConfig
    runs: Mapping[str, Run]
    """Pipeline → its run."""

    @classmethod
    def load(cls, folder: str | Path) -> Fleet:
        """A fleet from its folder. RunError if there is none."""
        path = Path(folder)
        try:
            told = json.loads((path / FLEET).read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise RunError(f"{path / FLEET}: can't be read ({error}); expected the folder of a fleet") from None
        cluster = parse_section(ClusterConfig, told["cluster"], str(path / FLEET), under="cluster")
        return cls(told["name"], cluster, {name: Run.load(path / name) for name in told["pipelines"]})

    @staticmethod
    def is_in(folder: str | Path) -> bool:
        """Is this the folder of a fleet?"""
        return (Path(folder) / FLEET).exists()

    @cached_property
    def makespan_s(self) -> float:
        """Clock seconds until the last pipeline was done."""
        return max(float(run.header["makespan_s"]) for run in self.runs.values())

    @cached_property
    def usage(self) -> pl.DataFrame:
        """Of each pool of the cluster, all pipelines together; see `twinclock.usage`."""
        return usage(self.cluster, self._occupied, self.outages, self.makespan_s)

    @cached_property
    def _occupied(self) -> pl.DataFrame:
        """What all pipelines held, the time of a device split between those that have it at once."""
        return occupied(pl.concat([run.devices.with_columns(pipeline=pl.lit(name)) for name, run in self.runs.items()]))

    @cached_property
    def outages(self) -> pl.DataFrame:
        """When a device of the cluster was not there. Each pipeline has them on record for as long as it runs."""
        return pl.concat([run.outages for run in self.runs.values()]).unique().sort("from_s", "device", "cause")

    @cached_property
    def pipelines(self) -> pl.DataFrame:
        """One row for each pipeline.

        `makespan_s`; `triggers`, `trainings`; `device_s`: device-seconds held, `share`: of those of all pipelines;
        `queued_s`: seconds that its jobs waited; `served`: device_s / (device_s + queued_s), 1 if nothing ever
        waited; `busy_usd`: money for the time in which it held devices; `usd`: that, and its share of the money for
        devices that are idle or down; `accuracy` of the active model. Null is what is not known.
        """
        rows = []
        for name, run in self.runs.items():
            summary, held = run.summary, self._occupied.filter(pipeline=name)
            own = totals(usage(self.cluster, held, self.outages, self.makespan_s))
            device_s = float(held["busy_s"].sum())
            asked_s = device_s + summary["queued_s"]
            rows.append(
                {
                    "pipeline": name,
                    "makespan_s": summary["makespan_s"],
                    "triggers": summary["triggers"],
                    "trainings": summary["trainings"],
                    "device_s": device_s,
                    "queued_s": summary["queued_s"],
                    "served": device_s / asked_s if asked_s > 0 else None,
                    "busy_usd": own["busy_usd"],
                    "accuracy": summary["accuracy"],
                }
            )
        table = pl.DataFrame(rows, _PIPELINES)
        all_s = float(table["device_s"].sum())
        idle_usd = float((self.usage["idle_usd"] + self.usage["down_usd"]).sum() or 0.0)
        share = pl.col("device_s") / all_s if all_s > 0 else pl.lit(None, pl.Float64)
        usd = pl.col("busy_usd") + share * idle_usd
        return table.with_columns(share=share, usd=usd).select(*_COLUMNS)

    @cached_property
    def fairness(self) -> float | None:
        """Jain's index of `served` over the pipelines: 1 if all are served alike, 1/n if one of n has everything.

        (Σ x)² / (n Σ x²); R. Jain, D. Chiu, W. Hawe, A quantitative measure of fairness and discrimination for resource
        allocation in shared computer systems, DEC-TR-301 (1984). None if no pipeline asked for a device.
        """
        served = self.pipelines["served"].drop_nulls()
        squares = float((served**2).sum())
        return float(served.sum()) ** 2 / (len(served) * squares) if squares > 0 else None


_PIPELINES = {
    "pipeline": pl.String,
    "makespan_s": pl.Float64,
    "triggers": pl.Int64,
    "trainings": pl.Int64,
    "device_s": pl.Float64,
    "queued_s": pl.Float64,
    "served": pl.Float64,
    "busy_usd": pl.Float64,
    "accuracy": pl.Float64,
}
_COLUMNS = (
    *("pipeline", "makespan_s", "triggers", "trainings", "device_s", "share", "queued_s", "served"),
    *("busy_usd", "usd", "accuracy"),
)


def write_fleet(fleet: Fleet, folder: Path) -> None:
    """Say in the folder which runs make the fleet: the last file to be written, so what has it is whole.

    RunError if it can't be written.
    """
    told = {
        "name": fleet.name,
        "cluster": fleet.cluster.model_dump(mode="json", by_alias=True, exclude_defaults=True),
        "pipelines": list(fleet.runs),
    }
    with told_as_run_error(folder), replace_durably(folder / FLEET) as unfinished:
        unfinished.write_text(json.dumps(told, indent=1), encoding="utf-8")
