"""Who served which samples, and evaluations from end to end: small simulated runs with round times."""

from __future__ import annotations

import polars as pl
import pytest
from simulated import costs, seconds, simulate

SERVED = {"kind": "slicing", "every": 10, "models": "served"}
ACTIVE = {"kind": "slicing", "every": 10, "models": "active"}
DECAY = {"peak": 0.9, "floor": 0.1, "half_samples": 1.0, "half_life_s": 10.0}


def pipeline(*plans, training=5.0, sim=None, evaluation=None, **config):
    """Forty samples, one a second; a training after every ten takes five seconds."""
    modelled = sim or {**costs(training=seconds(training)), "quality": DECAY}
    return simulate(
        {
            "data": {"kind": "uniform", "num_samples": 40, "every": 1.0},
            "batching": {"n": 1},
            "evaluation": {"plans": list(plans), **(evaluation or {})},
            "sim": modelled,
            **config,
        }
    ).run


def stretches_of(run, plan):
    rows = run.evaluations.filter(pl.col("plan") == plan).sort("start_ts", "model")
    return rows.select("start_ts", "end_ts", "model", "num_samples").rows()


@pytest.mark.parametrize("variant", ["seed", "sequential", "overlapped"])
def test_live_a_model_serves_once_it_is_stored(variant):
    """Model 0 is trained on the samples up to 9 s and stored at 14 s."""
    run = pipeline(SERVED, ACTIVE, mode="live", variant=variant)
    assert run.models["stored_s"].to_list() == [14.0, 24.0, 34.0, 44.0]
    assert stretches_of(run, 0) == [
        (10.0, 20.0, 0, 5),
        (20.0, 30.0, 0, 5),
        (20.0, 30.0, 1, 5),
        (30.0, 40.0, 1, 5),
        (30.0, 40.0, 2, 5),
    ]
    assert stretches_of(run, 1) == [(10.0, 20.0, 0, 10), (20.0, 30.0, 1, 10), (30.0, 40.0, 2, 10)]


@pytest.mark.parametrize("variant", ["seed", "sequential"])
def test_in_replay_training_stops_ingestion_and_a_model_serves_what_is_taken_in_after_it(variant):
    run = pipeline(SERVED, variant=variant)
    assert stretches_of(run, 0) == [(10.0, 20.0, 0, 10), (20.0, 30.0, 1, 10), (30.0, 40.0, 2, 10)]


def test_the_served_score_is_what_training_time_costs():
    run = pipeline(SERVED, ACTIVE, mode="live")
    summary = run.summary

    def accuracy(age_s, num_samples):
        return 0.1 + 0.8 * num_samples / (num_samples + 1) * 2 ** (-age_s / 10)

    # [10, 20) is scored as far as it was served: [15, 20) by model 0, which is 8.5 s old in the middle of it
    first = accuracy(8.5, 10)
    second = (accuracy(22.5 - 9, 10) + accuracy(27.5 - 19, 20)) / 2
    third = (accuracy(32.5 - 19, 20) + accuracy(37.5 - 29, 30)) / 2
    assert summary["served_accuracy"] == pytest.approx((first + second + third) / 3)
    assert summary["accuracy"] == pytest.approx((accuracy(6, 10) + accuracy(6, 20) + accuracy(6, 30)) / 3)
    assert summary["served_accuracy"] < summary["accuracy"]
    assert summary["served_accuracy_left_out"] == summary["accuracy_left_out"] == 0.25


def test_a_training_that_takes_no_time_makes_no_difference():
    summary = pipeline(SERVED, ACTIVE, training=0.0, mode="live").summary
    assert summary["served_accuracy"] == pytest.approx(summary["accuracy"])


PLANS = (
    {"kind": "slicing", "every": 7, "models": "all"},
    {"kind": "slicing", "every": 7, "models": "served"},
    {"kind": "periodic", "every": 5, "half": 6, "models": "trained"},
    {"kind": "between_triggers"},
    {"kind": "between_triggers", "models": "served"},
    {"kind": "offset", "offsets": ["-inf", "-5s", 0, "10s", "inf"]},
    {"kind": "static", "intervals": [[3, 14], [20, 33]], "when": "after_pipeline"},
)


@pytest.mark.parametrize("trigger", [{"kind": "amount", "n": 9}, {"kind": "time", "every": 8.5}])
def test_evaluations_do_not_depend_on_batches(trigger):
    """Nor does the training after which each is planned."""
    found = []
    for variant in ("seed", "sequential"):
        for n in (1, 3, 7, 40):
            run = pipeline(*PLANS, trigger=trigger, batching={"n": n}, variant=variant)
            jobs = run.stage_runs.filter(pl.col("stage") == "EVALUATION_COMPLETED")
            by_trigger = jobs["trigger"].value_counts().sort("trigger").rows()
            keys = ("plan", "model", "start_ts", "end_ts", "metric")
            found.append((by_trigger, run.evaluations.drop("evaluated_s").sort(keys).rows()))
    assert {row[0] for row in found[0][1]} == set(range(len(PLANS)))
    assert all(each == found[0] for each in found)


@pytest.mark.parametrize(("per_visit", "num_visits"), [(None, 4), (1, 12), (2, 8), (3, 4), (100, 4)])
def test_a_visit_to_a_device_pays_its_setup_once(per_visit, num_visits):
    """Four models, each scored on [0, 10), [10, 20) and [20, 25)."""
    plan = {"kind": "slicing", "every": 10, "to": 25, "models": "all", "when": "after_pipeline"}
    sim = costs(evaluation={"setup_s": 2.0, "samples_per_s": 10.0})
    run = pipeline(plan, sim=sim, evaluation={"intervals_per_visit": per_visit})
    assert run.evaluations.height == 4 * 3
    visits = run.devices.filter(pl.col("holder").str.contains("EVALUATION"))
    assert visits.height == num_visits
    held_s = (visits["released_s"] - visits["granted_s"]).sum()
    assert held_s == pytest.approx(num_visits * 2.0 + 4 * 25 / 10.0)
