"""From the axes of a study to its variants."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from experiments.axes import Axis, Changes, Draw, GridAxis, ListAxis, RandomAxis, ZippedAxis, applies
from experiments.axes import columns as columns_of
from experiments.study import Study
from twinclock.errors import ConfigError
from twinclock.yaml_text import put

_SEPARATOR = " · "


@dataclass(frozen=True, slots=True)
class Variant:
    """One combination of the levels of all axes."""

    label: str
    """`drift · n=500`; of a study without axes, its name."""
    levels: Mapping[str, Any]
    """Column of an axis → its level, a scalar; columns of axes that do not apply are left out."""
    changes: Changes
    """`path.to.key` → value."""

    def values(self, study: Study, seed: int | None = None) -> dict[str, Any]:
        """The configuration of this variant, unchecked. ConfigError if a key can't be set."""
        config: dict[str, Any] = dict(study.base)
        for path, value in {**study.changes, **self.changes}.items():
            config = put(config, path, value, f"{self.label}: {path}")
        return config if seed is None else {**config, "seed": seed}


@dataclass(frozen=True, slots=True)
class Level:
    """One level of an axis."""

    text: str
    """Its part of a variant's label."""
    levels: Mapping[str, Any]
    """Column of the axis → its level."""
    changes: Changes


def variants(study: Study) -> tuple[Variant, ...]:
    """All variants of a study, the first axis varying slowest. ConfigError if two would have the same label."""
    found = [Variant("", {}, {})]
    for axis in study.axes:
        levels = list(levels_of(axis))
        found = [
            extended
            for variant in found
            for extended in (extend(variant, levels) if applies(axis.when, variant.levels) else [variant])
        ]
    named = [named_variant(study, each) for each in found]
    seen: set[str] = set()
    for variant in named:
        if variant.label in seen:
            raise ConfigError(f"{study.name}: axes: two variants are called {variant.label!r}, expected different ones")
        seen.add(variant.label)
    return tuple(named)


def axis_columns(study: Study) -> tuple[str, ...]:
    """The columns of all axes, in order."""
    return tuple(name for axis in study.axes for name in columns_of(axis))


def drawn(draw: Draw, share: float) -> int | float:
    """The number at a share in [0, 1) of the way from `low` to `high`; whole numbers have equal parts of the way."""
    margin = 0.5 if draw.whole else 0.0
    low, high = draw.low - margin, draw.high + margin
    if draw.log:
        value = math.exp(math.log(low) + share * (math.log(high) - math.log(low)))
    else:
        value = low + share * (high - low)
    return min(max(round(value), math.ceil(draw.low)), math.floor(draw.high)) if draw.whole else value


def named_variant(study: Study, variant: Variant) -> Variant:
    """The variant with a label, also where no axis applied."""
    return Variant(variant.label or study.name, variant.levels, variant.changes)


def extend(variant: Variant, levels: Iterable[Level]) -> list[Variant]:
    """The variant with each of the levels of one more axis."""
    return [
        Variant(
            _SEPARATOR.join(filter(None, (variant.label, level.text))),
            {**variant.levels, **level.levels},
            {**variant.changes, **level.changes},
        )
        for level in levels
    ]


def levels_of(axis: Axis) -> Iterator[Level]:
    """The levels of an axis, in order; of a random one, its points."""
    names = list(columns_of(axis))
    match axis:
        case ListAxis():
            for name, changes in axis.variants.items():
                yield Level(name, {axis.name: name}, changes)
        case GridAxis():
            for value in axis.values:
                yield made_level(names, {axis.key: value})
        case ZippedAxis():
            for row in zip(*axis.values.values(), strict=True):
                yield made_level(names, dict(zip(axis.values, row, strict=True)))
        case RandomAxis():
            from scipy.stats import qmc

            points = qmc.LatinHypercube(len(axis.draws), rng=axis.seed).random(axis.num_points)
            for point in points:
                pairs = zip(axis.draws.items(), point, strict=True)
                yield made_level(names, {key: drawn(draw, float(share)) for (key, draw), share in pairs})


def made_level(names: Sequence[str], changes: Changes) -> Level:
    """The level that changes some keys, each with its column."""
    levels = {name: _scalar(value) for name, value in zip(names, changes.values(), strict=True)}
    return Level(_SEPARATOR.join(f"{name}={_text(value)}" for name, value in levels.items()), levels, changes)


def _scalar(value: Any) -> Any:
    return value if isinstance(value, str | int | float | bool) else json.dumps(value, sort_keys=True)


def _text(value: Any) -> str:
    return f"{value:.6g}" if isinstance(value, float) else str(value)
