"""What a run leaves behind while it goes on: its journal, its tables, and what whoever watches is told."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import polars as pl

from twinclock.graph import Json
from twinclock.journal import Journal
from twinclock.lateness import handover
from twinclock.machine import Machine
from twinclock.messages import Command, Event
from twinclock.records import Recorder
from twinclock.run_folder import RunFolder
from twinclock.stream import ClockTime, Stream
from twinclock.watch import Watcher

_STAGE_RUNS_A_PART = 20_000
"""Stage runs that gather before they become a part of the tables: columns take a third of the memory of rows."""
_EVENTS_A_SNAPSHOT = 10_000
"""Events of a journaled run between snapshots: a second of a resume, and at 30 ms a snapshot 3 µs of each event."""
_QUIET = 16
"""Nodes open at a quiet point: the way to a stage is 8 deep, and that to a training beside it 6."""


class Journaled(NamedTuple):
    """What makes a run one that can be resumed: its journal, and the machine of which snapshots go there."""

    journal: Journal
    machine: Machine


class RunObserver:
    """Journal first, then the tables, then whoever wants to watch."""

    def __init__(
        self,
        stream: Stream,
        folder: RunFolder | None,
        journaled: Journaled | None,
        watcher: Watcher,
        events_a_snapshot: int = _EVENTS_A_SNAPSHOT,
    ) -> None:
        """`folder`: None for a run that is kept in memory; `journaled`: None for one that can't be resumed."""
        self.recorder = Recorder(stream.timestamp, handover(stream).num_quarantined)
        self._folder = folder
        self._journaled = journaled
        self._parts: list[dict[str, pl.DataFrame]] = []
        self._events_a_snapshot = events_a_snapshot
        self._events_to_part = _STAGE_RUNS_A_PART if journaled is None else events_a_snapshot
        """Before so many more events there can't be enough for a part: each ends one stage run at most."""
        self.watcher = watcher

    def record(self, now: ClockTime, event: Event, commands: Sequence[Command]) -> None:
        """`event` happened at `now`, and the machine answered with `commands`."""
        if self._journaled is not None:
            self._journaled.journal.record(now, event, commands)
        self.note(now, event, commands)
        if self._events_to_part <= 0:
            self._make_part()

    def note(self, now: ClockTime, event: Event, commands: Sequence[Command]) -> None:
        """The same for what is in the journal already."""
        self.recorder.record(now, event, commands)
        self.watcher.event(now, event, commands)
        self._events_to_part -= 1

    def restore(self, snapshot: Json, outstanding: Sequence[Command]) -> None:
        """Go on where a snapshot was taken; `outstanding` of the machine then. RunError if its tables are gone."""
        if self._folder is not None:
            self._folder.ensure_files(snapshot["num_parts"], snapshot["num_files"])
        self.recorder.restore(snapshot["recorder"], outstanding)

    def tables(self) -> dict[str, pl.DataFrame]:
        """All that was observed by a run that has no folder."""
        parts = [*self._parts, self.recorder.take_all()]
        return {name: pl.concat([part[name] for part in parts]) for name in parts[0]}

    def write(self, folder: RunFolder) -> None:
        """Make all that was observed durable, for good."""
        self._write(folder, self.recorder.take_all())

    def _make_part(self) -> None:
        if self._journaled is not None and self._folder is not None:
            self._make_snapshot(self._journaled, self._folder)
            return
        if self.recorder.num_gathered >= _STAGE_RUNS_A_PART:
            if self._folder is None:
                self._parts.append(self.recorder.take())
            else:
                self._write(self._folder, self.recorder.take())
        self._events_to_part = _STAGE_RUNS_A_PART - self.recorder.num_gathered

    def _make_snapshot(self, journaled: Journaled, folder: RunFolder) -> None:
        """When little is open, at the latest a quarter of the distance later. The tables first: it counts on them."""
        journal, machine = journaled
        if machine.num_open > _QUIET and self._events_to_part > -self._events_a_snapshot // 4:
            return
        self._write(folder, self.recorder.take())
        journal.put_snapshot(
            {
                "machine": machine.snapshot(),
                "recorder": self.recorder.snapshot(),
                "num_parts": folder.num_parts,
                "num_files": folder.num_files(folder.num_parts),
            }
        )
        self._events_to_part = self._events_a_snapshot

    def _write(self, folder: RunFolder, tables: Mapping[str, pl.DataFrame]) -> None:
        """The tables are never ahead of the journal."""
        if self._journaled is not None:
            self._journaled.journal.commit()
        folder.write_tables(tables)
