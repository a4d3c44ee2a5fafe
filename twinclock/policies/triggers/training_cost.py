"""How long the next training will take, forecast from those before it."""

from __future__ import annotations

from twinclock.graph import Json
from twinclock.policies.forecast import ridge
from twinclock.policies.triggers.protocol import Samples


class TrainingSeconds:
    """Seconds of held device time as a line through (samples, seconds) of the last trainings; ridge with α = 1."""

    def __init__(self, window: int) -> None:
        self._window = window
        self._points: list[list[float]] = []

    def note(self, num_samples: int, seconds: float) -> None:
        """A training of so many samples took so long."""
        self._points = [*self._points, [num_samples, seconds]][-self._window :]

    def of(self, num_samples: int) -> float | None:
        """Forecast seconds, possibly negative; None if no training was noted yet."""
        if not self._points:
            return None
        return ridge([p[0] for p in self._points], [p[1] for p in self._points], num_samples, alpha=1.0)

    def state(self) -> Json:
        """The points: [samples, seconds] each, the oldest first."""
        return self._points

    def load(self, state: Json) -> None:
        """Go on from a `state`."""
        self._points = [list(point) for point in state]


def num_trained_on(samples: Samples, position: int, since: int) -> int:
    """How many samples a training fired at `position` would get; those from `since` on if nobody says."""
    return position + 1 - since if samples.preview is None else samples.preview(position)
