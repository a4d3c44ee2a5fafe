"""The figures of one run by which runs are compared: one flat mapping from name to number."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from twinclock.errors import ConfigError
from twinclock.section import nearest

NOT_FIGURES = frozenset({"seed"})
"""Numbers of a summary that say what was run, not what came of it."""


def figures(summary: Mapping[str, Any]) -> dict[str, float | None]:
    """Every number of a run's summary, None where the run has none.

    Composites of other metrics than accuracy are added as `active_log_loss`, `trained_…` or `served_…`.
    """
    found = {name: _number(value) for name, value in summary.items() if name not in NOT_FIGURES}
    plain = {name: value for name, value in found.items() if value is not None or summary[name] is None}
    for each in summary["composites"]:
        if each["metric"] != "accuracy":
            plain[f"{each['models']}_{each['metric']}"] = _number(each["value"])
    return {name: value for name, value in plain.items() if name not in _TEXTS}


def ensure_figure(name: str, known: Iterable[str], where: str) -> None:
    """ConfigError, which begins with `where`, if a run that is done has no such figure at all."""
    names = sorted(known)
    if name not in names:
        raise ConfigError(f"{where}: got {name!r}, expected a figure of a run; {nearest(name, names)}")


_TEXTS = frozenset({"outcome", "error"})
"""Entries of a summary that are text, or None."""


def _number(value: Any) -> float | None:
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else None
