"""Small tables and contexts that the tests of `real` share."""

from __future__ import annotations

import numpy as np
import polars as pl

from real.evaluator import EvaluationContext
from real.store import StoredModel
from real.trainer import TorchTrainer, TrainingContext, TrainingResult
from twinclock.config import TrainingConfig
from twinclock.dataset import Columns, FeatureColumns, Table, TableConfig

COLUMNS = Columns(time="t", label="y", features=FeatureColumns(numeric=("a", "b"), categorical=("c",)))


def frame(**columns) -> pl.DataFrame:
    return pl.DataFrame(
        {"a": [1.0, 2.0, 3.0], "b": [0.0, 5.0, 1.0], "c": ["u", "v", "u"], "y": ["p", "q", "p"]} | columns
    )


def separable(num_samples: int = 400, seed: int = 0, labels: tuple[str, ...] = ("no", "yes")) -> pl.DataFrame:
    """The label is the sign of `a`; `b` and `c` are noise."""
    rng = np.random.default_rng(seed)
    a = rng.normal(size=num_samples)
    return pl.DataFrame(
        {
            "a": 100.0 + 7.0 * a,
            "b": rng.normal(size=num_samples),
            "c": rng.choice(["u", "v"], size=num_samples),
            "y": np.array(labels)[(a > 0).astype(int)],
        }
    )


def table(rows: pl.DataFrame) -> Table:
    config = TableConfig(path="unused.parquet", time="t", label=COLUMNS.label, features=COLUMNS.features)
    timestamps = np.arange(rows.height, dtype=np.float64)
    return Table(config=config, columns=COLUMNS, frame=rows, timestamps=timestamps, is_calendar=False)


def context(
    rows: pl.DataFrame,
    *,
    seed=5,
    start_from=None,
    report=None,
    should_stop=None,
    held_out=None,
    resume_from=None,
    save_checkpoint=None,
    **training,
) -> TrainingContext:
    return TrainingContext(
        rows=rows,
        columns=COLUMNS,
        config=TrainingConfig.model_validate(training),
        seed=seed,
        device="cpu",
        start_from=start_from,
        report=report or (lambda progress: None),
        should_stop=should_stop or (lambda: False),
        validation=held_out,
        resume_from=resume_from,
        save_checkpoint=save_checkpoint or (lambda checkpoint: None),
    )


def train(rows: pl.DataFrame, **options) -> TrainingResult:
    return TorchTrainer().fit(context(rows, **options))


def stored(result: TrainingResult, **training) -> StoredModel:
    config = TrainingConfig.model_validate(training).model
    return StoredModel(
        weights=result.weights, encoding=result.encoding, config=config, lineage={}, optimizer=result.optimizer
    )


def evaluation(
    model: StoredModel, rows: pl.DataFrame, *intervals, metrics=("accuracy", "log_loss")
) -> EvaluationContext:
    return EvaluationContext(
        model=model,
        table=table(rows),
        intervals=[{"start": float(a), "end": float(b), "first": a, "stop": b} for a, b in intervals],
        metrics=metrics,
        device="cpu",
        should_stop=lambda: False,
    )
