"""The interpreter in random runs of random graphs: whatever happens, in whatever order, it keeps its rules."""

from __future__ import annotations

from typing import Any

import pytest
from acceptor import accepts
from hypothesis import given, settings
from hypothesis import strategies as st
from machine_harness import Fates, Weather, World, calm_graphs, runnable_graph, runnable_graphs
from machine_rules import in_order, places

from twinclock.graph import (
    BUILT_IN_OUTCOMES,
    ERROR_SLOT,
    FAILED,
    Flow,
    ForEach,
    Json,
    Node,
    Retry,
    Scope,
    Spawn,
    Stage,
    exit_outcome,
    leave,
)
from twinclock.messages import path_text
from twinclock.pipeline import VARIANTS, GraphOptions, build_graph

WEATHERS = st.sampled_from(
    [
        Weather(),
        Weather(stale=0.2),
        Weather(fail=0.4, obeys=0.0),
        Weather(fail=0.3, timers=0.6, stale=0.1),
        Weather(fail=0.02, allocates=False, timers=0.0),
    ]
)
SEEDS = st.integers(0, 2**32)
random_runs = settings(max_examples=400, deadline=None, derandomize=True, database=None)


def pipelines() -> st.SearchStrategy[Node]:
    """The real graphs, with limits in time and number on training and evaluation."""
    retry = Retry(max_attempts=2, backoff_s=1.0)
    options = st.builds(
        GraphOptions,
        variant=st.sampled_from(VARIANTS),
        devices_per_training=st.integers(1, 2),
        training_timeout_s=st.sampled_from((None, 9.0)),
        training_retry=st.just(retry),
        evaluation_timeout_s=st.sampled_from((None, 9.0)),
        evaluation_retry=st.just(retry),
        evaluations_at_once=st.sampled_from((None, 1, 2)),
    )
    return st.builds(build_graph, options)


@given(st.one_of(runnable_graphs(), runnable_graphs(), pipelines()), SEEDS, SEEDS, WEATHERS)
@random_runs
def test_a_run_ends_keeps_the_rules_and_is_one_that_the_graph_admits(graph, fates, order, weather):
    """`World` asserts the rules on the way; late and duplicate events are among what it feeds."""
    world = World(graph, fates, order, weather).run()
    assert world.machine.outstanding() == ([], [])
    assert world.machine.open_stage_runs() == []
    assert all(answer for _, answer in world.trace)
    assert accepts(graph, world.trace, world.outcome)


@given(runnable_graphs(), SEEDS, WEATHERS)
@random_runs
def test_the_same_events_give_the_same_commands_and_leave_the_same_outstanding(graph, seed, weather):
    first = World(graph, seed, seed, weather).run()
    again = World(graph, seed, seed, weather)
    for event, commands in zip(first.journal, first.answers, strict=True):
        again.feed(event, is_replayed=True)
        assert again.answers[-1] == commands
        held, outstanding = again.machine.outstanding()
        assert (sorted(held, key=lambda each: each[0].id), in_order(outstanding)) == again.watch.outstanding()
    assert again.machine.finished == first.machine.finished
    assert again.machine.num_ignored == first.machine.num_ignored


@given(runnable_graphs(), SEEDS, SEEDS, WEATHERS, st.floats(0, 1))
@random_runs
def test_after_a_crash_anywhere_a_run_goes_on_from_its_journal(graph, seed, other_order, weather, share):
    journal = World(graph, seed, 0, weather).run().journal
    world = World(graph, seed, other_order, weather).replay(journal[: int(share * len(journal))])
    world.run()
    assert world.machine.outstanding() == ([], [])
    assert accepts(graph, world.trace, world.outcome)


@pytest.mark.parametrize("seed", range(25))
def test_after_a_crash_at_every_position_a_run_goes_on_from_its_journal(seed):
    graph, weather = runnable_graph(seed), Weather(fail=0.3, stale=0.1)
    journal = World(graph, seed, 0, weather).run().journal
    for cut in range(min(len(journal), 150)):
        world = World(graph, seed, cut, weather).replay(journal[:cut]).run()
        assert accepts(graph, world.trace, world.outcome)


@given(runnable_graphs(), SEEDS, WEATHERS)
@random_runs
def test_a_finally_step_runs_once_in_every_flow_that_has_begun(graph, seed, weather):
    world = World(graph, seed, seed, weather).run()
    paths = [path for path, _ in world.trace]
    flows = {place.key: place.node for path in paths for place in places(graph, path)}
    for (around, _), flow in flows.items():
        if isinstance(flow, Flow) and flow.finally_ is not None:
            first, second = (f"{around}/{flow.finally_}#{visit}" for visit in (0, 1))
            assert not any(path.startswith(second) for path in paths)
            if isinstance(step := flow.steps[flow.finally_], Stage):
                attempts = [path for path in paths if path == first or path.startswith(f"{first}@")]
                assert 1 <= len(attempts) <= step.retry.max_attempts


# What runs does not depend on when


class Ideal:
    """The stage runs of a graph in which nothing is cancelled, worked out from the leaves' fates by plain recursion."""

    def __init__(self, graph: Node, fates: Fates) -> None:
        self.fates = fates
        self.runs: dict[str, tuple[Json, Json]] = {}
        """Path → (inputs, labels)."""
        self.outcome, _ = self.enter(graph, "", {}, {}, {})

    def enter(
        self, node: Node, path: str, slots: dict[str, Json], labels: Json, scope_labels: Json
    ) -> tuple[str, Json]:
        if isinstance(node, Spawn):
            self.enter(node.body, path, dict(slots), scope_labels, scope_labels)
            return "done", None
        outcome, error = "", None
        for attempt in range(1, node.retry.max_attempts + 1):
            here = f"{path}@{attempt}" if node.retry.max_attempts > 1 else path
            outcome, error = self.attempt(node, here, slots, labels, scope_labels)
            if outcome not in node.retry.on:
                break
        if outcome in BUILT_IN_OUTCOMES:
            slots[ERROR_SLOT] = error
        return outcome, error

    def attempt(self, node: Node, path: str, slots: dict[str, Json], labels: Json, scope_labels: Json) -> Any:
        match node:
            case Stage():
                self.runs[path] = ({name: slots[name] for name in node.reads}, labels)
                outcome, values = self.fates(path, node)
                slots |= {slot: values[slot] for slot in node.outcomes.get(outcome, ())}
                return outcome, values.get(ERROR_SLOT)
            case Flow():
                return self.flow(node, path, slots, labels, scope_labels)
            case ForEach():
                for number, item in enumerate(slots[node.over]):
                    self.enter(node.body, f"{path}/[{number}]", {**slots, node.item: item}, labels, scope_labels)
                return "done", None
            case Scope():
                return self.enter(node.body, path, slots, labels, labels)

    def flow(self, flow: Flow, path: str, slots: dict[str, Json], labels: Json, scope_labels: Json) -> tuple[str, Json]:
        slots |= flow.initial
        if flow.label is not None:
            labels = {**labels, flow.label: slots[flow.label]}
        visits = dict.fromkeys(flow.steps, -1)

        def visit(step: str) -> tuple[str, Json]:
            visits[step] += 1
            return self.enter(flow.steps[step], f"{path}/{step}#{visits[step]}", slots, labels, scope_labels)

        step, left, error = flow.start, None, None
        while left is None:
            outcome, error = visit(step)
            on_failure = leave(FAILED) if outcome in BUILT_IN_OUTCOMES else ""
            step = flow.edges.get(step, {}).get(outcome, on_failure)
            left = exit_outcome(step)
        if flow.finally_ is not None:
            cleared, problem = visit(flow.finally_)
            if cleared in BUILT_IN_OUTCOMES:
                return FAILED, problem
        return left, error if left == FAILED else None


@given(calm_graphs(), SEEDS, SEEDS)
@random_runs
def test_what_runs_and_what_it_sees_does_not_depend_on_the_order_of_events(graph, fates, order):
    ideal = Ideal(graph, Fates(graph, fates, 0.2))
    world = World(graph, fates, order, Weather(fail=0.2)).run()
    started = {path_text(start.path): (start.inputs, start.labels) for start in world.watch.starts.values()}
    assert started == ideal.runs
    assert world.outcome == ideal.outcome
