"""What the pictures of a run have in common: colours, figures, a clock axis, texts that keep apart.

The same kind of work has the same colour in every picture, and each pair that can stand side by side
differs in grey or hatching too. matplotlib is loaded when something is drawn, never before; figures
are made without pyplot, so no backend is chosen and no state is left behind.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from io import BytesIO
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from matplotlib.artist import Artist
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.patches import Patch

    from twinclock.result import Run

DPI = 100
WIDTH, HEIGHT = 16.0, 9.0
"""Inches."""
LEFT, RIGHT, BOTTOM, TOP = 1.65, 1.9, 1.25, 1.05
"""Margins around the axes, inches."""

INK = "#222222"
FAINT = "#666666"
FAULT = "#b3261e"

Floats = NDArray[np.float64]


class Paint(NamedTuple):
    """How a kind of work looks."""

    label: str
    fill: str
    edge: str
    hatch: str | None = None
    ink: str = INK

    @property
    def look(self) -> dict[str, Any]:
        """What matplotlib has to know of an area."""
        return {"facecolor": self.fill, "edgecolor": self.edge, "hatch": self.hatch, "linewidth": 0.6}

    @property
    def solid(self) -> str:
        """Its one colour where there is no room for more than one."""
        return self.edge if self.fill in _PALE else self.fill


_PALE = ("#ffffff", "#fff4c8")
PAINTS = {
    "training": Paint("training", "#1f5a96", "#123b66", ink="#ffffff"),
    "evaluation": Paint("evaluation", "#f6b455", "#c47d12", "////"),
    "lost": Paint("stopped or failed", "#ffffff", FAULT, "xxxx"),
    "other": Paint("other work on a device", "#cdb4e3", "#5b2a86", "\\\\\\\\"),
    "queue": Paint("queued (height: how many)", "#f4f4f4", "#555555", "\\\\\\\\\\\\"),
    "store": Paint("storing", "#57a773", "#2b5f3d"),
    "decide": Paint("taking in data, deciding", "#fff4c8", "#8a6d00"),
    "wait": Paint("waiting for data", "#d4d4d4", "#c4c4c4"),
    "cluster": Paint("connecting, closing", "#b9d6ef", "#1f4e79"),
    "idle": Paint("idle", "#f4f4f4", "#a8a8a8"),
    "down": Paint("down", "#8c8c8c", "#333333", "...."),
}


@contextmanager
def style() -> Iterator[None]:
    """matplotlib's own defaults, whatever the user has set, and output that is the same each time."""
    import matplotlib
    from matplotlib.style import context

    with (
        context("default"),
        matplotlib.rc_context(
            {"svg.hashsalt": "twinclock", "svg.fonttype": "path", "hatch.linewidth": 0.6, "font.size": 11}
        ),
    ):
        yield


def new_chart(title: str, subtitle: str, *, height: float = HEIGHT, bottom: float = BOTTOM) -> tuple[Figure, Axes]:
    """A figure with one pair of axes and a heading of two lines. Notebooks show it by itself."""
    figure, (axes,) = new_panels(title, subtitle, (1.0,), height=height, bottom=bottom)
    return figure, axes


def new_panels(
    title: str,
    subtitle: str,
    shares: Sequence[float],
    *,
    height: float = HEIGHT,
    gap: float = 0.35,
    bottom: float = BOTTOM,
) -> tuple[Figure, list[Axes]]:
    """A figure with panels from top to bottom, as high as their shares say, and one x axis for all.

    `gap` inches apart, over a margin of `bottom` inches. The heading has two lines, and notebooks show it by itself.
    """
    figure = new_figure(title, subtitle, height)
    inches = (height - bottom - TOP - gap * (len(shares) - 1)) / sum(shares)
    panels: list[Axes] = []
    reached = height - TOP
    for share in shares:
        reached -= inches * share
        box = (LEFT, reached, WIDTH - LEFT - RIGHT, inches * share)
        panels.append(panel(figure, box, below=panels[0] if panels else None))
        reached -= gap
    for axes in panels[:-1]:
        axes.tick_params(axis="x", labelbottom=False)
    return figure, panels


def panel(figure: Figure, box: tuple[float, float, float, float], *, below: Axes | None = None) -> Axes:
    """Axes in a figure: left, bottom, width and height in inches; with the x axis of those that they are `below`."""
    width, height = figure.get_size_inches()
    left, bottom, wide, high = box
    axes = figure.add_axes((left / width, bottom / height, wide / width, high / height), sharex=below)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    return axes


def new_figure(title: str, subtitle: str, height: float) -> Figure:
    """A figure without axes, with a heading of two lines; `height` in inches."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(WIDTH, height), dpi=DPI)
    for text, y, size, weight, color in ((title, 0.3, 15, "bold", INK), (subtitle, 0.6, 11.5, "normal", FAINT)):
        figure.text(
            LEFT / WIDTH, 1 - y / height, shortened(text, 150), size=size, weight=weight, color=color, va="center",
            parse_math=False,
        )  # fmt: skip
    return shows_itself(figure)


def shows_itself(figure: Figure) -> Figure:
    """The figure, with a PNG of it where IPython looks."""
    figure._repr_png_ = partial(_png, figure)  # type: ignore[attr-defined]
    return figure


def chart_width_px() -> float:
    """Width of the axes of every chart, pixels."""
    return (WIDTH - LEFT - RIGHT) * DPI


def note(axes: Axes, text: str) -> None:
    """A sentence in the middle of a picture that has nothing to show."""
    axes.text(
        0.5, 0.5, text, transform=axes.transAxes, ha="center", va="center", size=14, color=INK, wrap=True, zorder=9,
        parse_math=False, bbox={"facecolor": "white", "edgecolor": FAINT, "boxstyle": "round,pad=0.8"},
    )  # fmt: skip


def legend(figure: Figure, keys: Mapping[str, Artist], *, num_columns: int) -> None:
    """Label → what it stands for, below the axes."""
    figure.legend(
        list(keys.values()), list(keys), loc="lower center", ncols=max(1, min(num_columns, len(keys))), frameon=False,
        fontsize=10.5, handlelength=2.6, handleheight=1.2, bbox_to_anchor=(0.5, 0.08 / figure.get_figheight()),
    )  # fmt: skip


def patch(paint: Paint) -> Patch:
    """What stands for a kind of work in a legend."""
    from matplotlib.patches import Patch

    return Patch(**paint.look)


def area(axes: Axes, edges: Floats, base: Floats, heights: Floats, paint: Paint) -> None:
    """An area of steps on top of `base`; where it has no height there is no outline either."""
    tops = np.where(heights > 0.0, base + heights, np.nan)
    axes.stairs(tops, edges, baseline=base, fill=True, **paint.look)


def remark(axes: Axes, text: str) -> None:
    """A line above the right end of some axes."""
    axes.text(1.0, 1.02, text, transform=axes.transAxes, ha="right", va="bottom", size=9.5, color=FAINT)


def nothing(title: str, subtitle: str, why: str) -> Figure:
    """A picture that says why there is nothing to see."""
    figure, axes = new_chart(title, subtitle)
    axes.set_axis_off()
    note(axes, why)
    return figure


def state_of(run: Run) -> str:
    """Variant and mode of a run, and whether it came to its end."""
    told = f"{run.config.variant}, {run.config.mode} · "
    if run.state != "finished":
        return f"{told}not finished, state: {run.state}"
    if run.outcome != "done":
        return f"{told}failed: {shortened(str(run.summary['error']), 90)}"
    return f"{told}makespan {duration(run.summary['makespan_s'])}"


def time_unit(span_s: float) -> tuple[float, str]:
    """Seconds in the unit that suits a span, and its name."""
    for limit_s, seconds, name in ((1.0, 1e-3, "ms"), (600.0, 1.0, "s"), (7200.0, 60.0, "min"), (4e5, 3600.0, "h")):
        if span_s < limit_s:
            return seconds, name
    return 86_400.0, "days"


def duration(seconds: float) -> str:
    """Seconds with three figures, in the unit that suits them: `41.1 s`, `2.35 h`."""
    if seconds == 0.0:
        return "0 s"
    unit_s, name = time_unit(abs(seconds))
    value = seconds / unit_s
    return f"{value:,.0f} {name}" if abs(value) >= 100 else f"{value:.3g} {name}"


def colour_range(values: Floats) -> tuple[float, float]:
    """What a colour scale reaches from and to: all of some values, and a little more if they are equal."""
    least, most = float(np.nanmin(values)), float(np.nanmax(values))
    room = 0.0 if most > least else 0.05 * abs(most) or 0.05
    return least - room, most + room


def spread(places: Floats, gap: float) -> list[int]:
    """Indices of sorted places, as many as fit with at least `gap` between two, the first among them."""
    chosen: list[int] = []
    index = 0
    while index < len(places):
        chosen.append(index)
        index = max(index + 1, int(np.searchsorted(places, places[index] + gap)))
    return chosen


def shortened(text: str, num_characters: int) -> str:
    """One line of text, cut if it is longer."""
    line = " ".join(text.split())
    return line if len(line) <= num_characters else line[: num_characters - 1] + "…"


def _png(figure: Figure) -> bytes:
    buffer = BytesIO()
    with style():
        figure.savefig(buffer, format="png")
    return buffer.getvalue()
