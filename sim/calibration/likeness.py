"""Which runs costs may be fitted to: finished real ones, which trained the same model in the same way."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from twinclock.errors import RunError
from twinclock.result import Run
from twinclock.section import shown

SIMULATED = "sim"
_OF_A_COST = ("task", "model", "optimizer", "trainer", "precision", "compile", "accumulate", "devices", "clip_norm")
"""What in `training` decides how long a step takes. Batch size and epochs do too, but the formula counts them."""
_PARTIAL = ("downsample", "validation", "early_stopping")
"""What in `training` makes a training something else than all epochs over all its samples."""


def finished_runs(folders: Sequence[str | Path]) -> list[Run]:
    """The runs in these folders. RunError if one is not a finished real run, or there are none."""
    if not folders:
        raise RunError("no run to fit costs to; expected the folder of a finished real run")
    runs = [Run.load(folder) for folder in folders]
    for run in runs:
        if run.outcome != "done":
            state = f"it is {run.state}" if run.outcome is None else f"its outcome is {run.outcome}"
            raise RunError(f"{run.folder}: {state}, expected a finished run, with outcome done")
        if run.header["executor"] == SIMULATED:
            raise RunError(
                f"{run.folder}: a simulated run, whose seconds nobody measured; expected a real run, such as "
                "`twinclock run CONFIG --on real` makes"
            )
    return runs


def check_likeness(runs: Sequence[Run]) -> None:
    """RunError, which names the key, if runs do not belong together or train in a way that the formula has not."""
    for run in runs:
        for key in _PARTIAL:
            if getattr(run.config.training, key) is not None:
                raise RunError(
                    f"{run.folder}: it has a training.{key}; expected trainings of all epochs on all their samples"
                )
    first = dict(_compared(runs[0]))
    for run in runs[1:]:
        for key, value in _compared(run):
            if value != first[key]:
                raise RunError(
                    f"{run.folder}: {key} is {shown(value)}, and {shown(first[key])} in {runs[0].folder}; "
                    "expected the same in all runs"
                )


def _compared(run: Run) -> Iterator[tuple[str, Any]]:
    training, data = run.config.training.model_dump(mode="json"), run.config.data
    yield from ((f"training.{key}", training[key]) for key in _OF_A_COST)
    yield "evaluation.evaluator", run.config.evaluation.evaluator
    yield "data.kind", data.kind
    for key in ("dataset", "path"):
        yield f"data.{key}", getattr(data, key, None)
    yield "the executor", run.header["executor"]
    yield "the kind of device", device_kind(run)


def device_kind(run: Run) -> str:
    """`cpu`, `cuda`: what the devices of a run are called, without their numbers."""
    return ", ".join(sorted({name.split(":")[0] for name in run.header.get("devices", ())}))


def what_matters(runs: Sequence[Run]) -> dict[str, Any]:
    """The section `training` as far as costs depend on it; of what may differ between runs, all values."""
    training = [run.config.training.model_dump(mode="json") for run in runs]
    same = {key: training[0][key] for key in _OF_A_COST if key != "task"}
    return same | {key: sorted({each[key] for each in training}) for key in ("batch_size", "epochs")}
