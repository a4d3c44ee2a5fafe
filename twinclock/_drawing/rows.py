"""Puts boxes into rows: the first half of a layered drawing of one `Flow`; `lines.py` draws what is between them.

Lines that close a loop are found first. Each box then stands one row below the lowest box that leads
to it; rows are ordered so that few lines cross; boxes move sideways until lines are as straight as
their neighbours allow. Small and deterministic, for the few boxes of one composite.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise, permutations

from twinclock._drawing.shapes import LineStyle

BOX_GAP = 16.0
LINE_GAP = 11.0
_MAX_PERMUTED = 5
_SWEEPS = 40
_BEND_COST = 12.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Item:
    """A box: its size, and the x, counted from its left edge, at which lines enter and leave."""

    width: float
    height: float
    entry: float
    ports: Mapping[str, float] = field(default_factory=dict)
    """A port that is not placed here gets a place along the bottom."""
    last: bool = False
    """Stands in the last row."""
    rightmost: bool = False
    exact: bool = False
    """Lines must end exactly at `entry`."""


_PASSING = Item(width=2.0, height=0.0, entry=1.0, exact=True)


@dataclass(frozen=True, slots=True, kw_only=True)
class Link:
    """A line from one box to another, with a label where it starts."""

    source: str
    target: str
    port: str
    """Lines of one box with the same port leave it at the same place."""
    label: str = ""
    label_width: float = 0.0
    style: LineStyle = "plain"
    arrow: bool = True


def slot_width(label_width: float) -> float:
    """How much of a box's bottom edge a line takes that leaves it with a label."""
    return label_width + 11.0


def arrange(items: Mapping[str, Item], links: Sequence[Link], start: str) -> tuple[Grid, dict[str, float]]:
    """The boxes in rows, `start` on top, and the x of each left edge. Every link must join two of them."""
    loops = _closing_links(items, links, start)
    forward = [link for link in links if link not in loops]
    ranks = _ranks(items, forward)
    grid = _grid(items, forward, loops, ranks)
    _order(grid)
    _set_ports(grid)
    return grid, _lefts(grid)


@dataclass(frozen=True, slots=True, kw_only=True)
class Hop:
    """A line's way from one row to the next."""

    source: str
    target: str
    port: str
    style: LineStyle
    arrow: bool


@dataclass(kw_only=True)
class Grid:
    """Boxes, and the places where long lines pass a row, in rows from top to bottom and left to right."""

    items: dict[str, Item]
    rows: list[list[str]]
    rank: dict[str, int]
    hops: list[Hop]
    loops: Sequence[Link]
    links: Sequence[Link]

    def port_x(self, source: str, port: str) -> float:
        """The x at which a line leaves a box, from the box's left edge."""
        item = self.items[source]
        return item.ports.get(port, item.width / 2)


def _closing_links(items: Mapping[str, Item], links: Sequence[Link], start: str) -> list[Link]:
    """The links that lead back to a box on the way to their source, depth first from `start`."""
    after: dict[str, list[Link]] = {name: [] for name in items}
    for link in links:
        after[link.source].append(link)
    found: list[Link] = []
    seen: set[str] = set()
    for root in (start, *items):
        if root in seen:
            continue
        seen.add(root)
        trail = [(root, iter(after[root]))]
        while trail:
            for link in trail[-1][1]:
                if any(name == link.target for name, _ in trail):
                    found.append(link)
                elif link.target not in seen:
                    seen.add(link.target)
                    trail.append((link.target, iter(after[link.target])))
                    break
            else:
                trail.pop()
    return found


def _ranks(items: Mapping[str, Item], forward: Sequence[Link]) -> dict[str, int]:
    ranks = dict.fromkeys(items, 0)
    for _ in items:
        for link in forward:
            ranks[link.target] = max(ranks[link.target], ranks[link.source] + 1)
    bottom = max((rank for name, rank in ranks.items() if not items[name].last), default=-1) + 1
    return {name: bottom if items[name].last else rank for name, rank in ranks.items()}


def _grid(items: Mapping[str, Item], forward: Sequence[Link], loops: Sequence[Link], ranks: Mapping[str, int]) -> Grid:
    """Rows, with a narrow place of its own in every row that a line passes; lines to one box share it."""
    rank = dict(ranks)
    placed = dict(items)
    hops: dict[Hop, None] = {}
    for link in forward:
        via = [f"{link.target}\n{link.style}\n{row}" for row in range(rank[link.source] + 1, rank[link.target])]
        for row, name in enumerate(via, rank[link.source] + 1):
            placed[name], rank[name] = _PASSING, row
        for here, there in pairwise([link.source, *via, link.target]):
            port = link.port if here == link.source else ""
            arrow = link.arrow and there == link.target
            hops[Hop(source=here, target=there, port=port, style=link.style, arrow=arrow)] = None
    rows: list[list[str]] = [[] for _ in range(max(rank.values()) + 1)]
    waiting = list(items)[::-1]
    met: set[str] = set()
    while waiting:  # depth first, so that what belongs together starts out together
        name = waiting.pop()
        if name not in met:
            met.add(name)
            rows[rank[name]].append(name)
            waiting += reversed([hop.target for hop in hops if hop.source == name])
    return Grid(items=placed, rows=rows, rank=rank, hops=list(hops), loops=loops, links=[*forward, *loops])


def _order(grid: Grid) -> None:
    """Orders each row in turn so that fewer lines cross, until no row alone can do better."""
    best = _tangle(grid)
    improved = True
    while improved:
        improved = False
        for r, row in enumerate(grid.rows):
            for candidate in _rearranged(row):
                grid.rows[r] = candidate
                cost = _tangle(grid)
                if cost < best - 1e-9:
                    best, row, improved = cost, candidate, True
            grid.rows[r] = row


def _rearranged(row: list[str]) -> Iterator[list[str]]:
    if len(row) <= _MAX_PERMUTED:
        yield from map(list, permutations(row))
    else:
        for i in range(len(row) - 1):
            yield [*row[:i], row[i + 1], row[i], *row[i + 2 :]]


def _tangle(grid: Grid) -> float:
    """How bad an order is: crossings, and a little for what is not where a reader expects it."""
    at = {name: i for row in grid.rows for i, name in enumerate(row)}
    share = {name: (i + 0.5) / len(row) for row in grid.rows for i, name in enumerate(row)}
    gaps: dict[int, list[tuple[float, float]]] = {}
    cost = 0.0
    for hop in grid.hops:
        out = at[hop.source] + grid.port_x(hop.source, hop.port) / grid.items[hop.source].width
        gaps.setdefault(grid.rank[hop.source], []).append((out, at[hop.target]))
        cost += 0.02 * abs(share[hop.source] - share[hop.target])
        if hop.style == "parallel":
            cost += 0.3 * (len(grid.rows[grid.rank[hop.target]]) - 1 - at[hop.target])
    for gap in gaps.values():
        for i, (a, b) in enumerate(gap):
            cost += sum((a - c) * (b - d) < 0 for c, d in gap[:i])
    for loop in grid.loops:
        out = at[loop.source] + grid.port_x(loop.source, loop.port) / grid.items[loop.source].width
        cost += sum(other < out and int(other) != at[loop.source] for other, _ in gaps.get(grid.rank[loop.source], ()))
        cost += at[loop.target]
    for row in grid.rows:
        cost += sum(100.0 * (len(row) - 1 - i) for i, name in enumerate(row) if grid.items[name].rightmost)
    return cost


def _set_ports(grid: Grid) -> None:
    """Gives each line that leaves a box its own place along the bottom: loops left, the rest as they go on."""
    at = {name: i for row in grid.rows for i, name in enumerate(row)}
    leaving: dict[str, list[tuple[float, Link]]] = {}
    for link in grid.links:
        if link.port not in grid.items[link.source].ports:
            first = next((h for h in grid.hops if h.source == link.source and h.port == link.port), None)
            leaving.setdefault(link.source, []).append((-1 if first is None else at[first.target], link))
    for name, found in leaving.items():
        item = grid.items[name]
        ordered = [link for _, link in sorted(found, key=lambda pair: pair[0])]
        slots = [slot_width(link.label_width) for link in ordered]
        left = (item.width - sum(slots)) / 2
        ports = dict(item.ports)
        for link, slot in zip(ordered, slots, strict=True):
            ports[link.port] = item.width / 2 if len(slots) == 1 else left + 4
            left += slot
        grid.items[name] = replace(item, ports=ports)


def _lefts(grid: Grid) -> dict[str, float]:
    """The x of each left edge: boxes go where their lines would be straight, and keep their distance."""
    lefts: dict[str, float] = {}
    for row in grid.rows:
        items = [grid.items[name] for name in row]
        lefts |= zip(row, _spread([0.0] * len(row), [1.0] * len(row), items), strict=True)
    above: dict[str, list[Hop]] = {}
    below: dict[str, list[Hop]] = {}
    for hop in grid.hops:
        above.setdefault(hop.target, []).append(hop)
        below.setdefault(hop.source, []).append(hop)
    for sweep in range(_SWEEPS):
        for row in grid.rows if sweep % 2 == 0 else reversed(grid.rows):
            wanted, weights = [], []
            for name in row:
                pulls = _straight_lefts(grid, lefts, name, above, below)
                wanted.append(sum(pulls) / len(pulls) if pulls else lefts[name])
                weights.append(8.0 if grid.items[name] is _PASSING else max(len(pulls), 0.1))
            lefts |= zip(row, _spread(wanted, weights, [grid.items[name] for name in row]), strict=True)
    _straighten(grid, lefts, above, below)
    return lefts


def _straight_lefts(
    grid: Grid, lefts: Mapping[str, float], name: str, above: Mapping[str, list[Hop]], below: Mapping[str, list[Hop]]
) -> list[float]:
    """For each line of a box, where the box would stand if that line were straight."""
    from_above = [lefts[hop.source] + grid.port_x(hop.source, hop.port) for hop in above.get(name, ())]
    to_below = [
        lefts[hop.target] + grid.items[hop.target].entry - grid.port_x(name, hop.port) for hop in below.get(name, ())
    ]
    return [x - grid.items[name].entry for x in from_above] + to_below


def _straighten(
    grid: Grid, lefts: dict[str, float], above: Mapping[str, list[Hop]], below: Mapping[str, list[Hop]]
) -> None:
    """Moves single boxes to where fewer of their lines bend, as far as their neighbours let them."""
    for _ in range(_SWEEPS):
        for row in grid.rows:
            for i, name in enumerate(row):
                item = grid.items[name]
                if item.last and len(above.get(name, ())) > 1:
                    continue  # where lines meet, the middle is the best place
                straight = _straight_lefts(grid, lefts, name, above, below)
                low = lefts[row[i - 1]] + _distance(grid.items[row[i - 1]], item) if i else -math.inf
                high = lefts[row[i + 1]] - _distance(item, grid.items[row[i + 1]]) if i + 1 < len(row) else math.inf
                within = [lefts[name], *(x for x in straight if low <= x <= high)]
                costs = [sum(abs(x - y) + (_BEND_COST if abs(x - y) > 0.5 else 0) for y in straight) for x in within]
                best = min(range(len(within)), key=costs.__getitem__)
                if costs[best] < costs[0] - 0.01:
                    lefts[name] = within[best]


def _distance(item: Item, following: Item) -> float:
    """From left edge to left edge, if they stand as near as they may."""
    return item.width + (LINE_GAP if item is _PASSING or following is _PASSING else BOX_GAP)


def _spread(wanted: Sequence[float], weights: Sequence[float], items: Sequence[Item]) -> list[float]:
    """The left edges nearest to `wanted` (weighted least squares) at which boxes keep their distance."""
    offsets, offset = [], 0.0
    for item, following in zip(items, [*items[1:], items[-1]], strict=True):
        offsets.append(offset)
        offset += _distance(item, following)
    blocks: list[tuple[float, float, int]] = []  # pool adjacent violators: mean, weight, how many
    for want, weight, shift in zip(wanted, weights, offsets, strict=True):
        blocks.append((want - shift, weight, 1))
        while len(blocks) > 1 and blocks[-2][0] > blocks[-1][0]:
            (mean_a, weight_a, count_a), (mean_b, weight_b, count_b) = blocks[-2:]
            total = weight_a + weight_b
            blocks[-2:] = [((mean_a * weight_a + mean_b * weight_b) / total, total, count_a + count_b)]
    means = [mean for mean, _, count in blocks for _ in range(count)]
    return [mean + shift for mean, shift in zip(means, offsets, strict=True)]
