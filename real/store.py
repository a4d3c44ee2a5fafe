"""Trained models on disk: whole or not there at all, and checked when they are read.

A model's folder holds

| file | holds |
|---|---|
| model.safetensors | the weights |
| encoding.json | how rows become inputs and classes (see `encoding`) |
| optimizer.safetensors | the state of the optimizer, if `training.optimizer.state` is `keep` |
| lineage.json | SHA-256 of the others, architecture, classes, and the versions that made it |

Of a stored model the lineage also has its entry in the records, its run, and what its training reported.

Nothing is ever unpickled. This module itself does not need torch, only reading and writing weights does. A stored
model's folder is never changed; it goes as a whole, when it is pruned.
"""

from __future__ import annotations

import hashlib
import json
import os
import platform
import shutil
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import TypeAdapter, ValidationError

from real.encoding import Encoding
from real.results import read_result
from twinclock.config import ModelConfig
from twinclock.errors import RunError
from twinclock.graph import Json
from twinclock.run_folder import make_folder, replace_durably, sync

if TYPE_CHECKING:
    from torch import Tensor

FORMAT = 1
"""Version of the layout of a model's folder."""
WEIGHTS = "model.safetensors"
ENCODING = "encoding.json"
OPTIMIZER = "optimizer.safetensors"
LINEAGE = "lineage.json"
"""Beside a model that was just trained: what the training reports."""
MODELS = "models"
"""Folder of the stored models in a run's folder."""
PRUNED = "pruned.json"
"""Beside the models: the triggers whose models were pruned."""
_MADE_WITH = ("twinclock", "torch", "safetensors", "numpy", "polars")


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredModel:
    """A model as it was read from its folder."""

    weights: Mapping[str, Tensor]
    encoding: Encoding
    config: ModelConfig
    """What the model is built from."""
    lineage: Json
    optimizer: Mapping[str, Tensor] | None = None
    """State of the optimizer that trained it; None: it is not kept."""


class ModelStore:
    """The stored models of a run, each in a folder named after its trigger: `00003`."""

    def __init__(self, root: Path) -> None:
        """`root`: the folder that holds the models' folders; made with the first model."""
        self.root = root

    def folder(self, trigger: int) -> Path:
        """Where the model of a trigger is, or would be."""
        return self.root / f"{trigger:05d}"

    def commit(self, candidate: Path, entry: Mapping[str, Json]) -> int:
        """Make a trained model durable under the trigger that `entry` names; the bytes of its weights and encoding.

        `candidate` is a folder that `write_model` wrote into; it is removed when the model is stored. What
        `entry` says goes into the lineage, and under `training` what the training left as its result. A model that
        is there already stays, so a commit may be repeated. RunError names the file that is missing or corrupted.
        """
        final = self.folder(entry["trigger"])
        if not final.exists():
            lineage = read_lineage(candidate)
            verify(candidate, lineage)
            with new_folder(final) as folder:
                for name in checked_files(lineage):
                    shutil.copyfile(candidate / name, folder / name)
                _write_json(folder / LINEAGE, {**lineage, **entry, "training": _reported(candidate)})
                verify(folder, lineage)
        lineage = read_lineage(final)
        verify(final, lineage)
        shutil.rmtree(candidate, ignore_errors=True)
        return sum((final / name).stat().st_size for name in checked_files(lineage))

    def load(self, trigger: int) -> StoredModel:
        """A stored model. RunError as for `load_model`."""
        return load_model(self.folder(trigger))

    def triggers(self) -> list[int]:
        """The serials of the triggers whose models are here, in order; whether they can be read is not looked at."""
        return sorted(int(each.name) for each in self.root.glob("*") if each.name.isdecimal() and each.is_dir())

    def list(self) -> list[Json]:
        """The lineage of each stored model, oldest trigger first. RunError if one can't be read."""
        return [read_lineage(self.folder(trigger)) for trigger in self.triggers()]


def write_model(
    folder: Path,
    weights: Mapping[str, Tensor],
    encoding: Encoding,
    config: ModelConfig,
    optimizer: Mapping[str, Tensor] | None = None,
) -> None:
    """Write a trained model's files into an existing folder, with the state of its optimizer if that is kept."""
    _write_tensors(folder / WEIGHTS, weights)
    if optimizer is not None:
        _write_tensors(folder / OPTIMIZER, optimizer)
    _write_json(folder / ENCODING, encoding.to_json())
    written = (WEIGHTS, ENCODING, *([] if optimizer is None else [OPTIMIZER]))
    lineage = {
        "format": FORMAT,
        "architecture": {
            "model": config.model_dump(mode="json"),
            "num_inputs": encoding.num_inputs,
            "num_classes": encoding.num_outputs,
        },
        "classes": list(encoding.classes),
        "sha256": {name: _sha256(folder / name) for name in written},
        "versions": {"python": platform.python_version(), **{name: version(name) for name in _MADE_WITH}},
    }
    _write_json(folder / LINEAGE, lineage)


def load_model(folder: Path) -> StoredModel:
    """Read a model and check it. RunError names the file that is missing, corrupted or of another version."""
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    lineage = read_lineage(folder)
    verify(folder, lineage)
    try:
        return StoredModel(
            weights=load_file(folder / WEIGHTS),
            encoding=Encoding.from_json(json.loads((folder / ENCODING).read_text(encoding="utf-8"))),
            config=TypeAdapter[ModelConfig](ModelConfig).validate_python(lineage["architecture"]["model"]),
            lineage=lineage,
            optimizer=load_file(folder / OPTIMIZER) if OPTIMIZER in lineage["sha256"] else None,
        )
    except (SafetensorError, ValidationError, KeyError, TypeError, ValueError) as error:
        raise RunError(f"{folder}: not a model that this version wrote ({type(error).__name__})") from error


def read_lineage(folder: Path) -> Json:
    """The lineage in a model's folder. RunError if it is missing, corrupted or of another version."""
    file = folder / LINEAGE
    try:
        lineage = json.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        if not folder.exists():
            raise RunError(f"{folder}: {_why_gone(folder)}") from None
        raise RunError(f"{folder}: no {LINEAGE} here; expected the folder of a model") from None
    except (OSError, ValueError) as error:
        raise RunError(f"{file}: corrupted ({type(error).__name__}), expected a model's lineage as JSON") from None
    if not isinstance(lineage, dict) or not isinstance(lineage.get("sha256"), dict):
        raise RunError(f"{file}: corrupted, expected a model's lineage with its checksums")
    if lineage.get("format") != FORMAT:
        raise RunError(f"{file}: format {lineage.get('format')}, expected {FORMAT}")
    return lineage


@contextmanager
def new_folder(final: Path) -> Iterator[Path]:
    """An empty folder that becomes `final`, durably and in one step, if all goes well; else it is gone.

    If somebody else was faster, theirs stays and this one is dropped. Whoever writes at the same time
    has a folder of their own: a process left over from a crash can't spoil what its successor writes.
    """
    unfinished = final.with_name(f"{final.name}.{os.getpid()}.tmp")
    make_folder(final.parent)
    for stale in final.parent.glob(f"{final.name}.*.tmp"):
        shutil.rmtree(stale, ignore_errors=True)
    unfinished.mkdir()
    try:
        yield unfinished
        for file in unfinished.iterdir():
            sync(file)
        sync(unfinished)
        try:
            unfinished.rename(final)
        except OSError:
            if not final.exists():
                raise
        sync(final.parent)
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)


def checked_files(lineage: Mapping[str, Json]) -> tuple[str, ...]:
    """The files of a model, whose checksums its lineage has."""
    return (WEIGHTS, ENCODING, *([OPTIMIZER] if OPTIMIZER in lineage["sha256"] else []))


def verify(folder: Path, lineage: Mapping[str, Json]) -> None:
    """RunError unless every file is the one that the lineage speaks of."""
    for name in checked_files(lineage):
        expected = lineage["sha256"].get(name)
        try:
            found = _sha256(folder / name)
        except OSError as error:
            raise RunError(f"{folder / name}: can't be read ({error.strerror or error})") from None
        if found != expected:
            raise RunError(
                f"{folder / name}: corrupted model file (its SHA-256 begins with {found[:12]}, "
                f"{LINEAGE} says {str(expected)[:12]})"
            )


def _write_tensors(file: Path, tensors: Mapping[str, Tensor]) -> None:
    from safetensors.torch import save_file

    save_file(savable(tensors), file)


def savable(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Copies on the CPU: tensors that share memory are one in torch, but safetensors refuses them."""
    return {name: tensor.detach().cpu().contiguous().clone() for name, tensor in tensors.items()}


def read_pruned(root: Path) -> list[int]:
    """The triggers whose models were pruned from the folder of a run's models, in order."""
    try:
        pruned: list[int] = json.loads((root / PRUNED).read_text(encoding="utf-8"))
    except FileNotFoundError:
        return []
    except (OSError, ValueError) as error:
        raise RunError(f"{root / PRUNED}: corrupted ({type(error).__name__}), expected a list of triggers") from None
    return pruned


def note_pruned(root: Path, triggers: Iterable[int]) -> None:
    """Put on record, durably, that models are going to be pruned; to be called before they are."""
    with replace_durably(root / PRUNED) as unfinished:
        unfinished.write_text(json.dumps(sorted({*read_pruned(root), *triggers})) + "\n", encoding="utf-8")


def _why_gone(folder: Path) -> str:
    if folder.name.isdecimal() and int(folder.name) in read_pruned(folder.parent):
        return "this model was pruned, so it can't be read any more"
    return "no such model, expected the folder of one"


def _reported(candidate: Path) -> Json:
    """What a training says of itself, but for where it left its result; None if it left nothing."""
    reported = read_result(candidate)
    return None if reported is None else {key: value for key, value in reported.items() if key != "path"}


def _write_json(file: Path, value: Json) -> None:
    file.write_text(json.dumps(value, indent=1, sort_keys=True, allow_nan=False) + "\n", encoding="utf-8")


def _sha256(file: Path) -> str:
    with open(file, "rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
