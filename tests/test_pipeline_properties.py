"""What holds between runs, and what a policy gets to see; what holds in every run is in `dst/invariants`."""

from __future__ import annotations

from unittest.mock import patch

import polars as pl
import pytest
from simulated import simulate

from sim.config import DecayQuality
from sim.quality import accuracy
from twinclock import stages
from twinclock.pipeline import VARIANTS
from twinclock.policies.observations import score_request
from twinclock.policies.triggers import Decision, Fire, Observe, Quiet


@pytest.mark.parametrize("trigger", [{"kind": "amount", "n": 7}, {"kind": "time", "every": 9.0}])
def test_triggers_do_not_depend_on_batches_chunks_or_the_variant(trigger):
    """As tables, but for the clock; a chunk is a whole number of batches."""
    found = []
    for variant in VARIANTS:
        for batch_size, chunk in [(1, 1), (3, 10), (7, 7), (7, 1000), (50, 50), (1000, 3)]:
            config = {
                "variant": variant,
                "data": {"kind": "poisson", "num_samples": 50, "every": 2.0, "chunk": chunk},
                "batching": {"n": batch_size},
                "selection": {"tail": 2, "limit": 20, "keep": "uniform"},
                "trigger": trigger,
            }
            found.append(simulate(config).run.triggers.drop("fired_s"))
    assert found[0].height >= 7
    assert all(each.equals(found[0]) for each in found)


def test_an_evaluation_that_fails_for_good_stops_nothing():
    def wrap(bodies):
        def evaluate(start, executor):
            if start.inputs["evaluation_job"]["model"] == 1:
                raise RuntimeError("device lost")
            return bodies["WAIT_FOR_EVALUATION_COMPLETION"](start, executor)

        return {**bodies, "WAIT_FOR_EVALUATION_COMPLETION": evaluate}

    for variant in VARIANTS:
        run, trace, _ = simulate(
            {
                "variant": variant,
                "data": {"kind": "uniform", "num_samples": 40, "every": 1.0},
                "evaluation": {"plans": [{"kind": "slicing", "every": 10.0, "models": "all"}]},
            },
            wrap=wrap,
        )
        assert run.outcome == "done"
        assert run.models["model"].sort().to_list() == [0, 1, 2, 3]
        assert run.evaluations["model"].value_counts().sort("model").rows() == [(0, 4), (2, 4), (3, 4)]
        jobs = [each for each in trace.of("WAIT_FOR_EVALUATION_COMPLETION") if each.outcome == "failed"]
        assert run.faults["id"].to_list() == [each.path for each in jobs]
        assert len(jobs) == 2 * len({each.path.rsplit("@")[0] for each in jobs}), "each job is tried twice"


class Watchful:
    """Scores the active model on every ten samples, and fires if it is not good enough, or could not be scored."""

    depends_on = "scores"

    def __init__(self, config):
        self.state = {"reached": 0, "judged": 0}

    def advance(self, samples, observation):
        reached, judged = self.state["reached"], self.state["judged"]
        if observation is not None or judged < reached:
            value = observation and observation["values"]["accuracy"]
            self.state["judged"] = reached
            verdict = "none" if value is not None and value >= 0.5 else "fired"
            decision = Decision(first=judged, stop=reached, verdict=verdict, reason="score", observation=value)
            if verdict == "fired":
                return Fire(position=reached - 1, reason="score", decisions=(decision,))
        if reached + 10 > samples.stop:
            return Quiet()
        self.state["reached"] = reached + 10
        request = score_request(decision=reached // 10, first=reached, stop=reached + 10, metrics=["accuracy"])
        return Observe(request=request, position=reached + 9)

    def on_fire(self, position):
        pass

    def on_training_cost(self, num_samples, seconds):
        pass

    def on_new_model(self, model):
        pass

    def next_deadline(self):
        return None

    def state_dict(self):
        return dict(self.state)

    def load_state_dict(self, state):
        self.state = dict(state)


@pytest.mark.parametrize("variant", VARIANTS)
def test_a_policy_that_asks_for_scores_gets_those_of_the_active_model(variant):
    config = {
        "variant": variant,
        "data": {"kind": "uniform", "num_samples": 60, "every": 1.0},
        "batching": {"n": 15},
        "observation": {"retry": {"attempts": 1}},
        "sim": {"quality": {"peak": 0.9, "floor": 0.1, "half_samples": 1.0, "half_life_s": 10.0}},
    }

    def wrap(bodies):
        def observe(start, executor):
            if start.inputs["request"]["first"] == 30:
                raise RuntimeError("device lost")
            return bodies["OBSERVE"](start, executor)

        return {**bodies, "OBSERVE": observe}

    with patch.object(stages, "build_trigger", lambda config, **_: Watchful(config)):
        simulated = simulate(config, wrap=wrap)
    assert [each.start.inputs["request"]["first"] for each in simulated.trace.of("OBSERVE")] == [0, 10, 20, 30, 40, 50]
    for each in simulated.trace.of("OBSERVE"):
        model, request = each.start.registers["active_model"], each.start.inputs["request"]
        if each.outcome == "done" and model is not None:
            quality = DecayQuality(**config["sim"]["quality"])
            scored = accuracy(quality, model, request["first"], request["stop"] - 1)
            assert each.values["observation"]["values"]["accuracy"] == scored
    decisions = simulated.run.decisions.filter(pl.col("first") == 30)
    assert decisions.select("stop", "observation", "verdict").rows() == [(40, None, "fired")]
    fired = simulated.run.decisions.filter(verdict="fired")
    assert simulated.run.triggers["stop"].to_list() == fired["stop"].to_list()
    if variant != "overlapped":
        # half of what a model knows is lost after 10 s: it is good enough for one interval, not for two
        assert simulated.run.triggers["position"].to_list() == [9, 29, 39, 59]
