"""One training on several devices is, step by step, the training on one."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from rank_process import TRAININGS, fit, rank_main
from real_runs import HERE, PATIENCE_S, Gate, small
from safetensors.torch import load_file
from test_faults import Meanwhile

from real.downsampling import Kept
from real.store import load_model
from real.training.distributed import ALONE, Ranks
from twinclock import launch
from twinclock.spawning import SPAWN


def together(main: Callable[[int, int, Path], None], folder: Path, size: int = 2) -> Path:
    """Run so many processes to their end; the folder with what they have left."""
    processes = [SPAWN.Process(target=main, args=(rank, size, folder)) for rank in range(size)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(PATIENCE_S)
        process.kill()
        process.join()
    assert [process.exitcode for process in processes] == [0] * size
    return folder


@pytest.fixture(scope="module")
def trained(tmp_path_factory) -> Path:
    return together(rank_main, tmp_path_factory.mktemp("ranks"))


@pytest.mark.parametrize("name", TRAININGS)
def test_two_ranks_come_to_the_weights_of_one_device(trained, name):
    weights, loss, num_steps, reported = fit(name, ALONE)
    for rank in (0, 1):
        its_weights = load_file(trained / f"{name}.{rank}.safetensors")
        assert its_weights.keys() == weights.keys()
        for key, tensor in weights.items():
            torch.testing.assert_close(its_weights[key], tensor, rtol=0.0, atol=1e-6)
        its_loss, its_num_steps, its_reported = json.loads((trained / f"{name}.{rank}.json").read_text())
        assert its_loss == pytest.approx(loss, abs=1e-6)
        assert its_num_steps == num_steps
        assert [step for step, _ in its_reported] == [step for step, _ in reported]
        assert [loss for _, loss in its_reported] == pytest.approx([loss for _, loss in reported], abs=1e-6)


@pytest.mark.parametrize("size", [2, 3, 5])
@pytest.mark.parametrize("num_samples", [1, 2, 4, 16, 17])
@pytest.mark.parametrize("weights", [None, torch.linspace(1.0, 9.0, 17, dtype=torch.float64)])
def test_the_parts_of_a_minibatch_are_the_whole(size, num_samples, weights):
    losses = torch.arange(17.0, dtype=torch.float64).square()
    weights = None if weights is None else weights[:num_samples]
    whole = Kept(torch.arange(num_samples), weights)
    weighing = torch.ones(num_samples, dtype=torch.float64) if weights is None else weights
    expected = (losses[:num_samples] * weighing).sum() / weighing.sum()
    stepped_on, loss = [], 0.0
    for rank in range(size):
        (chosen, its_weights), factor = Ranks(rank, size).part(whole)
        assert len(chosen) > 0
        its_weighing = torch.ones(len(chosen), dtype=torch.float64) if its_weights is None else its_weights
        loss += float((losses[chosen] * its_weighing).sum() / its_weighing.sum()) * factor / size
        stepped_on += chosen.tolist() if factor else []
    assert stepped_on == list(range(num_samples))
    assert loss == pytest.approx(float(expected))


def test_all_ranks_stop_at_the_same_step(trained):
    assert [(trained / f"stopped.{rank}").read_text() for rank in (0, 1)] == ["7", "7"]


def test_all_ranks_go_on_from_the_checkpoint_of_rank_0_to_the_last_bit(trained):
    for rank in (0, 1):
        undisturbed = load_file(trained / f"fixed batch.{rank}.safetensors")
        resumed = load_file(trained / f"resumed.{rank}.safetensors")
        assert all(torch.equal(resumed[key], tensor) for key, tensor in undisturbed.items())


def test_who_waits_for_a_rank_that_has_failed_says_that_it_is_gone(trained):
    assert (trained / "failed.1").read_text() == "RuntimeError: of its own"
    assert (trained / "failed.0").read_text().startswith("PeerLostError: another rank of the training is gone (")


def test_a_training_on_two_devices_fails_as_a_whole_if_a_worker_dies_and_is_then_that_of_one(tmp_path, monkeypatch):
    monkeypatch.setenv("TWINCLOCK_GATE", str(tmp_path / "gate"))
    monkeypatch.setenv("PYTHONPATH", str(HERE), prepend=os.pathsep)
    gate, config = Gate(tmp_path / "gate"), small(cluster={"devices": 2})
    config["training"]["optimizer"] = {"kind": "sgd", "lr": 0.05}  # Adam makes much of a gradient's last digits
    alone = launch.run(config, on="real", out=tmp_path / "alone")
    assert (alone.trainings["peak_memory_bytes"] > 10 * 2**20).all()
    assert (alone.trainings["utilisation"] > 0.0).all()

    def interfere() -> None:
        try:
            gate.open(500)
            worker = gate.await_start(1000)
            gate.forget(1000)
            os.kill(worker, signal.SIGKILL)
            assert gate.await_start(1000) != worker
        finally:
            gate.open()

    config["training"] |= {"devices": 2, "trainer": "gated:GatedRanks"}
    with Meanwhile(interfere):
        run = launch.run(config, on="real", out=tmp_path / "together")
    assert run.outcome == "done"
    assert run.trainings.select("trigger", "outcome", "device").rows() == [
        (trigger, outcome, "cpu:0,cpu:1")
        for trigger, outcome in [(0, "trained"), (1, "failed"), (1, "trained"), (2, "trained"), (3, "trained")]
    ]
    (fault,) = run.faults.rows(named=True)
    told = "rank 0 of 2, on cpu:0: the worker of cpu:0 was ended by a signal: Killed"
    assert (fault["type"], fault["message"]) == ("WorkerDied", told)
    for model in range(4):
        mine, its = (load_model(out / "models" / f"{model:05d}") for out in (tmp_path / "alone", tmp_path / "together"))
        for key, tensor in mine.weights.items():
            torch.testing.assert_close(its.weights[key], tensor, rtol=0.0, atol=1e-6)
    assert run.evaluations.height == alone.evaluations.height
