"""What went on side by side in a run, laid out in lanes, in each of which nothing overlaps but what stands inside.

A branch is what a spawn started, a copy of a ForEach that may run beside others, or the run itself. A branch does one
thing after the other, so its stage runs fit in one lane; a lane that is free again is used again.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from twinclock.explain.places import NO_ROW, Place, StageRuns
from twinclock.graph import ForEach

MAIN = "pipeline"
"""The lane of the run itself."""


@dataclass(slots=True)
class Branch:
    """What was done one after the other, and when."""

    kind: str
    """The step that was spawned, or what the items are called."""
    id: str
    trigger: int | None
    begin_s: float
    end_s: float
    lane: int = 0
    """Among those of its kind, from 0."""


@dataclass(frozen=True)
class Branches:
    """The branches of a run, and whose stage runs are whose."""

    branches: Sequence[Branch]
    """The run itself first."""
    of_rows: Sequence[int]
    """Of each row of the stage runs, the number of its branch."""
    of_places: Mapping[str, int]
    """Of each composite, the number of its branch."""

    @property
    def lanes(self) -> list[tuple[str, int]]:
        """(kind, number) of every lane, those of a kind together, in the order in which the kinds first began."""
        kinds: dict[str, int] = {}
        for each in self.branches:
            kinds[each.kind] = max(kinds.get(each.kind, 0), each.lane + 1)
        return [(kind, lane) for kind, number in kinds.items() for lane in range(number)]


def branches_of(runs: StageRuns, requested_s: Mapping[str, float], end_s: float) -> Branches:
    """The branches of a run that ended at `end_s`; `requested_s`: when composites asked for what they were granted."""
    numbers: dict[str, int] = {}
    branches = [Branch(MAIN, "/", None, 0.0, end_s)]
    of_rows = []
    triggers = runs.frame["trigger"].to_list()
    for row, (place, queued_s) in enumerate(zip(runs.places, runs.queued_s, strict=True)):
        if _is_side_by_side(place):  # a copy that is a single stage run
            of_rows.append(len(branches))
            branches.append(Branch(_kind(place), runs.ids[row], triggers[row], queued_s, runs.ended_s[row]))
            continue
        number = _number(place, numbers, branches, runs)
        branch = branches[number]
        branch.begin_s = min(branch.begin_s, queued_s)
        if branch.trigger is None and number:
            branch.trigger = triggers[row]
        of_rows.append(number)
    for holder, asked_s in requested_s.items():
        if holder in numbers:
            branch = branches[numbers[holder]]
            branch.begin_s = min(branch.begin_s, asked_s)
    _assign_lanes(branches)
    return Branches(branches, of_rows, numbers)


def _number(place: Place, numbers: dict[str, int], branches: list[Branch], runs: StageRuns) -> int:
    number = numbers.get(place.text)
    if number is None:
        if place.around is None:
            number = 0
        elif place.is_spawned or _is_side_by_side(place.around):
            number = len(branches)
            kind = place.token.name if place.is_spawned else _kind(place.around)
            ended_s = 0.0 if place.last == NO_ROW else runs.ended_s[place.last]
            branches.append(Branch(kind, place.text, None, float("inf"), ended_s))
        else:
            number = _number(place.around, numbers, branches, runs)
        numbers[place.text] = number
    return number


def _is_side_by_side(place: Place) -> bool:
    """Do the parts of this place run beside each other?"""
    return isinstance(place.inside, ForEach) and place.inside.limit != 1


def _kind(place: Place) -> str:
    return place.inside.item if isinstance(place.inside, ForEach) else place.token.name


def _assign_lanes(branches: Iterable[Branch]) -> None:
    """The first lane that is free when a branch begins."""
    free: dict[str, list[int]] = {}
    busy: dict[str, list[tuple[float, int]]] = {}
    for each in sorted(branches, key=lambda each: (each.begin_s, each.end_s)):
        lanes, ends = free.setdefault(each.kind, []), busy.setdefault(each.kind, [])
        while ends and ends[0][0] <= each.begin_s:
            heapq.heappush(lanes, heapq.heappop(ends)[1])
        each.lane = heapq.heappop(lanes) if lanes else len(ends)
        heapq.heappush(ends, (each.end_s, each.lane))
