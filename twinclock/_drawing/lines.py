"""Draws the lines between boxes that stand in rows: the second half of a layered drawing of one `Flow`.

Lines run down and sideways in the gaps between rows, a loop's line up on the left of the rows that it
passes. Lines to the same box merge on their way. In a gap, sideways runs are stacked so that few cross.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import permutations

from twinclock._drawing.rows import Grid, Hop, Item, Link, arrange
from twinclock._drawing.shapes import Point, Shape, Stroke, moved

_LABEL_ROOM = 10.0
_ARROW_ROOM = 10.0
_TRACK = 7.5
_BUS_GAP = 9.0
_SIDE_ENTRY = 11.0
_STRAIGHT_ENOUGH = 7.0
"""A line this little aside of a box's entry goes straight down into the box, without a bend."""
_MAX_PERMUTED = 6
_MEETING = 8.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Placement:
    """Where everything went: top-left corners, lines, and where each label starts."""

    width: float
    height: float
    corners: Mapping[str, Point]
    strokes: Sequence[Shape]
    labels: Sequence[tuple[Point, Link]]


def place(items: Mapping[str, Item], links: Sequence[Link], start: str) -> Placement:
    """Places `items`, `start` on top, and the lines between them. Every link must join two of them."""
    grid, lefts = arrange(items, links, start)
    plan = _Plan(grid=grid, lefts=lefts)
    _plan_loops(plan)
    _plan_gaps(plan)
    strokes = [*_hop_strokes(plan), *_loop_strokes(plan)]
    corners = {name: (lefts[name], plan.tops[grid.rank[name]]) for name in items}
    labels = [
        ((corners[link.source][0] + grid.port_x(link.source, link.port), plan.bottom(link.source)), link)
        for link in grid.links
        if link.label
    ]
    left = min([x for x, _ in corners.values()] + [x for stroke in strokes for x, _ in stroke.points])
    right = max(
        [corners[name][0] + item.width for name, item in items.items()]
        + [x for stroke in strokes for x, _ in stroke.points]
        + [x + 5 + link.label_width for (x, _), link in labels]
    )
    return Placement(
        width=right - left,
        height=max(plan.bottom(name) for name in grid.items),
        corners={name: (x - left, y) for name, (x, y) in corners.items()},
        strokes=[moved(stroke, -left, 0) for stroke in strokes],
        labels=[((x - left, y), link) for (x, y), link in labels],
    )


@dataclass(kw_only=True)
class _Run:
    """A sideways run in a gap: how far it goes, and where lines come to it from above and from below."""

    from_above: list[float] = field(default_factory=list)
    from_below: list[float] = field(default_factory=list)

    @property
    def low(self) -> float:
        return min(self.from_above + self.from_below)

    @property
    def high(self) -> float:
        return max(self.from_above + self.from_below)


@dataclass(kw_only=True)
class _Plan:
    grid: Grid
    lefts: Mapping[str, float]
    buses: dict[str, float] = field(default_factory=dict)
    """Target of a loop → x of the line up to it."""
    tops: list[float] = field(default_factory=list)
    """y of each row."""
    tracks: dict[tuple[int, str], float] = field(default_factory=dict)
    """Gap (by the row above it) and run → y."""

    def out_x(self, hop: Hop | Link) -> float:
        return self.lefts[hop.source] + self.grid.port_x(hop.source, hop.port)

    def in_x(self, target: str) -> float:
        return self.lefts[target] + self.grid.items[target].entry

    def bottom(self, name: str) -> float:
        return self.tops[self.grid.rank[name]] + self.grid.items[name].height

    def sideways(self, target: str) -> bool:
        """Whether a loop can come into its target from the left, with no box between."""
        return self.grid.rows[self.grid.rank[target]][0] == target

    def straight(self, hop: Hop) -> bool:
        aside = abs(self.out_x(hop) - self.in_x(hop.target))
        alone = sum(other.target == hop.target for other in self.grid.hops) == 1
        wide = not self.grid.items[hop.target].exact
        return aside < 0.5 or (aside <= _STRAIGHT_ENOUGH and alone and wide)


def _plan_loops(plan: _Plan) -> None:
    grid = plan.grid
    spans: dict[str, tuple[int, int]] = {}
    for loop in grid.loops:
        first, last = spans.get(loop.target, (grid.rank[loop.target], 0))
        spans[loop.target] = (first, max(last, grid.rank[loop.source]))
    for target, (first, last) in sorted(spans.items(), key=lambda item: (item[1][1] - item[1][0], item[1])):
        x = min(plan.lefts[name] for row in grid.rows[first : last + 1] for name in row) - _BUS_GAP
        beside = [plan.buses[other] for other in plan.buses if spans[other][0] <= last and first <= spans[other][1]]
        plan.buses[target] = min([x, *(other - _BUS_GAP for other in beside)])


def _plan_gaps(plan: _Plan) -> None:
    """Stacks the sideways runs of each gap, and sets the height of rows and gaps."""
    grid = plan.grid
    runs: dict[int, dict[str, _Run]] = {}
    labelled = {grid.rank[link.source] for link in grid.links if link.label}
    for hop in grid.hops:
        gap = grid.rank[hop.source]
        if not plan.straight(hop):
            run = runs.setdefault(gap, {}).setdefault(_to(hop), _Run(from_below=[plan.in_x(hop.target)]))
            run.from_above.append(plan.out_x(hop))
    for loop in grid.loops:
        gap = grid.rank[loop.source]
        run = runs.setdefault(gap, {}).setdefault(_back(loop.target), _Run(from_above=[plan.buses[loop.target]]))
        run.from_above.append(plan.out_x(loop))
    for target, x in plan.buses.items():
        if not plan.sideways(target):
            entry = _Run(from_below=[x, plan.in_x(target)])
            runs.setdefault(grid.rank[target] - 1, {})[_over(target)] = entry
    y = 0.0
    for row in range(-1, len(grid.rows)):
        if row >= 0:
            plan.tops.append(y)
            y += max(grid.items[name].height for name in grid.rows[row])
        here = runs.get(row, {})
        y += _LABEL_ROOM if row in labelled else 3.0
        levels = _stacked(here)
        plan.tracks |= {(row, name): y + level * _TRACK for name, level in levels.items()}
        y += max(levels.values(), default=0) * _TRACK + _ARROW_ROOM
        if row < 0:
            y = 0.0 if not here else y


def _to(hop: Hop) -> str:
    return f"to {hop.target} {hop.style}"


def _back(target: str) -> str:
    return f"back to {target}"


def _over(target: str) -> str:
    return f"over {target}"


def _stacked(runs: Mapping[str, _Run]) -> dict[str, int]:
    """Run → level from the top, in an order in which few lines cross."""
    order = sorted(runs, key=lambda name: (runs[name].low, runs[name].high))
    if len(order) <= _MAX_PERMUTED:
        order = list(min(permutations(order), key=lambda names: _crossings([runs[name] for name in names])))
    levels: dict[str, int] = {}
    for i, name in enumerate(order):
        run = runs[name]
        over = [n for n in order[:i] if runs[n].low - 5 < run.high and run.low < runs[n].high + 5]
        levels[name] = max((levels[n] + 1 for n in over), default=0)
    return levels


def _crossings(order: Sequence[_Run]) -> float:
    cost = 0.0
    for i, upper in enumerate(order):
        for lower in order[i + 1 :]:
            cost += sum(lower.low < x < lower.high for x in upper.from_below)
            cost += sum(upper.low < x < upper.high for x in lower.from_above)
            cost += sum(5.0 for a in upper.from_below for b in lower.from_above if abs(a - b) < 3)
    return cost


def _hop_strokes(plan: _Plan) -> list[Stroke]:
    grid = plan.grid
    farthest: dict[tuple[int, str, bool], float] = {}
    for hop in grid.hops:
        aside = plan.out_x(hop) - plan.in_x(hop.target)
        side = (grid.rank[hop.source], _to(hop), aside > 0)
        farthest[side] = max(farthest.get(side, 0.0), abs(aside))
    strokes = []
    for hop in grid.hops:
        gap = grid.rank[hop.source]
        x, y, to = plan.out_x(hop), plan.bottom(hop.source), plan.in_x(hop.target)
        end = plan.tops[grid.rank[hop.target]]
        if plan.straight(hop):
            strokes.append(Stroke(((x, y), (x, end)), hop.style, hop.arrow))
            continue
        track = plan.tracks[gap, _to(hop)]
        if abs(x - to) == farthest[gap, _to(hop), x > to]:
            strokes.append(Stroke(((x, y), (x, track), (to, track), (to, end)), hop.style, hop.arrow))
        else:
            strokes.append(Stroke(((x, y), (x, track), (_short_of(x, to), track)), hop.style))
    return strokes


def _loop_strokes(plan: _Plan) -> list[Stroke]:
    grid = plan.grid
    strokes = []
    for target, x in plan.buses.items():
        top = plan.tops[grid.rank[target]]
        if plan.sideways(target):
            y = top + min(grid.items[target].height / 2, _SIDE_ENTRY)
            way_in: tuple[Point, ...] = ((x, y), (plan.lefts[target], y))
        else:
            y = plan.tracks[grid.rank[target] - 1, _over(target)]
            way_in = ((x, y), (plan.in_x(target), y), (plan.in_x(target), top))
        sources = [loop for loop in grid.loops if loop.target == target]
        last = max(sources, key=lambda loop: (grid.rank[loop.source], plan.out_x(loop)))
        for loop in sources:
            gap = grid.rank[loop.source]
            out, track = plan.out_x(loop), plan.tracks[gap, _back(target)]
            start = ((out, plan.bottom(loop.source)), (out, track))
            if loop is last:
                strokes.append(Stroke((*start, (x, track), *way_in), loop.style, arrow=True))
            elif gap == grid.rank[last.source]:
                strokes.append(Stroke((*start, (_short_of(out, x), track)), loop.style))
            else:
                strokes.append(Stroke((*start, (x, track)), loop.style))
    return strokes


def _short_of(x: float, to: float) -> float:
    """Where a line that meets another on its way from `x` to `to` can end: past its own bend."""
    return x + max(-_MEETING, min(_MEETING, to - x))
