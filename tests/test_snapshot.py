"""Snapshots of the interpreter: a machine made of one is, for all that follows, the machine that it was taken of."""

from __future__ import annotations

import json

from hypothesis import given
from machine_harness import World, runnable_graphs
from test_machine_runs import SEEDS, WEATHERS, pipelines, random_runs

from twinclock.graph import Node
from twinclock.machine import Machine

MAX_EVENTS = 200
"""A pipeline whose stages end as they like may go on for long."""


def again(machine: Machine, graph: Node) -> Machine:
    """The machine by way of a file."""
    return Machine.restore(graph, json.loads(json.dumps(machine.snapshot(), allow_nan=False)))


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
