"""Scores taken from a real run, so that a policy in a simulated one meets the same."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from twinclock.errors import ConfigError, DataError, UserError
from twinclock.graph import Json
from twinclock.result import Run


class MeasuredScores:
    """The evaluations and observations of a finished run, by what was scored."""

    def __init__(self, folder: str) -> None:
        """ConfigError if there is no such run, or it is not done."""
        try:
            run = Run.load(folder)
        except UserError as error:
            raise ConfigError(f"sim.quality.run: {error}") from None
        if run.outcome != "done":
            raise ConfigError(f"sim.quality.run: {folder} is not done, expected a finished run to take scores from")
        self._folder = Path(folder)
        self._evaluations = {
            (model, start, end, metric): value
            for model, start, end, metric, value in run.evaluations.select(
                "model", "start_ts", "end_ts", "metric", "value"
            ).iter_rows()
        }
        self._observations = {
            (model, first, stop, name): value
            for model, first, stop, name, value in run.observations.select(
                "model", "first", "stop", "name", "value"
            ).iter_rows()
        }

    def score(
        self, model: Mapping[str, Json], interval: Mapping[str, Json], metric: str, *, span: tuple[float, float]
    ) -> float | None:
        """What the run's evaluation, or its trigger, measured. DataError if it measured no such thing."""
        serial = model["trigger"]
        keys = (
            (self._evaluations, (serial, interval["start"], interval["end"], metric)),
            (self._observations, (serial, interval["first"], interval["stop"], metric)),
        )
        for known, key in keys:
            if key in known:
                value: float | None = known[key]
                return value
        raise self._unknown(f"{metric} of model {serial} on samples {interval['first']} to {interval['stop'] - 1}")

    def observed(self, request: Mapping[str, Json]) -> dict[str, float | None]:
        """What the run's trigger was told by the same request. DataError if it made no such request."""
        keys = {name: (None, request["first"], request["stop"], name) for name in request["metrics"]}
        unknown = [name for name, key in keys.items() if key not in self._observations]
        if unknown:
            raise self._unknown(f"{', '.join(unknown)} on samples {request['first']} to {request['stop'] - 1}")
        return {name: self._observations[key] for name, key in keys.items()}

    def _unknown(self, what: str) -> DataError:
        return DataError(
            f"sim.quality.run: {self._folder} has not measured {what}; "
            "expected a real run of the same policy on the same data"
        )
