"""A table whose rows come out of order: both executors take the same samples, and train on the same rows."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl
import pytest

import twinclock as tc
from twinclock.dataset import TableConfig, load_table


@pytest.mark.parametrize("mode", ["replay", "live"])
def test_late_samples_are_taken_or_quarantined_alike(mode: str, tmp_path: Path) -> None:
    rng = np.random.default_rng(4)
    happened = np.sort(rng.uniform(0.0, 600.0, 600))
    received = happened + np.where(rng.random(600) < 0.3, rng.exponential(20.0, 600), 0.0)
    rows = pl.DataFrame({"t": happened, "a": received, "y": rng.integers(0, 2, 600), "x": happened})
    rows.sample(fraction=1.0, shuffle=True, seed=1).write_parquet(tmp_path / "rows.parquet")
    data = {
        "kind": "table",
        "path": str(tmp_path / "rows.parquet"),
        "time": "t",
        "arrival": "a",
        "allowed_lateness": 30.0,
        "label": "y",
        "features": {"numeric": ["x"]},
    }
    config = {
        "mode": mode,
        "live": {"speed_up": 1000.0},
        "data": data,
        "batching": {"n": 20},
        "trigger": {"kind": "amount", "n": 200},
        "training": {"epochs": 1},
    }
    simulated, real = tc.run(config, on="sim"), tc.run(config, on="real", out=tmp_path / "run")
    for run in (simulated, real):
        assert run.summary["samples"] + run.summary["quarantined"] == 600
        assert 0 < run.summary["quarantined"] < 100
        assert run.summary["models"] == 2
    columns = ["trigger", "position", "first", "stop", "first_ts", "last_ts", "training_samples"]
    assert simulated.triggers.select(columns).equals(real.triggers.select(columns))

    table = load_table(TableConfig.model_validate(data))
    assert table.frame["x"].to_list() == table.timestamps.tolist()
    assert real.triggers["last_ts"].to_list() == table.timestamps[[199, 399]].tolist()
