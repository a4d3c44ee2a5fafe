"""A replay as text: for a terminal, a pipe or a notebook."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from rich.text import Text

from sim.replay.comparison import TOLERANCE, Replay
from twinclock.notebook_html import html_box, html_lines, html_row, html_table
from twinclock.show import plain_text

_SHOWN = 10
"""Problems that are told."""


def show_replay(replay: Replay, console: Console) -> None:
    """Print a replay: how far it is off, then the first problems, then what that comes to."""
    title = Text(f"{replay.run.name}, replayed", style="bold")
    table = Table(title=title, title_justify="left", box=SIMPLE_HEAD, pad_edge=False)
    table.add_column("figure", no_wrap=True)
    for name in ("run", "replay", "difference"):
        table.add_column(name, justify="right", overflow="fold")
    for cells in _rows(replay):
        table.add_row(*map(Text, cells))
    console.print(table)
    for line in _lines(replay):
        console.print(Text(line))


def replay_text(replay: Replay) -> str:
    """What `show_replay` prints, as plain text."""
    return plain_text(partial(show_replay, replay))


def replay_html(replay: Replay) -> str:
    """A small table for a notebook; it takes its colours from the page."""
    rows = map(html_row, (("", "run", "replay", "difference"), *_rows(replay)))
    return html_box(f"{replay.run.name}, replayed", html_table(*rows), html_lines(_lines(replay)))


def _rows(replay: Replay) -> Iterator[tuple[str, str, str, str]]:
    real, replayed = (replay.stage_runs[name].drop_nulls().len() for name in ("outcome", "outcome_replayed"))
    yield "stage runs", f"{real:,}", f"{replayed:,}", _count(replayed - real)
    positions, others = replay.positions, replay.replayed_positions
    is_same = "same" if positions == others else "other positions"
    yield "trigger positions", f"{len(positions):,}", f"{len(others):,}", is_same
    makespan_s, off_s = replay.makespan_s, replay.replayed_makespan_s - replay.makespan_s
    yield "makespan", f"{makespan_s:,.6f} s", f"{replay.replayed_makespan_s:,.6f} s", _seconds(off_s)
    yield "  in %", "", "", f"{replay.makespan_off:+.4%}"
    yield "starts and ends, median", "", "", _seconds(replay.median_off_s)
    yield "  largest", "", "", _seconds(replay.largest_off_s)


def _lines(replay: Replay) -> Iterator[str]:
    if replay.from_s > 0.0:
        yield f"replayed from {replay.from_s:,.3f} s on: the journal has a snapshot in place of what was before"
    for problem in replay.problems[:_SHOWN]:
        yield f"{problem.at_s:,.6f} s: {problem.id} {problem.what}"
    if (more := len(replay.problems) - _SHOWN) > 0:
        yield f"and {more:,} more"
    if not replay.is_same:
        yield "the control flow is not that of the run"
    elif not replay.is_within:
        yield f"the control flow is that of the run, but the makespan is off by more than {TOLERANCE:.0%}"
    else:
        exactly = "exactly" if replay.is_exact else "nearly"
        yield f"the control flow is that of the run, and its clock is reproduced {exactly}"


def _count(difference: int) -> str:
    return "0" if difference == 0 else f"{difference:+,}"


def _seconds(seconds: float) -> str:
    return "0 s" if seconds == 0.0 else f"{seconds:.3g} s"
