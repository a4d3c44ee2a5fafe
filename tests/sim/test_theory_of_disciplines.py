"""Who is served first, against what queueing theory says comes of it."""

from __future__ import annotations

import math

import numpy as np
import polars as pl
import pytest
from theory import NUM_CUSTOMERS, draws, queue, waits, waits_by_recursion

from twinclock.allocator import Sharing


def test_the_shortest_first():
    """M/G/1, without preemption, by Phipps (1956), at the rates that were drawn; within 8 %.

    The wait of a service of x s is W0 / (1 - load of services of up to x s)².
    """
    gaps, services = draws(0.8, 1.0, seed=16)
    served = queue(gaps, services, 1, sharing=Sharing(rank=lambda ask, now: services[ask.work - 1]))
    sizes = np.sort(services)
    load_up_to = np.cumsum(sizes) / sum(gaps)
    ahead_s = (sizes**2).sum() / sum(gaps) / 2
    assert waits(served).mean() == pytest.approx((ahead_s / (1 - load_up_to) ** 2).mean(), rel=0.08)
    assert waits(served).mean() < 0.7 * waits(queue(gaps, services, 1)).mean()


def test_those_who_do_not_yield_are_served_as_if_they_were_alone():
    """The waits of the first class, one by one; and how often the second begins anew, within 4 %.

    A service of S s is broken off by arrivals at a rate λ exp(λ S) - 1 times, on average, before one goes through.
    """
    rng = np.random.default_rng(17)
    gaps, services = rng.exponential(1 / 0.9, NUM_CUSTOMERS), rng.exponential(0.5, NUM_CUSTOMERS)
    queues = rng.choice(["first", "second"], NUM_CUSTOMERS)
    services[queues == "second"] = 0.6
    rank = Sharing(rank=lambda ask, now: math.inf if ask.queue == "second" else now)
    served = queue(
        gaps.tolist(), services.tolist(), 1, queues.tolist(), sharing=rank, yielding=("second",)
    ).with_columns(pl.col("holder").str.extract("^/([a-z]*)").alias("class"))

    is_first = queues == "first"
    times = np.cumsum(gaps)[is_first]
    alone = waits_by_recursion(np.diff(times, prepend=0.0).tolist(), services[is_first].tolist(), 1)
    firsts = served.filter(pl.col("class") == "first")
    assert np.allclose(waits(firsts), alone, rtol=0, atol=1e-6)

    seconds = served.filter(pl.col("class") == "second")
    arrival_rate = is_first.sum() / gaps.sum()
    num_customers = (~is_first).sum()
    assert seconds.height / num_customers == pytest.approx(math.exp(arrival_rate * 0.6), rel=0.04)
    spent_s = (seconds["released_s"] - seconds["granted_s"]).to_numpy()
    assert (spent_s > 0.6 - 1e-9).sum() == num_customers, "each is served once from start to end"
