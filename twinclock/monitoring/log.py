"""The log of a run: one JSON object a line in `log.jsonl`, for people and for whatever collects logs.

Every line has `date` (wall clock, UTC), `clock_s` (the run's clock; null where there is none), `level` and `event`;
what else it has depends on the event. The file is opened for each line, so it may be rotated away at any time.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, TypeAlias

from twinclock.graph import CANCELLED, ERROR_SLOT, TIMEOUT, Json
from twinclock.messages import Command, Ended, Event, Finish, Start, path_text
from twinclock.run_folder import wall_clock_date
from twinclock.stream import ClockTime

LOG = "log.jsonl"
Level: TypeAlias = Literal["info", "warning", "error"]
Fields: TypeAlias = Mapping[str, Json]


class RunLog:
    """Appends lines to the log of a run. That a line can't be written never disturbs the run."""

    def __init__(self, folder: Path) -> None:
        """`folder`: of the run."""
        self._file = folder / LOG
        self._open: dict[int, Start] = {}

    def go_on_from(self, commands: Iterable[Command]) -> None:
        """Stage runs that an earlier process started, and whose ends this one will see."""
        self._open |= {command.id: command for command in commands if isinstance(command, Start)}

    def event(self, now: ClockTime, event: Event, commands: Sequence[Command]) -> None:
        """An event of the run; most are not worth a line."""
        if isinstance(event, Ended):
            start = self._open.pop(event.id, None)
            if start is not None:
                self._ended(now, start, event)
        for command in commands:
            if isinstance(command, Start):
                self._open[command.id] = command
                if command.stage.operation == "WAIT_FOR_TRAINING_COMPLETION":
                    self.note("training started", clock_s=now, **_training(command))
            elif isinstance(command, Finish):
                error = None if command.error is None else command.error.get("message")
                self.note("finished", "info" if error is None else "error", now, outcome=command.outcome, error=error)

    def note(self, event: str, level: Level = "info", clock_s: float | None = None, **fields: Json) -> None:
        """Append a line."""
        line = {"date": wall_clock_date(), "clock_s": clock_s, "level": level, "event": event, **fields}
        with contextlib.suppress(OSError), self._file.open("a", encoding="utf-8") as file:
            file.write(json.dumps(line, default=str) + "\n")  # one write: lines of two processes don't mix

    def _ended(self, now: ClockTime, start: Start, event: Ended) -> None:
        error = event.values.get(ERROR_SLOT)
        if error is not None:
            self._fault(now, start, event.outcome, error)
        told = _TOLD.get((start.stage.operation, event.outcome))
        if told is not None:
            name, fields = told
            self.note(name, clock_s=now, **fields(start, event.values))

    def _fault(self, now: ClockTime, start: Start, outcome: str, error: Mapping[str, Any]) -> None:
        attempt = start.path[3] if start.path is not None else 0
        self.note(
            "timeout" if outcome in (CANCELLED, TIMEOUT) else "fault",
            "warning",
            now,
            stage=start.stage.operation,
            id=path_text(start.path),
            attempt=attempt or 1,
            type=error.get("type"),
            message=error.get("message"),
        )


def read_log(folder: Path, num_last: int) -> list[dict[str, Any]]:
    """The last lines of a run's log, oldest first; a line that is being written is left out."""
    try:
        with (folder / LOG).open("rb") as file:
            size = file.seek(0, 2)
            file.seek(max(0, size - 1000 * num_last))
            lines = file.read().split(b"\n")[:-1]
    except OSError:
        return []
    read: list[dict[str, Any]] = []
    for line in lines[-num_last:]:
        with contextlib.suppress(ValueError):
            read.append(json.loads(line))
    return read


def _training(start: Start) -> dict[str, Json]:
    job = start.inputs["job"]
    return {
        "trigger": job["trigger"],
        "device": list(start.placement.get("device", ())),
        "num_samples": job["training_set"]["num_samples"],
        "start_from": None if job["start_from"] is None else job["start_from"]["trigger"],
    }


def _trained(start: Start, values: Fields) -> dict[str, Json]:
    fit = values["fit"]
    return {"trigger": start.inputs["job"]["trigger"], "loss": fit["loss"], "held_s": fit["held_s"]}


def _fired(start: Start, values: Fields) -> dict[str, Json]:
    trigger, recipe = values["trigger"], values["training_set"]
    return {
        "trigger": trigger["serial"],
        "position": trigger["position"],
        "reason": start.inputs["fire"]["reason"],
        "new_samples": trigger["num_samples"],
        "training_samples": recipe["num_samples"],
    }


def _stored(_start: Start, values: Fields) -> dict[str, Json]:
    model = values["model"]
    return {"model": model["trigger"], "parent": model["parent"], "path": model["path"]}


def _judged(start: Start, values: Fields) -> dict[str, Json]:
    return {"model": start.inputs["model"]["trigger"], "reason": values["verdict"]}


def _evaluated(start: Start, _values: Fields) -> dict[str, Json]:
    job = start.inputs["evaluation_job"]
    return {"model": job["model"], "plan": job["plan"], "intervals": len(job["intervals"])}


_TOLD: Mapping[tuple[str, str], tuple[str, Callable[[Start, Fields], dict[str, Json]]]] = {
    ("INIT_CLUSTER_CONNECTION", "done"): (
        "connected",
        lambda _start, values: {"devices": values["cluster"]["devices"]},
    ),
    ("INFORM_SELECTOR_AND_TRIGGER", "trigger"): ("trigger fired", _fired),
    ("WAIT_FOR_TRAINING_COMPLETION", "trained"): ("training ended", _trained),
    ("STORE_TRAINED_MODEL", "done"): ("model stored", _stored),
    ("ACTIVATE_MODEL", "activated"): ("model activated", _judged),
    ("ACTIVATE_MODEL", "rejected"): ("model rejected", _judged),
    ("STORE_EVALUATION_RESULTS", "done"): ("evaluation stored", _evaluated),
}
"""(Operation, outcome) → what the log calls it, and what it says of it."""
