from __future__ import annotations

import json
import os
import re
from pathlib import Path

import pytest
import torch

from real.training.checkpoint import Checkpoint, Found, read_checkpoint, write_checkpoint


def checkpoint(step: int) -> Checkpoint:
    shared = torch.arange(6.0)
    tensors = {"a": shared, "the same again": shared, "b.c": torch.tensor(step), "half": torch.ones(2).bfloat16()}
    return Checkpoint(tensors=tensors, state={"step": step, "loss": 0.1 + 0.2, "none": None})


def test_what_is_written_is_read(tmp_path):
    write_checkpoint(tmp_path / "new" / "folder", checkpoint(3))
    found, problem = read_checkpoint(tmp_path / "new" / "folder")
    assert problem is None
    assert found.state == checkpoint(3).state
    assert found.tensors.keys() == checkpoint(3).tensors.keys()
    for name, tensor in checkpoint(3).tensors.items():
        assert found.tensors[name].dtype == tensor.dtype
        assert torch.equal(found.tensors[name], tensor)


def test_only_the_last_one_is_kept(tmp_path):
    for step in (1, 2, 2, 3):
        write_checkpoint(tmp_path, checkpoint(step))
    assert read_checkpoint(tmp_path).checkpoint.state["step"] == 3
    assert len(list(tmp_path.iterdir())) == 2


def test_no_folder_is_no_checkpoint_and_no_problem(tmp_path):
    assert read_checkpoint(tmp_path / "nowhere") == read_checkpoint(tmp_path) == Found(None, None)


@pytest.mark.parametrize("died_at", range(2))
def test_what_died_while_it_wrote_left_the_one_before(tmp_path, monkeypatch, died_at):
    """Each file takes its place by os.replace: the tensors' first, then that of the file that names them."""
    write_checkpoint(tmp_path, checkpoint(1))
    replace, replaced = os.replace, []

    def dies(source, target):
        if len(replaced) == died_at:
            raise KeyboardInterrupt
        replaced.append(target)
        replace(source, target)

    monkeypatch.setattr(os, "replace", dies)
    with pytest.raises(KeyboardInterrupt):
        write_checkpoint(tmp_path, checkpoint(2))
    monkeypatch.undo()
    assert read_checkpoint(tmp_path).checkpoint.state["step"] == 1
    write_checkpoint(tmp_path, checkpoint(2))
    assert read_checkpoint(tmp_path).checkpoint.state["step"] == 2
    assert len(list(tmp_path.iterdir())) == 2


def test_every_cut_of_either_file_is_no_checkpoint(tmp_path):
    write_checkpoint(tmp_path, checkpoint(1))
    for file in sorted(tmp_path.iterdir()):
        whole = file.read_bytes()
        for size in range(0, len(whole), 7):
            file.write_bytes(whole[:size])
            found, problem = read_checkpoint(tmp_path)
            assert found is None
            assert str(tmp_path) in problem
            assert "\n" not in problem
        file.write_bytes(whole)
    assert read_checkpoint(tmp_path).problem is None


@pytest.mark.parametrize(
    ("spoil", "problem"),
    [
        (lambda state, tensors: tensors.unlink(), r"\.safetensors: missing"),
        (lambda state, tensors: tensors.write_bytes(tensors.read_bytes()[:-1] + b"x"), "the tensors are corrupted"),
        (lambda state, tensors: state.write_text("[]"), "not a checkpoint that this version wrote"),
        (lambda state, tensors: state.write_text("{}"), "not a checkpoint that this version wrote"),
        (lambda state, tensors: state.write_text('{"format": 7}'), "format 7, expected 1"),
        (lambda state, tensors: state.write_bytes(b"\xff\x00"), "not a checkpoint that this version wrote"),
    ],
)
def test_a_spoilt_one_is_none_and_says_why(tmp_path, spoil, problem):
    write_checkpoint(tmp_path, checkpoint(1))
    (tensors,) = tmp_path.glob("*.safetensors")
    spoil(tmp_path / "checkpoint.json", tensors)
    found = read_checkpoint(tmp_path)
    assert found.checkpoint is None
    assert re.search(problem, found.problem)


def test_a_state_that_is_no_json_is_refused_before_anything_is_written(tmp_path):
    with pytest.raises(ValueError, match="not JSON compliant"):
        write_checkpoint(tmp_path, Checkpoint(tensors={}, state={"loss": float("nan")}))
    assert not list(tmp_path.iterdir())


def test_nothing_is_pickled(tmp_path):
    write_checkpoint(tmp_path, checkpoint(1))
    assert {file.suffix for file in Path(tmp_path).iterdir()} == {".json", ".safetensors"}
    assert json.loads((tmp_path / "checkpoint.json").read_text())["state"]["step"] == 1
