"""How the policies of a comparison look: a function of their order alone, so that it is the same in every picture.

Each differs from its neighbours by colour, marker, dash and hatch, so that it can be told without colour too.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, NamedTuple, TypeAlias

if TYPE_CHECKING:
    from matplotlib.lines import Line2D

Dash: TypeAlias = tuple[float, tuple[float, ...]]

_COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
"""Okabe and Ito's, without the yellow, which is too pale for lines on white."""
_MARKERS = ("o", "s", "^", "D", "v", "P", "X", "*")
_DASHES: tuple[Dash, ...] = (
    (0.0, ()),
    (0.0, (5.0, 1.8)),
    (0.0, (1.3, 1.3)),
    (0.0, (7.0, 1.6, 1.3, 1.6)),
    (0.0, (3.0, 1.2, 1.2, 1.2, 1.2, 1.2)),
)
_HATCHES = (None, "////", "xxxx", "....", "\\\\\\\\", "----", "++++", "||||", "oo")


class Look(NamedTuple):
    """How one policy looks."""

    color: str
    marker: str
    dash: Dash
    hatch: str | None

    def key(self) -> Line2D:
        """What stands for it in a legend: its line with its marker."""
        from matplotlib.lines import Line2D

        return Line2D([], [], color=self.color, marker=self.marker, linestyle=self.dash, linewidth=2.0, markersize=7)


def looks(labels: Iterable[str]) -> dict[str, Look]:
    """Label → look, by the order of the labels. The first 280 all differ, the first 40 in marker and dash."""
    return {
        label: Look(
            _COLOURS[number % len(_COLOURS)],
            _MARKERS[number % len(_MARKERS)],
            _DASHES[number % len(_DASHES)],
            _HATCHES[number % len(_HATCHES)],
        )
        for number, label in enumerate(dict.fromkeys(labels))
    }
