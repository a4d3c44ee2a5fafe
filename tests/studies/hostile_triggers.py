"""Triggers that end the process that asks them, never answer, or raise; and one that says when it is asked."""

from __future__ import annotations

import os
import threading
from pathlib import Path

from twinclock.policies.triggers import Answer, Observation, Quiet, Samples


class _Silent:
    depends_on = "data"

    def advance(self, samples: Samples, observation: Observation | None) -> Answer:
        return Quiet()

    def on_fire(self, position: int) -> None: ...

    def on_training_cost(self, num_samples: int, seconds: float) -> None: ...

    def on_new_model(self, model: dict) -> None: ...

    def next_deadline(self) -> None: ...

    def state_dict(self) -> dict:
        return {}

    def load_state_dict(self, state: dict) -> None: ...


class Dies(_Silent):
    def advance(self, samples: Samples, observation: Observation | None) -> Answer:
        os._exit(7)


class Hangs(_Silent):
    def advance(self, samples: Samples, observation: Observation | None) -> Answer:
        threading.Event().wait()
        raise AssertionError


class Raises(_Silent):
    def advance(self, samples: Samples, observation: Observation | None) -> Answer:
        raise ValueError("out of cheese")


class Logged(_Silent):
    """Leaves a file named after its run and its process when it is made."""

    def __init__(self, folder: str, name: str) -> None:
        (Path(folder) / f"{name}.{os.getpid()}").touch()
