"""Clusters of pools in whole simulated runs: what is faster, what it costs, and that nothing is lost."""

from __future__ import annotations

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import twinclock as tc
from twinclock.config import load_config
from twinclock.errors import ConfigError
from twinclock.fleet import run_fleet
from twinclock.launch import plan_run
from twinclock.show import summary_text

COSTS = {"training": {"setup_s": 0.0, "samples_per_s": 10.0}, "noise_sigma": 0.0}
CONFIG = {
    "data": {"kind": "uniform", "num_samples": 100, "every": 1.0},
    "trigger": {"kind": "amount", "n": 20},
    "selection": {"tail": 0},
    "training": {"epochs": 1},
    "sim": {"costs": COSTS},
}
A100 = {"speed": 2.0, "usd_per_hour": 3.6, "idle_watts": 50.0, "busy_watts": 300.0}
T4 = {"speed": 0.5, "usd_per_hour": 0.36, "idle_watts": 10.0, "busy_watts": 70.0}
POOLS = [
    {"name": "t4", "devices_per_node": 2, "device": T4},
    {"name": "a100", "devices_per_node": 1, "nodes": 2, "device": A100},
]


def training_seconds(cluster):
    run = tc.run({**CONFIG, "cluster": cluster}, on="sim")
    waits = run.stage_runs.filter(pl.col("stage") == "WAIT_FOR_TRAINING_COMPLETION")
    return set((waits["ended_s"] - waits["started_s"]).round(6).to_list())


def test_a_device_of_twice_the_speed_takes_half_the_time():
    assert training_seconds({"devices": 1}) == {2.0}
    assert training_seconds({"device": {"speed": 2.0}}) == {1.0}
    assert training_seconds({"pools": POOLS}) == {4.0}
    assert training_seconds({"pools": POOLS, "placement": "fastest"}) == {1.0}
    assert training_seconds({"pools": POOLS, "placement": "cheapest"}) == {4.0}


def test_money_and_energy_by_hand():
    cluster = {"device": {"usd_per_hour": 3600.0, "idle_watts": 10.0, "busy_watts": 100.0}, "devices": 2}
    run = tc.run({**CONFIG, "cluster": cluster}, on="sim")
    busy, makespan = run.summary["device_s"], run.summary["makespan_s"]
    assert busy > 5 * 2.0
    assert run.summary["usd"] == pytest.approx(2 * makespan)
    assert run.summary["busy_usd"] == pytest.approx(busy)
    assert run.summary["joules"] == pytest.approx(100 * busy + 10 * (2 * makespan - busy))
    assert run.summary["utilisation"] == pytest.approx(busy / (2 * makespan))


def test_what_has_no_price_and_no_power_is_not_reported():
    run = tc.run(CONFIG, on="sim")
    assert run.summary["usd"] is run.summary["busy_usd"] is run.summary["joules"] is None
    assert "USD" not in str(run)
    priced = tc.run({**CONFIG, "cluster": {"device": {"usd_per_hour": 1.0}}}, on="sim")
    assert priced.summary["usd"] > 0
    assert priced.summary["joules"] is None


def test_what_money_and_energy_leave_out_is_said():
    told = [
        {"name": "a", "devices_per_node": 1, "device": {"usd_per_hour": 3600.0}},
        {"name": "b", "devices_per_node": 1, "device": {"idle_watts": 1.0, "busy_watts": 2.0}},
        {"name": "c", "devices_per_node": 1},
    ]
    run = tc.run({**CONFIG, "cluster": {"pools": told}}, on="sim")
    assert run.summary["usd"] == pytest.approx(run.summary["makespan_s"]), "of pool a alone"
    assert (run.summary["usd_left_out"], run.summary["joules_left_out"]) == (["b", "c"], ["a", "c"])
    text = summary_text(run)
    assert "money leaves out the pools b, c, which have no usd_per_hour: more was spent" in text
    assert "energy leaves out the pools a, c, which have no idle_watts and busy_watts: more was spent" in text
    one = tc.run({**CONFIG, "cluster": {"pools": told[::2]}}, on="sim")
    assert one.summary["joules_left_out"] == [], "nobody tells, so nothing is reported"
    assert "money leaves out pool c, which has no usd_per_hour: more was spent" in summary_text(one)
    assert "leaves out" not in summary_text(tc.run({**CONFIG, "cluster": {"pools": told[:1]}}, on="sim"))
    assert "leaves out" not in summary_text(tc.run(CONFIG, on="sim"))


@settings(max_examples=40, derandomize=True, deadline=None)
@given(
    st.sampled_from(["seed", "sequential", "overlapped"]),
    st.sampled_from(["first_fit", "best_fit", "fastest", "cheapest"]),
    st.integers(1, 2),
    st.integers(1, 3),
)
def test_busy_and_idle_are_all_that_there_is(variant, placement, devices, at_once):
    overlap = {"overlap": {"trainings_at_once": at_once}} if variant == "overlapped" else {}
    run = tc.run(
        {
            **CONFIG,
            **overlap,
            "variant": variant,
            "training": {"epochs": 2, "devices": devices},
            "evaluation": {"plans": [{"kind": "slicing", "every": 25.0, "models": "all"}]},
            "cluster": {"pools": POOLS, "placement": placement},
        },
        on="sim",
    )
    used, makespan = run.usage, run.summary["makespan_s"]
    assert used["pool"].to_list() == ["t4", "a100"]
    assert (used["busy_s"] >= 0).all()
    assert (used["idle_s"] >= -1e-9).all()
    capacity = (used["busy_s"] + used["idle_s"]).to_list()
    assert capacity == pytest.approx([2 * makespan, 2 * makespan])
    assert used["busy_s"].sum() == pytest.approx(run.summary["device_s"])
    assert run.summary["usd"] == pytest.approx(2 * makespan * (3.6 + 0.36) / 3600)
    held = run.devices.filter(pl.col("resource") == "device").with_columns(pl.col("unit").str.split(":").list.first())
    assert (held.group_by("holder", "requested_s").agg(pl.col("unit").n_unique())["unit"] == 1).all()


@pytest.mark.parametrize(
    ("cluster", "message"),
    [
        ({"pools": []}, "cluster.pools: got [], expected"),
        ({"pools": POOLS, "devices": 3}, "cluster.devices: not beside pools"),
        ({"pools": POOLS, "device": T4}, "cluster.device: not beside pools"),
        ({"pools": [POOLS[0], POOLS[0]]}, "cluster.pools.1.name: got t4 twice"),
        ({"pools": [{**POOLS[0], "name": "a:b"}]}, "cluster.pools.0.name"),
        ({"pools": [{**POOLS[0], "devices_per_node": 0}]}, "cluster.pools.0.devices_per_node: got 0"),
        ({"device": {"speed": -1}}, "cluster.device.speed: got -1"),
        ({"device": {"speed": float("nan")}}, "cluster.device.speed: got NaN"),
        ({"device": {"idle_watts": 10.0}}, "cluster.device.busy_watts: missing"),
        ({"discipline": "lifo"}, 'cluster.discipline: got "lifo", expected one of priority, fifo'),
        (
            {"discipline": "fifo", "patience": {"evaluation": 5.0}},
            "cluster.patience: only for discipline priority, got discipline fifo",
        ),
        ({"jobs_per_device": 0}, "cluster.jobs_per_device: got 0, expected a number > 0"),
        ({"device": {"memory_bytes": 0}}, "cluster.device.memory_bytes: got 0"),
        ({"placement": "tightest"}, 'cluster.placement: got "tightest", expected one of first_fit'),
    ],
)
def test_what_is_no_cluster(cluster, message):
    with pytest.raises(ConfigError) as raised:
        load_config({**CONFIG, "cluster": cluster})
    assert message in str(raised.value)


def test_a_training_gets_its_devices_from_one_pool():
    with pytest.raises(ConfigError, match="expected at most the devices of the largest pool: 2"):
        load_config({**CONFIG, "cluster": {"pools": POOLS}, "training": {"devices": 3}})


@pytest.mark.parametrize("kind", ["training", "evaluation"])
def test_a_job_that_fits_no_device_is_refused(kind):
    small = [{"name": "a", "devices_per_node": 2, "device": {"memory_bytes": 16e9}}]
    untold = [*small, {"name": "b", "devices_per_node": 1}]
    config = {**CONFIG, kind: {"memory_bytes": 20e9}}
    with pytest.raises(ConfigError, match=rf"{kind}.memory_bytes: got 2e\+10, expected .* 1.6e\+10 on the largest"):
        load_config({**config, "cluster": {"pools": small}})
    with pytest.raises(ConfigError, match=rf"{kind}.memory_bytes: got 2e\+10, .* 1.5e\+10 on the largest"):
        load_config({**config, "cluster": {"device": {"memory_bytes": 30e9}, "jobs_per_device": 2}})
    assert load_config({**config, "cluster": {"pools": untold}})


def test_a_job_on_two_devices_needs_a_pool_with_two_that_fit_it():
    pools = [
        {"name": "a", "devices_per_node": 2, "device": {"memory_bytes": 16e9}},
        {"name": "b", "devices_per_node": 1, "device": {"memory_bytes": 80e9}},
    ]
    with pytest.raises(ConfigError, match=r"training.memory_bytes: got 2e\+10, expected at most what 2 device"):
        load_config({**CONFIG, "training": {"memory_bytes": 20e9, "devices": 2}, "cluster": {"pools": pools}})


def test_jobs_are_placed_where_they_fit():
    pools = [
        {"name": "small", "devices_per_node": 2, "device": {"memory_bytes": 16e9}},
        {"name": "large", "devices_per_node": 1, "device": {"memory_bytes": 80e9}},
    ]
    plans = [{"kind": "slicing", "every": 25.0, "models": "all"}]
    run = tc.run(
        {
            **CONFIG,
            "variant": "overlapped",
            "training": {"epochs": 1, "memory_bytes": 20e9},
            "evaluation": {"plans": plans, "memory_bytes": 1e9},
            "cluster": {"pools": pools},
        },
        on="sim",
    )
    assert set(run.trainings["device"]) == {"large:0"}
    evaluating = run.stage_runs.filter(stage="WAIT_FOR_EVALUATION_COMPLETION")
    assert {"small:0", "small:1"} <= set(evaluating["device"])


def queueing(discipline, **more):
    """Two trainings of 4 s and long evaluations that come in between, on one device."""
    return tc.run(
        {
            **CONFIG,
            "variant": "overlapped",
            "mode": "live",
            "batching": {"kind": "fixed", "n": 10},
            "training": {"epochs": 2},
            "evaluation": {"plans": [{"kind": "slicing", "every": 10.0, "models": "all", "when": "after_training"}]},
            "cluster": {"discipline": discipline},
            "sim": {"costs": {**COSTS, "evaluation": {"setup_s": 25.0, "samples_per_s": 1e6}}},
            **more,
        },
        on="sim",
    )


def test_evaluations_that_yield_keep_no_training_waiting_and_are_done_at_last():
    waiting, yielding = queueing("fifo"), queueing("preemptive")
    assert waiting.summary["training_queued_s"] > 20.0
    assert yielding.summary["training_queued_s"] == pytest.approx(0.0, abs=1e-6)
    for run in (waiting, yielding):
        assert run.summary["trainings"] == 5
        assert run.evaluations["model"].n_unique() == 5
    outcomes = yielding.stage_runs.filter(stage="WAIT_FOR_EVALUATION_COMPLETION")["outcome"].to_list()
    assert sorted(set(outcomes)) == ["done", "yielded"]
    assert yielding.summary["device_s"] > waiting.summary["device_s"], "what was broken off is done again"
    assert yielding.summary["failed_trainings"] == 0
    assert yielding.faults.is_empty()


def test_the_smaller_training_set_is_first():
    """Three pipelines ask for the one device while the first trains: 40 samples, 40 in two epochs, 20."""

    def order(discipline):
        def pipeline(num_samples, epochs, start_s):
            return {
                "config": {
                    **CONFIG,
                    "data": {"kind": "uniform", "num_samples": num_samples, "every": 1.0},
                    "trigger": {"kind": "amount", "n": num_samples},
                    "training": {"epochs": epochs},
                    "sim": {"costs": {**COSTS, "connect_s": start_s}},
                }
            }

        fleet = {
            "busy": pipeline(100, 1, 1.0),
            "middle": pipeline(40, 1, 2.0),
            "large": pipeline(40, 2, 3.0),
            "small": pipeline(20, 1, 4.0),
        }
        runs = run_fleet({"fleet": fleet, "cluster": {"discipline": discipline}}).runs
        return sorted(runs, key=lambda name: runs[name].trainings["granted_s"][0])

    assert order("fifo") == ["busy", "middle", "large", "small"]
    assert order("shortest_first") == ["busy", "small", "middle", "large"]


def test_modelled_devices_are_not_real():
    table = {**CONFIG, "data": {"kind": "table", "dataset": "portal_rodents"}}
    with pytest.raises(ConfigError, match=r"cluster.pools: the devices of a real run are those that are there"):
        plan_run(load_config({**table, "cluster": {"pools": POOLS}}), "real")
    with pytest.raises(ConfigError, match=r"cluster.jobs_per_device: got 2, expected 1"):
        plan_run(load_config({**table, "cluster": {"jobs_per_device": 2}}), "real")
    with pytest.raises(ConfigError, match=r"cluster.device.speed: got 2, which can only be simulated"):
        plan_run(load_config({**table, "cluster": {"device": {"speed": 2.0}}}), "real")
