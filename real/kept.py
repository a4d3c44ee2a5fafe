"""What a training keeps while it runs, so that its next attempt, after whatever death, goes on from there.

The folder is named after the training, whatever the attempt: `RUN/work/NAME.checkpoint`. Beside the trainer's state
lies a digest over that state, the training set and the model that the training starts from. So nothing but the same
training goes on from it, and none does from a state that is not the one that was kept.
"""

from __future__ import annotations

import hashlib
import json
import re
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from real.store import StoredModel
from real.training.checkpoint import Checkpoint, read_checkpoint, write_checkpoint
from twinclock.graph import Json

_ATTEMPT = re.compile(r"@\d+$")


def without_attempt(job_id: str) -> str:
    """The name of a training, of whose attempts one is this job."""
    return _ATTEMPT.sub("", job_id)


def attempts_until(job_id: str) -> list[str]:
    """This job, and before it in time the attempts at the same training: the last one first."""
    name, _, attempt = job_id.rpartition("@")
    return [f"{name}@{number}" for number in range(int(attempt), 0, -1)] if attempt.isdecimal() else [job_id]


@dataclass(frozen=True, slots=True)
class KeptTraining:
    """The checkpoint of one training."""

    folder: Path
    identity: Json
    """What makes it this training: the recipe of its set, checksums of the model that it starts from."""
    tell: Callable[[str], None]
    """Told in a line of what went wrong, and does not keep the training from going on."""

    @classmethod
    def of(
        cls, folder: Path, training_set: Json, parent: StoredModel | None, tell: Callable[[str], None]
    ) -> KeptTraining:
        """The checkpoint in `folder` of a training with this recipe and this model to start from."""
        return cls(folder, [training_set, None if parent is None else parent.lineage["sha256"]], tell)

    @property
    def digest(self) -> str:
        """Of what makes it this training: a result with another one is that of another training."""
        return _digest(self.identity)

    def read(self) -> Checkpoint | None:
        """The checkpoint to go on from; None if there is none of this training, or it is damaged, which is told."""
        found, problem = read_checkpoint(self.folder)
        state = found.state if found is not None and isinstance(found.state, dict) else {}
        if found is not None and self._digest_of(state.get("trainer")) != state.get("digest"):
            problem = f"{self.folder}: a checkpoint of another training, or a damaged one"
        if problem is not None:
            self.tell(f"{problem}; the training begins anew")
            return None
        return None if found is None else Checkpoint(tensors=found.tensors, state=state["trainer"])

    def writer(self) -> Callable[[Checkpoint], None]:
        """What keeps a checkpoint in place of the last. If the disk refuses, the last one stays; that is told once."""
        has_told = False

        def write(checkpoint: Checkpoint) -> None:
            nonlocal has_told
            state = {"digest": self._digest_of(checkpoint.state), "trainer": checkpoint.state}
            try:
                write_checkpoint(self.folder, Checkpoint(tensors=checkpoint.tensors, state=state))
            except OSError as error:
                if not has_told:
                    has_told = True
                    why = error.strerror or error
                    self.tell(f"{self.folder}: the checkpoint can't be written ({why}); the training goes on without")

        return write

    def _digest_of(self, state: Json) -> str:
        return _digest([self.identity, state])


def _digest(value: Json) -> str:
    """The same for what JSON gives back: a tuple is a list there."""
    return hashlib.sha256(json.dumps(value, sort_keys=True, allow_nan=False).encode()).hexdigest()


def drop_checkpoint(folder: Path) -> None:
    """Nobody is going to go on from it."""
    shutil.rmtree(folder, ignore_errors=True)
