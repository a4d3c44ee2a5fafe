"""The tables of a run: what is in them, for runs small enough to know every row."""

from __future__ import annotations

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from polars.testing import assert_frame_equal
from simulated import breaking, configs, costs, faults, seconds, simulate

from twinclock.records import Recorder
from twinclock.schemas import KEYS, SCHEMAS


def story(broken=None, times=range(20), **more):
    """Two triggers, at 9 and 19; a training takes 5 s, everything else nothing."""
    config = {
        "mode": "live",
        "variant": "sequential",
        "trigger": {"kind": "amount", "n": 10},
        "batching": {"n": 10},
        "selection": {"tail": 0},
        "training": {"retry": {"attempts": 2, "backoff": 1.0}},
        "sim": costs(training=seconds(5.0), store={"latency_s": 1.0, "bytes_per_s": 1e300, "model_bytes": 7}),
        **more,
    }
    return simulate(config, map(float, times), breaking(broken or {}))


def recorded(simulated, cuts=()):
    """The tables again, from what happened, in parts: handed over after so many events."""
    recorder = Recorder(simulated.stream.timestamp)
    parts = []
    for number, happened in enumerate(simulated.trace.happened, 1):
        recorder.record(*happened)
        if number in cuts:
            parts.append(recorder.take())
    parts.append(recorder.take_all())
    return {name: pl.concat([part[name] for part in parts]) for name in SCHEMAS}


# One story, table by table


def test_batches():
    assert story().run.batches.rows() == [(0, 0, 10, 9.0, 9.0, 0), (1, 10, 20, 19.0, 19.0, 0)]


def test_triggers():
    assert story().run.triggers.rows() == [
        (0, 9, 0, 10, 10, 0.0, 9.0, 10, 9.0),
        (1, 19, 10, 20, 10, 10.0, 19.0, 10, 19.0),
    ]


def test_decisions():
    rows = story().run.decisions.rows()
    assert rows == [
        (0, 0, 10, None, 10.0, "fired", "10 samples", 9.0),
        (1, 10, 20, None, 10.0, "fired", "10 samples", 19.0),
    ]


def test_trainings_also_those_that_failed():
    trainings = story({0: "once"}).run.trainings
    assert trainings.drop("id", "error", "lost_s", "wait_share", "peak_memory_bytes", "utilisation").rows() == [
        (0, "failed", 10, None, "sim:0", 9.0, 9.0, 9.0, 9.0, None),
        (0, "trained", 10, None, "sim:0", 10.0, 10.0, 10.0, 15.0, None),
        (1, "trained", 10, None, "sim:0", 19.0, 19.0, 19.0, 24.0, None),
    ]
    assert trainings["error"].to_list() == ["out of memory", None, None]
    assert [id_.rsplit("/", 1)[1] for id_ in trainings["id"]] == ["on_device#0@1", "on_device#0@2", "on_device#0@1"]


def test_models():
    assert story(training={"start_from": "active"}).run.models.rows() == [
        (0, None, 0.0, 9.0, 10, 7, None, "models/00000", 15.0),
        (1, 0, 10.0, 19.0, 10, 7, None, "models/00001", 25.0),
    ]


def test_evaluations():
    plan = {"kind": "slicing", "every": 8.0, "models": "all", "when": "after_pipeline"}
    evaluations = story(evaluation={"plans": [plan]}).run.evaluations
    assert evaluations.select("plan", "model", "start_ts", "end_ts", "metric", "num_samples").rows() == [
        (0, model, start, end, "accuracy", num_samples)
        for model in (0, 1)
        for start, end, num_samples in [(0.0, 8.0, 8), (8.0, 16.0, 8), (16.0, 20.0, 4)]
    ]


def test_devices_tell_who_held_what_and_how_long_that_was_waited_for():
    plan = {"kind": "slicing", "every": 20.0, "models": "all", "when": "after_pipeline"}
    sim = costs(training=seconds(5.0), evaluation=seconds(2.0))
    devices = story(sim=sim, evaluation={"plans": [plan]}).run.devices
    assert devices.select("resource", "unit", "requested_s", "granted_s", "released_s").rows() == [
        ("device", "sim:0", 9.0, 9.0, 14.0),
        ("device", "sim:0", 19.0, 19.0, 24.0),
        ("device", "sim:0", 24.0, 24.0, 26.0),
        ("device", "sim:0", 24.0, 26.0, 28.0),
    ]


def test_stage_runs_tell_where_they_belong():
    stage_runs = story().run.stage_runs
    wait = stage_runs.row(
        by_predicate=(pl.col("stage") == "WAIT_FOR_TRAINING_COMPLETION") & (pl.col("trigger") == 1), named=True
    )
    on_device = wait["parent"]
    assert on_device.startswith("/pipeline#0/wait_for_new_data#0/new_data#1/")
    assert on_device.endswith("/[0]/train_and_eval#0/training#0/on_device#0@1")
    assert wait == {
        "id": f"{on_device}/WAIT_FOR_TRAINING_COMPLETION#0",
        "stage": "WAIT_FOR_TRAINING_COMPLETION",
        "parent": on_device,
        "trigger": 1,
        "batch": 1,
        "attempt": 1,
        "queued_s": 19.0,
        "started_s": 19.0,
        "ended_s": 24.0,
        "data_ts": 19.0,
        "device": "sim:0",
        "outcome": "trained",
        "error": None,
        "registers": None,
    }


def test_stage_runs_tell_which_version_of_a_register_they_read():
    asked = story().run.stage_runs.filter(stage="HANDLE_TRIGGERS_WITHIN_BATCH")
    assert asked["registers"].to_list() == [
        "active_model@0 costs@0 selector@0 skipped@0 policy@0",
        "active_model@1 costs@1 selector@1 skipped@0 policy@1",
        "active_model@1 costs@1 selector@2 skipped@0 policy@2",
        "active_model@2 costs@2 selector@3 skipped@0 policy@3",
    ]


def test_a_failure_is_a_fault_even_if_a_retry_mended_it():
    run = story({0: "once", 1: "store"}).run
    assert run.outcome == "done"
    assert run.faults.select("stage", "attempt", "outcome", "type", "message", "at_s").rows() == [
        ("WAIT_FOR_TRAINING_COMPLETION", 1, "failed", "RuntimeError", "out of memory", 9.0),
        ("STORE_TRAINED_MODEL", 1, "failed", "OSError", "no space left on device", 24.0),
        ("STORE_TRAINED_MODEL", 2, "failed", "OSError", "no space left on device", 25.0),
    ]
    failed = run.stage_runs.filter(outcome="failed")
    assert failed["error"].to_list() == run.faults["message"].to_list()
    assert failed["id"].to_list() == run.faults["id"].to_list()


def test_what_took_too_long_is_a_fault_of_the_node_that_has_the_timeout():
    run = story({0: "hang"}, training={"timeout": 8.0, "retry": {"attempts": 2, "backoff": 1.0}}).run
    assert run.faults.drop("id").rows() == [("on_device", 1, "timeout", "timeout", "took longer than 8.0 s", 17.0)]
    assert run.faults["id"].to_list() == run.trainings["id"].to_list()[:1]
    assert run.trainings["outcome"].to_list() == ["timeout", "trained", "trained"]


def test_an_evaluation_that_took_too_long_is_a_fault():
    plan = {"kind": "slicing", "every": 20.0, "models": "active", "when": "after_pipeline", "from": 10.0}
    config = {"plans": [plan], "timeout": 3.0, "retry": {"attempts": 2, "backoff": 1.0}}
    run = story(sim=costs(evaluation=seconds(4.0)), evaluation=config).run
    assert run.outcome == "done"
    assert run.faults.select("stage", "attempt", "outcome", "message", "at_s").rows() == [
        ("WAIT_FOR_EVALUATION_COMPLETION", 1, "timeout", "took longer than 3.0 s", 22.0),
        ("WAIT_FOR_EVALUATION_COMPLETION", 2, "timeout", "took longer than 3.0 s", 26.0),
    ]
    assert run.evaluations.is_empty()


def test_a_table_without_rows_has_its_columns_all_the_same():
    run = story(times=range(3)).run
    for name, schema in SCHEMAS.items():
        assert dict(run.tables[name].schema) == dict(schema)
    assert run.models.is_empty()


def test_what_identifies_a_row_does():
    plans = [{"kind": "slicing", "every": 8.0, "models": "all"}, {"kind": "between_triggers", "models": "all"}]
    gated = {"validation": {"share": 0.5}, "gate": {"metric": "accuracy", "max_worse": 0.0}}
    run = story(times=range(47), evaluation={"plans": plans}, training=gated).run
    for name, columns in KEYS.items():
        assert run.tables[name].height > 1
        assert run.tables[name].select(columns).is_unique().all()


# From the events alone


@settings(derandomize=True, deadline=None, max_examples=40)
@given(configs(), faults(), st.data())
def test_the_same_events_make_the_same_tables_in_parts_of_any_size(config, broken, data):
    simulated = simulate(config, wrap=breaking(broken))
    num_events = len(simulated.trace.happened)
    cuts = data.draw(st.sets(st.integers(1, num_events), max_size=5))
    for name, table in recorded(simulated, cuts).items():
        assert_frame_equal(table, simulated.run.tables[name])


def test_a_dropped_trigger_is_in_no_part_wherever_the_parts_are_cut():
    config = {"variant": "overlapped", "overlap": {"on_trigger": "drop"}, "cluster": {"devices": 1}}
    simulated = story(**config, times=range(60), sim=costs(training=seconds(25.0), decide_s=0.5))
    whole = recorded(simulated)
    assert whole["triggers"]["position"].to_list() == [9, 39]
    assert whole["decisions"].filter(verdict="dropped").height == 4
    for name, table in recorded(simulated, range(len(simulated.trace.happened) + 1)).items():
        assert_frame_equal(table, whole[name])


@pytest.mark.parametrize("on_trigger", ["queue", "coalesce", "preempt"])
def test_triggers_are_in_one_part_each_as_they_are_in_the_end_wherever_the_parts_are_cut(on_trigger):
    """What waits, and what it takes in while it waits, is handed over only when it is claimed."""
    config = {"variant": "overlapped", "overlap": {"on_trigger": on_trigger}, "cluster": {"devices": 1}}
    slow = costs(training=seconds(8.0), decide_s=0.5, store={"latency_s": 30.0, "bytes_per_s": 1e300, "model_bytes": 7})
    simulated = story(**config, times=range(80), sim=slow)
    whole = recorded(simulated)
    trained = {row["trigger"]: row["num_samples"] for row in whole["trainings"].rows(named=True)}
    assert dict(whole["triggers"].select("trigger", "training_samples").rows()) == trained
    assert whole["decisions"].filter(verdict="coalesced").is_empty() == (on_trigger == "queue")
    for name, table in recorded(simulated, range(len(simulated.trace.happened) + 1)).items():
        assert_frame_equal(table, whole[name])
    assert_frame_equal(simulated.run.triggers, whole["triggers"])


@pytest.mark.parametrize("size", [1, 10, 100])
def test_a_run_that_writes_its_tables_in_parts_has_the_same_tables(monkeypatch, size):
    config = {"variant": "overlapped", "overlap": {"on_trigger": "coalesce"}, "cluster": {"devices": 1}}
    whole = story(**config, times=range(80), sim=costs(training=seconds(25.0)))
    monkeypatch.setattr("twinclock.observer._STAGE_RUNS_A_PART", size)
    parts = story(**config, times=range(80), sim=costs(training=seconds(25.0)))
    assert_frame_equal(parts.run.triggers, whole.run.triggers)
    assert_frame_equal(parts.run.decisions, whole.run.decisions)


def test_what_waits_when_a_run_is_broken_off_is_in_the_tables_as_it_stands():
    config = {"variant": "overlapped", "overlap": {"on_trigger": "coalesce"}, "cluster": {"devices": 1}}
    simulated = story(**config, times=range(40), sim=costs(training=seconds(25.0)))
    recorder = Recorder(simulated.stream.timestamp)
    for now, event, commands in simulated.trace.happened:
        if now < 30.0:
            recorder.record(now, event, commands)
    assert recorder.take()["triggers"]["trigger"].to_list() == [0]
    assert recorder.take_all()["triggers"].select("trigger", "first", "stop").rows() == [(2, 10, 30)]


def test_a_recorder_keeps_only_what_is_still_open():
    simulated = story(times=range(200))
    recorder = Recorder(simulated.stream.timestamp)
    gathered = []
    for happened in simulated.trace.happened:
        recorder.record(*happened)
        gathered.append(recorder.num_gathered)
        recorder.take()
    assert max(gathered) == 1
    assert recorder.num_stage_runs == simulated.run.stage_runs.height


def test_what_a_recorder_keeps_does_not_grow_with_the_run():
    """Whoever takes the tables in parts needs the same memory however long the stream is."""
    kept = []
    for num_samples in (40, 400):
        recorder = Recorder(float)
        for number, happened in enumerate(story(times=range(num_samples)).trace.happened):
            recorder.record(*happened)
            if number % 10 == 0:
                recorder.take()
        recorder.take_all()
        kept.append({name: len(each) for name, each in vars(recorder).items() if isinstance(each, dict | list | set)})
    assert kept[0] == kept[1]


@pytest.mark.parametrize("name", SCHEMAS)
def test_times_say_whose_they_are(name):
    """On the executor's clock `_s`, in data time `_ts`; every other number is a count or a quantity with its unit."""
    numbers = [column for column, kind in SCHEMAS[name].items() if kind == pl.Float64]
    assert {column for column in numbers if not column.endswith(("_s", "_ts"))} <= {
        "loss",
        "wait_share",
        "utilisation",
        "value",
        "active_value",
        "observation",
        "threshold",
    }
