"""Trainings in one of several processes that do them together; what comes of each is left in a folder."""

from __future__ import annotations

import json
from contextlib import suppress
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from real.training.distributed import Ranks

MLP = {"kind": "mlp", "hidden": [8]}
ADAM = {"kind": "adam", "lr": 0.01}
TRAININGS: dict[str, dict[str, Any]] = {
    "fixed batch": {"num_samples": 96, "batch_size": 32, "epochs": 3, "model": MLP, "optimizer": ADAM},
    "ragged last batch": {"num_samples": 77, "batch_size": 32, "epochs": 2, "model": MLP},
    "a last batch of one, and a slice of none": {"num_samples": 65, "batch_size": 32, "epochs": 2, "model": MLP},
    "clipped": {"num_samples": 64, "batch_size": 16, "epochs": 2, "clip_norm": 0.1, "optimizer": {"lr": 1.0}},
    "accumulated": {"num_samples": 90, "batch_size": 16, "epochs": 2, "accumulate": 3, "model": MLP},
    "held out, weighted by class, and stopped early": {
        "num_samples": 90,
        "batch_size": 16,
        "epochs": 6,
        "class_weights": "balanced",
        "validation": {"share": 0.2},
        "early_stopping": {"patience": 1, "min_delta": 0.5},
    },
    "weighted by what is kept": {
        "num_samples": 100,
        "batch_size": 20,
        "epochs": 2,
        "downsample": {"kind": "gradnorm", "ratio": 0.5, "mode": "batch_then_sample"},
    },
}
"""Name → a number of samples, and a section `training`."""


def fit(name: str, ranks: Ranks, **changes: Any) -> tuple[dict[str, Any], float, int, list[tuple[int, float]]]:
    """Weights, loss, number of steps, and what was reported: step and loss."""
    from real_samples import context, separable

    from real.trainer import TorchTrainer

    training = dict(TRAININGS[name])
    rows = separable(training.pop("num_samples"))
    held_out = separable(30, seed=1) if "validation" in training else None
    reported: list[tuple[int, float]] = []
    asked = context(
        rows,
        held_out=held_out,
        report=lambda progress: reported.append((progress.step, progress.loss)),
        **training,
    )
    done = TorchTrainer().fit(replace(asked, ranks=ranks, **changes))
    return dict(done.weights), done.loss, done.num_steps, reported


def rank_main(rank: int, size: int, folder: Path) -> None:
    """All trainings, then a stop and a failure, each together with the other ranks."""
    from real.training.distributed import Ranks, joined

    ranks = Ranks(rank, size)
    with joined(ranks, str(folder / "first"), "cpu:0"):
        _train(ranks, folder)
        _stop(ranks, folder)
        _go_on(ranks, folder)
    try:
        with joined(ranks, str(folder / "second"), "cpu:0"):
            _fail(ranks)
    except Exception as error:
        (folder / f"failed.{rank}").write_text(f"{type(error).__name__}: {error}")


def _train(ranks: Ranks, folder: Path) -> None:
    from safetensors.torch import save_file

    for name in TRAININGS:
        weights, loss, num_steps, reported = fit(name, ranks)
        save_file(weights, folder / f"{name}.{ranks.rank}.safetensors")
        (folder / f"{name}.{ranks.rank}.json").write_text(json.dumps([loss, num_steps, reported]))


def _stop(ranks: Ranks, folder: Path) -> None:
    """Steps until rank 1 alone is asked to stop; leaves how many were taken."""
    steps = 0
    should_stop = ranks.agreed(lambda: ranks.rank == 1 and steps == 7)
    while not should_stop():
        steps += 1
    (folder / f"stopped.{ranks.rank}").write_text(str(steps))


def _go_on(ranks: Ranks, folder: Path) -> None:
    """A training is stopped in the middle, rank 0 keeps a checkpoint, and both go on from it."""
    import torch.distributed as dist
    from safetensors.torch import save_file

    from real.training.checkpoint import read_checkpoint, write_checkpoint
    from real.training.context import StoppedError

    kept, asked = folder / "checkpoint", iter(range(100))
    should_stop = ranks.agreed(lambda: ranks.rank == 1 and next(asked) == 4)
    save = partial(write_checkpoint, kept) if ranks.is_first else lambda _: None
    with suppress(StoppedError):
        fit("fixed batch", ranks, should_stop=should_stop, save_checkpoint=save)
    dist.barrier()
    found = read_checkpoint(kept).checkpoint
    assert found is not None
    assert found.state["step"] == 4
    weights, *_ = fit("fixed batch", ranks, resume_from=found)
    save_file(weights, folder / f"resumed.{ranks.rank}.safetensors")


def _fail(ranks: Ranks) -> None:
    """Rank 1 fails while rank 0 waits for it."""
    import torch

    if ranks.rank == 1:
        raise RuntimeError("of its own")
    ranks.mean(torch.zeros(3))
