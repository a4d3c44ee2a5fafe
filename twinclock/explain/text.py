"""Why a run took as long as it did, as text for a terminal."""

from __future__ import annotations

import polars as pl
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from rich.text import Text

from twinclock._chart import duration
from twinclock.explain.critical import critical_path
from twinclock.explain.whatif import WhatIf
from twinclock.result import Run
from twinclock.show import compare_runs

_MOST = 3
"""Parts of a critical path that its line names."""
_CAUSES = 12
"""Causes that are shown one by one."""


def critical_line(run: Run) -> str:
    """What most of a finished run's critical path was spent on, in one line."""
    path = critical_path(run)
    spent = (
        path.group_by("stage", "doing", "held_for")
        .agg((pl.col("end_s") - pl.col("begin_s")).sum().alias("seconds"))
        .sort(["seconds", "stage", "doing", "held_for"], descending=[True, False, False, False])
    )
    total_s = float(run.header["makespan_s"])
    if spent.is_empty() or not total_s > 0.0:
        return "critical path: nothing on it takes time"
    parts = [
        f"{seconds / total_s:.0%} {stage} {'' if doing == 'working' else 'waiting for '}{doing_text(doing, held_for)}"
        for stage, doing, held_for, seconds in spent.head(_MOST).iter_rows()
        if seconds >= 0.005 * total_s
    ]
    return f"critical path ({duration(total_s)}): {', '.join(parts)}"


def show_whatif(made: WhatIf, console: Console) -> None:
    """Print both runs side by side, and where on the critical path their makespans differ."""
    compare_runs([made.unchanged, made.changed], console, ["unchanged", "changed"])
    console.print(Text(f"changed: {', '.join(made.overrides)}"))
    if made.unchanged.config.seed != made.changed.config.seed:
        console.print(Text("the seeds differ, so part of the difference is luck"))
    causes = made.causes
    if causes.is_empty():
        console.print(Text("the critical paths take the same time, stage by stage"))
        return
    table = Table(
        title=Text("where the makespans differ, along the critical paths", style="bold"),
        title_justify="left", box=SIMPLE_HEAD, pad_edge=False,
    )  # fmt: skip
    table.add_column("stage", no_wrap=True)
    table.add_column("working, or waits for", overflow="fold")
    for name in ("unchanged", "changed", "difference"):
        table.add_column(name, justify="right", no_wrap=True)
    shown, others = causes.head(_CAUSES), causes.slice(_CAUSES)
    for stage, doing, held_for, *seconds in shown.iter_rows():
        table.add_row(*_row(stage, doing_text(doing, held_for), seconds))
    if others.height:
        sums = others.select(pl.col("unchanged_s", "changed_s", "difference_s").sum()).row(0)
        table.add_row(*_row(f"{others.height} others", "", sums))
    table.add_section()
    total_s = [float(run.header["makespan_s"]) for run in (made.unchanged, made.changed)]
    table.add_row(*_row("makespan", "", (*total_s, total_s[1] - total_s[0])))
    console.print(table)


def doing_text(doing: str, held_for: str | None) -> str:
    """What a segment of the critical path is, for people: `working`, or what is waited for, as `device of training`."""
    what = doing.replace("_", " ")
    return what if held_for is None else f"{what} of {held_for}"


def _row(stage: str, what: str, seconds: list[float] | tuple[float, ...]) -> list[Text]:
    unchanged_s, changed_s, difference_s = seconds
    sign = "+" if difference_s > 0 else ""
    return [
        Text(each) for each in (stage, what, duration(unchanged_s), duration(changed_s), sign + duration(difference_s))
    ]
