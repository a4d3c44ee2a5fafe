"""Scores taken from a real run, so that a policy in a simulated one meets the same."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from sim.quality.source import check_likeness, finished_run
from twinclock.config import Config
from twinclock.errors import DataError
from twinclock.graph import Json
from twinclock.result import Run
from twinclock.section import Section


class MeasuredQuality(Section):
    """The scores that a real run has measured, for a simulated run of the same policy on the same data."""

    kind: Literal["measured"] = "measured"
    run: str
    """Folder of the real run."""


class MeasuredScores:
    """The evaluations and observations of a finished run, and the scores at its gate, by what was scored."""

    def __init__(self, folder: str, config: Config) -> None:
        """ConfigError if the run is not done, measured nothing, or has other data or another training than `config`."""
        run = finished_run(folder)
        check_likeness(folder, run.config, config)
        self.config = run.config
        """What that run was."""
        self._folder = Path(folder)
        self._evaluations: dict[tuple[Any, ...], float | None] = {
            (model, start, end, metric): value
            for model, start, end, metric, value in run.evaluations.select(
                "model", "start_ts", "end_ts", "metric", "value"
            ).iter_rows()
        }
        self._observations: dict[tuple[Any, ...], float | None] = {
            (model, member if kind == "distance" else None, first, stop, name): value
            for kind, model, member, first, stop, name, value in run.observations.select(
                "kind", "model", "member", "first", "stop", "name", "value"
            ).iter_rows()
        }

        self._observations |= _at_the_gate(run)

    def trained(self, job: Mapping[str, Json]) -> None:
        """Nothing to keep: models are known by their numbers."""

    def stored(self, model: Mapping[str, Json]) -> None:
        """Nothing to keep."""

    def score(
        self, model: Mapping[str, Json], interval: Mapping[str, Json], metric: str, *, span: tuple[float, float]
    ) -> float | None:
        """What the run's evaluation, or its trigger, measured. DataError if it measured no such thing."""
        serial, first, stop = model["trigger"], interval["first"], interval["stop"]
        evaluation = (serial, interval["start"], interval["end"], metric)
        if evaluation in self._evaluations:
            return self._evaluations[evaluation]
        observation = (serial, None, first, stop, metric)
        if observation in self._observations:
            return self._observations[observation]
        raise self._unknown(f"{metric} of model {serial} on samples {first} to {stop - 1}")

    def observed(self, request: Mapping[str, Json]) -> dict[str, float | None]:
        """What the run's trigger was told by the same request. DataError if it made no such request."""
        key = (None, request["member"], request["first"], request["stop"])
        keys = {name: (*key, name) for name in request["metrics"]}
        unknown = [name for name, key in keys.items() if key not in self._observations]
        if unknown:
            raise self._unknown(f"{', '.join(unknown)} on samples {request['first']} to {request['stop'] - 1}")
        return {name: self._observations[key] for name, key in keys.items()}

    def errors(self, model: Mapping[str, Json], first: int, stop: int) -> None:
        """They are to be drawn; only who has no answer to a request asks for them, and here every one has."""

    def _unknown(self, what: str) -> DataError:
        return DataError(
            f"sim.quality.run: {self._folder} has not measured {what}; "
            "expected a real run of the same policy on the same data"
        )


def _at_the_gate(run: Run) -> dict[tuple[Any, ...], float | None]:
    """The scores of candidates and of the models that were active then, by model, samples and metric."""
    columns = ("first", "stop", "metric", "model", "value", "active", "active_value")
    found: dict[tuple[Any, ...], float | None] = {}
    for first, stop, metric, model, value, active, active_value in run.activations.select(columns).iter_rows():
        if metric is not None:  # else the scoring failed
            found |= {
                (each, None, first, stop, metric): score for each, score in ((model, value), (active, active_value))
            }
    return found
