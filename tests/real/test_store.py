from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest
import torch
from real_samples import frame, separable, train

from real.store import ENCODING, LINEAGE, OPTIMIZER, WEIGHTS, ModelStore, load_model, new_folder, write_model
from twinclock.config import LogisticConfig
from twinclock.errors import RunError

ENTRY = {"trigger": 3, "parent": 2, "path": "models/00003", "num_samples": 3, "loss": 0.5}


@pytest.fixture
def result():
    return train(frame(c=["u", None, "ü"]))


@pytest.fixture
def candidate(tmp_path, result):
    folder = tmp_path / "work" / "training"
    folder.mkdir(parents=True)
    write_model(folder, result.weights, result.encoding, LogisticConfig())
    return folder


@pytest.fixture
def store(tmp_path):
    return ModelStore(tmp_path / "models")


def test_a_model_comes_back_as_it_was(store, candidate, result):
    size_bytes = store.commit(candidate, ENTRY)
    folder = store.folder(3)
    assert folder.name == "00003"
    assert sorted(each.name for each in folder.iterdir()) == sorted([WEIGHTS, ENCODING, LINEAGE])
    assert size_bytes == sum((folder / name).stat().st_size for name in (WEIGHTS, ENCODING))
    assert not candidate.exists()
    model = store.load(3)
    assert model.encoding == result.encoding
    assert model.config == LogisticConfig()
    assert all(torch.equal(model.weights[name], each) for name, each in result.weights.items())
    assert model.lineage["parent"] == 2
    assert model.lineage["classes"] == ["p", "q"]
    assert model.lineage["architecture"] == {"model": {"kind": "logistic"}, "num_inputs": 5, "num_classes": 2}


def test_the_same_model_gives_the_same_bytes(tmp_path, result):
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        write_model(tmp_path / name, result.weights, result.encoding, LogisticConfig())
    for name in (WEIGHTS, ENCODING, LINEAGE):
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes()


def test_a_commit_may_be_repeated(store, candidate):
    size_bytes = store.commit(candidate, ENTRY)
    assert store.commit(candidate, ENTRY) == size_bytes


def test_models_are_listed_by_trigger(store, tmp_path, result):
    assert store.list() == []
    for trigger in (100_000, 7, 12):
        folder = tmp_path / "work"
        folder.mkdir()
        write_model(folder, result.weights, result.encoding, LogisticConfig())
        store.commit(folder, {**ENTRY, "trigger": trigger})
    (tmp_path / "models" / "00013.99.tmp").mkdir()
    assert [lineage["trigger"] for lineage in store.list()] == [7, 12, 100_000]


def test_weights_that_share_memory_are_stored_each(tmp_path, result):
    shared = torch.arange(6.0)
    write_model(
        tmp_path, {"a": shared, "b": shared[2:], "c": shared.reshape(2, 3).T}, result.encoding, LogisticConfig()
    )
    weights = load_model(tmp_path).weights
    assert weights["b"].tolist() == [2.0, 3.0, 4.0, 5.0]
    assert weights["c"].tolist() == [[0.0, 3.0], [1.0, 4.0], [2.0, 5.0]]


@pytest.mark.parametrize("name", [WEIGHTS, ENCODING])
@pytest.mark.parametrize("damage", ["flip", "truncate", "remove"])
def test_a_damaged_file_is_named_never_read(store, candidate, name, damage):
    store.commit(candidate, ENTRY)
    file = store.folder(3) / name
    content = bytearray(file.read_bytes())
    if damage == "flip":
        content[-3] ^= 1
        file.write_bytes(content)
    elif damage == "truncate":
        file.write_bytes(content[:-1])
    else:
        file.unlink()
    for read in (lambda: store.load(3), lambda: store.commit(candidate, ENTRY)):
        with pytest.raises(RunError) as caught:
            read()
        assert str(file) in str(caught.value)
        assert "\n" not in str(caught.value)


def test_the_state_of_the_optimizer_is_stored_and_checked_with_the_model(store, tmp_path, result):
    folder = tmp_path / "work"
    folder.mkdir()
    write_model(folder, result.weights, result.encoding, LogisticConfig(), {"step:weight": torch.tensor(7.0)})
    size_bytes = store.commit(folder, ENTRY)
    assert store.load(3).optimizer["step:weight"] == 7.0
    file = store.folder(3) / OPTIMIZER
    assert size_bytes > file.stat().st_size
    file.write_bytes(file.read_bytes()[:-1])
    with pytest.raises(RunError, match="corrupted model file"):
        store.load(3)


def test_a_damaged_candidate_is_not_stored(store, candidate):
    (candidate / WEIGHTS).write_bytes(b"something else")
    with pytest.raises(RunError, match="corrupted model file"):
        store.commit(candidate, ENTRY)
    assert not store.folder(3).exists()
    assert store.list() == []


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("not JSON", "corrupted"),
        ("[]", "corrupted"),
        ('{"format": 1}', "corrupted"),
        ('{"format": 99, "sha256": {}}', "format 99, expected 1"),
    ],
)
def test_a_damaged_lineage_is_named(candidate, text, message):
    (candidate / LINEAGE).write_text(text)
    with pytest.raises(RunError, match=message) as caught:
        load_model(candidate)
    assert LINEAGE in str(caught.value)


def test_an_architecture_of_another_version_is_said(candidate):
    lineage = json.loads((candidate / LINEAGE).read_text())
    lineage["architecture"]["model"] = {"kind": "forest"}
    (candidate / LINEAGE).write_text(json.dumps(lineage))
    with pytest.raises(RunError, match="not a model that this version wrote"):
        load_model(candidate)


def test_a_model_that_is_not_there_is_said(store):
    with pytest.raises(RunError, match=r"00009: no such model, expected the folder of one"):
        store.load(9)


def test_a_folder_is_there_whole_or_not_at_all(tmp_path):
    final = tmp_path / "results" / "one"

    def write_half() -> None:
        with new_folder(final) as folder:
            (folder / "half").write_text("half")
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        write_half()
    assert list(final.parent.iterdir()) == []


def test_of_two_writers_the_first_wins_and_neither_spoils_the_other(tmp_path):
    final = tmp_path / "one"
    with new_folder(final) as folder:
        (folder / "who").write_text("second")
        final.mkdir()
        (final / "who").write_text("first")
    assert (final / "who").read_text() == "first"
    assert [each.name for each in tmp_path.iterdir()] == ["one"]


def test_what_a_dead_writer_left_is_cleared_away(tmp_path):
    (tmp_path / "one.1.tmp").mkdir()
    (tmp_path / "one.1.tmp" / "half").write_text("half")
    with new_folder(tmp_path / "one") as folder:
        (folder / "whole").write_text("whole")
    assert os.listdir(tmp_path) == ["one"]


@pytest.mark.parametrize(
    ("modules", "unwanted"),
    [
        ("real.config, real.store, real.worker", {"torch", "simpy", "matplotlib"}),
        ("real.trainer, real.evaluator", {"simpy", "matplotlib", "sim"}),
    ],
)
def test_what_is_not_needed_is_not_imported(modules, unwanted):
    code = f"import sys, {modules}; print(sorted({unwanted} & set(sys.modules)))"
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert told.stdout.strip() == "[]"


def test_training_again_from_a_stored_model(store, candidate):
    store.commit(candidate, ENTRY)
    assert train(separable(), start_from=store.load(3)).encoding.classes == ("p", "q", "no", "yes")
