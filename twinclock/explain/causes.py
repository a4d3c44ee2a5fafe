"""Which stage run's end let another begin, and what was waited for in between.

A stage starts, or asks for what it needs, in the moment in which something else ends: the step before it in
its flow, the copy that made room in a ForEach, the last of all that a scope joins. Which, is decided by the
place of the stage run in the graph, never by looking for equal times, so it is right also where nothing takes
time.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import polars as pl

from twinclock.explain.places import NO_ROW, Place, StageRuns, Token, stage_runs_of, token_of
from twinclock.graph import Flow, ForEach, Spawn, exit_outcome
from twinclock.result import Run


class Asked(NamedTuple):
    """A request for units that was granted."""

    holder: str
    resource: str
    """What was asked for; of several resources, the first in the table."""
    requested_s: float
    granted_s: float


class Cause(NamedTuple):
    """Why a stage run began when it did."""

    row: int
    """Of the stage run whose end let it begin, or ask; NO_ROW: the run's start did."""
    asked: list[Asked]
    """What was asked for from then on and granted before it began, in that order."""
    is_retry: bool
    """Was there a rest before, because it had failed?"""


@dataclass(frozen=True)
class Causes:
    """The causes of the stage runs of one run."""

    stage_runs: StageRuns
    asked: Mapping[str, Asked]
    """Holder → its request."""
    _spawners: dict[str, dict[str, int]] = field(default_factory=dict)
    _rooms: dict[str, list[int]] = field(default_factory=dict)

    def of(self, row: int) -> Cause:
        """What let the stage run in this row begin."""
        runs = self.stage_runs
        place: Place | None = runs.places[row]
        text, last, since_s = runs.ids[row], row, runs.started_s[row]
        part: int | Place = row
        asked = []
        while place is not None:
            request = self.asked.get(text)
            if request is not None:
                asked.append(request)
                since_s = request.requested_s
            before = self._before(place, part, text, last, since_s)
            if before != NO_ROW:
                is_retry = text.rfind("@") > text.rfind("/") and _token(part, text).attempt > 1
                return Cause(before, asked[::-1], is_retry)
            part, text, last, place = place, place.text, place.last, place.around
        return Cause(NO_ROW, asked[::-1], False)

    def _before(self, place: Place, part: int | Place, text: str, last: int, since_s: float) -> int:
        """The row with whose end this part of a place was entered; NO_ROW if the place itself was entered then."""
        if isinstance(place.inside, ForEach):
            return self._before_copy(place, place.inside, _token(part, text), last)
        if isinstance(part, Place) and part.is_spawned:
            spawner = self._spawners_in(place).get(text)
            if spawner is not None:
                return spawner
            last = len(self.stage_runs.ids)  # a graph of somebody else's: the time has to tell
        lasts = place.steps()[0]
        at = bisect_left(lasts, last) - 1
        while at >= 0 and self.stage_runs.ended_s[lasts[at]] > since_s:
            at -= 1
        return lasts[at] if at >= 0 else NO_ROW

    def _before_copy(self, place: Place, each: ForEach, token: Token, last: int) -> int:
        """Copies start together with the ForEach as far as it lets them, then one for each that ends."""
        if token.attempt > 1:
            return next(
                other.last
                for other in place.places
                if (other.token.number, other.token.attempt) == (token.number, token.attempt - 1)
            )
        if each.limit is None or token.number < each.limit:
            return NO_ROW
        rooms = self._rooms.get(place.text)
        if rooms is None:
            ends = {other.token.number: other.last for other in place.places}  # of the last attempt
            rooms = self._rooms[place.text] = sorted(ends.values())
        ended = rooms[token.number - each.limit]
        return ended if ended < last else NO_ROW

    def _spawners_in(self, place: Place) -> Mapping[str, int]:
        """Spawned place → the row with whose end it was spawned, for those that this flow spawned."""
        found = self._spawners.get(place.text)
        if found is None:
            found = self._spawners[place.text] = dict(self._walk(place))
        return found

    def _walk(self, place: Place) -> Iterator[tuple[str, int]]:
        """Go the way of the token through a flow once more."""
        flow = place.inside
        if not isinstance(flow, Flow):
            return
        there = {each.token[:2]: each.text for each in place.places if each.is_spawned}
        visits: dict[str, int] = {}

        def spawned(names: Sequence[str], row: int) -> Iterator[tuple[str, int]]:
            for name in names:
                yield there[name, visits.get(name, 0)], row
                visits[name] = visits.get(name, 0) + 1

        first, _ = _way(flow, flow.start)
        yield from spawned([name for name in first if (name, 0) in there], NO_ROW)
        lasts, parts = place.steps()
        names = [_token(part, self.stage_runs.ids[last]) for last, part in zip(lasts, parts, strict=True)]
        for at, (last, part, token) in enumerate(zip(lasts, parts, names, strict=True)):
            following = names[at + 1] if at + 1 < len(names) else None
            if following is not None and following[:2] == token[:2]:
                continue  # tried again
            edges = flow.edges.get(token.name, {})
            if isinstance(part, int):
                targets = [edges.get(self.stage_runs.outcomes[part] or "", "")]
            else:
                targets = list(edges.values())
            ways = [_way(flow, target) for target in targets]
            fitting = [
                through
                for through, landed in ways
                if (following is None or landed == following.name)
                and all((name, visits.get(name, 0)) in there for name in through)
            ]
            yield from spawned(max(fitting, key=len, default=[]), last)


def causes_of(run: Run) -> Causes:
    """What let the stage runs of a run begin. RunError if its graph can't be read."""
    asked = run.devices.unique("holder", keep="first", maintain_order=True)
    requests = asked.select("holder", "resource", "requested_s", "granted_s").iter_rows()
    return Causes(stage_runs_of(run), {request[0]: Asked(*request) for request in requests})


def _token(part: int | Place, id_: str) -> Token:
    return token_of(id_) if isinstance(part, int) else part.token


def _way(flow: Flow, target: str) -> tuple[list[str], str | None]:
    """The steps spawned on the way to an edge's target, and the step that comes then; None: the flow is left."""
    through: list[str] = []
    while target and exit_outcome(target) is None:
        if not isinstance(flow.steps[target], Spawn):
            return through, target
        through.append(target)
        target = flow.edges.get(target, {}).get("done", "")
    return through, None


class Holding(NamedTuple):
    """A piece of time in which a unit that was waited for was held by somebody, or by nobody."""

    begin_s: float
    end_s: float
    resource: str
    holder: str | None


@dataclass(frozen=True)
class Holders:
    """Who held what, by unit."""

    _units: Mapping[tuple[str, str], tuple[list[float], list[tuple[str, float, float]]]]
    """(resource, unit) → times of the grants, and (holder, granted_s, released_s), in that order."""
    _granted: Mapping[str, list[tuple[str, str]]]
    """Holder → the units that it was granted."""

    def while_waiting(self, asked: Asked) -> list[Holding]:
        """Who held, while this waited, the units that it was granted in the end: of several, the last to be free.

        Nobody did where a request was held back by one before it in the line, or a real executor was slow.
        """
        units = self._granted[asked.holder]
        pieces = []
        end_s = asked.granted_s
        while end_s > asked.requested_s:
            resource, holder, granted_s, released_s = max(
                (self._before(unit, end_s) for unit in units), key=lambda each: (each[3], each[0])
            )
            begin_s = max(asked.requested_s, released_s)
            if begin_s < end_s:
                pieces.append(Holding(begin_s, end_s, resource, None))
                end_s = begin_s
            begin_s = max(asked.requested_s, granted_s)
            if begin_s < end_s:
                pieces.append(Holding(begin_s, end_s, resource, holder))
                end_s = begin_s
        return pieces[::-1]

    def _before(self, unit: tuple[str, str], end_s: float) -> tuple[str, str, float, float]:
        """The last holding of a unit that began before a time; released at minus infinity if there is none."""
        grants, holdings = self._units[unit]
        at = bisect_left(grants, end_s) - 1
        return (unit[0], *holdings[at]) if at >= 0 else (unit[0], "", float("-inf"), float("-inf"))


def holders_of(devices: pl.DataFrame) -> Holders:
    """Who held what, from the table of that name."""
    units: dict[tuple[str, str], tuple[list[float], list[tuple[str, float, float]]]] = {}
    granted: dict[str, list[tuple[str, str]]] = {}
    columns = ("resource", "unit", "holder", "granted_s", "released_s")
    for resource, unit, holder, granted_s, released_s in devices.select(columns).sort("granted_s").iter_rows():
        grants, holdings = units.setdefault((resource, unit), ([], []))
        grants.append(granted_s)
        holdings.append((holder, granted_s, released_s))
        granted.setdefault(holder, []).append((resource, unit))
    return Holders(units, granted)
