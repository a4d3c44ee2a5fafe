"""What goes wrong in a simulated run: attempts that fail, devices that fail under them, devices that are slow.

Each draw is keyed by what it is for: the number of the trigger, of the model or of the decision, and of the attempt. So
two policies that train at the same trigger meet the same luck there.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np

from sim.config import FaultsConfig
from sim.costs import evaluation_key
from sim.executor import Body, Effect, SimExecutor
from twinclock.graph import ERROR_SLOT, FAILED
from twinclock.messages import Path, Start
from twinclock.seeds import Purpose

_Key: TypeAlias = tuple[int, ...]


@dataclass(frozen=True, slots=True)
class _Target:
    """An operation that can fail."""

    number: int
    """Part of the key of its draws: add, never renumber."""
    share: Callable[[FaultsConfig], float]
    key: Callable[[Start], _Key]


_TARGETS: Mapping[str, _Target] = {
    "INIT_CLUSTER_CONNECTION": _Target(1, lambda faults: faults.connect, lambda start: ()),
    "WAIT_FOR_TRAINING_COMPLETION": _Target(
        2, lambda faults: faults.training, lambda start: (start.inputs["job"]["trigger"],)
    ),
    "STORE_TRAINED_MODEL": _Target(
        3, lambda faults: faults.store, lambda start: (start.inputs["candidate"]["trigger"],)
    ),
    "WAIT_FOR_EVALUATION_COMPLETION": _Target(
        4, lambda faults: faults.evaluation, lambda start: evaluation_key(start.inputs["evaluation_job"])
    ),
    "OBSERVE": _Target(
        5,
        lambda faults: faults.observation,
        lambda start: (start.inputs["request"]["decision"], start.inputs["request"]["stop"]),
    ),
}


def breaking(bodies: Mapping[str, Body], faults: FaultsConfig, seed: int) -> dict[str, Body]:
    """The same bodies, but some of what they do fails before it is done."""
    return {
        operation: _breaking(body, _TARGETS[operation], faults, seed) if _can_fail(operation, faults) else body
        for operation, body in bodies.items()
    }


def slow_down(faults: FaultsConfig, seed: int, trigger: int, attempt: int) -> float:
    """By how much a training takes longer, because its device is a straggler; 1 for most."""
    stragglers = faults.stragglers
    if stragglers.share == 0.0 or _rng(seed, 0, trigger, attempt).random() >= stragglers.share:
        return 1.0
    return stragglers.factor


def attempt_of(path: Path) -> int:
    """Which attempt at the stage, or at the composite around it that is retried, this is; counted from 1."""
    while path is not None:
        if path[3]:
            return path[3]
        path = path[0]
    return 1


def _can_fail(operation: str, faults: FaultsConfig) -> bool:
    return operation in _TARGETS and (faults.device_mtbf is not None or _TARGETS[operation].share(faults) > 0)


def _breaking(body: Body, target: _Target, faults: FaultsConfig, seed: int) -> Body:
    def run(start: Start, executor: SimExecutor) -> Effect:
        effect = body(start, executor)
        if effect.outcome not in ("done", "trained"):
            return effect
        rng = _rng(seed, target.number, *target.key(start), attempt_of(start.path))
        # all are drawn whatever comes of them: a change of one share leaves the rest of the luck as it was
        fails, share_done, life = rng.random(), rng.random(), rng.standard_exponential()
        devices = start.placement.get("device", ())
        if faults.device_mtbf is not None and devices:
            lives_s = life * faults.device_mtbf / len(devices)
            if lives_s < effect.seconds:
                return _failed(lives_s, effect, "DeviceFailed", f"a device of {', '.join(devices)} failed")
        if fails < target.share(faults):
            return _failed(share_done * effect.seconds, effect, "JobFailed", "failed as sim.faults has it")
        return effect

    return run


def _failed(seconds: float, effect: Effect, type_: str, message: str) -> Effect:
    """Until it fails it puts the same load on its devices."""
    load = None if effect.load is None else effect.load._replace(values=None)
    return Effect(seconds, FAILED, {ERROR_SLOT: {"type": type_, "message": message}}, load)


def _rng(seed: int, *key: int) -> np.random.Generator:
    return np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(int(Purpose.FAULTS), *key)))
