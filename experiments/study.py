"""A study: one base configuration, what is varied in it, how often each variant is run, and what is compared."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from pydantic import Field, field_validator, model_validator

from experiments.axes import Axis, Changes, columns
from twinclock.config import read_source
from twinclock.durations import Duration
from twinclock.errors import ConfigError
from twinclock.section import ListOf, Name, Section, WrongKeyError, parse_section, shown
from twinclock.yaml_text import read_yaml, write_yaml

RESERVED = ("run", "variant", "seed", "state", "error", "metric", "value")
"""Columns of the tables of a study, which no axis can be called."""
_METRIC = re.compile(r"-?[A-Za-z]\w*")


class Metric(NamedTuple):
    """A figure of a run that variants are compared by."""

    name: str
    larger_is_better: bool


class FidelityConfig(Section):
    """With whose costs the variants are simulated, where the simulation is held against real runs."""

    calibrate_on: str | dict[str, Any] | None = None
    """The variant whose real runs give the costs of all others: its label, or its levels; None: the first."""
    calibrate_on_too: str | dict[str, Any] | None = None
    """The one whose runs give the costs of that variant; None: the first other one."""


class Study(Section):
    """What a study's file says. All but `name` and `base` have defaults."""

    name: Name
    question: str = ""
    """What the study is to answer, in words."""
    base: dict[str, Any]
    """The configuration that all variants are changes of; in a file also the path of its file."""
    on: str = "sim"
    """The executor that runs it."""
    changes: Changes = Field(default_factory=dict)
    """`path.to.key` → value, set in the base before anything is varied."""
    axes: ListOf[Axis] = ()
    seeds: int | ListOf[int] = 1
    """The seeds of each variant, or how many of them, counted from 0. All variants have the same."""
    metrics: ListOf[str] = Field(default=("accuracy", "-device_s"), min_length=1)
    """Figures of a run that variants are compared by, quality first; with a minus, less is better."""
    timeout: Duration | None = None
    """Seconds that one run may take; None: no limit."""
    fidelity: FidelityConfig = FidelityConfig()

    @field_validator("seeds", mode="before")
    @classmethod
    def _seeds_are_seeds(cls, seeds: object) -> object:
        if isinstance(seeds, list | tuple):
            if not seeds or not all(_is_whole(seed, 0) for seed in seeds) or len(set(seeds)) < len(seeds):
                raise ValueError("expected different whole numbers >= 0")
        elif not _is_whole(seeds, 1):
            raise ValueError("expected how many seeds, a whole number > 0, or a list of them")
        return seeds

    @field_validator("metrics")
    @classmethod
    def _metrics_are_names(cls, metrics: tuple[str, ...]) -> tuple[str, ...]:
        if wrong := [metric for metric in metrics if not _METRIC.fullmatch(metric)]:
            raise ValueError(f"got {', '.join(wrong)}, expected a figure of a run, such as accuracy or -device_s")
        names = [metric.removeprefix("-") for metric in metrics]
        if len(set(names)) < len(names):
            raise ValueError("expected each figure once")
        return metrics

    @model_validator(mode="after")
    def _axes_have_names_of_their_own(self) -> Study:
        seen: set[str] = set()
        for number, axis in enumerate(self.axes):
            if unknown := [name for name in axis.when if name not in seen]:
                earlier = ", ".join(sorted(seen)) or "none: this is the first"
                raise WrongKeyError(
                    f"axes.{number}.when", f"got {unknown[0]}, expected an earlier axis (there are: {earlier})"
                )
            for name in columns(axis):
                if name in seen or name in RESERVED:
                    taken = "a name of its own" if name in seen else f"another name than {', '.join(RESERVED)}"
                    raise WrongKeyError(f"axes.{number}", f"got an axis called {name}, expected {taken}")
            seen.update(columns(axis))
        return self

    @property
    def all_seeds(self) -> tuple[int, ...]:
        """The seeds of each variant."""
        return tuple(range(self.seeds)) if isinstance(self.seeds, int) else self.seeds

    @property
    def compared(self) -> tuple[Metric, ...]:
        """The metrics with their directions, in order."""
        return tuple(Metric(each.removeprefix("-"), not each.startswith("-")) for each in self.metrics)


def load_study(source: str | Path | Mapping[str, Any] | Study) -> Study:
    """A checked study from a YAML file or a mapping; its `base` is read where it is a path.

    A relative path is taken from the study's file, in a mapping from the working directory. ConfigError is one line:
    file, key, value got, what was expected. Variants are not checked yet: a wrong one is a failed run of its own.
    """
    if isinstance(source, Study):
        return source
    if isinstance(source, Mapping):
        return _study(source, "study", Path())
    file = Path(source)
    try:
        values = read_yaml(file.read_text(encoding="utf-8"), str(file))
    except FileNotFoundError:
        raise ConfigError(f"{file}: no such file, expected a study in YAML") from None
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "not UTF-8 text"
        raise ConfigError(f"{file}: can't be read ({reason}), expected a study in YAML") from None
    if not isinstance(values, dict):
        raise ConfigError(f"{file}: got {shown(values)}, expected a mapping with name, base and axes")
    if "base" not in values and "trigger" in values:
        raise ConfigError(f"{file}: this is a configuration, expected a study: a file with name, base and axes")
    return _study(values, str(file), file.parent)


def dump_study(study: Study) -> str:
    """The study as YAML that `load_study` takes, its base spelt out."""
    return write_yaml(study.model_dump(mode="json"))


def _is_whole(value: object, least: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= least


def _study(values: Mapping[str, Any], where: str, folder: Path) -> Study:
    base = values.get("base")
    if isinstance(base, str | Path):
        values = {**values, "base": read_source(folder / base)[0]}
    elif isinstance(base, Section):
        values = {**values, "base": read_source(base)[0]}  # type: ignore[arg-type] # a Config
    return parse_section(Study, values, where)
