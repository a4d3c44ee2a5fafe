"""How good a model is on an interval, where no model is trained: a formula over the model's lineage."""

from __future__ import annotations

from sim.config import DecayQuality
from twinclock.graph import Json

METRICS = ("accuracy",)
"""What the formula can answer; a plan that asks for more can't be simulated."""


def accuracy(quality: DecayQuality, model: Json, start: float, end: float) -> float:
    """Accuracy of a stored model on the data-time interval [start, end), in [0, 1].

    `model` is a lineage entry: `num_samples` it was trained on, and `last_ts`, the data time of the
    newest of them. The age that counts is from there to the middle of the interval.
    """
    age_s = max(0.0, (start + end) / 2 - model["last_ts"])
    num_samples = model["num_samples"]
    learned = num_samples / (num_samples + quality.half_samples) if num_samples else 0.0
    remembered = 2.0 ** (-age_s / quality.half_life_s)
    return float(quality.floor + (quality.peak - quality.floor) * learned * remembered)
