"""Finding executors without importing what stands above the shared package: by entry point.

An executor is a plugin in the group `twinclock.executors`; the project's own are `sim` and `real`, a
user's package can add another.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from pydantic import BaseModel

from twinclock.allocator import Allocator, Granting
from twinclock.config import Config
from twinclock.errors import ConfigError
from twinclock.executor import Executor
from twinclock.graph import Json
from twinclock.stages import Context
from twinclock.stream import ClockTime, Stream
from twinclock.watch import Watcher

GROUP = "twinclock.executors"


class ExecutorPlugin(Protocol):
    """What an executor brings besides itself."""

    @property
    def section(self) -> type[BaseModel]:
        """The model of its own section of the configuration."""

    @property
    def is_resumable(self) -> bool:
        """Are its runs journaled, so that they survive a crash? If so, a run needs a folder."""

    def unsupported(self, config: Config) -> list[str]:
        """What the configuration asks for and this executor can't do, each as `key: got …, expected …`."""

    def open_stream(self, config: Config) -> Stream:
        """The samples of the run. DataError if they can't be had."""

    def devices(self, config: Config) -> tuple[str, ...]:
        """The names of the devices that the run has. ConfigError if there are fewer than asked for."""

    def notes(self, config: Config) -> Mapping[str, Any]:
        """What the header of a run should say of this executor, e.g. whether its costs are measured."""

    def open(
        self,
        context: Context,
        allocator: Allocator,
        *,
        pipeline: str,
        folder: Path | None,
        from_clock: ClockTime,
        watcher: Watcher,
    ) -> Executor:
        """The executor for one run, its clock at `from_clock`; `folder` is the run's, if it has one."""


@runtime_checkable
class FleetPlugin(ExecutorPlugin, Protocol):
    """An executor that can run several pipelines on one cluster."""

    def open_fleet(self, contexts: Mapping[str, Context], allocator: Granting) -> Executor:
        """One executor for these pipelines."""


@runtime_checkable
class RestoringPlugin(ExecutorPlugin, Protocol):
    """An executor that keeps something beside the journal which has to agree with it."""

    def restore(self, folder: Path, registers: Mapping[str, Json]) -> None:
        """A run in `folder` is resumed: make what lies there agree with the registers as the journal has them.

        There are none where the run has not come to them yet, or is past them. Called before the executor is opened.
        """


def ensure_reads(plugin: ExecutorPlugin, variable: str, option: str) -> None:
    """ConfigError unless an executor reads an environment variable that the command's option would set.

    Those that read any name them in `environment`, a tuple, beside what the protocol asks for.
    """
    if variable not in getattr(plugin, "environment", ()):
        raise ConfigError(f"{option}: the executor of this run has no use for it")


def names() -> list[str]:
    """The executors that are installed."""
    return sorted({point.name for point in entry_points(group=GROUP)})


@cache
def find(name: str) -> ExecutorPlugin:
    """The executor of that name, looked up once a process: a sweep asks for each of its runs. ConfigError if none."""
    for point in entry_points(group=GROUP, name=name):
        plugin: ExecutorPlugin = point.load()
        return plugin
    raise ConfigError(f"no executor {name!r}; installed: {', '.join(names()) or 'none (is twinclock installed?)'}")
