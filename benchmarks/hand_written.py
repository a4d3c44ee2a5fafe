"""The yardstick: the `seed` pipeline as somebody would write it by hand in SimPy, without graph or interpreter.

Every stage run is kept as a row (id, stage, trigger, batch, queued, started, ended, device).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import simpy

DECIDE_S = 0.001
DEVICE_S = 10.0


def run(num_batches: int, num_devices: int = 2) -> list[tuple[Any, ...]]:
    """Simulate `num_batches` ingest batches, each of which triggers a training and a spawned evaluation."""
    environment = simpy.Environment()
    devices = simpy.Resource(environment, num_devices)
    rows: list[tuple[Any, ...]] = []

    def stage(name: str, seconds: float, batch: int | None) -> Iterator[simpy.Event]:
        queued = environment.now
        yield environment.timeout(seconds)
        rows.append((len(rows), name, batch, batch, queued, queued, environment.now, None))

    def on_device(name: str, batch: int) -> Iterator[simpy.Event]:
        queued = environment.now
        with devices.request() as request:
            yield request
            started = environment.now
            yield environment.timeout(DEVICE_S)
        rows.append((len(rows), name, batch, batch, queued, started, environment.now, "device"))

    def evaluation(batch: int) -> Iterator[simpy.Event]:
        yield from on_device("WAIT_FOR_EVALUATION_COMPLETION", batch)
        yield from stage("STORE_EVALUATION_RESULTS", DECIDE_S, batch)

    def pipeline() -> Iterator[simpy.Event]:
        yield from stage("INIT", DECIDE_S, None)
        for batch in range(num_batches):
            yield from stage("REPLAY_DATA", DECIDE_S, batch)
            yield from stage("HANDLE_NEW_DATA", DECIDE_S, batch)
            yield from stage("HANDLE_TRIGGERS_WITHIN_BATCH", DECIDE_S, batch)
            yield from stage("INFORM_SELECTOR_AND_TRIGGER", DECIDE_S, batch)
            yield from on_device("WAIT_FOR_TRAINING_COMPLETION", batch)
            yield from stage("STORE_TRAINED_MODEL", DECIDE_S, batch)
            environment.process(evaluation(batch))
            yield from stage("INFORM_SELECTOR_REMAINING_DATA", DECIDE_S, batch)
        yield from stage("DONE", DECIDE_S, None)

    environment.process(pipeline())
    environment.run()
    return rows
