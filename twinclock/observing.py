"""Doing what a drift trigger asks for: distances between windows and the reports of detectors, for any executor.

An executor brings the numbers (features of samples, what a model makes of them, its errors); what is
computed from them is the same everywhere.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TypeAlias

import numpy as np
from numpy.typing import NDArray

from twinclock.graph import Json
from twinclock.policies.needs import each_trigger
from twinclock.policies.observations import ERROR
from twinclock.policies.triggers import TriggerConfig
from twinclock.policies.triggers.drift import DetectorMetric, DriftTriggerConfig

if TYPE_CHECKING:
    from twinclock.dataset import Table
    from twinclock.drift import Detector

Floats: TypeAlias = NDArray[np.float64]
Errors: TypeAlias = Callable[[Mapping[str, Json], int, int], Floats]
"""From a model's lineage entry and [first, stop) to shape (samples,): 1 for a wrong answer, 0 for a right one."""


@dataclass(frozen=True, slots=True)
class Sources:
    """Where the numbers come from. Ranges are positions, half-open; what is missing is NaN."""

    window: Callable[[int, int], Floats]
    """From [first, stop) to shape (samples, features): the features, or embeddings, to be compared."""
    column: Callable[[str, int, int], Floats]
    """From a feature and [first, stop) to shape (samples,)."""
    errors: Errors


def numbers_of(table: Table, request: Mapping[str, Json], errors: Errors) -> Sources:
    """The numbers of a `distance` request from a table; `errors` of models are the executor's."""
    chosen = request["features"]
    compared = table.columns.features.numeric if chosen is None else chosen
    return Sources(
        window=lambda first, stop: table.matrix(compared, first, stop),
        column=lambda name, first, stop: table.matrix([name], first, stop)[:, 0],
        errors=errors,
    )


def import_what_is_needed(config: TriggerConfig) -> None:
    """Compute what a trigger may ask for once, so that libraries are imported in no observation's seconds."""
    from twinclock.drift import Detector, distance

    two = np.array([[0.0], [1.0]])
    for _, trigger in each_trigger(config):
        for metric in trigger.metrics.values() if isinstance(trigger, DriftTriggerConfig) else ():
            if isinstance(metric, DetectorMetric):
                Detector(metric.kind, 0)
            else:
                distance(metric.kind, np.tile(two, (5, 1)), np.tile(two, (5, 1)))


@dataclass(slots=True)
class _Fed:
    detector: Detector
    stop: int
    """The first position not yet fed."""
    reports: list[int] = field(default_factory=list)
    """Positions at which drift was reported."""


class DetectorMemory:
    """Detectors under way, so that each sample is fed once. One that was forgotten is fed again from its start."""

    def __init__(self) -> None:
        self._known: dict[str, tuple[Json, _Fed]] = {}

    def fed(self, name: str, wanted: Mapping[str, Json]) -> _Fed:
        """The detector of that name, a fresh one if it is to begin somewhere else."""
        from twinclock.drift import Detector

        known = self._known.get(name)
        if known is None or known[0] != wanted:
            known = (wanted, _Fed(Detector(wanted["kind"], wanted["seed"]), wanted["since"]))
            self._known[name] = known
        return known[1]


def distances(request: Mapping[str, Json], sources: Sources, memory: DetectorMemory) -> dict[str, float | None]:
    """The values that a `distance` request asks for, by name; None for what is not defined."""
    compared = {name: each for name, each in request["metrics"].items() if each["result"] != "detection"}
    values: dict[str, float | None] = {}
    if compared:
        from twinclock.drift import distance, p_value

        reference, current = _windows(request, sources)
        for name, each in compared.items():
            if each["result"] == "p_value":
                values[name] = p_value(each["kind"], reference, current, _rng(request, name))
            else:
                values[name] = distance(each["kind"], reference, current)
    for name in request["metrics"].keys() - compared.keys():
        values[name] = _detection(name, request, sources, memory)
    return {name: values[name] for name in request["metrics"]}


def num_samples_read(request: Mapping[str, Json]) -> int:
    """How many samples a `distance` request makes somebody look at, each metric counted."""
    (r_first, r_stop), (c_first, c_stop) = request["reference"], request["current"]
    limit = request["sample"] or max(r_stop - r_first, c_stop - c_first)
    of_windows = min(limit, r_stop - r_first) + min(limit, c_stop - c_first)
    is_detection = [each["result"] == "detection" for each in request["metrics"].values()]
    return sum(request["stop"] - request["first"] if each else of_windows for each in is_detection)


def _windows(request: Mapping[str, Json], sources: Sources) -> tuple[Floats, Floats]:
    from twinclock.drift import sampled

    windows = (sources.window(*request["reference"]), sources.window(*request["current"]))
    if request["sample"] is None:
        return windows
    rng = np.random.default_rng(request["seed"])
    reference, current = (sampled(window, request["sample"], rng) for window in windows)
    return reference, current


def _rng(request: Mapping[str, Json], name: str) -> np.random.Generator:
    """A random stream of its own for each metric, whatever others there are."""
    return np.random.default_rng([request["seed"], *name.encode()])


def _detection(name: str, request: Mapping[str, Json], sources: Sources, memory: DetectorMemory) -> float:
    """1 if the detector reports drift at a sample of the interval, else 0."""
    wanted, stop = request["metrics"][name], request["stop"]
    fed = memory.fed(name, wanted)
    if fed.stop < stop:
        begin = fed.stop
        indices = fed.detector.feed(_values(wanted["value"], request, sources, begin, stop))
        fed.reports += [wanted["since"] + index for index in indices]
        fed.stop = stop
    return float(any(request["first"] <= position < stop for position in fed.reports))


def _values(value: str, request: Mapping[str, Json], sources: Sources, first: int, stop: int) -> Floats:
    if value != ERROR:
        return sources.column(value, first, stop)
    stretches = [(max(first, begin), min(stop, end), model) for begin, end, model in request["scored_by"]]
    errors = [sources.errors(model, begin, end) for begin, end, model in stretches if begin < end]
    return np.concatenate([np.empty(0), *errors])
