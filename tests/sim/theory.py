"""Queues and networks of customers, run on the simulator's own parts: the machine, the executor and the allocator."""

from __future__ import annotations

import heapq
from itertools import accumulate

import numpy as np

from sim.effects import Effect
from sim.executor import SimExecutor
from twinclock.allocator import Allocator, Sharing
from twinclock.check import ensure_sound
from twinclock.executor import drive
from twinclock.graph import Flow, Scope, Spawn, Stage, leave
from twinclock.machine import Machine
from twinclock.records import Recorder

NUM_CUSTOMERS = 15_000


def queue(gaps, services, servers, queues=None, *, sharing=None, yielding=()):
    """Customers who arrive after `gaps`, and are served for `services` by one of some servers: the table `devices`.

    `queues`: in which of two queues each stands, "first" or "second". `yielding`: queues whose customers give way to
    the others, and are then served anew.
    """

    def arrival(name):
        return Stage(
            kind="wait", operation="ARRIVE", reads=("number",), outcomes=dict.fromkeys((*names, "end"), ("number",))
        )

    names = sorted(set(queues)) if queues is not None else ["first"]
    serve = {name: Spawn(body=service(name, yields=name in yielding)) for name in names}
    graph = Scope(
        body=Flow(
            start="ARRIVE",
            initial={"number": 0},
            steps={"ARRIVE": arrival("ARRIVE"), **serve},
            edges={
                "ARRIVE": {**{name: name for name in names}, "end": leave("done")},
                **{name: {"done": "ARRIVE"} for name in names},
            },
        )
    )

    def arrive(start, executor):
        number = start.inputs["number"]
        if number == len(gaps):
            return Effect(0.0, "end", {"number": number})
        return Effect(gaps[number], "first" if queues is None else queues[number], {"number": number + 1})

    def served(start, executor):
        return Effect(services[start.inputs["number"] - 1], "done", {})

    return devices_held(graph, {"ARRIVE": arrive, "SERVE": served}, servers, sharing)


def service(queue, *, yields):
    """A stage, that is visited again whenever it has yielded."""
    stage = Stage(
        kind="work",
        operation="SERVE",
        reads=("number",),
        needs={"device": 1},
        queue=queue,
        work="number",
        yields=yields,
    )
    again = {"yielded": "SERVE"} if yields else {}
    return Flow(start="SERVE", steps={"SERVE": stage}, edges={"SERVE": {"done": leave("done"), **again}})


def patience(**seconds):
    """Places in the line by the time of asking, plus so many seconds for each queue."""
    return Sharing(rank=lambda ask, now: now + seconds.get(ask.queue, 0.0))


def devices_held(graph, bodies, servers, sharing=None):
    """The table `devices` of a graph that is run to its end with so many servers, in the order of asking."""
    ensure_sound(graph)
    units = [f"server:{k}" for k in range(servers)]
    executor = SimExecutor({"main": bodies}, Allocator({"device": units}, {"device": sharing or Sharing()}))
    recorder = Recorder(float)
    try:
        drive({"main": Machine(graph)}, executor, {"main": recorder})
    finally:
        executor.close()
    return recorder.take()["devices"].sort("requested_s")


def draws(arrival_rate, service_rate, seed, *, constant_service=False):
    rng = np.random.default_rng(seed)
    gaps = rng.exponential(1 / arrival_rate, NUM_CUSTOMERS).tolist()
    services = (
        np.full(NUM_CUSTOMERS, 1 / service_rate)
        if constant_service
        else rng.exponential(1 / service_rate, NUM_CUSTOMERS)
    )
    return gaps, services.tolist()


def waits(served):
    return (served["granted_s"] - served["requested_s"]).to_numpy()


def waits_by_recursion(gaps, services, servers):
    """Each customer takes the server that is free first (Kiefer and Wolfowitz; Lindley for one server)."""
    free = [0.0] * servers
    found = []
    for arrival, service in zip(accumulate(gaps), services, strict=True):
        begin = max(arrival, heapq.heappop(free))
        heapq.heappush(free, begin + service)
        found.append(begin - arrival)
    return np.array(found)
