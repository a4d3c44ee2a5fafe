"""Stage runs a second: the interpreter on SimPy against a hand-written SimPy script, in turn, in one process.

    python benchmarks/throughput.py [BATCHES] [REPEATS]

Three things are timed, each keeping all its records in memory:

* by hand       the yardstick, `hand_written.py`
* interpreter   the `seed` graph with scripted stages of the same durations: machine, SimPy, records
* pipeline      a whole simulated run with its real policies, decisions and cost models

Composites (flows, scopes, …) are not counted as stage runs. The ratio to the yardstick is taken pair
by pair, so that it holds when the machine's speed drifts.
"""

from __future__ import annotations

import gc
import statistics
import sys
import time
from collections.abc import Callable, Mapping
from typing import Any

import hand_written

from sim.effects import Effect
from sim.executor import Body, SimExecutor
from twinclock.allocator import Allocator
from twinclock.executor import drive
from twinclock.launch import run
from twinclock.machine import Machine
from twinclock.messages import Start
from twinclock.pipeline import build_graph
from twinclock.records import Recorder

DEVICES = ("sim:0", "sim:1")


def scripted_bodies(num_batches: int) -> Mapping[str, Body]:
    """Constant durations and ready-made values: what remains is the machine, SimPy and the records."""
    trigger = {
        "serial": 0, "position": 9, "first": 0, "stop": 10, "num_samples": 10,
        "first_ts": 0.0, "last_ts": 9.0, "reach": 10.0, "previous_reach": None, "returned": [],
    }  # fmt: skip
    recipe = {"trigger": 0, "ranges": [[0, 10]], "num_samples": 10}
    job = {"id": "job", "trigger": 0, "training_set": recipe, "start_from": None}
    model = {
        "trigger": 0, "parent": None, "first_ts": 0.0, "last_ts": 9.0,
        "num_samples": 10, "size_bytes": 1, "loss": 0.0, "path": "",
    }  # fmt: skip
    batch = {"serial": 0, "first": 0, "stop": 10, "watermark": None}
    decide, device = hand_written.DECIDE_S, hand_written.DEVICE_S
    fixed = {
        "INIT_CLUSTER_CONNECTION": Effect(decide, "done", {"cluster": {}}),
        "GET_SELECTOR_BATCH_SIZE": Effect(decide, "replay", {"batch_size": 10}),
        "HANDLE_NEW_DATA": Effect(decide, "done", {"batches": [batch], "next_batch": 1}),
        "INFORM_SELECTOR_AND_TRIGGER": Effect(decide, "trigger", {"trigger": trigger, "training_set": recipe}),
        "RUN_TRAINING": Effect(decide, "started", {"job": job}),
        "WAIT_FOR_TRAINING_COMPLETION": Effect(device, "trained", {"fit": {"loss": 0.0}}),
        "TRAINING_COMPLETED": Effect(decide, "done", {"candidate": model}),
        "STORE_TRAINED_MODEL": Effect(decide, "done", {"model": model, "active_model": model}),
        "EVALUATE": Effect(decide, "jobs", {"jobs": [{"model": 0}]}),
        "WAIT_FOR_EVALUATION_COMPLETION": Effect(device, "done", {"result": []}),
        "EVALUATION_COMPLETED": Effect(decide, "done", {"scores": []}),
        "POST_EVALUATION": Effect(decide, "nothing", {}),
    }
    done = Effect(decide, "done", {})
    fired = {"decisions": [], "fire": {}, "answers": 1, "policy": {}}
    quiet = {"decisions": [], "answers": 2, "policy": {}}

    def replay_data(start: Start, _executor: SimExecutor) -> Effect:
        position = start.inputs["position"]
        if position == num_batches:
            return Effect(decide, "end", {})
        return Effect(decide, "chunk", {"chunk": {}, "position": position + 1, "batch_size": 10, "taken_s": 0.0})

    def handle_triggers(start: Start, _executor: SimExecutor) -> Effect:
        first = start.inputs["answers"] == 0
        return Effect(decide, "fired", fired) if first else Effect(decide, "none", quiet)

    def constant(effect: Effect) -> Body:
        return lambda _start, _executor: effect

    names = (
        "INIT", "REPLAY_DATA_DONE", "NEW_DATA_HANDLED", "INFORM_SELECTOR_REMAINING_DATA",
        "STORE_EVALUATION_RESULTS", "DONE", "EXIT",
    )  # fmt: skip
    return {
        **{name: constant(done) for name in names},
        **{name: constant(effect) for name, effect in fixed.items()},
        "REPLAY_DATA": replay_data,
        "HANDLE_TRIGGERS_WITHIN_BATCH": handle_triggers,
    }


def by_hand(num_batches: int) -> int:
    """The yardstick; the number of its stage runs."""
    return len(hand_written.run(num_batches))


def interpreter(num_batches: int) -> int:
    """Machine, SimPy and records; the number of stage runs."""
    units = {"device": DEVICES, "training_slot": ("slot",), "admission": ("admission",)}
    recorder = Recorder(lambda _position: 0.0)
    executor = SimExecutor({"main": scripted_bodies(num_batches)}, Allocator(units))
    drive({"main": Machine(build_graph())}, executor, {"main": recorder})
    executor.close()
    return recorder.num_gathered


def pipeline(num_batches: int) -> int:
    """A whole simulated run with a trigger in each batch; the number of stage runs."""
    config: dict[str, Any] = {
        "trigger": {"kind": "amount", "n": 1000},
        "data": {"kind": "uniform", "num_samples": 1000 * num_batches, "every": 1, "chunk": 1000},
        "batching": {"kind": "fixed", "n": 1000},
        "evaluation": {"plans": [{"kind": "between_triggers", "models": "active"}]},
        "cluster": {"devices": 2},
    }
    return int(run(config, on="sim").stage_runs.height)


def rate(workload: Callable[[int], int], num_batches: int) -> float:
    """Stage runs a second of one run."""
    gc.collect()
    begin = time.perf_counter()
    num_stage_runs = workload(num_batches)
    return num_stage_runs / (time.perf_counter() - begin)


def main(num_batches: int = 10_000, repeats: int = 5) -> None:
    """Time everything in turn and print medians."""
    rates: dict[str, list[float]] = {"by hand": [], "interpreter": [], "pipeline": []}
    for _ in range(repeats):
        rates["by hand"].append(rate(by_hand, num_batches))
        rates["interpreter"].append(rate(interpreter, num_batches))
        rates["pipeline"].append(rate(pipeline, num_batches // 10))
    for name, values in rates.items():
        ratios = [value / hand for value, hand in zip(values, rates["by hand"], strict=True)]
        median, ratio = statistics.median(values), statistics.median(ratios)
        print(f"{name:12} {median:10,.0f} stage runs/s   {ratio:.2f} x by hand   (n = {repeats})")


if __name__ == "__main__":
    main(*(int(argument) for argument in sys.argv[1:]))
