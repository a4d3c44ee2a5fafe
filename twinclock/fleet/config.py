"""The configuration of a fleet: pipelines, each a configuration of its own, and the cluster that they share."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import Field

from twinclock.cluster import ClusterConfig
from twinclock.config import Config, load_config, read_source
from twinclock.errors import ConfigError
from twinclock.faults import NodesConfig
from twinclock.section import Name, Section, parse_section
from twinclock.yaml_text import override

_KEY = "fleet"


class FleetMember(Section):
    """A pipeline, or several that are alike."""

    config: str | dict[str, Any]
    """A configuration: a YAML file, its path relative to the fleet's file, or what would be in it."""
    set: dict[str, Any] = Field(default_factory=dict)
    """`path.to.key: value`: what is different from the configuration."""
    copies: int = Field(default=1, gt=0, le=100_000)
    """So many pipelines of this kind; their seeds follow one another."""


class FleetConfig(Section):
    """Pipelines that share one cluster."""

    name: str = Field(default="fleet", min_length=1)
    fleet: dict[Name, FleetMember] = Field(min_length=1)
    """By a name of your own, which is that of a folder too; copies are called `name-0`, `name-1`, …"""
    cluster: ClusterConfig = ClusterConfig()
    """Instead of the pipelines' own."""
    nodes: NodesConfig | None = None
    """Instead of the pipelines' own `faults.nodes`."""


def is_fleet(source: str | Path | Mapping[str, Any]) -> bool:
    """Is this the configuration of a fleet, and not of one pipeline?"""
    try:
        return _KEY in read_source(source)[0]
    except ConfigError:
        return False  # whoever reads it as a configuration of one pipeline says what is wrong


def load_fleet(
    source: str | Path | Mapping[str, Any], *, overrides: Sequence[str] = ()
) -> tuple[FleetConfig, dict[str, Config]]:
    """A checked fleet, and the configuration of each of its pipelines by name.

    `overrides` are `path.to.key=value`. ConfigError is one line: place, key, value got, what was expected.
    """
    folder = Path() if isinstance(source, Mapping) else Path(source).parent
    values, where = read_source(source)
    for assignment in overrides:
        values, _ = override(values, assignment)
    fleet = parse_section(FleetConfig, values, where)
    pipelines: dict[str, Config] = {}
    for name, member in fleet.fleet.items():
        for pipeline, config in _members(name, member, fleet, folder, where):
            if pipeline in pipelines:
                raise ConfigError(f"{where}: {_KEY}.{name}: there are two pipelines {pipeline}, expected other names")
            pipelines[pipeline] = config
    return fleet, pipelines


def _members(
    name: str, member: FleetMember, fleet: FleetConfig, folder: Path, where: str
) -> Iterator[tuple[str, Config]]:
    """The pipelines of one entry. The file is read once: copies differ in name and seed only."""
    shared = fleet.cluster.model_dump(mode="json", by_alias=True, exclude_defaults=True)
    nodes = None if fleet.nodes is None else fleet.nodes.model_dump(mode="json")
    try:
        source = folder / member.config if isinstance(member.config, str) else member.config
        config = load_config(source, overrides=[f"cluster={json.dumps(shared)}"])
        values = config.model_dump(mode="json", by_alias=True) | {"cluster": shared}
        values["faults"] = {**values["faults"], "nodes": nodes}
        first = load_config(values, overrides=[f"{path}={json.dumps(value)}" for path, value in member.set.items()])
    except ConfigError as error:
        raise ConfigError(f"{where}: {_KEY}.{name}: {error}") from None
    for number in range(member.copies):
        pipeline = name if member.copies == 1 else f"{name}-{number}"
        yield pipeline, first.model_copy(update={"name": pipeline, "seed": first.seed + number})
