"""Samples a second that trigger policies read, fed in batches of 10,000.

    python benchmarks/triggers.py [MILLIONS OF SAMPLES]

Each batch is asked about as the pipeline does: the state is loaded, the trigger answers until it has
nothing more to say, the state is saved. What it wants observed is given at once; the cost of observing is not
in the figures (see `drift.py`).
"""

from __future__ import annotations

import sys
import time
from typing import Any

import numpy as np

from twinclock.config import load_config
from twinclock.policies.observations import observation, value_names
from twinclock.policies.triggers import Fire, Observe, Quiet, Samples, build_trigger
from twinclock.stream import RecordedStream, Stream, UniformStream

BATCH = 10_000
DAY = 86_400.0
RULES = [{"kind": "quantile", "q": 0.1}]
METRICS = {"it": {"kind": "ks", "rule": {"kind": "static", "threshold": 0.5}}}
WINDOWS = {"kind": "amount", "ref": 100_000, "cur": 50_000}
TRIGGERS: dict[str, dict[str, Any]] = {
    "amount": {"kind": "amount", "n": 250_000},
    "time": {"kind": "time", "every": "1d"},
    "performance": {"kind": "performance", "interval": 100_000, "rules": RULES},
    "drift": {"kind": "drift", "interval": 100_000, "metrics": METRICS, "windows": WINDOWS},
    "cost": {"kind": "cost", "interval": 100_000, "per_training_second": 1e9},
    "continuum": {"kind": "continuum", "w": 1e9, "alpha": 1e-5, "beta": 10.0},
    "ensemble": {
        "kind": "ensemble",
        "of": {"a": {"kind": "amount", "n": 250_000}, "b": {"kind": "time", "every": "1d"}},
        "rule": {"kind": "at_least", "k": 2},
    },
    "budget": {"kind": "budget", "of": {"kind": "amount", "n": 250_000}, "limit": 3, "horizon": "7d"},
}


def read(config: dict[str, Any], stream: Stream) -> int:
    """Feed the whole stream to a trigger; how often it fired."""
    trigger = build_trigger(load_config({"trigger": config}).trigger)
    state, fires = trigger.state_dict(), 0
    for first in range(0, stream.num_samples, BATCH):
        samples = Samples(stream=stream, first=first, stop=min(first + BATCH, stream.num_samples))
        answer = seen = None
        while not isinstance(answer, Quiet):
            trigger.load_state_dict(state)
            answer = trigger.advance(samples, seen)
            seen = None
            if isinstance(answer, Fire):
                fires += 1
                trigger.on_fire(answer.position)
                trigger.on_training_cost(250_000, 10.0)
                trigger.on_new_model({"trigger": fires})
            elif isinstance(answer, Observe):
                seen = observation(answer.request, dict.fromkeys(value_names(answer.request), 0.5))
            state = trigger.state_dict()
    return fires


def main() -> None:
    """Print a line for each trigger and stream."""
    millions = float(sys.argv[1]) if len(sys.argv) > 1 else 20.0
    num_samples = int(millions * 1e6)
    gaps = np.random.default_rng(0).exponential(DAY / 200_000, num_samples)
    streams: dict[str, Stream] = {
        "at equal distances": UniformStream(num_samples, DAY / 200_000),
        "recorded": RecordedStream(np.cumsum(gaps)),
    }
    print(f"{'trigger':<12} {'stream':<20} {'fires':>6} {'million samples a second':>26}")
    for name, config in TRIGGERS.items():
        for kind, stream in streams.items():
            began = time.perf_counter()
            fires = read(config, stream)
            print(f"{name:<12} {kind:<20} {fires:>6} {millions / (time.perf_counter() - began):>26.1f}")


if __name__ == "__main__":
    main()
