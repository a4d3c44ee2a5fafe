"""Costs that show only in a run: of single decisions, of being granted a device, of the first training on each."""

from __future__ import annotations

import pytest
from simulated import FREE

import twinclock as tc
from twinclock.errors import ConfigError

RUN = {
    "name": "costs",
    "data": {"kind": "uniform", "num_samples": 400, "every": "1d"},
    "batching": {"kind": "fixed", "n": 100},
    "trigger": {"kind": "amount", "n": 100},
    "evaluation": {"plans": [{"kind": "slicing", "every": "100d"}]},
}
TRAINING = {"setup_s": 1.0, "samples_per_s": 1e12}


def simulated(variant="sequential", **costs):
    evaluation = {"setup_s": 0.0, "samples_per_s": 1e12, **costs.pop("evaluation", {})}
    all_costs = {**FREE, "training": TRAINING, "evaluation": evaluation, "noise_sigma": 0.0, **costs}
    return tc.run({**RUN, "variant": variant, "sim": {"costs": all_costs}}, on="sim")


def seconds_of(run, stage):
    rows = run.stage_runs.filter(stage=stage)
    return (rows["ended_s"] - rows["started_s"]).to_list()


def test_single_decisions_have_seconds_of_their_own():
    run = simulated(decide_s=0.25, decide_by_stage={"EVALUATE": 2.0})
    assert seconds_of(run, "EVALUATE") == pytest.approx([2.0] * 4)
    assert seconds_of(run, "TRAINING_COMPLETED") == pytest.approx([0.25] * 4)


def test_a_stage_that_does_not_decide_is_no_key():
    with pytest.raises(ConfigError, match=r"costs\.decide_by_stage: got OBSERVE, expected a stage that decides"):
        simulated(decide_by_stage={"OBSERVE": 1.0})


def test_a_granted_device_is_heard_of_later_and_is_held_from_then_on():
    run, at_once = simulated(grant_s=0.5), simulated()
    waited = run.devices["granted_s"] - run.devices["requested_s"]
    assert waited.to_list() == pytest.approx([0.5] * run.devices.height)
    assert run.header["makespan_s"] == pytest.approx(at_once.header["makespan_s"] + 0.5 * run.devices.height)


def test_of_two_that_want_a_device_each_hears_of_it_later():
    run = simulated("seed", grant_s=0.5)
    held = run.devices.sort("granted_s")
    gaps = (held["granted_s"][1:] - held["released_s"][:-1]).to_list()
    assert min(gaps) == pytest.approx(0.5)


def test_only_the_first_training_on_a_device_warms_it_up():
    assert seconds_of(simulated(warmup_s=3.0), "WAIT_FOR_TRAINING_COMPLETION") == pytest.approx([4.0, 1.0, 1.0, 1.0])


def test_each_interval_scored_takes_its_seconds():
    run = simulated(evaluation={"setup_s": 1.0, "interval_s": 0.25})
    jobs = run.evaluations.group_by("model", maintain_order=True).len()
    took = seconds_of(run, "WAIT_FOR_EVALUATION_COMPLETION")
    assert sum(took) == pytest.approx(len(took) + 0.25 * jobs["len"].sum())
