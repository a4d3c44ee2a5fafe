"""The run that scores are taken from: is it done, did it measure anything, and was it about the same models?"""

from __future__ import annotations

from collections.abc import Iterator

from twinclock.config import Config
from twinclock.errors import ConfigError, UserError
from twinclock.policies.evaluation import EvaluationPlan
from twinclock.result import Run

_OF_A_MODEL = ("task", "model", "epochs", "batch_size", "optimizer", "start_from", "clip_norm", "downsample", "trainer")
"""What in `training` decides which model a training set gives."""
_SIMULATED = "sim"
_FITTED = "proxy"
"""The kind of quality whose scores, in a simulated run, are those of models that were really fitted."""
_SAME = "expected the same as here"


def finished_run(folder: str) -> Run:
    """A run to take scores from. ConfigError if there is no such run, it is not done, or a formula made its scores."""
    try:
        run = Run.load(folder)
    except UserError as error:
        raise ConfigError(f"sim.quality.run: {error}") from None
    if run.outcome != "done":
        raise ConfigError(f"sim.quality.run: {folder} is not done, expected a finished run to take scores from")
    kind = run.config.sim.get("quality", {}).get("kind", "decay")
    if run.header["executor"] == _SIMULATED and kind != _FITTED:
        got = f"{folder} is a simulated run, whose scores nobody measured (its sim.quality is of kind {kind})"
        raise ConfigError(f"sim.quality.run: {got}; expected a real run, or one simulated with kind {_FITTED}")
    return run


def check_likeness(folder: str, theirs: Config, ours: Config) -> None:
    """ConfigError if the run had other data, or would have trained another model on the same samples."""
    changed = {"chunk": theirs.data.chunk, "label_delay": theirs.data.label_delay}
    if ours.data.model_copy(update=changed) != theirs.data:
        raise ConfigError(f"sim.quality.run: {folder} has another section data, {_SAME}")
    for key in _OF_A_MODEL:
        if getattr(theirs.training, key) != getattr(ours.training, key):
            raise ConfigError(f"sim.quality.run: {folder} has another training.{key}, {_SAME}")


def unmeasured(folder: str, theirs: Config, ours: Config) -> Iterator[str]:
    """What a run of this policy, as far as one knows beforehand, will ask for and that run has not measured."""
    if theirs.data.label_delay != ours.data.label_delay:
        yield f"sim.quality.run: {folder} has another data.label_delay, {_SAME}"
    for section in ("trigger", "selection"):
        if getattr(theirs, section) != getattr(ours, section):
            yield f"sim.quality.run: {folder} has another section {section}, {_SAME}: it measured that policy's models"
    if ours.training.gate is not None and ours.training.gate != theirs.training.gate:
        yield f"training.gate: {folder} (sim.quality.run) has another, {_SAME}: it scored other models for it, or none"
    known = [_intervals(plan) for plan in theirs.evaluation.plans]
    for number, plan in enumerate(ours.evaluation.plans):
        if _intervals(plan) not in known:
            expected = f"expected one of the plans of {folder} (sim.quality.run), which measured no other intervals"
            yield f"evaluation.plans.{number}: got kind {plan.kind} with models {plan.models}, {expected}"
    for metric in ours.evaluation.metrics:
        if metric not in theirs.evaluation.metrics:
            measured = ", ".join(theirs.evaluation.metrics)
            yield f"evaluation.metrics: got {metric}, expected {measured}, which {folder} (sim.quality.run) measured"


def _intervals(plan: EvaluationPlan) -> EvaluationPlan:
    """A plan without what only says when its jobs are done."""
    return plan.model_copy(update={"when": "after_pipeline"})
