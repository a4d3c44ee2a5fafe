"""The variants among which a search chooses: the axes of its study, one after the other.

An axis with levels of its own (grid, list, zipped) is one choice among them. Of a random axis every key is a number
between its bounds; its points do not matter. An axis with `when` is asked for only where it applies.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Protocol

from experiments.axes import Axis, Draw, RandomAxis, applies, columns
from experiments.study import Study
from experiments.variants import Level, Variant, extend, levels_of, made_level, named_variant, variants
from twinclock.errors import ConfigError


class Suggest(Protocol):
    """Who decides; a trial of Optuna's does."""

    def suggest_categorical(self, name: str, choices: Sequence[str]) -> str:
        """One of the choices."""

    def suggest_float(self, name: str, low: float, high: float, *, log: bool) -> float:
        """A number between two bounds."""

    def suggest_int(self, name: str, low: int, high: int, *, log: bool) -> int:
        """A whole number between two bounds."""


def suggested(study: Study, who: Suggest) -> Variant:
    """The variant that somebody decides for, axis by axis."""
    variant = Variant("", {}, {})
    for axis in study.axes:
        if applies(axis.when, variant.levels):
            (variant,) = extend(variant, [_level(axis, who)])
    return named_variant(study, variant)


def every_choice(study: Study) -> list[dict[str, str]] | None:
    """What could be decided, name by name, for each variant; None if an axis has any number of levels."""
    if any(isinstance(axis, RandomAxis) for axis in study.axes):
        return None
    found: list[dict[str, str]] = []
    for variant in variants(study):
        by_axis = {
            _name(axis): level.text
            for axis in study.axes
            for level in levels_of(axis)
            if applies(axis.when, variant.levels) and level.levels.items() <= variant.levels.items()
        }
        found.append(by_axis)
    return found


def ensure_searchable(study: Study) -> None:
    """ConfigError if there is nothing to choose, or levels can't be told apart."""
    if not study.axes:
        raise ConfigError(f"{study.name}: axes: got none, expected something to search among")
    for axis in study.axes:
        if not isinstance(axis, RandomAxis):
            texts = [level.text for level in levels_of(axis)]
            if twice := [text for text in texts if texts.count(text) > 1]:
                raise ConfigError(f"{study.name}: axes: got {twice[0]!r} twice, expected different levels")


def _level(axis: Axis, who: Suggest) -> Level:
    if isinstance(axis, RandomAxis):
        names = list(columns(axis))
        pairs = zip(names, axis.draws.items(), strict=True)
        return made_level(names, {key: _number(name, draw, who) for name, (key, draw) in pairs})
    by_text = {level.text: level for level in levels_of(axis)}
    return by_text[who.suggest_categorical(_name(axis), tuple(by_text))]


def _number(name: str, draw: Draw, who: Suggest) -> float | int:
    if draw.whole:
        return who.suggest_int(name, math.ceil(draw.low), math.floor(draw.high), log=draw.log)
    return who.suggest_float(name, draw.low, draw.high, log=draw.log)


def _name(axis: Axis) -> str:
    """An axis that is one choice has one name, also where it fills several columns."""
    return ", ".join(columns(axis))
