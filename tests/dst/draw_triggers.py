"""Trigger policies at random: every kind but those that need something from outside (see `completeness`)."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from dst.draws import Config, Draw, Times

FEATURES = ("a", "b")
"""Numeric columns of the tables that cases have."""
_TESTABLE = ("mmd", "ks", "cvm", "energy")
_OTHERS = ("c2st", "wasserstein", "hellinger", "js", "psi")
_DEPTH = 2


def triggers(draw: Draw, times: Times, depth: int = 0) -> Config:
    """A trigger policy for a stream; composites hold others, two levels deep."""
    simple = ("amount", "amount", "time", "time", "always", "on_batch", "best_effort", "continuum")
    judging = ("performance", "performance", "cost", *(("drift",) * (3 if times.has_table else 1)))
    composite = ("ensemble", "budget") if depth < _DEPTH else ()
    rare = ("cara", "never") if depth == 0 and draw.chance(0.4) else ()
    return _KINDS[draw.of(*simple, *judging, *composite, *rare)](draw, times, depth)


def kinds_in(trigger: Config) -> set[str]:
    """The kinds of a trigger and of all that it holds."""
    inner = [trigger["of"]] if trigger["kind"] == "budget" else []
    inner = list(trigger["of"].values()) if trigger["kind"] == "ensemble" else inner
    return {trigger["kind"]}.union(*map(kinds_in, inner))


def _never(draw: Draw, times: Times, depth: int) -> Config:
    return {"kind": "never"}


def _always(draw: Draw, times: Times, depth: int) -> Config:
    return {"kind": "always", "n": draw.number(2, 9)}


def _amount(draw: Draw, times: Times, depth: int) -> Config:
    return {"kind": "amount", "n": draw.of(3, 5, 2, 12, 20)}


def _time(draw: Draw, times: Times, depth: int) -> Config:
    every = times.span_s(draw, 4.5, 10, 2, 30)
    final = draw.keys(0.3, final=lambda: draw.chance(0.5))
    return {"kind": "time", "every": every, **draw.keys(0.3, start=lambda: times.start_ts), **final}


def _on_batch(draw: Draw, times: Times, depth: int) -> Config:
    return {"kind": "on_batch"}


def _best_effort(draw: Draw, times: Times, depth: int) -> Config:
    return {"kind": "best_effort"}


def _continuum(draw: Draw, times: Times, depth: int) -> Config:
    alpha, beta = draw.of(0.0, 0.02, 0.5), draw.of(0.5, 2.0, 0.0)
    return {"kind": "continuum", "w": times.span_s(draw, 1, 10, 100), "alpha": alpha, "beta": beta}


def _performance(draw: Draw, times: Times, depth: int) -> Config:
    rules = [_performance_rule(draw) for _ in range(draw.number(1, 2))]
    return {"kind": "performance", "interval": times.interval(draw), "rules": rules, **_bounds(draw, times)}


def _cost(draw: Draw, times: Times, depth: int) -> Config:
    regret = draw.of("incorporation_latency", "avoidable_misclassification_latency")
    return {
        "kind": "cost",
        "interval": times.interval(draw),
        "regret": regret,
        "per_training_second": times.span_s(draw, 0.5, 10, 100),
        **draw.keys(0.3, window=lambda: draw.number(1, 20), expected_accuracy=lambda: draw.of(0.9, None)),
        **_bounds(draw, times),
    }


def _drift(draw: Draw, times: Times, depth: int) -> Config:
    num = draw.number(1, 3)
    distances = times.has_table and draw.chance(0.7)
    make = [_distance if distances and draw.chance(0.7) else _detector for _ in range(num)]
    metrics = {f"m{i}": each(draw, times) for i, each in enumerate(make)}
    compares = _distance in make
    return {
        "kind": "drift",
        "interval": times.interval(draw),
        "metrics": metrics,
        **({"windows": _windows(draw, times)} if compares else {}),
        "aggregate": _quorum(draw, num),
        **({"of": "features"} if draw.chance(0.2) else {}),
        **(draw.keys(0.4, features=lambda: [draw.of(*FEATURES)]) if compares else {}),
        **draw.keys(0.5, sample=lambda: draw.of(5, 30, None)),
        **_bounds(draw, times),
    }


def _cara(draw: Draw, times: Times, depth: int) -> Config:
    mode = draw.of("threshold", "cumulative", "periodic")
    price = draw.of(0.01, 1.0, 50.0)
    interval = draw.number(1, max(1, min(6, times.num_samples)))
    tuned = {"tuning": draw.number(2, 5), "per_training_second": price, **draw.keys(0.3, metric=lambda: "accuracy")}
    return {"kind": "cara", "interval": interval, "mode": mode, **tuned}


def _ensemble(draw: Draw, times: Times, depth: int) -> Config:
    num = draw.number(1, 3)
    members = {name: triggers(draw, times, depth + 1) for name in ("x", "y", "z")[:num]}
    return {"kind": "ensemble", "of": members, "rule": _quorum(draw, num)}


def _budget(draw: Draw, times: Times, depth: int) -> Config:
    inner = triggers(draw, times, depth + 1)
    ranks = inner["kind"] in ("drift", "performance", "cost")
    pace = draw.of("greedy", "even", *(("top", "top") if ranks else ()))
    unit = draw.of("trainings", "gpu_seconds", "money")
    horizon = {"horizon": times.span_s(draw, 20, 60)} if pace != "greedy" or draw.chance(0.3) else {}
    price = {"usd_per_device_hour": draw.of(0.5, 4.0)} if unit == "money" else {}
    limit = draw.of(0.01, 0.1) if unit == "money" else draw.of(1.0, 3.0, 8.0)
    return {"kind": "budget", "of": inner, "limit": limit, "unit": unit, "pace": pace, **horizon, **price}


_KINDS: Mapping[str, Callable[[Draw, Times, int], Config]] = {
    "never": _never,
    "always": _always,
    "amount": _amount,
    "time": _time,
    "on_batch": _on_batch,
    "best_effort": _best_effort,
    "continuum": _continuum,
    "performance": _performance,
    "cost": _cost,
    "drift": _drift,
    "cara": _cara,
    "ensemble": _ensemble,
    "budget": _budget,
}


def _bounds(draw: Draw, times: Times) -> Config:
    """Warm-up and cooldown."""
    simple = _KINDS[draw.of("amount", "time", "always", "never")]
    return draw.keys(
        0.25,
        warmup=lambda: {"intervals": draw.number(1, 4), "trigger": simple(draw, times, 0)},
        cooldown=lambda: draw.of({"samples": draw.number(1, 15)}, {"seconds": times.span_s(draw, 2, 12)}),
    )


def _performance_rule(draw: Draw) -> Config:
    kind = draw.of("static", "static", "quantile", "rolling", "avoidable_misclassifications")
    if kind == "avoidable_misclassifications":
        more = draw.keys(
            0.5,
            expected_accuracy=lambda: draw.of(0.5, 0.9, None),
            allow_reduction=lambda: draw.chance(0.5),
            mode=lambda: draw.of("hindsight", "lookahead"),
            window=lambda: draw.number(1, 10),
        )
        return {"kind": kind, "threshold": draw.of(0.5, 3.0, 10.0), **more}
    return {**_rule(draw, kind, draw.of(0.3, 0.6, 0.8)), **draw.keys(0.2, metric=lambda: draw.of("accuracy", None))}


def _rule(draw: Draw, kind: str, threshold: float) -> Config:
    match kind:
        case "static":
            return {"kind": kind, "threshold": threshold}
        case "quantile":
            return {"kind": kind, **draw.keys(0.5, window=lambda: draw.number(1, 8), q=lambda: draw.of(0.05, 0.4))}
        case "rolling":
            more = draw.keys(0.5, window=lambda: draw.number(1, 8), absolute=lambda: draw.chance(0.5))
            return {"kind": kind, "deviation": draw.of(0.0, 0.02, 0.2), **more}
        case _:
            return {"kind": kind, "p": draw.of(0.05, 0.4)}


def _distance(draw: Draw, times: Times) -> Config:
    kind = draw.of(*_TESTABLE, *_OTHERS)
    rules = ("static", "quantile", "rolling", *(("hypothesis_test",) if kind in _TESTABLE else ()))
    return {"kind": kind, "rule": _rule(draw, draw.of(*rules), draw.of(0.01, 0.3))}


def _detector(draw: Draw, times: Times) -> Config:
    value = draw.of("error", *(FEATURES if times.has_table else ()))
    return {"kind": draw.of("adwin", "page_hinkley", "kswin"), **draw.keys(0.5, value=lambda: value), "value": value}


def _windows(draw: Draw, times: Times) -> Config:
    overlap = draw.keys(0.5, overlap=lambda: draw.chance(0.5))
    if draw.chance(0.5):
        most = max(2, min(30, times.num_samples))
        return {"kind": "amount", "ref": draw.number(2, most), "cur": draw.number(2, most), **overlap}
    span = max(1.0, float(int(min(20, times.num_samples / 3) * times.gap_s)))
    return {"kind": "time", "ref": span, "cur": span / draw.of(1, 2), **overlap}


def _quorum(draw: Draw, num: int) -> str | Config:
    return draw.of("any", "all", "majority", {"kind": "at_least", "k": draw.number(1, num)})
