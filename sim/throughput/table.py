"""Profile tables: YAML files of measured throughputs. What can't be right is refused, with the row that says it.

A row says how many samples a second a training of a model went through on some devices. Throughputs must be
positive and finite; grow, or stay, with the minibatch and with the number of devices; never by more than the
devices do; and a larger minibatch never takes less time than a smaller one.
"""

from __future__ import annotations

import datetime
from collections.abc import Iterator
from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import Annotated

from pydantic import BeforeValidator, Field

from sim.throughput.curves import Curve
from twinclock.errors import ConfigError
from twinclock.section import ListOf, Section, nearest, parse_section
from twinclock.yaml_text import read_yaml

BUILT_IN = Path(__file__).resolve().parents[1] / "profiles"
MAX_SAMPLES_PER_S = 50e6
"""On one device, of anything: a sample of a published recommender model is a few dozen bytes, and a training goes over
each several times."""
MAX_SCALING = 1.05
"""Times as much as the devices have grown in number: a little above 1 is noise, or caches."""

Name = Annotated[str, Field(min_length=1)]


class Row(Section):
    """One measurement."""

    model: Name
    device: Name
    precision: Name
    devices: Annotated[int, Field(gt=0)] = 1
    """On one node."""
    batch: Annotated[int, Field(gt=0)] | None = None
    """Samples in a gradient step, over all devices; None: not published, taken to be the best one."""
    samples_per_s: Annotated[float, Field(gt=0)]
    """Over all devices, in steady state."""

    def __str__(self) -> str:
        devices = f", {self.devices} devices" if self.devices > 1 else ""
        batch = "" if self.batch is None else f", batch {self.batch}"
        return f"{self.model} on {self.device}, {self.precision}{devices}{batch}"


def _as_text(value: object) -> object:
    """What YAML takes for a date or a number, if nobody quoted it."""
    return str(value) if isinstance(value, datetime.date) or type(value) is int else value


class Table(Section):
    """A file of measurements from one source."""

    source: Name
    date: Annotated[Name, BeforeValidator(_as_text)]
    """Of the measurements."""
    precision: Name
    """What the names of precisions mean."""
    note: Name
    rows: Annotated[ListOf[Row], Field(min_length=1)]


def load_table(name: str) -> Table:
    """A built-in table by its name, or the user's own by its path, which ends in .yaml. ConfigError if it won't do."""
    if is_own(name):
        return _read(Path(name))
    if name not in (known := built_in_names()):
        raise ConfigError(
            f"got {name}, expected a file that ends in .yaml, or a built-in table; {nearest(name, known)}"
        )
    return _read_built_in(name)


def is_own(name: str) -> bool:
    """Is it the user's own file?"""
    return name.endswith((".yaml", ".yml"))


def built_in_names() -> list[str]:
    """The tables that come with the simulator."""
    return sorted(path.stem for path in BUILT_IN.glob("*.yaml"))


def curves(table: Table, model: str, device: str, precision: str) -> dict[int, list[Row]]:
    """Number of devices → the rows of that model, device and precision, by minibatch."""
    found: dict[int, list[Row]] = {}
    for row in table.rows:
        if (row.model, row.device, row.precision) == (model, device, precision):
            found.setdefault(row.devices, []).append(row)
    return {devices: sorted(found[devices], key=lambda row: row.batch or 0) for devices in sorted(found)}


@cache
def _read_built_in(name: str) -> Table:
    return _read(BUILT_IN / f"{name}.yaml")


def _read(path: Path) -> Table:
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        why = error.strerror if isinstance(error, OSError) else "not UTF-8 text"
        raise ConfigError(f"can't read {path}: {why}") from None
    table = parse_section(Table, read_yaml(text, str(path)), str(path))
    for row, text in _implausible(table):
        raise ConfigError(f"{path}: rows.{table.rows.index(row)} ({row}): {text}")
    return table


def _implausible(table: Table) -> Iterator[tuple[Row, str]]:
    for row in table.rows:
        if row.samples_per_s > (most := MAX_SAMPLES_PER_S * row.devices):
            yield row, f"got {row.samples_per_s:g} samples/s, expected at most {most:g}, which is beyond any device"
    for key in dict.fromkeys((row.model, row.device, row.precision) for row in table.rows):
        by_devices = curves(table, *key)
        for rows in by_devices.values():
            yield from _bad_batches(rows)
        for (_, few), (_, many) in pairwise(by_devices.items()):
            yield from _bad_scaling(few, many)


def _bad_batches(rows: list[Row]) -> Iterator[tuple[Row, str]]:
    for small, large in pairwise(rows):
        if small.batch is None or large.batch is None or small.batch == large.batch:
            yield large, "expected one row for each batch, or one row without any"
        elif large.samples_per_s < small.samples_per_s:
            text = f"got {large.samples_per_s:g} samples/s, expected at least the {small.samples_per_s:g} of batch"
            yield large, f"{text} {small.batch}"
        elif large.batch / large.samples_per_s < small.batch / small.samples_per_s:
            most = small.samples_per_s * large.batch / small.batch
            text = f"got {large.samples_per_s:g} samples/s, expected at most {most:g}, or a step would take less time"
            yield large, f"{text} than one of batch {small.batch}"


def _bad_scaling(few: list[Row], many: list[Row]) -> Iterator[tuple[Row, str]]:
    if (few[0].batch is None) != (many[0].batch is None):
        yield many[0], "expected a batch in the rows of every number of devices, or in none"
        return
    slow, fast = curve_of(few), curve_of(many)
    on_few = f"{few[0].devices} device(s)"
    for batch in sorted({1.0, *(float(row.batch) for row in (*few, *many) if row.batch is not None)}):
        less, more = slow.samples_per_s(batch), fast.samples_per_s(batch)
        if more < less:
            row = next((row for row in many if (row.batch or 0) >= batch), many[-1])
            yield row, f"{more:g} samples/s at batch {batch:g}, expected at least the {less:g} of {on_few}"
    growth = many[0].devices / few[0].devices
    for row in many:
        share = None if row.batch is None else max(row.batch / growth, slow.smallest)
        if share is None or share <= slow.largest:
            most = growth * MAX_SCALING * slow.samples_per_s(share or 1.0)
            if row.samples_per_s > most:
                expected = f"expected at most {most:g}, {growth * MAX_SCALING:g} times what {on_few} did"
                yield row, f"got {row.samples_per_s:g} samples/s, {expected}"


def curve_of(rows: list[Row]) -> Curve:
    """The curve through rows of one number of devices."""
    return Curve(tuple((row.batch, row.samples_per_s) for row in rows))
