"""Pictures of a fidelity: makespans, stages of each policy, bias of each stage, ranks."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl

from experiments.fidelity.assessing import RANKED
from experiments.fidelity.result import FidelityResult
from experiments.fidelity.verdicts import MAKESPAN_ERROR, MEDIAN_MAKESPAN_ERROR, STAGE_ERROR
from experiments.fidelity.words import figure_name, percent
from experiments.metric_names import figure_text
from experiments.plots.look import Look, looks
from experiments.plots.rows import note_row
from twinclock._chart import (
    BOTTOM,
    FAINT,
    FAULT,
    HEIGHT,
    INK,
    RIGHT,
    TOP,
    WIDTH,
    legend,
    new_figure,
    nothing,
    panel,
    shortened,
    style,
)

if TYPE_CHECKING:
    from matplotlib.artist import Artist
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_ROW = 0.36
"""Inches of a policy, or of a stage."""
_LONGEST = 0.4
"""Error up to which errors are drawn; what is farther off stands at the edge, and says how far."""
_SQUARE = 5.2
_NAMES = 3.4
"""Inches for the names of stages and policies."""
_LONGEST_NAME = 38
_BEFORE_PT = 10.0
"""Points from the axes to the marker of a row, and on to its name."""
_POINTS_PER_INCH = 72.0
_NOTHING = "Nothing to show: no policy has both a real run that is done and a prediction."
_BAND: dict[str, Any] = {"facecolor": "#e4e4e4", "edgecolor": "#b0b0b0", "linewidth": 0.6, "zorder": 0.4}
_WIDER: dict[str, Any] = {"facecolor": "#f3f3f3", "edgecolor": "#c8c8c8", "linewidth": 0.6, "zorder": 0.3}


@dataclass(frozen=True)
class FidelityPlots:
    """The pictures, as matplotlib figures."""

    made: FidelityResult

    def makespans(self) -> Figure:
        """Simulated against real makespan, and each policy's error beside the spread of its repeats."""
        return self._drawn("Makespan: simulated against real", self._frame("figures", "makespan_s"), _makespans)

    def stages(self) -> Figure:
        """The error of each stage's seconds, for each policy; small stages are left out."""
        stages = self.made.assessment.stages.filter(pl.col("verdict") != "small")
        return self._drawn("Error of each stage's seconds, by policy", stages, _stages)

    def bias(self) -> Figure:
        """For each stage the errors of all policies, and their median: what the costs are wrong about everywhere."""
        stages = self.made.assessment.stages.filter(pl.col("verdict") != "small")
        return self._drawn("Bias of each stage: the errors of all policies", stages, _bias)

    def ranks(self) -> Figure:
        """The order of the policies, real and simulated, by each figure that they are ranked by."""
        return self._drawn("Rank of each policy, real and simulated", self.made.assessment.figures, _ranks)

    def _frame(self, name: str, figure: str) -> pl.DataFrame:
        return self.made.table[name].filter(pl.col("figure") == figure)

    def _drawn(
        self, title: str, rows: pl.DataFrame, draw: Callable[[str, str, FidelityResult, pl.DataFrame], Figure]
    ) -> Figure:
        record = self.made.record
        repeats = "1 real run" if record.repeats == 1 else f"{record.repeats} real runs"
        without = [each for each in self.made.assessment.policies["policy"] if each not in set(rows["policy"])]
        lacking = f" · not compared: {', '.join(without)}" if without else ""
        told = f"{record.name}: {repeats} of each policy · grade {self.made.grade}{lacking}"
        with style():
            return nothing(title, told, _NOTHING) if rows.is_empty() else draw(title, told, self.made, rows)


def _makespans(title: str, told: str, made: FidelityResult, rows: pl.DataFrame) -> Figure:
    high = max(_SQUARE, _ROW * rows.height)
    figure = new_figure(title, told, max(HEIGHT - 1.6, TOP + high + BOTTOM))
    square = panel(figure, (1.0, BOTTOM + high - _SQUARE, _SQUARE, _SQUARE))
    begin = 1.0 + _SQUARE + _NAMES
    errors = panel(figure, (begin, BOTTOM, WIDTH - begin - RIGHT + 0.5, high))
    keys: dict[str, Artist] = {}
    look = looks(made.assessment.policies["policy"])
    ends = np.array([0.0, 1.12 * float(rows.select("real", "simulated").to_numpy().max())])
    square.plot(ends, ends, color=INK, linewidth=1.0, zorder=1)
    for bound, band in ((MAKESPAN_ERROR, _WIDER), (MEDIAN_MAKESPAN_ERROR, _BAND)):
        label = f"within ±{bound:.0%}"
        keys[label] = square.fill_between(ends, ends * (1 - bound), ends * (1 + bound), **band)
        errors.axvspan(-bound, bound, **band)
    errors.axvline(0.0, color=INK, linewidth=1.0, zorder=1)
    for place, row in enumerate(rows.iter_rows(named=True)):
        each = look[row["policy"]]
        square.errorbar(row["real"], row["simulated"], xerr=row["spread"], ecolor=FAINT, elinewidth=1.2, capsize=3)
        square.plot(row["real"], row["simulated"], marker=each.marker, color=each.color, markersize=8, linestyle="")
        spread = row["spread"] / row["real"] if row["real"] else 0.0
        bars = errors.barh(place, 2 * spread, 0.55, -spread, facecolor="none", edgecolor=INK, hatch="////", zorder=2)
        keys["spread of the repeats"] = bars.patches[0]
        _point(errors, place, row["error"], {"marker": each.marker, "color": each.color, "markersize": 8})
        _name(errors, place, row["policy"], each)
        note_row(errors, place, f"{percent(row['error'])}, {row['verdict']}")
    square.set(xlim=ends, ylim=ends, xlabel="real makespan (s), median of the repeats", ylabel="simulated makespan (s)")
    errors.set_yticks([])
    errors.set_xlabel("simulated − real, as a share of the real makespan")
    _by_row(errors, rows.height, [*rows["error"].drop_nulls(), MAKESPAN_ERROR * 1.3])
    legend(figure, keys, num_columns=4)
    return figure


def _stages(title: str, told: str, made: FidelityResult, rows: pl.DataFrame) -> Figure:
    from matplotlib import colormaps
    from matplotlib.patches import Rectangle

    policies = rows["policy"].unique(maintain_order=True).to_list()
    stages = _by_size(rows)
    figure = new_figure(title, told, TOP + len(policies) * _ROW + 1.9)
    high, look = len(policies) * _ROW, looks(made.assessment.policies["policy"])
    axes = panel(figure, (_NAMES, figure.get_figheight() - TOP - 0.95 - high, WIDTH - _NAMES - 0.8, high))
    shades = colormaps["RdBu_r"]
    for row in rows.iter_rows(named=True):
        x, y = stages.index(row["stage"]), policies.index(row["policy"])
        error = row["error"]
        shade = 0.5 + 0.3 * float(np.clip((1.0 if error is None else error) / (2 * STAGE_ERROR), -1.0, 1.0))
        is_missed = row["verdict"] in ("near", "missed")
        axes.add_patch(Rectangle((x - 0.5, y - 0.5), 1.0, 1.0, facecolor=shades(shade), edgecolor="white"))
        axes.text(
            x, y, f"{percent(error)}{' tie' if row['verdict'] == 'tie' else ''}", ha="center", va="center", size=9,
            weight="bold" if is_missed else "normal", color=INK,
        )  # fmt: skip
        if is_missed:
            axes.add_patch(Rectangle((x - 0.47, y - 0.42), 0.94, 0.84, fill=False, edgecolor=INK, linewidth=1.2))
    for place, policy in enumerate(policies):
        _name(axes, place, policy, look[policy])
    axes.set(xlim=(-0.5, len(stages) - 0.5), ylim=(len(policies) - 0.5, -0.5), yticks=[])
    axes.set_xticks(range(len(stages)), [_stage_name(stage) for stage in stages], rotation=24, ha="left", size=9)
    axes.tick_params(axis="x", top=False, labeltop=True, bottom=False, labelbottom=False, length=0)
    axes.spines[["left", "bottom"]].set_visible(False)
    below = "Blue: the simulation is too fast, red: too slow. Framed and bold: beyond the target. Empty: a small stage."
    figure.text(_NAMES / WIDTH, 0.35 / figure.get_figheight(), below, size=10.5, color=FAINT)
    return figure


def _bias(title: str, told: str, made: FidelityResult, rows: pl.DataFrame) -> Figure:
    from matplotlib.lines import Line2D

    stages, policies = _by_size(rows), rows["policy"].unique(maintain_order=True).to_list()
    look = looks(made.assessment.policies["policy"])
    num_lines = -(-(len(policies) + 2) // 6)
    bottom = 0.85 + 0.26 * num_lines
    high = max(3.0, 1.3 * _ROW * len(stages))
    figure = new_figure(title, told, TOP + high + bottom)
    axes = panel(figure, (3.6, bottom, WIDTH - 3.6 - RIGHT, high))
    keys: dict[str, Artist] = {f"within ±{STAGE_ERROR:.0%}": axes.axvspan(-STAGE_ERROR, STAGE_ERROR, **_BAND)}
    axes.axvline(0.0, color=INK, linewidth=1.0, zorder=1)
    for place, stage in enumerate(stages):
        own = rows.filter(pl.col("stage") == stage, pl.col("error").is_not_null())
        for number, row in enumerate(own.iter_rows(named=True)):
            each = look[row["policy"]]
            apart = 0.3 * (number / max(own.height - 1, 1) - 0.5)
            mark: dict[str, Any] = {"marker": each.marker, "color": each.color, "markersize": 6.5}
            _point(axes, place + apart, row["error"], mark)
            keys[shortened(row["policy"], 22)] = Line2D([], [], linestyle="", **mark)
        if own.height:
            middle = median(own["error"].to_list())
            axes.vlines(float(np.clip(middle, -_LONGEST, _LONGEST)), place - 0.4, place + 0.4, color=INK, linewidth=2.4)
            note_row(axes, place, f"median {percent(middle)}")
    keys["median of the policies"] = Line2D([], [], color=INK, linewidth=2.4)
    axes.set_yticks(range(len(stages)), [_stage_name(stage) for stage in stages], size=9.5)
    axes.tick_params(axis="y", length=0)
    axes.set_xlabel("simulated − real, as a share of the real seconds")
    _by_row(axes, len(stages), [*rows["error"].drop_nulls(), STAGE_ERROR * 1.3])
    legend(figure, keys, num_columns=6)
    return figure


def _ranks(title: str, told: str, made: FidelityResult, rows: pl.DataFrame) -> Figure:
    policies = made.assessment.policies["policy"].to_list()
    high = max(3.2, _ROW * len(policies))
    figure = new_figure(title, told, TOP + 0.7 + high + 0.8)
    look = looks(policies)
    wide = (WIDTH - 0.8) / len(RANKED)
    taus = {row["figure"]: row for row in made.assessment.rankings.iter_rows(named=True)}
    against = made.assessment.pairs.filter(pl.col("relation") == "discordant")
    for place, name in enumerate(RANKED):
        axes = panel(figure, (0.4 + place * wide + 2.1, 0.8, wide - 2.6, high))
        axes.set_axis_off()
        tau = taus[name]
        swapped = {
            *against.filter(pl.col("figure") == name)["policy"],
            *against.filter(pl.col("figure") == name)["other"],
        }
        figures = rows.filter(pl.col("figure") == name)
        ranks = {side: _rank(figures.select("policy", side).iter_rows()) for side in ("real", "simulated")}
        for policy, (left, value) in ranks["real"].items():
            right, _ = ranks["simulated"][policy]
            each, is_swapped = look[policy], policy in swapped
            axes.plot(
                (0.0, 1.0), (left, right), color=FAULT if is_swapped else each.color, marker=each.marker, markersize=8,
                linestyle="--" if is_swapped else "-", linewidth=2.2 if is_swapped else 1.4, markerfacecolor=each.color,
                markeredgecolor=each.color, clip_on=False,
            )  # fmt: skip
            axes.text(
                -0.07, left, f"{shortened(policy, 17)}  {figure_text(value)}", ha="right", va="center", size=9,
                parse_math=False,
            )  # fmt: skip
        axes.set(xlim=(0.0, 1.0), ylim=(len(policies) - 0.4, -0.6))
        heading = "no pair is farther apart than the spread" if tau["tau"] is None else (
            f"τ = {tau['tau']:.2f} of {tau['counted']} pairs, {tau['left_out']} left out"
        )  # fmt: skip
        for y, text, weight in ((1.13, figure_name(name), "bold"), (1.06, heading, "normal")):
            axes.text(0.5, y, text, transform=axes.transAxes, ha="center", size=10.5, weight=weight, color=INK)
        for x, text in ((0.0, "real"), (1.0, "simulated")):
            axes.text(x, -0.03, text, transform=axes.transAxes, ha="center", va="top", size=9.5, color=FAINT)
    told = "Smallest on top. Red, dashed: one of a pair in the wrong order that is farther apart than the spread."
    figure.text(0.5, 0.3 / figure.get_figheight(), told, ha="center", size=10.5, color=FAINT)
    return figure


def _rank(values: Any) -> dict[str, tuple[int, float]]:
    """Policy → place, the smallest value first, and the value."""
    ordered = sorted(values, key=lambda each: (each[1], each[0]))
    return {policy: (place, value) for place, (policy, value) in enumerate(ordered)}


def _point(axes: Axes, y: float, error: float | None, mark: Mapping[str, Any]) -> None:
    """An error at its place, or at the edge with its number."""
    if error is None:
        return
    drawn = float(np.clip(error, -_LONGEST, _LONGEST))
    axes.plot(drawn, y, linestyle="", zorder=4, clip_on=False, **mark)
    if drawn != error:
        side, offset = ("left", 6) if drawn > 0 else ("right", -6)
        axes.annotate(
            percent(error), (drawn, y), (-offset, 0), textcoords="offset points", size=8.5, va="center",
            ha="right" if side == "left" else "left", color=INK,
        )  # fmt: skip


def _name(axes: Axes, y: float, label: str, look: Look) -> None:
    """The marker and the name of a policy, before the axes at `y`."""
    from matplotlib.transforms import ScaledTranslation

    figure = axes.get_figure(root=True)
    assert figure is not None
    aside = ScaledTranslation(-_BEFORE_PT / _POINTS_PER_INCH, 0.0, figure.dpi_scale_trans)
    axes.plot(
        0.0, y, transform=axes.get_yaxis_transform() + aside, marker=look.marker, color=look.color, markersize=7,
        clip_on=False,
    )  # fmt: skip
    axes.annotate(
        shortened(label, _LONGEST_NAME), (0.0, y), (-2 * _BEFORE_PT, 0.0), xycoords=axes.get_yaxis_transform(),
        textcoords="offset points", ha="right", va="center", size=9.5, parse_math=False, annotation_clip=False,
    )  # fmt: skip


def _by_row(axes: Axes, num_rows: int, errors: Sequence[float]) -> None:
    """Rows from the top, and errors in percent as far as there are any."""
    farthest = min(1.1 * _LONGEST, 1.15 * max(abs(each) for each in errors))
    axes.set_xlim(-farthest, farthest)
    axes.set_ylim(num_rows - 0.4, -0.6)
    axes.xaxis.set_major_formatter(lambda value, _: f"{100 * value:+.0f} %" if abs(value) > 1e-9 else "0")
    axes.grid(axis="x", color="#dddddd", linewidth=0.6)


def _by_size(rows: pl.DataFrame) -> list[str]:
    """Stages by their share of the makespan, the largest first."""
    sized = rows.group_by("stage", maintain_order=True).agg(pl.col("share").max())
    return sized.sort("share", descending=True, maintain_order=True)["stage"].to_list()


def _stage_name(stage: str) -> str:
    return stage.replace("_", " ").lower()
