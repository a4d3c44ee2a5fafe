"""Ingest batches of every kind: which samples are in each, and when it is taken."""

from __future__ import annotations

from itertools import pairwise
from typing import Any, NamedTuple

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from simulated import costs, seconds, simulate

TIMES = [0.0, 1.0, 2.0, 10.0, 11.0, 30.0, 31.0, 32.0, 33.0, 34.0, 50.0]


def run(batching, times=None, *, chunk=1000, **more):
    """In a world in which nothing takes time, unless `more` says otherwise; no trigger, unless it names one."""
    data = {"kind": "uniform", "num_samples": 1, "every": 1.0, "chunk": chunk}
    config = {"mode": "live", "data": data, "sim": costs(), "trigger": {"kind": "amount", "n": 10**9}, **more}
    return simulate({"batching": batching, "selection": {"tail": 0}, **config}, times)


def batches(simulated):
    rows = simulated.run.batches.select("first", "stop", "cut_s").rows()
    return [(first, stop, round(cut_s, 6)) for first, stop, cut_s in rows]


def sizes(simulated):
    return (simulated.run.batches["stop"] - simulated.run.batches["first"]).to_list()


# A batch that is full, or whose first sample has waited long enough


def test_full_or_after_a_while():
    assert batches(run({"kind": "size_or_timeout", "n": 3, "seconds": 5}, TIMES)) == [
        (0, 3, 2.0),  # full
        (3, 5, 15.0),  # the sample of 10.0 has waited 5 s; none waited from 2.0 to 10.0, so no time ran
        (5, 8, 32.0),
        (8, 10, 38.0),
        (10, 11, 50.0),  # the stream's last: there is nothing to wait for
    ]


def test_the_while_is_on_the_clock():
    batching = {"kind": "size_or_timeout", "n": 3, "seconds": 2.5}
    halved = [(0, 3, 1.0), (3, 5, 7.5), (5, 8, 16.0), (8, 10, 19.0), (10, 11, 25.0)]
    assert batches(run(batching, TIMES, live={"speed_up": 2.0})) == halved


def test_a_sample_that_comes_when_the_time_is_over_is_in():
    assert batches(run({"kind": "time", "seconds": 5}, [0.0, 5.0, 5.5, 20.0])) == [
        (0, 2, 5.0),
        (2, 3, 10.5),
        (3, 4, 20.0),
    ]


def test_what_came_within_a_time():
    batching = {"kind": "time", "seconds": 5}
    assert batches(run(batching, TIMES)) == [(0, 3, 5.0), (3, 5, 15.0), (5, 10, 35.0), (10, 11, 50.0)]


def test_no_batch_is_larger_than_a_chunk():
    assert batches(run({"kind": "time", "seconds": 5}, TIMES, chunk=2)) == [
        (0, 2, 1.0),
        (2, 3, 7.0),
        (3, 5, 11.0),
        (5, 7, 31.0),
        (7, 9, 33.0),
        (9, 10, 39.0),
        (10, 11, 50.0),
    ]


BACKLOG = [*map(float, range(10)), 18.0, 40.0, 41.0]


def test_of_a_backlog_the_rest_goes_along_if_it_has_waited_long_enough():
    """The workers are there at 20 s; the third batch's first sample came at 8 s."""
    late = costs(connect_s=20.0)
    batching = {"kind": "size_or_timeout", "n": 4, "seconds": 5}
    assert batches(run(batching, BACKLOG, sim=late)) == [(0, 4, 20.0), (4, 8, 20.0), (8, 11, 20.0), (11, 13, 41.0)]


def test_of_a_backlog_the_rest_stays_if_it_has_not():
    """Two batches are full at 20 s; the sample of 18 s goes on waiting, with the one of 19 s."""
    times = [*map(float, range(8)), 18.0, 19.0, 40.0]
    batching = {"kind": "size_or_timeout", "n": 4, "seconds": 5}
    late = costs(connect_s=20.0)
    assert batches(run(batching, times, sim=late)) == [(0, 4, 20.0), (4, 8, 20.0), (8, 10, 23.0), (10, 11, 40.0)]


def test_a_late_pipeline_takes_all_there_is_as_one_batch():
    late = costs(connect_s=20.0)
    assert batches(run({"kind": "time", "seconds": 5}, BACKLOG, sim=late)) == [(0, 11, 20.0), (11, 13, 41.0)]


GAPS = [0.0, 10.0, 20.0, 100.0, 110.0, 200.0]


def test_deadlines_of_the_trigger_and_timeouts_go_side_by_side():
    """A timeout never makes an empty batch, a deadline does; the triggers are where they are without timeouts."""
    batching = {"kind": "size_or_timeout", "n": 1000, "seconds": 15}
    simulated = run(batching, GAPS, trigger={"kind": "time", "every": 30.0})
    assert batches(simulated) == [
        (0, 2, 15.0),
        (2, 3, 30.0),
        (3, 3, 60.0),
        (3, 3, 90.0),
        (3, 5, 115.0),
        (5, 5, 120.0),
        (5, 5, 150.0),
        (5, 5, 180.0),
        (5, 6, 200.0),
    ]
    fires = simulated.run.triggers.select("position", "fired_s").rows()
    assert fires == [(2, 30.0), (2, 60.0), (2, 90.0), (4, 120.0), (4, 150.0), (4, 180.0)]


def test_while_nothing_comes_nothing_happens():
    simulated = run({"kind": "time", "seconds": 1}, [0.0, 1e6])
    assert len(simulated.trace.of("WAIT_FOR_NEW_DATA")) == 2
    assert batches(simulated) == [(0, 1, 1.0), (1, 2, 1e6)]


def test_in_replay_there_is_no_while():
    either = run({"kind": "size_or_timeout", "n": 3, "seconds": 5}, TIMES, mode="replay")
    assert batches(either) == batches(run({"n": 3}, TIMES, mode="replay"))
    assert sizes(either) == [3, 3, 3, 2]


# A size that follows the time that a batch takes


def adaptive(min, max, step, target):
    return {"kind": "adaptive", "min": min, "max": max, "step": step, "target": target}


PER_SAMPLE = costs(read={"setup_s": 0.0, "samples_per_s": 25.0})
SAWTOOTH = [10, 20, 30, 27, 24, 34, 30, 27, 24, 34, 30, 27]


def test_the_size_goes_up_and_down_around_the_target():
    """At 25 samples a second, 30 take 1.2 s and 24 take 0.96 s."""
    times = [float(ts) for ts in range(sum(SAWTOOTH))]
    simulated = run(adaptive(10, 100, 10, 1.0), times, mode="replay", sim=PER_SAMPLE, chunk=1)
    assert sizes(simulated) == SAWTOOTH


def test_the_last_batch_may_be_smaller():
    assert sizes(run(adaptive(10, 15, 10, 1.0), range(30), mode="replay")) == [10, 15, 5]


@pytest.mark.parametrize(("samples_per_s", "target"), [(100.0, 1.0), (7.0, 100.0), (3000.0, 0.5)])
def test_the_size_finds_what_fits_the_target(samples_per_s, target):
    """From then on it is never over it by more than a step, nor below by more than a tenth."""
    fits, step = samples_per_s * target, 5
    data = {"kind": "uniform", "num_samples": 400_000, "every": 1.0}
    world = costs(read={"setup_s": 0.0, "samples_per_s": samples_per_s})
    simulated = run(adaptive(1, 10**9, step, target), data=data, mode="replay", sim=world)
    *found, _ = sizes(simulated)
    begin = next(index for index, size in enumerate(found) if size > fits)
    assert len(found) - begin > 20
    assert all(0.9 * fits - 1 <= size <= fits + step for size in found[begin:])


def test_waiting_for_samples_is_no_handling():
    """Samples come every 10 s, so a batch takes minutes to fill, but no time to handle."""
    simulated = run(adaptive(2, 100, 3, 1.0), [10.0 * k for k in range(26)])
    assert sizes(simulated) == [2, 5, 8, 11]
    assert batches(simulated)[1] == (2, 7, 60.0)


def test_live_it_shrinks_if_a_batch_takes_too_long():
    sim = costs(read=seconds(3.0))
    assert sizes(run(adaptive(6, 20, 5, 1.0), [10.0 * k for k in range(22)], sim=sim)) == [6, 6, 6, 4]
    assert sizes(run(adaptive(6, 20, 5, 3.0), [10.0 * k for k in range(38)], sim=sim)) == [6, 11, 16, 5]


def test_time_that_only_passes_is_no_batch_to_learn_from():
    """The deadlines at 30, 60 and 90 s make batches without samples: the next has room for five all the same."""
    times = [0.0, 1.0, *(float(ts) for ts in range(100, 118)), 300.0]
    simulated = run(adaptive(2, 100, 3, 1.0), times, trigger={"kind": "time", "every": 30.0})
    with_samples = [(first, stop) for first, stop, _ in batches(simulated) if stop > first]
    assert with_samples == [(0, 2), (2, 7), (7, 15), (15, 20), (20, 21)]


@pytest.mark.parametrize(
    ("variant", "expected"), [("seed", [5, 10, 15, 13, 11, 6]), ("overlapped", [5, 10, 15, 20, 10])]
)
def test_a_training_that_stops_ingestion_is_part_of_the_handling(variant, expected):
    trained = {"trigger": {"kind": "amount", "n": 20}, "sim": costs(training=seconds(5.0))}
    assert sizes(run(adaptive(5, 50, 5, 1.0), range(60), mode="replay", variant=variant, **trained)) == expected


# What no kind may change


KINDS = [
    {"kind": "fixed", "n": 7},
    {"kind": "size_or_timeout", "n": 5, "seconds": 3},
    adaptive(1, 40, 3, 0.5),
    adaptive(20, 20, 1, 1e9),
    {"kind": "time", "seconds": 4},
]


@pytest.mark.parametrize("variant", ["seed", "overlapped"])
@pytest.mark.parametrize("trigger", [{"kind": "amount", "n": 7}, {"kind": "time", "every": 9.0}])
def test_triggers_do_not_depend_on_how_batches_are_cut(trigger, variant):
    """In replay as tables, but for the clock; live those of replay."""
    shared = {
        "data": {"kind": "poisson", "num_samples": 80, "every": 2.0},
        "trigger": trigger,
        "variant": variant,
        "selection": {"tail": 2, "limit": 20, "keep": "uniform"},
        "sim": costs(read={"setup_s": 0.1, "samples_per_s": 10.0}, training=seconds(2.0)),
    }
    expected = simulate({**shared, "batching": {"n": 80}}).run.triggers.drop("fired_s")
    assert expected.height >= 8
    for batching in KINDS:
        if batching["kind"] != "time":
            assert simulate({**shared, "batching": batching}).run.triggers.drop("fired_s").equals(expected)
        positions = simulate({**shared, "mode": "live", "batching": batching}).run.triggers["position"]
        # the clock may close periods beyond the last of replay, but only before the last sample comes
        assert positions.to_list()[: expected.height] == expected["position"].to_list()


class Visit(NamedTuple):
    """How one chunk came to be taken."""

    came_s: float
    """When the pipeline came for it."""
    taken_s: float
    chunk: dict[str, Any]


def visits(trace):
    """Every chunk that was taken, also by a deadline alone; and when the pipeline came for the one after the last."""
    found, came_s = [], None
    for each in trace.of("FETCH_NEW_DATA", "WAIT_FOR_NEW_DATA"):
        came_s = each.started_s if came_s is None else came_s
        if "chunk" in each.values:
            found.append(Visit(came_s, each.started_s, each.values["chunk"]))
            came_s = None
    return found, came_s


def wanted(batching, handled_s):
    """The size of the next batch and the longest wait, after batches that took so long; from the text alone."""
    if batching["kind"] != "adaptive":
        return batching.get("n"), batching.get("seconds", float("inf"))
    n = batching["min"]
    for s in handled_s:
        n = n + batching["step"] if s <= batching["target"] else max(batching["min"], int(n * 9 / 10))
        n = min(n, batching["max"])
    return n, float("inf")


def brute_force(arrivals, first, now_s, n, wait_s):
    """The batches that can be taken at `now_s`, sample by sample."""
    taken, open_ = [], []
    for position in range(first, len(arrivals)):
        if arrivals[position] > now_s + 1e-6:
            break
        open_.append(position)
        if len(open_) == n:
            taken, open_ = [*taken, open_], []
    all_there = arrivals[-1] <= now_s + 1e-6
    if open_ and (all_there or arrivals[open_[0]] + wait_s <= now_s + 1e-6):
        taken.append(open_)
    return taken


kinds = st.one_of(
    st.builds(lambda n: {"kind": "fixed", "n": n}, st.sampled_from([4, 1, 1000])),
    st.builds(lambda s: {"kind": "time", "seconds": s}, st.sampled_from([3.0, 0.5, 50.0])),
    st.builds(
        lambda n, s: {"kind": "size_or_timeout", "n": n, "seconds": s},
        st.sampled_from([4, 2, 1000]),
        st.sampled_from([3.0, 0.5, 50.0]),
    ),
    st.builds(adaptive, st.sampled_from([1, 3]), st.sampled_from([8, 1000]), st.sampled_from([1, 4]), st.just(1.25)),
)


@settings(derandomize=True, deadline=None, max_examples=300)
@given(
    gaps=st.lists(st.sampled_from([0.0, 1.0, 0.5, 4.0, 30.0]), min_size=1, max_size=40),
    batching=kinds,
    chunk=st.sampled_from([1000, 6, 1]),
    speed_up=st.sampled_from([1.0, 0.25, 8.0]),
    read=st.sampled_from([(0.0, 1e300), (0.25, 8.0), (2.0, 1e300)]),
    training_s=st.sampled_from([0.0, 5.5]),
    variant=st.sampled_from(["seed", "overlapped"]),
)
def test_a_batch_is_what_was_promised_when_it_was_promised(gaps, batching, chunk, speed_up, read, training_s, variant):
    times = [sum(gaps[: k + 1]) for k in range(len(gaps))]
    arrivals = [(ts - times[0]) / speed_up for ts in times]
    world = costs(read={"setup_s": read[0], "samples_per_s": read[1]}, training=seconds(training_s))
    more = {"live": {"speed_up": speed_up}, "trigger": {"kind": "amount", "n": 9}, "variant": variant, "sim": world}
    simulated = run(batching, times, chunk=chunk, **more)
    assert simulated.run.outcome == "done"

    found = [(first, stop) for first, stop, _ in batches(simulated)]
    edges = [0, *(stop for _, stop in found)]
    assert found == list(pairwise(edges)), "a sample is lost or doubled"
    assert edges[-1] == len(times)
    assert all(stop > first for first, stop in found), "an empty batch"

    taken, last_came_s = visits(simulated.trace)
    handled_s = [
        after - visit.taken_s
        for visit, after in zip(taken, [*(visit.came_s for visit in taken[1:]), last_came_s], strict=True)
    ]
    for index, visit in enumerate(taken):
        n, wait_s = wanted(batching, handled_s[:index])
        n = chunk if n is None else n
        first = visit.chunk["first"]
        full_s = arrivals[min(first + n, len(times)) - 1]
        assert visit.taken_s == pytest.approx(max(visit.came_s, min(full_s, arrivals[first] + wait_s)), abs=1e-6)
        at_once = 1 if batching["kind"] == "adaptive" else max(1, chunk // n)
        expected = brute_force(arrivals, first, visit.taken_s, n, wait_s)[:at_once]
        ours = [(a, b) for a, b in found if first <= a < visit.chunk["stop"]]
        assert ours == [(each[0], each[-1] + 1) for each in expected]
