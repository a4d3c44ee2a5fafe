"""What every choice of trainings would have cost, and the best of them.

The stream is cut into m intervals. A training may be made at the end of each. If it is, its model answers the
intervals after it, until the next model does. All costs are in one unit, such as wrong answers.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

_Choice: TypeAlias = tuple[float, int, tuple[int, ...]]
"""Cost, number of trainings, intervals at whose end they are: what is less is better."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class CostMatrix:
    """Costs over m intervals. Only meaningful if the model of an interval depends on that interval alone.

    ValueError if the shapes don't fit, or a cost that may be asked for is not a finite number.
    """

    initial: NDArray[np.float64]
    """Shape (m,): cost of answering each interval before the first training: by an initial model, or not at all."""
    answering: NDArray[np.float64]
    """Shape (m, m): [i, j] is the cost of interval j answered by the model trained at the end of i; read for i < j."""
    training: NDArray[np.float64]
    """Shape (m,): cost of a training at the end of each interval."""

    def __post_init__(self) -> None:
        m = len(self.initial)
        if self.answering.shape != (m, m) or self.training.shape != (m,) or self.initial.shape != (m,):
            raise ValueError(
                f"expected shapes ({m},), ({m}, {m}) and ({m},), got {self.initial.shape}, {self.answering.shape} "
                f"and {self.training.shape}"
            )
        used = np.concatenate([self.initial, self.training, self.answering[np.triu_indices(m, 1)]])
        if not np.isfinite(used).all():
            raise ValueError("a cost is not a finite number")

    @property
    def num_intervals(self) -> int:
        """m."""
        return len(self.initial)


@dataclass(frozen=True, slots=True)
class Oracle:
    """The best choice of trainings."""

    cost: float
    fires: tuple[int, ...]
    """Intervals at whose end a model is trained, in order."""


def cost(matrix: CostMatrix, fires: Sequence[int], *, delay: int = 0) -> float:
    """What trainings at the ends of these intervals cost in all, trainings and answers.

    A model trained at the end of i answers from i + 1 + `delay` on. ValueError unless `fires` increase within [0, m).
    """
    m = matrix.num_intervals
    if any(a >= b for a, b in pairwise(fires)) or any(not 0 <= i < m for i in fires):
        raise ValueError(f"expected increasing numbers of intervals below {m}, got {list(fires)}")
    total = float(matrix.training[list(fires)].sum())
    for j in range(m):
        answers = [i for i in fires if i + 1 + delay <= j]
        total += float(matrix.answering[answers[-1], j] if answers else matrix.initial[j])
    return total


def oracle(matrix: CostMatrix, *, delay: int = 0) -> Oracle:
    """The trainings of least cost; on a tie fewer of them, then earlier ones. Takes time in m².

    With V(j) the least cost of all that lies before the model of j answers, if a model is trained at the end of j:
    V(j) = κ[j] + min(Σ initial, min over i < j of V(i) + Σ answering[i]); the rest of the stream is the last model's.
    """
    m = matrix.num_intervals
    initial = np.concatenate([[0.0], np.cumsum(matrix.initial)])
    answering = np.hstack([np.zeros((m, 1)), np.cumsum(np.triu(matrix.answering, 1), axis=1)])

    def answered(i: int, first: int, stop: int) -> float:
        return float(answering[i, min(stop, m)] - answering[i, min(first, m)])

    best: list[_Choice] = []
    for j in range(m):
        choices: list[_Choice] = [(float(initial[min(j + 1 + delay, m)]), 0, ())]
        choices += [
            (value + answered(i, i + 1 + delay, j + 1 + delay), number, fires)
            for i, (value, number, fires) in enumerate(best)
        ]
        value, number, fires = min(choices)
        best.append((value + float(matrix.training[j]), number + 1, (*fires, j)))
    ends: list[_Choice] = [(float(initial[m]), 0, ())]
    ends += [(value + answered(i, i + 1 + delay, m), number, fires) for i, (value, number, fires) in enumerate(best)]
    value, _, fires = min(ends)
    return Oracle(value, fires)


def regret(matrix: CostMatrix, fires: Sequence[int], *, delay: int = 0) -> float:
    """How much more these trainings cost than the best ones; never below 0 but for rounding."""
    return cost(matrix, fires, delay=delay) - oracle(matrix, delay=delay).cost
