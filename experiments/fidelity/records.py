"""What was measured and what was predicted: plain numbers and texts, small enough to keep beside a paper.

`fidelity.json` holds one `Record`. Everything that is said of it, the grade included, is made of it alone.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from experiments.store import State
from twinclock.errors import RunError

if TYPE_CHECKING:
    from pydantic import TypeAdapter

FORMAT = 2
"""Of `fidelity.json`."""


@dataclass(frozen=True, slots=True)
class Figures:
    """What one run came to, real or simulated; seconds are on its own clock."""

    makespan_s: float
    device_s: float
    queued_s: float
    training_queued_s: float
    evaluation_queued_s: float
    accuracy: float | None
    """Of the active model, over data time; None where no evaluation was planned."""
    positions: tuple[int, ...]
    """Of the triggers, in order."""
    stage_s: dict[str, float]
    """Stage → seconds spent in it, summed over its runs."""


@dataclass(frozen=True, slots=True)
class RealRun:
    """One repeat of a policy."""

    repeat: int
    """From 1; its seed is that of the record, counted up."""
    state: State
    error: str | None
    figures: Figures | None
    """None unless it is done."""
    was_resumed: bool = False
    """It was interrupted and went on, so that its start-up, and perhaps a training, was done twice."""


@dataclass(frozen=True, slots=True)
class StageMatch:
    """The runs of one stage, real and of the first simulated run, matched by their ids."""

    stage: str
    num_real: int
    """Different ids in the repeats."""
    num_simulated: int
    num_matched: int
    """Ids in the simulation and in at least one repeat."""
    mape: float | None
    """Mean of |simulated − real| / real over those matched, real: the median of the repeats. None if none took time."""
    real_mape: float | None
    """The same of each repeat against each other one, the mean of all; None with one repeat."""
    start_off_s: float | None
    """Mean of |simulated − real| of when they started."""


@dataclass(frozen=True, slots=True)
class Prediction:
    """A policy as simulated with costs that another policy's real runs showed."""

    calibrated_on: str
    """Label of that other policy."""
    simulated: tuple[Figures, ...]
    """One with the seed of each repeat, in their order; empty if there is no prediction."""
    error: str | None
    """Why there is none."""
    quality: str = ""
    """Where the accuracy is from: `proxy (descent)`, `matrix of the calibration`; empty if there is no prediction."""
    stages: tuple[StageMatch, ...] = ()
    interference: float | None = None
    """How much longer a training takes beside another one on a second device, as a share of its seconds alone, as the
    calibration measured it; None if it had nothing to measure that by."""


@dataclass(frozen=True, slots=True)
class PolicyRecord:
    """One variant of the study."""

    label: str
    graph: str
    """Variant of the stage graph."""
    mode: str
    trigger: str
    depends_on: str
    """What the trigger's answers depend on: `data`, `scores` or `clock`."""
    num_devices: int
    runs: tuple[RealRun, ...]
    prediction: Prediction

    @property
    def measured(self) -> tuple[Figures, ...]:
        """Those repeats that are done."""
        return tuple(run.figures for run in self.runs if run.figures is not None)


@dataclass(frozen=True, slots=True)
class Record:
    """All of a study's fidelity that does not follow from the rest."""

    format: int
    name: str
    question: str
    seed: int
    """Of the first repeat, real and simulated."""
    repeats: int
    machine: str
    """Processors and versions of what the real runs ran on."""
    policies: tuple[PolicyRecord, ...]


def read_record(file: Path) -> Record:
    """The record in a `fidelity.json`. RunError if it can't be read, or is of another version."""
    from pydantic import ValidationError

    try:
        record = _adapter().validate_json(file.read_bytes())
    except OSError as error:
        raise RunError(f"{file}: can't be read ({error.strerror}), expected a fidelity.json") from None
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(map(str, first["loc"])) or "the file"
        raise RunError(f"{file}: {place}: {first['msg']}; expected a fidelity.json") from None
    if record.format != FORMAT:
        raise RunError(f"{file}: format {record.format}, expected {FORMAT}; made by another version")
    return record


def plain(record: Record) -> dict[str, Any]:
    """The record as JSON values."""
    values: dict[str, Any] = _adapter().dump_python(record, mode="json")
    return values


@cache
def _adapter() -> TypeAdapter[Record]:
    from pydantic import TypeAdapter

    return TypeAdapter(Record)
