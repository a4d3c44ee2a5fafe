"""The simulator against what is known without it: queues with a closed form, conservation laws, and a run by hand."""

from __future__ import annotations

import heapq
import math

import numpy as np
import polars as pl
import pytest
from theory import NUM_CUSTOMERS, devices_held, draws, patience, queue, waits, waits_by_recursion

import twinclock as tc
from sim.effects import Effect
from twinclock.graph import Flow, ForEach, Scope, Stage, leave


def erlang_c(servers, load):
    """Probability that a customer has to wait, for a load in Erlang."""
    last = load**servers / math.factorial(servers) * servers / (servers - load)
    return last / (sum(load**k / math.factorial(k) for k in range(servers)) + last)


# Queues


@pytest.mark.parametrize(("servers", "utilisation", "tolerance"), [(1, 0.5, 0.08), (3, 0.6, 0.15)])
def test_a_queue_of_customers_and_servers_at_random(servers, utilisation, tolerance):
    """M/M/1 and M/M/c: each wait is that of the recursion, their mean that of theory at the rates that were drawn.

    The tolerance is two and a half standard errors of so many customers.
    """
    gaps, services = draws(utilisation * servers, 1.0, seed=11)
    served = queue(gaps, services, servers)
    arrival_rate, service_rate = NUM_CUSTOMERS / sum(gaps), NUM_CUSTOMERS / sum(services)

    assert np.allclose(waits(served), waits_by_recursion(gaps, services, servers), rtol=0, atol=1e-6)
    p_wait = erlang_c(servers, arrival_rate / service_rate)
    assert (waits(served) > 0).mean() == pytest.approx(p_wait, rel=tolerance)
    assert waits(served).mean() == pytest.approx(p_wait / (servers * service_rate - arrival_rate), rel=tolerance)

    makespan_s = served["released_s"].max()
    busy_s = (served["released_s"] - served["granted_s"]).sum()
    assert busy_s == pytest.approx(sum(services))
    assert busy_s / (servers * makespan_s) == pytest.approx(utilisation, abs=0.015)


def test_little():
    """L = λW, with L sampled on a grid of times, within 2 %."""
    gaps, services = draws(0.6, 1.0, seed=12)
    served = queue(gaps, services, 1)
    arrivals, departures = served["requested_s"].to_numpy(), np.sort(served["released_s"].to_numpy())
    grid = np.linspace(0.0, departures[-1], 50_001)
    present = np.searchsorted(arrivals, grid, side="right") - np.searchsorted(departures, grid, side="right")
    sojourn_s = (served["released_s"] - served["requested_s"]).mean()
    assert present.mean() == pytest.approx(NUM_CUSTOMERS / departures[-1] * sojourn_s, rel=0.02)


def test_service_that_does_not_vary_halves_the_wait():
    """M/D/1, by Pollaczek and Khinchine, at the rate that was drawn; within 6 %."""
    gaps, services = draws(0.6, 1.0, seed=13, constant_service=True)
    load = NUM_CUSTOMERS / sum(gaps)
    assert waits(queue(gaps, services, 1)).mean() == pytest.approx(0.5 * load / (1 - load), rel=0.06)


def closed_network(thinks, services, servers):
    """Customers who never leave: each thinks, then is served, as often as it has services. The table `devices`.

    `thinks`, `services`: one list of seconds for each customer.
    """
    graph = Scope(
        body=Flow(
            start="EACH",
            initial={"customers": list(range(len(thinks)))},
            steps={
                "EACH": ForEach(
                    over="customers",
                    item="customer",
                    body=Flow(
                        start="THINK",
                        initial={"round": 0},
                        steps={
                            "THINK": Stage(
                                kind="wait",
                                operation="THINK",
                                reads=("customer", "round"),
                                outcomes={"again": ("round",), "enough": ()},
                            ),
                            "SERVE": Stage(
                                kind="work", operation="SERVE", reads=("customer", "round"), needs={"device": 1}
                            ),
                        },
                        edges={
                            "THINK": {"again": "SERVE", "enough": leave("done")},
                            "SERVE": {"done": "THINK"},
                        },
                    ),
                )
            },
            edges={"EACH": {"done": leave("done")}},
        )
    )

    def think(start, executor):
        customer, number = start.inputs["customer"], start.inputs["round"]
        if number == len(thinks[customer]):
            return Effect(0.0, "enough", {})
        return Effect(thinks[customer][number], "again", {"round": number + 1})

    def serve(start, executor):
        return Effect(services[start.inputs["customer"]][start.inputs["round"] - 1], "done", {})

    return devices_held(graph, {"THINK": think, "SERVE": serve}, servers)


@pytest.mark.parametrize(("customers", "servers", "think_s"), [(4, 1, 3.0), (9, 3, 2.0), (12, 2, 1.0)])
def test_a_closed_network(customers, servers, think_s):
    """The machine repairman, M/M/c//N: utilisation and throughput by its birth-death equations, within 3 %.

    Each customer is served 3,000 times; the end, when some have stopped already, is left out.
    """
    rng = np.random.default_rng(17)
    num_rounds = 3_000
    thinks = rng.exponential(think_s, (customers, num_rounds)).tolist()
    services = rng.exponential(1.0, (customers, num_rounds)).tolist()
    served = closed_network(thinks, services, servers)
    assert served.height == customers * num_rounds

    weights = [1.0]  # of the states with 0, 1, … customers at the servers
    for present in range(1, customers + 1):
        weights.append(weights[-1] * (customers - present + 1) / think_s / min(present, servers))
    busy = sum(min(present, servers) * weight for present, weight in enumerate(weights)) / sum(weights)

    end_s = _all_still_there(served, customers)
    before = served.filter(pl.col("released_s") <= end_s)
    busy_s = (before["released_s"] - before["granted_s"]).sum()
    assert busy_s / end_s == pytest.approx(busy, rel=0.03)
    assert before.height / end_s == pytest.approx(busy, rel=0.03), "a service takes 1 s"
    # Little, around the whole cycle: N = X · (think + response)
    response_s = (before["released_s"] - before["requested_s"]).mean()
    assert before.height / end_s * (think_s + response_s) == pytest.approx(customers, rel=0.03)


def _all_still_there(served, customers):
    """When the first customer had been served for the last time."""
    who = served["holder"].str.extract(r"\[(\d+)\]").cast(pl.Int64)
    last = served.with_columns(who.alias("who")).group_by("who").agg(pl.col("released_s").max())
    assert last.height == customers
    return float(last["released_s"].min())


def test_a_queue_of_endless_patience_comes_second_always():
    """Two classes without preemption, by Cobham, at the rates that were drawn; within 8 %."""
    gaps, services = draws(0.6, 1.0, seed=14)
    queues = np.random.default_rng(15).choice(["first", "second"], NUM_CUSTOMERS)
    served = queue(gaps, services, 1, queues.tolist(), sharing=patience(second=1e9))
    mean = {name: waits(served)[queues == name].mean() for name in ("first", "second")}
    load, load_first = (np.array(services)[queues <= name].sum() / sum(gaps) for name in ("second", "first"))
    ahead_s = (np.array(services) ** 2).sum() / sum(gaps) / 2  # on average, what is left of the service under way
    assert mean["first"] == pytest.approx(ahead_s / (1 - load_first), rel=0.08)
    assert mean["second"] == pytest.approx(ahead_s / ((1 - load_first) * (1 - load)), rel=0.08)


def test_a_patience_that_ends_lets_nobody_pass_for_longer():
    gaps, services = draws(0.7, 1.0, seed=14)
    queues = np.random.default_rng(15).choice(["first", "second"], NUM_CUSTOMERS, p=[3 / 7, 4 / 7])
    served = queue(gaps, services, 1, queues.tolist(), sharing=patience(second=2.0))
    asked, granted = served["requested_s"].to_numpy(), served["granted_s"].to_numpy()
    place = asked + np.where(queues == "second", 2.0, 0.0)
    order = np.argsort(granted, kind="stable")
    # whoever is granted has the best place among those who wait then
    waiting: list[float] = []
    arrivals = iter(sorted(zip(asked, place, strict=True)))
    following = next(arrivals)
    for k in order:
        while following is not None and following[0] <= granted[k]:
            heapq.heappush(waiting, following[1])
            following = next(arrivals, None)
        assert heapq.heappop(waiting) == place[k]


# Conservation


@pytest.mark.parametrize("variant", ["seed", "sequential", "overlapped"])
def test_device_seconds_are_what_was_done_on_devices(variant):
    config = {
        "variant": variant,
        "data": {"kind": "poisson", "num_samples": 3000, "every": 1.0},
        "trigger": {"kind": "amount", "n": 150},
        "training": {"devices": 2},
        "cluster": {"devices": 3},
        "evaluation": {"plans": [{"kind": "slicing", "every": 200.0, "models": "all"}]},
        "sim": {"costs": {"training": {"setup_s": 1.0, "samples_per_s": 2000.0}, "noise_sigma": 0.4}},
    }
    run = tc.run(config, on="sim")
    on_devices = run.stage_runs.filter(pl.col("device").is_not_null())
    spent = (on_devices["ended_s"] - on_devices["started_s"]) * on_devices["device"].str.split(",").list.len()
    devices = run.devices.filter(resource="device")
    busy = devices.group_by("unit").agg((pl.col("released_s") - pl.col("granted_s")).sum().alias("busy_s"))
    assert run.summary["device_s"] == pytest.approx(spent.sum())
    assert busy["busy_s"].sum() == pytest.approx(spent.sum())
    makespan_s = run.header["makespan_s"]
    utilisation = spent.sum() / (3 * makespan_s)
    assert 0.1 < utilisation <= 1.0
    assert (busy["busy_s"] <= makespan_s).all()


def test_seconds_are_conserved_where_one_thing_happens_at_a_time():
    """In `sequential`, with one device, stage runs fill the whole time, but for jobs that queue for the device."""
    run = tc.run({"variant": "sequential", "data": {"kind": "uniform", "num_samples": 2000, "every": 1.0},
                  "trigger": {"kind": "amount", "n": 300}}, on="sim")  # fmt: skip
    spent_s = (run.stage_runs["ended_s"] - run.stage_runs["started_s"]).sum()
    assert spent_s == pytest.approx(run.header["makespan_s"])


# By hand

COSTS = {
    "decide_s": 1.0,
    "connect_s": 2.0,
    "launch_s": 0.5,
    "results_s": 0.25,
    "read": {"setup_s": 1.0, "samples_per_s": 6.0},
    "training": {"setup_s": 4.0, "samples_per_s": 3.0},
    "evaluation": {"setup_s": 2.0, "samples_per_s": 2.0},
    "store": {"latency_s": 2.0, "bytes_per_s": 100.0, "model_bytes": 100},
    "noise_sigma": 0.0,
}

BY_HAND = """
 0.00   1.00  INIT
 1.00   3.00  INIT_CLUSTER_CONNECTION            the cluster is there
 3.00   4.00  GET_SELECTOR_BATCH_SIZE
 4.00   6.00  REPLAY_DATA                        six samples: 1 s + 6 / 6
 6.00   7.00  HANDLE_NEW_DATA                    two batches of three

 7.00   8.00  HANDLE_TRIGGERS_WITHIN_BATCH       fires at 2
 8.00   9.00  INFORM_SELECTOR_AND_TRIGGER
 9.00   9.50  RUN_TRAINING
 9.50  14.50  WAIT_FOR_TRAINING_COMPLETION       three samples: 4 s + 3 / 3
14.50  15.50  TRAINING_COMPLETED
15.50  18.50  STORE_TRAINED_MODEL                2 s + 100 / 100
18.50  19.50  EVALUATE                           one slice is over
19.50  23.00  WAIT_FOR_EVALUATION_COMPLETION     three samples: 2 s + 3 / 2
23.00  24.00  EVALUATION_COMPLETED
24.00  24.25  STORE_EVALUATION_RESULTS
24.25  25.25  HANDLE_TRIGGERS_WITHIN_BATCH       nothing more
25.25  26.25  INFORM_SELECTOR_REMAINING_DATA

26.25  27.25  HANDLE_TRIGGERS_WITHIN_BATCH       fires at 5
27.25  28.25  INFORM_SELECTOR_AND_TRIGGER
28.25  28.75  RUN_TRAINING
28.75  33.75  WAIT_FOR_TRAINING_COMPLETION
33.75  34.75  TRAINING_COMPLETED
34.75  37.75  STORE_TRAINED_MODEL
37.75  38.75  EVALUATE                           the new slice for the old model, both for the new
38.75  42.25  WAIT_FOR_EVALUATION_COMPLETION     the old model: 2 s + 3 / 2
42.25  43.25  EVALUATION_COMPLETED
43.25  43.50  STORE_EVALUATION_RESULTS
42.25  47.25  WAIT_FOR_EVALUATION_COMPLETION     the new one, when the device is free: 2 s + 6 / 2
47.25  48.25  EVALUATION_COMPLETED
48.25  48.50  STORE_EVALUATION_RESULTS
48.50  49.50  HANDLE_TRIGGERS_WITHIN_BATCH
49.50  50.50  INFORM_SELECTOR_REMAINING_DATA

50.50  51.50  NEW_DATA_HANDLED
51.50  51.50  REPLAY_DATA                        the end
51.50  52.50  REPLAY_DATA_DONE
52.50  53.50  POST_EVALUATION                    nothing is missing
53.50  54.50  DONE
54.50  54.50  EXIT
"""


def test_a_run_by_hand():
    config = {
        "variant": "sequential",
        "data": {"kind": "uniform", "num_samples": 6, "every": 1.0, "chunk": 6},
        "batching": {"n": 3},
        "trigger": {"kind": "amount", "n": 3},
        "selection": {"tail": 0},
        "training": {"epochs": 1},
        "evaluation": {"plans": [{"kind": "slicing", "every": 3.0, "models": "all"}]},
        "sim": {
            "costs": COSTS,
            "quality": {"peak": 1.0, "floor": 0.5, "half_samples": 3.0, "half_life_s": 1.5},
        },
    }
    run = tc.run(config, on="sim")
    lines = [line.split()[:3] for line in BY_HAND.splitlines() if line]
    by_hand = sorted((float(started), float(ended), stage) for started, ended, stage in lines)
    assert sorted(run.stage_runs.select("started_s", "ended_s", "stage").iter_rows()) == by_hand
    assert run.header["makespan_s"] == 54.5
    # half of the 0.5 there is to gain is gained; [3, 6) is centred 2.5 s after the first model's last sample
    old = 0.5 + 0.25 * 2 ** (-2.5 / 1.5)
    assert run.evaluations.select("model", "start_ts", "end_ts", "value", "evaluated_s").rows() == [
        (0, 0.0, 3.0, 0.75, 24.0),
        (0, 3.0, 6.0, old, 43.25),
        (1, 0.0, 3.0, 0.75, 48.25),
        (1, 3.0, 6.0, 0.75, 48.25),
    ]
    assert run.summary["device_s"] == (15.5 - 9.0) + 3.5 + (34.75 - 28.25) + 3.5 + 5.0
