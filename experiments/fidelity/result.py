"""What came of holding a study's simulation against its real runs."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import polars as pl

from experiments.fidelity.assessing import Assessment, assess
from experiments.fidelity.records import Record, plain, read_record
from experiments.fidelity.verdicts import Grade
from twinclock.run_folder import replace_durably, told_as_run_error

if TYPE_CHECKING:
    from experiments.fidelity.pictures import FidelityPlots

FIDELITY_FILE = "fidelity.json"
PAGE_FILE = "fidelity.html"


@dataclass(frozen=True)
class FidelityResult:
    """How far the simulation of a study is from its real runs."""

    record: Record
    """What was measured and predicted."""
    folder: Path | None = None

    @classmethod
    def load(cls, place: str | Path) -> FidelityResult:
        """From a folder that `fidelity` has left, or a `fidelity.json` alone. RunError if there is none."""
        path = Path(place)
        return cls(read_record(path / FIDELITY_FILE), path) if path.is_dir() else cls(read_record(path))

    @cached_property
    def assessment(self) -> Assessment:
        """What the record says: tables, targets, grades."""
        return assess(self.record)

    @property
    def grade(self) -> Grade:
        """A: all targets are met. B: all are within twice the target. C: worse, or a run or a prediction is missing."""
        return self.assessment.grade

    @property
    def table(self) -> Mapping[str, pl.DataFrame]:
        """The frames of `assessment` by name: targets, policies, figures, stages, triggers, rankings, pairs."""
        return {name: getattr(self.assessment, name) for name in _FRAMES}

    @property
    def plot(self) -> FidelityPlots:
        """Pictures of it."""
        from experiments.fidelity.pictures import FidelityPlots

        return FidelityPlots(self)

    def _repr_html_(self) -> str:
        from experiments.fidelity.show import fidelity_html

        return fidelity_html(self)

    def write(self, folder: Path) -> Path:
        """Leave `fidelity.json` in a folder: the record, and for other programs what it says. RunError if it can't."""
        said = {name: frame.to_dicts() for name, frame in self.table.items()}
        whole = {"grade": self.grade, **plain(self.record), "assessment": said}
        file = folder / FIDELITY_FILE
        with told_as_run_error(folder), replace_durably(file) as unfinished:
            unfinished.write_text(_text(whole), encoding="utf-8")
        return file


def _text(whole: Mapping[str, object]) -> str:
    """JSON, which knows no infinite numbers: those become null."""
    finite = json.loads(json.dumps(whole), parse_constant=lambda _: None)
    return json.dumps(finite, indent=1, ensure_ascii=False, allow_nan=False) + "\n"


_FRAMES = ("targets", "policies", "figures", "stages", "triggers", "rankings", "pairs")
