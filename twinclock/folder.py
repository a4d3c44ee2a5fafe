"""A watched folder as a source of samples: what a configuration says of it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal, TypeAlias

from pydantic import BeforeValidator, Field, model_validator

from twinclock.dataset import Columns, FeatureColumns
from twinclock.durations import Delay, Duration
from twinclock.section import ListOf, Section, WrongKeyError


def _several(value: object) -> object:
    return (value,) if isinstance(value, str) else value


Key: TypeAlias = Annotated[ListOf[str], BeforeValidator(_several), Field(min_length=1)]
"""The name of a column, or a list of names."""


class FolderConfig(Section):
    """Files that come into a folder while the run goes on: Parquet, CSV with a heading row, or JSON lines."""

    kind: Literal["folder"] = "folder"
    path: str
    """The folder."""
    time: str
    """Column of the data time: a number of seconds, a date or a datetime."""
    label: str
    features: FeatureColumns
    key: Key | None = None
    """The columns that tell a record from any other; None: duplicates are not looked for."""
    allowed_lateness: Delay = 0.0
    """Data time by which a record may be older than the newest of the files before it."""
    poll: Duration = 1.0
    """Clock seconds from one look at the folder to the next, while nothing has come."""
    settle: Duration = 2.0
    """Clock seconds for which a CSV or JSON-lines file must not have changed to count as complete."""
    chunk: int = Field(default=10_000, gt=0)
    """Samples ingested at a time."""
    label_delay: Delay = 0.0
    """Data time from a sample to the moment at which its label is known."""

    @model_validator(mode="after")
    def _one_role_each(self) -> FolderConfig:
        if self.label in (self.time, *self.features.names):
            raise WrongKeyError("label", f"got {self.label}, expected a column that is neither the time nor a feature")
        if self.features.arrays:
            got = ", ".join(self.features.arrays)
            raise WrongKeyError("features.arrays", f"got {got}, expected none for kind folder, whose records are flat")
        if self.time in self.features.categorical:
            raise WrongKeyError("time", f"got {self.time}, expected a column that is not categorical")
        return self

    @property
    def folder(self) -> Path:
        """The folder."""
        return Path(self.path)

    @property
    def columns(self) -> Columns:
        """The columns in use, by their roles."""
        return Columns(time=self.time, label=self.label, features=self.features)
