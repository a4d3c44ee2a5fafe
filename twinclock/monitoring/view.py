"""The live view of a run: what its status file, its header and its log say, drawn for a terminal."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.table import Table
from rich.text import Text

from twinclock._chart import duration
from twinclock.errors import RunError
from twinclock.monitoring.log import LOG, read_log
from twinclock.monitoring.status import HEARTBEAT_S, STATUS, read_status
from twinclock.run_folder import read_header, wall_clock_date

_LOOK_EVERY_S = 0.5
_LOG_LINES = 8
_SILENT_S = 3 * HEARTBEAT_S
_NOT_TOLD = ("date", "clock_s", "level", "event")


def watch(folder: Path, console: Console) -> None:
    """Show a run until it no longer runs; where there is no terminal, once.

    RunError if there is no such run, or if it keeps no status (a simulated one).
    """
    header = read_header(folder)
    if header["state"] == "finished" or not console.is_terminal:
        console.print(_drawn(folder, header))
        return
    with Live(_drawn(folder, header), console=console, auto_refresh=False) as live:
        while header["state"] == "running":
            time.sleep(_LOOK_EVERY_S)
            header = read_header(folder)
            live.update(_drawn(folder, header), refresh=True)


def _drawn(folder: Path, header: Mapping[str, Any]) -> RenderableType:
    status = read_status(folder)
    if status is None:
        if (folder / LOG).exists():
            return Text(f"{folder}: no {STATUS} yet")
        raise RunError(f"{folder}: no {STATUS} here; a run on {header['executor']!r} can't be watched, only shown")
    age_s = _age_s(status["written"]) if header["state"] == "running" else 0.0
    now_s = status["clock_s"] + age_s
    return Group(
        _head(folder, header, age_s, now_s),
        _stages(status["stages"], now_s),
        _devices(header.get("devices", ()), status, now_s),
        *_lines(status, now_s),
        _log(read_log(folder, _LOG_LINES)),
    )


def _age_s(written: str) -> float:
    """Seconds by the wall's clock since a date; clocks of two machines may differ, but time does not run back."""
    return max(0.0, (datetime.fromisoformat(wall_clock_date()) - datetime.fromisoformat(written)).total_seconds())


def _head(folder: Path, header: Mapping[str, Any], age_s: float, now_s: float) -> Text:
    state, told = str(header["state"]), f"clock {_for(now_s)}"
    if state == "running" and age_s > _SILENT_S:
        told = f"no sign of life for {_for(age_s)}; if it was killed: twinclock resume {folder}"
    elif state in ("suspended", "crashed"):
        told = f"go on with: twinclock resume {folder}"
    elif state == "finished":
        told = f"{header.get('outcome')}, makespan {duration(header.get('makespan_s') or now_s)}"
    error = f"  {header['error']}" if header.get("error") else ""
    return Text(f"{header.get('name')} on {header['executor']}: {state}, {told}{error}", style="bold")


def _stages(stages: Sequence[Mapping[str, Any]], now_s: float) -> Table:
    table = _table("active stage", "trigger", "devices", "for")
    for each in stages:
        table.add_row(each["stage"], _text(each["trigger"]), ", ".join(each["devices"]), _for(now_s - each["since_s"]))
    return table


def _devices(names: Sequence[str], status: Mapping[str, Any], now_s: float) -> Table:
    """Who has which device, how far it is, and how much of the time since the run went on the device was held."""
    table = _table("device", "held by", "for", "done", "in use")
    held = {each["device"]: each for each in status["devices"]}
    elapsed_s = now_s - status["from_s"]
    for name in dict.fromkeys([*names, *held]):
        holder = held.get(name)
        busy_s = status["busy_s"].get(name, 0.0) + (0.0 if holder is None else now_s - holder["since_s"])
        use = f"{min(1.0, busy_s / elapsed_s):.0%}" if elapsed_s > 0 else ""
        if holder is None:
            table.add_row(name, "idle", "", "", use)
        else:
            done = "" if holder["done"] is None else f"{holder['done']:.0%}"
            table.add_row(name, _short(holder["holder"]), _for(now_s - holder["since_s"]), done, use)
    return table


def _lines(status: Mapping[str, Any], now_s: float) -> list[Text]:
    queues = Counter(str(each["queue"]) for each in status["waiting"])
    waiting = ", ".join(f"{number} {queue}" for queue, number in sorted(queues.items()))
    come = "" if status["samples_waiting"] is None else f", {max(0, status['samples_waiting']):,} have come and wait"
    lines = [f"backlog: {status['samples_taken']:,} samples taken{come}; waiting for a device: {waiting or 'nothing'}"]
    trigger = status["last_trigger"]
    if trigger is not None:
        ago = _for(now_s - trigger["fired_s"])
        why = f" ({trigger['reason']})" if trigger["reason"] else ""
        lines.append(f"last trigger: {trigger['trigger']} at position {trigger['position']:,}{why}, {ago} ago")
    if status["active_model"] is not None:
        lines.append(f"active model: that of trigger {status['active_model']}")
    scores = [
        f"{each['metric']} {each['value']:.4g} (model {each['model']}, {_for(now_s - each['at_s'])} ago)"
        for each in status["scores"]
        if each["value"] is not None
    ]
    if scores:
        lines.append(f"last scores: {', '.join(scores)}")
    return [Text(line) for line in lines]


def _log(lines: Sequence[Mapping[str, Any]]) -> Text:
    """The last lines of the log, each cut to the width of the terminal."""
    told = [
        f"{str(line.get('date', ''))[11:19]}  {line.get('event', '')}: "
        + ", ".join(f"{name} {_text(value)}" for name, value in line.items() if name not in _NOT_TOLD and _text(value))
        for line in lines
    ]
    return Text("\n".join(["", *told]), no_wrap=True, overflow="ellipsis")


def _table(*columns: str) -> Table:
    table = Table(box=SIMPLE_HEAD, pad_edge=False)
    for column in columns:
        table.add_column(column, no_wrap=True, overflow="ellipsis")
    return table


def _short(path: str) -> str:
    """The last two steps of a path, which say what it is; the whole is in the log."""
    return "/".join(path.split("/")[-2:])


def _text(value: object) -> str:
    if isinstance(value, list):
        return " ".join(map(_text, value))
    if isinstance(value, float):
        return f"{value:.4g}"
    return "" if value is None else str(value)


def _for(seconds: float) -> str:
    """A time that has passed, no finer than such a view can tell."""
    return duration(max(0.0, round(seconds, 1 if seconds < 10.0 else 0)))
