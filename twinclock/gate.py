"""What both executors need for the stages of the gate: which samples to score on, and what follows from the scores."""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from twinclock.config import Config
from twinclock.graph import Json
from twinclock.messages import Start
from twinclock.policies.gate import GateConfig, Passed, judge
from twinclock.policies.selection import positions
from twinclock.policies.selection.ranges import num_positions, position_at
from twinclock.policies.selection.validation import num_held_out, split
from twinclock.stages import Context, Decision
from twinclock.stream import ClockTime
from twinclock.training import ValidationConfig
from twinclock.work import served_from


def first_of(held_out: NDArray[np.int64], stop: int) -> int:
    """The first of the positions held out of a training set whose trigger ends before `stop`; `stop` if none is."""
    return int(held_out[0]) if len(held_out) else stop


def first_held_out(context: Context, model: Mapping[str, Json], recipe: Mapping[str, Json]) -> int:
    """SCORE_CANDIDATE: position of the first sample held out of a training set; the trigger's end if none is.

    Of samples that are only modelled nobody knows which of them a training set drew, so there it is the newest share
    of the positions that they were drawn from.
    """
    share = validation_of(context.config).share
    if context.has_table:
        return first_of(split(positions(recipe, context.table.label_ranks), share)[1], model["stop"])
    num_samples = num_positions(model["ranges"])
    num_newest = num_held_out(num_samples, share)
    return position_at(model["ranges"], num_samples - num_newest) if num_newest else model["stop"]


def interval_of(context: Context, model: Mapping[str, Json], first_held_out: int) -> Json:
    """SCORE_CANDIDATE: from the first sample held out of the candidate's training set up to its trigger's last."""
    stop = model["stop"]
    begin, end = (context.stream.timestamp(min(position, stop - 1)) for position in (first_held_out, stop))
    return {"start": begin, "end": end, "first": first_held_out, "stop": stop}


def scored(
    context: Context,
    active: Mapping[str, Json] | None,
    interval: Mapping[str, Json],
    values: Mapping[str, float | None],
) -> Decision:
    """SCORE_CANDIDATE: its ending, from the scores of `candidate` and of `active`, if there is one.

    What is not finite is no score.
    """
    known = {name: value for name, value in values.items() if value is not None and math.isfinite(value)}
    return "done", {
        "gate_scores": {
            "metric": gate_of(context.config).metric,
            "first": interval["first"],
            "stop": interval["stop"],
            "value": known.get("candidate"),
            "active": None if active is None else active["trigger"],
            "active_value": known.get("active"),
        }
    }


def activation(context: Context, start: Start, now: ClockTime) -> Decision:
    """ACTIVATE_MODEL: is the candidate the active model from the clock time `now` on?

    But for the first position that it serves, which depends on `now`, it depends on nothing but what the stage run was
    started with, so it comes out the same if the run crashes and the stage run is started again. The register `models`
    says of each model whether it was activated.
    """
    model, active = start.inputs["model"], start.registers["active_model"]
    passed = _passed(context, start.inputs["gate_scores"], model, active)
    entry = {**model, "is_activated": passed.is_activated}
    if not passed.is_activated:
        return "rejected", {"verdict": passed.reason, "models": [entry]}
    entry["served_from"] = served_from(context, model["stop"], now)
    return "activated", {"verdict": passed.reason, "active_model": entry, "models": [entry]}


def _passed(context: Context, scores: Json, model: Mapping[str, Json], active: Json) -> Passed:
    if active is None:
        return Passed(True, "there was no active model")
    if active["trigger"] > model["trigger"]:
        return Passed(False, f"model {active['trigger']}, which is active, is newer")
    if scores is None:
        return Passed(False, "the scoring failed")
    return judge(gate_of(context.config), scores["value"], scores["active_value"])


def gate_of(config: Config) -> GateConfig:
    """The gate of a run whose graph has one."""
    if config.training.gate is None:
        raise ValueError("only a graph with a gate has its stages, and it always has training.gate")
    return config.training.gate


def validation_of(config: Config) -> ValidationConfig:
    """What is held out in a run whose graph has a gate."""
    if config.training.validation is None:
        raise ValueError("a gate always has training.validation")
    return config.training.validation
