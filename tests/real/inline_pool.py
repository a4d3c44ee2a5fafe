"""Workers without processes and without torch: a job is done, on disk too, at the moment in which it is sent."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from multiprocessing.connection import Connection, Pipe
from pathlib import Path
from typing import Any

from real.results import read_result, write_result
from real.store import ENCODING, FORMAT, LINEAGE, WEIGHTS, new_folder
from real.worker import WORK, work_folder


class InlinePool:
    """Stands in for `real.pool.WorkerPool`; weights and scores are digests of what they would depend on."""

    are_starting = False

    def __init__(self, _target: Any, devices: Sequence[str], arguments: Sequence[Any]) -> None:
        self.devices = tuple(devices)
        self._folder = Path(arguments[0])
        self._wake, self._wakes = Pipe(duplex=False)
        self._answers: dict[str, dict[str, Any]] = {}

    def is_starting(self, device: str) -> bool:
        return False

    def start(self, device: str) -> None:
        pass

    def send(self, device: str, job: Mapping[str, Any]) -> None:
        if job["do"] != "stop":
            self._answers[job["id"]] = {"device": device, **self.answer(job), "id": job["id"]}
            self._wakes.send(None)
        elif job["id"] in self._answers:
            self._answers[job["id"]] = {"device": device, "id": job["id"], "kind": "stopped"}

    def answer(self, job: Mapping[str, Any]) -> dict[str, Any]:
        if "fails_after" in job:
            return {"kind": "error", "error": {"type": "JobFailed", "message": f"after {job['fails_after']}"}}
        return {"kind": "done", "result": self._train(job) if job["do"] == "train" else _DONE[job["do"]](job)}

    def sources(self) -> Iterator[Connection]:
        yield self._wake

    def take(self, source: Any) -> list[Any]:
        if source is not self._wake:
            return []
        self._wake.recv()
        return [self._answers.pop(next(iter(self._answers)))]

    def kill(self, device: str) -> None:
        raise AssertionError("nothing to kill")

    def close(self) -> None:
        self._wake.close()
        self._wakes.close()

    def _train(self, job: Mapping[str, Any]) -> Any:
        final, recipe = work_folder(self._folder, job["id"]), job["training_set"]
        if (there := read_result(final)) is not None:
            return there
        weights, encoding = json.dumps(recipe).encode(), b"{}"
        digest = {WEIGHTS: hashlib.sha256(weights).hexdigest(), ENCODING: hashlib.sha256(encoding).hexdigest()}
        result = {
            "num_samples": recipe["num_samples"],
            "num_kept": recipe["num_samples"],
            "epochs": 1,
            "loss": 1.0 / recipe["num_samples"],
            "path": f"{WORK}/{final.name}",
            "seconds": 0.0,
        }
        with new_folder(final) as folder:
            (folder / WEIGHTS).write_bytes(weights)
            (folder / ENCODING).write_bytes(encoding)
            (folder / LINEAGE).write_text(json.dumps({"format": FORMAT, "sha256": digest}))
            write_result(folder, result)
        return result


def _score_candidate(job: Mapping[str, Any]) -> Any:
    weights = {name: (Path(folder) / WEIGHTS).read_bytes() for name, folder in job["models"].items()}
    values = {name: hashlib.sha256(each).digest()[0] / 255 for name, each in weights.items()}
    return {"first": job["stop"] - 1, "values": values}


def _evaluate(job: Mapping[str, Any]) -> Any:
    weights = (Path(job["model"]) / WEIGHTS).read_bytes()
    rows = []
    for interval in job["intervals"]:
        digest = hashlib.sha256(weights + json.dumps(interval).encode()).digest()
        score = {"metric": job["metrics"][0], "value": digest[0] / 255, "num_samples": interval["stop"]}
        rows.append({"start": interval["start"], "end": interval["end"], **score})
    return {"rows": rows}


_DONE = {"evaluate": _evaluate, "score_candidate": _score_candidate}
