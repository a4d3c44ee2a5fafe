"""The soak at its shortest, and that it finds what is broken."""

from __future__ import annotations

import random
import shutil
import sys
from pathlib import Path

import polars as pl

sys.path.insert(0, str(Path(__file__).parents[1]))
import soak

NUM_TRIGGERS = 18


def test_nothing_is_lost_whatever_is_killed(tmp_path):
    seen = soak.soak(tmp_path, NUM_TRIGGERS, worker_every_s=1.5, command_every_s=5.0, rng=random.Random(1))
    lines, problems = soak.judge(tmp_path / "run", NUM_TRIGGERS, seen, wall_s=0.0)
    assert problems == []
    assert len(lines) == 5

    shutil.rmtree(tmp_path / "run" / "models" / "00007")
    (tmp_path / "run" / "work").mkdir()
    for file in (tmp_path / "run" / "tables" / "batches").iterdir():
        pl.read_parquet(file)[:-1].write_parquet(file)
    _, problems = soak.judge(tmp_path / "run", NUM_TRIGGERS, seen, wall_s=0.0)
    assert problems == [
        "batches do not cover the samples exactly once",
        "the store does not hold one model of each trigger",
        "folders are left over in work/",
    ]


def test_memory_that_grows_is_seen():
    flat = [(number, 100_000_000 + number % 3) for number in range(200)]
    assert abs(soak.growth(flat)) < 100
    assert soak.growth([(number, size + number * 50_000) for number, size in flat]) > 40_000
    assert soak.growth(flat[:30]) is None
