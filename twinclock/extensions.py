"""What stands above the shared package, found by entry point: commands and functions over many runs.

Looked up by everything that begins with `twinclock`, so nothing heavy is imported here.
"""

from __future__ import annotations

from collections.abc import Callable
from importlib.metadata import entry_points
from typing import Any

FUNCTIONS = "twinclock.functions"
"""Public functions of `twinclock` by name."""
COMMANDS = "twinclock.commands"
"""Further commands of `twinclock`: name → the function that typer makes one of."""


def function(name: str) -> Any:
    """A public function that stands above this package. AttributeError if it is not installed."""
    for point in entry_points(group=FUNCTIONS, name=name):
        return point.load()
    raise AttributeError(f"twinclock.{name}: not installed; expected the whole distribution, see README")


def commands() -> dict[str, Callable[..., None]]:
    """The further commands by name."""
    return {point.name: point.load() for point in sorted(entry_points(group=COMMANDS), key=lambda each: each.name)}
