"""Small stories on the SimPy clock, each with its exact log of events and times."""

from __future__ import annotations

import gc

import pytest

from sim.effects import Effect
from sim.executor import SimExecutor
from twinclock.allocator import Allocator, Sharing
from twinclock.errors import DeadlockError
from twinclock.executor import drive
from twinclock.graph import Flow, ForEach, Retry, Stage, leave
from twinclock.machine import Machine
from twinclock.messages import Acquire, Arm, Cancel, Disarm, Ended, Finish, Fired, Granted, Release, Start, path_text


@pytest.fixture(autouse=True)
def _collecting_garbage():
    """An executor that is not closed leaves the collector off; most of these tests do not care to close theirs."""
    yield
    gc.enable()


def lasting(seconds, outcome="done", values=None):
    return lambda start, executor: Effect(seconds, outcome, values or {})


def failing(start, executor):
    raise RuntimeError("out of memory")


def make(bodies, units=None, **patience_s):
    rank = Sharing(rank=lambda ask, now: now + patience_s.get(ask.queue, 0.0))
    return SimExecutor({"main": bodies}, Allocator(units or {}, dict.fromkeys(units or {}, rank)))


def work(operation, **options):
    return Stage(kind="work", operation=operation, **options)


def start(id_, operation):
    return Start("main", id_, (None, operation, 0, 0), work(operation), {}, {}, {}, {}, {})


def heard(executor, number=100):
    """The next events with their times."""
    log = []
    while len(log) < number and (happened := executor.next()) is not None:
        log.append((executor.now(), happened[1]))
    return log


class Log:
    """What ended when, and with what."""

    def __init__(self):
        self.open = {}
        self.lines = []

    def record(self, now, event, commands):
        if isinstance(event, Ended) and event.id in self.open:
            self.lines.append((now, path_text(self.open.pop(event.id).path), event.outcome))
        self.open |= {command.id: command for command in commands if isinstance(command, Start)}


def run(graph, bodies, units=None, **patience_s):
    executor, log = make(bodies, units, **patience_s), Log()
    try:
        finishes = drive({"main": Machine(graph)}, executor, {"main": log})
    finally:
        executor.close()
    return finishes["main"], log.lines


def each(items, body, **options):
    """A copy of the body for each of some items, all at once."""
    return Flow(
        start="LIST",
        steps={
            "LIST": work("LIST", outcomes={"done": ("items",)}),
            "each": ForEach(over="items", item="item", body=body, **options),
        },
        edges={"LIST": {"done": "each"}, "each": {"done": leave("done")}},
    ), {"LIST": lasting(0.0, values={"items": items})}


def test_events_come_in_the_order_of_their_times_and_ties_in_the_order_of_asking():
    executor = make({"A": lasting(3.0), "B": lasting(1.0), "C": lasting(3.0)})
    for id_, operation in enumerate("ABC"):
        executor.perform(start(id_, operation))
    assert heard(executor) == [(1.0, Ended(1, "done", {})), (3.0, Ended(0, "done", {})), (3.0, Ended(2, "done", {}))]
    assert executor.next() is None


def test_what_takes_no_time_comes_before_the_clock_moves():
    executor = make({"LONG": lasting(0.5), "NONE": lasting(0.0)})
    executor.perform(start(0, "LONG"))
    executor.perform(start(1, "NONE"))
    assert heard(executor) == [(0.0, Ended(1, "done", {})), (0.5, Ended(0, "done", {}))]


def test_an_exception_in_a_body_is_the_failure_of_its_stage():
    executor = make({"A": failing})
    executor.perform(start(0, "A"))
    ((now, (id_, outcome, values)),) = heard(executor)
    assert (now, id_, outcome) == (0.0, 0, "failed")
    assert values["error"]["type"] == "RuntimeError"
    assert values["error"]["message"] == "out of memory"
    assert "in failing" in values["error"]["traceback"]


def test_an_operation_without_a_body_fails_too():
    executor = make({})
    executor.perform(start(0, "UNHEARD_OF"))
    ((_, ended),) = heard(executor)
    assert ended.outcome == "failed"
    assert "UNHEARD_OF" in ended.values["error"]["message"]


def test_units_go_to_those_who_asked_first():
    executor = make({}, {"device": ["gpu:0"]})
    for id_ in range(3):
        executor.perform(Acquire("main", id_, None, {"device": 1}, ""))
    assert heard(executor) == [(0.0, Granted(0, {"device": ("gpu:0",)}))]
    executor.perform(Release("main", 1))
    executor.perform(Release("main", 0))
    assert heard(executor) == [(0.0, Granted(2, {"device": ("gpu:0",)}))]


def test_patience_counts_on_the_simulated_clock():
    """An evaluation that asked at 0 s with a patience of 5 s goes before the training that asks at 6 s."""
    body = work("WORK", needs={"device": 1}, queue="evaluation")
    bodies = {"TICK": lasting(3.0), "HOLD": lasting(10.0)}
    executor = make(bodies, {"device": ["gpu:0"]}, evaluation=5.0)
    executor.perform(Acquire("main", 0, None, {"device": 1}, "training"))
    executor.perform(Acquire("main", 1, None, body.needs, "evaluation"))
    executor.perform(start(2, "TICK"))
    assert [event for _, event in heard(executor)] == [Granted(0, {"device": ("gpu:0",)}), Ended(2, "done", {})]
    executor.perform(Acquire("main", 3, None, {"device": 1}, "training"))  # at 3 s: still passes
    executor.perform(start(4, "TICK"))
    assert heard(executor) == [(6.0, Ended(4, "done", {}))]
    executor.perform(Acquire("main", 5, None, {"device": 1}, "training"))  # at 6 s: too late to pass
    order = []
    for holder in (0, 3, 1):
        executor.perform(Release("main", holder))
        order += [event.id for _, event in heard(executor)]
    assert order == [3, 1, 5]


def test_a_cancelled_stage_run_ends_at_once_and_once():
    executor = make({"A": lasting(9.0), "B": lasting(12.0)})
    executor.perform(start(0, "A"))
    executor.perform(start(1, "B"))
    executor.perform(Cancel("main", 0))
    assert heard(executor) == [(0.0, Ended(0, "cancelled", {})), (12.0, Ended(1, "done", {}))]


def test_a_timer_that_was_disarmed_does_not_fire():
    executor = make({})
    executor.perform(Arm("main", 0, "timeout", 2.0))
    executor.perform(Arm("main", 1, "timeout", 3.0))
    executor.perform(Disarm("main", 0, "timeout"))
    assert heard(executor) == [(3.0, Fired(1, "timeout"))]


def test_disarming_one_timer_leaves_the_other_of_the_same_node_alone():
    """A node that failed in time: its timeout is disarmed, then it rests before its next attempt."""
    executor = make({})
    executor.perform(Arm("main", 0, "timeout", 60.0))
    executor.perform(Disarm("main", 0, "timeout"))
    executor.perform(Arm("main", 0, "backoff", 1.0))
    assert heard(executor) == [(1.0, Fired(0, "backoff"))]


def test_what_fails_before_its_timeout_is_tried_again():
    tries = []

    def second_time_lucky(start, executor):
        tries.append(executor.now())
        return Effect(5.0, "done", {}) if len(tries) == 2 else failing(start, executor)

    graph = work("A", timeout_s=60.0, retry=Retry(max_attempts=3, backoff_s=2.0))
    finish, log = run(graph, {"A": second_time_lucky})
    assert (finish.outcome, tries) == ("done", [0.0, 2.0])
    assert log == [(0.0, "@1", "failed"), (7.0, "@2", "done")]


def test_what_takes_too_long_is_cut_off_and_tried_again():
    graph = work("A", timeout_s=4.0, retry=Retry(max_attempts=3, backoff_s=1.0))
    finish, log = run(graph, {"A": lasting(9.0)})
    assert (finish.outcome, finish.error["type"]) == ("timeout", "timeout")
    assert log == [(4.0, "@1", "cancelled"), (9.0, "@2", "cancelled"), (15.0, "@3", "cancelled")]


def test_a_stage_that_ends_as_its_timeout_fires_has_ended():
    graph = work("A", timeout_s=4.0)
    finish, _ = run(graph, {"A": lasting(4.0)})
    assert finish.outcome == "timeout"  # the timer was set before the stage began


def test_three_jobs_on_two_devices():
    graph, listing = each([1, 2, 3], work("WORK", needs={"device": 1}))
    finish, log = run(graph, listing | {"WORK": lasting(10.0)}, {"device": ["gpu:0", "gpu:1"]})
    assert finish == Finish("main", "done", None)
    assert log == [
        (0.0, "/LIST#0", "done"),
        (10.0, "/each#0/[0]", "done"),
        (10.0, "/each#0/[1]", "done"),
        (20.0, "/each#0/[2]", "done"),
    ]


def test_the_first_failure_ends_the_others_where_they_stand():
    def body(start, executor):
        return (
            Effect(3.0, "failed", {"error": {"message": "broke"}}) if start.inputs["item"] else Effect(9.0, "done", {})
        )

    graph, listing = each([0, 1, 0], work("WORK", reads=("item",)))
    finish, log = run(graph, listing | {"WORK": body})
    assert finish.error == {"message": "broke"}
    assert log[1:] == [
        (3.0, "/each#0/[1]", "failed"),
        (3.0, "/each#0/[0]", "cancelled"),
        (3.0, "/each#0/[2]", "cancelled"),
    ]


def test_a_body_can_end_another_stage_run_before_its_time():
    def cut(start, executor):
        executor.end_now(("main", 0), "superseded", {"kept": 1})
        return Effect(1.0, "done", {})

    executor = make({"A": lasting(9.0), "CUT": cut})
    executor.perform(start(0, "A"))
    executor.perform(start(1, "CUT"))
    assert heard(executor) == [(0.0, Ended(0, "superseded", {"kept": 1})), (1.0, Ended(1, "done", {}))]


def test_several_pipelines_share_the_devices_of_one_executor():
    def graph(seconds):
        return Stage(kind="work", operation="WORK", needs={"device": 1}), {"WORK": lasting(seconds)}

    pipelines = {"a": graph(4.0), "b": graph(3.0), "c": graph(2.0)}
    executor = SimExecutor({name: bodies for name, (_, bodies) in pipelines.items()}, Allocator({"device": ["gpu:0"]}))
    logs = {name: Log() for name in pipelines}
    machines = {name: Machine(stage, name) for name, (stage, _) in pipelines.items()}
    finishes = drive(machines, executor, logs)
    executor.close()
    assert [finish.outcome for finish in finishes.values()] == ["done"] * 3
    assert [log.lines for log in logs.values()] == [[(4.0, "", "done")], [(7.0, "", "done")], [(9.0, "", "done")]]


def test_a_run_in_which_nothing_is_left_to_happen_says_who_waits():
    """Two holders that each wait for what the other has: the static check would have refused this graph."""

    def nested(outer, inner):
        return Flow(
            start="A",
            steps={"A": work("A"), "B": work("B", needs={inner: 1})},
            edges={"A": {"done": "B"}, "B": {"done": leave("done")}},
            needs={outer: 1},
        )

    machines = {"main": Machine(nested("left", "right")), "other": Machine(nested("right", "left"), "other")}
    bodies = {"A": lasting(1.0), "B": lasting(1.0)}
    executor = SimExecutor({"main": bodies, "other": bodies}, Allocator({"left": ["l"], "right": ["r"]}))
    with pytest.raises(DeadlockError, match=r"/B#0 waits for right; /B#0 waits for left"):
        drive(machines, executor, {"main": Log(), "other": Log()})
    executor.close()


def test_the_garbage_collector_is_as_before_once_the_executor_is_closed():
    assert gc.isenabled()
    executor = make({})
    executor.close()
    executor.close()
    assert gc.isenabled()
    gc.disable()
    try:
        make({}).close()
        assert not gc.isenabled()
    finally:
        gc.enable()
