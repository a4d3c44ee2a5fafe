"""What the interpreter and an executor say to each other: events in, commands out.

Named tuples, because millions of them are made in a simulated run. Ids are integers, numbered by the
machine in the order in which nodes are entered, so the same events always meet the same ids; a `Path`
is the structural name of the same thing, which is stable across executors and across runs.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal, NamedTuple, TypeAlias

from twinclock.graph import Json, Stage

Path: TypeAlias = "tuple[Path, str | None, int, int] | None"
"""(enclosing path, step name or None for an item of a ForEach, visit or item number, attempt or 0)."""

Placement: TypeAlias = Mapping[str, tuple[str, ...]]
"""Resource → the names of the units granted, e.g. {"device": ("cpu:0",)}."""

Timer: TypeAlias = Literal["timeout", "backoff"]
Cause: TypeAlias = Literal["node_failed", "reclaimed"]
"""Why devices are gone."""


def path_text(path: Path) -> str:
    """A path as people read it: `/new_data#3/[2]/training#0@1` (step # visit, [item], @ attempt)."""
    if path is None:
        return ""
    return path_text(path[0]) + segment_text(path)


def path_to_json(path: Path) -> Json:
    """A path for a file; `path_from_json` gives it back."""
    return None if path is None else [path_to_json(path[0]), *path[1:]]


def path_from_json(data: Json) -> Path:
    """The path that `path_to_json` wrote."""
    return None if data is None else (path_from_json(data[0]), *data[1:])


def placement_from_json(data: Mapping[str, Sequence[str]]) -> Placement:
    """A placement that was JSON, which has no tuples."""
    return {resource: tuple(units) for resource, units in data.items()}


def segment_text(path: tuple[Path, str | None, int, int]) -> str:
    """The last part of a path: all but where it is."""
    _, name, number, attempt = path
    segment = f"/[{number}]" if name is None else f"/{name}#{number}" if name else ""
    return f"{segment}@{attempt}" if attempt else segment


class Begin(NamedTuple):
    """The run starts, with these slots at the root."""

    slots: Mapping[str, Json]


class Granted(NamedTuple):
    """What was asked for is held from now on."""

    id: int
    placement: Placement


class Ended(NamedTuple):
    """A stage run ended; `values` holds exactly the slots of its outcome, and registers it writes."""

    id: int
    outcome: str
    values: Mapping[str, Json]


class Recalled(NamedTuple):
    """What is held by a stage that yields is wanted by somebody that does not."""

    id: int


class Fired(NamedTuple):
    """A timer ran out."""

    id: int
    timer: Timer


class Outage(NamedTuple):
    """Devices are gone from now on. For the records: a graph learns of it by what fails, and what is not granted."""

    devices: tuple[str, ...]
    cause: Cause
    noticed_s: float | None
    """When it was said that they would go; None: nobody said so."""
    until_s: float
    """When they come back; that may be after the run."""


Event: TypeAlias = Begin | Granted | Recalled | Ended | Fired | Outage


class Acquire(NamedTuple):
    """Ask for units of resources, all at once or nothing; answered by `Granted`."""

    pipeline: str
    id: int
    path: Path
    needs: Mapping[str, int]
    queue: str
    work: Json = None
    """What the units are to work on, if the graph says so."""
    yields: bool = False
    """May they be recalled for somebody who does not yield? Answered then by `Recalled` after `Granted`."""


class Release(NamedTuple):
    """Give back what was granted, or withdraw the request."""

    pipeline: str
    id: int


class Start(NamedTuple):
    """Do a stage; answered by `Ended`."""

    pipeline: str
    id: int
    path: Path
    stage: Stage
    inputs: Mapping[str, Json]
    registers: Mapping[str, Json]
    versions: Mapping[str, int]
    """Which version of each register is in `registers`: how often it had been written."""
    placement: Placement
    """The units held here, by this stage or around it."""
    labels: Mapping[str, Json]
    """Label → the value that the records shall carry for this stage run."""


class Cancel(NamedTuple):
    """Ask a stage run to end early; it still answers `Ended`, `cancelled` or whatever came first."""

    pipeline: str
    id: int


class Arm(NamedTuple):
    """Set a timer; answered by `Fired` unless disarmed."""

    pipeline: str
    id: int
    timer: Timer
    delay_s: float


class Disarm(NamedTuple):
    """Forget a timer."""

    pipeline: str
    id: int
    timer: Timer


class Finish(NamedTuple):
    """The pipeline has ended; nothing of it is left."""

    pipeline: str
    outcome: str
    error: Json


Command: TypeAlias = Acquire | Release | Start | Cancel | Arm | Disarm | Finish
