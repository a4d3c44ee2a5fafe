"""The trace acceptor: it must know a trace that was tampered with."""

from __future__ import annotations

import re

import pytest
from acceptor import accepts
from hypothesis import given, settings
from hypothesis import strategies as st
from machine_harness import Weather, World, calm_graphs, choice, row, work
from machine_rules import places

from twinclock.graph import FAILED, Flow, ForEach, Node, Retry, Stage, exit_outcome, leave

LOOP = Flow(
    start="A",
    steps={"A": choice("more", "done"), "B": work(), "LAST": work()},
    edges={"A": {"more": "B", "done": leave("done")}, "B": {"done": "A"}},
    finally_="LAST",
)
LOOP_TRACE = [("/A#0", "more"), ("/B#0", "done"), ("/A#1", "done"), ("/LAST#0", "done")]
EACH = row(ForEach(over="xs", item="x", body=work(), limit=1), work())
EACH_TRACE = [("/A#0/[0]", "done"), ("/A#0/[1]", "done"), ("/B#0", "done")]
RETRIED = row(work(retry=Retry(max_attempts=2), needs={"device": 1}), work(), timeout_s=1.0)


@pytest.mark.parametrize(
    ("graph", "trace", "outcome"),
    [
        (LOOP, LOOP_TRACE, "done"),
        (LOOP, [("/A#0", "failed"), ("/LAST#0", "done")], "failed"),
        (LOOP, [("/A#0", "done"), ("/LAST#0", "failed")], "failed"),
        (EACH, EACH_TRACE, "done"),
        (EACH, [("/B#0", "done")], "done"),
        (EACH, [("/A#0/[0]", "failed")], "failed"),
        (RETRIED, [("/A#0@1", "failed"), ("/A#0@2", "done"), ("/B#0", "done")], "done"),
        (RETRIED, [("/A#0@1", "failed"), ("/A#0@2", "failed")], "failed"),
        (RETRIED, [("/A#0@1", "failed")], "timeout"),
        (RETRIED, [("/A#0@1", "done"), ("/B#0", "cancelled")], "timeout"),
        (RETRIED, [], "timeout"),
    ],
)
def test_a_trace_that_the_graph_admits(graph, trace, outcome):
    assert accepts(graph, trace, outcome)


@pytest.mark.parametrize(
    ("graph", "trace", "outcome"),
    [
        (LOOP, LOOP_TRACE, "failed"),
        (LOOP, LOOP_TRACE[:-1], "done"),
        (LOOP, LOOP_TRACE[1:], "done"),
        (LOOP, [LOOP_TRACE[1], LOOP_TRACE[0], *LOOP_TRACE[2:]], "done"),
        (LOOP, [*LOOP_TRACE, ("/LAST#1", "done")], "done"),
        (LOOP, [*LOOP_TRACE, ("/A#1", "done")], "done"),
        (LOOP, [*LOOP_TRACE, ("/C#0", "done")], "done"),
        (LOOP, [("/A#0", "cancelled"), ("/LAST#0", "done")], "cancelled"),
        (LOOP, [("/A#0", "timeout"), ("/LAST#0", "done")], "failed"),
        (EACH, EACH_TRACE[1:], "done"),
        (EACH, [("/A#0/[0]", "cancelled"), *EACH_TRACE[1:]], "done"),
        (EACH, [("/A#0/[0]", "failed"), *EACH_TRACE[1:]], "done"),
        (EACH, [EACH_TRACE[1], EACH_TRACE[0], EACH_TRACE[2]], "done"),
        (RETRIED, [("/A#0@1", "failed"), ("/B#0", "done")], "done"),
        (RETRIED, [("/A#0@1", "done"), ("/A#0@2", "done"), ("/B#0", "done")], "done"),
        (RETRIED, [("/A#0@1", "failed")], "failed"),
        (RETRIED, [("/A#0", "done"), ("/B#0", "done")], "done"),
    ],
)
def test_a_trace_that_the_graph_does_not_admit(graph, trace, outcome):
    assert not accepts(graph, trace, outcome)


@given(calm_graphs(), st.integers(0, 2**32), st.randoms(use_true_random=False))
@settings(max_examples=150, deadline=None, derandomize=True, database=None)
def test_a_trace_that_was_tampered_with_is_not_accepted(graph, seed, rng):
    world = World(graph, seed, 0, Weather(fail=0.2)).run()
    trace = world.trace
    assert accepts(graph, trace, world.outcome)
    for k in rng.sample(range(len(trace)), min(6, len(trace))):
        for tampered in tamperings(graph, trace, k):
            assert not accepts(graph, tampered, world.outcome), (k, tampered)


def tamperings(graph: Node, trace: list[tuple[str, str]], k: int) -> list[list[tuple[str, str]]]:
    """Traces that differ in one run in a way that no calm run of the graph can explain."""
    path, answer = trace[k]
    before, after = trace[:k], trace[k + 1 :]
    paths = [other for other, _ in trace]
    beyond = re.sub(r"#\d+(?=[^#]*$)", f"#{len(trace)}", path)
    wrong = [
        [*before, (path, "?"), *after],
        [*before, (path, "cancelled"), *after],
        [*trace, (path, answer)],
        [*trace, (f"{path}@9", answer)],
        [*trace, (f"{path}/A#0", answer)],
        [*trace, ("/NOWHERE#0", answer)],
        *([[*trace, (beyond, answer)]] if "#" in path else []),
    ]
    if not is_all_of_the_last_copy(path, paths):
        wrong.append([*before, *after])
    flow, step = step_of(graph, path)
    if flow is not None:
        target = flow.edges.get(step, {}).get(answer)
        for other, target_then in flow.edges.get(step, {}).items():
            if FAILED not in (answer, other) and leads_elsewhere(flow, target, target_then):
                wrong.append([*before, (path, other), *after])
    return wrong


def is_all_of_the_last_copy(path: str, paths: list[str]) -> bool:
    """Without this run a ForEach might just have had an item less."""
    for match in re.finditer(r"\[(\d+)\]", path):
        around, number = path[: match.start()], int(match[1])
        numbers = [int(found[1]) for p in paths if (found := re.match(re.escape(around) + r"\[(\d+)\]", p))]
        if max(numbers) == number and numbers.count(number) == 1:
            return True
    return False


def step_of(graph: Node, path: str) -> tuple[Flow | None, str]:
    """The flow that a stage is a step of, if it is one directly, and its name there."""
    around = [place.node for place in places(graph, path)]
    match = re.search(r"/(\w+)#\d+(@\d+)?$", path)
    if len(around) < 2 or match is None or not isinstance(around[-2], Flow):
        return None, ""
    return around[-2], match[1]


def leads_elsewhere(flow: Flow, target: str | None, other: str) -> bool:
    """Would the difference show? Only if one way leads to a stage and the other to another stage or out."""
    ends = [t for t in (target, other) if t is not None]
    shows = [t for t in ends if t in flow.steps and isinstance(flow.steps[t], Stage)]
    return target != other and len(ends) == 2 and bool(shows) and all(t in shows or exit_outcome(t) for t in ends)
