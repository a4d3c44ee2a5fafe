"""The critical path of every simulated run is whole, causal, and goes from cause to cause."""

from __future__ import annotations

import json
from collections.abc import Iterator
from itertools import pairwise

import polars as pl
import pytest
from handmade import run as by_hand
from handmade import stage_run
from hypothesis import given, settings
from hypothesis import strategies as st
from simulated import FREE, Simulated, breaking, configs, costs, faults, seconds, simulate

import twinclock as tc
from twinclock.errors import RunError
from twinclock.explain.causes import causes_of
from twinclock.explain.critical import critical_path
from twinclock.explain.places import NO_ROW
from twinclock.messages import Acquire, Arm, Begin, Ended, Fired, Granted, Start, path_text
from twinclock.result import Run


@settings(deadline=None, derandomize=True, max_examples=60)
@given(configs(), faults())
def test_the_path_of_any_simulated_run_is_whole_and_causal(config, broken):
    simulated = simulate(config, wrap=breaking(broken))
    path_is_whole(simulated.run)
    causes_are_those_that_happened(simulated)


def path_is_whole(run: Run) -> None:
    path = critical_path(run)
    begins, ends = path["begin_s"].to_list(), path["end_s"].to_list()
    assert begins[0] == 0.0
    assert ends[-1] == run.summary["makespan_s"]
    assert ends[:-1] == begins[1:], "it has a gap, or goes back"
    assert all(begin <= end for begin, end in zip(begins, ends, strict=True))
    order = {id_: number for number, id_ in enumerate(run.stage_runs["id"])}
    ran = run.stage_runs.select("id", "started_s", "ended_s").rows_by_key("id", unique=True)
    working = path.filter(pl.col("doing").is_in(["working", "data"]))
    assert working["id"].is_unique().all()
    for before, after in pairwise(working["id"]):
        assert ran[before][1] <= ran[after][0]
        assert order[before] < order[after]
    for id_, begin_s, end_s in working.select("id", "begin_s", "end_s").iter_rows():
        assert ran[id_] == (begin_s, end_s)
    held = run.devices.select("holder", "granted_s", "released_s").rows_by_key("holder")
    for holder, begin_s, end_s in path.drop_nulls("held_by").select("held_by", "begin_s", "end_s").iter_rows():
        assert any(granted_s <= begin_s and end_s <= released_s for granted_s, released_s in held[holder])


def causes_are_those_that_happened(simulated: Simulated) -> None:
    """Nothing but the tables is looked at to find causes; here they are held against events and commands."""
    found = causes_of(simulated.run)
    ids = found.stage_runs.ids
    expected = dict(happened_because(simulated))
    for row, id_ in enumerate(ids):
        cause = found.of(row)
        assert (None if cause.row == NO_ROW else ids[cause.row]) == expected[id_], id_


def happened_because(simulated: Simulated) -> Iterator[tuple[str, str | None]]:
    """Each stage run, and the one whose end led to its start."""
    started: dict[int, str] = {}
    by_end: dict[int, str | None] = {}
    """Id of a node that waits, for units or for its next attempt → the stage run whose end made it wait."""
    for _, event, commands in simulated.trace.happened:
        cause: str | None = None
        if isinstance(event, Ended):
            cause = started[event.id]
        elif isinstance(event, Granted | Fired):
            cause = by_end.get(event.id)
        else:
            assert isinstance(event, Begin)
        for command in commands:
            if isinstance(command, Start):
                started[command.id] = path_text(command.path)
                yield started[command.id], cause
            elif isinstance(command, Acquire) or (isinstance(command, Arm) and command.timer == "backoff"):
                by_end[command.id] = cause


@settings(deadline=None, derandomize=True, max_examples=24)
@given(
    st.sampled_from(["seed", "sequential", "overlapped"]),
    st.sampled_from([None, 3.0]),
    st.sampled_from([1, 2]),
    st.sampled_from([0.0, 4.0]),
)
def test_so_is_that_of_a_run_whose_trigger_has_to_be_told_scores(variant, timeout, devices, busy_s):
    config = {
        "variant": variant,
        "data": {"kind": "uniform", "num_samples": 60, "every": 1.0},
        "batching": {"n": 15},
        "trigger": {"kind": "performance", "interval": 10, "rules": [{"kind": "static", "threshold": 0.9}]},
        "observation": {"timeout": timeout, "retry": {"attempts": 2, "backoff": 0.5}},
        "evaluation": {"plans": [{"kind": "slicing", "every": 10.0, "models": "all"}], "at_once": 2},
        "cluster": {"devices": devices},
        "sim": costs(training=seconds(7.0), evaluation=seconds(busy_s)),
    }
    simulated = simulate(config)
    assert "OBSERVE" in simulated.run.stage_runs["stage"] or variant == "overlapped"
    path_is_whole(simulated.run)
    causes_are_those_that_happened(simulated)


@pytest.mark.parametrize("variant", ["seed", "sequential", "overlapped"])
@pytest.mark.parametrize("stage", ["HANDLE_TRIGGERS_WITHIN_BATCH", "POST_EVALUATION", "INIT_CLUSTER_CONNECTION"])
def test_so_is_that_of_a_run_that_failed(variant, stage):
    def wrap(bodies):
        def fail(start, executor):
            if executor.now() > 30.0 or stage == "INIT_CLUSTER_CONNECTION":
                raise RuntimeError("out of order")
            return bodies[stage](start, executor)

        return {**bodies, stage: fail}

    config = {
        "variant": variant,
        "mode": "live",
        "data": {"kind": "uniform", "num_samples": 60, "every": 1.0},
        "batching": {"n": 10},
        "evaluation": {"plans": [{"kind": "slicing", "every": 10.0, "models": "all"}]},
        "sim": costs(training=seconds(7.0), evaluation=seconds(4.0)),
    }
    simulated = simulate(config, wrap=wrap)
    assert simulated.run.outcome == "failed"
    path_is_whole(simulated.run)
    causes_are_those_that_happened(simulated)


def told(run: Run, *columns: str) -> list[tuple]:
    """The segments that take time."""
    path = critical_path(run).filter(pl.col("end_s") - pl.col("begin_s") > 1e-9)
    return path.select(pl.col("begin_s").round(9), pl.col("end_s").round(9), "stage", "doing", *columns).rows()


def story(**changes) -> Run:
    """Twenty samples, a training after every ten; nothing takes time but what is said to."""
    config = {"data": {"kind": "uniform", "num_samples": 20, "every": 1.0}, "batching": {"n": 10}, **changes}
    return simulate(config).run


def test_in_sequence_everything_is_on_the_path():
    plan = {"kind": "slicing", "every": 10.0}
    sim = costs(
        connect_s=3.0, training=seconds(5.0), evaluation=seconds(2.0), store={**FREE["store"], "latency_s": 1.0}
    )
    assert told(story(variant="sequential", evaluation={"plans": [plan]}, sim=sim)) == [
        (0.0, 3.0, "INIT_CLUSTER_CONNECTION", "working"),
        (3.0, 8.0, "WAIT_FOR_TRAINING_COMPLETION", "working"),
        (8.0, 9.0, "STORE_TRAINED_MODEL", "working"),
        (9.0, 14.0, "WAIT_FOR_TRAINING_COMPLETION", "working"),
        (14.0, 15.0, "STORE_TRAINED_MODEL", "working"),
        (15.0, 17.0, "WAIT_FOR_EVALUATION_COMPLETION", "working"),
    ]


def test_waiting_for_a_device_is_told_apart_by_who_held_it():
    plan = {"kind": "slicing", "every": 5.0, "models": "trained"}
    run = story(
        evaluation={"plans": [plan], "intervals_per_visit": 1},
        sim=costs(training=seconds(5.0), evaluation=seconds(2.0)),
    )
    assert told(run, "held_for") == [
        (0.0, 5.0, "WAIT_FOR_TRAINING_COMPLETION", "working", None),
        (5.0, 7.0, "RUN_TRAINING", "device", "evaluation"),
        (7.0, 12.0, "WAIT_FOR_TRAINING_COMPLETION", "working", None),
        (12.0, 14.0, "WAIT_FOR_EVALUATION_COMPLETION", "device", "evaluation"),
        (14.0, 16.0, "WAIT_FOR_EVALUATION_COMPLETION", "device", "evaluation"),
        (16.0, 18.0, "WAIT_FOR_EVALUATION_COMPLETION", "working", None),
    ]
    # one job of the first model has waited all that time, the other is of the second model
    first, second = critical_path(run).filter(stage="WAIT_FOR_EVALUATION_COMPLETION", doing="device")["held_by"]
    assert first.endswith("[0]/train_and_eval#0/evaluation#0/evaluation_jobs#0/[1]/WAIT_FOR_EVALUATION_COMPLETION#0@1")
    assert second.endswith("[1]/train_and_eval#0/evaluation#0/evaluation_jobs#0/[0]/WAIT_FOR_EVALUATION_COMPLETION#0@1")


def test_live_it_waits_for_data():
    run = story(mode="live", sim=costs(training=seconds(5.0)))
    assert told(run) == [
        (0.0, 9.0, "WAIT_FOR_NEW_DATA", "data"),
        (9.0, 14.0, "WAIT_FOR_TRAINING_COMPLETION", "working"),
        (14.0, 19.0, "WAIT_FOR_NEW_DATA", "data"),
        (19.0, 24.0, "WAIT_FOR_TRAINING_COMPLETION", "working"),
    ]


def test_a_rest_before_another_attempt_is_waiting():
    config = {
        "data": {"kind": "uniform", "num_samples": 10, "every": 1.0},
        "training": {"retry": {"attempts": 2, "backoff": 1.5}},
        "sim": costs(training=seconds(4.0)),
    }
    assert told(simulate(config, wrap=breaking({0: "late"})).run) == [
        (0.0, 2.0, "WAIT_FOR_TRAINING_COMPLETION", "working"),
        (2.0, 3.5, "RUN_TRAINING", "retry"),
        (3.5, 7.5, "WAIT_FOR_TRAINING_COMPLETION", "working"),
    ]


def test_a_training_waits_for_its_slot():
    run = story(
        variant="overlapped",
        overlap={"on_trigger": "queue", "trainings_at_once": 1},
        cluster={"devices": 2},
        sim=costs(training=seconds(5.0)),
    )
    assert told(run, "held_for") == [
        (0.0, 5.0, "CLAIM_TRIGGERS", "training_slot", "training"),
        (5.0, 10.0, "WAIT_FOR_TRAINING_COMPLETION", "working", None),
    ]


def test_a_run_from_its_folder_has_the_same_path(tmp_path):
    config = {
        "name": "folder",
        "data": {"kind": "uniform", "num_samples": 40, "every": 1.0},
        "trigger": {"kind": "amount", "n": 10},
        "evaluation": {"plans": [{"kind": "slicing", "every": 10.0}]},
    }
    tc.run(config, on="sim", out=tmp_path / "run")
    loaded = Run.load(tmp_path / "run")
    assert critical_path(loaded).equals(critical_path(tc.run(config, on="sim")))
    (tmp_path / "run" / "graph.json").write_text(json.dumps({"node": "Circle"}))
    with pytest.raises(RunError, match=r"graph\.json: can't be read"):
        critical_path(loaded)


def test_a_run_without_an_end_has_no_path():
    with pytest.raises(RunError, match="state running, expected a finished run"):
        critical_path(by_hand({"state": "running", "makespan_s": None}, stage_runs=[stage_run("INIT", 0.0, 1.0)]))


def test_a_run_in_which_nothing_happened_has_an_empty_one():
    assert critical_path(by_hand()).is_empty()


def test_what_the_graph_does_not_know_is_told_by_the_time():
    rows = [stage_run("INIT", 0.0, 1.0), stage_run("MINE", 1.0, 60.0), stage_run("MORE", 70.0, 100.0)]
    path = critical_path(by_hand(stage_runs=rows))
    assert path.select("begin_s", "end_s", "stage", "doing").rows() == [
        (0.0, 1.0, "INIT", "working"),
        (1.0, 60.0, "MINE", "working"),
        (60.0, 70.0, "MORE", "executor"),
        (70.0, 100.0, "MORE", "working"),
    ]
