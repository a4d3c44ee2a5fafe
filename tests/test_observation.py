"""OBSERVE: what trigger policies ask for queues, is charged, is on record, and is the same if it is asked for again."""

from __future__ import annotations

from typing import Any

import numpy as np
import polars as pl
import pytest

import twinclock as tc
from sim.config import DecayQuality
from sim.quality import DecayScores, drawn_errors
from twinclock.dataset import TableConfig, load_table
from twinclock.errors import ConfigError
from twinclock.launch import graph_options, plan_run
from twinclock.observing import DetectorMemory, Sources, distances, num_samples_read, numbers_of
from twinclock.policies.observations import distance_request
from twinclock.stream import UniformStream

PERFORMANCE = {"kind": "performance", "interval": 100, "rules": [{"kind": "static", "threshold": 0.5}]}
DRIFT = {
    "kind": "drift",
    "interval": 100,
    "metrics": {"it": {"kind": "ks", "rule": {"kind": "static", "threshold": 0.2}}},
    "windows": {"kind": "amount", "ref": 200, "cur": 100},
}
WATCHING = {"kind": "drift", "interval": 100, "metrics": {"it": {"kind": "adwin"}}}
COSTS = {
    "decide_s": 0.0,
    "evaluation": {"setup_s": 1.0, "samples_per_s": 100.0},
    "drift": {"setup_s": 0.5, "samples_per_s": 1000.0},
    "noise_sigma": 0.0,
}


def run(trigger: dict[str, Any], **more: Any):
    config = {
        "data": {"kind": "table", "dataset": "portal_rodents", "limit": 600},
        "batching": {"n": 150},
        "trigger": trigger,
        "selection": {"tail": 0},
        "sim": {"costs": COSTS},
        **more,
    }
    return tc.run(config, on="sim")


@pytest.mark.parametrize(
    ("trigger", "wanted", "holds"),
    [
        (PERFORMANCE, None, True),
        (PERFORMANCE, False, False),
        (DRIFT, None, False),
        (DRIFT, True, True),
        (WATCHING, None, True),
    ],
)
def test_a_model_that_looks_at_samples_needs_a_device_unless_the_configuration_says_otherwise(trigger, wanted, holds):
    observed = run(trigger, observation={"on_device": wanted})
    config = observed.config
    assert graph_options(config).observation_on_device is holds
    devices = observed.stage_runs.filter(stage="OBSERVE")["device"].to_list()
    assert devices
    assert set(devices) == ({"sim:0"} if holds else {None})
    holders = observed.devices.filter(resource="device")["holder"]
    assert holders.str.contains("OBSERVE").any() is holds


def test_an_observation_is_charged_by_what_it_looks_at():
    scored = run(PERFORMANCE).stage_runs.filter(stage="OBSERVE").select(pl.col("ended_s") - pl.col("started_s"))
    assert scored.to_series().round(9).unique().to_list() == [1.0 + 100 / 100.0]
    compared = run(DRIFT).stage_runs.filter(stage="OBSERVE").sort("started_s")
    seconds = (compared["ended_s"] - compared["started_s"]).round(9).to_list()
    assert seconds[0] == 0.5 + 200 / 1000.0  # the first reference has 100 samples, as has every current window
    assert set(seconds) <= {0.7, 0.8}


def test_an_observation_waits_for_its_device_while_a_training_runs():
    slow = {**COSTS, "training": {"setup_s": 150.0, "samples_per_s": 1000.0}}
    ran = run(
        {"kind": "ensemble", "rule": "any", "of": {"a": {"kind": "amount", "n": 300}, "b": PERFORMANCE}},
        variant="overlapped",
        mode="live",
        live={"speed_up": 1.0},
        data={"kind": "uniform", "num_samples": 600, "every": 1.0},
        sim={"costs": slow},
    )
    asked = ran.stage_runs.filter(stage="OBSERVE")
    assert not asked.is_empty()
    assert (asked["started_s"] - asked["queued_s"]).max() > 1.0
    trained = ran.trainings.filter(outcome="trained")
    for started_s, ended_s in asked.select("started_s", "ended_s").iter_rows():
        for granted_s, released_s in trained.select("granted_s", "ended_s").iter_rows():
            assert ended_s <= granted_s or started_s >= released_s, "one device, two jobs"


def test_what_was_observed_is_on_record():
    ran = run(PERFORMANCE)
    decisions = ran.decisions.filter(pl.col("first") > 0).select("first", "stop", "observation")
    observations = ran.observations
    assert (
        observations.select("first", "stop", "value").rows() == decisions.select("first", "stop", "observation").rows()
    )
    assert set(observations["kind"]) == {"score"}
    assert observations["model"].to_list() == [
        ran.models.filter(pl.col("stored_s") <= asked)["model"].max()
        for asked in ran.stage_runs.filter(stage="OBSERVE").sort("started_s")["started_s"]
    ]


def test_what_the_quality_model_can_not_answer_is_refused_before_anything_runs():
    trigger = {**PERFORMANCE, "rules": [{"kind": "static", "metric": "log_loss", "threshold": 0.1}]}
    with pytest.raises(ConfigError, match="got log_loss, expected accuracy"):
        run(trigger)


def test_a_timeout_is_a_failed_observation():
    ran = run(PERFORMANCE, observation={"timeout": 1.5, "retry": {"attempts": 1}})
    assert ran.outcome == "done"
    assert set(ran.faults["stage"]) == {"OBSERVE"}
    assert ran.triggers["position"].to_list() == [99], "only the first, for which there is no model"
    assert ran.decisions["verdict"].to_list() == ["fired"] + ["none"] * 5


def test_a_detector_of_errors_needs_no_features():
    config = tc.load_config({"data": {"kind": "uniform", "num_samples": 600, "every": 1}, "trigger": WATCHING})
    assert plan_run(config, "sim").stream.num_samples == 600
    assert tc.run(config, on="sim").outcome == "done"


# Distances and detectors


def request(**metrics: Any) -> dict[str, Any]:
    return distance_request(
        decision=3, first=300, stop=400, metrics=metrics, reference=(0, 300), current=(250, 400), seed=7
    )


def features() -> Sources:
    table = load_table(TableConfig(dataset="portal_rodents", limit=1000))

    def errors(model, first, stop):
        return np.random.default_rng(model["trigger"]).random(1000)[first:stop].round()

    return numbers_of(table, request(), errors)


def test_distances_are_computed_between_the_windows_that_are_asked_for():
    from twinclock.drift import distance

    sources = features()
    asked = request(a={"kind": "ks", "result": "distance"}, b={"kind": "psi", "result": "distance"})
    values = distances(asked, sources, DetectorMemory())
    assert list(values) == ["a", "b"]
    reference, current = sources.window(0, 300), sources.window(250, 400)
    assert values == {"a": distance("ks", reference, current), "b": distance("psi", reference, current)}
    assert num_samples_read(asked) == 2 * (300 + 150)
    assert num_samples_read({**asked, "sample": 100}) == 2 * (100 + 100)


def test_a_p_value_does_not_depend_on_what_else_is_asked_for():
    sources = features()
    test = {"kind": "energy", "result": "p_value"}
    alone = distances({**request(it=test), "sample": 40}, sources, DetectorMemory())
    more = distances({**request(other=test, it=test), "sample": 40}, sources, DetectorMemory())
    assert alone["it"] == more["it"]


@pytest.mark.parametrize("kind", ["adwin", "page_hinkley", "kswin"])
def test_a_detector_that_was_forgotten_reports_the_same(kind):
    sources, kept = features(), DetectorMemory()
    wanted = {"kind": kind, "result": "detection", "value": "weight", "since": 100, "seed": 5}
    for first in range(100, 1000, 100):
        asked = {**request(it=wanted), "first": first, "stop": first + 100}
        reports = distances(asked, sources, kept)
        assert reports == distances(asked, sources, DetectorMemory())
        assert reports == distances(asked, sources, kept), "asked twice"


def test_a_detector_is_fed_the_errors_of_whichever_model_answered():
    sources, fed = features(), []

    def errors(model, first, stop):
        fed.append((model["trigger"], first, stop))
        return sources.errors(model, first, stop)

    watching = Sources(sources.window, sources.column, errors)
    wanted = {"kind": "adwin", "result": "detection", "value": "error", "since": 120, "seed": 5}
    scored_by = [[120, 350, {"trigger": 1}], [350, 400, {"trigger": 2}]]
    asked = {**request(it=wanted), "scored_by": scored_by}
    memory = DetectorMemory()
    distances({**asked, "first": 120, "stop": 300, "scored_by": [[120, 300, {"trigger": 1}]]}, watching, memory)
    distances(asked, watching, memory)
    assert fed == [(1, 120, 300), (1, 300, 350), (2, 350, 400)]


def test_drawn_errors_come_at_the_modelled_rate_and_do_not_depend_on_the_question():
    quality = DecayScores(DecayQuality(peak=0.9, floor=0.1, half_samples=0.0, half_life_s=1e9))
    stream = UniformStream(20_000, 1.0)
    model = {"trigger": 1, "num_samples": 10, "last_ts": 0.0}
    errors = drawn_errors(quality, model, stream, 0, 20_000, seed=3)
    assert errors.mean() == pytest.approx(0.1, abs=0.01)
    for first, stop in [(0, 1), (4095, 4097), (5000, 12_345)]:
        assert np.array_equal(drawn_errors(quality, model, stream, first, stop, seed=3), errors[first:stop])
    assert not np.array_equal(drawn_errors(quality, model, stream, 0, 20_000, seed=4), errors)
