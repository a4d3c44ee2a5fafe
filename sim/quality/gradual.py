"""Gradual drift: what was learned loses its worth bit by bit."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from sim.quality.asked import Asked
from twinclock.durations import Duration
from twinclock.section import Section


class GradualDrift(Section):
    """2^(−age / half_life), with the age of the newest training sample: as in the model `decay`.

    One of the shapes that Vela et al. saw: Temporal quality degradation in AI models, Scientific Reports 12:11654,
    2022. Wild-Time (Yao et al., NeurIPS 2022) reports some 20 % between samples of the training's time and later ones,
    and Ekya (NSDI 2022) up to 22 % from one window to the next: figures to choose a half-life by.
    """

    kind: Literal["gradual"] = "gradual"
    half_life: Duration = 365 * 86_400.0
    """Data time in which half of what was gained is lost."""


@dataclass(frozen=True, slots=True)
class Gradual:
    """The shape."""

    drift: GradualDrift

    def kept(self, asked: Asked) -> float:
        """2^(−age / half_life)."""
        return float(2.0 ** (-asked.age_s / self.drift.half_life))
