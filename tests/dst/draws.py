"""Drawing: the few ways to choose something at random, and times that fit a stream."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np

T = TypeVar("T")
Config = dict[str, Any]


class Draw:
    """Choices that follow from one seed alone."""

    def __init__(self, seed: int) -> None:
        self._rng = np.random.default_rng(seed)

    def of(self, *options: T) -> T:
        """One of these, each as likely; an option that stands there twice is twice as likely."""
        return options[int(self._rng.integers(len(options)))]

    def number(self, least: int, most: int) -> int:
        """A whole number in [least, most]."""
        return int(self._rng.integers(least, most + 1))

    def chance(self, share: float) -> bool:
        """True that often."""
        return bool(self._rng.random() < share)

    def some(self, options: Sequence[T], share: float) -> list[T]:
        """Each of these that often, in their order."""
        return [option for option in options if self.chance(share)]

    def keys(self, share: float, **options: Callable[[], Any]) -> Config:
        """A mapping with each of these keys that often."""
        return {key: option() for key, option in options.items() if self.chance(share)}


@dataclass(frozen=True, slots=True)
class Times:
    """What lengths of data time make sense: those of some samples of the stream."""

    num_samples: int
    gap_s: float
    start_ts: float
    has_table: bool = False

    def span_s(self, draw: Draw, *num_samples: float) -> float:
        """Data time in which about one of these numbers of samples comes."""
        return draw.of(*num_samples) * self.gap_s

    def interval(self, draw: Draw) -> int | str:
        """Of an interval trigger: a number of samples, or a duration."""
        num = draw.number(1, max(1, min(15, self.num_samples)))
        span_s = int(num * self.gap_s / 2)
        return f"{span_s}s" if span_s and self.num_samples > 20 and draw.chance(0.4) else num
