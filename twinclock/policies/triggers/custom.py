"""A trigger that the user brings along."""

from __future__ import annotations

from typing import Any, ClassVar, Literal

from pydantic import Field

from twinclock.errors import ConfigError
from twinclock.imports import create
from twinclock.policies.triggers.protocol import Trigger
from twinclock.section import ImportPath, Section


class CustomTriggerConfig(Section):
    """Fires as a class of your own says.

    The class does what `twinclock.policies.Trigger` says; `check_trigger` is run on it before a run starts.
    """

    source: ClassVar[str] = "your own"

    kind: Literal["custom"] = "custom"
    import_: ImportPath = Field(alias="import")
    """`package.module:Class`."""
    args: dict[str, Any] = Field(default_factory=dict)
    """Keyword arguments for the class."""
    batch_independent: bool = True
    """Are its answers the same however the stream is cut into batches? If so, that is checked."""


def custom_trigger(config: CustomTriggerConfig) -> Trigger:
    """A fresh trigger. ConfigError, one line, if the class can't be imported or made, or is no trigger."""
    made = create(config.import_, "trigger.import", **config.args)
    if not isinstance(made, Trigger):
        wanted = [name for name in Trigger.__dict__ if not name.startswith("_") and not hasattr(made, name)]
        raise ConfigError(f"trigger.import: {config.import_} has no {', '.join(sorted(wanted))}")
    return made
