"""A live stream of the size of Criteo's 1 TB click log: 4.4 G samples over 24 days, a trigger a day.

    python benchmarks/criteo_size.py

Batches of 100,000 samples, simulated live. Prints the seconds of the whole run (target: 3) and how much
memory it took on top of what was there before, for the whole stream and for a quarter of it: records
grow with batches, the stream itself costs nothing.
"""

from __future__ import annotations

import resource
import subprocess
import sys
import time
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


def measure(share: float) -> None:
    """One run in this process; prints stage runs, triggers, seconds and MB."""
    import twinclock as tc
    import twinclock.launch  # so that the imports are not timed

    before_kb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    begin_s = time.perf_counter()
    run = tc.run(config(share), on="sim")
    seconds = time.perf_counter() - begin_s
    grown_mb = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before_kb) / 1024
    print(
        f"{share:4.0%} of the stream: {seconds:5.2f} s, {run.stage_runs.height:,} stage runs "
        f"({run.stage_runs.height / seconds:,.0f}/s), {run.triggers.height} triggers, {grown_mb:,.0f} MB"
    )


if __name__ == "__main__":
    if len(sys.argv) > 1:
        measure(float(sys.argv[1]))
    else:
        for share in ("0.25", "1"):
            subprocess.run([sys.executable, __file__, share], check=True)
