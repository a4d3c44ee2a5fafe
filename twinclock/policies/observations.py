"""Requests for observations: what a trigger asks the stage OBSERVE for, as small JSON.

| key | holds |
|---|---|
| kind | `score`: how good a model is on [first, stop); `distance`: how far two windows are apart |
| decision | which decision of the trigger it is for, counted from 0 |
| member | which member of an ensemble asks: its name, in an ensemble of ensembles `outer.inner`; null: there is none |
| first, stop | the interval of the decision |
| metrics | `score`: the metrics wanted. `distance`: name → what to compute, see `Distance` |
| models | `score`: lineage entries of the models to score; null: the active one |
| reference, current | `distance`: positions [first, stop) of the two windows |
| of | `distance`: `features`, or `embeddings` of the active model |
| features | `distance`: the columns to look at; null: all numeric ones |
| sample, seed | `distance`: at most so many samples of each window, drawn with this seed; null: all |
| scored_by | `distance`, for detectors of errors: [first, stop, lineage entry] of the models since the detector began |

The answer is the request again with `values`: by name, or by metric (`accuracy`, of a named model `accuracy@7`, 7
being its trigger); null for what is not defined.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TypeAlias

from twinclock.graph import Json

ERROR = "error"
"""What a detector is fed that watches the active model: 1 for a wrong answer, 0 for a right one."""

Request: TypeAlias = dict[str, Json]
Distance: TypeAlias = Mapping[str, Json]
"""`kind`: of the distance, test or detector; `result`: `distance`, `p_value` or `detection`; for a detection
also `since`, the first position fed to the detector, and `value`: a feature's name, or `error`."""


def score_request(
    *, decision: int, first: int, stop: int, metrics: Sequence[str], models: Sequence[Mapping[str, Json]] | None = None
) -> Request:
    """Ask for scores of some models (default: the active one) on the samples [first, stop)."""
    return {
        "kind": "score",
        "decision": decision,
        "member": None,
        "first": first,
        "stop": stop,
        "metrics": list(metrics),
        "models": None if models is None else [dict(model) for model in models],
    }


def distance_request(
    *,
    decision: int,
    first: int,
    stop: int,
    metrics: Mapping[str, Distance],
    reference: tuple[int, int],
    current: tuple[int, int],
    of: str = "features",
    features: Sequence[str] | None = None,
    sample: int | None = None,
    seed: int = 0,
    scored_by: Sequence[tuple[int, int, Mapping[str, Json]]] = (),
) -> Request:
    """Ask for distances between two windows, and for what detectors report within [first, stop)."""
    return {
        "kind": "distance",
        "decision": decision,
        "member": None,
        "first": first,
        "stop": stop,
        "metrics": {name: dict(each) for name, each in metrics.items()},
        "reference": list(reference),
        "current": list(current),
        "of": of,
        "features": None if features is None else list(features),
        "sample": sample,
        "seed": seed,
        "scored_by": [[begin, end, dict(model)] for begin, end, model in scored_by],
    }


def needs_a_model(request: Mapping[str, Json]) -> bool:
    """Is it about what a model makes of the samples, not about features alone?"""
    if request["kind"] == "score" or request["of"] == "embeddings":
        return True
    return any(each.get("value") == ERROR for each in request["metrics"].values())


def observed(observation: Mapping[str, Json] | None, name: str) -> float | None:
    """The value of that name; None if it is not defined, or nothing could be observed."""
    value: float | None = None if observation is None else observation["values"].get(name)
    return value


def scored(observation: Mapping[str, Json] | None, metric: str, model: Mapping[str, Json]) -> float | None:
    """The score of a model that was asked for by name."""
    return observed(observation, value_name(metric, model))


def value_name(metric: str, model: Mapping[str, Json]) -> str:
    """Under which name the score of a model that was asked for by name is found."""
    return f"{metric}@{model['trigger']}"


def value_names(request: Mapping[str, Json]) -> list[str]:
    """The names of the values that a request asks for."""
    if request["kind"] == "distance" or request["models"] is None:
        return list(request["metrics"])
    return [value_name(metric, model) for metric in request["metrics"] for model in request["models"]]


def observation(request: Mapping[str, Json], values: Mapping[str, float | None]) -> Request:
    """The answer to a request. ValueError if a value is missing."""
    missing = [name for name in value_names(request) if name not in values]
    if missing:
        raise ValueError(f"no value for {', '.join(missing)}")
    return {**request, "values": dict(values)}
