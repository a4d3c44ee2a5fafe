"""Where a training's seconds are from: constants, scaling, loading and checkpoints, by hand and in whole runs."""

from __future__ import annotations

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import twinclock as tc
from sim.config import Costs, SimConfig
from sim.costs import evaluation_s, training_s, training_source
from sim.recovery import Stint
from sim.throughput.constant import ConstantCost
from sim.throughput.formula import TrainingCost
from sim.throughput.protocol import Held, Job
from sim.throughput.scaling import Scaling, devices_on_one_node
from twinclock.config import TrainingConfig
from twinclock.errors import ConfigError
from twinclock.section import parse_section

JOB = Job(num_samples=100, epochs=2, batch_size=10)
FORMULA = {"setup_s": 3.0, "samples_per_s": 50.0, "step_s": 0.25}
RUN = {
    "data": {"kind": "uniform", "num_samples": 100, "every": 1.0},
    "trigger": {"kind": "amount", "n": 20},
    "selection": {"tail": 0},
    "training": {"epochs": 1, "batch_size": 10},
}


def seconds(costs, job=JOB, held=None, *, every_s=None):
    parsed = parse_section(Costs, costs, "here", under="sim.costs")
    work_s = training_s(parsed, training_source(parsed, TrainingConfig()), job, held or Held())
    return Stint(work_s, 0.0, every_s, parsed.checkpoint).seconds


def waits(costs, **changed):
    run = tc.run({**RUN, **changed, "sim": {"costs": {"noise_sigma": 0.0, **costs}}}, on="sim")
    trained = run.stage_runs.filter(pl.col("stage") == "WAIT_FOR_TRAINING_COMPLETION")
    return set((trained["ended_s"] - trained["started_s"]).round(6).to_list())


# Kinds


def test_a_formula_may_leave_its_kind_unsaid():
    assert parse_section(Costs, {"training": FORMULA}, "here") == Costs(training=TrainingCost(**FORMULA))
    assert seconds({"training": FORMULA}) == seconds({"training": {"kind": "formula", **FORMULA}}) == 3 + 2 * (2 + 2.5)


def test_the_defaults_are_what_they_were():
    assert SimConfig().costs.training == TrainingCost(setup_s=0.05, samples_per_s=40_000.0)
    assert seconds({}) == 0.05 + 200 / 40_000


def test_a_constant_is_the_same_for_everything():
    constant = {"training": {"kind": "constant", "seconds": 7.5}}
    for job in (JOB, Job(num_samples=0, epochs=1, batch_size=1), Job(1_000_000, 9, 1, num_scored=5)):
        for held in (Held(), Held(8.0, 3.0)):
            assert seconds(constant, job, held) == 7.5
    assert seconds({**constant, "loading": {"bytes_per_s": 1.0, "sample_bytes": 1.0}}) == 7.5
    assert waits(constant) == {7.5}


def test_evaluations_of_constant_cost():
    assert evaluation_s(ConstantCost(seconds=4.0), 1_000_000, 3, 2.0) == 4.0
    costs = {"noise_sigma": 0.0, "evaluation": {"kind": "constant", "seconds": 4.0}}
    run = tc.run(
        {**RUN, "evaluation": {"plans": [{"kind": "slicing", "every": 50}]}, "sim": {"costs": costs}}, on="sim"
    )
    scored = run.stage_runs.filter(pl.col("stage") == "WAIT_FOR_EVALUATION_COMPLETION")
    assert scored.height > 0
    assert set((scored["ended_s"] - scored["started_s"]).round(6).to_list()) == {4.0}


# Several devices


def test_devices_scale_by_one_share_or_by_their_number():
    assert [Scaling(0.5, {}).multiple(count) for count in (1, 2, 3)] == [1, 1.5, 2]
    by_number = Scaling(0.5, {2: 0.9, 4: 0.8, 8: 0.6})
    assert by_number.multiple(1) == 1
    assert by_number.multiple(2) == pytest.approx(1.9)
    assert by_number.multiple(3) == pytest.approx((1.9 + 3.4) / 2)
    assert by_number.multiple(4) == pytest.approx(3.4)
    assert by_number.multiple(8) == pytest.approx(5.2)
    assert by_number.multiple(10) == pytest.approx(5.2 + 2 * 0.6)


def test_devices_on_another_node_count_less():
    assert devices_on_one_node([], 0.5) == 1
    assert devices_on_one_node([0, 0, 0], 0.5) == 3
    assert devices_on_one_node([0, 1, 1], 0.5) == 2.5
    assert devices_on_one_node([0, 1, 2], 0.5) == 2
    assert devices_on_one_node([0, 1, 2], 1.0) == 3
    assert devices_on_one_node([0, 1, 2], 0.0) == 1


@pytest.mark.parametrize(
    ("pool", "expected"),
    [
        ({"devices_per_node": 4}, 20 / (10 * 4)),
        ({"devices_per_node": 2, "nodes": 2}, 20 / (10 * 3)),  # two here, two there at half
        ({"devices_per_node": 1, "nodes": 4}, 20 / (10 * 2.5)),
    ],
)
def test_a_training_across_nodes_takes_longer(pool, expected):
    costs = {
        "training": {"setup_s": 0.0, "samples_per_s": 10.0},
        "scaling_efficiency": 1.0,
        "node_efficiency": 0.5,
    }
    cluster = {"pools": [{"name": "a", **pool}]}
    assert waits(costs, cluster=cluster, training={"epochs": 1, "devices": 4}) == {round(expected, 6)}


def test_by_default_the_node_does_not_matter():
    costs = {"training": {"setup_s": 0.0, "samples_per_s": 10.0}}
    here, there = (
        {"pools": [{"name": "a", **pool}]} for pool in ({"devices_per_node": 2}, {"devices_per_node": 1, "nodes": 2})
    )
    training = {"epochs": 1, "devices": 2}
    assert waits(costs, cluster=here, training=training) == waits(costs, cluster=there, training=training)


JOBS = st.builds(Job, st.integers(0, 5000), st.integers(1, 5), st.integers(1, 300), st.integers(0, 5000))


@settings(derandomize=True, deadline=None)
@given(JOBS, st.floats(0.01, 1.0), st.floats(0.0, 1.0), st.lists(st.integers(0, 3), min_size=1, max_size=9))
def test_more_devices_are_never_slower_than_one(job, efficiency, node_efficiency, nodes):
    costs = {"training": FORMULA, "scaling_efficiency": efficiency}
    held = Held(devices_on_one_node(nodes, node_efficiency))
    assert seconds(costs, job, held) <= seconds(costs, job) * (1 + 1e-12)


@settings(derandomize=True, deadline=None)
@given(JOBS, st.integers(0, 500), st.floats(1e3, 1e6))
def test_more_samples_never_take_less_time(job, more, bytes_per_s):
    costs = {
        "training": FORMULA,
        "loading": {"bytes_per_s": bytes_per_s, "sample_bytes": 4000.0},
        "checkpoint": {"pause_s": 1.0},
    }
    larger = Job(job.num_samples + more, job.epochs, job.batch_size, job.num_scored)
    assert seconds(costs, larger, every_s=10.0) >= seconds(costs, job, every_s=10.0)


# Loading and checkpoints


def test_loading_goes_on_beside_computing():
    """2 epochs of 100 samples compute for 4 s + 20 steps · 0.25 s = 9 s."""
    for bytes_per_s, expected in ((1000.0, 3 + 9), (100.0, 3 + 9), (200 * 10 / 9, 3 + 9), (50.0, 3 + 40)):
        costs = {
            "training": FORMULA,
            "loading": {"bytes_per_s": bytes_per_s, "sample_bytes": 10.0 if bytes_per_s != 100 else 4.0},
        }
        assert seconds(costs) == pytest.approx(expected)


def test_samples_that_are_scored_are_read_too():
    costs = {"training": FORMULA, "loading": {"bytes_per_s": 10.0, "sample_bytes": 1.0}}
    assert seconds(costs, Job(100, 2, 10, num_scored=300)) == 3 + (200 + 300) / 10


def test_more_devices_do_not_load_faster():
    costs = {"training": FORMULA, "loading": {"bytes_per_s": 10.0, "sample_bytes": 1.0}}
    assert seconds(costs, held=Held(8.0)) == seconds(costs) == 3 + 20


@pytest.mark.parametrize(("every", "pauses"), [(100.0, 0), (12.0, 0), (6.0, 1), (5.0, 2), (11.9, 1), (1.0, 11)])
def test_a_training_stands_still_for_each_checkpoint_but_one_at_its_end(every, pauses):
    costs = {"training": FORMULA, "checkpoint": {"pause_s": 0.5}}
    assert seconds(costs, every_s=every) == pytest.approx(12 + 0.5 * pauses)


# What is refused


@pytest.mark.parametrize(
    ("costs", "line"),
    [
        (
            {"training": {"kind": "constat"}},
            'sim.costs.training.kind: got "constat", expected one of formula, constant',
        ),
        ({"training": {"kind": "constant"}}, "sim.costs.training.seconds: missing"),
        ({"training": {"kind": "constant", "seconds": -1.0}}, "sim.costs.training.seconds: got -1.0"),
        ({"training": {"kind": "constant", "seconds": float("inf")}}, "expected a finite number"),
        ({"training": {"kind": "constant", "seconds": 1.0, "setup_s": 1.0}}, "sim.costs.training.setup_s: unknown key"),
        ({"evaluation": {"kind": "profile"}}, "sim.costs.evaluation.kind: got"),
        ({"node_efficiency": 1.5}, "sim.costs.node_efficiency: got 1.5"),
        (
            {"efficiency_by_devices": [{"devices": 2, "share": 0.9}, {"devices": 3, "share": 0.3}]},
            "sim.costs.efficiency_by_devices.1.share: got 0.3, expected at least 0.45",
        ),
        ({"efficiency_by_devices": [{"devices": 1, "share": 0.9}]}, "sim.costs.efficiency_by_devices.0.devices: got 1"),
        ({"efficiency_by_devices": [{"devices": 2, "share": 1.9}]}, "sim.costs.efficiency_by_devices.0.share: got 1.9"),
        (
            {"efficiency_by_devices": [{"devices": 2, "share": 0.9}] * 2},
            "efficiency_by_devices.1.devices: got 2, expected more",
        ),
        ({"efficiency_by_devices": {2: 0.9}}, "sim.costs.efficiency_by_devices: got"),
        ({"loading": {"bytes_per_s": 5.0}}, "sim.costs.loading.sample_bytes: missing, and loading takes both"),
        ({"loading": {"sample_bytes": 5.0}}, "sim.costs.loading.bytes_per_s: missing, and loading takes both"),
        ({"loading": {"bytes_per_s": 0.0, "sample_bytes": 5.0}}, "sim.costs.loading.bytes_per_s: got 0.0"),
        ({"checkpoint": {"every": 5.0}}, "sim.costs.checkpoint.every: got 5.0, expected it under training.checkpoint"),
        ({"checkpoint": {"pause_s": float("nan")}}, "sim.costs.checkpoint.pause_s: got NaN"),
    ],
)
def test_hostile_costs_get_a_line(costs, line):
    with pytest.raises(ConfigError) as caught:
        tc.run({**RUN, "sim": {"costs": costs}}, on="sim")
    assert line in str(caught.value)
    assert "\n" not in str(caught.value)


def test_shares_by_number_of_devices_survive_a_folder(tmp_path):
    costs = {"efficiency_by_devices": [{"devices": 2, "share": 0.9}, {"devices": 4, "share": 0.8}]}
    run = tc.run({**RUN, "sim": {"costs": costs}}, on="sim", out=tmp_path / "run")
    again = tc.run(tmp_path / "run" / "config.yaml", on="sim")
    assert again.config == run.config
    assert tc.Run.load(tmp_path / "run").config == run.config
