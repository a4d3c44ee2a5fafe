"""The units of one resource: which can take a job now, and in which order they are offered."""

from __future__ import annotations

from bisect import insort
from collections.abc import Sequence


class Stock:
    """Units that each take some jobs at once; those with the fewest come first, then those named first."""

    def __init__(self, units: Sequence[str], jobs_per_unit: int = 1) -> None:
        self.units = tuple(units)
        self._jobs_per_unit = jobs_per_unit
        self._rank = {unit: rank for rank, unit in enumerate(self.units)}
        self._jobs = dict.fromkeys(self.units, 0)
        self._out: set[str] = set()
        """Units that are not there for now; who had a job on one may still give it back."""
        self.free = list(self.units)
        """Units that can take a job, best first; not to be changed from outside."""

    def copy(self) -> Stock:
        """The same as it stands now, to try things out on."""
        other = Stock(self.units, self._jobs_per_unit)
        other._jobs, other._out, other.free = dict(self._jobs), set(self._out), list(self.free)
        return other

    def can_take(self, units: Sequence[str]) -> bool:
        """Are these units there, each named once, and can each take a job?"""
        return len(set(units)) == len(units) and all(
            self._jobs.get(unit, self._jobs_per_unit) < self._jobs_per_unit for unit in units
        )

    def take(self, units: Sequence[str]) -> None:
        """A job begins on these units, which are free."""
        free = self.free
        if tuple(free[: len(units)]) == units:
            del free[: len(units)]
        else:
            self.free = free = [unit for unit in free if unit not in units]
        for unit in units:
            self._jobs[unit] += 1
            if self._jobs[unit] < self._jobs_per_unit:
                insort(free, unit, key=self._place)

    def give(self, units: Sequence[str]) -> None:
        """A job that was on these units has ended."""
        for unit in units:
            if unit in self._out:
                self._jobs[unit] -= 1
                continue
            if self._jobs[unit] < self._jobs_per_unit:
                self.free.remove(unit)
            self._jobs[unit] -= 1
            insort(self.free, unit, key=self._place)

    def take_out(self, units: Sequence[str]) -> None:
        """No job begins on these units. ValueError if one is unknown, or out already."""
        if wrong := [unit for unit in units if unit not in self._rank or unit in self._out]:
            raise ValueError(f"can't take out {', '.join(wrong)}: not there, or out already")
        self._out.update(units)
        self.free = [unit for unit in self.free if unit not in self._out]

    def put_back(self, units: Sequence[str]) -> None:
        """These units, which are out, take jobs again."""
        for unit in units:
            self._out.remove(unit)
            if self._jobs[unit] < self._jobs_per_unit:
                insort(self.free, unit, key=self._place)

    def _place(self, unit: str) -> tuple[int, int]:
        return self._jobs[unit], self._rank[unit]
