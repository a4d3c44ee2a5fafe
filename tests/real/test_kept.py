from __future__ import annotations

import errno
import json
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from real import kept
from real.kept import KeptTraining, without_attempt
from real.training.checkpoint import Checkpoint
from real.worker import checkpoint_folder

RECIPE = {"ranges": [[0, 500]], "num_samples": 500, "seed": 17}
PARENT = SimpleNamespace(lineage={"sha256": {"model.safetensors": "ab"}})


@pytest.fixture
def told() -> list[str]:
    return []


@pytest.fixture
def training(tmp_path, told) -> KeptTraining:
    return KeptTraining.of(tmp_path / "x.checkpoint", RECIPE, PARENT, told.append)


def checkpoint(step: int) -> Checkpoint:
    return Checkpoint(tensors={"w": torch.full((3,), float(step))}, state={"step": step, "losses": (0.5, 1 / 3)})


def test_a_training_goes_on_from_what_it_kept_last(training, told):
    assert training.read() is None
    write = training.writer()
    write(checkpoint(1))
    write(checkpoint(2))
    found = training.read()
    assert found.state == {"step": 2, "losses": [0.5, 1 / 3]}
    assert found.tensors["w"].tolist() == [2.0] * 3
    assert told == []


@pytest.mark.parametrize(
    ("recipe", "parent"),
    [
        ({**RECIPE, "seed": 18}, PARENT),
        (RECIPE, None),
        (RECIPE, SimpleNamespace(lineage={"sha256": {"model.safetensors": "ac"}})),
    ],
)
def test_no_other_training_goes_on_from_it(training, told, recipe, parent):
    training.writer()(checkpoint(1))
    assert KeptTraining.of(training.folder, recipe, parent, told.append).read() is None
    assert told == [f"{training.folder}: a checkpoint of another training, or a damaged one; the training begins anew"]


def test_a_changed_state_is_not_gone_on_from(training, told):
    training.writer()(checkpoint(1))
    file = training.folder / "checkpoint.json"
    file.write_text(file.read_text().replace('"step": 1', '"step": 2'))
    assert training.read() is None
    assert len(told) == 1


@pytest.mark.parametrize("state", [None, [], {"digest": "x"}, {"trainer": {}}])
def test_what_is_no_state_of_a_training_is_told(training, told, state):
    training.writer()(checkpoint(1))
    file = training.folder / "checkpoint.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), "state": state}))
    assert training.read() is None
    assert len(told) == 1


def test_a_disk_that_refuses_is_told_once_and_the_last_checkpoint_stays(training, told, monkeypatch):
    write = training.writer()
    write(checkpoint(1))
    whole = kept.write_checkpoint

    def refused(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(kept, "write_checkpoint", refused)
    write(checkpoint(2))
    write(checkpoint(3))
    assert told == [
        f"{training.folder}: the checkpoint can't be written (No space left on device); the training goes on without"
    ]
    assert training.read().state["step"] == 1
    monkeypatch.setattr(kept, "write_checkpoint", whole)
    write(checkpoint(4))
    assert training.read().state["step"] == 4


def test_all_attempts_at_a_training_share_a_checkpoint_and_no_two_trainings_do():
    ids = ["/a#0/training#0/on_device#0", "/a#1/training#0/on_device#0", "/a#0/[1]/training#0/on_device#0"]
    assert [without_attempt(f"{each}@{attempt}") for each in ids for attempt in (1, 12)] == [
        each for each in ids for _ in range(2)
    ]
    folders = {checkpoint_folder(Path("run"), f"{each}@{attempt}") for each in ids for attempt in (1, 2, 12)}
    assert len(folders) == len(ids)
