"""Trainings that keep checkpoints: how long an attempt takes that goes on from one, and what a failure loses.

Progress is a share of the training's work, as the next attempt may have faster devices, or slower ones.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from sim.config import CheckpointCost
from sim.effects import Effect
from twinclock.graph import Json
from twinclock.training import CheckpointConfig

_ROUNDING = 1e-9
"""Share of a checkpoint's distance that is a rounding error, and makes no checkpoint more or less."""


def checkpoint_every_s(config: CheckpointConfig, *, work_s: float, num_steps: int) -> float | None:
    """Seconds of work from one checkpoint to the next, where all `num_steps` steps take `work_s`; None: there are none.

    What is due every so many steps is so after their share of the work; of several, what comes first counts.
    """
    by_steps_s = None if config.every_steps is None or num_steps == 0 else work_s * config.every_steps / num_steps
    return min((each for each in (config.every, by_steps_s) if each), default=None)


@dataclass(frozen=True, slots=True)
class Stint:
    """One attempt at a training, from what is kept of those before to its end.

    It restores, if something is kept; then it works, and stands still for a checkpoint whenever it has worked for
    `every_s` seconds, but not at its end, where the model is stored.
    """

    work_s: float
    """Of the whole training, on the devices of this attempt."""
    kept: float
    """Share of it that an earlier attempt's checkpoint holds."""
    every_s: float | None
    """Seconds of work from one checkpoint to the next; None: there are none."""
    costs: CheckpointCost

    @property
    def seconds(self) -> float:
        """Until it has trained."""
        return self._restore_s + self._left_s + self._num_checkpoints * self.costs.pause_s

    def share_kept(self, elapsed_s: float) -> float:
        """Share of the whole training that is kept after so many seconds of the attempt."""
        return self.kept + self._share(self._num_kept(elapsed_s) * self._stretch_s)

    def share_done(self, elapsed_s: float) -> float:
        """Share of the whole training that is done then, kept or not."""
        return self.kept + self._share(self._done_s(elapsed_s))

    def lost_s(self, elapsed_s: float) -> float:
        """Seconds of work that have to be done again if it is broken off then; neither pauses nor restoring count."""
        return self._done_s(elapsed_s) - self._num_kept(elapsed_s) * self._stretch_s

    @property
    def _restore_s(self) -> float:
        return self.costs.restore_s if self.kept > 0 else 0.0

    @property
    def _left_s(self) -> float:
        return (1 - self.kept) * self.work_s

    @property
    def _stretch_s(self) -> float:
        """From a checkpoint to the next; all that is left where there are none."""
        return self._left_s if self.every_s is None else self.every_s

    @property
    def _num_checkpoints(self) -> int:
        if self.every_s is None:
            return 0
        return max(0, math.ceil(self._left_s / self.every_s - _ROUNDING) - 1)

    def _num_kept(self, elapsed_s: float) -> int:
        """Checkpoints that are whole."""
        if self._num_checkpoints == 0:
            return 0
        whole = (elapsed_s - self._restore_s) / (self._stretch_s + self.costs.pause_s)
        return min(self._num_checkpoints, max(0, math.floor(whole + _ROUNDING)))

    def _done_s(self, elapsed_s: float) -> float:
        """Seconds of work behind it."""
        kept = self._num_kept(elapsed_s)
        since_s = elapsed_s - self._restore_s - kept * (self._stretch_s + self.costs.pause_s)
        left_s = self._left_s - kept * self._stretch_s
        until_next_s = min(self._stretch_s, left_s)
        return kept * self._stretch_s + min(max(0.0, since_s), until_next_s)

    def _share(self, seconds: float) -> float:
        return seconds / self.work_s if self.work_s > 0 else 0.0


@dataclass(frozen=True, slots=True)
class TrainingWork:
    """A training under way, as the executor knows it."""

    trigger: int
    stint: Stint
    kept: dict[int, float]
    """Serial of the trigger → share of its training that is kept; shared by all attempts."""

    def stopped(self, elapsed_s: float) -> Mapping[str, Json]:
        """The next attempt goes on from the last checkpoint; `lost_s` for the records."""
        self.kept[self.trigger] = self.stint.share_kept(elapsed_s)
        return {"lost_s": self.stint.lost_s(elapsed_s)}

    def put_aside(self, elapsed_s: float, within_s: float) -> Effect | None:
        """Keep a checkpoint and make way; None if there are none, or if the pause for it does not fit."""
        is_behind = self.stint.share_done(elapsed_s) > self.stint.share_kept(elapsed_s)
        pause_s = self.stint.costs.pause_s if is_behind else 0.0
        if self.stint.every_s is None or pause_s > within_s:
            return None
        share = self.kept[self.trigger] = self.stint.share_done(elapsed_s)
        return Effect(pause_s, "preempted", {"checkpoint": {"trigger": self.trigger, "share": share}})
