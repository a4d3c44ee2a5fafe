"""Nodes that fail, spot devices that are reclaimed: how often, what becomes of the work on them, and who pays."""

from __future__ import annotations

import math

import polars as pl
import pytest
from simulated import FREE, seconds, simulate

import twinclock as tc
from sim.effects import Effect
from sim.executor import SimExecutor
from twinclock.allocator import Allocator
from twinclock.config import load_config
from twinclock.errors import ConfigError, DeadlockError
from twinclock.executor import drive
from twinclock.fleet import run_fleet
from twinclock.graph import Flow, Stage, leave
from twinclock.machine import Machine
from twinclock.messages import Acquire, Outage
from twinclock.occupied import occupied
from twinclock.records import Recorder
from twinclock.usage import totals, usage

WEEK = 7 * 86_400.0
IDLE = {
    "mode": "live",
    "data": {"kind": "uniform", "num_samples": 200, "every": 20 * WEEK / 200},
    "trigger": {"kind": "amount", "n": 1000},
    "sim": {"costs": FREE},
}
"""Twenty weeks in which nothing is trained."""
BUSY = {
    "data": {"kind": "uniform", "num_samples": 4_000, "every": 1.0, "chunk": 4_000},
    "batching": {"n": 1000},
    "trigger": {"kind": "amount", "n": 20},
    "selection": {"tail": 0},
    "training": {"epochs": 1, "retry": {"attempts": 50, "backoff": 0.0}},
    "evaluation": {"plans": [{"kind": "between_triggers"}], "retry": {"attempts": 50, "backoff": 0.0}},
    "sim": {"costs": {**FREE, "training": seconds(10.0), "evaluation": seconds(2.0)}},
}
"""200 trainings of 10 s and evaluations of 2 s."""
POOLS = {
    "pools": [
        {"name": "a", "devices_per_node": 2, "nodes": 2, "device": {"usd_per_hour": 3600.0}},
        {"name": "b", "devices_per_node": 1, "device": {"idle_watts": 10.0, "busy_watts": 100.0}},
    ]
}


def with_checkpoints(every, **costs):
    training = {**BUSY["training"], "checkpoint": {"every": every}}
    return {**BUSY, "training": training, "sim": {"costs": {**BUSY["sim"]["costs"], "checkpoint": costs}}}


def down_s(run) -> float:
    return run.usage["down_s"].sum()


# Nodes


def test_a_node_is_there_for_its_share_of_the_time():
    """mtbf / (mtbf + repair), for 400 nodes; the bound is four standard deviations of the mean over them."""
    nodes = {"mtbf": "3d", "repair": "12h"}
    cluster = {"pools": [{"name": "p", "devices_per_node": 1, "nodes": 400}]}
    run = tc.run({**IDLE, "cluster": cluster, "faults": {"nodes": nodes}}, on="sim")
    span_s = run.header["makespan_s"]
    ends = pl.col("until_s").clip(upper_bound=span_s)
    away = run.outages.group_by("device").agg((ends - pl.col("from_s")).sum().alias("away_s"))["away_s"] / span_s
    assert away.len() == 400
    assert 1 - away.mean() == pytest.approx(3 / 3.5, abs=4 * away.std() / 400**0.5)
    assert away.std() / 400**0.5 < 0.003
    assert down_s(run) == pytest.approx(away.sum() * span_s)


@pytest.mark.parametrize("shape", [0.7, 1.0, 3.0])
def test_lives_of_nodes_are_weibull_with_the_mean_that_was_asked_for(shape):
    from scipy.stats import kstest, weibull_min

    nodes = {"mtbf": "2d", "shape": shape, "repair": 1e-3, "repairs": "constant"}
    cluster = {"pools": [{"name": "p", "devices_per_node": 1, "nodes": 50}]}
    run = tc.run({**IDLE, "cluster": cluster, "faults": {"nodes": nodes}}, on="sim")
    # the first twenty lives of each: a window of time would hold more of the short ones
    lives = (
        run.outages.sort("device", "from_s")
        .with_columns((pl.col("from_s") - pl.col("until_s").shift(1, fill_value=0.0).over("device")).alias("life_s"))
        .filter(pl.int_range(pl.len()).over("device") < 20)["life_s"]
    )
    assert lives.len() == 1000
    mean_s = 2 * 86_400.0
    assert lives.mean() == pytest.approx(mean_s, rel=4 * lives.std() / mean_s / 1000**0.5)
    assert kstest(lives.to_numpy(), weibull_min(shape, scale=mean_s / math.gamma(1 + 1 / shape)).cdf).pvalue > 0.01


def test_repairs_can_take_the_same_time_every_time():
    nodes = {"mtbf": "1d", "repair": "1h", "repairs": "constant"}
    run = tc.run({**IDLE, "faults": {"nodes": nodes}}, on="sim")
    assert run.outages.height > 50
    assert (run.outages["until_s"] - run.outages["from_s"]).round(6).unique().to_list() == [3600.0]


def test_all_devices_of_a_node_go_and_come_back_together_and_no_others():
    run = tc.run({**BUSY, "cluster": POOLS, "faults": {"nodes": {"mtbf": 500.0, "repair": 50.0}}}, on="sim")
    at_once = run.outages.group_by("from_s", "until_s", maintain_order=True).agg("device", "cause")
    together = {tuple(devices) for devices in at_once["device"]}
    assert together == {("a:0", "a:1"), ("a:2", "a:3"), ("b:0",)}
    assert set(run.outages["cause"]) == {"node_failed"}
    assert run.outages["noticed_s"].is_null().all()


def test_what_ran_on_a_node_fails_with_it_and_is_tried_again_when_there_is_one():
    """One node: after each failure everything waits for its repair."""
    run = tc.run({**BUSY, "faults": {"nodes": {"mtbf": 60.0, "repair": 30.0}}}, on="sim")
    assert run.outcome == "done"
    assert run.models.height == 200
    assert set(run.faults["type"]) == {"NodeFailed"}
    assert set(run.faults["message"]) == {"node 0 failed"}
    assert run.faults.height > 20
    gone = run.outages.select("from_s", "until_s").rows()
    assert set(run.faults["at_s"]) <= {from_s for from_s, _ in gone}
    for granted_s, released_s in run.devices.filter(resource="device").select("granted_s", "released_s").iter_rows():
        assert all(released_s <= from_s or granted_s >= until_s for from_s, until_s in gone)


def test_a_second_node_takes_over():
    nodes = {"nodes": {"mtbf": 100.0, "repair": 1e6, "repairs": "constant"}}
    cluster = {"pools": [{"name": "p", "devices_per_node": 1, "nodes": 12}]}
    run = tc.run({**BUSY, "cluster": cluster, "faults": nodes, "data": {**BUSY["data"], "num_samples": 400}}, on="sim")
    assert run.models.height == 20
    assert run.faults.height > 1
    assert run.trainings["device"].n_unique() > 1
    assert run.header["makespan_s"] < 1e6


def test_failures_keep_no_run_alive():
    """The last repair ends long after the run; nothing waits for it."""
    nodes = {"mtbf": 1.0, "repair": 1e9, "repairs": "constant"}
    cluster = {"pools": [{"name": "p", "devices_per_node": 1, "nodes": 3}]}
    quiet = {**IDLE, "mode": "replay", "cluster": cluster, "faults": {"nodes": nodes}}
    assert tc.run(quiet, on="sim").header["makespan_s"] < 1e-9
    ran = tc.run({**quiet, "sim": {"costs": {**FREE, "connect_s": 100.0}}}, on="sim")
    assert ran.header["makespan_s"] == 100.0
    assert ran.outages.height == 3


def test_a_real_deadlock_is_still_noticed():
    """Nobody will ever give back what is waited for, though something is going to happen on the clock."""
    hold = Stage(kind="work", operation="hold", needs={"slot": 1})
    stuck = Flow(start="hold", steps={"hold": hold}, edges={"hold": {"done": leave("done")}})
    allocator = Allocator({"slot": ("slot:0",), "device": ("sim:0",)})
    allocator.request(Acquire("nobody", 0, None, {"slot": 1}, ""), 0.0)
    executor = SimExecutor({"main": {"hold": lambda start, executor: Effect(1.0, "done", {})}}, allocator)

    def fail_for_ever() -> None:
        executor.meanwhile(5.0, fail_for_ever)

    fail_for_ever()
    with pytest.raises(DeadlockError):
        drive({"main": Machine(stuck)}, executor, {"main": Recorder(float)})


def test_the_same_seed_gives_the_same_outages_whatever_the_pipeline_does():
    faults = {"nodes": {"mtbf": 100.0, "repair": 20.0}}
    long, again, short = (
        tc.run({**BUSY, **changed, "faults": {**faults, **more}}, on="sim").outages
        for changed, more in (({}, {}), ({}, {}), ({"variant": "sequential"}, {"training": 0.3}))
    )
    assert long.equals(again)
    both = min(long.height, short.height)
    assert both > 10
    assert long.head(both).equals(short.head(both))
    assert not long.equals(tc.run({**BUSY, "faults": faults, "seed": 1}, on="sim").outages)


# Spot capacity

SPOT = {"device": {"spot": {"lasts": 60.0, "away": 30.0, "notice": 5.0}}}


def test_a_spot_device_is_there_for_its_share_of_the_time():
    """(lasts + notice) / (lasts + notice + away)."""
    spot = {"lasts": "2d", "away": "12h", "notice": "6h"}
    run = tc.run({**IDLE, "cluster": {"devices": 300, "device": {"spot": spot}}}, on="sim")
    span_s = run.header["makespan_s"]
    share = down_s(run) / (300 * span_s)
    assert share == pytest.approx(0.5 / 2.75, rel=0.03)
    assert (run.outages["from_s"] - run.outages["noticed_s"]).round(3).unique().to_list() == [6 * 3600.0]


def test_a_training_that_hears_the_notice_is_put_aside_and_goes_on_where_it_was():
    """10 s of work, whatever happens: only pauses and restoring come on top."""
    costs = {"every": 100.0, "pause_s": 2.0, "restore_s": 3.0}
    run = tc.run({**with_checkpoints(**costs), "cluster": SPOT}, on="sim")
    outcomes = run.trainings["outcome"]
    assert set(outcomes) == {"trained", "preempted"}
    assert (outcomes == "preempted").sum() > 10
    assert set(run.faults["stage"]) <= {"WAIT_FOR_EVALUATION_COMPLETION"}
    waits = run.trainings.with_columns((pl.col("ended_s") - pl.col("started_s")).alias("took_s"))
    for (trigger,), tried in waits.group_by("trigger", maintain_order=True):
        aside = tried.height - 1
        assert tried["outcome"].to_list() == ["preempted"] * aside + ["trained"]
        if (tried["took_s"] > 5.0).all():  # so each came farther than restoring, and had something to keep
            assert tried["took_s"].sum() == pytest.approx(10.0 + aside * (2.0 + 3.0)), trigger


def test_a_pause_that_does_not_fit_into_the_notice_is_not_begun():
    costs = {"every": 100.0, "pause_s": 5.5}
    run = tc.run({**with_checkpoints(**costs), "cluster": SPOT}, on="sim")
    failed = run.trainings.filter(pl.col("outcome") == "failed")
    assert set(run.trainings["outcome"]) == {"trained", "failed"}
    assert failed.height > 10
    assert set(failed["error"]) == {"device sim:0 was reclaimed"}
    gone_s = set(run.outages["from_s"])
    assert set(failed["ended_s"]) <= gone_s
    assert failed["lost_s"].to_list() == pytest.approx((failed["ended_s"] - failed["started_s"]).to_list())


def test_a_training_that_keeps_no_checkpoints_is_lost():
    run = tc.run({**BUSY, "cluster": SPOT}, on="sim")
    assert set(run.trainings["outcome"]) == {"trained", "failed"}
    assert set(run.faults["type"]) == {"DeviceReclaimed"}


def test_nobody_begins_on_a_device_that_is_about_to_go():
    run = tc.run({**with_checkpoints(every=100.0), "cluster": SPOT}, on="sim")
    granted = run.devices.filter(resource="device")["granted_s"].to_list()
    for noticed_s, until_s in run.outages.select("noticed_s", "until_s").iter_rows():
        assert not any(noticed_s < at_s < until_s for at_s in granted)


# Who pays


def test_down_time_by_hand():
    """A device of two is gone for the last 40 of 100 s, after it was reclaimed or with its node."""
    cluster = load_config({**BUSY, "cluster": {"devices": 2, "device": {"usd_per_hour": 3600.0}}}).cluster
    held = pl.DataFrame({"resource": ["device"], "unit": ["sim:0"], "granted_s": [10.0], "released_s": [60.0]})
    gone = {"device": ["sim:0"] * 2, "noticed_s": [None] * 2, "from_s": [60.0, 70.0], "until_s": [80.0, 500.0]}
    for causes, paid_s in (
        (["node_failed"] * 2, 40.0),
        (["reclaimed"] * 2, 0.0),
        (["node_failed", "reclaimed"], 10.0),
    ):
        used = usage(cluster, occupied(held), pl.DataFrame({**gone, "cause": causes}), 100.0)
        assert used.select("busy_s", "idle_s", "down_s").row(0) == (50.0, 110.0, 40.0)
        assert used.select("busy_usd", "idle_usd", "down_usd").row(0) == (50.0, 110.0, paid_s)
        assert totals(used)["usd"] == 160.0 + paid_s
        assert totals(used)["utilisation"] == 50.0 / 200.0


# Fleets


def test_a_fleet_has_one_cluster_whose_nodes_fail_for_all():
    member = {**BUSY, "data": {**BUSY["data"], "num_samples": 1000}, "faults": {"nodes": {"mtbf": 1.0, "repair": 1.0}}}
    fleet = {
        "fleet": {"one": {"config": member}, "other": {"config": {**member, "seed": 7}}},
        "cluster": {"devices": 2, "device": {"usd_per_hour": 1.0}},
        "nodes": {"mtbf": 100.0, "repair": 25.0},
    }
    made = run_fleet(fleet)
    assert all(run.outcome == "done" for run in made.runs.values())
    assert made.outages.height > 6
    first, second = (run.outages for run in made.runs.values())
    both = min(first.height, second.height)
    assert first.head(both).equals(second.head(both))
    used = made.usage.row(0, named=True)
    assert used["busy_s"] + used["idle_s"] + used["down_s"] == pytest.approx(2 * made.makespan_s)
    assert made.pipelines["usd"].sum() == pytest.approx(2 * made.makespan_s / 3600)


def test_the_event_of_an_outage_says_what_is_in_the_table():
    trace = simulate({**BUSY, "faults": {"nodes": {"mtbf": 100.0, "repair": 20.0}}}).trace
    seen = [(now, event) for now, event, commands in trace.happened if isinstance(event, Outage) and not commands]
    assert len(seen) > 5
    assert all(event.until_s > now for now, event in seen)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"faults": {"nodes": {"mtbf": "1d"}}}, "faults.nodes.repair: missing"),
        ({"faults": {"nodes": {"mtbf": 0, "repair": 1}}}, "faults.nodes.mtbf: got 0"),
        ({"faults": {"nodes": {"mtbf": 1, "repair": 1, "shape": 0.0}}}, "faults.nodes.shape: got 0.0, expected"),
        ({"faults": {"nodes": {"mtbf": 1, "repair": 1, "repairs": "fast"}}}, 'faults.nodes.repairs: got "fast"'),
        ({"cluster": {"device": {"spot": {"away": 1}}}}, "cluster.device.spot.lasts: missing"),
        ({"cluster": {"device": {"spot": {"lasts": 1, "away": 1, "notice": -1}}}}, "cluster.device.spot.notice: got"),
        ({"sim": {"faults": {}}}, "sim.faults: unknown key"),
    ],
)
def test_what_is_no_plan(changes, message):
    with pytest.raises(ConfigError) as raised:
        tc.run({**BUSY, **changes}, on="sim")
    assert message in str(raised.value)
