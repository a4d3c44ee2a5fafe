"""What a source of samples has to do.

A source says how far it was read by its *position*, a small JSON value: offsets, or a number of files. It is kept with
the landing that the records became, and that landing is referred to by the event of FETCH_NEW_DATA in the
journal: this is the commit, and there is no other. So a source needs no store of its own, and after a crash it is asked
to go on from the last position that it gave.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple, Protocol, TypeAlias

import numpy as np
import polars as pl
from numpy.typing import NDArray

from twinclock.graph import Json
from twinclock.stream import ClockTime

Reason: TypeAlias = Literal["late", "duplicate", "malformed", "schema", "changed"]
"""Why a record is turned away: older than the watermark; a key that was there; unreadable; a value that is missing or
of a wrong type. `changed` is about a file that changed after it was read."""
MAX_TEXT = 1_000
"""Characters of a record that the quarantine keeps."""


class Refused(NamedTuple):
    """A record, or a whole file, that was turned away."""

    source: str
    """The file that it is from."""
    line: int | None
    """Its line in a text file, its row in another, from 1; None: it is about the whole file."""
    reason: Reason
    detail: str
    record: str | None
    """Its text, at most `MAX_TEXT` characters."""
    records: int
    """How many records it stands for."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Arrival:
    """What came at once: a file, or a batch of messages. Among themselves its records are in no order."""

    source: str
    """What to call it in the quarantine."""
    origin: Mapping[str, Json]
    """What a manifest should say of it."""
    rows: pl.DataFrame
    """The records that are right, as `real.sources.columns` has them."""
    keys: pl.Series | None = None
    """The key of each of these as text; None: records have none."""
    lines: NDArray[np.int64]
    """The line, row or offset of each."""
    texts: Callable[[Sequence[int]], list[str]]
    """From numbers of rows to the texts of these records."""
    refused: Sequence[Refused] = ()


@dataclass(frozen=True, slots=True)
class Fetched:
    """What a look at a source brought."""

    arrivals: Sequence[Arrival]
    position: Json
    """How far the source was read with it."""
    is_last: bool
    """Has the source come to its end?"""


class Source(Protocol):
    """A source of samples. All is called from one thread at a time, never the coordinator's."""

    def fetch(self, position: Json, now: ClockTime, limit: int) -> Fetched | None:
        """What came after `position` (None: at all), as much as `limit` records take; None: nothing new.

        Asked twice from one position it gives all records that it gave the first time, possibly more. OSError if it
        is out of reach just now. `now` is the run's clock.
        """

    def has_news(self, position: Json, now: ClockTime) -> bool:
        """Would `fetch` bring something? Asked again and again, so it should cost little."""
