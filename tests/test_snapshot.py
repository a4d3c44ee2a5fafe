"""Snapshots: a machine, and the tables, made of one are for all that follows those that it was taken of."""

from __future__ import annotations

import json

import polars as pl
from hypothesis import given, settings
from hypothesis import strategies as st
from machine_harness import World, runnable_graphs
from polars.testing import assert_frame_equal
from simulated import Simulated, breaking, configs, costs, faults, seconds, simulate
from test_machine_runs import SEEDS, WEATHERS, pipelines, random_runs
from test_records import story

from twinclock.graph import ForEach, Json, Node, Register, Scope, Stage
from twinclock.launch import plan_run
from twinclock.machine import Machine
from twinclock.messages import Begin
from twinclock.records import Recorder
from twinclock.schemas import SCHEMAS

MAX_EVENTS = 200
"""A pipeline whose stages end as they like may go on for long."""


def by_file(data: Json) -> Json:
    return json.loads(json.dumps(data, allow_nan=False))


def again(machine: Machine, graph: Node) -> Machine:
    """The machine by way of a file."""
    return Machine.restore(graph, by_file(machine.snapshot()))


@random_runs
@given(graph=runnable_graphs() | pipelines(), seed=SEEDS, weather=WEATHERS)
def test_a_machine_that_is_restored_at_every_event_does_the_same(graph, seed, weather):
    """By way of a file after each event: what a snapshot forgot would be missing for the rest of the run."""
    world = World(graph, seed, seed, weather).run_to(MAX_EVENTS)
    machine, restored = Machine(graph), Machine(graph)
    for event, commands in zip(world.journal, world.answers, strict=True):
        restored = again(restored, graph)
        assert machine.feed(event) == commands
        assert restored.feed(event) == commands
        assert restored.outstanding() == machine.outstanding()
        assert restored.open_stage_runs() == machine.open_stage_runs()
        assert (restored.num_ignored, restored.begun) == (machine.num_ignored, machine.begun)
    assert again(restored, graph).finished == world.machine.finished


def tables_over_restores(simulated: Simulated, every: int) -> dict[str, pl.DataFrame]:
    """The tables of a run whose recorder, and whose machine, is made of a snapshot after every so many events."""
    graph = plan_run(simulated.run.config, "sim").graph
    machine, recorder, parts = Machine(graph), Recorder(simulated.stream.timestamp), []
    for number, (now, event, commands) in enumerate(simulated.trace.happened, 1):
        assert machine.feed(event) == commands
        recorder.record(now, event, commands)
        if number % every == 0:
            parts.append(recorder.take())
            snapshot = by_file(recorder.snapshot())
            machine, recorder = again(machine, graph), Recorder(simulated.stream.timestamp)
            recorder.restore(snapshot, machine.outstanding()[1])
            assert by_file(recorder.snapshot()) == snapshot
    parts.append(recorder.take_all())
    assert recorder.num_stage_runs == simulated.run.stage_runs.height
    return {name: pl.concat([part[name] for part in parts]) for name in SCHEMAS}


@settings(max_examples=25, deadline=None, derandomize=True, database=None)
@given(configs(), faults(), st.sampled_from([1, 2, 7, 30]))
def test_the_tables_of_a_recorder_that_is_restored_now_and_then_are_the_same(config, broken, every):
    simulated = simulate(config, wrap=breaking(broken))
    for name, table in tables_over_restores(simulated, every).items():
        assert_frame_equal(table, simulated.run.tables[name])


def test_what_timed_out_and_what_was_recalled_is_still_known_after_a_restore():
    """A training that runs out of time, and an evaluation that gives way to it."""
    timed_out = story({0: "hang"}, training={"timeout": 7.0, "retry": {"attempts": 2, "backoff": 1.0}})
    assert timed_out.run.trainings["outcome"].to_list() == ["timeout", "trained", "trained"]
    recalled = story(
        variant="seed",
        times=range(40),
        evaluation={"plans": [{"kind": "between_triggers", "models": "active"}]},
        cluster={"devices": 1, "discipline": "preemptive"},
        sim=costs(training=seconds(1.0), evaluation=seconds(15.0)),
    )
    assert "yielded" in recalled.run.stage_runs["outcome"].to_list()
    for simulated in (timed_out, recalled):
        for name, table in tables_over_restores(simulated, 1).items():
            assert_frame_equal(table, simulated.run.tables[name])


def test_what_many_share_is_told_once():
    """Twenty copies, each with the list of all among its slots, that read one register: both are there once."""
    body = Stage(kind="work", operation="A", reads=("items",), reads_registers=("notes",))
    copies = ForEach(over="items", item="item", body=body)
    graph = Scope(body=copies, registers={"notes": Register(initial=["n" * 1000])})
    machine = Machine(graph)
    assert len(machine.feed(Begin({"items": [f"{number:0500d}" for number in range(20)]}))) == 20
    text = json.dumps(machine.snapshot())
    assert text.count("n" * 1000) == 1
    assert text.count(f"{7:0500d}") == 2, "in the list, and as one copy's own"


def test_a_snapshot_does_not_grow_with_the_number_of_batches():
    """So neither does the memory of a run: it is all that machine and recorder know."""
    simulated = story(times=range(2000), trigger={"kind": "amount", "n": 10_000})
    machine, recorder, sizes = Machine(plan_run(simulated.run.config, "sim").graph), Recorder(float), []
    for number, (now, event, commands) in enumerate(simulated.trace.happened):
        machine.feed(event)
        recorder.record(now, event, commands)
        if number % 13 == 0:
            recorder.take()
            sizes.append(len(json.dumps([machine.snapshot(), recorder.snapshot()])))
    assert simulated.run.batches.height == 200
    third = len(sizes) // 3
    assert max(sizes[-third:]) - max(sizes[:third]) < 100, "more than some digits"
