"""What a result depends on, as one id: the whole configuration, the data, the code, and the libraries that it uses."""

from __future__ import annotations

import hashlib
import json
import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from twinclock.arrivals import RecordedConfig
from twinclock.config import Config, config_hash, load_config
from twinclock.dataset import TableConfig, fingerprint
from twinclock.errors import UserError
from twinclock.imports import module_file
from twinclock.run_folder import HEADER

_PACKAGES = ("twinclock", "sim", "real")
_LIBRARIES = ("numpy", "polars", "river", "scikit-learn", "scipy", "simpy", "torch")
_SUFFIXES = (".py", ".yaml")
_IMPORT = re.compile(r"[A-Za-z_][\w.]*:[A-Za-z_]\w*")
_LONGEST_PATH = 1000
_SHORT = 16
"""Hex digits of an id: enough for a thousand million runs before two are likely to share one."""


def run_ids(configs: Sequence[Mapping[str, Any] | str], on: str) -> list[str]:
    """The id of each run: the same for the same result, another if anything that decides it is another.

    A text stands for a configuration that could not be made. What is no configuration has an id too, by what it says.
    """
    data_prints: dict[str, str] = {}
    return [
        _digest({"wrong": values}) if isinstance(values, str) else _run_id(values, on, data_prints)
        for values in configs
    ]


def _run_id(values: Mapping[str, Any], on: str, data_prints: dict[str, str]) -> str:
    try:
        config = load_config(values)
        data = _data_print(config, data_prints)
    except UserError:
        return _digest({"wrong": values, "on": on})
    plain = config.model_dump(mode="json")
    surroundings = {"code": code_version(), "data": data, "imports": _imported(plain), "runs": _runs_read(plain)}
    surroundings |= _calibration_read(plain)
    return _digest({"config": config_hash(config), "on": on, **surroundings})


def _data_print(config: Config, known: dict[str, str]) -> str:
    """A fingerprint of the data, each file read once."""
    if not isinstance(config.data, TableConfig | RecordedConfig):
        return ""
    file = str(config.data.file)
    if file not in known:
        known[file] = fingerprint(config.data)
    return known[file]


@cache
def code_version() -> str:
    """A fingerprint of the source of the packages and the versions of the libraries that they use."""
    digest = hashlib.sha256()
    for package in _PACKAGES:
        for file in _sources(package):
            digest.update(file.read_bytes())
    for library in _LIBRARIES:
        digest.update(f"{library} {_version(library)}".encode())
    digest.update(f"python {sys.version_info[:2]}".encode())
    return digest.hexdigest()


def _imported(plain: Any) -> dict[str, str]:
    """The modules that a configuration imports for the user → a fingerprint of their source, "" if they have none."""
    paths = {text for text in _texts(plain) if _IMPORT.fullmatch(text)}
    return {path: _file_print(module_file(path)) for path in sorted(paths)}


def _runs_read(plain: Any) -> dict[str, str]:
    """The folders of earlier runs that a configuration names → a fingerprint of their headers."""
    folders = {text for text in _texts(plain) if "\0" not in text and len(text) < _LONGEST_PATH}
    headers = {text: Path(text) / HEADER for text in sorted(folders)}
    return {text: _file_print(header) for text, header in headers.items() if header.is_file()}


def _calibration_read(plain: Mapping[str, Any]) -> dict[str, str]:
    """A fingerprint of the file that costs are from, if they are from one; its name is in the configuration."""
    file = (plain.get("sim") or {}).get("calibration")
    return {"calibration": _file_print(Path(file))} if isinstance(file, str) and Path(file).is_file() else {}


def _texts(values: Any) -> Iterator[str]:
    if isinstance(values, Mapping):
        for each in values.values():
            yield from _texts(each)
    elif isinstance(values, list | tuple):
        for each in values:
            yield from _texts(each)
    elif isinstance(values, str):
        yield values


def _file_print(file: Path | None) -> str:
    return "" if file is None else hashlib.sha256(file.read_bytes()).hexdigest()


def _sources(package: str) -> Iterator[Path]:
    spec = find_spec(package)
    for folder in (spec.submodule_search_locations or ()) if spec else ():
        yield from sorted(file for file in Path(folder).rglob("*") if file.suffix in _SUFFIXES)


def _version(library: str) -> str:
    try:
        return version(library)
    except PackageNotFoundError:
        return "none"


def _digest(values: Mapping[str, Any]) -> str:
    text = json.dumps(values, sort_keys=True, separators=(",", ":"), default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:_SHORT]
