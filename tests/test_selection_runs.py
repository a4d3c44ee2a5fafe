"""Selections in whole simulated runs: every variant, failures, label delays; counts against the samples themselves."""

from __future__ import annotations

import numpy as np
import pytest
from dst.invariants.samples import last_written, own_samples
from hypothesis import given, settings
from hypothesis import strategies as st
from simulated import breaking, configs, faults, positions_in, simulate

from twinclock.pipeline import VARIANTS
from twinclock.policies.selection import positions, training_set_size

SELECTIONS = [
    {"kind": "freshness", "unused": 30},
    {"kind": "freshness", "unused": 50, "limit": 6},
    {"tail": 1, "window": 9.0},
    {"tail": None, "presample": {"kind": "uniform_without_replacement", "ratio": 0.4}},
    {"tail": 2, "presample": {"kind": "uniform_without_replacement", "limit": 3}},
    {"tail": 2, "presample": {"kind": "label_balanced", "ratio": 0.3}},
    {"tail": None, "presample": {"kind": "trigger_balanced", "limit": 7}},
    {"tail": 0, "limit": 4, "keep": "uniform", "presample": {"kind": "uniform", "ratio": 0.3}},
]


def labels(at):
    return at % 3


@settings(max_examples=120, derandomize=True, deadline=None)
@given(configs(), faults(), st.sampled_from(SELECTIONS), st.sampled_from([0.0, 0.0, 2.0, 7.5]))
def test_every_run_trains_on_as_many_samples_as_it_counts_and_loses_none(config, broken, selection, delay_s):
    config = {**config, "selection": selection, "data": {**config["data"], "label_delay": delay_s}}
    simulated = simulate(config, wrap=breaking(broken))
    trace, stream = simulated.trace, simulated.stream
    for each in trace.of("RUN_TRAINING"):
        recipe = each.start.inputs["training_set"]
        chosen = positions(recipe, labels)
        assert len(np.unique(chosen)) == len(chosen) == recipe["num_samples"] > 0
        assert set(chosen.tolist()) <= set(positions_in(recipe["ranges"]))
        assert chosen.max() <= each.trigger["position"]
        assert stream.timestamp(chosen.max()) + delay_s <= stream.timestamp(each.trigger["position"])
    for each in trace.ended("INFORM_SELECTOR_AND_TRIGGER"):
        trigger, recipe = each.values["trigger"], each.values.get("training_set")
        registers = each.start.registers
        if registers["selector"] is not None:
            size = training_set_size(
                registers["selector"],
                trigger["position"],
                registers["skipped"],
                config=simulated.run.config.selection,
                seed=simulated.run.config.seed,
                stream=stream,
                label_delay_s=delay_s,
            )
            assert size == (0 if recipe is None else recipe["num_samples"])
    each_sample_counts_once(simulated)


def each_sample_counts_once(simulated) -> None:
    """For a training that was stored, for a trigger that trained nothing, or among those that wait."""
    trace = simulated.trace
    counted = np.zeros(simulated.stream.num_samples, int)
    for ended in trace.ended("STORE_TRAINED_MODEL"):
        if ended.outcome == "done":
            counted[list(own_samples(ended.trigger))] += 1
    for ended in trace.ended("INFORM_SELECTOR_AND_TRIGGER"):
        if ended.outcome == "empty":
            counted[list(own_samples(ended.values["trigger"]))] += 1
    selector = last_written(simulated, "selector")
    waiting = [[selector["first"], selector["informed"]], *selector["owed"]]
    given_back = [entry for run in trace.ended("TRAINING_SKIPPED") for entry in run.values["skipped"]]
    for entry in given_back[selector["returned"] :]:
        waiting += entry["ranges"]
    for first, stop in waiting:
        counted[first:stop] += 1
    assert (counted == 1).all()


@pytest.mark.parametrize("selection", SELECTIONS)
def test_training_sets_do_not_depend_on_batches_chunks_or_the_variant(selection):
    found = []
    for variant in VARIANTS:
        for batch_size, chunk in [(1, 1), (3, 10), (7, 7), (1000, 1000)]:
            config = {
                "variant": variant,
                "data": {"kind": "poisson", "num_samples": 50, "every": 2.0, "chunk": chunk, "label_delay": 5.0},
                "batching": {"n": batch_size},
                "selection": selection,
                "trigger": {"kind": "amount", "n": 7},
            }
            runs = simulate(config).trace.of("RUN_TRAINING")
            found.append([each.start.inputs["training_set"] for each in runs])
    assert len(found[0]) >= 5
    assert all(each == found[0] for each in found)


def test_a_cost_follows_the_samples_that_are_trained_on():
    run = simulate(
        {
            "data": {"kind": "uniform", "num_samples": 18, "every": 1.0},
            "trigger": {"kind": "amount", "n": 6},
            "selection": {"kind": "freshness", "unused": 20},
            "training": {"epochs": 1},
            "sim": {"costs": {"training": {"setup_s": 0.0, "samples_per_s": 1.0}, "noise_sigma": 0.0}},
        }
    ).run
    assert run.triggers["training_samples"].to_list() == [6, 7, 8]
    assert (run.trainings["ended_s"] - run.trainings["started_s"]).round(1).to_list() == [6.0, 7.0, 8.0]


def test_a_trigger_without_known_labels_trains_nothing_and_its_samples_wait():
    run = simulate(
        {
            "data": {"kind": "uniform", "num_samples": 20, "every": 1.0, "label_delay": 7.0},
            "trigger": {"kind": "amount", "n": 5},
            "selection": {"tail": 0},
        }
    ).run
    assert run.triggers.select("trigger", "first", "stop", "num_samples", "training_samples").rows() == [
        (0, 0, 0, 0, 0),
        (1, 0, 3, 3, 3),
        (2, 3, 8, 5, 5),
        (3, 8, 13, 5, 5),
    ]
    assert run.models.select("model", "first_ts", "last_ts").rows() == [(1, 0.0, 2.0), (2, 3.0, 7.0), (3, 8.0, 12.0)]
