"""What a trigger would do on a bare stream of timestamps: for notebooks, and for tests of policies."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from copy import deepcopy
from numbers import Real
from typing import Any, TypeGuard

import numpy as np
from numpy.typing import ArrayLike, NDArray
from pydantic import BaseModel

from twinclock.errors import ConfigError
from twinclock.graph import Json
from twinclock.policies.metrics import find_metric
from twinclock.policies.observations import value_names
from twinclock.policies.triggers import Trigger, TriggerConfig, build_trigger
from twinclock.policies.triggers.dry_run import dry_run
from twinclock.policies.triggers.protocol import Fire
from twinclock.section import Section, nearest, parse_section, shown
from twinclock.stream import RecordedStream

Values = Sequence[float | None]


def fires(
    trigger: Mapping[str, Any] | BaseModel | Trigger,
    timestamps: ArrayLike,
    *,
    batch_size: int | None = None,
    scores: Values | None = None,
    distances: Mapping[str, Values] | None = None,
    train_seconds: float | Callable[[int], float] | None = None,
    label_delay_s: float = 0.0,
) -> list[int]:
    """The positions at which a trigger fires on samples with these timestamps, in order.

    A position is that of the last sample included; -1 stands for "before the first sample". Empty
    triggers repeat a position. Every fire becomes a trigger, whose training is over at once.

    `trigger`: a mapping as in a configuration, or a trigger, which is left as it was. `timestamps`: seconds of
    data time, in order. `batch_size`: samples that the trigger is shown at a time; None: all. `scores`: what is
    observed of the model in use at each decision, in order, whatever the metric; None where nothing is, as at the
    first decision, for which there is no model. `distances`: likewise for each metric of a drift trigger, by name;
    a detector reports drift with a number above 0. `train_seconds`: what is reported of every training, or a
    function of its number of samples; None: nothing is reported. `label_delay_s`: data time from a sample to the
    moment at which its label is known.

    ConfigError, one line, if the trigger is not right, wants a value that is not given, or is given one that it does
    not ask for, or that its metric can't have; ValueError if timestamps are not in order.

        >>> fires({"kind": "amount", "n": 6}, range(20))
        [5, 11, 17]
    """
    stream = RecordedStream(_seconds_of(timestamps))
    size = max(1, stream.num_samples) if batch_size is None else batch_size
    if not isinstance(size, int | np.integer) or size < 1:
        raise ConfigError(f"batch_size: got {shown(batch_size)}, expected a whole number > 0")
    given = _Given(scores, distances)
    seconds = _training_seconds(train_seconds)
    delay_s = _seconds("label_delay_s", label_delay_s)
    made = _trigger(trigger)
    before = deepcopy(made.state_dict())
    try:
        ran = dry_run(made, stream, int(size), observe=given.observe, train_seconds=seconds, label_delay_s=delay_s)
        positions = [answer.position for _, answer in ran if isinstance(answer, Fire)]
    finally:
        made.load_state_dict(before)
    given.check_all_asked_for()
    return positions


class _Only(Section):
    """A configuration with nothing but a trigger, so that errors name the same keys as in a file."""

    trigger: TriggerConfig


def _trigger(trigger: Mapping[str, Any] | BaseModel | Trigger) -> Trigger:
    if isinstance(trigger, Mapping):
        return build_trigger(parse_section(_Only, {"trigger": trigger}, "config").trigger)
    if isinstance(trigger, BaseModel):
        return build_trigger(trigger)  # type: ignore[arg-type]  # whatever else it is, is refused there
    if isinstance(trigger, type) or not isinstance(trigger, Trigger):
        expected = "expected a mapping such as {kind: amount, n: 500}, its configuration, or a trigger"
        raise ConfigError(f"trigger: got {shown(trigger)}, {expected}")
    return trigger


def _seconds_of(timestamps: ArrayLike) -> NDArray[np.float64]:
    times = np.asarray(timestamps)
    if times.ndim != 1 or times.dtype.kind not in "iuf":
        first = shown(times.item(0)) if times.size else f"shape {times.shape}"
        raise ConfigError(f"timestamps: got {first}, expected a row of numbers, seconds of data time")
    return times.astype(np.float64)


class _Given:
    """The scores and distances that the caller gave, and which of them were asked for."""

    def __init__(self, scores: Values | None, distances: Mapping[str, Values] | None) -> None:
        """ConfigError if they are no numbers."""
        if not isinstance(distances, Mapping | None):
            expected = "expected a mapping from the name of each metric to its values"
            raise ConfigError(f"distances: got {shown(distances)}, {expected}")
        self._scores = None if scores is None else _numbers("scores", scores)
        self._distances = {name: _numbers(f"distances[{name!r}]", each) for name, each in (distances or {}).items()}
        self._num_scores_asked = 0
        self._num_distances_asked: dict[str, int] = {}

    def observe(self, request: Mapping[str, Json]) -> dict[str, float | None]:
        """The answer to a request. ConfigError if there is none, or it is none that a metric can have."""
        decision: int = request["decision"]
        if request["kind"] == "score":
            self._num_scores_asked = max(self._num_scores_asked, decision + 1)
            value = _given("scores", self._scores, decision)
            for metric in request["metrics"]:
                _check_score(f"scores[{decision}]", value, metric)
            return dict.fromkeys(value_names(request), value)
        answer = {}
        for name in value_names(request):
            self._num_distances_asked[name] = max(self._num_distances_asked.get(name, 0), decision + 1)
            answer[name] = _given(f"distances[{name!r}]", self._distances.get(name), decision)
        return answer

    def check_all_asked_for(self) -> None:
        """ConfigError if there is a value for a decision that never came, or for a metric that nobody has."""
        _check_number("scores", self._scores, self._num_scores_asked)
        for name, values in self._distances.items():
            if name not in self._num_distances_asked and self._num_distances_asked:
                known = nearest(name, list(self._num_distances_asked))
                raise ConfigError(f"distances[{name!r}]: the trigger has no metric of that name; {known}")
            _check_number(f"distances[{name!r}]", values, self._num_distances_asked.get(name, 0))


def _numbers(name: str, values: object) -> list[float | None]:
    if isinstance(values, str | bytes | Mapping) or not isinstance(values, Iterable):
        raise ConfigError(f"{name}: got {shown(values)}, expected a list of numbers, one for each decision")
    listed = list(values)
    for index, value in enumerate(listed):
        if value is not None and not (_is_number(value) and math.isfinite(value)):
            raise ConfigError(f"{name}[{index}]: got {shown(value)}, expected a finite number, or None for no value")
    return [None if value is None else float(value) for value in listed]


def _given(name: str, values: Values | None, decision: int) -> float | None:
    if values is None:
        raise ConfigError(f"{name}: not given, and decision {decision} (counted from 0) asks for it")
    if decision >= len(values):
        raise ConfigError(f"{name}: got {len(values)} values, but decision {decision} (counted from 0) asks for one")
    return values[decision]


def _check_number(name: str, values: Values | None, num_asked: int) -> None:
    if values is not None and len(values) > num_asked:
        asked = f"are asked for in {num_asked} decisions" if num_asked else "are never asked for"
        raise ConfigError(f"{name}: got {len(values)} values, but they {asked} on these timestamps")


def _check_score(name: str, value: float | None, metric: str) -> None:
    known = find_metric(metric)
    if value is None or known is None:
        return
    low, high = sorted((known.worst, known.best))
    if not low <= value <= high:
        between = f"at least {low:g}" if math.isinf(high) else f"at most {high:g}" if math.isinf(low) else "in [0, 1]"
        raise ConfigError(f"{name}: got {value:g}, expected a value of {metric}, {between}")


def _training_seconds(given: float | Callable[[int], float] | None) -> Callable[[int], float] | None:
    if given is None:
        return None
    if callable(given):
        return lambda num_samples: _seconds(f"train_seconds({num_samples})", given(num_samples))
    constant = _seconds("train_seconds", given)
    return lambda num_samples: constant


def _seconds(name: str, value: object) -> float:
    if not _is_number(value) or not 0 <= value < math.inf:
        raise ConfigError(f"{name}: got {shown(value)}, expected a finite number of seconds >= 0")
    return float(value)


def _is_number(value: object) -> TypeGuard[float]:
    return isinstance(value, Real) and not isinstance(value, bool)
