"""Records of a fidelity made by hand, with the figures that a test wants."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from experiments.fidelity.records import FORMAT, Figures, PolicyRecord, Prediction, RealRun, Record, StageMatch


def figures(makespan_s: float, **changes: Any) -> Figures:
    """A run of which training is nine tenths."""
    made: dict[str, Any] = {
        "makespan_s": makespan_s,
        "device_s": 0.8 * makespan_s,
        "queued_s": 0.1 * makespan_s,
        "training_queued_s": 0.0,
        "evaluation_queued_s": 0.1 * makespan_s,
        "accuracy": 0.7,
        "positions": (99, 199),
        "stage_s": {"WAIT_FOR_TRAINING_COMPLETION": 0.9 * makespan_s, "DONE": 1e-4},
    }
    return Figures(**{**made, **changes})


def policy(
    label: str,
    real: Sequence[Figures | str],
    simulated: Figures | Sequence[Figures] | str,
    *,
    depends_on: str = "data",
    interference: float | None = None,
    num_devices: int = 1,
) -> PolicyRecord:
    """A text in place of figures is the error of a run, or of the prediction; one simulation stands for each seed's."""
    runs = [
        RealRun(repeat, "failed", each, None) if isinstance(each, str) else RealRun(repeat, "done", None, each)
        for repeat, each in enumerate(real, start=1)
    ]
    stage = StageMatch("WAIT_FOR_TRAINING_COMPLETION", 2, 2, 2, 0.05, 0.02, 0.3)
    failed = isinstance(simulated, str)
    prediction = Prediction(
        calibrated_on="other",
        simulated=_each(simulated, len(runs)),
        error=simulated if isinstance(simulated, str) else None,
        quality="" if failed else "matrix of the calibration",
        stages=() if failed else (stage,),
        interference=interference,
    )
    return PolicyRecord(label, "seed", "replay", "amount", depends_on, num_devices, tuple(runs), prediction)


def _each(simulated: Figures | Sequence[Figures] | str, num_runs: int) -> tuple[Figures, ...]:
    if isinstance(simulated, str):
        return ()
    return (simulated,) * num_runs if isinstance(simulated, Figures) else tuple(simulated)


def record(*policies: PolicyRecord, **changes: Any) -> Record:
    """A study of these policies."""
    made: dict[str, Any] = {
        "format": FORMAT,
        "name": "hand",
        "question": "",
        "seed": 0,
        "repeats": max((len(each.runs) for each in policies), default=1),
        "machine": "2 × x86_64",
        "policies": policies,
    }
    return Record(**{**made, **changes})


def of_makespans(seconds: Mapping[str, tuple[Sequence[float], float]]) -> Record:
    """Policy → makespans of its repeats, and the simulated one."""
    return record(
        *(policy(label, [figures(each) for each in real], figures(sim)) for label, (real, sim) in seconds.items())
    )
