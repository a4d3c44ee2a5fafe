"""Where to write the labels of points so that no two lie on each other, and none on a point."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TypeAlias

from twinclock._chart import DPI

Pair: TypeAlias = tuple[float, float]
Rectangle: TypeAlias = tuple[float, float, float, float]
"""Left, bottom, right, top."""

_DIRECTIONS = ((1, 0), (0, 1), (-1, 0), (0, -1), (1, 1), (-1, 1), (1, -1), (-1, -1))
_DISTANCES = (1.0, 2.0, 3.5, 5.5, 8.0)
_POINTS_PER_INCH = 72


def text_size(text: str, size: float) -> Pair:
    """Width and height in pixels of a line of text of this size in points, with a little room around it."""
    from twinclock._drawing.paint import measure

    return (measure(text, size, False) * DPI / _POINTS_PER_INCH + 4.0, 1.35 * size * DPI / _POINTS_PER_INCH)


def place(
    points: Sequence[Pair], sizes: Sequence[Pair], within: Pair, radius: float, obstacles: Sequence[Rectangle] = ()
) -> list[Pair | None]:
    """The centre of each point's label, in pixels as all is; None where there is no room for one.

    `sizes`: width and height of each label. `within`: width and height of the area, from (0, 0). `radius`: of the
    marks at the points. `obstacles`: what else must stay free. Those with the least room around them come first.
    """
    marks = [(x - radius, y - radius, x + radius, y + radius) for x, y in points]
    order = sorted(range(len(points)), key=lambda i: (-_neighbours(points, i), i))
    taken: list[Rectangle] = []
    centres: list[Pair | None] = [None] * len(points)
    for i in order:
        for centre in _candidates(points[i], sizes[i], radius):
            box = _around(centre, sizes[i])
            inside = box[0] >= 0 and box[1] >= 0 and box[2] <= within[0] and box[3] <= within[1]
            if inside and not any(overlap(box, other) for other in (*taken, *marks, *obstacles)):
                taken.append(box)
                centres[i] = centre
                break
    return centres


def overlap(a: Rectangle, b: Rectangle) -> bool:
    """Do the insides of two rectangles meet?"""
    return a[0] < b[2] and b[0] < a[2] and a[1] < b[3] and b[1] < a[3]


def _around(centre: Pair, size: Pair) -> Rectangle:
    x, y = centre
    return x - size[0] / 2, y - size[1] / 2, x + size[0] / 2, y + size[1] / 2


def _neighbours(points: Sequence[Pair], i: int) -> int:
    x, y = points[i]
    return sum(abs(x - a) < 120 and abs(y - b) < 40 for a, b in points)


def _candidates(point: Pair, size: Pair, radius: float) -> Iterator[Pair]:
    """Near ones first; beside a point before askew."""
    for distance in _DISTANCES:
        away = radius * distance + 1.5
        for right, up in _DIRECTIONS:
            yield point[0] + right * (size[0] / 2 + away), point[1] + up * (size[1] / 2 + away)
