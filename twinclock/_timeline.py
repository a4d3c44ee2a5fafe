"""The timeline of a run: what each device and each kind of stage did, by the executor's clock.

Lanes from top to bottom: triggers, devices, stages, faults. A lane of single intervals shows each; one
where several go on at once shows how many, by height; one of more intervals than a picture can hold
shows which share of the time they take, by height as well.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
import polars as pl

from twinclock._chart import (
    BOTTOM,
    FAINT,
    FAULT,
    HEIGHT,
    INK,
    PAINTS,
    TOP,
    chart_width_px,
    duration,
    legend,
    new_chart,
    note,
    patch,
    spread,
    state_of,
    time_unit,
)
from twinclock._lanes import (
    DeviceLane,
    Floats,
    Spans,
    StageLane,
    at_once,
    device_lanes,
    in_one,
    mean_at_once,
    merged,
    stage_lanes,
)
from twinclock.result import Run

if TYPE_CHECKING:
    from matplotlib.artist import Artist
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_MAX_BARS = 600
"""Intervals of a lane that are drawn one by one."""
_NUM_BINS = 600
_MAX_DEVICES = 64
_MAX_LINES = 60
"""Triggers up to which their times are marked across all lanes."""
_BAR = 0.8
"""Height of a lane's content; lanes are 1 high."""
_DIGIT_PX = 8.5
_NARROW_PX = 2.0
_MIN_LANES = 7.0


@dataclass
class _Chart:
    axes: Axes
    unit_s: float
    span_s: float
    row: float = 0.0
    rows: list[tuple[float, str]] = field(default_factory=list)
    keys: dict[str, Artist] = field(default_factory=dict)
    """Label in the legend → what it stands for."""
    coarse: list[str] = field(default_factory=list)
    """Lanes that show means."""

    def next_row(self, name: str, remark: str) -> float:
        """A new lane below the last; the y of its content's lower end (y grows downwards)."""
        bottom = self.row + (1 + _BAR) / 2
        self.rows.append((self.row + 0.5, name))
        self.axes.text(
            1.008, self.row + 0.5, remark, transform=self.axes.get_yaxis_transform(), va="center", size=9.5, color=FAINT
        )
        self.row += 1
        return bottom

    def px(self, seconds: Floats) -> Floats:
        """Clock seconds as pixels."""
        return seconds / self.span_s * chart_width_px()


def draw_timeline(run: Run) -> Figure:
    """The picture; a run without any stage run gives one that says so."""
    devices, stages = device_lanes(run.tables), stage_lanes(run.tables)
    num_lanes = 4 + len(stages) + (len(devices) if len(devices) <= _MAX_DEVICES else 1)
    figure, axes = new_chart(run.name, _subtitle(run), height=max(HEIGHT, BOTTOM + TOP + 0.32 * num_lanes))
    if run.stage_runs.is_empty():
        axes.set_axis_off()
        note(axes, f"Nothing to show: no stage run has ended ({state_of(run)}).")
        return figure
    span_s = max(run.summary["makespan_s"] or 0.0, float(run.stage_runs["ended_s"].to_numpy().max())) or 1.0
    unit_s, unit = time_unit(span_s)
    chart = _Chart(axes, unit_s, span_s)
    _triggers(chart, run)
    chart.row += 0.3
    _devices(chart, devices, run.config.cluster.num_devices)
    chart.row += 0.3
    axes.axhline(chart.row - 0.15, color=FAINT, linewidth=0.8)
    for lane in stages:
        _stage_lane(chart, lane)
    _faults(chart, run.faults)
    axes.set_xlim(0.0, span_s / unit_s)
    axes.set_ylim(max(chart.row, _MIN_LANES), 0.0)
    axes.set_yticks([y for y, _ in chart.rows], [name for _, name in chart.rows])
    axes.tick_params(axis="y", length=0)
    axes.set_xlabel(f"clock time since the run's start ({unit})")
    if chart.coarse:
        remark = f"too many to tell apart, the height shows their mean: {'; '.join(chart.coarse)}"
        below = -0.6 / (figure.get_figheight() - TOP - BOTTOM)
        axes.text(1.0, below, remark, transform=axes.transAxes, ha="right", size=9.5, color=FAINT, parse_math=False)
    legend(figure, chart.keys, num_columns=6)
    return figure


def _subtitle(run: Run) -> str:
    summary = run.summary
    counts = [f"{summary[what]} {what}" for what in ("triggers", "trainings", "models", "evaluations")]
    lost = [f"{summary[f'{how}_trainings']} trainings {how}" for how in ("stopped", "failed")]
    told = ", ".join([*counts, *(text for text in lost if not text.startswith("0 "))])
    return f"{state_of(run)} · {told}"


def _triggers(chart: _Chart, run: Run) -> None:
    from matplotlib.lines import Line2D

    triggers = run.triggers.sort("fired_s")
    dropped = run.decisions.filter(pl.col("verdict") == "dropped")["decided_s"].sort().to_numpy()
    num_coalesced = run.decisions.filter(pl.col("verdict") == "coalesced").height
    counts = {f"{len(dropped)} dropped": len(dropped), f"{num_coalesced} coalesced": num_coalesced}
    remark = ", ".join([f"{triggers.height} fired", *(text for text, number in counts.items() if number)])
    bottom = chart.next_row("triggers", remark)
    if triggers.is_empty():
        _say(chart, bottom, "no trigger fired")
    for empty, label, color in ((False, "trigger", INK), (True, "trigger without samples", "#aaaaaa")):
        part = triggers.filter((pl.col("num_samples") == 0) == empty)
        fired_s = part["fired_s"].to_numpy()
        if not len(fired_s):
            continue
        # as many as there are places for one: a line more on the same pixel is not seen
        seen = fired_s[spread(chart.px(fired_s), 0.5)] / chart.unit_s
        chart.axes.vlines(seen, bottom - 0.45, bottom, color=color, linewidth=1.0 if empty else 1.3)
        chart.keys[label] = Line2D([], [], color=color, marker="|", linestyle="none", markersize=12)
        if not empty and len(seen) <= _MAX_LINES:
            chart.axes.vlines(seen, bottom, 1e3, color="#999999", linewidth=0.7, linestyle=(0, (1, 3)), zorder=0.5)
        if not empty:
            for at_s, label in _trigger_labels(chart, fired_s, part["trigger"].to_list()):
                place = (at_s / chart.unit_s, bottom - 0.5)
                chart.axes.text(*place, label, size=9, ha="center", va="bottom", color=INK)
    _marks(chart, bottom - 0.1, dropped, "trigger dropped", "x", 4)


def _trigger_labels(chart: _Chart, fired_s: Floats, serials: Sequence[int]) -> Iterator[tuple[float, str]]:
    """Where to write which serials: as many as there is room for; those that fired all but at once as a range."""
    places = chart.px(fired_s)
    gap = _DIGIT_PX * (1 + len(str(serials[-1])))
    chosen = spread(places, gap)
    for index, following in zip(chosen, [*chosen[1:], len(places)], strict=True):
        last = following - 1
        at_once = last > index and places[last] - places[index] <= 2 * _NARROW_PX
        if at_once and (following == len(places) or places[following] - places[index] > 2 * gap):
            yield fired_s[index], f"{serials[index]}–{serials[last]}"
        else:
            yield fired_s[index], str(serials[index])


def _devices(chart: _Chart, lanes: Sequence[DeviceLane], num_devices: int) -> None:
    if len(lanes) > _MAX_DEVICES:
        together = in_one(lanes)
        held_s = sum(spans.total_s for spans in together.values())
        bottom = chart.next_row(f"{len(lanes)} devices", f"{held_s / chart.span_s / len(lanes):.0%} held")
        _shares(chart, bottom, together, len(lanes))
    for lane in lanes if len(lanes) <= _MAX_DEVICES else ():
        held_s = sum(spans.total_s for spans in lane.work.values())
        bottom = chart.next_row(_short_unit(lane.unit), f"{duration(held_s)} held, {held_s / chart.span_s:.0%}")
        if sum(len(spans.starts) for spans in lane.work.values()) > _MAX_BARS:
            _shares(chart, bottom, lane.work, 1)
            continue
        for kind, spans in lane.work.items():
            _bars(chart, bottom, spans, kind)
            _bar_labels(chart, bottom, spans, lane.labels[kind], kind)
    num_idle = num_devices - len(lanes)
    if num_idle > 0:
        name = "devices" if not lanes else "other device" if num_idle == 1 else f"{num_idle} others"
        bottom = chart.next_row(name, "0 s held, 0%")
        _say(chart, bottom, "no device was used" if not lanes else "never used")


def _shares(chart: _Chart, bottom: float, work: Mapping[str, Spans], num_devices: int) -> None:
    """Which share of the time was spent on what, one kind of work on top of the other."""
    chart.coarse.append(chart.rows[-1][1])
    edges = np.linspace(0.0, chart.span_s, _NUM_BINS + 1)
    base = np.zeros(_NUM_BINS)
    for kind, spans in work.items():
        top = base + mean_at_once(spans, edges) / num_devices
        _area(chart, bottom, edges, top, kind, base)
        base = top


def _say(chart: _Chart, bottom: float, text: str) -> None:
    """Words in a lane that has nothing else."""
    chart.axes.text(0.01 * chart.span_s / chart.unit_s, bottom - _BAR / 2, text, va="center", color=FAINT)


def _stage_lane(chart: _Chart, lane: StageLane) -> None:
    edges, counts = at_once(lane.spans)
    most = int(counts.max(initial=1.0))
    if lane.kind == "queue":
        bottom = chart.next_row(lane.name, f"{duration(lane.spans.total_s)}, at most {most}")
        _heights(chart, bottom, lane.spans, lane.kind, most)
        return
    several = f", at most {most}" if most > 1 else f", {lane.spans.covered_s / chart.span_s:.0%}"
    bottom = chart.next_row(lane.name, f"{duration(lane.spans.total_s)}{several}")
    if most == 1 and len(edges) <= 2 * _MAX_BARS:
        _bars(chart, bottom, merged(lane.spans), lane.kind)
    else:
        _heights(chart, bottom, lane.spans, lane.kind, most)


def _heights(chart: _Chart, bottom: float, spans: Spans, kind: str, most: int) -> None:
    """How many at once; exactly, or where there are too many changes for that the mean of each bin."""
    edges, counts = at_once(spans)
    if len(edges) > 2 * _MAX_BARS:
        chart.coarse.append(chart.rows[-1][1])
        edges = np.linspace(0.0, chart.span_s, _NUM_BINS + 1)
        counts = mean_at_once(spans, edges)
    if len(counts):
        _area(chart, bottom, edges, counts / most, kind, np.zeros(len(counts)))


def _area(chart: _Chart, bottom: float, edges: Floats, heights: Floats, kind: str, base: Floats) -> None:
    paint = PAINTS[kind]
    # where there is nothing there is no outline either
    tops = np.where(heights > base, bottom - _BAR * heights, np.nan)
    chart.axes.stairs(
        tops, edges / chart.unit_s, baseline=bottom - _BAR * base, fill=True,
        facecolor=paint.fill, edgecolor=paint.edge, hatch=paint.hatch, linewidth=0.6, zorder=2,
    )  # fmt: skip
    _key(chart, kind)


def _bars(chart: _Chart, bottom: float, spans: Spans, kind: str) -> None:
    paint = PAINTS[kind]
    ranges = np.column_stack([spans.starts, spans.ends - spans.starts]) / chart.unit_s
    wide = chart.px(spans.ends - spans.starts)
    # the narrower a bar, the finer its outline; of the narrowest no more than the outline is seen
    outlines = np.clip((wide - _NARROW_PX) * 0.06, 0.1, 0.6)
    outlines[wide < _NARROW_PX] = 0.6
    for which, edge, hatch in ((wide < _NARROW_PX, paint.solid, None), (wide >= _NARROW_PX, paint.edge, paint.hatch)):
        chart.axes.broken_barh(
            [(start, length) for start, length in ranges[which].tolist()], (bottom - _BAR, _BAR),
            facecolor=paint.fill, edgecolor=edge, hatch=hatch, linewidth=outlines[which].tolist(), zorder=2, snap=False,
        )  # fmt: skip
    _key(chart, kind)


def _bar_labels(chart: _Chart, bottom: float, spans: Spans, labels: Sequence[int | None], kind: str) -> None:
    from matplotlib.patheffects import withStroke

    paint = PAINTS[kind]
    wide = chart.px(spans.ends - spans.starts)
    for start, end, label, width in zip(spans.starts, spans.ends, labels, wide, strict=True):
        if label is not None and width >= _DIGIT_PX * (len(str(label)) + 0.5):
            chart.axes.text(
                (start + end) / 2 / chart.unit_s, bottom - _BAR / 2, str(label), ha="center", va="center", size=10,
                color=paint.ink, zorder=3, path_effects=[withStroke(linewidth=3, foreground=paint.fill)],
            )  # fmt: skip


def _faults(chart: _Chart, faults: pl.DataFrame) -> None:
    if not faults.is_empty():
        bottom = chart.next_row("faults", f"{faults.height} in all")
        _marks(chart, bottom - _BAR / 2, faults["at_s"].sort().to_numpy(), "fault", "X", 8)


def _marks(chart: _Chart, y: float, at_s: Floats, label: str, marker: str, size: float) -> None:
    from matplotlib.lines import Line2D

    if len(at_s):
        seen = at_s[spread(chart.px(at_s), size + 1)] / chart.unit_s
        line = Line2D(seen, np.full(len(seen), y), color=FAULT, marker=marker, linestyle="none", markersize=size)
        chart.keys[label] = chart.axes.add_line(line)


def _key(chart: _Chart, kind: str) -> None:
    """An entry in the legend, for what the lane's name does not say."""
    if kind in ("training", "evaluation", "lost", "queue", "other"):
        chart.keys.setdefault(PAINTS[kind].label, patch(PAINTS[kind]))


def _short_unit(unit: str) -> str:
    return unit if len(unit) <= 18 else "…" + unit[-17:]
