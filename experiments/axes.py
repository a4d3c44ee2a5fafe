"""The axes of a study: what is varied, and which values it takes.

Axes multiply: every level of one meets every level of the others. An axis with `when` has its levels only where earlier
axes have the levels named there, and none elsewhere.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping
from typing import Annotated, Any, Literal, TypeAlias

from pydantic import AfterValidator, Field, model_validator

from twinclock.section import ListOf, Section, WrongKeyError

Scalar: TypeAlias = str | int | float | bool | None
Changes: TypeAlias = dict[str, Any]
"""`path.to.key` → the value that it gets."""
When: TypeAlias = dict[str, Scalar | list[Scalar]]
"""Name of an earlier axis → the level, or levels, at which this axis applies."""


def _key(text: str) -> str:
    if not all(text.split(".")):
        raise ValueError("expected path.to.key of a configuration")
    return text


Key: TypeAlias = Annotated[str, AfterValidator(_key)]
"""`path.to.key` of the base configuration."""


class GridAxis(Section):
    """One key and its values."""

    kind: Literal["grid"] = "grid"
    key: Key
    values: ListOf[Any] = Field(min_length=1)
    name: str | None = Field(default=None, min_length=1)
    """What to call the axis; None: the last part of the key."""
    when: When = Field(default_factory=dict)


class ListAxis(Section):
    """Variants by name, each with any number of changes: policies, for instance."""

    kind: Literal["list"] = "list"
    name: str = Field(min_length=1)
    variants: dict[str, Changes] = Field(min_length=1)
    """Name of the variant → its changes, possibly none."""
    when: When = Field(default_factory=dict)


class ZippedAxis(Section):
    """Keys that vary together: the first of all, the second of all, and so on."""

    kind: Literal["zipped"] = "zipped"
    values: dict[Key, ListOf[Any]] = Field(min_length=1)
    """Key → its values; all have the same number of them."""
    when: When = Field(default_factory=dict)

    @model_validator(mode="after")
    def _of_one_length(self) -> ZippedAxis:
        lengths = {key: len(values) for key, values in self.values.items()}
        if len(set(lengths.values())) > 1 or 0 in lengths.values():
            got = ", ".join(f"{key} has {length}" for key, length in lengths.items())
            raise WrongKeyError("values", f"got lists of different lengths ({got}), expected as many values for each")
        return self


class Draw(Section):
    """Numbers between two bounds, both included."""

    low: float
    high: float
    log: bool = False
    """As many below the geometric middle as above it, instead of the arithmetic one."""
    whole: bool = False
    """Whole numbers only."""

    @model_validator(mode="after")
    def _is_a_range(self) -> Draw:
        if self.high <= self.low:
            raise WrongKeyError("high", f"got {self.high:g}, expected a number > low, which is {self.low:g}")
        least = 1.0 if self.whole else 0.0
        if self.log and (self.low < least or self.low == 0):
            sign = ">=" if self.whole else ">"
            raise WrongKeyError("low", f"got {self.low:g}, expected a number {sign} {least:g} with log")
        return self


class RandomAxis(Section):
    """Points drawn at random, spread evenly over the ranges of all keys (a Latin hypercube)."""

    kind: Literal["random"] = "random"
    num_points: int = Field(gt=0)
    draws: dict[Key, Draw] = Field(min_length=1)
    seed: int = Field(default=0, ge=0)
    """Of the points, which are the same for all seeds of the runs."""
    when: When = Field(default_factory=dict)


Axis: TypeAlias = Annotated[GridAxis | ListAxis | ZippedAxis | RandomAxis, Field(discriminator="kind")]


def columns(axis: Axis) -> dict[str, str]:
    """The name of each column that an axis fills → the key that stands behind it, or "" for a list's."""
    match axis:
        case GridAxis():
            return {axis.name or _last(axis.key): axis.key}
        case ListAxis():
            return {axis.name: ""}
        case ZippedAxis():
            return _named(axis.values)
        case RandomAxis():
            return _named(axis.draws)


def _named(keys: Collection[str]) -> dict[str, str]:
    """Each key by its last part, and those that share one by the whole of it."""
    shared = Counter(map(_last, keys))
    return {_last(key) if shared[_last(key)] == 1 else key: key for key in keys}


def _last(key: str) -> str:
    return key.rsplit(".", 1)[-1]


def applies(when: Mapping[str, Scalar | list[Scalar]], levels: Mapping[str, Any]) -> bool:
    """Are the levels of the earlier axes such that an axis with this `when` varies?"""
    return all(levels.get(name) in (each if isinstance(each, list) else [each]) for name, each in when.items())
