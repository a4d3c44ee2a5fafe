"""The rows of the table `triggers` while a run goes on: one may change, or go, until its trigger's fate is settled.

A trigger that is admitted may be dropped, one that waits may become part of a newer one, and one that is
claimed takes over the samples of the training that was stopped for it. In variants that admit no triggers
each is settled at once.
"""

from __future__ import annotations

from typing import Any

from twinclock.graph import Json
from twinclock.stream import ClockTime


class TriggerRows:
    """Rows in the order of firing; the open ones are among the latest."""

    def __init__(self) -> None:
        self._rows: list[tuple[Any, ...]] = []
        self._waiting: set[int] = set()
        """Serials of the triggers that have been admitted and not yet claimed."""

    @classmethod
    def restore(cls, snapshot: Json) -> TriggerRows:
        """Those that go on as the ones would that gave `snapshot`."""
        rows = cls()
        rows._rows = [tuple(row) for row in snapshot["rows"]]
        rows._waiting = set(snapshot["waiting"])
        return rows

    def snapshot(self) -> Json:
        """All that is still open, as JSON."""
        return {"rows": [list(row) for row in self._rows], "waiting": sorted(self._waiting)}

    def add(self, trigger: Json, recipe: Json, fired_s: ClockTime) -> None:
        """A fire became a trigger; `recipe` is None if it has no samples."""
        self._rows.append(_row(trigger, recipe, fired_s))

    def renew(self, trigger: Json, recipe: Json) -> None:
        """A trigger has more samples than when it fired."""
        at = self._place(trigger)
        self._rows[at] = _row(trigger, recipe, self._rows[at][-1])

    def remove(self, trigger: Json) -> None:
        """A trigger is none after all."""
        del self._rows[self._place(trigger)]

    def note_waiting(self, pending: Json) -> None:
        """Who waits by now, by the register of that name."""
        self._waiting = {entry["trigger"]["serial"] for entry in pending["waiting"]}

    def take(self, latest_is_open: bool) -> list[tuple[Any, ...]]:
        """The settled rows, up to the first that is open. The latest is also open while it is in admission."""
        open_ = self._waiting | ({self._rows[-1][0]} if latest_is_open and self._rows else set())
        num_settled = next((at for at, row in enumerate(self._rows) if row[0] in open_), len(self._rows))
        settled, self._rows = self._rows[:num_settled], self._rows[num_settled:]
        return settled

    def take_all(self) -> list[tuple[Any, ...]]:
        """All rows, the open ones as they stand."""
        rows, self._rows = self._rows, []
        return rows

    def _place(self, trigger: Json) -> int:
        serial = trigger["serial"]
        return next(at for at in reversed(range(len(self._rows))) if self._rows[at][0] == serial)


def _row(trigger: Json, recipe: Json, fired_s: ClockTime) -> tuple[Any, ...]:
    return (
        trigger["serial"],
        trigger["position"],
        trigger["first"],
        trigger["stop"],
        trigger["num_samples"],
        trigger["first_ts"],
        trigger["last_ts"],
        0 if recipe is None else recipe["num_samples"],
        fired_s,
    )
