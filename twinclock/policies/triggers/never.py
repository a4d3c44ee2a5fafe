"""No trigger at all."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar, Literal

from twinclock.graph import Json
from twinclock.policies.triggers.protocol import Answer, DependsOn, Observation, Quiet, Samples
from twinclock.section import Section
from twinclock.stream import DataTime


class NeverTriggerConfig(Section):
    """Never fires.

    A run of it has no model, for nothing brings one along, and so no scores. For a model that is trained once, take
    `{kind: budget, of: {kind: amount, n: 2000}, limit: 1, unit: trainings}`.
    """

    source: ClassVar[str] = ""

    kind: Literal["never"] = "never"


class NeverTrigger:
    """Looks at nothing and remembers nothing."""

    depends_on: DependsOn = "data"

    def advance(self, samples: Samples, observation: Observation | None) -> Answer:
        """Nothing to say, ever."""
        return Quiet()

    def on_fire(self, position: int) -> None:
        """Nothing to learn."""

    def on_training_cost(self, num_samples: int, seconds: float) -> None:
        """Nothing to learn."""

    def on_new_model(self, model: Mapping[str, Json]) -> None:
        """Nothing to learn."""

    def next_deadline(self) -> DataTime | None:
        """None: there is nothing to wait for."""
        return None

    def state_dict(self) -> dict[str, Json]:
        """Empty."""
        return {}

    def load_state_dict(self, state: Mapping[str, Json]) -> None:
        """Nothing to load."""
