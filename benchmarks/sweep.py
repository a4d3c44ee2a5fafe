"""A sweep of many runs of about 5,000 stage runs each: seconds of wall time, and how well it scales.

    python benchmarks/sweep.py [RUNS] [MOST_WORKERS]

A modelled stream of 1,000 batches, and a training and an evaluation after every so many; half of the variants fire by
amount and half by time. Each number of workers sweeps the whole study anew. The efficiency is the time of one worker
over that of N, divided by N; the start of the workers, and the tables at the end, are in it.
"""

from __future__ import annotations

import os
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import twinclock as tc

DAY_S = 86_400


def study(num_runs: int) -> dict[str, Any]:
    """Half of the runs by amount and half by time, with ten settings each."""
    base = {
        "data": {"kind": "uniform", "num_samples": 1_000_000, "every": 1.0, "chunk": 1000},
        "batching": {"kind": "fixed", "n": 1000},
        "trigger": {"kind": "amount", "n": 20_000},
        "evaluation": {"plans": [{"kind": "slicing", "every": "1d"}]},
    }
    numbers = [15_000 + 1000 * step for step in range(10)]
    by_time = {f"every {n} s": {"trigger": {"kind": "time", "every": float(n)}} for n in numbers}
    by_amount = {f"every {n} samples": {"trigger": {"kind": "amount", "n": n}} for n in numbers}
    axes = [{"kind": "list", "name": "policy", "variants": {**by_amount, **by_time}}]
    return {"name": "benchmark", "base": base, "axes": axes, "seeds": max(1, num_runs // 20)}


def main(num_runs: int = 1000, most_workers: int = len(os.sched_getaffinity(0))) -> None:
    """Sweep with 1, 2, 4 … workers and print the figures."""
    alone_s = 0.0
    num_workers = 1
    while num_workers <= most_workers:
        with tempfile.TemporaryDirectory() as folder:
            begin = time.perf_counter()
            made = tc.sweep(study(num_runs), out=Path(folder) / "study", num_workers=num_workers)
            wall_s = time.perf_counter() - begin
        assert made.unfinished.is_empty(), made.unfinished
        alone_s = alone_s or wall_s
        stage_runs = int(made.wide["stage_runs"].sum())
        efficiency = alone_s / wall_s / num_workers
        print(
            f"{made.runs.height} runs, {num_workers} workers: {wall_s:.1f} s, efficiency {efficiency:.2f}; "
            f"{stage_runs / made.runs.height:,.0f} stage runs each, {stage_runs / wall_s:,.0f} a second"
        )
        num_workers *= 2


if __name__ == "__main__":
    main(*(int(argument) for argument in sys.argv[1:]))
