"""What each stage comes to in a simulated run: exact seconds and values for round costs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import pytest

from sim.config import SimConfig
from sim.costs import noise
from sim.executor import SimExecutor
from sim.operations import bodies
from sim.plugin import notes
from twinclock.allocator import Allocator
from twinclock.config import load_config
from twinclock.graph import Stage, stages
from twinclock.messages import Arm, Start
from twinclock.pipeline import VARIANTS, GraphOptions, build_graph
from twinclock.policies.observations import score_request
from twinclock.seeds import Purpose
from twinclock.stages import Context
from twinclock.stream import UniformStream

COSTS = {
    "decide_s": 0.5,
    "connect_s": 2.0,
    "launch_s": 0.25,
    "results_s": 0.125,
    "read": {"setup_s": 1.0, "samples_per_s": 10.0},
    "training": {"setup_s": 3.0, "samples_per_s": 20.0},
    "evaluation": {"setup_s": 4.0, "samples_per_s": 50.0},
    "store": {"latency_s": 1.0, "bytes_per_s": 100.0, "model_bytes": 300},
    "noise_sigma": 0.0,
}
RECIPE = {"trigger": 3, "ranges": [[0, 80]], "num_samples": 80, "seed": 1}
TRIGGER = {"serial": 3, "first_ts": 0.0, "last_ts": 79.0}
MODEL = {"trigger": 2, "parent": None, "first_ts": 0.0, "last_ts": 49.0, "num_samples": 1000, "path": "models/00002"}
CANDIDATE = {**MODEL, "stop": 50, "loss": None, "path": "work"}
NONE: dict = {"total": 0, "items": []}
NEVER_TAKEN: dict = {"taken_s": None}
"""No chunk has been taken before."""


class World:
    """One pipeline's bodies, on an executor whose clock has come to `now`."""

    def __init__(self, costs=None, quality=None, **config):
        config = {
            "trigger": {"kind": "amount", "n": 10},
            "data": {"kind": "uniform", "num_samples": 100, "every": 1, "chunk": 20},
            "seed": 5,
            **config,
        }
        sim = SimConfig.model_validate({"costs": {**COSTS, **(costs or {})}, "quality": quality or {}})
        self.context = Context(load_config(config), UniformStream(100, 1.0))
        self.bodies = bodies(self.context, sim)
        self.executor = SimExecutor({"main": self.bodies}, Allocator({}))
        self.ids = 0

    def now(self, seconds):
        if seconds > self.executor.now():
            self.executor.perform(Arm("main", -1, "timeout", seconds - self.executor.now()))
            self.executor.next()
        return self

    def do(self, operation, inputs=None, registers=None, path=None, held=()):
        return Did(*self.bodies[operation](self.start(operation, inputs, registers, path, held), self.executor)[:3])

    def start(self, operation, inputs=None, registers=None, path=None, held=()):
        self.ids += 1
        stage = Stage(kind="work", operation=operation)
        return Start("main", self.ids, path, stage, inputs or {}, registers or {}, {}, {"device": held}, {})

    def begin(self, operation, inputs):
        """Do it as time goes by; its end is an event."""
        self.executor.perform(self.start(operation, inputs))


class Did(NamedTuple):
    seconds: float
    outcome: str
    values: Mapping[str, Any]


@pytest.fixture(autouse=True)
def _collecting_garbage():
    import gc

    yield
    gc.enable()


def test_every_stage_of_every_graph_can_be_simulated():
    operations = {s.operation for variant in VARIANTS for _, s in stages(build_graph(GraphOptions(variant=variant)))}
    assert operations <= set(World().bodies)


def test_a_decision_takes_the_seconds_of_a_decision():
    assert World().do("INIT") == (0.5, "done", {})


def test_the_cluster_is_there_after_its_latency():
    effect = World(cluster={"devices": 2}).do("INIT_CLUSTER_CONNECTION")
    assert effect == (2.0, "done", {"cluster": {"devices": ["sim:0", "sim:1"]}})


# Data


def test_reading_costs_by_the_sample():
    world = World()
    effect = world.do("REPLAY_DATA", {**NEVER_TAKEN, "batch_size": 10, "position": 60})
    chunk = {"first": 60, "stop": 80, "watermark": None}
    assert effect == (3.0, "chunk", {"chunk": chunk, "position": 80, "batch_size": 10, "taken_s": 0.0})
    assert world.do("REPLAY_DATA", {**NEVER_TAKEN, "batch_size": 10, "position": 100}) == (0.0, "end", {})


@pytest.mark.parametrize(("batch_size", "stop"), [(10, 20), (7, 14), (20, 20), (33, 33), (1000, 100)])
def test_a_chunk_is_whole_batches_and_at_least_one(batch_size, stop):
    effect = World().do("REPLAY_DATA", {**NEVER_TAKEN, "batch_size": batch_size, "position": 0})
    assert effect.values["position"] == stop


def test_live_only_what_has_arrived_is_taken():
    world = World(mode="live").now(12.0)
    effect = world.do("FETCH_NEW_DATA", {**NEVER_TAKEN, "batch_size": 5, "position": 0}, {"policy": None})
    assert (effect.seconds, effect.outcome) == (2.0, "chunk")
    assert (effect.values["chunk"]["first"], effect.values["chunk"]["stop"]) == (0, 10)
    effect = world.do("FETCH_NEW_DATA", {"batch_size": 5, "position": 10, "taken_s": 12.0}, {"policy": None})
    assert effect == (0.0, "nothing", {"batch_size": 5, "taken_s": None, "source": None})


def test_live_waiting_ends_when_the_batch_is_full():
    world = World(mode="live").now(12.0)
    assert world.do("WAIT_FOR_NEW_DATA", {"batch_size": 5, "position": 10}, {"policy": None}) == (2.0, "ready", {})


def test_once_asked_to_stop_no_source_takes_more():
    world = World(mode="live").now(12.0)
    world.executor.stop()
    inputs = {**NEVER_TAKEN, "batch_size": 5, "position": 0}
    nothing = (0.0, "nothing", {"batch_size": 5, "taken_s": None, "source": None})
    assert world.do("REPLAY_DATA", inputs) == (0.0, "stop", {})
    assert world.do("FETCH_NEW_DATA", inputs, {"policy": None}) == nothing
    assert world.do("WAIT_FOR_NEW_DATA", inputs, {"policy": None}) == (0.0, "stop", {})


# Trainings


def job(world, active=None, now=0.0):
    start = {"trigger": TRIGGER, "training_set": RECIPE, "checkpoint": None}
    effect = world.now(now).do(
        "RUN_TRAINING", start, {"active_model": active}, ((None, "on_device", 0, 2), "RUN", 0, 0)
    )
    assert (effect.seconds, effect.outcome) == (0.25, "started")
    return effect.values["job"]


def test_a_job_is_named_after_the_composite_that_holds_the_device():
    assert job(World(), now=7.0) == {
        "id": "/on_device#0@2",
        "trigger": 3,
        "training_set": RECIPE,
        "start_from": None,
        "started_s": 7.0,
    }


def test_a_warm_start_takes_the_active_model_if_there_is_one():
    warm = World(training={"start_from": "active"})
    assert job(warm)["start_from"] is None
    assert job(warm, MODEL)["start_from"] == {"trigger": 2, "path": "models/00002"}
    assert job(World(), MODEL)["start_from"] is None


def test_what_is_held_out_is_not_stepped_on_but_goes_forward_in_each_epoch():
    """60 of 80 samples train for 1/20 s each, 20 are scored for a third of that: 3 epochs of 60/20 + 20/60 s."""
    world = World(training={"epochs": 3, "validation": {"share": 0.25}, "early_stopping": {}})
    effect = world.do("WAIT_FOR_TRAINING_COMPLETION", {"job": job(world, now=10.0)})
    assert effect.seconds == pytest.approx(3.0 + 3 * (60 / 20 + 20 / 60))
    assert (effect.values["fit"]["num_samples"], effect.values["fit"]["num_kept"]) == (80, 60)


def test_the_header_says_that_early_stopping_is_not_modelled():
    config = {"trigger": {"kind": "amount", "n": 10}, "data": {"kind": "uniform", "num_samples": 10, "every": 1}}
    stopping = {"epochs": 7, "validation": {"share": 0.25}, "early_stopping": {}}
    assert notes(load_config(config))["cost_notes"] == []
    (line,) = notes(load_config({**config, "training": stopping}))["cost_notes"]
    assert line == "training.early_stopping is not modelled: each training is charged all its 7 epochs"


def test_a_training_costs_its_epochs_and_holds_its_device_since_it_was_launched():
    world = World(training={"epochs": 3})
    effect = world.do("WAIT_FOR_TRAINING_COMPLETION", {"job": job(world, now=10.0)})
    assert effect.seconds == 3.0 + 3 * 80 / 20.0
    fit = {
        "num_samples": 80,
        "num_kept": 80,
        "epochs": 3,
        "loss": None,
        "path": "/on_device#0@2",
        "seconds": 15.0,
        "wait_share": None,
        "held_s": 15.0,
    }
    assert (effect.outcome, effect.values) == ("trained", {"fit": fit, "trained": [3]})
    later = world.now(10.25).do("WAIT_FOR_TRAINING_COMPLETION", {"job": {**job(world, now=10.25), "started_s": 10.0}})
    assert later.values["fit"]["held_s"] == 15.25


def test_several_devices_train_faster_but_not_as_many_times():
    world = World({"scaling_efficiency": 0.5}, training={"devices": 3, "epochs": 1}, cluster={"devices": 3})
    effect = world.do("WAIT_FOR_TRAINING_COMPLETION", {"job": job(world)}, held=("sim:0", "sim:1", "sim:2"))
    assert effect.seconds == 3.0 + 80 / (20.0 * 2.0)


def test_a_training_costs_its_gradient_steps():
    training = {"setup_s": 3.0, "samples_per_s": 20.0, "step_s": 0.5}
    world = World({"training": training}, training={"epochs": 2, "batch_size": 32})
    assert world.do("WAIT_FOR_TRAINING_COMPLETION", {"job": job(world)}).seconds == 3.0 + 2 * (80 / 20.0 + 3 * 0.5)


@pytest.mark.parametrize(
    ("downsample", "kept", "scored"),
    [
        ({"kind": "rs2", "ratio": 0.25}, 20, 0),
        ({"kind": "loss", "ratio": 0.25, "period": 2}, 20, 2 * 80),
        ({"kind": "margin", "ratio": 0.25, "mode": "batch_then_sample"}, 2 * 8 + 4, 3 * 80),
    ],
)
def test_downsampling_is_charged_for_what_is_scored_and_what_is_stepped_on(downsample, kept, scored):
    training = {"epochs": 3, "batch_size": 32, "downsample": downsample}
    world = World({"forward_share": 0.5, "scaling_efficiency": 1.0}, training=training)
    effect = world.do("WAIT_FOR_TRAINING_COMPLETION", {"job": job(world)})
    assert effect.seconds == 3.0 + (3 * kept + 0.5 * scored) / 20.0
    fit = effect.values["fit"]
    assert (fit["num_samples"], fit["num_kept"]) == (80, kept)
    faster = World(
        {"forward_share": 0.5, "scaling_efficiency": 1.0}, training={**training, "devices": 2}, cluster={"devices": 2}
    )
    half = faster.do("WAIT_FOR_TRAINING_COMPLETION", {"job": job(faster)}, held=("sim:0", "sim:1"))
    assert half.seconds == 3.0 + (effect.seconds - 3.0) / 2


def test_noise_is_keyed_by_the_trigger():
    world = World({"noise_sigma": 0.3}, training={"epochs": 1})
    luck = noise(0.3, 5, Purpose.TRAINING_NOISE, 3)
    waiting = world.do("WAIT_FOR_TRAINING_COMPLETION", {"job": job(world)})
    assert waiting.seconds == 7.0 * luck
    assert waiting.values["fit"]["held_s"] == 7.0 * luck
    other = world.do("WAIT_FOR_TRAINING_COMPLETION", {"job": {**job(world), "trigger": 4}})
    assert other.seconds != waiting.seconds


def test_a_model_is_stored_at_the_bandwidth_and_becomes_active():
    effect = World().do("STORE_TRAINED_MODEL", {"candidate": CANDIDATE})
    model = {**CANDIDATE, "path": "models/00002", "size_bytes": 300, "served_from": 50}
    assert effect == (4.0, "done", {"model": model, "active_model": model, "models": [model]})


@pytest.mark.parametrize(
    ("config", "now", "served_from"),
    [
        ({"mode": "replay"}, 80.0, 50),
        ({"mode": "replay", "variant": "overlapped"}, 80.0, None),
        ({"mode": "live"}, 60.0, 65),  # stored at 64 s, when the sample of that second has arrived
        ({"mode": "live"}, 60.5, 65),
        ({"mode": "live"}, 10.0, 50),
        ({"mode": "live", "live": {"speed_up": 2.0}}, 40.0, 89),
        ({"mode": "live", "live": {"speed_up": 50.0}}, 40.0, 100),
        ({"mode": "live", "variant": "overlapped"}, 60.0, 65),
    ],
)
def test_a_model_serves_what_comes_after_it_is_stored(config, now, served_from):
    effect = World(**config).now(now).do("STORE_TRAINED_MODEL", {"candidate": CANDIDATE})
    assert effect.values["model"]["served_from"] == served_from


# Preemption

UNDER_WAY: dict = {"trained": NONE, "skipped": NONE}
STOPPED = (0.25, "stopped", {"superseded": [3]})
TOO_LATE = (0.25, "too_late", {})


def test_preempting_ends_the_training_that_waits():
    world = World(training={"epochs": 1})
    waiting = world.ids + 2
    world.begin("WAIT_FOR_TRAINING_COMPLETION", {"job": job(world)})
    assert world.now(1.0).do("PREEMPT", {"victim": 3}, UNDER_WAY) == STOPPED
    assert world.executor.next() == ("main", (waiting, "superseded", {}))


def test_preempting_a_training_that_is_elsewhere_ends_it_when_it_gets_to_wait():
    world = World()
    assert world.do("PREEMPT", {"victim": 3}, UNDER_WAY) == STOPPED
    assert world.executor.next() is None
    assert world.do("WAIT_FOR_TRAINING_COMPLETION", {"job": job(world)}) == (0.0, "superseded", {})
    assert world.do("WAIT_FOR_TRAINING_COMPLETION", {"job": {**job(world), "trigger": 4}}).outcome == "trained"


def test_preempting_a_training_that_has_ended_does_nothing():
    world = World(training={"epochs": 1})
    world.executor.perform(Arm("main", -1, "timeout", 7.0))
    world.begin("WAIT_FOR_TRAINING_COMPLETION", {"job": job(world)})
    world.executor.next()
    assert world.executor.now() == 7.0
    assert world.do("PREEMPT", {"victim": 3}, UNDER_WAY) == TOO_LATE  # it ends at this very moment
    assert world.executor.next()[1].outcome == "trained"
    trained = {"trained": {"total": 1, "items": [3]}, "skipped": NONE}
    assert world.now(8.0).do("PREEMPT", {"victim": 3}, trained) == TOO_LATE
    skipped = {"trained": NONE, "skipped": {"total": 1, "items": [{"trigger": 3, "ranges": [[0, 80]]}]}}
    assert world.do("PREEMPT", {"victim": 3}, skipped) == TOO_LATE
    assert world.executor.next() is None
    assert world.do("WAIT_FOR_TRAINING_COMPLETION", {"job": job(world, now=8.0)}).outcome == "trained"


def test_preempting_a_training_whose_attempt_was_cut_off_stops_the_next_one():
    world = World(training={"epochs": 1})
    world.do("WAIT_FOR_TRAINING_COMPLETION", {"job": job(world)})  # to end at 7.0, but its time ran out before
    assert world.now(8.0).do("PREEMPT", {"victim": 3}, UNDER_WAY) == STOPPED
    assert world.do("WAIT_FOR_TRAINING_COMPLETION", {"job": job(world, now=8.0)}) == (0.0, "superseded", {})


# Evaluations


def evaluation(*intervals, model=MODEL, metrics=("accuracy",), plan=0):
    keys = ("start", "end", "first", "stop")
    return {
        "evaluation_job": {
            "trigger": None,
            "model": model["trigger"],
            "lineage": model,
            "plan": plan,
            "intervals": [dict(zip(keys, each, strict=True)) for each in intervals],
            "metrics": list(metrics),
        }
    }


def test_an_evaluation_costs_all_its_samples_and_its_setup_once():
    effect = World().do("WAIT_FOR_EVALUATION_COMPLETION", evaluation((0.0, 50.0, 0, 50), (50.0, 100.0, 50, 100)))
    assert effect.seconds == 4.0 + 100 / 50.0
    assert [(row["start"], row["end"], row["num_samples"]) for row in effect.values["result"]] == [
        (0.0, 50.0, 50),
        (50.0, 100.0, 50),
    ]


def test_the_value_is_that_of_the_quality_model():
    world = World(quality={"peak": 0.9, "floor": 0.1, "half_samples": 1000.0, "half_life_s": 25.0})
    effect = world.do("WAIT_FOR_EVALUATION_COMPLETION", evaluation((49.0, 99.0, 49, 99)))
    assert effect.values["result"][0]["value"] == pytest.approx(0.1 + 0.8 * 0.5 * 0.5)


def test_a_part_of_an_interval_that_is_scored_is_as_old_as_it_is():
    world = World(quality={"peak": 0.9, "floor": 0.1, "half_samples": 1000.0, "half_life_s": 10.0})
    effect = world.do("WAIT_FOR_EVALUATION_COMPLETION", evaluation((40.0, 99.0, 64, 74), (40.0, 99.0, 40, 74)))
    # in the middle of [64, 74) the model is 20 s old, in that of [40, 74) 8 s
    assert [row["value"] for row in effect.values["result"]] == [
        pytest.approx(0.1 + 0.8 * 0.5 / 4),
        pytest.approx(0.1 + 0.8 * 0.5 * 2**-0.8),
    ]
    assert [(row["start"], row["end"], row["num_samples"]) for row in effect.values["result"]] == [
        (40.0, 99.0, 10),
        (40.0, 99.0, 34),
    ]


def test_where_there_is_nothing_to_score_there_is_no_value():
    effect = World().do("WAIT_FOR_EVALUATION_COMPLETION", evaluation((200.0, 210.0, 100, 100)))
    assert effect.values["result"][0]["value"] is None
    assert effect.values["result"][0]["num_samples"] == 0


def test_luck_of_evaluations_is_their_own():
    world = World({"noise_sigma": 0.3})

    def seconds(start, **more):
        return world.do("WAIT_FOR_EVALUATION_COMPLETION", evaluation((start, start + 50.0, 0, 50), **more)).seconds

    different = {
        seconds(0.0),
        seconds(1.0),
        seconds(-1.0),
        seconds(0.0, plan=1),
        seconds(0.0, model={**MODEL, "trigger": 3}),
    }
    assert len(different) == 5
    assert seconds(0.0) in different


def test_results_are_stored_in_their_time():
    assert World().do("STORE_EVALUATION_RESULTS", {"evaluation_job": {}, "scores": []}) == (0.125, "done", {})


def test_an_observation_is_paid_for_like_an_evaluation():
    request = {**score_request(decision=1, first=50, stop=100, metrics=["accuracy"]), "serial": 4}
    effect = World().do("OBSERVE", {"request": request}, {"active_model": MODEL})
    assert (effect.seconds, effect.outcome) == (5.0, "done")
    assert effect.values["observation"] == {
        **request,
        "values": {"accuracy": pytest.approx(0.1 + 0.8 * 0.5, abs=1e-4)},
    }


def test_without_a_model_there_is_nothing_to_observe():
    request = score_request(decision=0, first=0, stop=10, metrics=["accuracy"])
    effect = World().do("OBSERVE", {"request": request}, {"active_model": None})
    assert effect.values["observation"]["values"] == {"accuracy": None}


def test_leaving_takes_no_time():
    assert World().do("EXIT") == (0.0, "done", {})
