"""Threshold rules: from an observed value, and those observed before it, to whether it calls for a training.

Earlier observations outlive a trigger: a fire clears nothing.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Annotated, ClassVar, Literal, NamedTuple, TypeAlias

import numpy as np
from pydantic import Field

from twinclock.graph import Json
from twinclock.policies.metrics import Direction
from twinclock.section import Section

_MANY = 10


class StaticRule(Section):
    """Fires while the value is at or beyond a fixed threshold.

    v ≥ threshold where higher is worse (losses, distances), v ≤ threshold where lower is worse (accuracy).
    """

    source: ClassVar[str] = ""

    kind: Literal["static"] = "static"
    metric: str | None = None
    """Of a performance trigger: which metric; None: accuracy. A distance is its own metric."""
    threshold: float
    """The value at which it fires. [unit of the metric]"""


class QuantileRule(Section):
    """Fires when the value is beyond a quantile of the values observed before it.

    The first observation fires. Then v > quantile(1 − q) where higher is worse, v < quantile(q) where lower is,
    of the last `window` observations before v, interpolated linearly.
    """

    source: ClassVar[str] = ""

    kind: Literal["quantile"] = "quantile"
    metric: str | None = None
    """Of a performance trigger: which metric; None: accuracy. A distance is its own metric."""
    window: int = Field(default=_MANY, gt=0)
    """How many of the observations before v count, the last. [observations]"""
    q: float = Field(default=0.05, ge=0, le=1)
    """How rare a value has to be: worse than all but this share of the earlier observations. [share]"""


class RollingRule(Section):
    """Fires when the value is worse than the mean of those before it by some deviation.

    The first observation fires. Then δ ≥ deviation, or δ ≥ deviation · |m| if it is relative, where m is the mean of
    the last `window` observations before v, and δ = v − m where higher is worse, m − v where lower is.
    """

    source: ClassVar[str] = ""

    kind: Literal["rolling"] = "rolling"
    metric: str | None = None
    """Of a performance trigger: which metric; None: accuracy. A distance is its own metric."""
    window: int = Field(default=_MANY, gt=0)
    """How many of the observations before v count, the last. [observations]"""
    deviation: float = Field(ge=0)
    """How far from the mean. [share of the mean, or unit of the metric]"""
    absolute: bool = False
    """Is the deviation in the unit of the metric? Else it is a share of the mean."""


class HypothesisTestRule(Section):
    """Fires when the two windows would be as different by chance less often than p.

    p-value < p. For distances that are the statistic of a test.
    """

    source: ClassVar[str] = ""

    kind: Literal["hypothesis_test"] = "hypothesis_test"
    p: float = Field(gt=0, lt=1)
    """Below which p-value it fires: the share of false alarms that is accepted. [share]"""


Rule: TypeAlias = Annotated[
    StaticRule | QuantileRule | RollingRule | HypothesisTestRule,
    Field(discriminator="kind"),
]


class Verdict(NamedTuple):
    """What a rule makes of a value."""

    fires: bool
    threshold: float | None
    signal: float | None
    """How far the value is beyond the threshold; None without a threshold."""


def judge(rule: Rule, bad: Direction, value: float | None, earlier: Sequence[float]) -> Verdict:
    """Does `value` call for a training? `earlier`: the observations before it that count, the oldest first.

    A value that is None or NaN never does.
    """
    if value is None or math.isnan(value):
        return Verdict(False, None, None)
    sign = 1.0 if bad == "higher" else -1.0
    match rule:
        case StaticRule(threshold=threshold):
            return Verdict(sign * value >= sign * threshold, threshold, sign * (value - threshold))
        case HypothesisTestRule(p=p):
            return Verdict(value < p, p, p - value)
        case QuantileRule(q=q):
            if not earlier:
                return Verdict(True, None, None)
            threshold = float(np.quantile(np.asarray(earlier, np.float64), 1 - q if bad == "higher" else q))
            return Verdict(sign * value > sign * threshold, threshold, sign * (value - threshold))
        case RollingRule(deviation=deviation, absolute=absolute):
            if not earlier:
                return Verdict(True, None, None)
            mean = float(np.mean(np.asarray(earlier, np.float64)))
            delta = value - mean if bad == "higher" else mean - value
            least = deviation if absolute else deviation * abs(mean)
            return Verdict(delta >= least, mean + sign * least, delta - least)


class ThresholdMemory:
    """A threshold rule with the observations that it has to remember, the oldest first."""

    def __init__(self, rule: Rule, bad: Direction) -> None:
        self._rule = rule
        self._bad = bad
        self._earlier: list[float] = []

    def judge(self, value: float | None, num_samples: int) -> Verdict:
        """What the rule makes of a value, which is part of no threshold of its own; then remember it."""
        verdict = judge(self._rule, self._bad, value, self._earlier)
        self.note(value)
        return verdict

    def note(self, value: float | None) -> None:
        """Remember a value; what is None or NaN is not kept, nor what the rule does not look at again."""
        if isinstance(self._rule, QuantileRule | RollingRule) and value is not None and not math.isnan(value):
            self._earlier = [*self._earlier, value][-self._rule.window :]

    def on_fire(self) -> None:
        """Nothing is forgotten."""

    def on_new_model(self) -> None:
        """Nothing is forgotten."""

    def state_dict(self) -> dict[str, Json]:
        """`earlier`: the observations."""
        return {"earlier": self._earlier}

    def load_state_dict(self, state: Mapping[str, Json]) -> None:
        """Go on from a `state_dict`."""
        self._earlier = list(state["earlier"])
