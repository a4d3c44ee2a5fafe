"""Importing what a user brings along: `package.module:name`, found also in the working directory."""

from __future__ import annotations

import importlib
import importlib.util
import os
import sys
from pathlib import Path
from typing import Any

from twinclock.errors import ConfigError
from twinclock.section import nearest


def create(path: str, key: str, **arguments: Any) -> Any:
    """What the callable at `package.module:name` gives for these arguments.

    `key` is the key of the configuration, for messages. ConfigError, one line, if it can't be
    imported or raises.
    """
    made_by = import_object(path, key)
    if not callable(made_by):
        raise ConfigError(f"{key}: {path} is a {type(made_by).__name__}, expected a class")
    try:
        return made_by(**arguments)
    except Exception as error:
        given = ", ".join(f"{name}={value!r}" for name, value in arguments.items())
        raise ConfigError(f"{key}: {path}({given}) failed: {_one_line(error)}") from error


def import_object(path: str, key: str) -> Any:
    """What the user means by `package.module:name`; the working directory is searched last.

    ConfigError, one line that begins with `key`, if it can't be imported.
    """
    module_name, _, name = path.partition(":")
    if module_name in ("__main__", "__mp_main__"):
        raise ConfigError(
            f"{key}: {path} is defined in a script or notebook, which a worker process can't import; "
            "expected a class in a module file of its own"
        )
    _search_working_directory()
    try:
        module = importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        raise ConfigError(
            f"{key}: can't import {path}: no module {error.name!r} on the Python path or in {os.getcwd()}"
        ) from error
    except Exception as error:
        raise ConfigError(f"{key}: can't import {path}: {_one_line(error)}") from error
    if not hasattr(module, name):
        public = [each for each in vars(module) if not each.startswith("_")]
        raise ConfigError(f"{key}: module {module_name} has no {name!r}; {nearest(name, public)}")
    return getattr(module, name)


def module_file(path: str) -> Path | None:
    """The source of the module in `package.module:name`, found as `import_object` finds it; None if it has none."""
    _search_working_directory()
    try:
        spec = importlib.util.find_spec(path.partition(":")[0])
    except (ImportError, ValueError):
        return None
    file = None if spec is None or spec.origin is None else Path(spec.origin)
    return file if file is not None and file.is_file() else None


def _search_working_directory() -> None:
    if os.getcwd() not in sys.path:
        sys.path.append(os.getcwd())


def _one_line(error: BaseException) -> str:
    return " ".join(f"{type(error).__name__}: {error}".split())
