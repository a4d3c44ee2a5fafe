"""YAML 1.2 to plain values and back: no duplicate keys, `1e-3` is a number, `on` and `no` are strings."""

from __future__ import annotations

import io
import math
from collections.abc import Mapping
from copy import deepcopy
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError, YAMLError

from twinclock.errors import ConfigError
from twinclock.section import shown

_MOST_VALUES = 1_000_000
"""A few lines of aliases can stand for more values than any memory holds."""


def read_yaml(text: str, where: str) -> Any:
    """The values of a YAML text. ConfigError names `where`, line and column."""
    try:
        values = YAML(typ="safe", pure=True).load(text)
    except MarkedYAMLError as error:
        mark = error.problem_mark
        place = f" line {mark.line + 1}, column {mark.column + 1}:" if mark else ""
        raise ConfigError(f"{where}:{place} not YAML: {_first_line(error.problem or error)}") from None
    except (YAMLError, ValueError) as error:
        raise ConfigError(f"{where}: not YAML: {_first_line(error)}") from None
    if _size(values, {}) > _MOST_VALUES:
        told = "its aliases stand for more than a million values, or for themselves"
        raise ConfigError(f"{where}: {told}; expected a configuration that can be written out")
    return values


def write_yaml(values: Mapping[str, Any]) -> str:
    """YAML that `read_yaml` reads back, keys in the order given."""
    writer = YAML(typ="safe", pure=True)
    writer.default_flow_style = False
    writer.sort_base_mapping_type_on_output = False  # type: ignore[assignment] # its None is a bool not yet set
    writer.width = 120
    text = io.StringIO()
    writer.dump(values, text)
    return text.getvalue()


def override(values: Mapping[str, Any], assignment: str) -> tuple[dict[str, Any], str]:
    """A copy of `values` with `path.to.key=value` done to it (the value is YAML), and the path.

    ConfigError if the assignment can't be read or leads through something that has no keys.
    """
    path, equals, text = assignment.partition("=")
    where = f"--set {assignment}"
    if not equals:
        raise ConfigError(f"{where}: expected path.to.key=value")
    path = path.strip()
    return put(values, path, read_yaml(text, where), where), path


def put(values: Mapping[str, Any], path: str, value: Any, where: str) -> dict[str, Any]:
    """A copy of `values` with the key at `path.to.key` set.

    Sections on the way are made; a number in the path is an index into a list. ConfigError, which begins with `where`,
    if the path leads through something that has no keys.
    """
    keys = path.split(".")
    if not all(keys):
        raise ConfigError(f"{where}: expected path.to.key=value")
    changed = deepcopy(dict(values))
    place: Any = changed
    for depth, key in enumerate(keys):
        last = depth == len(keys) - 1
        if isinstance(place, list):
            if not key.isdecimal() or int(key) >= len(place):
                raise ConfigError(
                    f"{where}: {'.'.join(keys[:depth])} is a list of {len(place)}, expected an index, got {key}"
                )
            index: Any = int(key)
        elif isinstance(place, dict):
            index = key
            if not last and place.get(key) is None:
                place[key] = {}
        else:
            raise ConfigError(f"{where}: unknown key: {'.'.join(keys[:depth])} is {shown(place)}, which has no keys")
        if last:
            place[index] = value
        else:
            place = place[index]
    return changed


def _size(value: Any, known: dict[int, float]) -> float:
    """How many values it is with all aliases written out; inf for what holds itself. `known`: by identity."""
    if not isinstance(value, dict | list):
        return 1
    if id(value) not in known:
        known[id(value)] = math.inf  # met again on the way down, it holds itself
        inside = value.values() if isinstance(value, dict) else value
        known[id(value)] = 1 + sum(_size(each, known) for each in inside)
    return known[id(value)]


def _first_line(error: object) -> str:
    return " ".join(str(error).split("\n")[0].split())
