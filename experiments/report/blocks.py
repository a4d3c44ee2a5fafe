"""What a report is made of: a page of sections, each a few blocks. How it looks is for the template."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal, TypeAlias

Tone: TypeAlias = Literal["plain", "good", "warning", "bad"]


@dataclass(frozen=True, slots=True)
class KeyFigure:
    """One of the figures that are read first."""

    label: str
    value: str
    note: str = ""


@dataclass(frozen=True, slots=True)
class KeyFigures:
    """Those figures, in order."""

    figures: Sequence[KeyFigure]
    kind: ClassVar = "key_figures"


@dataclass(frozen=True, slots=True)
class Sentences:
    """Sentences that each stand for themselves."""

    lines: Sequence[str]
    tone: Tone = "plain"
    kind: ClassVar = "sentences"


@dataclass(frozen=True, slots=True)
class Cell:
    """What stands in one place of a table."""

    text: str
    key: float | str | None = None
    """What the column is sorted by; None: this has no place in the order, and comes last."""
    aside: str = ""
    """Less important text behind it, such as an interval."""
    tone: Tone = "plain"


@dataclass(frozen=True, slots=True)
class Column:
    """The head of a column."""

    name: str
    is_numeric: bool = False


@dataclass(frozen=True, slots=True)
class Table:
    """A table, whose first column names the rows."""

    caption: str
    columns: Sequence[Column]
    rows: Sequence[Sequence[Cell]]
    note: str = ""
    """What is left out, and where it is."""
    is_sortable: bool = True
    """False where the order of the rows says something that no column does."""
    kind: ClassVar = "table"


@dataclass(frozen=True, slots=True)
class Picture:
    """A picture as SVG for the inside of a page."""

    key: str
    """Which picture of its page it is, for ids: letters, digits, `_`."""
    alt: str
    """What there is to see, for who can't."""
    caption: str
    """How to read it."""
    svg: str
    """Markup of ours, not to be escaped."""
    kind: ClassVar = "picture"


@dataclass(frozen=True, slots=True)
class Code:
    """Text for machines, folded away until it is asked for."""

    heading: str
    text: str
    kind: ClassVar = "code"


@dataclass(frozen=True, slots=True)
class Fold:
    """A block that is folded away until it is asked for, as it is large and seldom wanted."""

    heading: str
    block: Table | Picture
    kind: ClassVar = "fold"


Block: TypeAlias = KeyFigures | Sentences | Table | Picture | Code | Fold


@dataclass(frozen=True, slots=True)
class Section:
    """A part of a page with a heading of its own."""

    key: str
    """Its place in the page's address: letters, digits, `-`."""
    heading: str
    blocks: Sequence[Block]


@dataclass(frozen=True, slots=True)
class Page:
    """A whole report."""

    sort: str
    """What it is about: a run, runs, a study."""
    title: str
    lead: str
    """The question, or what was run; perhaps empty."""
    facts: Sequence[tuple[str, str]]
    """Label and text of what identifies it."""
    blocks: Sequence[Block]
    """What is seen first, above all sections."""
    sections: Sequence[Section]
