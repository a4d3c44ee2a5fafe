"""Samples that are nothing but their arrival: how they follow each other in data time; for the simulator only.

Modelled: a *base process* gives the gaps between samples, by their mean and their coefficient of variation (standard
deviation over mean). Its rate can follow the hours of the day and the days of the week. Presets bring the
figures of published traces. Recorded: the timestamps stand in a file.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeAlias, get_args

from pydantic import Field, model_validator

from twinclock.durations import Delay, Duration
from twinclock.section import Section, WrongKeyError

Family: TypeAlias = Literal["gamma", "weibull", "exponential", "equal"]
WITH_CV: tuple[Family, ...] = ("gamma", "weibull")
"""Families whose coefficient of variation can be chosen; that of `exponential` is 1, that of `equal` 0."""
Preset: TypeAlias = Literal["philly_jobs", "azure_conversation", "azure_code"]

FORMATS = (".parquet", ".csv")
"""Endings of the names of files that timestamps can be read from."""
_MAX_SPAN_S = 1e12
"""Longest stream, in seconds of data time: beyond, a double no longer tells milliseconds apart."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Published:
    """What is known of the arrivals in a published trace."""

    per_s: float
    """Arrivals a second, on average."""
    cv: float
    """Coefficient of variation of the gaps, all hours of the day together."""
    max_over_min: float | None
    """Arrivals in the busiest hour of the day over those in the quietest; None: the trace is too short to say."""
    source: str
    collected: str
    """When the trace was taken."""


PRESETS: Mapping[Preset, Published] = {
    "philly_jobs": Published(
        per_s=31.5 / 3600.0,
        cv=15.1,
        max_over_min=3.28,
        source="training jobs of Microsoft's Philly clusters; Jeon et al., USENIX ATC 2019 (arXiv 1901.05758)",
        collected="2017-08 to 2017-12",
    ),
    "azure_conversation": Published(
        per_s=5.4,
        cv=1.09,
        max_over_min=None,
        source="Azure LLM inference trace 2023, conversation; Patel et al., Splitwise, ISCA 2024",
        collected="2023-11",
    ),
    "azure_code": Published(
        per_s=2.4,
        cv=13.15,
        max_over_min=None,
        source="Azure LLM inference trace 2023, code; Patel et al., Splitwise, ISCA 2024",
        collected="2023-11",
    ),
}
"""Rates are given to two or three digits, coefficients of variation to three or four."""


class DailyConfig(Section):
    """A rate that rises and falls like a cosine over the 24 hours of the day."""

    max_over_min: float = Field(ge=1, le=1000)
    """Rate in the busiest hour over that in the quietest, which is 12 hours from it."""
    peak_hour: int = Field(default=14, ge=0, le=23)
    """The busiest hour, from its beginning to that of the next (UTC)."""


class WeeklyConfig(Section):
    """A rate that is another on Saturdays and Sundays."""

    weekend_share: float = Field(ge=0.001, le=1000)
    """Rate on Saturdays and Sundays over that on other days, at the same hour."""


class ArrivalsConfig(Section):
    """Modelled samples whose gaps have a family, a mean and a coefficient of variation; for the simulator only."""

    kind: Literal["arrivals"] = "arrivals"
    num_samples: int = Field(gt=0)
    preset: Preset | None = None
    """A published trace, which brings `every`, `family`, `cv` and `daily` where they are not said."""
    every: Duration
    """Mean data time from one sample to the next."""
    family: Family = "gamma"
    """Distribution of the gaps."""
    cv: float | None = Field(default=None, ge=0.01, le=100)
    """Coefficient of variation of the gaps; for gamma and weibull, and only there."""
    daily: DailyConfig | None = None
    weekly: WeeklyConfig | None = None
    start: float = Field(default=0.0, ge=-_MAX_SPAN_S, le=_MAX_SPAN_S)
    """Data time before the first sample."""
    chunk: int = Field(default=10_000, gt=0)
    """Samples ingested at a time."""
    label_delay: Delay = 0.0
    """Data time from a sample to the moment at which its label is known."""

    @model_validator(mode="before")
    @classmethod
    def _of_preset(cls, values: Any) -> Any:
        """What the preset says is written out, so a saved configuration stays what it is."""
        if not isinstance(values, Mapping) or values.get("preset") not in get_args(Preset):
            return values
        published = PRESETS[values["preset"]]
        filled: dict[str, Any] = {"every": 1 / published.per_s, "family": "weibull"}
        if values.get("family", "weibull") in WITH_CV:
            filled["cv"] = published.cv
        if published.max_over_min is not None:
            filled["daily"] = {"max_over_min": published.max_over_min}
        return {**filled, **values}

    @model_validator(mode="after")
    def _can_be_drawn(self) -> ArrivalsConfig:
        if self.family in WITH_CV and self.cv is None:
            expected = "expected a number from 0.01 to 100 (or family exponential, whose cv is 1, or equal: 0)"
            raise WrongKeyError("cv", f"missing for family {self.family}, {expected}")
        if self.family not in WITH_CV and self.cv is not None:
            raise WrongKeyError("cv", f"got {self.cv:g}, expected null for family {self.family}, or another family")
        if self.every * self.num_samples > _MAX_SPAN_S:
            span = f"{self.num_samples} samples every {self.every:g} s"
            raise WrongKeyError("every", f"{span} span more than the {_MAX_SPAN_S:g} s of data time that are possible")
        return self


class RecordedConfig(Section):
    """Samples whose timestamps stand in one column of a file, and nothing else is known of; for the simulator only."""

    kind: Literal["recorded"] = "recorded"
    path: str
    """A Parquet file, or a CSV file with a heading row."""
    time: str
    """The column: numbers of seconds, dates or datetimes, in order."""
    limit: int | None = Field(default=None, gt=0)
    """Take only the first rows; None: all."""
    stretch: float = Field(default=1.0, ge=1e-9, le=1e9)
    """Factor on the data time since the first row: 0.5 makes everything come in half the time."""
    rate: float = Field(default=1.0, ge=1e-6, le=1e6)
    """Samples for each recorded one in the same data time, by interpolation between recorded times."""
    chunk: int = Field(default=10_000, gt=0)
    """Samples ingested at a time."""
    label_delay: Delay = 0.0
    """Data time from a sample to the moment at which its label is known."""

    @model_validator(mode="after")
    def _known_format(self) -> RecordedConfig:
        if self.file.suffix not in FORMATS:
            raise WrongKeyError("path", f"got {self.path}, expected a file whose name ends in {' or '.join(FORMATS)}")
        return self

    @property
    def file(self) -> Path:
        """The file."""
        return Path(self.path)
