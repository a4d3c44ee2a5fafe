"""Streams and trigger policies made at random, of every kind, as plain values that a failing test can print.

Numbers that are compared with one another are halves, sixteenths and the like, whose sums are exact: a threshold may
be met to the last bit. Where a forecast can't be exact, the numbers it is compared with are none it could come to.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from random import Random
from typing import Any

import numpy as np

from twinclock.policies import Answer, Fire, Quiet, Samples, Trigger, build_trigger
from twinclock.policies.fires import _Only
from twinclock.policies.observations import value_names
from twinclock.policies.triggers.dry_run import dry_run
from twinclock.section import parse_section
from twinclock.stream import RecordedStream

BATCH_SIZES = (1, 3, 7, None)
"""None: the whole stream at once."""
DISTANCES = ("d0", "d1", "d2")
MAX_SAMPLES = 40


@dataclass(frozen=True)
class Seconds:
    """What trainings take: `fixed`, or along a crooked line that no other number of a case lies on."""

    fixed: float
    crook: float = 0.0

    def __call__(self, num_samples: int) -> float:
        return self.fixed + self.crook * (0.37 * num_samples + 0.0113 * num_samples**2)


@dataclass(frozen=True)
class Case:
    """A policy, a stream, and all that can be observed on it. Without `distances` windows are compared."""

    config: Mapping[str, Any]
    timestamps: tuple[float, ...]
    scores: tuple[float | None, ...] = ()
    distances: Mapping[str, tuple[float | None, ...]] | None = None
    train_seconds: Seconds | None = None
    label_delay_s: float = 0.0


def trigger_of(config: Mapping[str, Any]) -> Trigger:
    return build_trigger(parse_section(_Only, {"trigger": config}, "config").trigger)


def score_of_model(model: int, decision: int) -> float:
    """The accuracy of one of several models, made up: in sixteenths."""
    return (model * 7 + decision * 5 + model * decision * 3) % 17 / 16


def distance_of(reference: Sequence[int], current: Sequence[int]) -> float:
    """Of two windows of positions, made up: it changes with every sample that is in them."""
    ours, theirs = sum(i * i + 3 for i in current), sum(i * i + 3 for i in reference)
    return (ours * len(reference) - theirs * len(current)) % 17 / 16


def answers(
    case: Case, batch_size: int | None, renew: Callable[[Trigger], Trigger] = lambda trigger: trigger
) -> Iterator[Any]:
    """Every answer of the engine's trigger."""
    num_triggers = 0

    def observe(request: Mapping[str, Any]) -> dict[str, float | None]:
        if request["kind"] == "distance" and case.distances is None:
            value = distance_of(range(*request["reference"]), range(*request["current"]))
            return dict.fromkeys(request["metrics"], value)
        if request["kind"] == "distance":
            return {name: case.distances[name][request["decision"]] for name in request["metrics"]}
        if case.config["kind"] != "cara":
            return dict.fromkeys(value_names(request), case.scores[request["decision"]])
        names = value_names(request)
        models = [num_triggers - 1] if request["models"] is None else [model["trigger"] for model in request["models"]]
        return {name: score_of_model(model, request["decision"]) for name, model in zip(names, models, strict=True)}

    ran = dry_run(
        trigger_of(case.config),
        RecordedStream(np.array(case.timestamps, np.float64)),
        batch_size or max(1, len(case.timestamps)),
        observe=observe,
        train_seconds=case.train_seconds,
        label_delay_s=case.label_delay_s,
        renew=renew,
    )
    for _, answer in ran:
        num_triggers += isinstance(answer, Fire)
        yield answer


def fires_of(case: Case, batch_size: int | None = None, **more: Any) -> list[int]:
    return [answer.position for answer in answers(case, batch_size, **more) if isinstance(answer, Fire)]


def random_case(kind: str, seed: int) -> Case:
    """The higher the seed, the longer the stream, up to a limit."""
    rng = Random(f"{kind} {seed}")
    num_samples = rng.randint(0, min(MAX_SAMPLES, 4 + seed // 4))
    now, timestamps = rng.choice([0.0, 0.0, 100.0]), []
    gaps = rng.choice([[1.0], [0.0, 0.5, 1.0, 2.0], [0.0, 1.0, 1.0, 2.0, 10.0, 35.0]])
    for _ in range(num_samples):
        timestamps.append(now)
        now += rng.choice(gaps)
    config = ALL_CONFIGS[kind](rng)
    return Case(
        config=config,
        timestamps=tuple(timestamps),
        scores=tuple(values(rng, num_samples, 0, 16, missing=kind != "cara")),
        distances=None
        if kind == "drift of windows"
        else {name: tuple(values(rng, num_samples, -4, 16, missing=True)) for name in DISTANCES},
        train_seconds=rng.choice(
            [None, Seconds(0.0), Seconds(rng.choice([0.5, 2.0, 5.0])), Seconds(0.731, rng.choice([0.1, 1.0, 3.0]))]
        ),
        label_delay_s=0.0 if kind == "cara" else rng.choice([0.0, 0.0, 1.0, 2.5, 12.0]),
    )


def values(rng: Random, number: int, low: int, high: int, *, missing: bool) -> list[float | None]:
    found: list[float | None] = [rng.randint(low, high) / 16 for _ in range(number)]
    if missing:
        for i in range(number):
            if rng.random() < 0.06:
                found[i] = rng.choice([None, math.nan])
    return found


# --- configurations


def amount(rng: Random) -> dict[str, Any]:
    return {"kind": "amount", "n": rng.choice([1, 2, 3, 5, 8, 50])}


def always(rng: Random) -> dict[str, Any]:
    return rng.choice([{"kind": "always"}, {"kind": "always", "n": rng.randint(1, 6)}])


def never(rng: Random) -> dict[str, Any]:
    return {"kind": "never"}


def time(rng: Random) -> dict[str, Any]:
    config: dict[str, Any] = {"kind": "time", "every": rng.choice([0.5, 1.0, 3.0, "4s", 7.5, 30, "1m"])}
    if rng.random() < 0.3:
        config["start"] = rng.choice([-3.0, 0.0, 40.0, 90.0, 101.5])
    if rng.random() < 0.2:
        config["final"] = True
    return config


def interval(rng: Random) -> dict[str, Any]:
    """What all triggers that decide at intervals share."""
    config: dict[str, Any] = {"interval": rng.choice([1, 2, 3, 4, 5, "1s", "3s", "7s", "30s"])}
    if rng.random() < 0.3:
        config["warmup"] = {"intervals": rng.randint(1, 5), "trigger": rng.choice([amount, time, always, never])(rng)}
        config["warmup"]["trigger"].pop("final", None)
    if rng.random() < 0.3:
        config["cooldown"] = rng.choice([{"samples": rng.randint(1, 9)}, {"seconds": rng.choice([1.0, 4.5, 20.0])}])
    return config


def threshold_rule(rng: Random, metrics: list[str] | None) -> dict[str, Any]:
    rule: dict[str, Any] = {"kind": rng.choice(["static", "quantile", "rolling"])}
    if metrics is not None:
        rule["metric"] = rng.choice(metrics)
    if rule["kind"] == "static":
        rule["threshold"] = rng.randint(0, 16) / 16
    else:
        rule["window"] = rng.choice([1, 2, 3, 10])
    if rule["kind"] == "quantile":
        rule["q"] = rng.choice([0.0, 0.0625, 0.25, 0.5, 1.0])
    if rule["kind"] == "rolling":
        rule["deviation"] = rng.choice([-0.25, 0.0, 0.125, 0.25, 0.5])
        rule["absolute"] = rng.random() < 0.5
    return rule


def misclassifications_rule(rng: Random) -> dict[str, Any]:
    rule: dict[str, Any] = {
        "kind": "avoidable_misclassifications",
        "threshold": rng.choice([1, 2, 3, 6]),
        "allow_reduction": rng.random() < 0.5,
        "mode": rng.choice(["hindsight", "lookahead"]),
        "window": rng.choice([1, 3, 6, 10]),
    }
    if rng.random() < 0.5:
        rule["expected_accuracy"] = rng.randint(4, 16) / 16
    return rule


def performance(rng: Random) -> dict[str, Any]:
    rules = [threshold_rule(rng, ["accuracy", "log_loss", "roc_auc", "r2", "rmse"]) for _ in range(rng.randint(1, 2))]
    return {"kind": "performance", **interval(rng), "rules": rules}


def misclassifications(rng: Random) -> dict[str, Any]:
    rules = [misclassifications_rule(rng)]
    if rng.random() < 0.2:
        rules.append(threshold_rule(rng, ["accuracy"]))
    return {"kind": "performance", **interval(rng), "rules": rules}


def quorum(rng: Random, number: int) -> Any:
    return rng.choice(["any", "all", "majority", {"kind": "at_least", "k": rng.randint(1, number)}])


def drift(rng: Random) -> dict[str, Any]:
    names = DISTANCES[: rng.randint(1, 3)]
    config = {"kind": "drift", **interval(rng), "aggregate": quorum(rng, len(names))}
    metrics = {
        name: {"kind": "hellinger", "rule": threshold_rule(rng, None)}
        if rng.random() < 0.8
        else {"kind": "ks", "rule": {"kind": "hypothesis_test", "p": rng.randint(1, 15) / 16}}
        for name in names
    }
    windows: dict[str, Any] = {"kind": "amount", "ref": rng.randint(2, 8), "cur": rng.randint(2, 8)}
    if rng.random() < 0.4:
        windows = {"kind": "time", "ref": rng.choice([1.0, 4.0, "10s"]), "cur": rng.choice([0.5, 3.0, "10s"])}
    return config | {"metrics": metrics, "windows": {**windows, "overlap": rng.random() < 0.4}}


def detectors(rng: Random) -> dict[str, Any]:
    names, value = DISTANCES[: rng.randint(1, 3)], rng.choice(["error", "x"])
    metrics = {name: {"kind": rng.choice(["adwin", "page_hinkley", "kswin"]), "value": value} for name in names}
    return {"kind": "drift", **interval(rng), "aggregate": quorum(rng, len(names)), "metrics": metrics}


def cost(rng: Random) -> dict[str, Any]:
    config = {
        "kind": "cost",
        **interval(rng),
        "regret": rng.choice(["incorporation_latency", "avoidable_misclassification_latency"]),
        "per_training_second": rng.choice([0.037, 0.73, 1, 3.1, 10, 47.9]),
        "window": rng.choice([1, 3, 1000]),
    }
    if rng.random() < 0.4:
        config["expected_accuracy"] = rng.randint(4, 16) / 16
    return config


def continuum(rng: Random) -> dict[str, Any]:
    return {
        "kind": "continuum",
        "w": rng.choice([0.5, 1.0, 4.0, 10.0]),
        "alpha": rng.choice([0.0, 0.25, 0.5, 2.0]),
        "beta": rng.choice([0.0, 0.5, 1.0, 4.0]),
    }


class GapTrigger:
    """A user's own: fires before a sample that comes `pause` or more after the one before it."""

    depends_on = "data"

    def __init__(self, pause: float) -> None:
        self.pause = pause
        self.reached = 1

    def advance(self, samples: Samples, observation: Any) -> Answer:
        while self.reached < samples.stop:
            i = self.reached
            self.reached += 1
            if samples.stream.timestamp(i) - samples.stream.timestamp(i - 1) >= self.pause:
                return Fire(position=i - 1, reason="a gap")
        return Quiet()

    def on_fire(self, position: int) -> None: ...
    def on_training_cost(self, num_samples: int, seconds: float) -> None: ...
    def on_new_model(self, model: Mapping[str, Any]) -> None: ...
    def next_deadline(self) -> None: ...
    def state_dict(self) -> dict[str, Any]:
        return {"reached": self.reached}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.reached = state["reached"]


def custom(rng: Random) -> dict[str, Any]:
    return {"kind": "custom", "import": "trigger_cases:GapTrigger", "args": {"pause": rng.choice([0.5, 2.0, 10.0])}}


def best_effort(rng: Random) -> dict[str, Any]:
    return {"kind": "best_effort"}


def cara(rng: Random) -> dict[str, Any]:
    return {
        "kind": "cara",
        "interval": rng.choice([1, 2, 3, "1s", "3s"]),
        "mode": rng.choice(["threshold", "cumulative", "periodic"]),
        "tuning": rng.randint(2, 6),
        "per_training_second": rng.choice([0.25, 1.0, 3.0]),
        "metric": rng.choice(["accuracy", "log_loss"]),
    }


SIMPLE = (amount, always, never, time)
LEAVES = (*SIMPLE, time, performance, misclassifications, drift, detectors, cost, continuum, best_effort, custom)


def ensemble(rng: Random, makers: tuple[Callable[[Random], dict[str, Any]], ...] = LEAVES) -> dict[str, Any]:
    number = rng.randint(1, 4)
    members = {name: rng.choice(makers)(rng) for name in "abcd"[:number]}
    return {"kind": "ensemble", "of": members, "rule": quorum(rng, number)}


def nested(rng: Random) -> dict[str, Any]:
    return ensemble(rng, (ensemble, ensemble, budget, amount, time, cost, performance))


def budget(rng: Random, makers: tuple[Callable[[Random], dict[str, Any]], ...] = LEAVES) -> dict[str, Any]:
    unit = rng.choice(["trainings", "gpu_seconds", "money"])
    config = {
        "kind": "budget",
        "of": rng.choice(makers)(rng),
        "unit": unit,
        "limit": rng.choice([0.5, 1, 2, 3, 6]) if unit == "trainings" else rng.choice([0.01, 1.013, 4.117, 20.39]),
        "pace": rng.choice(["greedy", "even"]),
    }
    if config["pace"] == "even" or rng.random() < 0.5:
        config["horizon"] = rng.choice([1.0, 8.0, "16s", 64.0])
    if unit == "money":
        config["usd_per_device_hour"] = rng.choice([36.0, 360.0, 1800.0])
    return config


def budget_of_the_top(rng: Random) -> dict[str, Any]:
    config = budget(rng, (performance, misclassifications, drift, cost))
    return config | {"pace": "top", "horizon": rng.choice([8.0, "16s", 64.0, 300.0])}


def budgeted_ensemble(rng: Random) -> dict[str, Any]:
    return budget(rng, (ensemble,))


CONFIGS: dict[str, Callable[[Random], dict[str, Any]]] = {
    "amount": amount,
    "always": always,
    "never": never,
    "time": time,
    "performance": performance,
    "misclassifications": misclassifications,
    "custom": custom,
    "drift": drift,
    "drift of windows": drift,
    "detectors": detectors,
    "cost": cost,
    "continuum": continuum,
    "best_effort": best_effort,
    "cara": cara,
    "ensemble": ensemble,
    "nested": nested,
    "budget": budget,
    "budgeted ensemble": budgeted_ensemble,
}
"""Of every kind that there is a reference of."""
ALL_CONFIGS = CONFIGS | {"budget of the top": budget_of_the_top}
