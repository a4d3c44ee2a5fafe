"""The status of a run in progress, as a file that is replaced about once a second: `status.json`.

It says only what is so now: which stages are active, who has which device, who waits, what came last. A run that
goes on after a crash knows all of it again as soon as something has happened.
"""

from __future__ import annotations

import contextlib
import json
import os
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from twinclock.graph import Json
from twinclock.messages import Acquire, Command, Ended, Event, Granted, Placement, Release, Start, path_text
from twinclock.run_folder import wall_clock_date
from twinclock.stream import ClockTime

STATUS = "status.json"
EVERY_S = 1.0
"""Seconds between two files, if something has happened."""
HEARTBEAT_S = 10.0
"""Seconds after which it is written even if nothing has."""


class Status:
    """What is so now, kept up to date event by event."""

    def __init__(self, samples_waiting: Callable[[int, ClockTime], int | None]) -> None:
        """`samples_waiting`: how many samples have come and were not taken, from the first one not taken and the clock;
        None: that can't be said."""
        self._samples_waiting = samples_waiting
        self._now = ClockTime(0.0)
        self._open: dict[int, tuple[Start, float]] = {}
        self._waiting: dict[int, tuple[Acquire, float]] = {}
        self._held: dict[int, tuple[Placement, str, float]] = {}
        self._from = ClockTime(0.0)
        self._busy_s: dict[str, float] = {}
        """Device → seconds for which it was held since this process began, up to the last release."""
        self._progress: dict[str, float] = {}
        self._position = 0
        self._last_trigger: Json = None
        self._active_model: Json = None
        self._scores: dict[str, Json] = {}

    def go_on_from(
        self, now: ClockTime, held: Iterable[tuple[Acquire, Placement]], commands: Iterable[Command]
    ) -> None:
        """What an earlier process left open."""
        self._now = self._from = now
        for request, placement in held:
            self._held[request.id] = (placement, path_text(request.path), now)
        self._commanded(now, commands)

    def event(self, now: ClockTime, event: Event, commands: Sequence[Command]) -> None:
        """Something has happened."""
        self._now = now
        if isinstance(event, Ended):
            opened = self._open.pop(event.id, None)
            if opened is not None:
                self._ended(now, opened[0], event)
        elif isinstance(event, Granted):
            waited = self._waiting.pop(event.id, None)
            if waited is not None:
                self._held[event.id] = (event.placement, path_text(waited[0].path), now)
        self._commanded(now, commands)

    def training(self, device: str, done: float) -> None:
        """A training on this device has come so far."""
        self._progress[device] = done

    def told(self) -> dict[str, Json]:
        """All of it as JSON values."""
        return {
            "clock_s": self._now,
            "from_s": self._from,
            "busy_s": self._busy_s,
            "stages": [
                {
                    "stage": start.stage.operation,
                    "id": path_text(start.path),
                    "trigger": _label(start, "trigger"),
                    "devices": list(start.placement.get("device", ())),
                    "since_s": since_s,
                }
                for start, since_s in self._open.values()
            ],
            "devices": [
                {"device": unit, "holder": holder, "since_s": since_s, "done": self._progress.get(unit)}
                for placement, holder, since_s in self._held.values()
                for unit in placement.get("device", ())
            ],
            "waiting": [
                {"queue": request.queue, "id": path_text(request.path), "since_s": since_s}
                for request, since_s in self._waiting.values()
                if "device" in request.needs
            ],
            "samples_taken": self._position,
            "samples_waiting": self._samples_waiting(self._position, self._now),
            "last_trigger": self._last_trigger,
            "active_model": self._active_model,
            "scores": list(self._scores.values()),
        }

    def _commanded(self, now: ClockTime, commands: Iterable[Command]) -> None:
        for command in commands:
            if isinstance(command, Start):
                self._open[command.id] = (command, now)
                batch = command.labels.get("batch")
                if batch is not None:
                    self._position = max(self._position, batch["stop"])
                if self._active_model is None and command.registers.get("active_model") is not None:
                    self._active_model = command.registers["active_model"]["trigger"]
            elif isinstance(command, Acquire):
                self._waiting[command.id] = (command, now)
            elif isinstance(command, Release):
                self._waiting.pop(command.id, None)
                released = self._held.pop(command.id, None)
                if released is not None:
                    self._released(now, *released)

    def _released(self, now: ClockTime, placement: Placement, _holder: str, since_s: float) -> None:
        for unit in placement.get("device", ()):
            self._progress.pop(unit, None)
            self._busy_s[unit] = self._busy_s.get(unit, 0.0) + now - since_s

    def _ended(self, now: ClockTime, start: Start, event: Ended) -> None:
        values = event.values
        match start.stage.operation, event.outcome:
            case "INFORM_SELECTOR_AND_TRIGGER", "trigger":
                trigger = values["trigger"]
                self._last_trigger = {
                    "trigger": trigger["serial"],
                    "position": trigger["position"],
                    "reason": start.inputs["fire"]["reason"],
                    "fired_s": now,
                }
            case "STORE_EVALUATION_RESULTS", "done":
                for score in start.inputs["scores"]:
                    told = {"metric": score["metric"], "value": score["value"], "model": score["model"], "at_s": now}
                    self._scores[score["metric"]] = told
        active = values.get("active_model")
        if active is not None:
            self._active_model = active["trigger"]


class StatusFile:
    """Keeps `status.json` in a run's folder up to date, from a thread of its own. Never disturbs the run."""

    def __init__(self, folder: Path, status: Status) -> None:
        self._file = folder / STATUS
        self._status = status
        self._lock = threading.Lock()
        self._changed, self._over = threading.Event(), threading.Event()
        self._thread = threading.Thread(target=self._write_now_and_then, name="status", daemon=True)
        self._thread.start()

    def event(self, now: ClockTime, event: Event, commands: Sequence[Command]) -> None:
        """Something has happened."""
        with self._lock:
            self._status.event(now, event, commands)
        self._changed.set()

    def training(self, device: str, done: float) -> None:
        """A training on this device has come so far."""
        with self._lock:
            self._status.training(device, done)
        self._changed.set()

    def close(self) -> None:
        """Write it for the last time."""
        self._over.set()
        self._changed.set()
        self._thread.join()
        self._write()

    def _write_now_and_then(self) -> None:
        while not self._over.is_set():
            self._write()
            self._over.wait(EVERY_S)
            self._changed.wait(HEARTBEAT_S)
            self._changed.clear()

    def _write(self) -> None:
        with self._lock:
            told = {"written": wall_clock_date(), **self._status.told()}
        unfinished = self._file.with_name(f"{STATUS}.tmp")
        with contextlib.suppress(OSError):
            unfinished.write_text(json.dumps(told), encoding="utf-8")
            os.replace(unfinished, self._file)


def read_status(folder: Path) -> dict[str, Any] | None:
    """What the file says; None if there is none (yet)."""
    try:
        read = json.loads((folder / STATUS).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return read if isinstance(read, dict) else None


def _label(start: Start, name: str) -> int | None:
    labelled: Mapping[str, Any] | None = start.labels.get(name)
    return None if labelled is None else labelled["serial"]
