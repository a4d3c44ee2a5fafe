"""A case at random: the configuration of a pipeline or a fleet, and what is done to it, from one seed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from simulated import FAULTS

from dst.draw_sim import faults, nodes, sim_sections
from dst.draw_triggers import kinds_in, triggers
from dst.draws import Config, Draw, Times

DATA_FOLDER = Path(__file__).parent / "data"
"""Small files of samples: `ordered` and `late` have the same columns, `times` has timestamps only."""
_NUM_ROWS = 120
"""Rows of each of them; they come about every second."""
_BUNDLED = {"portal_rodents": (20_000.0, 237_859_200.0), "nycflights13": (90.0, 1_357_035_300.0)}
"""Gap between the first rows of a bundled data set, and when its first row is from."""


@dataclass(frozen=True)
class Case:
    """All that decides one run of the fuzzer, as plain values."""

    config: Config
    """Of a pipeline, or of a fleet."""
    broken: Mapping[int, str] = field(default_factory=dict)
    """Serial of a trigger → how its training breaks, in ways that `faults` has not; see `simulated.breaking`."""
    stop_s: float | None = None
    """The clock time at which everything is asked to stop; None: it is not."""
    cut: float = 0.5
    """Where the journal is cut for the machine that goes on with it, as a share of its events."""
    is_journaled: bool = False
    """Is it written to a real journal as well, and read back?"""

    @property
    def is_fleet(self) -> bool:
        """Several pipelines on one cluster?"""
        return "fleet" in self.config


def draw_case(seed: int) -> Case:
    """The case of a seed: the same today and tomorrow, until the drawing itself is changed."""
    draw = Draw(seed)
    config = fleets(draw) if draw.chance(0.15) else pipelines(draw)
    serials = draw.some(range(7), 0.3) if draw.chance(0.3) else []
    return Case(
        config,
        broken={serial: draw.of(*FAULTS) for serial in serials},
        stop_s=draw.of(0.0, 0.5, 3.0, 10.0, 40.0, 150.0) * (1 + draw.number(0, 999) / 1000)
        if draw.chance(0.25)
        else None,
        cut=draw.number(0, 1000) / 1000,
        is_journaled=draw.chance(0.04),
    )


def fleets(draw: Draw) -> Config:
    """One to four pipelines; some are copies."""
    cluster, most_at_once = clusters(draw)
    members, left = {}, 4
    for name in ("p", "q", "r")[: draw.number(1, 3)]:
        copies = draw.number(1, min(2, left))
        left -= copies
        own = pipelines(draw, most_at_once)
        changed = draw.keys(0.4, set=lambda: {"training.epochs": draw.number(1, 3), "batching": {"n": 4}})
        members[name] = {"config": own, **changed, **({"copies": copies} if copies > 1 else {})}
        if not left:
            break
    return {"name": "fleet", "fleet": members, "cluster": cluster, **draw.keys(0.2, nodes=lambda: nodes(draw))}


def pipelines(draw: Draw, most_at_once: int | None = None) -> Config:
    """A pipeline of any kind; `most_at_once`: devices that a training can have on a cluster that is not its own."""
    variant, mode = draw.of("seed", "sequential", "overlapped", "overlapped"), draw.of("replay", "live")
    data, times = _data(draw)
    trigger = triggers(draw, times)
    if variant == "overlapped" and draw.chance(0.3):  # so often that trainings meet
        trigger = {"kind": "amount", "n": draw.number(1, 4)}
    alone = "cara" in kinds_in(trigger)
    if alone and variant == "overlapped":
        variant = "seed"
    cluster: Config = {}
    if most_at_once is None:
        cluster, most_at_once = clusters(draw)
    warm = not alone and draw.chance(0.4)
    config = {
        "name": "fuzz",
        "seed": draw.number(0, 2),
        "variant": variant,
        "mode": mode,
        "live": {"speed_up": times.gap_s / draw.of(0.02, 0.3, 1.0, 3.0)},
        "data": data,
        "batching": _batching(draw, mode),
        "trigger": trigger,
        "selection": {"tail": None, **draw.keys(0.3, limit=lambda: 15)} if alone else _selection(draw, times),
        "training": _training(draw, most_at_once, warm=warm),
        "evaluation": _evaluation(draw, times, mode, variant),
        "observation": draw.keys(
            0.5,
            on_device=lambda: draw.of(True, False, None),
            timeout=lambda: _timeout(draw),
            retry=lambda: _retry(draw),
        ),
        **({"cluster": cluster} if cluster else {}),
        "sim": sim_sections(draw, times, warm=warm, task_is_table=times.has_table),
        **draw.keys(0.6, faults=lambda: faults(draw)),
    }
    if variant == "overlapped":
        how = draw.of("queue", "coalesce", "drop", "preempt", "preempt")
        config["overlap"] = {"on_trigger": how, "trainings_at_once": draw.of(1, 1, 1, 2, 3)}
    return config


def clusters(draw: Draw) -> tuple[Config, int]:
    """A cluster, and the most devices that a training can have there."""
    discipline = draw.of(*("priority",) * 4, "fifo", "shortest_first", "preemptive")
    patience = {"patience": {"evaluation": draw.of(5.0, 0.5, 600.0)}} if discipline == "priority" else {}
    shared = {"discipline": discipline, **patience, **draw.keys(0.2, jobs_per_device=lambda: draw.of(2, 3))}
    if draw.chance(0.75):
        num = draw.of(1, 1, 2, 3)
        return {"devices": num, **draw.keys(0.4, device=lambda: _device(draw)), **shared}, num
    pools = [
        {
            "name": name,
            "devices_per_node": draw.number(1, 3),
            **draw.keys(0.5, nodes=lambda: draw.number(1, 2), device=lambda: _device(draw)),
        }
        for name in ("fast", "slow")[: draw.number(1, 2)]
    ]
    roomy = [pool for pool in pools if "memory_bytes" not in pool.get("device", {})]
    if not roomy:  # else most trainings would be refused, as there is no room for them
        del pools[0]["device"]["memory_bytes"]
        roomy = pools[:1]
    most = max(pool["devices_per_node"] * pool.get("nodes", 1) for pool in roomy)
    placement = draw.of("first_fit", "best_fit", "fastest", "cheapest")
    return {"pools": pools, "placement": placement, **shared}, most


def _device(draw: Draw) -> Config:
    watts = {"idle_watts": draw.of(10.0, 0.0), "busy_watts": draw.of(70.0, 300.0)} if draw.chance(0.5) else {}
    return {
        **draw.keys(0.6, speed=lambda: draw.of(0.5, 1.0, 3.0), usd_per_hour=lambda: draw.of(0.0, 2.5)),
        **watts,
        **draw.keys(0.25, memory_bytes=lambda: draw.of(3e9, 50e9), spot=lambda: _spot(draw)),
    }


def _spot(draw: Draw) -> Config:
    """Away for a small part of the time: else a training on several devices would wait for ever."""
    if draw.chance(0.2):
        return {"lasts": 3000.0, "away": 20.0}
    return {"lasts": draw.of(10.0, 40.0, 300.0), "away": draw.of(1.0, 5.0), "notice": draw.of(0.0, 0.5, 4.0)}


def _data(draw: Draw) -> tuple[Config, Times]:
    kind = draw.of(*("uniform", "poisson", "arrivals") * 2, "recorded", "table", "table")
    shared = {
        "chunk": draw.of(10, 1000, 1, 40),
        **draw.keys(0.25, label_delay=lambda: draw.of(0.0, 3.0, 12.0)),
    }
    num, every = draw.of(30, 45, 30, 60, 20, 8, 1), draw.of(1.0, 3.0, 0.25)
    start = draw.keys(0.4, start=lambda: draw.of(0.0, 5.0, -3.0))
    modelled = Times(num, every, start.get("start", 0.0))
    match kind:
        case "uniform" | "poisson":
            return {"kind": kind, "num_samples": num, "every": every, **start, **shared}, modelled
        case "arrivals":
            return _arrivals(draw, {"num_samples": num, **start, **shared}, modelled)
        case "recorded":
            scale = draw.keys(0.5, stretch=lambda: draw.of(0.5, 2.0), rate=lambda: draw.of(0.5, 1.5))
            limit = {"limit": num} if draw.chance(0.9) else {}
            file = {"path": str(DATA_FOLDER / draw.of("times.csv", "late.parquet")), "time": draw.of("came", "came")}
            rows = int((limit.get("limit", _NUM_ROWS) - 1) * scale.get("rate", 1.0)) + 1
            gap_s = scale.get("stretch", 1.0) / scale.get("rate", 1.0)
            return {"kind": kind, **file, **limit, **scale, **shared}, Times(rows, gap_s, 0.0)
        case _:
            return _table(draw, num, shared)


def _arrivals(draw: Draw, shared: Config, modelled: Times) -> tuple[Config, Times]:
    rhythm = draw.keys(
        0.3,
        daily=lambda: {"max_over_min": draw.of(1.0, 4.0), **draw.keys(0.5, peak_hour=lambda: draw.number(0, 23))},
        weekly=lambda: {"weekend_share": draw.of(0.2, 2.0)},
    )
    if draw.chance(0.3):
        preset, gap_s = draw.of(("philly_jobs", 100.0), ("azure_conversation", 0.2), ("azure_code", 0.4))
        times = Times(modelled.num_samples, gap_s, modelled.start_ts)
        return {"kind": "arrivals", "preset": preset, **rhythm, **shared}, times
    family = draw.of("gamma", "weibull", "exponential", "equal")
    spread = {"cv": draw.of(0.3, 1.0, 4.0)} if family in ("gamma", "weibull") else {}
    every = {"every": modelled.gap_s} if draw.chance(0.7) else {"every": 3600.0, **rhythm}
    gap_s = every["every"]
    times = Times(modelled.num_samples, gap_s, modelled.start_ts)
    return {"kind": "arrivals", "family": family, **spread, **every, **shared}, times


def _table(draw: Draw, num: int, shared: Config) -> tuple[Config, Times]:
    """A file of the cases' own, whose rows may be late, or a bundled data set."""
    if draw.chance(0.15):
        dataset, times = draw.of(*((name, Times(num, *when)) for name, when in _BUNDLED.items()))
        return {"kind": "table", "dataset": dataset, "limit": num, **shared}, times
    lateness = {}
    if late := draw.chance(0.7):
        lateness = {"allowed_lateness": draw.of(0.0, 2.0, 6.0, 100.0), **draw.keys(0.4, arrival=lambda: "came")}
    columns = {
        "time": "t",
        "label": draw.of("kind", "flag"),
        "features": {"numeric": ["a", "b"], **draw.keys(0.5, categorical=lambda: ["c"])},
    }
    file = str(DATA_FOLDER / ("late.parquet" if late else "ordered.parquet"))
    limit = {"limit": num} if draw.chance(0.9) else {}
    # of a file with rows that come late some are turned away
    rows = max(1, limit.get("limit", _NUM_ROWS) // (3 if late else 1))
    return {"kind": "table", "path": file, **columns, **limit, **lateness, **shared}, Times(rows, 1.0, 0.0, True)


def _batching(draw: Draw, mode: str) -> Config:
    size, wait = draw.of(7, 3, 1, 1000), draw.of(2.0, 0.3, 60.0)
    kinds = ("fixed", "fixed", "size_or_timeout", "adaptive", *(("time",) if mode == "live" else ()))
    match draw.of(*kinds):
        case "fixed":
            return {**draw.keys(0.3, kind=lambda: "fixed"), "n": size}
        case "size_or_timeout":
            return {"kind": "size_or_timeout", "n": size, "seconds": wait}
        case "adaptive":
            least = draw.of(1, 5)
            return {"kind": "adaptive", "min": least, "max": least + draw.of(4, 100, 0), "step": 2, "target": wait}
        case _:
            return {"kind": "time", "seconds": wait}


def _selection(draw: Draw, times: Times) -> Config:
    limit = draw.keys(0.4, limit=lambda: draw.of(4, 15))
    if draw.chance(0.2):
        return {"kind": "freshness", "unused": draw.of(20.0, 50.0, 100.0), **limit}
    presample = {}
    if draw.chance(0.25):
        kind = draw.of("uniform", "uniform_without_replacement", "label_balanced", "trigger_balanced")
        share = draw.keys(0.7, ratio=lambda: draw.of(0.2, 0.7, 1.0), limit=lambda: draw.of(3, 12, None))
        presample = {"presample": {"kind": kind, **share}}
    return {
        **draw.keys(0.3, kind=lambda: "new_data"),
        "tail": draw.of(None, 0, 0, 1, 3),
        **draw.keys(0.25, window=lambda: times.span_s(draw, 4, 20)),
        **limit,
        **draw.keys(0.5, keep=lambda: draw.of("last", "uniform")),
        **presample,
    }


def _training(draw: Draw, most_at_once: int, *, warm: bool) -> Config:
    return {
        "epochs": draw.number(1, 3),
        "start_from": "active" if warm else "scratch",
        "devices": draw.of(1, 1, most_at_once),
        "timeout": _timeout(draw),
        "retry": _retry(draw),
        **draw.keys(0.2, memory_bytes=lambda: draw.of(0.9e9, 1e9)),
        **draw.keys(
            0.15,
            task=lambda: "classification",
            model=lambda: draw.of({"kind": "logistic"}, {"kind": "mlp", "hidden": [4], "embedding": 2}),
            batch_size=lambda: draw.of(1, 8),
            optimizer=lambda: _optimizer(draw),
            clip_norm=lambda: 1.0,
            downsample=lambda: _downsample(draw),
        ),
        **draw.keys(
            0.1,
            checkpoint=lambda: draw.keys(0.7, every=lambda: draw.of(0.5, 3.0), every_steps=lambda: draw.of(1, 20)),
            accumulate=lambda: draw.of(2, 100),
            schedule=lambda: _schedule(draw),
            class_weights=lambda: draw.of("balanced", {"a": 2.0}),
            precision=lambda: draw.of("fp32", "bf16", "fp16"),
            compile=lambda: draw.chance(0.5),
        ),
        **draw.of({}, {}, {}, _validation(draw)),
    }


def _optimizer(draw: Draw) -> Config:
    kind = draw.of("adam", "sgd")
    momentum = {"momentum": 0.9} if kind == "sgd" else {}
    return {"kind": kind, "lr": 0.01, "weight_decay": 0.1, "state": draw.of("reset", "keep"), **momentum}


def _schedule(draw: Draw) -> Config:
    schedule = {"kind": draw.of("constant", "cosine", "linear", "step"), "warmup_steps": draw.of(0, 5)}
    if schedule["kind"] == "step":
        return {**schedule, "every_epochs": draw.of(1, 2), "factor": 0.5}
    return schedule if schedule["kind"] == "constant" else {**schedule, "end": draw.of(0.0, 0.1)}


def _validation(draw: Draw) -> Config:
    stopping = draw.keys(0.5, early_stopping=lambda: {"patience": draw.of(1, 3), "min_delta": draw.of(0.0, 0.1)})
    gate = draw.keys(0.6, gate=lambda: {"metric": "accuracy", "max_worse": draw.of(0.0, 0.0, 0.02, 0.5)})
    return {"validation": {"share": draw.of(0.1, 0.5, 0.9)}, **stopping, **gate}


def _downsample(draw: Draw) -> Config:
    kind = draw.of("loss", "gradnorm", "margin", "least_confidence", "entropy", "k_center", "rs2")
    ratio = {"kind": kind, "ratio": draw.of(0.3, 1.0)}
    if kind == "rs2":
        fixed = draw.keys(0.5, mode=lambda: "sample_then_batch", period=lambda: 1)
        return {**ratio, **fixed, **draw.keys(0.5, replacement=lambda: draw.chance(0.5))}
    mode = draw.of("sample_then_batch", "batch_then_sample")
    return {**ratio, "mode": mode, "period": 1 if mode == "batch_then_sample" else draw.number(1, 2)}


def _retry(draw: Draw) -> Config:
    return {"attempts": draw.number(1, 3), **draw.keys(0.7, backoff=lambda: draw.of(1.5, 0.0, 0.01))}


def _timeout(draw: Draw) -> float | None:
    return draw.of(None, None, 60.0, 5.0, 0.4)


def _evaluation(draw: Draw, times: Times, mode: str, variant: str) -> Config:
    whose = ("all", "active", "trained", *(("served",) if (mode, variant) != ("replay", "overlapped") else ()))
    return {
        "plans": [_plan(draw, times, whose) for _ in range(draw.of(0, 1, 1, 2))],
        **draw.keys(0.1, metrics=lambda: ["accuracy"]),
        **draw.keys(
            0.4,
            at_once=lambda: draw.of(None, 1, 2),
            intervals_per_visit=lambda: draw.of(None, 1, 2),
            memory_bytes=lambda: draw.of(0.0, 5e8, 1e9),
            timeout=lambda: _timeout(draw),
            retry=lambda: _retry(draw),
        ),
    }


def _plan(draw: Draw, times: Times, whose: tuple[str, ...]) -> Config:
    kind = draw.of("between_triggers", "slicing", "periodic", "offset", "static")
    when = draw.keys(0.5, when=lambda: draw.of("after_training", "after_pipeline"))
    gap_s, start = times.gap_s, times.start_ts
    if kind == "offset":
        offsets = draw.of([-4.0 * gap_s, 0], [3.0 * gap_s, "inf"], ["-inf", -10, 10, "inf"])
        return {"kind": kind, "offsets": offsets, **draw.keys(0.2, models=lambda: "own"), **when}
    shared = {"kind": kind, "models": draw.of(*whose), **when}
    if kind == "between_triggers":
        return shared
    if kind == "static":
        pieces: list[Any] = draw.of([[-1.0, 4.5]], [[2.0, 9.0], [9.0, 11.5]], [[20.0, 33.0], [0.0, 7.0]])
        return {**shared, "intervals": [[start + first * gap_s, start + end * gap_s] for first, end in pieces]}
    bounds = draw.of({}, {"from": 3.0}, {"from": -5.0, "to": 31.5}, {"to": 20.0})
    half = {"half": times.span_s(draw, 1, 6)} if kind == "periodic" else {}
    every = max(times.span_s(draw, 2.5, 7, 20), times.num_samples * gap_s / 12)
    return {**shared, "every": every, **{key: start + value * gap_s for key, value in bounds.items()}, **half}
