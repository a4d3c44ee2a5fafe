"""What the machine knows of one entered node, and of one register."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from twinclock._compile import Code
from twinclock.graph import Json, Register
from twinclock.messages import Path, Placement, Start

WAITING: Final = 0
"""Asked for its needs, not granted yet."""
RUNNING: Final = 1
RESTING: Final = 2
"""Ended, and waits for its next attempt."""


class Cell:
    """A register's value and how often it was written. Values are never changed in place: readers may hold them."""

    __slots__ = ("register", "value", "version")

    def __init__(self, register: Register) -> None:
        self.register = register
        self.version = 0
        self.value: Json = {"total": 0, "items": []} if register.merge == "append" else register.initial

    def write(self, written: Json) -> None:
        """Merge what a stage wrote, as the register declares. ValueError if it can't be merged."""
        register = self.register
        self.version += 1
        match register.merge:
            case "replace":
                self.value = written
            case "newest":
                if not isinstance(written, dict) or "trigger" not in written:
                    raise ValueError(f"the newest is told by its 'trigger'; there is none in {written!r}")
                if self.value is None or written["trigger"] > self.value["trigger"]:
                    self.value = written
            case "append":
                if not isinstance(written, list):
                    raise ValueError(f"it appends lists, not {written!r}")
                items = [*self.value["items"], *written]
                kept = items if register.keep is None else items[-register.keep :]
                self.value = {"total": self.value["total"] + len(written), "items": kept}


class Frame:
    """One entered node; what is set only for some kinds of node is said beside it."""

    id: int
    state: int
    scope: Frame | None
    """The innermost scope; None outside every scope."""
    cells: dict[str, Cell]
    placement: Placement
    kids: dict[Frame, None]
    """Composites: what is entered directly below, in order of entry."""
    visits: dict[str, int]
    """Flow: how often each step was entered."""
    grown: dict[str, float]
    """Flow with a growing slot: its value at the last visit of each step."""
    left: int
    """ForEach: the number of the next item."""
    start: Start
    """Stage: the command that started it, to be issued again after a crash."""
    labels: Mapping[str, Json]
    """What the records shall carry for stage runs here."""
    armed: bool = False
    """Its timeout runs."""
    finishing: bool = False
    """Flow: the finally step is running."""
    doom: tuple[str, Json] | None = None
    """What it will end with, whatever the stage runs inside answer: it was cancelled, or took too long."""
    result: tuple[str, Json] | None = None
    """Flow, Scope: what it has ended with, while something inside is still to end."""

    def __init__(self, code: Code, parent: Frame | None, path: Path, slots: dict[str, Json], attempt: int) -> None:
        self.code = code
        self.parent = parent
        self.path = path
        self.slots = slots
        self.attempt = attempt


def rest_s(frame: Frame) -> float:
    """Seconds between the end of this attempt and the start of the next."""
    retry = frame.code.retry
    if retry is None:
        raise ValueError("a node without a retry does not rest")
    return retry.backoff_s * retry.factor ** (frame.attempt - 1)
