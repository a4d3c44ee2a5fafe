"""The result of a training on disk: with the model's files in a folder, whole or not there at all.

| file | holds |
|---|---|
| model.safetensors, encoding.json, lineage.json | the model (see `store`) |
| result.json | what the training came to, and the SHA-256 of that and of each other file |

So whoever finds a result knows whether it is the one that was written.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

from twinclock.graph import Json

RESULT = "result.json"


def write_result(folder: Path, result: Json) -> None:
    """Add a training's result to a folder that has all its other files already."""
    others = {file.name: _sha256(file.read_bytes()) for file in sorted(folder.iterdir())}
    told = {"result": result, "sha256": {**others, RESULT: _sha256(_canonical(result))}}
    (folder / RESULT).write_text(json.dumps(told, indent=1, allow_nan=False), encoding="utf-8")


def read_result(folder: Path) -> Json | None:
    """The result in a folder, all of whose files are as they were written; None if there is none, or it is damaged."""
    try:
        told = json.loads((folder / RESULT).read_text(encoding="utf-8"))
        result, sha256 = told["result"], told["sha256"]
        found = {name: _sha256((folder / name).read_bytes()) for name in sha256 if name != RESULT}
        return result if {**found, RESULT: _sha256(_canonical(result))} == sha256 else None
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _canonical(value: Json) -> bytes:
    return json.dumps(value, sort_keys=True, allow_nan=False).encode()


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
