"""What the fault plan has in store for an attempt: the same for every executor, because it is the same code.

Each draw is keyed by what it is for: the number of the trigger, of the model or of the decision, and of the attempt. So
two policies that train at the same trigger meet the same luck there, and so do a simulated and a real run.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import NamedTuple, TypeAlias

import numpy as np

from twinclock.faults import FaultsConfig
from twinclock.messages import Path, Start
from twinclock.seeds import Purpose
from twinclock.work import evaluation_key

_Key: TypeAlias = tuple[int, ...]

# Parts of the keys of draws: add, never renumber.
_STRAGGLERS, _CONNECT, _TRAINING, _STORE, _EVALUATION, _OBSERVATION, _NODES, _SPOT, _GATE = range(9)


class Fate(NamedTuple):
    """What an attempt comes to, if nothing else ends it before."""

    fails_after: float | None
    """Share of its work, in [0, 1), after which it fails; None: it does not."""
    lives: tuple[float, ...]
    """For each device held a draw from the exponential distribution with mean 1; see `life_s`."""


class Outing(NamedTuple):
    """How long something is there, and then away; each from the exponential distribution with mean 1."""

    there: float
    away: float


@dataclass(frozen=True, slots=True)
class _Target:
    """An operation that can fail."""

    number: int
    share: Callable[[FaultsConfig], float]
    key: Callable[[Start], _Key]


def _training_key(trigger: int, path: Path) -> _Key:
    """A training that was put aside and goes on is another attempt: the visit of the step counts, after the first."""
    visit = _retried(path)[0]
    return (trigger, visit) if visit else (trigger,)


_TARGETS: Mapping[str, _Target] = {
    "INIT_CLUSTER_CONNECTION": _Target(_CONNECT, lambda faults: faults.connect, lambda start: ()),
    "WAIT_FOR_TRAINING_COMPLETION": _Target(
        _TRAINING,
        lambda faults: faults.training,
        lambda start: _training_key(start.inputs["job"]["trigger"], start.path),
    ),
    "STORE_TRAINED_MODEL": _Target(
        _STORE, lambda faults: faults.store, lambda start: (start.inputs["candidate"]["trigger"],)
    ),
    "WAIT_FOR_EVALUATION_COMPLETION": _Target(
        _EVALUATION, lambda faults: faults.evaluation, lambda start: evaluation_key(start.inputs["evaluation_job"])
    ),
    "SCORE_CANDIDATE": _Target(
        _GATE, lambda faults: faults.evaluation, lambda start: (start.inputs["model"]["trigger"],)
    ),
    "OBSERVE": _Target(
        _OBSERVATION,
        lambda faults: faults.observation,
        lambda start: (start.inputs["request"]["decision"], start.inputs["request"]["stop"]),
    ),
}


@dataclass(frozen=True, slots=True)
class FaultPlan:
    """The faults of one run."""

    faults: FaultsConfig
    seed: int

    def can_fail(self, operation: str) -> bool:
        """Can attempts at this operation fail, by a share or with a device?"""
        target = _TARGETS.get(operation)
        return target is not None and (self.faults.device_mtbf is not None or target.share(self.faults) > 0)

    def fate(self, start: Start) -> Fate:
        """Of a stage run whose operation can fail."""
        target = _TARGETS[start.stage.operation]
        return self._fate(target, (*target.key(start), attempt_of(start.path)), num_devices(start))

    def fate_of_training(self, trigger: int, start: Start) -> Fate:
        """Of a training, as WAIT_FOR_TRAINING_COMPLETION has it; asked from any stage that holds its devices."""
        key = (*_training_key(trigger, start.path), attempt_of(start.path))
        return self._fate(_TARGETS["WAIT_FOR_TRAINING_COMPLETION"], key, num_devices(start))

    def slow_down(self, trigger: int, start: Start) -> float:
        """By how much a training takes longer, because its device is a straggler; 1 for most."""
        stragglers = self.faults.stragglers
        if stragglers.share == 0.0:
            return 1.0
        rng = self._rng(_STRAGGLERS, *_training_key(trigger, start.path), attempt_of(start.path))
        return stragglers.factor if rng.random() < stragglers.share else 1.0

    def outing_of_node(self, pool: int, node: int, number: int) -> Outing:
        """From the end of the last repair (`number` 0: from the start) to the end of the next one."""
        return self._outing(_NODES, pool, node, number)

    def outing_of_device(self, device: int, number: int) -> Outing:
        """Of spot capacity: from when it came to when it comes back."""
        return self._outing(_SPOT, device, number)

    def _fate(self, target: _Target, key: _Key, devices: int) -> Fate:
        rng = self._rng(target.number, *key)
        # all are drawn whatever comes of them: a change of one share leaves the rest of the luck as it was
        fails, share_done, lives = rng.random(), rng.random(), rng.standard_exponential(devices)
        return Fate(share_done if fails < target.share(self.faults) else None, tuple(lives.tolist()))

    def _outing(self, *key: int) -> Outing:
        return Outing(*self._rng(*key).standard_exponential(2).tolist())

    def _rng(self, *key: int) -> np.random.Generator:
        return np.random.default_rng(np.random.SeedSequence(self.seed, spawn_key=(int(Purpose.FAULTS), *key)))


def num_devices(start: Start) -> int:
    """Devices that a stage run holds."""
    return len(start.placement.get("device", ()))


def attempt_of(path: Path) -> int:
    """Which attempt at the stage, or at the composite around it that is retried, this is; counted from 1."""
    return _retried(path)[1]


def life_s(mean_s: float, shape: float, drawn: float, age_s: float = 0.0) -> float:
    """Seconds that something of this age has still to live; lives are Weibull with that mean and shape.

    `drawn` is exponential with mean 1: how much the cumulative hazard (t / scale)^shape grows until the failure, with
    scale = mean / Γ(1 + 1 / shape). So what lives on from draw to draw, each time a little older, has lives of just
    that distribution.
    """
    if shape == 1.0:
        return mean_s * drawn
    scale_s = mean_s / math.gamma(1 + 1 / shape)
    dies_at_s: float = scale_s * (drawn + (age_s / scale_s) ** shape) ** (1 / shape)
    return max(0.0, dies_at_s - age_s)


def _retried(path: Path) -> tuple[int, int]:
    """Visit and attempt of the innermost node at or around a path that is retried; (0, 1) if none is."""
    while path is not None:
        if path[3]:
            return path[2], path[3]
        path = path[0]
    return 0, 1
