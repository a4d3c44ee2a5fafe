"""The deciding stages one by one: what a policy is told and in which order, and what each stage writes."""

from __future__ import annotations

import pytest

from twinclock.config import load_config
from twinclock.graph import stages
from twinclock.messages import Start
from twinclock.pipeline import VARIANTS, GraphOptions, build_graph
from twinclock.policies.triggers import Decision, Fire, Observe, Quiet
from twinclock.stages import DECISIONS, Context, decide
from twinclock.stream import UniformStream

NONE: dict = {"total": 0, "items": []}
BATCH = {"serial": 0, "first": 0, "stop": 10, "watermark": None}


class Spy:
    """A trigger policy that writes down what it is told, and answers as it was told beforehand."""

    depends_on = "data"

    def __init__(self, *answers):
        self.answers = list(answers)
        self.told = []

    def advance(self, samples, observation):
        self.told.append(("samples", samples.first, samples.stop, samples.watermark))
        if observation is not None:
            self.told.append(("observation", observation["values"]["accuracy"]))
        return self.answers.pop(0) if self.answers else Quiet()

    def on_fire(self, position):
        self.told.append(("fire", position))

    def on_training_cost(self, num_samples, seconds):
        self.told.append(("cost", num_samples, seconds))

    def on_new_model(self, model):
        self.told.append(("model", model["trigger"]))

    def next_deadline(self):
        return None

    def state_dict(self):
        return {"told": len(self.told)}

    def load_state_dict(self, state):
        """All is known already."""

    def news(self):
        told, self.told = self.told, []
        return told


def context(trigger=None, **config):
    config = {
        "trigger": {"kind": "amount", "n": 4},
        "data": {"kind": "uniform", "num_samples": 40, "every": 1},
        **config,
    }
    made = Context(load_config(config), UniformStream(40, 1.0))
    if trigger is not None:
        made.__dict__["trigger"] = trigger
    return made


class Batch:
    """HANDLE_TRIGGERS_WITHIN_BATCH, again and again, with the slots and registers that it writes."""

    def __init__(self, context):
        self.context = context
        self.inputs = {"chunk": BATCH, "batch": BATCH, "observation": None, "answers": 0}
        self.registers = {"active_model": None, "costs": NONE, "selector": None, "skipped": NONE, "policy": None}

    def ask(self):
        outcome, values = DECISIONS["HANDLE_TRIGGERS_WITHIN_BATCH"](self.context, self.inputs, self.registers)
        self.inputs["answers"] = values["answers"]
        self.registers["policy"] = values["policy"]
        return outcome, values

    def inform(self, position, skipped=NONE):
        registers = {"selector": self.registers["selector"], "skipped": skipped}
        outcome, values = DECISIONS["INFORM_SELECTOR_AND_TRIGGER"](
            self.context, {"chunk": BATCH, "fire": {"position": position}, "batch": BATCH}, registers
        )
        self.registers["selector"] = values["selector"]
        return outcome, values


# What the trigger policy is told


def test_a_fire_is_reported_once_it_became_a_trigger():
    spy = Spy(Fire(position=3, reason="full"), Fire(position=7, reason="full"))
    batch = Batch(context(spy))
    assert batch.ask()[0] == "fired"
    batch.inform(3)
    assert spy.news() == [("samples", 0, 10, None)]
    assert batch.ask()[1]["fire"] == {"position": 7, "reason": "full"}
    assert spy.news() == [("fire", 3), ("samples", 0, 10, None)]


def test_a_fire_without_samples_became_a_trigger_too():
    spy = Spy(Fire(position=-1, reason="over"))
    batch = Batch(context(spy))
    batch.ask()
    outcome, values = batch.inform(-1)
    assert (outcome, values["trigger"]["num_samples"]) == ("empty", 0)
    spy.news()
    batch.ask()
    assert spy.news()[0] == ("fire", -1)


def test_a_dropped_fire_is_not_reported():
    spy = Spy(Fire(position=3, reason="full"))
    made = context(spy, variant="overlapped", overlap={"on_trigger": "drop"})
    batch = Batch(made)
    batch.ask()
    _, values = batch.inform(3)
    running = {"trigger": {**values["trigger"], "serial": 99}, "training_set": None}
    registers = {
        "pending": {"waiting": [], "running": [running]},
        "selector": batch.registers["selector"],
        "models": NONE,
        "skipped": NONE,
    }
    outcome, values = DECISIONS["ADMIT_TRIGGER"](made, values, registers)
    assert outcome == "dropped"
    batch.registers["selector"] = values["selector"]
    spy.news()
    batch.ask()
    assert spy.news() == [("samples", 0, 10, None)]


def test_news_come_in_order_each_once():
    """Fires, then costs, then the model; and only after them is it shown samples again."""
    spy = Spy(Fire(position=3, reason="full"))
    batch = Batch(context(spy))
    batch.ask()
    batch.inform(3)
    spy.news()
    batch.registers["costs"] = {
        "total": 2,
        "items": [{"num_samples": 4, "seconds": 1.5}, {"num_samples": 8, "seconds": 2.5}],
    }
    batch.registers["active_model"] = {"trigger": 1}
    batch.ask()
    assert spy.news() == [("fire", 3), ("cost", 4, 1.5), ("cost", 8, 2.5), ("model", 1), ("samples", 0, 10, None)]
    batch.ask()
    assert spy.news() == [("samples", 0, 10, None)]
    batch.registers["costs"] = {
        "total": 3,
        "items": [*batch.registers["costs"]["items"], {"num_samples": 9, "seconds": 3.0}],
    }
    batch.ask()
    assert spy.news() == [("cost", 9, 3.0), ("samples", 0, 10, None)]


def test_of_costs_that_were_forgotten_only_the_rest_is_told():
    spy = Spy()
    batch = Batch(context(spy))
    batch.ask()
    spy.news()
    batch.registers["costs"] = {
        "total": 7,
        "items": [{"num_samples": 1, "seconds": 1.0}, {"num_samples": 2, "seconds": 2.0}],
    }
    batch.ask()
    assert spy.news()[:2] == [("cost", 1, 1.0), ("cost", 2, 2.0)]


def test_an_observation_is_told_to_the_request_that_asked_for_it_and_to_no_other():
    request = {"first": 0, "stop": 4, "metric": "accuracy"}
    spy = Spy(Observe(request=request, position=9), Quiet())
    batch = Batch(context(spy))
    outcome, values = batch.ask()
    assert (outcome, values["request"]) == ("observe", {**request, "serial": 1})
    batch.inputs["observation"] = {**values["request"], "values": {"accuracy": 0.75}}
    spy.news()
    batch.ask()
    assert spy.news() == [("samples", 0, 10, None), ("observation", 0.75)]
    batch.ask()
    assert spy.news() == [("samples", 0, 10, None)]


def test_an_observation_that_failed_is_no_observation():
    spy = Spy(Observe(request={}, position=4), Observe(request={}, position=9), Quiet())
    batch = Batch(context(spy))
    _, values = batch.ask()
    batch.inputs["observation"] = {**values["request"], "values": {"accuracy": 0.75}}
    _, values = batch.ask()
    assert values["request"]["serial"] == 2
    spy.news()
    batch.ask()  # OBSERVE failed: the slot still holds the one before
    assert spy.news() == [("samples", 0, 10, None)]


def test_a_policy_sees_how_far_time_has_come():
    spy = Spy()
    batch = Batch(context(spy))
    batch.inputs["batch"] = {**BATCH, "watermark": 12.5}
    batch.ask()
    assert spy.news() == [("samples", 0, 10, 12.5)]


def test_decisions_go_on_record_as_they_were_made():
    made = Decision(first=0, stop=4, verdict="suppressed", reason="cooldown", observation=0.5, threshold=0.7)
    outcome, values = Batch(context(Spy(Quiet(decisions=(made,))))).ask()
    assert outcome == "none"
    assert values["decisions"] == [
        {
            "first": 0,
            "stop": 4,
            "verdict": "suppressed",
            "reason": "cooldown",
            "observation": 0.5,
            "threshold": 0.7,
            "signal": None,
        }
    ]


def test_the_state_of_a_policy_is_in_its_register_alone():
    """Two runs that share the context, one after the other, step by step: neither sees the other."""
    shared = context()
    one, other = Batch(shared), Batch(shared)
    assert [one.ask()[1]["fire"]["position"], other.ask()[1]["fire"]["position"]] == [3, 3]
    assert [one.ask()[1]["fire"]["position"], other.ask()[1]["fire"]["position"]] == [7, 7]


# The others


def call(operation, inputs=None, registers=None, made=None):
    return DECISIONS[operation](made or context(), inputs or {}, registers or {})


@pytest.mark.parametrize("mode", ["replay", "live"])
def test_the_mode_is_an_outcome(mode):
    made = context(mode=mode, batching={"n": 7})
    assert call("GET_SELECTOR_BATCH_SIZE", made=made) == (mode, {"batch_size": 7})


def test_batches_are_numbered_through():
    inputs = {"chunk": {"first": 10, "stop": 25, "watermark": None}, "batch_size": 10, "next_batch": 4}
    outcome, values = call("HANDLE_NEW_DATA", inputs)
    assert outcome == "done"
    assert [(each["serial"], each["first"], each["stop"]) for each in values["batches"]] == [(4, 10, 20), (5, 20, 25)]
    assert values["next_batch"] == 6


def test_the_rest_of_a_batch_is_informed():
    _, values = call("INFORM_SELECTOR_REMAINING_DATA", {"batch": BATCH}, {"selector": None})
    assert values["selector"]["informed"] == 10
    _, values = call("INFORM_SELECTOR_REMAINING_DATA", {"batch": {**BATCH, "stop": 5}}, values)
    assert values["selector"]["informed"] == 10


def test_a_completed_training_becomes_a_candidate_and_a_cost():
    trigger = {"serial": 3, "first_ts": 1.0, "last_ts": 9.0, "stop": 40}
    inputs = {
        "trigger": trigger,
        "training_set": {
            "num_samples": 30,
            "ranges": [[0, 40]],
            "method": {"kind": "new_data", "keep": "last", "limit": 30},
        },
        "job": {"start_from": {"trigger": 2}},
        "fit": {"loss": 0.3, "path": "work/3", "held_s": 8.5},
    }
    outcome, values = call("TRAINING_COMPLETED", inputs)
    assert outcome == "done"
    assert values["candidate"] == {
        "trigger": 3,
        "parent": 2,
        "first_ts": 1.0,
        "last_ts": 9.0,
        "stop": 40,
        "ranges": [[10, 40]],
        "epochs": 5,
        "num_samples": 30,
        "loss": 0.3,
        "path": "work/3",
    }
    assert values["costs"] == [{"trigger": 3, "num_samples": 30, "seconds": 8.5}]


def test_a_skipped_training_gives_its_samples_back():
    trigger = {"serial": 3, "first": 30, "stop": 40, "returned": [[0, 10]]}
    assert call("TRAINING_SKIPPED", {"trigger": trigger, "error": None}) == (
        "done",
        {"skipped": [{"trigger": 3, "ranges": [[0, 10], [30, 40]]}]},
    )


def test_a_skipped_training_that_was_stopped_has_nothing_to_give_back():
    trigger = {"serial": 3, "first": 30, "stop": 40, "returned": [[0, 10]]}
    inputs = {"trigger": trigger, "error": None}
    assert call("TRAINING_SKIPPED", inputs, {"superseded": {"total": 1, "items": [3]}}) == ("done", {"skipped": []})
    assert call("TRAINING_SKIPPED", inputs, {"superseded": {"total": 1, "items": [2]}})[1]["skipped"]


def test_there_may_be_nothing_to_evaluate():
    trigger = {"serial": 0, "last_ts": 9.0, "reach": 10.0, "previous_reach": None, "first": 0, "stop": 10}
    assert call("EVALUATE", {"trigger": trigger, "model": {}}, {"models": NONE}) == ("nothing", {})
    assert call("POST_EVALUATION", {"models": NONE, "planned": NONE, "selector": None}) == ("nothing", {})


def test_what_was_evaluated_after_a_training_is_not_evaluated_again_after_the_pipeline():
    made = context(evaluation={"plans": [{"kind": "slicing", "every": 10, "models": "all"}]})
    model = {"trigger": 0, "first_ts": 0.0, "last_ts": 19.0}
    trigger = {"serial": 0, "last_ts": 19.0, "reach": 20.0, "previous_reach": None, "first": 0, "stop": 20}
    models = {"total": 1, "items": [model]}
    outcome, after = call("EVALUATE", {"trigger": trigger, "model": model}, {"models": models}, made)
    assert outcome == "jobs"
    assert [(each["start"], each["end"]) for each in after["jobs"][0]["intervals"]] == [(0.0, 10.0), (10.0, 20.0)]
    planned = {"total": 2, "items": after["planned"]}
    inputs = {"models": models, "planned": planned, "selector": {"informed": 40}}
    outcome, last = call("POST_EVALUATION", inputs, made=made)
    assert outcome == "jobs"
    assert [(each["start"], each["end"]) for each in last["jobs"][0]["intervals"]] == [(20.0, 30.0), (30.0, 40.0)]


def test_scores_say_which_plan_and_model_they_are_of():
    result = [{"start": 0.0, "end": 5.0, "metric": "accuracy", "value": 0.5, "num_samples": 5}]
    _, values = call("EVALUATION_COMPLETED", {"evaluation_job": {"plan": 1, "model": 3}, "result": result})
    assert values["scores"] == [{"plan": 1, "model": 3, **result[0]}]


def test_admission_needs_its_section():
    with pytest.raises(ValueError, match="overlapped"):
        call("ADMIT_TRIGGER", {}, {})


def test_every_deciding_stage_of_every_graph_has_its_decision_and_no_decision_is_idle():
    deciding = {
        stage.operation
        for variant in VARIANTS
        for _, stage in stages(build_graph(GraphOptions(variant=variant)))
        if stage.kind == "decide"
    }
    assert deciding == set(DECISIONS)


def test_a_stage_is_found_by_its_operation():
    stage = next(each for _, each in stages(build_graph()) if each.operation == "GET_SELECTOR_BATCH_SIZE")
    start = Start("main", 0, None, stage, {}, {}, {}, {}, {})
    assert decide(context(), start) == ("replay", {"batch_size": 500})
