"""A worker as its parent sees it: a real spawned process at the other end of a real pipe."""

from __future__ import annotations

import multiprocessing
import os
import signal
from pathlib import Path

import pytest

from real.store import ModelStore, load_model
from real.worker import WORK, work_folder, worker_main
from twinclock.config import Config
from twinclock.dataset import TableConfig, load_table
from twinclock.policies.selection import NewDataConfig, initial_state, on_trigger
from twinclock.stream import UniformStream

PATIENCE_S = 60.0
SHORT, LONG = 500, 34_000
LEAST_ACCURACY = 0.65
"""Of the 300 samples scored, the commonest species makes up 0.47."""


def config(**training) -> Config:
    return Config.model_validate(
        {
            "trigger": {"kind": "amount", "n": 500},
            "training": {"epochs": 20, "optimizer": {"kind": "adam", "lr": 0.01}, **training},
        }
    )


class Worker:
    def __init__(self, folder: Path, settings: Config) -> None:
        context = multiprocessing.get_context("spawn")
        self.folder = folder
        self.connection, theirs = context.Pipe()
        self.process = context.Process(target=worker_main, args=(theirs, "cpu:0", str(folder), settings), daemon=True)
        self.process.start()
        theirs.close()

    def send(self, do: str, id_: str, **payload) -> None:
        self.connection.send({"do": do, "id": id_, **payload})

    def train(self, id_: str, num_samples: int = SHORT, start_from: str | None = None) -> None:
        recipe = {"ranges": [[0, num_samples]], "num_samples": num_samples, "method": {"keep": "last"}, "seed": 17}
        self.send("train", id_, training_set=recipe, start_from=start_from)

    def receive(self) -> dict:
        assert self.connection.poll(PATIENCE_S), "the worker says nothing"
        return self.connection.recv()

    def answer(self) -> dict:
        """The next message that is not about progress."""
        while (message := self.receive())["kind"] == "progress":
            assert 0.0 < message["done"] <= 1.0
        return message

    def is_gone(self) -> bool:
        self.process.join(PATIENCE_S)
        return self.process.exitcode is not None

    def close(self) -> None:
        self.connection.close()
        if not self.is_gone():
            self.process.kill()
            self.process.join()


@pytest.fixture(scope="module")
def new_worker(tmp_path_factory):
    started = []

    def new(folder: Path | None = None, settings: Config | None = None) -> Worker:
        started.append(Worker(folder or tmp_path_factory.mktemp("run"), settings or config()))
        return started[-1]

    yield new
    for worker in started:
        worker.close()


@pytest.fixture(scope="module")
def worker(new_worker):
    """One worker for all tests that leave theirs as they found it."""
    worker = new_worker()
    assert worker.answer() == {"id": "", "kind": "ready"}
    return worker


def test_what_it_holds_out_and_what_it_keeps_for_the_next_training(new_worker):
    training = {
        "optimizer": {"kind": "adam", "lr": 0.01, "state": "keep"},
        "validation": {"share": 0.2},
        "early_stopping": {"patience": 1, "min_delta": 1.0},
        "accumulate": 2,
        "loss": "training_parts:cross_entropy",
    }
    worker = new_worker(settings=config(**training))
    assert worker.answer()["kind"] == "ready"
    worker.train("first")
    fit = worker.answer()["result"]
    assert (fit["num_samples"], fit["num_kept"]) == (SHORT, 400)
    assert (fit["epochs"], fit["steps"]) == (2, 2 * 4)  # 7 minibatches an epoch, and no fall by a whole 1.0
    assert fit["validation_loss"] > 0.0
    assert 0.0 < fit["wait_share"] < 1.0
    store = ModelStore(worker.folder / "models")
    store.commit(worker.folder / fit["path"], {"trigger": 0, "path": "models/00000"})
    stored = store.load(0)
    assert set(stored.lineage["sha256"]) == {"model.safetensors", "encoding.json", "optimizer.safetensors"}
    assert stored.optimizer["step:weight"] == 8
    worker.train("second", start_from=str(store.folder(0)))
    assert worker.answer()["kind"] == "done"
    assert load_model(work_folder(worker.folder, "second")).optimizer["step:weight"] == 16


def test_it_trains_stores_and_scores(worker):
    job_id = "/new_data#3/[2]/training#0/on_device#0@1"
    worker.train(job_id)
    done = worker.answer()
    assert (done["id"], done["kind"]) == (job_id, "done")
    fit = done["result"]
    assert (fit["num_samples"], fit["epochs"], fit["steps"]) == (SHORT, 20, 20 * 8)
    assert fit["seconds"] > 0.0
    candidate = worker.folder / fit["path"]
    assert candidate == work_folder(worker.folder, job_id)
    store = ModelStore(worker.folder / "models")
    store.commit(candidate, {"trigger": 0, "path": "models/00000"})

    intervals = [
        {"start": 0.0, "end": 1.0, "first": 500, "stop": 800},
        {"start": 1.0, "end": 2.0, "first": 9, "stop": 9},
    ]
    worker.send("evaluate", "e", model=str(store.folder(0)), intervals=intervals, metrics=["accuracy"])
    scored = worker.answer()
    assert (scored["id"], scored["kind"]) == ("e", "done")
    first, second = scored["result"]["rows"]
    assert first["value"] >= LEAST_ACCURACY
    assert second == {"start": 1.0, "end": 2.0, "metric": "accuracy", "value": None, "num_samples": 0}

    worker.train("from the active model", start_from=str(store.folder(0)))
    warm = worker.answer()["result"]
    assert warm["loss"] < fit["loss"]


def test_the_same_training_again_gives_the_result_that_is_there(worker):
    worker.train("once")
    first = worker.answer()
    worker.train("once")
    assert worker.answer() == first


def test_an_attempt_finds_the_result_of_the_one_before_but_of_no_other_training(worker):
    worker.train("thrice@1")
    first = worker.answer()
    worker.train("thrice@3")
    assert worker.answer() == first | {"id": "thrice@3"}
    worker.train("thrice@4", SHORT + 1)
    assert worker.answer()["result"]["num_samples"] == SHORT + 1


@pytest.mark.parametrize(
    ("name", "old", "new"),
    [("result.json", b"500", b"501"), ("model.safetensors", b"[", b"("), ("result.json", b"{", b"")],
)
def test_a_damaged_result_is_made_again_never_used(worker, name, old, new):
    worker.train("damaged")
    first = worker.answer()["result"]
    file = worker.folder / first["path"] / name
    whole = file.read_bytes()
    file.write_bytes(whole.replace(old, new, 1))
    worker.train("damaged")
    told = worker.answer()
    assert (told["id"], told["kind"]) == ("damaged", "notice")
    assert told["message"] == f"{file.parent}: the result of a training is damaged; the training is done again"
    again = worker.answer()["result"]
    measured = {"seconds": 0.0, "wait_share": 0.0, "peak_memory_bytes": 0, "utilisation": 0.0}
    assert again | measured == first | measured
    assert name == "result.json" or file.read_bytes() == whole


def test_equal_trainings_give_equal_bytes(worker):
    contents = []
    for id_ in ("twin 1", "twin 2"):
        worker.train(id_)
        folder = worker.folder / worker.answer()["result"]["path"]
        contents.append(
            [(folder / name).read_bytes() for name in ("model.safetensors", "encoding.json", "lineage.json")]
        )
    assert contents[0] == contents[1]


def test_a_set_balanced_by_label_is_made_with_the_labels_of_the_table(worker):
    config = NewDataConfig(presample={"kind": "label_balanced", "limit": 40})
    stream = UniformStream(SHORT, 1.0)
    nothing = {"total": 0, "items": []}
    _, _, recipe = on_trigger(initial_state(), SHORT - 1, nothing, config=config, seed=0, stream=stream)
    worker.send("train", "balanced", training_set=recipe, start_from=None)
    fit = worker.answer()["result"]
    assert (fit["num_samples"], fit["steps"]) == (40, 20)
    table = load_table(TableConfig(dataset="portal_rodents"))
    species = table.frame["species_id"].head(SHORT).unique().sort().to_list()
    assert 10 < len(species) < 40, "several have fewer samples than an equal share"
    assert list(load_model(worker.folder / fit["path"]).encoding.classes) == species


def test_asked_twice_in_a_row_it_answers_once(worker):
    worker.train("a", LONG // 4)
    worker.train("a", LONG // 4)
    worker.train("b")
    assert [worker.answer()["id"] for _ in range(2)] == ["a", "b"]


def test_a_running_and_a_waiting_job_can_be_stopped(worker):
    worker.train("running", LONG)
    worker.train("waiting")
    assert worker.receive()["kind"] == "progress"
    worker.send("stop", "waiting")
    worker.send("stop", "running")
    assert worker.answer() == {"id": "running", "kind": "stopped"}
    assert worker.answer() == {"id": "waiting", "kind": "stopped"}
    assert not work_folder(worker.folder, "running").exists()

    worker.send("stop", "running")  # too late, and nothing that a new attempt would mind
    worker.train("waiting")
    assert worker.answer()["kind"] == "done"


def test_what_goes_wrong_is_told_and_the_worker_goes_on(worker):
    worker.train("nothing", 0)
    told = worker.answer()
    assert (told["id"], told["kind"], told["error"]["type"]) == ("nothing", "error", "ModelError")
    assert "0 samples" in told["error"]["message"]
    assert "Traceback" in told["error"]["traceback"]

    worker.send("evaluate", "no model", model=str(worker.folder / "models" / "00099"), intervals=[], metrics=[])
    told = worker.answer()
    assert (told["kind"], told["error"]["type"]) == ("error", "RunError")
    assert "00099" in told["error"]["message"]

    worker.train("well again")
    assert worker.answer()["kind"] == "done"


def test_ctrl_c_is_the_parents_business(worker):
    worker.train("through a Ctrl-C", LONG // 4)
    assert worker.receive()["kind"] == "progress"
    os.kill(worker.process.pid, signal.SIGINT)
    assert worker.answer()["kind"] == "done"


def test_killed_in_a_training_its_successor_repeats_it_and_killed_after_it_adopts_it(new_worker, tmp_path):
    first = new_worker(tmp_path)
    assert first.answer()["kind"] == "ready"
    first.train("job", LONG // 4)
    assert first.receive()["kind"] == "progress"
    first.process.kill()
    assert first.is_gone()
    assert not work_folder(tmp_path, "job").exists()
    leftover = work_folder(tmp_path, "job")  # as if the kill had come while the result was being written
    leftover = leftover.with_name(f"{leftover.name}.{first.process.pid}.tmp")
    leftover.mkdir(parents=True)
    (leftover / "model.safetensors").write_bytes(b"half")

    second = new_worker(tmp_path)
    second.train("job", LONG // 4)
    assert second.answer()["kind"] == "ready"
    done = second.answer()
    assert done["kind"] == "done"
    second.process.kill()
    assert second.is_gone()
    assert [each.name for each in (tmp_path / WORK).iterdir()] == [work_folder(tmp_path, "job").name]

    third = new_worker(tmp_path)
    assert third.answer()["kind"] == "ready"
    third.train("job", LONG // 4)
    assert third.receive() == done  # no progress before it: nothing was trained
    assert load_model(tmp_path / done["result"]["path"]).encoding.num_classes > 1


def test_it_exits_at_once_when_its_parent_is_gone(new_worker, worker):
    starting, training = new_worker(), new_worker()
    starting.connection.close()
    assert starting.is_gone()
    assert training.answer()["kind"] == "ready"
    training.train("never to end", LONG)
    assert training.receive()["kind"] == "progress"
    training.connection.close()
    training.process.join(2.0)
    assert training.process.exitcode == 0
    assert not work_folder(training.folder, "never to end").exists()
    worker.train("the others live on")
    assert worker.answer()["kind"] == "done"


def test_a_class_that_it_can_not_import_is_told_at_its_start(new_worker):
    model = {"kind": "import", "path": "__main__:Net"}
    worker = new_worker(settings=config(model=model))
    told = worker.answer()
    assert (told["id"], told["kind"], told["error"]["type"]) == ("", "error", "ConfigError")
    assert "training.model.path: __main__:Net is defined in a script or notebook" in told["error"]["message"]
    assert worker.is_gone()
    assert worker.process.exitcode == 1


USER_PARTS = """
import math
import torch
from real.encoding import fit_encoding
from real.trainer import Progress, StoppedError, TrainingResult

class Trainer:
    def fit(self, context):
        context.report(Progress(epoch=1, num_epochs=1, step=1, num_steps=2, loss=1.0))
        encoding = fit_encoding(context.rows, context.columns)
        bias = torch.zeros(encoding.num_classes)
        weights = {"weight": torch.zeros(len(bias), encoding.num_inputs), "bias": bias}
        loss = math.nan if context.rows.height == 3 else None
        return TrainingResult(weights=weights, encoding=encoding, loss=loss, num_steps=2)

class Evaluator:
    def evaluate(self, context):
        return [{"metric": "rows", "value": float(context.table.num_samples), **each} for each in context.intervals]
"""


def test_a_trainer_and_an_evaluator_of_the_users_own(new_worker, tmp_path, monkeypatch):
    (tmp_path / "user_parts.py").write_text(USER_PARTS)
    monkeypatch.syspath_prepend(tmp_path)
    settings = Config.model_validate(
        {
            "trigger": {"kind": "amount", "n": 500},
            "training": {"trainer": "user_parts:Trainer"},
            "evaluation": {"evaluator": "user_parts:Evaluator", "metrics": ["rows"]},
        }
    )
    worker = new_worker(tmp_path / "run", settings)
    assert worker.answer()["kind"] == "ready"
    worker.train("own")
    assert worker.receive() == {"id": "own", "kind": "progress", "done": 0.5}
    done = worker.receive()
    assert done["result"]["loss"] is None
    path = str(worker.folder / done["result"]["path"])
    worker.send("evaluate", "e", model=path, intervals=[{"start": 0.0}], metrics=["rows"])
    assert worker.answer()["result"]["rows"] == [{"metric": "rows", "value": 34247.0, "start": 0.0}]
    worker.train("own, badly", 3)
    assert "the trainer gives the loss nan" in worker.answer()["error"]["message"]


def test_every_id_has_a_folder_of_its_own():
    ids = ["/a#1/b@1", "/a#1/b@2", "/a_1/b_1", "a 1 b 1", "", "/" + "x" * 400, "/" + "x" * 401, "ü", "../up"]
    folders = [work_folder(Path("run"), each) for each in ids]
    assert len(set(folders)) == len(ids)
    assert all(each.parent == Path("run") / WORK and len(each.name) < 100 for each in folders)
