"""Jobs that slow each other down: the model alone, on the executor, and in whole runs."""

from __future__ import annotations

from itertools import accumulate

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from theory import NUM_CUSTOMERS, draws

import twinclock as tc
from sim.contention import Contention, Interference
from sim.effects import Effect, Load
from sim.executor import SimExecutor
from twinclock.allocator import Allocator, Sharing
from twinclock.executor import drive
from twinclock.graph import Flow, Scope, Spawn, Stage, leave
from twinclock.machine import Machine
from twinclock.messages import Cancel, Ended, Start
from twinclock.occupied import occupied
from twinclock.records import Recorder

NODES = {"a:0": ("a", 0), "a:1": ("a", 0), "a:2": ("a", 1), "b:0": ("b", 0)}


def key(id_):
    return ("main", id_)


def test_two_jobs_on_a_device_by_hand():
    """4 s of work alone until 1 s, then beside another at 1 / 1.5 until that has done its 2 s at 4 s, then alone."""
    contention = Contention(NODES)
    how = Interference(0.5, 0.0)
    assert contention.begin(key(1), ["a:0"], 4.0, how, 0.0) == {key(1): 4.0}
    assert contention.begin(key(2), ["a:0"], 2.0, how, 1.0) == {key(1): 5.5, key(2): 4.0}
    assert contention.end(key(2), 4.0) == {key(1): 5.0}
    assert contention.end(key(1), 5.0) == {}


def test_who_counts_as_beside():
    contention = Contention(NODES)
    how = Interference(1.0, 0.25)
    contention.begin(key(1), ["a:0"], 10.0, how, 0.0)
    assert contention.begin(key(2), ["a:1"], 10.0, how, 0.0) == {key(1): 12.5, key(2): 12.5}, "on the node"
    assert contention.begin(key(3), ["a:2"], 10.0, how, 0.0) == {key(3): 10.0}, "on another node"
    assert contention.begin(key(4), ["b:0"], 10.0, how, 0.0) == {key(4): 10.0}, "in another pool"
    across = contention.begin(key(5), ["a:1", "a:2"], 10.0, how, 0.0)
    assert across == {key(1): 15.0, key(2): 22.5, key(3): 20.0, key(5): 32.5}


@given(st.integers(0, 2**32))
@settings(max_examples=200, deadline=None, derandomize=True, database=None)
def test_work_is_conserved(seed):
    """Whatever begins and is broken off, each job's seconds at its rates add up to its work, and none ends late."""
    rng = np.random.default_rng(seed)
    contention = Contention(NODES)
    ends, now, done, sizes, began = {}, 0.0, {}, {}, {}
    for id_ in range(30):
        now += rng.exponential(1.0)
        while ends and min(ends.values()) <= now:
            first = min(ends, key=lambda each: (ends[each], each))
            done[first] = ends.pop(first)
            ends |= contention.end(first, done[first])
        if ends and rng.random() < 0.2:
            gone = sorted(ends)[rng.integers(len(ends))]
            del ends[gone]
            ends |= contention.end(gone, now)
        sizes[key(id_)], began[key(id_)] = rng.exponential(2.0), now
        devices = rng.choice(sorted(NODES), rng.integers(1, 3), replace=False).tolist()
        how = Interference(float(rng.random()), float(rng.random()))
        ends |= contention.begin(key(id_), devices, sizes[key(id_)], how, now)
    for each, end in done.items():
        assert end - began[each] >= sizes[each] - 1e-9
        assert end - began[each] <= sizes[each] * (1 + 30 * 2)


def shared_queue(gaps, services, jobs_per_device, interference):
    """Customers who share one server: the table `devices`."""
    arrive = Stage(kind="wait", operation="ARRIVE", reads=("n",), outcomes={"more": ("n",), "end": ("n",)})
    serve = Stage(kind="work", operation="SERVE", reads=("n",), needs={"device": 1})
    graph = Scope(
        body=Flow(
            start="ARRIVE",
            initial={"n": 0},
            steps={"ARRIVE": arrive, "serve": Spawn(body=serve)},
            edges={"ARRIVE": {"more": "serve", "end": leave("done")}, "serve": {"done": "ARRIVE"}},
        )
    )

    def arrived(start, _executor):
        n = start.inputs["n"]
        return Effect(gaps[n], "more", {"n": n + 1}) if n < len(gaps) else Effect(0.0, "end", {"n": n})

    def served(start, _executor):
        return Effect(services[start.inputs["n"] - 1], "done", {}, load=Load(("d:0",), interference))

    allocator = Allocator({"device": ["d:0"]}, {"device": Sharing(jobs_per_unit=jobs_per_device)})
    executor = SimExecutor({"main": {"ARRIVE": arrived, "SERVE": served}}, allocator, {"d:0": ("d", 0)})
    recorder = Recorder(float)
    try:
        drive({"main": Machine(graph)}, executor, {"main": recorder})
    finally:
        executor.close()
    return recorder.take()["devices"].sort("requested_s")


def processor_sharing(gaps, services):
    """When each customer leaves a server that all have in turns, by a second implementation: small steps of events."""
    arrivals = [*accumulate(gaps), float("inf")]
    left, leaves, now, following = {}, {}, 0.0, 0
    while len(leaves) < len(gaps):
        rate = 1.0 / max(1, len(left))
        next_end = now + min(left.values(), default=float("inf")) / rate
        until = min(next_end, arrivals[following])
        left = {each: rest - (until - now) * rate for each, rest in left.items()}
        now = until
        if until == next_end:
            first = min(left, key=left.__getitem__)
            leaves[first] = now
            del left[first]
        else:
            left[following] = services[following]
            following += 1
    return [leaves[each] for each in range(len(gaps))]


def test_jobs_that_have_a_device_in_turns_are_processor_sharing():
    """M/M/1-PS: every departure that of a second implementation; the mean time there 1 / (μ - λ), within 8 %."""
    gaps, services = draws(0.6, 1.0, seed=21)
    gaps, services = gaps[:8000], services[:8000]
    served = shared_queue(gaps, services, 10_000, Interference(1.0, 0.0))
    expected = processor_sharing(gaps, services)
    assert np.allclose(served["released_s"].to_numpy(), expected, rtol=0, atol=1e-6)
    arrival_rate, service_rate = len(gaps) / sum(gaps), len(services) / sum(services)
    stay_s = (served["released_s"] - served["requested_s"]).mean()
    assert stay_s == pytest.approx(1 / (service_rate - arrival_rate), rel=0.08)
    assert occupied(served)["busy_s"].sum() == pytest.approx(sum(services)), "each has its part of the device"
    assert len(gaps) < NUM_CUSTOMERS


def test_without_interference_a_device_that_takes_two_jobs_is_two_devices():
    gaps, services = draws(1.2, 1.0, seed=22)
    gaps, services = gaps[:3000], services[:3000]
    served = shared_queue(gaps, services, 2, Interference(0.0, 0.0))
    length_s = (served["released_s"] - served["granted_s"]).to_numpy()
    assert np.allclose(length_s, services, rtol=0, atol=1e-6)


CONFIG = {
    "data": {"kind": "uniform", "num_samples": 200, "every": 1.0},
    "variant": "overlapped",
    "overlap": {"trainings_at_once": 2},
    "trigger": {"kind": "amount", "n": 20},
    "selection": {"tail": 0},
    "training": {"epochs": 1},
    "evaluation": {"plans": [{"kind": "slicing", "every": 25.0, "models": "all", "when": "after_training"}]},
}
COSTS = {"training": {"setup_s": 0.0, "samples_per_s": 1.0}, "noise_sigma": 0.0}


def trained(cluster, interference):
    run = tc.run({**CONFIG, "cluster": cluster, "sim": {"costs": COSTS, "interference": interference}}, on="sim")
    rows = run.trainings.sort("trigger").filter(outcome="trained")
    return run, (rows["ended_s"] - rows["started_s"]).round(3).to_list()


def test_trainings_that_share_a_device_take_longer_and_report_what_they_took():
    run, seconds = trained({"jobs_per_device": 2}, {"same_device": 0.5})
    assert seconds[:2] == [pytest.approx(30.0, abs=0.1)] * 2, "both all the time beside the other"
    assert run.summary["device_s"] <= run.summary["makespan_s"] + 1e-6
    assert run.usage["idle_s"][0] >= -1e-6
    _, alone = trained({"devices": 2}, {"same_device": 0.5})
    assert set(alone) == {20.0}
    _, same_node = trained({"devices": 2}, {"same_node": 0.1})
    assert same_node[:2] == [pytest.approx(22.0, abs=0.1)] * 2


def test_a_training_that_is_stopped_makes_room_for_those_beside_it():
    changes = {
        "mode": "live",
        "batching": {"kind": "fixed", "n": 10},
        "overlap": {"trainings_at_once": 2, "on_trigger": "preempt"},
        "cluster": {"jobs_per_device": 2},
        "training": {"epochs": 3},
        "sim": {"costs": COSTS, "interference": {"same_device": 1.0}},
    }
    run = tc.run({**CONFIG, **changes}, on="sim")
    assert run.summary["stopped_trainings"] > 0
    assert run.header["outcome"] == "done"
    waits = run.stage_runs.filter(stage="WAIT_FOR_TRAINING_COMPLETION", outcome="trained")
    fits_s = waits["ended_s"] - waits["started_s"]
    assert (fits_s >= 60.0 - 1e-6).all()
    held = run.devices.filter(pl.col("resource") == "device")
    assert occupied(held)["busy_s"].sum() <= run.summary["makespan_s"] + 1e-6


@given(st.lists(st.tuples(st.sampled_from("ab"), st.integers(0, 20), st.integers(0, 10)), max_size=12))
@settings(max_examples=200, deadline=None, derandomize=True, database=None)
def test_the_time_of_a_device_is_split_between_those_that_have_it(holdings):
    rows = [("device", unit, "/x", 0.0, float(begin), float(begin + length)) for unit, begin, length in holdings]
    schema = ["resource", "unit", "holder", "requested_s", "granted_s", "released_s"]
    table = pl.DataFrame(
        rows, schema=dict(zip(schema, [pl.String, pl.String, pl.String, *[pl.Float64] * 3], strict=True)), orient="row"
    )
    found = occupied(table)
    for unit in "ab":
        there = {
            (second, index)
            for index, (each, begin, length) in enumerate(holdings)
            for second in range(begin, begin + length)
            if each == unit
        }
        covered = {second for second, _ in there}
        assert found.filter(unit=unit)["busy_s"].sum() == pytest.approx(len(covered))
        at_once = {second: sum(each == second for each, _ in there) for second in covered}
        shares = [
            sum(1 / at_once[second] for second, i in there if i == index)
            for index, (each, *_) in enumerate(holdings)
            if each == unit
        ]
        assert sorted(found.filter(unit=unit)["busy_s"].to_list()) == pytest.approx(sorted(shares))


class Noting:
    """Work that keeps how much of it was done when it was broken off."""

    def __init__(self):
        self.done_s = None

    def stopped(self, done_s):
        self.done_s = done_s
        return {}

    def put_aside(self, done_s, within_s):
        self.done_s = done_s
        return Effect(0.5, "aside", {})


def two_on_a_device(works):
    """Both take 4 s alone, and twice as long together."""
    load = Load(("d:0",), Interference(1.0, 0.0))
    executor = SimExecutor(
        {"main": {"A": lambda start, _executor: Effect(4.0, "done", {}, works[start.id], load)}},
        Allocator({"device": ["d:0"]}, {"device": Sharing(jobs_per_unit=2)}),
        {"d:0": ("d", 0)},
    )
    stage = Stage(kind="work", operation="A", outcomes={"done": (), "aside": ()})
    for id_ in works:
        executor.perform(Start("main", id_, None, stage, {}, {}, {}, {"device": ("d:0",)}, {}))
    return executor


def test_what_is_broken_off_has_done_the_work_that_it_came_to():
    works = {1: Noting(), 2: Noting()}
    executor = two_on_a_device(works)
    executor.meanwhile(3.0, lambda: executor.perform(Cancel("main", 1)))
    assert executor.next() == ("main", Ended(1, "cancelled", {}))
    assert works[1].done_s == 1.5
    assert executor.next() == ("main", Ended(2, "done", {}))
    assert executor.now() == 3.0 + 2.5, "alone after that"
    assert executor.next() is None


def test_who_is_in_time_need_not_be_put_aside():
    works = {1: Noting(), 2: Noting()}
    executor = two_on_a_device(works)
    executor.take_out(["d:0"])
    executor.meanwhile(2.0, lambda: executor.give_notice("d:0", 8.0))
    assert [executor.next()[1].outcome for _ in range(2)] == ["done", "done"], "both end at 8 s as things stand"
    executor.close()

    executor = two_on_a_device(works)
    executor.take_out(["d:0"])
    executor.meanwhile(2.0, lambda: executor.give_notice("d:0", 7.0))
    assert [executor.next()[1] for _ in range(2)] == [Ended(1, "aside", {}), Ended(2, "aside", {})]
    assert executor.now() == 2.5
    assert (works[1].done_s, works[2].done_s) == (1.0, 1.0)
    executor.close()
