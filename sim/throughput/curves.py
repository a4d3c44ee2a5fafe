"""Looking up throughputs: over minibatches by the time of a step, over devices by the throughput.

Measured step times follow a line α + β · batch piece by piece, so between two batches the time of a step is on the
straight line between theirs. Below the smallest batch the first such line goes on. Above the largest the
throughput stays. Where the batch is not known, the throughput is the same for all.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise

from sim.throughput.scaling import Scaling


@dataclass(frozen=True, slots=True)
class Curve:
    """Throughput by minibatch, for one number of devices."""

    points: tuple[tuple[int | None, float], ...]
    """(batch, samples a second), by batch; one with batch None, or all with one."""

    @property
    def is_flat(self) -> bool:
        """Is the throughput the same for every minibatch, for want of knowledge?"""
        return len(self.points) == 1

    @property
    def smallest(self) -> float:
        """The smallest batch known."""
        return self.points[0][0] or 1.0

    @property
    def largest(self) -> float:
        """The largest batch known."""
        return self.points[-1][0] or float("inf")

    def step_s(self, batch: float) -> float:
        """Seconds of a step on `batch` samples, which need not be a whole number."""
        if self.is_flat:
            return batch / self.points[0][1]
        known = [(float(size or 1), (size or 1) / rate) for size, rate in self.points]
        if batch >= known[-1][0]:
            return batch / self.points[-1][1]
        index = max(1, bisect_left(known, batch, key=lambda point: point[0]))
        (small, short_s), (large, long_s) = known[index - 1 : index + 1]
        return short_s + (batch - small) / (large - small) * (long_s - short_s)

    def samples_per_s(self, batch: float) -> float:
        """Samples a second in steps on `batch` samples."""
        return batch / self.step_s(batch)


@dataclass(frozen=True, slots=True)
class Surface:
    """Curves by number of devices."""

    curves: Mapping[int, Curve]
    scaling: Scaling
    """Beyond the numbers of devices known."""

    def samples_per_s(self, batch: float, devices: float) -> float:
        """A straight line between the throughputs of two numbers of devices, at the same minibatch.

        Beyond them the samples of a step are shared out as `scaling` has it.
        """
        known = sorted(self.curves)
        for few, many in pairwise(known):
            if few <= devices <= many:
                low, high = (self.curves[each].samples_per_s(batch) for each in (few, many))
                return low + (devices - few) / (many - few) * (high - low)
        nearest = known[0] if devices <= known[0] else known[-1]
        share = self.scaling.multiple(nearest) / self.scaling.multiple(devices)
        return batch / self.curves[nearest].step_s(batch * share)
