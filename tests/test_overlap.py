"""Triggers that fire while trainings run: what each policy makes of them, on a clock that can be read off.

Forty samples, one a second, and a trigger every ten: they fire at 9, 19, 29 and 39 s. A training takes 21 s.
"""

from __future__ import annotations

from unittest.mock import patch

import pytest
from simulated import breaking, costs, seconds, simulate

from twinclock import stages
from twinclock.policies.overlap import OverlapConfig, admit, claim, training_under_way
from twinclock.policies.selection import NewDataConfig, initial_state, on_trigger
from twinclock.policies.triggers import Decision, Fire, Quiet
from twinclock.stream import UniformStream

TIMES = [float(second) for second in range(40)]
POLICIES = ("queue", "coalesce", "drop", "preempt")
STREAM = UniformStream(100, 1.0)


def overlapped(on_trigger, *, at_once=1, faults=None, sim=None, training=None, times=TIMES, **more):
    config = {
        "variant": "overlapped",
        "mode": "live",
        "batching": {"n": 1},
        "trigger": {"kind": "amount", "n": 10},
        "selection": {"tail": 0},
        "training": {"start_from": "active", "retry": {"attempts": 1}, **(training or {})},
        "overlap": {"on_trigger": on_trigger, "trainings_at_once": at_once},
        "cluster": {"devices": at_once},
        "sim": sim or costs(training=seconds(21.0)),
        **more,
    }
    return simulate(config, times, breaking(faults or {}))


def trainings(simulated):
    """(trigger, samples, the model it started from, begin, end, outcome) of each."""
    found = []
    for wait in simulated.trace.of("WAIT_FOR_TRAINING_COMPLETION"):
        job = wait.start.inputs["job"]
        parent = job["start_from"] and job["start_from"]["trigger"]
        times = (round(wait.started_s, 6), round(wait.ended_s, 6))
        found.append((job["trigger"], job["training_set"]["ranges"], parent, *times, wait.outcome))
    return found


def positions(simulated):
    return simulated.run.triggers["position"].to_list()


# One training at a time


def test_queue_trains_each_trigger_on_its_own_samples_from_the_model_before_it():
    simulated = overlapped("queue")
    assert positions(simulated) == [9, 19, 29, 39]
    assert trainings(simulated) == [
        (0, [[0, 10]], None, 9.0, 30.0, "trained"),
        (1, [[10, 20]], 0, 30.0, 51.0, "trained"),
        (2, [[20, 30]], 1, 51.0, 72.0, "trained"),
        (3, [[30, 40]], 2, 72.0, 93.0, "trained"),
    ]


def test_coalesce_makes_one_trigger_of_those_that_wait_at_the_newest_position():
    simulated = overlapped("coalesce")
    assert trainings(simulated) == [
        (0, [[0, 10]], None, 9.0, 30.0, "trained"),
        (2, [[10, 30]], 0, 30.0, 51.0, "trained"),
        (3, [[30, 40]], 2, 51.0, 72.0, "trained"),
    ]
    assert simulated.run.models.select("model", "first_ts", "last_ts", "num_samples").rows() == [
        (0, 0.0, 9.0, 10),
        (2, 10.0, 29.0, 20),
        (3, 30.0, 39.0, 10),
    ]


def test_coalesced_triggers_are_one_in_the_tables_and_the_other_fire_is_a_decision():
    """Trigger 1 waits since 19 s; trigger 2 takes it in at 29 s, and keeps its own number and its own time."""
    run = overlapped("coalesce").run
    assert run.triggers.rows() == [
        (0, 9, 0, 10, 10, 0.0, 9.0, 10, 9.0),
        (2, 29, 10, 30, 20, 10.0, 29.0, 20, 29.0),
        (3, 39, 30, 40, 10, 30.0, 39.0, 10, 39.0),
    ]
    assert run.decisions.filter(verdict="coalesced").rows() == [
        (29, 10, 20, None, None, "coalesced", "joined trigger 2", 29.0)
    ]
    assert run.decisions.filter(verdict="fired")["stop"].to_list() == [10, 20, 30, 40]
    assert run.summary["triggers"] == 3


def test_one_trigger_may_take_in_one_after_another():
    simulated = overlapped("coalesce", sim=costs(training=seconds(50.0)))
    assert simulated.run.triggers.select("trigger", "first", "stop", "training_samples").rows() == [
        (0, 0, 10, 10),
        (3, 10, 40, 30),
    ]
    coalesced = simulated.run.decisions.filter(verdict="coalesced")
    assert coalesced.select("first", "stop", "reason", "decided_s").rows() == [
        (10, 20, "joined trigger 2", 29.0),
        (10, 30, "joined trigger 3", 39.0),
    ]
    assert trainings(simulated)[-1] == (3, [[10, 40]], 0, 59.0, 109.0, "trained")


def test_the_training_set_of_coalesced_triggers_is_recorded_as_it_was_limited():
    simulated = overlapped("coalesce", selection={"tail": 0, "limit": 12})
    assert simulated.run.triggers["training_samples"].to_list() == [10, 12, 10]
    assert simulated.run.trainings["num_samples"].to_list() == [10, 12, 10]


def test_drop_leaves_the_samples_to_the_next_trigger():
    simulated = overlapped("drop")
    assert positions(simulated) == [9, 39]
    assert trainings(simulated) == [
        (0, [[0, 10]], None, 9.0, 30.0, "trained"),
        (1, [[10, 40]], 0, 39.0, 60.0, "trained"),
    ]
    dropped = simulated.run.decisions.filter(verdict="dropped")
    assert dropped.select("first", "stop", "decided_s").rows() == [(10, 20, 19.0), (10, 30, 29.0)]


class AfterTheLast:
    """Fires when there have been n samples since its last fire that became a trigger, at every sample if none does."""

    depends_on = "data"

    def __init__(self, config):
        self.n = config.n
        self.state = {"reached": 0, "last": 0, "told": [], "costs": []}

    def advance(self, samples, observation):
        while self.state["reached"] < samples.stop:
            self.state["reached"] += 1
            position = self.state["reached"] - 1
            if self.state["reached"] - self.state["last"] >= self.n:
                decision = Decision(first=self.state["last"], stop=position + 1, verdict="fired", reason="n samples")
                return Fire(position=position, reason="n samples", decisions=(decision,))
        return Quiet()

    def on_fire(self, position):
        self.state["last"] = position + 1
        self.state["told"] = [*self.state["told"], position]

    def on_training_cost(self, num_samples, seconds):
        self.state["costs"] = [*self.state["costs"], [num_samples, round(seconds, 6)]]

    def on_new_model(self, model):
        pass

    def next_deadline(self):
        return None

    def state_dict(self):
        return dict(self.state)

    def load_state_dict(self, state):
        self.state = dict(state)


def told(simulated):
    """What the policy `AfterTheLast` remembers in the end."""
    return simulated.trace.ended("HANDLE_TRIGGERS_WITHIN_BATCH")[-1].values["policy"]["trigger"]


def test_a_policy_is_not_told_of_a_fire_that_is_dropped():
    """It goes on counting from its last trigger, at 9, so it fires again at every sample until one is admitted."""
    with patch.object(stages, "build_trigger", lambda config, **_: AfterTheLast(config)):
        simulated = overlapped("drop")
    assert positions(simulated) == [9, 30]  # the first training ends at 30 s, before the sample of that second
    assert simulated.run.triggers["trigger"].to_list() == [0, 1]
    assert simulated.run.triggers["num_samples"].to_list() == [10, 21]
    dropped = simulated.run.decisions.filter(verdict="dropped")
    assert dropped["stop"].to_list() == list(range(20, 31))
    assert dropped["first"].unique().to_list() == [10]
    assert told(simulated)["told"] == [9, 30]


@pytest.mark.parametrize("batch_size", [1, 3, 7, 40])
def test_what_a_policy_is_told_of_drops_does_not_depend_on_the_batches(batch_size):
    """In a replay in which nothing but trainings takes time every fire but the first meets a training."""
    with patch.object(stages, "build_trigger", lambda config, **_: AfterTheLast(config)):
        simulated = overlapped("drop", mode="replay", batching={"n": batch_size})
    assert positions(simulated) == [9]
    assert simulated.run.decisions.filter(verdict="dropped")["stop"].to_list() == list(range(20, 41))
    assert told(simulated)["told"] == [9]


@pytest.mark.parametrize("on_trigger", ["queue", "coalesce", "preempt"])
def test_under_any_other_policy_every_fire_becomes_a_trigger(on_trigger):
    with patch.object(stages, "build_trigger", lambda config, **_: AfterTheLast(config)):
        simulated = overlapped(on_trigger)
    assert told(simulated)["told"] == [9, 19, 29, 39]


def test_a_policy_is_not_told_of_the_seconds_of_a_preempted_training():
    """Triggers 0, 1 and 2 are stopped, 10 s each; 3 trains for 21 s, and the sample at 69 s finds its cost."""
    with patch.object(stages, "build_trigger", lambda config, **_: AfterTheLast(config)):
        simulated = overlapped("preempt", times=[*TIMES, 69.0])
    assert told(simulated)["costs"] == [[40, 21.0]]
    assert simulated.run.summary["device_s"] == pytest.approx(10 + 10 + 10 + 21)
    assert simulated.run.summary["stopped_trainings"] == 3


def test_preempt_stops_the_running_training_and_takes_its_samples():
    simulated = overlapped("preempt")
    assert positions(simulated) == [9, 19, 29, 39]
    assert trainings(simulated) == [
        (0, [[0, 10]], None, 9.0, 19.0, "superseded"),
        (1, [[0, 20]], None, 19.0, 29.0, "superseded"),
        (2, [[0, 30]], None, 29.0, 39.0, "superseded"),
        (3, [[0, 40]], None, 39.0, 60.0, "trained"),
    ]
    assert simulated.run.models["model"].to_list() == [3]
    assert preempted(simulated) == [(0, "stopped"), (1, "stopped"), (2, "stopped")]


def preempted(simulated):
    return [(each.start.inputs["victim"], each.outcome) for each in simulated.trace.of("PREEMPT")]


def test_a_stopped_trigger_keeps_its_row_and_the_one_that_stopped_it_has_its_samples_too():
    run = overlapped("preempt").run
    assert run.triggers.select("trigger", "first", "stop", "num_samples", "training_samples").rows() == [
        (0, 0, 10, 10, 10),
        (1, 0, 20, 20, 20),
        (2, 0, 30, 30, 30),
        (3, 0, 40, 40, 40),
    ]
    superseded = run.trainings.filter(outcome="superseded")["trigger"].to_list()
    assert superseded == [0, 1, 2]
    assert run.decisions.filter(verdict="coalesced").is_empty()


def test_the_seconds_of_a_preempted_training_are_charged_and_not_reported():
    simulated = overlapped("preempt")
    assert simulated.run.summary["device_s"] == pytest.approx(10 + 10 + 10 + 21)
    assert [run.values["costs"] for run in simulated.trace.of("TRAINING_COMPLETED")] == [
        [{"trigger": 3, "num_samples": 40, "seconds": pytest.approx(21.0)}]
    ]


def test_all_data_so_far_are_all_data_so_far_under_any_policy():
    for policy in POLICIES:
        simulated = overlapped(policy, selection={"tail": None})
        for trigger, ranges, *_ in trainings(simulated):
            position = simulated.run.triggers.filter(trigger=trigger)["position"].item()
            assert ranges == [[0, position + 1]]


def test_ingestion_goes_on_while_a_training_runs():
    assert overlapped("queue").run.batches["cut_s"].to_list() == pytest.approx(TIMES)


def test_trainings_that_end_before_the_next_trigger_are_the_same_under_any_policy():
    quick = costs(training=seconds(5.0))
    expected = [
        (k, [[10 * k, 10 * k + 10]], k - 1 if k else None, 10 * k + 9.0, 10 * k + 14.0, "trained") for k in range(4)
    ]
    for policy in POLICIES:
        assert trainings(overlapped(policy, sim=quick)) == expected


# Several at once


def test_two_trainings_at_once():
    assert trainings(overlapped("queue", at_once=2)) == [
        (0, [[0, 10]], None, 9.0, 30.0, "trained"),
        (1, [[10, 20]], None, 19.0, 40.0, "trained"),
        (2, [[20, 30]], 0, 30.0, 51.0, "trained"),
        (3, [[30, 40]], 1, 40.0, 61.0, "trained"),
    ]


def test_what_starts_beside_a_running_training_starts_from_the_newest_model_that_is_stored():
    """Trigger 3 starts at 40 s, when 0 and 1 are stored; 2 still trains, so its model is not waited for."""
    training = [row for row in trainings(overlapped("queue", at_once=2)) if row[0] == 3]
    assert training == [(3, [[30, 40]], 1, 40.0, 61.0, "trained")]


def test_two_trainings_at_once_share_one_device_in_the_order_of_asking():
    simulated = overlapped("queue", at_once=2, cluster={"devices": 1})
    assert [row[3:5] for row in trainings(simulated)] == [(9.0, 30.0), (30.0, 51.0), (51.0, 72.0), (72.0, 93.0)]


def test_drop_counts_all_trainings_that_may_run():
    simulated = overlapped("drop", at_once=2)
    assert [row[:2] for row in trainings(simulated)] == [(0, [[0, 10]]), (1, [[10, 20]]), (2, [[20, 40]])]
    assert positions(simulated) == [9, 19, 39]


def test_preempt_stops_the_training_that_has_run_longest():
    assert trainings(overlapped("preempt", at_once=2)) == [
        (0, [[0, 10]], None, 9.0, 29.0, "superseded"),
        (1, [[10, 20]], None, 19.0, 39.0, "superseded"),
        (2, [[0, 10], [20, 30]], None, 29.0, 50.0, "trained"),
        (3, [[10, 20], [30, 40]], None, 39.0, 60.0, "trained"),
    ]


# Trainings that fail, or stand elsewhere than in their middle


def test_the_samples_of_a_failed_training_go_to_the_next_trigger_that_fires():
    """Trigger 0 fails as it begins, at 9 s; trigger 1 fires at 19 s and takes its samples."""
    assert trainings(overlapped("queue", faults={0: "always"})) == [
        (0, [[0, 10]], None, 9.0, 9.0, "failed"),
        (1, [[0, 20]], None, 19.0, 40.0, "trained"),
        (2, [[20, 30]], 1, 40.0, 61.0, "trained"),
        (3, [[30, 40]], 2, 61.0, 82.0, "trained"),
    ]


def test_a_failed_training_frees_its_place():
    simulated = overlapped("drop", faults={0: "always"})
    assert positions(simulated) == [9, 19]  # at 29 and 39 s the second runs
    assert trainings(simulated)[1] == (1, [[0, 20]], None, 19.0, 40.0, "trained")


def test_coalesced_samples_that_failed_come_back_whole():
    simulated = overlapped("coalesce", faults={2: "always"})  # 1 and 2 wait for 0, and are one when it ends at 30 s
    assert trainings(simulated) == [
        (0, [[0, 10]], None, 9.0, 30.0, "trained"),
        (2, [[10, 30]], 0, 30.0, 30.0, "failed"),
        (3, [[10, 40]], 0, 39.0, 60.0, "trained"),
    ]


def test_a_training_is_preempted_while_it_rests_before_its_next_attempt():
    simulated = overlapped(
        "preempt", faults={0: "once"}, training={"retry": {"attempts": 3, "backoff": 12.0}}, times=TIMES[:25]
    )
    assert trainings(simulated) == [
        (0, [[0, 10]], None, 9.0, 9.0, "failed"),
        (0, [[0, 10]], None, 21.0, 21.0, "superseded"),
        (1, [[0, 20]], None, 21.0, 42.0, "trained"),
    ]


def test_a_training_is_preempted_while_it_waits_for_a_device():
    """An evaluation holds the only device from 14 to 44 s; trigger 1 claims its slot at 19 s, 2 fires at 29 s."""
    sim = costs(training=seconds(5.0), evaluation=seconds(30.0))
    plan = {"kind": "slicing", "every": 5.0, "models": "all"}
    simulated = overlapped("preempt", sim=sim, evaluation={"plans": [plan]}, times=TIMES[:35])
    evaluation = simulated.run.devices.filter(simulated.run.devices["holder"].str.contains("EVALUATION")).row(0)
    assert evaluation[4:] == pytest.approx((14.0, 44.0))
    assert trainings(simulated) == [
        (0, [[0, 10]], None, 9.0, 14.0, "trained"),
        (1, [[10, 20]], 0, 44.0, 44.0, "superseded"),
        (2, [[10, 30]], 0, 44.0, 49.0, "trained"),
    ]


def test_a_training_that_ended_before_it_could_be_preempted_keeps_its_samples():
    """Trigger 0 has trained and is being stored, from 18 to 23 s, when trigger 1 fires."""
    sim = costs(training=seconds(9.0), store={"latency_s": 5.0, "bytes_per_s": 1e300, "model_bytes": 0})
    simulated = overlapped("preempt", sim=sim, times=TIMES[:20])
    assert simulated.run.models["model"].to_list() == [0, 1]
    assert [ranges for _, ranges, *_ in trainings(simulated)] == [[[0, 10]], [[10, 20]]]


def test_a_training_that_failed_before_it_could_be_preempted_gives_its_samples_back_once():
    """Trigger 0 fails for good, and trigger 1 is told to stop it, within the same second of deciding."""
    sim = costs(training=seconds(1.5), decide_s=1.0)
    simulated = overlapped("preempt", sim=sim, mode="replay", batching={"n": 20}, times=TIMES[:20], faults={0: "late"})
    given_back = [entry["ranges"] for run in simulated.trace.of("TRAINING_SKIPPED") for entry in run.values["skipped"]]
    assert given_back == [[[0, 10]]]
    assert [row[:2] for row in trainings(simulated)] == [(0, [[0, 10]]), (1, [[10, 20]])]


def test_a_training_that_is_being_stored_while_another_frees_its_place_keeps_its_samples():
    """Trigger 0 is being stored from 14 to 39 s; trigger 2 is to take its place at 29 s, and gets that of 1 at 30 s."""
    sim = costs(training=seconds(5.0), store={"latency_s": 25.0, "bytes_per_s": 1e300, "model_bytes": 0})
    retry = {"attempts": 2, "backoff": 11.0}
    simulated = overlapped(
        "preempt", at_once=2, sim=sim, faults={1: "always"}, training={"retry": retry}, times=TIMES[:30]
    )
    assert simulated.run.models["model"].to_list() == [0, 2]
    assert trainings(simulated)[-1] == (2, [[20, 30]], None, 30.0, 35.0, "trained")
    assert preempted(simulated) == [(0, "too_late")]


@pytest.mark.parametrize(
    ("training_s", "answer", "ranges"),
    [
        (11.0, "stopped", [[0, 20]]),  # from 9 to 20 s
        (10.0, "too_late", [[10, 20]]),  # it ends at the moment at which it is to stop
        (8.0, "too_late", [[10, 20]]),  # it ended at 17 s, and what it cost is being noted until 20 s
    ],
)
def test_it_is_too_late_as_soon_as_a_training_has_ended(training_s, answer, ranges):
    def slow_to_note(bodies):
        def note(start, executor):
            return bodies["TRAINING_COMPLETED"](start, executor)._replace(seconds=3.0)

        return {**bodies, "TRAINING_COMPLETED": note}

    config = {"mode": "live", "batching": {"n": 1}, "selection": {"tail": 0}, "overlap": {"on_trigger": "preempt"}}
    sim = costs(training=seconds(training_s))
    simulated = simulate({"variant": "overlapped", **config, "sim": sim}, TIMES[:20], slow_to_note)
    assert preempted(simulated) == [(0, answer)]
    assert trainings(simulated)[-1][:2] == (1, ranges)
    assert simulated.run.models["model"].to_list() == ([1] if answer == "stopped" else [0, 1])


def with_unlucky_first(bodies):
    """Trigger 0 never gets to train, and it takes 10 s to give its samples back."""

    def run(start, executor):
        if start.inputs["trigger"]["serial"] == 0:
            raise RuntimeError("no such device")
        return bodies["RUN_TRAINING"](start, executor)

    def skip(start, executor):
        return bodies["TRAINING_SKIPPED"](start, executor)._replace(seconds=10.0)

    return {**bodies, "RUN_TRAINING": run, "TRAINING_SKIPPED": skip}


def unlucky(backoff_s, launch_s):
    """Trigger 1 trains from 19 to 31 s, trigger 2 is to stop trigger 0 at 29 s, and gets the place of 1."""
    config = {
        "variant": "overlapped",
        "mode": "live",
        "batching": {"n": 1},
        "selection": {"tail": 0},
        "training": {"retry": {"attempts": 2, "backoff": backoff_s}},
        "overlap": {"on_trigger": "preempt", "trainings_at_once": 2},
        "cluster": {"devices": 2},
        "sim": costs(training=seconds(12.0 - launch_s), launch_s=launch_s),
    }
    simulated = simulate(config, TIMES[:35], with_unlucky_first)
    assert preempted(simulated) == [(0, "stopped")]
    given_back = [each.values["skipped"] for each in simulated.trace.ended("TRAINING_SKIPPED")]
    return [row[:2] for row in trainings(simulated)], given_back


def test_what_was_stopped_and_fails_for_good_when_its_samples_are_taken_gives_nothing_back():
    """It rests until 39 s, and fails again; trigger 2 was claimed at 31 s."""
    assert unlucky(30.0, 0.0) == ([(1, [[10, 20]]), (2, [[0, 10], [20, 30]])], [[]])


def test_what_fails_for_good_while_it_is_told_to_stop_gives_its_samples_back():
    """It fails at 30 s; trigger 2 could be claimed at 32 s, when it has been told, but not before that is settled."""
    assert unlucky(21.0, 3.0) == ([(1, [[10, 20]]), (2, [[20, 30]])], [[{"trigger": 0, "ranges": [[0, 10]]}]])


# The decisions by themselves


def entries(*fires):
    """A trigger with its training set, for each fire."""
    state, found = initial_state(), []
    for position in fires:
        state, trigger, recipe = on_trigger(
            state, position, {"total": 0, "items": []}, config=NewDataConfig(tail=0), seed=0, stream=STREAM
        )
        found.append({"trigger": trigger, "training_set": recipe})
    return found


def admitted(on_trigger, waiting, running, new, *, ended=(), at_once=1):
    pending = {"waiting": waiting, "running": running} if waiting or running else None
    config = OverlapConfig(on_trigger=on_trigger, trainings_at_once=at_once)
    admission = admit(pending, new["trigger"], new["training_set"], ended, config, STREAM)
    places = {
        place: [entry["trigger"]["serial"] for entry in admission.pending[place]] for place in ("waiting", "running")
    }
    return admission.outcome, places["waiting"], places["running"], admission.victim


@pytest.mark.parametrize(
    ("on_trigger", "idle", "busy", "crowded"),
    [
        ("queue", ("start", [2], [], None), ("start", [2], [0], None), ("start", [1, 2], [0], None)),
        ("coalesce", ("start", [2], [], None), ("start", [2], [0], None), ("pending", [2], [0], None)),
        ("drop", ("start", [2], [], None), ("dropped", [], [0], None), ("dropped", [1], [0], None)),
        ("preempt", ("start", [2], [], None), ("preempt", [2], [], 0), ("pending", [2], [0], None)),
    ],
)
def test_what_becomes_of_a_trigger(on_trigger, idle, busy, crowded):
    old, waits, new = entries(9, 19, 29)
    assert admitted(on_trigger, [], [], new) == idle
    assert admitted(on_trigger, [], [old], new) == busy
    assert admitted(on_trigger, [waits], [old], new) == crowded
    assert admitted(on_trigger, [], [old], new, ended={0}) == idle
    assert admitted(on_trigger, [], [old], new, at_once=2) == ("start", [2], [0], None)


def test_the_one_that_has_waited_longest_is_claimed():
    first, second, third = entries(9, 19, 29)
    entry, pending = claim({"waiting": [second, third], "running": [first]}, (), (), STREAM)
    assert entry == second
    assert pending == {"waiting": [third], "running": [first, second]}


def test_there_may_be_nothing_to_claim():
    pending = {"waiting": [], "running": entries(9)}
    assert claim(pending, (), (), STREAM) == (None, pending)


@pytest.mark.parametrize(
    ("ended", "superseded", "ranges", "running"),
    [
        ({}, {0}, [[0, 10], [20, 30]], [1, 2]),  # it was stopped
        ({}, {}, [[20, 30]], [0, 1, 2]),  # it was too late to stop it, and its model is not stored yet
        ({0}, {}, [[20, 30]], [1, 2]),  # it was too late, and it has ended
        ({0}, {0}, [[20, 30]], [1, 2]),  # it was stopped when it had given its samples back already
    ],
)
def test_the_samples_of_a_victim_are_claimed_if_it_was_stopped(ended, superseded, ranges, running):
    victim, other, new = entries(9, 19, 29)
    pending = {"waiting": [{**new, "victim": victim}], "running": [other]}
    entry, pending = claim(pending, ended, superseded, STREAM)
    assert entry["training_set"]["ranges"] == ranges
    assert [each["trigger"]["serial"] for each in pending["running"]] == running
    assert pending["waiting"] == []


def test_whether_a_training_is_under_way():
    first, second = entries(9, 19)
    assert not training_under_way(None, ())
    assert not training_under_way({"waiting": [], "running": []}, ())
    assert training_under_way({"waiting": [first], "running": []}, ())
    assert training_under_way({"waiting": [], "running": [first]}, ())
    assert not training_under_way({"waiting": [], "running": [first]}, {0})
    assert training_under_way({"waiting": [], "running": [first, second]}, {0})
    assert training_under_way({"waiting": [second], "running": [first]}, {0})
