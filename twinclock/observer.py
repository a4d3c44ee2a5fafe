"""What a run leaves behind while it goes on: its journal, its tables, and what whoever watches is told."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import polars as pl

from twinclock.journal import Journal
from twinclock.lateness import handover
from twinclock.messages import Command, Event
from twinclock.records import Recorder
from twinclock.run_folder import RunFolder
from twinclock.stream import ClockTime, Stream
from twinclock.watch import Watcher

_STAGE_RUNS_A_PART = 20_000
"""Stage runs that gather before they become a part of the tables: columns take a third of the memory of rows."""


class RunObserver:
    """Journal first, then the tables, then whoever wants to watch."""

    def __init__(
        self,
        stream: Stream,
        folder: RunFolder | None,
        journal: Journal | None,
        watcher: Watcher,
    ) -> None:
        """`folder`: None for a run that is kept in memory; `journal`: None for one that can't be resumed."""
        self.recorder = Recorder(stream.timestamp, handover(stream).num_quarantined)
        self._folder = folder
        self._journal = journal
        self._parts: list[dict[str, pl.DataFrame]] = []
        self._events_to_part = _STAGE_RUNS_A_PART
        """Before so many more events there can't be enough for a part: each ends one stage run at most."""
        self.watcher = watcher

    def record(self, now: ClockTime, event: Event, commands: Sequence[Command]) -> None:
        """`event` happened at `now`, and the machine answered with `commands`."""
        if self._journal is not None:
            self._journal.record(now, event, commands)
        self.recorder.record(now, event, commands)
        self.watcher.event(now, event, commands)
        self._events_to_part -= 1
        if self._events_to_part <= 0:
            self._make_part()

    def tables(self) -> dict[str, pl.DataFrame]:
        """All that was observed by a run that has no folder."""
        parts = [*self._parts, self.recorder.take_all()]
        return {name: pl.concat([part[name] for part in parts]) for name in parts[0]}

    def write(self, folder: RunFolder) -> None:
        """Make all that was observed durable, for good."""
        self._write(folder, self.recorder.take_all())

    def _make_part(self) -> None:
        if self.recorder.num_gathered >= _STAGE_RUNS_A_PART:
            if self._folder is None:
                self._parts.append(self.recorder.take())
            else:
                self._write(self._folder, self.recorder.take())
        self._events_to_part = _STAGE_RUNS_A_PART - self.recorder.num_gathered

    def _write(self, folder: RunFolder, tables: Mapping[str, pl.DataFrame]) -> None:
        """The tables are never ahead of the journal."""
        if self._journal is not None:
            self._journal.commit()
        folder.write_tables(tables)
