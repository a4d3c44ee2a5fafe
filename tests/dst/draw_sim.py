"""The sections `sim` and `faults` at random: what things cost, how good models are, what goes wrong."""

from __future__ import annotations

from dst.draws import Config, Draw, Times

_NOWHERE = 1e300
"""A throughput so large that samples take no time."""


def sim_sections(draw: Draw, times: Times, *, warm: bool, task_is_table: bool) -> Config:
    """Everything that only the simulator reads. `warm`: trainings start from the active model."""
    return {"costs": costs(draw), "quality": qualities(draw, times, warm=warm, has_table=task_is_table)} | draw.keys(
        0.3, interference=lambda: {"same_device": draw.of(0.0, 0.3, 1.0), "same_node": draw.of(0.0, 0.0, 0.1)}
    )


def costs(draw: Draw) -> Config:
    """Between nothing and more than the whole stream lasts."""
    return {
        "decide_s": draw.of(0.07, 0.0002, 1.0, 0.0, 0.0),
        "connect_s": _setup(draw),
        "launch_s": draw.of(0.07, 0.0002, 1.0, 0.0),
        "results_s": draw.of(0.07, 0.0002, 1.0, 0.0),
        "read": _linear(draw),
        "training": _training(draw),
        "evaluation": draw.of(
            _linear(draw),
            {**_linear(draw), "interval_s": draw.of(0.1, 0.0)},
            {"kind": "constant", "seconds": _setup(draw)},
        ),
        "store": {"latency_s": _setup(draw)}
        | draw.keys(0.3, bytes_per_s=lambda: draw.of(1e3, 1e8), model_bytes=lambda: draw.of(0, 5000)),
        "noise_sigma": draw.of(0.5, 1.5, 0.0),
        **draw.keys(
            0.2,
            decide_by_stage=lambda: {"EVALUATE": draw.of(0.5, 0.0), "TRAINING_COMPLETED": draw.of(0.3, 0.0)},
            grant_s=lambda: draw.of(0.01, 0.5, 0.0),
            warmup_s=lambda: draw.of(2.0, 0.0),
            evaluation_noise_sigma=lambda: draw.of(0.3, 0.0),
            drift=lambda: _linear(draw),
            forward_share=lambda: draw.of(0.0, 0.5, 1.0),
            scaling_efficiency=lambda: draw.of(0.0, 0.8, 1.0),
            efficiency_by_devices=lambda: [{"devices": 2, "share": 0.9}, {"devices": 4, "share": draw.of(0.7, 0.9)}],
            node_efficiency=lambda: draw.of(0.0, 0.5),
            loading=lambda: {"bytes_per_s": draw.of(1e3, 1e6), "sample_bytes": draw.of(100.0, 1e4)},
            checkpoint=lambda: {
                "pause_s": draw.of(0.0, 0.4),
                "restore_s": draw.of(0.0, 1.0),
            },
        ),
    }


def _setup(draw: Draw) -> float:
    return draw.of(2.0, 0.3, 11.0, 0.001, 0.0)


def _linear(draw: Draw) -> Config:
    return {"setup_s": _setup(draw), "samples_per_s": draw.of(100.0, 3.0, 1e6, _NOWHERE)}


def _training(draw: Draw) -> Config:
    match draw.of("formula", "formula", "formula", "constant", "profile"):
        case "formula":
            kind = draw.keys(0.3, kind=lambda: "formula", step_s=lambda: draw.of(0.0, 0.1))
            return {**_linear(draw), **kind}
        case "constant":
            return {"kind": "constant", "seconds": _setup(draw)}
        case _:
            device = {"table": "gavel", "model": draw.of("resnet18", "resnet50"), "device": "v100"}
            more = draw.keys(
                0.5, precision=lambda: draw.of("unstated", None), efficiency=lambda: draw.of(0.3, 1.0, None)
            )
            return {"kind": "profile", **device, **more, "setup_s": _setup(draw)}


def qualities(draw: Draw, times: Times, *, warm: bool, has_table: bool) -> Config:
    """How good models are; every kind that needs no earlier run."""
    kind = draw.of("decay", "decay", "formula", "formula", *(("proxy",) if has_table and draw.chance(0.25) else ()))
    if kind == "decay":
        return {
            "kind": kind,
            "floor": draw.of(0.0, 0.2),
            "peak": draw.of(0.8, 1.0),
            "half_samples": draw.of(0.0, 5.0, 40.0),
            "half_life_s": times.span_s(draw, 5, 50, 1000),
        }
    if kind == "proxy":
        learner = "descent" if warm else draw.of("logistic", "descent")
        return {"kind": kind, "learner": learner, "max_samples": draw.of(None, 20)}
    drifts = [_drift(draw, times) for _ in range(draw.number(0, 3))]
    warm_start = {"carry_over": draw.of(0.0, 0.7), "forgetting": draw.of(0.0, 0.4)}
    return {"kind": kind, "floor": 0.1, "learning": _learning(draw), "drift": drifts, "warm_start": warm_start}


def _learning(draw: Draw) -> Config:
    match draw.of("saturating", "saturating", "inverse", "inverse", "fitted"):
        case "saturating":
            return {"kind": "saturating", "peak": draw.of(0.7, 1.0), "half_samples": draw.of(0.0, 10.0)}
        case "inverse":
            return {"kind": "inverse", "b0": draw.of(0.01, 0.2), "b1": draw.of(0.0, 1.1), "b2": draw.of(0.0, 0.1)}
        case _:
            return {"kind": "fitted", "points": [[10, 0.3], [50, 0.6], [200, 0.8]]}


def _drift(draw: Draw, times: Times) -> Config:
    match draw.of("gradual", "abrupt", "recurring", "explosive"):
        case "gradual":
            return {"kind": "gradual", "half_life": times.span_s(draw, 5, 100)}
        case "abrupt":
            listed = {"at": [times.start_ts + times.span_s(draw, 3, 30)]}
            return {
                "kind": "abrupt",
                **draw.of(listed, {"every": times.span_s(draw, 10, 50)}),
                "lost": draw.of(0.3, 1.0),
            }
        case "recurring":
            return {"kind": "recurring", "period": times.span_s(draw, 8, 40), "depth": draw.of(0.5, 1.0)}
        case _:
            over = times.span_s(draw, 0, 10)
            return {"kind": "explosive", "onset": times.span_s(draw, 5, 20), "over": over, "remains": draw.of(0.0, 0.2)}


def faults(draw: Draw) -> Config:
    """What goes wrong, of every kind."""
    shares = draw.keys(
        0.4,
        training=lambda: draw.of(0.1, 0.5, 0.5, 1.0),
        store=lambda: draw.of(0.1, 0.5, 1.0),
        evaluation=lambda: draw.of(0.2, 0.6, 1.0),
        observation=lambda: draw.of(0.2, 0.6, 1.0),
        device_mtbf=lambda: draw.of(1.0, 10.0, 300.0),
        device_shape=lambda: draw.of(0.5, 1.0, 3.0),
        stragglers=lambda: {"share": draw.of(0.3, 1.0), "factor": draw.of(1.0, 3.0, 20.0)},
    )
    return shares | draw.keys(0.06, connect=lambda: draw.of(0.5, 1.0)) | draw.keys(0.15, nodes=lambda: nodes(draw))


def nodes(draw: Draw) -> Config:
    """Nodes that fail."""
    return {
        "mtbf": draw.of(20.0, 100.0, 1000.0),
        "repair": draw.of(0.5, 10.0),
        **draw.keys(0.5, shape=lambda: draw.of(0.7, 2.0), repairs=lambda: draw.of("exponential", "constant")),
    }
