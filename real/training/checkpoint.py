"""A training as it stands, kept on disk so that another process can go on from it: whole, or not there at all.

A checkpoint's folder holds

| file | holds |
|---|---|
| checkpoint.json | what is no tensor, and the name and SHA-256 of the other file |
| SHA-256.safetensors | the tensors |

The first file says which is the second, and is replaced in one step: until then the checkpoint before stands.
Nothing is ever unpickled.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from real.store import savable
from twinclock.graph import Json
from twinclock.run_folder import make_folder, replace_durably

if TYPE_CHECKING:
    from torch import Tensor

FORMAT = 1
"""Version of the layout of a checkpoint's folder."""
_STATE = "checkpoint.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class Checkpoint:
    """All that a trainer needs to go on from where it was; what that is, only the trainer knows."""

    tensors: Mapping[str, Tensor]
    state: Json
    """What is no tensor."""


class Found(NamedTuple):
    """What a checkpoint's folder holds."""

    checkpoint: Checkpoint | None
    """None: no checkpoint, or none that is whole."""
    problem: str | None
    """In a line, what is wrong with the one that is there."""


def write_checkpoint(folder: Path, checkpoint: Checkpoint) -> None:
    """Keep a checkpoint, durably and in one step, in place of the one before. The folder is made if it isn't there.

    OSError if it can't be written, ValueError if the state is no JSON; the one before then stays.
    """
    from safetensors.torch import save

    content = save(savable(checkpoint.tensors))
    sha256 = hashlib.sha256(content).hexdigest()
    text = json.dumps({"format": FORMAT, "sha256": sha256, "state": checkpoint.state}, allow_nan=False)
    make_folder(folder)
    file = folder / f"{sha256}.safetensors"
    with replace_durably(file) as unfinished:
        unfinished.write_bytes(content)
    with replace_durably(folder / _STATE) as unfinished:
        unfinished.write_text(text, encoding="utf-8")
    for stale in folder.glob("*.safetensors"):
        if stale != file:
            with contextlib.suppress(OSError):
                stale.unlink()


def read_checkpoint(folder: Path) -> Found:
    """The checkpoint in a folder. One that is half written, corrupted or of another version is none; why, is said."""
    from safetensors import SafetensorError
    from safetensors.torch import load

    file = folder / _STATE
    try:
        said = json.loads(file.read_text(encoding="utf-8"))
        if said["format"] != FORMAT:
            return Found(None, f"{file}: format {said['format']}, expected {FORMAT}")
        content = (folder / f"{said['sha256']}.safetensors").read_bytes()
        if hashlib.sha256(content).hexdigest() != said["sha256"]:
            return Found(None, f"{folder}: the tensors are corrupted, their SHA-256 is not {said['sha256'][:12]}")
        return Found(Checkpoint(tensors=load(content), state=said["state"]), None)
    except FileNotFoundError as error:
        return Found(None, f"{error.filename}: missing" if file.exists() else None)
    except OSError as error:
        return Found(None, f"{folder}: can't be read ({error.strerror or error})")
    except (SafetensorError, ValueError, KeyError, TypeError) as error:
        return Found(None, f"{folder}: not a checkpoint that this version wrote ({type(error).__name__})")
