"""Drift in numbers: ms per distance and per p-value, and updates a second of each detector beside a bare loop.

    python benchmarks/drift.py [ROWS] [FEATURES] [REPEATS]

Both windows have ROWS rows (1,000) of FEATURES features (32), standard normal, one shifted a little. The best of
REPEATS (7) is printed for a distance, since whatever else runs here can only slow it down; a p-value is computed
once. The bare loop calls river's `update` and looks at `drift_detected`; the two take turns, and the ratio is the
median of the pairs.
"""

from __future__ import annotations

import statistics
import sys
import time
from collections.abc import Callable

import numpy as np
from river import drift as river

from twinclock.drift import DETECTORS, DISTANCES, TESTABLE, detect, distance, p_value

NUM_UPDATES = {"adwin": 50_000, "page_hinkley": 50_000, "kswin": 1_000}
BARE = {"adwin": river.ADWIN, "page_hinkley": river.PageHinkley, "kswin": lambda: river.KSWIN(seed=0)}


def seconds(work: Callable[[], object]) -> float:
    """Wall time of one call."""
    begin = time.perf_counter()
    work()
    return time.perf_counter() - begin


def bare_loop(name: str, values: list[float]) -> list[int]:
    """What a user of river would write."""
    detector, drifts = BARE[name](), []
    for index, value in enumerate(values):
        detector.update(value)
        if detector.drift_detected:
            drifts.append(index)
    return drifts


def main(num_rows: int = 1000, num_features: int = 32, repeats: int = 7) -> None:
    """Time everything and print it."""
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(num_rows, num_features)), rng.normal(0.02, 1, size=(num_rows, num_features))
    for name in DISTANCES:
        distance(name, x[:10], y[:10])  # imports what it needs
        best_s = min(seconds(lambda name=name: distance(name, x, y)) for _ in range(repeats))
        print(f"distance {name:12} {1000 * best_s:10,.1f} ms")
    for name in TESTABLE:
        p_value_s = seconds(lambda name=name: p_value(name, x, y, np.random.default_rng(1)))
        print(f"p-value  {name:12} {1000 * p_value_s:10,.1f} ms")
    for name in DETECTORS:
        values = rng.normal(size=NUM_UPDATES[name])
        pairs = []
        for _ in range(repeats):
            ours_s = seconds(lambda name=name, values=values: detect(name, values, 0))
            bare_s = seconds(lambda name=name, values=values: bare_loop(name, values.tolist()))
            pairs.append((ours_s, bare_s))
        per_s = len(values) / min(ours_s for ours_s, _ in pairs)
        ratio = statistics.median(bare_s / ours_s for ours_s, bare_s in pairs)
        print(f"detector {name:12} {per_s:10,.0f} updates/s   {ratio:.2f} x a bare loop")


if __name__ == "__main__":
    main(*(int(argument) for argument in sys.argv[1:]))
