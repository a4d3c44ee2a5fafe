"""A fleet of 100 pipelines over 30 days on 64 devices: seconds of wall time, stage runs a second, memory.

    python benchmarks/fleet.py [PIPELINES] [DAYS]

Live: a sample every 10 s in each pipeline, an ingest batch an hour, a trigger by amount or by time about once a day,
and each model evaluated day by day. Trainings take about ten hours, so that pipelines meet at the devices.
"""

from __future__ import annotations

import resource
import sys
import time
from typing import Any

from twinclock.fleet import run_fleet

DAY_S = 86_400
EVERY_S = 10.0


def fleet(num_pipelines: int, num_days: int) -> dict[str, Any]:
    """Half of the pipelines train by amount, half by time."""
    config = {
        "mode": "live",
        "live": {"speed_up": 1.0},
        "data": {"kind": "poisson", "num_samples": int(num_days * DAY_S / EVERY_S), "every": EVERY_S},
        "batching": {"kind": "time", "seconds": 3600},
        "variant": "overlapped",
        "overlap": {"on_trigger": "coalesce"},
        "selection": {"kind": "new_data", "tail": 6},
        "training": {"epochs": 3},
        "evaluation": {"plans": [{"kind": "slicing", "every": "1d"}]},
        "sim": {"costs": {"training": {"setup_s": 300.0, "samples_per_s": 5.0}}},
    }
    half = max(1, num_pipelines // 2)
    return {
        "name": "benchmark",
        "fleet": {
            "amount": {"config": {**config, "trigger": {"kind": "amount", "n": 8640}}, "copies": half},
            "time": {"config": {**config, "trigger": {"kind": "time", "every": "1d"}}, "copies": half},
        },
        "cluster": {"pools": [{"name": "gpu", "devices_per_node": 8, "nodes": 8, "device": {"usd_per_hour": 2.0}}]},
    }


def main(num_pipelines: int = 100, num_days: int = 30) -> None:
    """Run it and print the figures."""
    source = fleet(num_pipelines, num_days)
    begin = time.perf_counter()
    made = run_fleet(source)
    wall_s = time.perf_counter() - begin
    stage_runs = sum(run.stage_runs.height for run in made.runs.values())
    trainings = int(made.pipelines["trainings"].sum())
    peak_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(f"{num_pipelines} pipelines, {num_days} days, 64 devices: {wall_s:.1f} s")
    print(f"{stage_runs:,} stage runs, {stage_runs / wall_s:,.0f} a second; {trainings:,} trainings; {peak_mb:,.0f} MB")
    print(f"utilisation {made.usage['busy_s'].sum() / (64 * made.makespan_s):.2f}, fairness {made.fairness:.3f}")


if __name__ == "__main__":
    main(*(int(argument) for argument in sys.argv[1:]))
