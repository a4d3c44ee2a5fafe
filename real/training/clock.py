"""What a training asks the clock: whether a checkpoint is due, and how long it has waited for its samples."""

from __future__ import annotations

import time
from types import TracebackType

from twinclock.training import CheckpointConfig


class Stopwatch:
    """Counts the seconds spent in `with` blocks, but for those in a `pause`."""

    def __init__(self) -> None:
        self.seconds = 0.0
        self._since_s: float | None = None

    def __enter__(self) -> Stopwatch:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def start(self) -> None:
        """Count from now on."""
        self._since_s = time.perf_counter()

    def stop(self) -> None:
        """Count no more."""
        if self._since_s is not None:
            self.seconds += time.perf_counter() - self._since_s
            self._since_s = None


class Due:
    """When the next checkpoint is due."""

    def __init__(self, config: CheckpointConfig, step: int) -> None:
        """The training goes on from `step`, which is on disk, or is 0."""
        self._config = config
        self._kept_step = step
        self._kept_s = time.perf_counter()

    def is_new(self, step: int) -> bool:
        """Is there something that the last checkpoint does not have?"""
        return step > self._kept_step

    def is_due(self, step: int) -> bool:
        """Is it time, with so many steps done?"""
        every_steps, every_s = self._config.every_steps, self._config.every
        return self.is_new(step) and (
            (every_steps is not None and step - self._kept_step >= every_steps)
            or (every_s is not None and time.perf_counter() - self._kept_s >= every_s)
        )

    def kept(self, step: int) -> None:
        """The checkpoint is on disk."""
        self._kept_step, self._kept_s = step, time.perf_counter()
