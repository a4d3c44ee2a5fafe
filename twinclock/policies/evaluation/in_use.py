"""Which model is in use: by the data that it was trained on, or by what really happened.

*Active* on an interval is the newest model whose training data all lie before the interval's key;
*trained* is the one after it, the first to know some of the interval. Both take training as
instantaneous, as published work does. *Served* is each sample by the newest model that was stored when
it arrived, so every model serves one range of positions, or none. What lies between the two is the time
that training took. A model that the gate turned away is stored, but never any of them.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Literal, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from twinclock.graph import Json

Model: TypeAlias = Mapping[str, Json]
"""A stored model: `trigger` is its number, `first_ts` and `last_ts` are those of its trigger's samples.

`served_from`: the first position that it could serve; None where data time stands still, so that nothing says.
`is_activated`: what the gate said; there is none without a gate, where every stored model becomes active.
"""
Which: TypeAlias = Literal["active", "trained"]


class Served(NamedTuple):
    """The positions [first, stop) that a model served."""

    first: int
    stop: int | None
    """None: it is served by the model still."""
    model: Model


def activated(models: Iterable[Model]) -> list[Model]:
    """Those that the gate let through."""
    return [model for model in models if model.get("is_activated", True)]


def active(models: Iterable[Model], key: float) -> Model | None:
    """The newest model (highest trigger) whose last training sample has a timestamp below `key`."""
    return models_in_use(models, "active", np.array([key]))[0]


def trained(models: Iterable[Model], key: float) -> Model | None:
    """The model next newer than the active one; the first if none is active; the active one if it is the last."""
    return models_in_use(models, "trained", np.array([key]))[0]


def served(models: Iterable[Model]) -> list[Served]:
    """Who served which positions, in their order; samples before all of them were served by nobody.

    ValueError if a model does not say from which position on it could serve.
    """
    found: list[Served] = []
    stop: int | None = None
    for model in reversed(in_order(models)):
        first = model["served_from"]
        if first is None:
            raise ValueError(f"model {model['trigger']} has no position from which on it served")
        if stop is None or first < stop:  # else a newer one was there before it
            found.append(Served(first, stop, model))
            stop = first
    return found[::-1]


def models_in_use(models: Iterable[Model], which: Which, keys: NDArray[np.float64]) -> list[Model | None]:
    """The active, or trained, model for each key."""
    ordered = in_order(models)
    return [ordered[index] if index >= 0 else None for index in indices_in_use(ordered, which, keys).tolist()]


def indices_in_use(ordered: Sequence[Model], which: Which, keys: NDArray[np.float64]) -> NDArray[np.int64]:
    """The same as indices into the models, which are in order; -1 where there is none."""
    # the data of a newer trigger never end earlier, so the order by trigger is one by time
    indices = np.searchsorted([model["last_ts"] for model in ordered], keys, side="left") - 1
    return np.minimum(indices + 1, len(ordered) - 1) if which == "trained" else indices


def in_order(models: Iterable[Model]) -> list[Model]:
    """Oldest first, that is, by trigger."""
    return sorted(models, key=lambda model: model["trigger"])
