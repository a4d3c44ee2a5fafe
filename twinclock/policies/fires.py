"""What a trigger would do on a bare stream of timestamps: for notebooks, and for tests of policies."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from copy import deepcopy
from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from pydantic import BaseModel

from twinclock.errors import ConfigError
from twinclock.graph import Json
from twinclock.policies.observations import value_names
from twinclock.policies.triggers import Trigger, TriggerConfig, build_trigger
from twinclock.policies.triggers.dry_run import dry_run
from twinclock.policies.triggers.protocol import Fire
from twinclock.section import Section, parse_section
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

    ConfigError if the trigger is not right, or wants a value that is not given; ValueError if timestamps are not in
    order.

        >>> fires({"kind": "amount", "n": 6}, range(20))
        [5, 11, 17]
    """
    stream = RecordedStream(np.asarray(timestamps, np.float64))
    size = max(1, stream.num_samples) if batch_size is None else batch_size
    if size < 1:
        raise ConfigError(f"batch_size: got {batch_size}, expected a number > 0")

    def observe(request: Mapping[str, Json]) -> dict[str, float | None]:
        if request["kind"] == "score":
            return dict.fromkeys(value_names(request), _given("scores", scores, request["decision"]))
        given = distances or {}
        return {
            name: _given(f"distances[{name!r}]", given.get(name), request["decision"]) for name in value_names(request)
        }

    seconds = train_seconds if callable(train_seconds) or train_seconds is None else _constant(train_seconds)
    made = _trigger(trigger)
    before = deepcopy(made.state_dict())
    try:
        ran = dry_run(made, stream, size, observe=observe, train_seconds=seconds, label_delay_s=label_delay_s)
        return [answer.position for _, answer in ran if isinstance(answer, Fire)]
    finally:
        made.load_state_dict(before)


class _Only(Section):
    """A configuration with nothing but a trigger, so that errors name the same keys as in a file."""

    trigger: TriggerConfig


def _trigger(trigger: Mapping[str, Any] | BaseModel | Trigger) -> Trigger:
    if isinstance(trigger, Mapping):
        return build_trigger(parse_section(_Only, {"trigger": trigger}, "config").trigger)
    if isinstance(trigger, BaseModel):
        return build_trigger(trigger)  # type: ignore[arg-type]  # whatever else it is, is refused there
    return trigger


def _given(name: str, values: Values | None, decision: int) -> float | None:
    if values is None:
        raise ConfigError(f"{name}: not given, and decision {decision} (counted from 0) asks for it")
    if decision >= len(values):
        raise ConfigError(f"{name}: got {len(values)} values, but decision {decision} (counted from 0) asks for one")
    return values[decision]


def _constant(seconds: float) -> Callable[[int], float]:
    if not 0 <= seconds < math.inf:
        raise ConfigError(f"train_seconds: got {seconds}, expected a finite number >= 0")
    return lambda num_samples: seconds
