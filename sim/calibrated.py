"""Costs that `twinclock calibrate` has fitted to real runs and written to a file, as defaults of the section `sim`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from twinclock.config import TrainingConfig
from twinclock.errors import ConfigError
from twinclock.section import shown
from twinclock.yaml_text import read_yaml

SECTIONS = ("costs", "interference", "quality")
"""What the file holds of the section `sim`."""
FITTED = "fitted"
"""What it says of the fit itself."""
_EXPECTED = "expected a file as twinclock calibrate writes it"
_UNSAID = {"costs.training": "formula", "costs.evaluation": "formula", "quality": "decay"}
"""Subsection → its kind where none is said."""


@dataclass(frozen=True, slots=True)
class CalibrationFile:
    """What stands in such a file."""

    file: str
    sections: Mapping[str, Any]
    """`costs`, and `interference` and `quality` if the runs have shown them; folders of runs as seen from here."""
    fitted: Mapping[str, Any]
    """Date, version, runs, and what about them the costs depend on."""


def read_calibration(file: str) -> CalibrationFile:
    """What stands in a file, read again only if it has changed. ConfigError if it is no such file."""
    try:
        status = Path(file).stat()
    except OSError as error:
        raise ConfigError(f"{file}: can't be read ({error.strerror}); {_EXPECTED}") from None
    return _read(file, status.st_mtime_ns, status.st_size)


@lru_cache(maxsize=64)
def _read(file: str, _mtime_ns: int, _size: int) -> CalibrationFile:
    try:
        text = Path(file).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{file}: can't be read ({getattr(error, 'strerror', 'not text')}); {_EXPECTED}") from None
    values = read_yaml(text, file)
    if not isinstance(values, Mapping):
        raise ConfigError(f"{file}: got {shown(values)}; {_EXPECTED}")
    for key in ("costs", FITTED):
        if not isinstance(values.get(key), Mapping):
            raise ConfigError(f"{file}: {key}: got {shown(values.get(key))}, expected a mapping; {_EXPECTED}")
    if unknown := [key for key in values if key not in (*SECTIONS, FITTED)]:
        raise ConfigError(f"{file}: {unknown[0]}: unknown key, expected {', '.join((*SECTIONS, FITTED))}; {_EXPECTED}")
    sections = {key: values[key] for key in SECTIONS if key in values}
    quality = sections.get("quality")
    if isinstance(quality, Mapping) and "run" in quality:
        sections["quality"] = {**quality, "run": _from_here(Path(file).parent, quality["run"])}
    return CalibrationFile(file, sections, values[FITTED])


def _from_here(place: Path, run: Any) -> Any:
    """Folders of runs, one or several, relative to a place until now; what is neither is left to be refused."""
    if isinstance(run, list):
        return [_from_here(place, each) for each in run]
    return str(place / run) if isinstance(run, str) else run


def merged(below: Mapping[str, Any], above: Mapping[str, Any], under: str = "") -> dict[str, Any]:
    """`above`, and what it does not say from `below`, key by key; a subsection of another kind is that of `above`."""
    whole = dict(below)
    for key, value in above.items():
        path, before = f"{under}{key}", below.get(key)
        if isinstance(value, Mapping) and isinstance(before, Mapping) and _is_same_kind(value, before, path):
            whole[key] = merged(before, value, f"{path}.")
        else:
            whole[key] = value
    return whole


def _is_same_kind(above: Mapping[str, Any], below: Mapping[str, Any], path: str) -> bool:
    kind = below.get("kind", _UNSAID.get(path))
    return bool(above.get("kind", _UNSAID.get(path, kind)) == kind)


def calibration_notes(file: str, training: TrainingConfig) -> tuple[str, ...]:
    """Where the costs are from, and what about `training` differs from the runs that they are fitted to."""
    fitted = read_calibration(file).fitted
    runs = fitted.get("runs") or ()
    names = ", ".join(dict.fromkeys(str(each.get("name")) for each in runs))
    said = f"costs from {file}, fitted on {str(fitted.get('date'))[:10]} to {len(runs)} run{'s' * (len(runs) != 1)}"
    plain, theirs = training.model_dump(mode="json"), fitted.get("training") or {}
    differing = [key for key in theirs if key in plain and not _is_known(plain[key], theirs[key])]
    return (
        f"{said} of {names}",
        *(f"extrapolated: {file} was fitted with another training.{key}" for key in differing),
    )


def _is_known(value: Any, fitted: Any) -> bool:
    """A list in the file holds each value that the runs had."""
    return value in fitted if isinstance(fitted, list) else bool(value == fitted)
