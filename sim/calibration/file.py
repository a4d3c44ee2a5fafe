"""The file of a calibration: what stands in the section `sim`, and where it is from."""

from __future__ import annotations

import os
from collections.abc import Mapping
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from sim.calibration.figures import Figure
from sim.calibration.likeness import device_kind, what_matters
from sim.calibration.result import Calibration
from twinclock.errors import RunError
from twinclock.run_folder import replace_durably
from twinclock.yaml_text import write_yaml

_HEAD = """\
# What a simulated run costs, fitted to real runs by `twinclock calibrate`.
# Use it with   sim: {{calibration: {name}}}   in a configuration; what is said beside it there wins.
# `fitted` says what it is from. Folders of runs are relative to this file.
"""


def write_calibration(found: Calibration, file: Path) -> Path:
    """Write the file in one step. RunError if it can't be written."""
    values: dict[str, Any] = {"costs": found.costs}
    if found.interference is not None:
        values["interference"] = found.interference
    if found.matrix:
        folders = [_from(file, folder) for folder in found.matrix]
        values["quality"] = {"kind": "matrix", "run": folders if len(folders) > 1 else folders[0]}
    elif found.quality is not None:
        values["quality"] = found.quality
    values["fitted"] = _about(found, file)
    try:
        with replace_durably(file) as unfinished:
            unfinished.write_text(_HEAD.format(name=file.name) + write_yaml(rounded(values)), encoding="utf-8")
    except OSError as error:
        raise RunError(f"{file}: can't be written ({error.strerror or error}); expected a writable path") from None
    return file


def _about(found: Calibration, file: Path) -> dict[str, Any]:
    first = found.runs[0]
    about: dict[str, Any] = {
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "version": _version(),
        "runs": [
            {
                "folder": None if run.folder is None else _from(file, run.folder),
                "name": run.config.name,
                "config": run.header.get("hashes", {}).get("config"),
            }
            for run in found.runs
        ],
        "executor": first.header["executor"],
        "device": device_kind(first),
        "num_devices": sorted({len(run.header.get("devices") or ()) for run in found.runs}),
        "training": _without_told(found, what_matters(found.runs)),
        "data": first.config.data.model_dump(mode="json", exclude_none=True, exclude_defaults=True)
        | {"kind": first.config.data.kind},
        "figures": [_plain(each) for each in found.figures],
        "missing": list(found.missing),
    }
    if found.matrix and found.quality is not None:
        about["formula"] = found.quality
    return about


def _without_told(found: Calibration, training: dict[str, Any]) -> dict[str, Any]:
    """Epochs are counted by the formula, and so are minibatches if the seconds of a step were told."""
    counted = ["epochs"] + (["batch_size"] if "step_s" in found.costs["training"] else [])
    return {key: value for key, value in training.items() if key not in counted}


def _plain(figure: Figure) -> dict[str, Any]:
    return {
        "key": figure.key,
        "value": figure.value,
        "low": figure.low,
        "high": figure.high,
        "unit": figure.unit,
        "observations": figure.num_observations,
        "left_out": figure.num_left_out,
        "spread": figure.spread,
    }


def _from(file: Path, folder: Path) -> str:
    """A folder as seen from where the file lies, so that both can be moved together."""
    return os.path.relpath(folder, file.parent)


def rounded(value: Any) -> Any:
    """Six digits are more than any of it is known to."""
    if isinstance(value, Mapping):
        return {key: rounded(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [rounded(each) for each in value]
    return float(f"{value:.6g}") if isinstance(value, float) else value


def _version() -> str:
    try:
        return version("twinclock")
    except PackageNotFoundError:
        return "unknown"
