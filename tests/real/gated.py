"""A trainer that waits at a gate, so that a test knows where a run stands when it kills something.

The gate is the folder named by `TWINCLOCK_GATE`. A training of n samples writes its process id to
`n.started`, waits until there is `n.open` or `all.open`, trains, and adds `n` to `trained`.
"""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from real.evaluator import EvaluationContext
    from real.trainer import TrainingContext, TrainingResult
    from twinclock.graph import Json


def wait_at(gate: Path, name: str, context: TrainingContext) -> None:
    """Say that a training is at the gate, and wait until it may go through."""
    from real.training.context import StoppedError

    unfinished = gate / f"{name}.tmp"
    unfinished.write_text(str(os.getpid()))
    unfinished.rename(gate / f"{name}.started")
    while not (gate / f"{name}.open").exists() and not (gate / "all.open").exists():
        if context.should_stop():
            raise StoppedError
        time.sleep(0.005)


class GatedTrainer:
    def fit(self, context: TrainingContext) -> TrainingResult:
        from real.trainer import TorchTrainer

        gate, name = Path(os.environ["TWINCLOCK_GATE"]), str(context.rows.height)
        wait_at(gate, name, context)
        result = TorchTrainer().fit(context)
        with open(gate / "trained", "a") as trained:
            trained.write(f"{name}\n")
        return result


class SteppedTrainer:
    """Trains in steps of which each depends on all before, keeps a checkpoint after each, and notes it in `steps`.

    It waits at the gate in the middle. So a training that goes on from its checkpoint does no step twice.
    """

    NUM_STEPS = 20

    def fit(self, context: TrainingContext) -> TrainingResult:
        import torch

        from real.encoding import fit_encoding
        from real.training.checkpoint import Checkpoint
        from real.training.context import StoppedError, TrainingResult

        gate, name = Path(os.environ["TWINCLOCK_GATE"]), str(context.rows.height)
        parent = None if context.start_from is None else context.start_from.encoding
        encoding = fit_encoding(context.rows, context.columns, extending=parent)
        found = context.resume_from
        step = 0 if found is None else found.state["step"]
        weights = torch.zeros(encoding.num_outputs, encoding.num_inputs) if found is None else found.tensors["weights"]
        while step < self.NUM_STEPS:
            step += 1
            weights = torch.sin(1.7 * weights + step + context.seed % 7)
            context.save_checkpoint(Checkpoint(tensors={"weights": weights}, state={"step": step}))
            with open(gate / "steps", "a") as steps:
                steps.write(f"{name} {step}\n")
            if step == self.NUM_STEPS // 2:
                wait_at(gate, name, context)
            if context.should_stop():
                raise StoppedError
        state = {"weight": weights, "bias": torch.zeros(encoding.num_outputs)}
        return TrainingResult(weights=state, encoding=encoding, loss=None, num_steps=step)


class GatedRanks:
    """The same for trainings on several devices: rank 0 waits at the gate, the others for rank 0."""

    def fit(self, context: TrainingContext) -> TrainingResult:
        from dataclasses import replace

        from real.trainer import TorchTrainer

        if context.ranks.is_first:
            gate = Path(os.environ["TWINCLOCK_GATE"])
            # alone it must not ask whether to stop, for the others don't
            wait_at(gate, str(context.rows.height), replace(context, should_stop=lambda: False))
        return TorchTrainer().fit(context)


class FatalTrainer:
    """As `SteppedTrainer`, in a worker that kills itself before or after it renames something: once for each file in
    `fatal`, such as `result-before`."""

    def fit(self, context: TrainingContext) -> TrainingResult:
        import pytest
        from moments import Moment, Moments

        def die(moment: Moment) -> None:
            file = (
                Path(os.environ["TWINCLOCK_GATE"])
                / "fatal"
                / f"{moment.what}-{'after' if moment.is_after else 'before'}"
            )
            if file.exists():
                file.unlink()
                os.kill(os.getpid(), signal.SIGKILL)

        Moments(die).watch(pytest.MonkeyPatch())
        return SteppedTrainer().fit(context)


class StubbornTrainer:
    """Trains for ever; it notices that it is asked to stop, and does not."""

    def fit(self, context: TrainingContext) -> TrainingResult:
        unfinished = Path(os.environ["TWINCLOCK_GATE"]) / "stubborn.tmp"
        unfinished.write_text(str(os.getpid()))
        unfinished.rename(unfinished.with_suffix(".started"))
        while True:
            time.sleep(0.005)
            if context.should_stop():
                unfinished.with_suffix(".asked").touch()


class StoppedOnce:
    """An evaluator that goes on until it is stopped, and has then left `evaluating`; all that come later are quick."""

    def evaluate(self, context: EvaluationContext) -> list[Json]:
        from real.evaluator import TorchEvaluator
        from real.trainer import StoppedError

        evaluating = Path(os.environ["TWINCLOCK_GATE"]) / "evaluating"
        if not evaluating.exists():
            evaluating.touch()
            while not context.should_stop():
                time.sleep(0.005)
            raise StoppedError
        return TorchEvaluator().evaluate(context)
