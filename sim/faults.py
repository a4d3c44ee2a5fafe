"""Attempts of a simulated run that fail before they are done, by the fault plan, or with a device under them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from sim.effects import Effect, Work
from sim.executor import Body, SimExecutor
from twinclock.faults import FAILED_BY_PLAN, JobFailed
from twinclock.graph import ERROR_SLOT, FAILED, Json
from twinclock.luck import FaultPlan, life_s
from twinclock.messages import Start

Ages = dict[str, float]
"""Device → seconds for which it was at work since the run began, or since it was replaced."""


def breaking(bodies: Mapping[str, Body], plan: FaultPlan, ages: Ages) -> dict[str, Body]:
    """The same bodies, but some of what they do fails before it is done. `ages`: shared by all users of the devices."""
    return {
        operation: _breaking(body, plan, ages) if plan.can_fail(operation) else body
        for operation, body in bodies.items()
    }


def _breaking(body: Body, plan: FaultPlan, ages: Ages) -> Body:
    def run(start: Start, executor: SimExecutor) -> Effect:
        effect = body(start, executor)
        if effect.outcome not in ("done", "trained"):
            return effect
        fate = plan.fate(start)
        if fate.fails_after is not None:
            effect = _failed(effect, fate.fails_after * effect.seconds, JobFailed.__name__, FAILED_BY_PLAN)
        devices = start.placement.get("device", ())
        return _on_mortal(effect, dict(zip(devices, fate.lives, strict=True)), plan, ages)

    return run


def _on_mortal(effect: Effect, drawn: Mapping[str, float], plan: FaultPlan, ages: Ages) -> Effect:
    """The same on devices that grow older by it, and may fail before it is done."""
    mtbf_s, shape = plan.faults.device_mtbf, plan.faults.device_shape
    if mtbf_s is None or not drawn:
        return effect
    before = {device: ages.get(device, 0.0) for device in drawn}
    left_s = {device: life_s(mtbf_s, shape, drawn[device], before[device]) for device in drawn}
    first = min(left_s, key=left_s.__getitem__)
    if fails := left_s[first] < effect.seconds:
        effect = _failed(effect, left_s[first], "DeviceFailed", f"device {first} failed")
    if shape == 1.0:
        return effect  # it does not matter how old they are
    ages.update({device: age + effect.seconds for device, age in before.items()})
    if fails:
        ages[first] = 0.0
    return effect._replace(work=_Ageing(effect.work, before, ages))


def _failed(effect: Effect, seconds: float, type_: str, message: str) -> Effect:
    """It fails after so many seconds, until when it puts the same load on its devices."""
    told = {} if effect.work is None else effect.work.stopped(seconds)
    load = None if effect.load is None else effect.load._replace(values=None)
    return Effect(seconds, FAILED, {ERROR_SLOT: {"type": type_, "message": message}, **told}, effect.work, load)


@dataclass(frozen=True, slots=True)
class _Ageing:
    """Work that makes devices older by just the time that it takes."""

    inner: Work | None
    before: Mapping[str, float]
    ages: Ages

    def stopped(self, elapsed_s: float) -> Mapping[str, Json]:
        """As the work itself."""
        self._aged(elapsed_s)
        return {} if self.inner is None else self.inner.stopped(elapsed_s)

    def put_aside(self, elapsed_s: float, within_s: float) -> Effect | None:
        """As the work itself."""
        effect = None if self.inner is None else self.inner.put_aside(elapsed_s, within_s)
        if effect is not None:
            self._aged(elapsed_s + effect.seconds)
        return effect

    def _aged(self, seconds: float) -> None:
        self.ages.update({device: age + seconds for device, age in self.before.items()})
