"""A live stream of the size of Criteo's 1 TB click log: 4.4 G samples over 24 days, a trigger a day.

    python benchmarks/criteo_size.py [SHARE [memory|folder]]

Batches of 100,000 samples, simulated live. Prints the seconds of the whole run (target: 3), on the wall's clock and of
CPU, and how much memory it took on top of what was there before, for the whole stream and for a quarter of it. Kept in
memory, the tables are what grows; they have a row for each stage run. With a folder they are on disk, and the memory
should be the same for both.
"""

from __future__ import annotations

import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

NUM_SAMPLES = 4_400_000_000
NUM_DAYS = 24
BATCH = 100_000


def config(share: float) -> dict[str, Any]:
    """The run over a share of the stream."""
    return {
        "name": "criteo-size",
        "mode": "live",
        "data": {
            "kind": "uniform",
            "num_samples": int(NUM_SAMPLES * share),
            "every": NUM_DAYS * 86_400 / NUM_SAMPLES,
            "chunk": BATCH,
        },
        "batching": {"kind": "fixed", "n": BATCH},
        "trigger": {"kind": "time", "every": "1d"},
        "selection": {"kind": "new_data", "tail": 0},
        "sim": {"costs": {"training": {"setup_s": 60, "samples_per_s": 2_000_000}}},
    }


def measure(share: float, kept: str) -> None:
    """One run in this process; prints stage runs, triggers, seconds and MB."""
    import twinclock as tc

    tc.run(config(share / 1000), on="sim")  # so that the imports are neither timed nor weighed
    before_kb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with tempfile.TemporaryDirectory() as folder:
        begin_s, begin_cpu_s = time.perf_counter(), time.process_time()
        run = tc.run(config(share), on="sim", out=Path(folder) / "run" if kept == "folder" else None)
        seconds, cpu_s = time.perf_counter() - begin_s, time.process_time() - begin_cpu_s
        grown_mb = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before_kb) / 1024
        tables_mb = sum(table.estimated_size("mb") for table in run.tables.values())
    print(
        f"{share:4.0%} of the stream, kept in {kept}: {seconds:5.2f} s ({cpu_s:.2f} s of CPU), "
        f"{run.stage_runs.height:,} stage runs, {run.triggers.height} triggers; "
        f"{grown_mb:,.0f} MB taken, the tables have {tables_mb:,.0f} MB"
    )


if __name__ == "__main__":
    if len(sys.argv) > 1:
        measure(float(sys.argv[1]), *(sys.argv[2:] or ["memory"]))
    else:
        for kept in ("memory", "folder"):
            for share in ("0.25", "1"):
                subprocess.run([sys.executable, __file__, share, kept], check=True)
