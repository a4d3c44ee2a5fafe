"""Rows of a picture that belong to a policy each: its look and name to the left, what there is to say to the right."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import twinclock as tc
from experiments.plots.look import Look
from twinclock._chart import FAINT, shortened

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_LONGEST = 17
"""Characters for which there is room to the left of the axes."""


def name_row(axes: Axes, y: float, label: str, look: Look) -> None:
    """The marker and the name of a policy, before the axes at `y`."""
    across = axes.get_yaxis_transform()
    axes.plot(-0.012, y, transform=across, marker=look.marker, color=look.color, markersize=7, clip_on=False)
    axes.text(
        -0.022, y, shortened(label, _LONGEST), transform=across, ha="right", va="center", size=9.5, parse_math=False
    )  # fmt: skip


def note_row(axes: Axes, y: float, text: str) -> None:
    """What there is to say of a row, behind the axes at `y`."""
    axes.text(1.008, y, text, transform=axes.get_yaxis_transform(), va="center", size=9.5, color=FAINT)


def names_of(runs: Mapping[str, tc.Run]) -> str:
    """The names of the runs for a heading, each once."""
    return ", ".join(dict.fromkeys(run.name for run in runs.values())) or "no run"
