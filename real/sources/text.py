"""Records from text files, a line each: CSV with a heading row, and JSON lines.

A line break inside a quoted CSV field ends the record all the same: so a stray quote spoils one line, not the rest of
the file.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import BinaryIO, NamedTuple, TypeAlias

import numpy as np
import polars as pl

from real.sources.columns import Wanted, typed
from real.sources.protocol import MAX_TEXT, Refused

MAX_LINE_BYTES = 2**20
"""Longer lines are no records."""
_AT_ONCE = 50_000

Cells: TypeAlias = list[str | None]
Parse: TypeAlias = Callable[[str], Cells]
"""From a line to the columns wanted, as text. LineError if it is none, or of wrong types."""


class LineError(Exception):
    """What is wrong with a line: the reason, and the detail."""


class _Line(NamedTuple):
    number: int
    offset: int
    text: str
    fault: str | None
    is_ended: bool


class Read(NamedTuple):
    """What a file came to."""

    rows: pl.DataFrame
    keys: pl.Series | None
    lines: np.ndarray[tuple[int], np.dtype[np.int64]]
    offsets: np.ndarray[tuple[int], np.dtype[np.int64]]
    refused: list[Refused]


def read_text(file: Path, source: str, wanted: Wanted, *, needs_last_break: bool, max_rows: int) -> Read:
    """Every record of a CSV file or one of JSON lines. OSError if it can't be read; LineError about the whole file.

    `needs_last_break`: a last line without a line break may be half of one, and is refused.
    """
    frames, keys, numbers, offsets, refused = [], [], [], [], list[Refused]()

    def refuse(line: _Line, reason: str, detail: str) -> None:
        refused.append(Refused(source, line.number, reason, detail, line.text[:MAX_TEXT], 1))  # type: ignore[arg-type]

    def take(batch: list[tuple[_Line, Cells]]) -> None:
        raw = pl.DataFrame(
            {name: [cells[i] for _, cells in batch] for i, name in enumerate(wanted.names)},
            schema=dict.fromkeys(wanted.names, pl.String),
        )
        found = typed(raw, wanted)
        is_right = found.faults == None  # noqa: E711 - element by element
        for (line, _), fault in zip(batch, found.faults, strict=True):
            if fault is not None:
                refuse(line, "schema", fault)
        mask = pl.Series(is_right.astype(bool))
        frames.append(found.rows.filter(mask))
        if found.keys is not None:
            keys.append(found.keys.filter(mask))
        numbers.append(np.array([line.number for line, _ in batch], np.int64)[mask.to_numpy()])
        offsets.append(np.array([line.offset for line, _ in batch], np.int64)[mask.to_numpy()])

    with open(file, "rb") as stream:
        lines = _lines(stream)
        parse = _parser(file, lines, wanted)
        batch: list[tuple[_Line, Cells]] = []
        num_rows = 0
        for line in lines:
            if line.fault is None and not line.text.strip():
                continue
            num_rows += 1
            if num_rows > max_rows:
                raise LineError("malformed", f"more than {max_rows} records, expected smaller files")
            if line.fault is not None:
                refuse(line, "malformed", line.fault)
            elif needs_last_break and not line.is_ended:
                refuse(line, "malformed", "the file ends within the line")
            else:
                try:
                    batch.append((line, parse(line.text)))
                except LineError as error:
                    refuse(line, *error.args)
            if len(batch) == _AT_ONCE:
                take(batch)
                batch = []
        take(batch)
    return Read(
        pl.concat(frames),
        pl.concat(keys) if keys else None,
        np.concatenate(numbers),
        np.concatenate(offsets),
        refused,
    )


def texts_at(file: Path, offsets: Sequence[int]) -> list[str]:
    """The lines that begin at some offsets, cut to what the quarantine keeps; empty where they are gone."""
    try:
        with open(file, "rb") as stream:
            found = []
            for offset in offsets:
                stream.seek(offset)
                found.append(stream.readline(4 * MAX_TEXT).decode("utf-8", "replace").rstrip("\r\n")[:MAX_TEXT])
            return found
    except OSError:
        return [""] * len(offsets)


def _lines(stream: BinaryIO) -> Iterator[_Line]:
    number = offset = 0
    while data := stream.readline(MAX_LINE_BYTES + 1):
        number, begin = number + 1, offset
        offset += len(data)
        fault = None
        if len(data) > MAX_LINE_BYTES:
            fault = f"longer than {MAX_LINE_BYTES} bytes"
            rest = data
            while not rest.endswith(b"\n") and (rest := stream.readline(MAX_LINE_BYTES)):
                offset += len(rest)
            data = data[: 4 * MAX_TEXT]
        is_ended = data.endswith(b"\n") or fault is not None
        if begin == 0:
            data = data.removeprefix(b"\xef\xbb\xbf")
        if fault is None and b"\0" in data:
            fault = "has a NUL byte"
        try:
            text = data.decode("utf-8")
        except UnicodeDecodeError:
            text, fault = data.decode("utf-8", "replace"), fault or "is no UTF-8"
        yield _Line(number, begin, text.rstrip("\r\n").replace("\0", "\\0"), fault, is_ended)


def _parser(file: Path, lines: Iterator[_Line], wanted: Wanted) -> Parse:
    if file.suffix == ".jsonl":
        return lambda text: _json_cells(text, wanted)
    heading = next(lines, None)
    if heading is None:
        raise LineError("malformed", "the file is empty, expected a heading row")
    if heading.fault is not None:
        raise LineError("malformed", f"the heading {heading.fault}")
    names = _fields(heading.text)
    missing = [name for name in wanted.names if name not in names]
    twice = [name for name in wanted.names if names.count(name) > 1]
    if missing or twice:
        faults = [f"no column {name!r}" for name in missing] + [f"column {name!r} more than once" for name in twice]
        raise LineError("schema", "; ".join(faults))
    at = [names.index(name) for name in wanted.names]

    def parse(text: str) -> Cells:
        fields = _fields(text)
        if len(fields) != len(names):
            raise LineError("malformed", f"{len(fields)} fields, expected {len(names)}")
        return [fields[index] or None for index in at]

    return parse


def _fields(text: str) -> list[str]:
    if '"' not in text:
        return text.split(",")
    try:
        return next(csv.reader((text,), strict=True))
    except csv.Error as error:
        raise LineError("malformed", f"no CSV ({error})") from None


def _json_cells(text: str, wanted: Wanted) -> Cells:
    try:
        record = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise LineError("malformed", f"no JSON ({' '.join(str(error).split())[:120]})") from None
    if not isinstance(record, dict):
        raise LineError("malformed", f"a JSON {type(record).__name__}, expected an object")
    return [_json_cell(record, name, wanted) for name in wanted.names]


def _json_cell(record: dict[str, object], name: str, wanted: Wanted) -> str | None:
    if name not in record:
        raise LineError("schema", f"no column {name!r}")
    value = record[name]
    if value is None:
        return None
    if isinstance(value, bool):
        if name in wanted.numbers:
            return "1" if value else "0"
        if name != wanted.time:
            return "true" if value else "false"
    elif isinstance(value, int | float):
        return None if value != value else repr(value)  # NaN is no value, as in Parquet; its text would be a class
    elif isinstance(value, str) and name not in wanted.numbers:
        try:
            value.encode("utf-8")
        except UnicodeEncodeError:
            raise LineError("malformed", f"{name!r} is no text that UTF-8 could hold") from None
        return value
    raise LineError("schema", f"{name!r} is a JSON {type(value).__name__}")
