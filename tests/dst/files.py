"""A case as a file: a failing one is kept in `cases/`, where the tests run it again, whatever the drawing becomes."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

from dst.draw import DATA_FOLDER, Case
from twinclock.yaml_text import read_yaml, write_yaml

CASES_FOLDER = Path(__file__).parent / "cases"
_FOLDER_MARK = "DATA"
"""Stands for the folder of the data files, which is another on every machine."""


def case_text(case: Case) -> str:
    """The case as YAML."""
    values = {key: value for key, value in asdict(case).items() if value not in ({}, None) and value is not False}
    return write_yaml(_replaced(values, f"{DATA_FOLDER}/", f"{_FOLDER_MARK}/"))


def read_case(file: Path) -> Case:
    """The case in a file that `case_text` made."""
    values: Any = read_yaml(file.read_text(encoding="utf-8"), str(file))
    return Case(**_replaced(values, f"{_FOLDER_MARK}/", f"{DATA_FOLDER}/"))


def _replaced(values: Any, old: str, new: str) -> Any:
    if isinstance(values, dict):
        return {key: _replaced(value, old, new) for key, value in values.items()}
    if isinstance(values, list):
        return [_replaced(value, old, new) for value in values]
    return new + values.removeprefix(old) if isinstance(values, str) and values.startswith(old) else values
