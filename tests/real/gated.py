"""A trainer that waits at a gate, so that a test knows where a run stands when it kills something.

The gate is the folder named by `TWINCLOCK_GATE`. A training of n samples writes its process id to
`n.started`, waits until there is `n.open` or `all.open`, trains, and adds `n` to `trained`.
"""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from real.evaluator import EvaluationContext
    from real.trainer import TrainingContext, TrainingResult
    from twinclock.graph import Json


class GatedTrainer:
    def fit(self, context: TrainingContext) -> TrainingResult:
        from real.trainer import StoppedError, TorchTrainer

        gate, name = Path(os.environ["TWINCLOCK_GATE"]), str(context.rows.height)
        unfinished = gate / f"{name}.tmp"
        unfinished.write_text(str(os.getpid()))
        unfinished.rename(gate / f"{name}.started")
        while not (gate / f"{name}.open").exists() and not (gate / "all.open").exists():
            if context.should_stop():
                raise StoppedError
            time.sleep(0.005)
        result = TorchTrainer().fit(context)
        with open(gate / "trained", "a") as trained:
            trained.write(f"{name}\n")
        return result


class StubbornTrainer:
    """Trains for ever and does not listen."""

    def fit(self, context: TrainingContext) -> TrainingResult:
        unfinished = Path(os.environ["TWINCLOCK_GATE"]) / "stubborn.tmp"
        unfinished.write_text(str(os.getpid()))
        unfinished.rename(unfinished.with_suffix(".started"))
        while True:
            time.sleep(1.0)


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
