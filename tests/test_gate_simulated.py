"""The gate in simulated runs: who becomes active, what policies and evaluations see of it, what it takes."""

from __future__ import annotations

from itertools import product
from typing import Any

import polars as pl
import pytest
from acceptor import accepts

import twinclock as tc
from twinclock.check import check
from twinclock.errors import ConfigError
from twinclock.graph import Retry, Scope, Stage, walk
from twinclock.launch import graph_options
from twinclock.pipeline import VARIANTS, GraphOptions, build_graph
from twinclock.policies.evaluation.in_use import activated

GATE = {"validation": {"share": 0.25}, "gate": {"metric": "accuracy", "max_worse": 0.0}}


def uneven(**changes: Any) -> dict[str, Any]:
    """Training sets of very different sizes, so that many a model is worse than the one before."""
    config: dict[str, Any] = {
        "seed": 4,
        "data": {"kind": "poisson", "num_samples": 400, "every": 10.0},
        "batching": {"kind": "fixed", "n": 20},
        "trigger": {"kind": "time", "every": 150.0},
        "selection": {"kind": "new_data", "tail": 0},
        "training": GATE,
        "evaluation": {
            "plans": [
                {"kind": "between_triggers", "models": "active"},
                {"kind": "slicing", "every": 400.0, "models": "all"},
            ]
        },
    }
    return {**config, **changes}


@pytest.mark.parametrize("variant", VARIANTS)
def test_only_who_is_as_good_becomes_active(variant):
    run = tc.run(uneven(variant=variant), on="sim")
    assert run.outcome == "done"
    rows = run.activations.rows(named=True)
    assert [row["model"] for row in rows] == run.models["model"].to_list()
    active = None
    for row in rows:
        assert row["active"] == (None if active is None else active["model"])
        passes = active is None or row["value"] >= row["active_value"]
        assert (row["activated_s"] == row["decided_s"]) == passes
        assert row["first"] < row["stop"]
        active = row if passes else active
    assert 0 < run.summary["rejected_models"] < run.models.height - 1
    outcomes = run.stage_runs.filter(stage="ACTIVATE_MODEL")["outcome"].to_list()
    assert outcomes.count("rejected") == run.summary["rejected_models"]
    trace = [(each, outcome) for each, outcome in run.stage_runs.sort("started_s").select("id", "outcome").rows()]
    assert variant == "overlapped" or accepts(build_graph(graph_options(run.config)), trace, "done")


def test_who_was_rejected_is_scored_where_all_are_and_never_in_use():
    run = tc.run(uneven(), on="sim")
    rejected = set(run.activations.filter(pl.col("activated_s").is_null())["model"])
    in_use, of_all = (set(run.evaluations.filter(plan=plan)["model"]) for plan in (0, 1))
    assert rejected <= of_all
    assert in_use
    assert not rejected & in_use
    ungated = tc.run(uneven(training={}), on="sim")
    assert rejected & set(ungated.evaluations.filter(plan=0)["model"])


def test_a_policy_knows_the_active_model_alone():
    rule = {"kind": "static", "metric": "accuracy", "threshold": 1}
    run = tc.run(uneven(trigger={"kind": "performance", "interval": "150s", "rules": [rule]}), on="sim")
    rejected = set(run.activations.filter(pl.col("activated_s").is_null())["model"])
    assert rejected
    assert run.observations["model"].n_unique() > 2
    assert not rejected & set(run.observations["model"].drop_nulls())


def test_a_training_starts_from_the_active_model():
    loose = {**GATE, "gate": {"metric": "accuracy", "max_worse": 1.0}, "start_from": "active"}
    run = tc.run(uneven(training=loose, faults={"evaluation": 0.6}), on="sim")
    passed = run.activations.filter(pl.col("activated_s").is_not_null())["model"].to_list()
    assert 2 < len(passed) < run.models.height
    for model, parent in run.models.select("model", "parent").rows():
        assert parent == max((each for each in passed if each < model), default=None)


def test_a_gate_that_lets_all_through_gives_the_same_models():
    loose = {**GATE, "gate": {"metric": "accuracy", "max_worse": 1.0}}
    run, ungated = (tc.run(uneven(training=each), on="sim") for each in (loose, {"validation": GATE["validation"]}))
    assert run.summary["rejected_models"] == 0
    assert run.models["model"].equals(ungated.models["model"])
    assert ungated.activations.is_empty()
    assert run.summary["accuracy"] == ungated.summary["accuracy"]


def test_where_scoring_fails_the_active_model_stays_and_the_first_one_comes_all_the_same():
    run = tc.run(uneven(faults={"evaluation": 1.0}), on="sim")
    assert run.outcome == "done"
    assert run.activations["activated_s"].is_not_null().to_list() == [True, *[False] * (run.models.height - 1)]
    assert run.activations["reason"].unique().sort().to_list() == ["the scoring failed", "there was no active model"]
    attempts = run.faults.filter(stage="SCORE_CANDIDATE")
    assert attempts.height == 2 * run.models.height  # evaluation.retry.attempts
    assert run.summary["lost_evaluations"] >= run.models.height


def test_scoring_that_takes_too_long_is_tried_again_and_then_given_up():
    slow = {"costs": {"evaluation": {"kind": "constant", "seconds": 9.0}}}
    evaluation = {"timeout": 3.0, "retry": {"attempts": 2, "backoff": 1.0}}
    run = tc.run(
        uneven(evaluation=evaluation, sim=slow, data={"kind": "uniform", "num_samples": 40, "every": 10.0}), on="sim"
    )
    told = run.faults.filter(stage="SCORE_CANDIDATE").group_by("outcome").len().rows()
    assert told == [("timeout", 2 * run.models.height)]
    assert run.activations["activated_s"].is_not_null().sum() == 1


def test_a_candidate_is_scored_at_the_price_of_an_evaluation_of_both():
    costs = {"evaluation": {"setup_s": 1.0, "samples_per_s": 10.0}, "noise_sigma": 0.0, "decide_s": 0.0}
    run = tc.run(uneven(sim={"costs": costs}), on="sim")
    scored = run.stage_runs.filter(stage="SCORE_CANDIDATE").join(
        run.activations, left_on="trigger", right_on="model", how="inner"
    )
    num_models = pl.when(pl.col("active").is_null()).then(1).otherwise(2)
    meant = scored.select(1.0 + num_models * (pl.col("stop") - pl.col("first")) / 10.0).to_series().to_list()
    took = (scored["ended_s"] - scored["started_s"]).to_list()
    assert took == pytest.approx(meant)
    assert scored["device"].is_not_null().all()


def test_beside_each_other_candidates_come_to_the_gate_one_by_one_and_an_older_one_stays_out():
    config = uneven(
        variant="overlapped",
        trigger={"kind": "amount", "n": 20},
        cluster={"devices": 4},
        overlap={"on_trigger": "queue", "trainings_at_once": 4},
        sim={"costs": {"noise_sigma": 1.5}},
        training={**GATE, "gate": {"metric": "accuracy", "max_worse": 1.0}},
    )
    run = tc.run(config, on="sim")
    gates = run.stage_runs.filter(pl.col("stage").is_in(["SCORE_CANDIDATE", "ACTIVATE_MODEL"])).sort(
        "started_s", "ended_s"
    )
    ended = gates["ended_s"].to_list()
    assert all(later >= earlier for earlier, later in zip(ended, gates["started_s"].to_list()[1:], strict=False))
    assert gates["stage"].to_list() == ["SCORE_CANDIDATE", "ACTIVATE_MODEL"] * run.models.height
    active = -1
    for row in run.activations.rows(named=True):
        assert (row["activated_s"] is not None) == (row["model"] > active)
        assert row["activated_s"] is not None or row["reason"] == f"model {active}, which is active, is newer"
        active = max(active, row["model"])
    assert run.summary["rejected_models"] > 0


def test_live_a_model_serves_from_its_activation_on():
    costs = {"evaluation": {"setup_s": 40.0, "samples_per_s": 1e9}, "noise_sigma": 0.0}
    plans = [{"kind": "slicing", "every": 500.0, "models": "served"}]
    config = uneven(mode="live", sim={"costs": costs}, evaluation={"plans": plans})
    run = tc.run(config, on="sim")
    passed = run.activations.filter(pl.col("activated_s").is_not_null())
    first_served = run.evaluations.group_by("model").agg(pl.col("start_ts").min())
    assert set(first_served["model"]) <= set(passed["model"])
    assert run.summary["served_accuracy"] is not None
    assert (
        passed["activated_s"] > run.models.filter(pl.col("model").is_in(passed["model"].implode()))["stored_s"]
    ).all()


def test_figures_of_freshness_count_from_the_activation():
    costs = {"evaluation": {"setup_s": 40.0, "samples_per_s": 1e9}, "noise_sigma": 0.0}
    gated, ungated = (tc.run(uneven(sim={"costs": costs}, training=each), on="sim") for each in (GATE, {}))
    assert gated.summary["incorporation_p50_s"] > ungated.summary["incorporation_p50_s"] + 30.0


def test_without_a_gate_all_models_count_as_activated():
    assert activated([{"trigger": 0}, {"trigger": 1, "is_activated": False}, {"trigger": 2, "is_activated": True}]) == [
        {"trigger": 0},
        {"trigger": 2, "is_activated": True},
    ]


@pytest.mark.parametrize(("variant", "timeout_s", "yields"), [*product(VARIANTS, (None, 5.0), (False, True))])
def test_the_graph_with_a_gate_is_sound(variant, timeout_s, yields):
    options = GraphOptions(
        variant=variant,
        gate=True,
        evaluation_timeout_s=timeout_s,
        evaluation_retry=Retry(max_attempts=3),
        training_retry=Retry(max_attempts=2),
        evaluations_yield=yields,
    )
    graph = build_graph(options)
    assert check(graph) == []
    writers = {
        node.operation for _, node in walk(graph) if isinstance(node, Stage) and "active_model" in node.writes_registers
    }
    assert writers == {"ACTIVATE_MODEL"}
    (scope,) = (node for _, node in walk(graph) if isinstance(node, Scope))
    assert scope.registers["active_model"].guard == "activation"


@pytest.mark.parametrize("variant", VARIANTS)
def test_the_graph_without_one_has_none_of_it(variant):
    graph = build_graph(GraphOptions(variant=variant))
    operations = {node.operation for _, node in walk(graph) if isinstance(node, Stage)}
    assert not operations & {"SCORE_CANDIDATE", "ACTIVATE_MODEL"}
    assert "activation" not in {name for _, node in walk(graph) for name in getattr(node, "needs", {})}


def test_a_metric_that_the_simulator_does_not_have_is_refused():
    gate = {"validation": {"share": 0.2}, "gate": {"metric": "log_loss", "max_worse": 0.0}}
    with pytest.raises(ConfigError, match=r"training.gate.metric: got log_loss"):
        tc.run(uneven(training=gate), on="sim")
