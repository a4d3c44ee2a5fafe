"""The interpreter in small stories, with every command that it gives; and breaches of the contract with it."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Any

import pytest
from machine_harness import AGAIN, DONE, Story, choice, row, work

from twinclock.errors import LivelockError, ProtocolError
from twinclock.graph import FAILED, Flow, ForEach, Node, Register, Retry, Scope, Spawn, leave
from twinclock.machine import Machine
from twinclock.messages import Begin, Ended, Finish, Fired, Granted, Recalled

# Stories


def test_one_stage_after_the_other():
    story = Story(row(work(outcomes={"done": ("x",)}), work(reads=("x",))))
    assert story.log == ["Start /A#0"]
    assert story.ended("/A#0", x=7) == ["Start /B#0 x=7"]
    assert story.ended("/B#0") == ["Finish done"]


def test_the_outcome_chooses_the_way():
    graph = Flow(
        start="A",
        steps={"A": choice("left", "right"), "B": work(), "C": work()},
        edges={"A": {"left": "B", "right": "C"}, "B": {"done": leave("b")}, "C": {"done": leave("c")}},
    )
    left, right = Story(graph), Story(graph)
    assert left.ended("/A#0", "left") == ["Start /B#0"]
    assert left.ended("/B#0") == ["Finish b"]
    assert right.ended("/A#0", "right") == ["Start /C#0"]
    assert right.ended("/C#0") == ["Finish c"]


def test_visits_of_nested_loops_are_counted_apart():
    inner = Flow(start="A", steps={"A": choice("more", "done")}, edges={"A": AGAIN})
    graph = Flow(
        start="A",
        steps={"A": inner, "B": choice("more", "done")},
        edges={"A": {"done": "B"}, "B": AGAIN},
    )
    story = Story(graph)
    assert story.log == ["Start /A#0/A#0"]
    assert story.ended("/A#0/A#0", "more") == ["Start /A#0/A#1"]
    assert story.ended("/A#0/A#1") == ["Start /B#0"]
    assert story.ended("/B#0", "more") == ["Start /A#1/A#0"]
    assert story.ended("/A#1/A#0") == ["Start /B#1"]
    assert story.ended("/B#1") == ["Finish done"]


def test_a_path_tells_visit_item_and_attempt():
    on_device = Flow(start="RUN", steps={"RUN": work()}, edges={"RUN": DONE}, retry=Retry(max_attempts=2))
    training = Flow(start="on_device", steps={"on_device": on_device}, edges={"on_device": DONE})
    each = ForEach(
        over="batches",
        item="batch",
        limit=1,
        body=Flow(start="training", steps={"training": training}, edges={"training": DONE}),
    )
    graph = Flow(
        start="FETCH",
        steps={"FETCH": choice("chunk", "end"), "new_data": each},
        edges={"FETCH": {"chunk": "new_data", "end": leave("done")}, "new_data": {"done": "FETCH"}},
    )
    story = Story(graph, batches=[0, 1])
    for visit in range(2):
        story.ended(f"/FETCH#{visit}", "chunk")
        for item in range(2):
            story.ended(f"/new_data#{visit}/[{item}]/training#0/on_device#0@1/RUN#0")
    story.ended("/FETCH#2", "chunk")
    assert story.failed("/new_data#2/[0]/training#0/on_device#0@1/RUN#0")[-1].endswith("backoff 0.0 s")
    resting = story.log[-1].split()[1]
    assert story.fired(resting, "backoff") == ["Start /new_data#2/[0]/training#0/on_device#0@2/RUN#0"]


def test_a_failure_can_be_routed():
    flow = Flow(start="A", steps={"A": work()}, edges={"A": {"done": leave("done"), "failed": leave("without")}})
    assert Story(flow).failed("/A#0", "lost") == ["Finish without"]


def test_a_failure_tells_what_went_wrong_if_anything_did():
    inner = Flow(
        start="A",
        steps={"A": choice("good", "bad")},
        edges={"A": {"good": leave("done"), "bad": leave(FAILED)}},
    )
    graph = Flow(
        start="A",
        steps={"A": inner, "B": work(reads=("error",))},
        edges={"A": {"done": leave("done"), "failed": "B"}, "B": DONE},
    )
    assert Story(graph).ended("/A#0/A#0", "bad") == ["Start /B#0 error=None"]
    assert Story(graph).failed("/A#0/A#0", "why") == ["Start /B#0 error={'message': 'why'}"]


def test_a_failed_stage_is_tried_again_after_a_growing_pause_without_its_device():
    retry = Retry(max_attempts=3, backoff_s=2.0, factor=3.0)
    story = Story(row(work(needs={"device": 1}, retry=retry)))
    assert story.log == ["Acquire /A#0@1 1 device"]
    assert story.granted("/A#0@1", device="gpu:0") == ["Start /A#0@1 on gpu:0"]
    assert story.failed("/A#0@1") == ["Release /A#0@1", "Arm /A#0@1 backoff 2.0 s"]
    assert story.fired("/A#0@1", "backoff") == ["Acquire /A#0@2 1 device"]
    assert story.granted("/A#0@2", device="gpu:1") == ["Start /A#0@2 on gpu:1"]
    assert story.failed("/A#0@2") == ["Release /A#0@2", "Arm /A#0@2 backoff 6.0 s"]
    assert story.fired("/A#0@2", "backoff") == ["Acquire /A#0@3 1 device"]
    assert story.granted("/A#0@3", device="gpu:0") == ["Start /A#0@3 on gpu:0"]
    assert story.failed("/A#0@3", "third") == ["Release /A#0@3", "Finish failed third"]


def test_a_root_that_is_tried_again_gives_no_path_twice():
    story = Story(row(work(), retry=Retry(max_attempts=2)))
    assert story.log == ["Start @1/A#0"]
    assert story.failed("@1/A#0") == ["Arm #0 backoff 0.0 s"]
    assert story.fired("#0", "backoff") == ["Start @2/A#0"]


def test_a_timeout_of_a_composite_cancels_what_runs_in_it_and_then_lets_the_device_go():
    on_device = row(work(), work(), needs={"device": 1}, timeout_s=9.0)
    graph = Flow(
        start="A",
        steps={"A": on_device, "B": work(reads=("error",))},
        edges={"A": {"done": leave("done"), "timeout": "B"}, "B": {"done": leave("late")}},
    )
    story = Story(graph)
    assert story.log == ["Acquire /A#0 1 device"]
    assert story.granted("/A#0", device="cpu:0") == ["Arm /A#0 timeout 9.0 s", "Start /A#0/A#0 on cpu:0"]
    assert story.ended("/A#0/A#0") == ["Start /A#0/B#0 on cpu:0"]
    assert story.fired("/A#0") == ["Cancel /A#0/B#0"]
    late = {"type": "timeout", "message": "took longer than 9.0 s"}
    assert story.ended("/A#0/B#0") == ["Release /A#0", f"Start /B#0 error={late}"]
    assert story.ended("/B#0") == ["Finish late"]


def test_what_a_cancelled_run_writes_is_dropped():
    graph = Flow(
        start="A",
        steps={"A": work(outcomes={"done": ("x",)}, timeout_s=1.0), "B": work(reads=("x",))},
        edges={"A": {"done": "B", "timeout": "B"}, "B": DONE},
        initial={"x": "old"},
    )
    story = Story(graph)
    assert story.log == ["Arm #1 timeout 1.0 s", "Start /A#0"]
    assert story.fired("/A#0") == ["Cancel /A#0"]
    assert story.ended("/A#0", x="new") == ["Start /B#0 x=old"]


def test_a_stage_that_yields_gives_its_device_back_and_goes_where_its_edge_leads():
    yields = work(needs={"device": 1}, yields=True, retry=Retry(max_attempts=2))
    story = Story(Flow(start="A", steps={"A": yields}, edges={"A": {"yielded": "A", **DONE}}))
    story.granted("/A#0@1", device="cpu:0")
    assert story.told(Recalled(story.id("/A#0@1"))) == ["Cancel /A#0@1"]
    assert story.told(Recalled(story.id("/A#0@1"))) == [], "twice"
    assert story.ended("/A#0@1", "cancelled") == ["Release /A#0@1", "Acquire /A#1@1 1 device"], "no attempt is used up"
    story.granted("/A#1@1", device="cpu:0")
    story.told(Recalled(story.id("/A#1@1")))
    assert story.ended("/A#1@1") == ["Release /A#1@1", "Acquire /A#2@1 1 device"], "it was done, but too late"
    story.granted("/A#2@1", device="cpu:0")
    story.ended("/A#2@1")
    assert story.told(Recalled(story.id("/A#2@1"))) == []
    assert story.machine.num_ignored == 2


def test_what_does_not_yield_can_not_be_recalled():
    story = Story(row(work(needs={"device": 1})))
    story.granted("/A#0", device="cpu:0")
    with pytest.raises(ProtocolError, match="/A#0 does not yield"):
        story.told(Recalled(story.id("/A#0")))


def test_a_request_says_what_it_is_for():
    graph = row(work(outcomes={"done": ("set",)}), row(work(), needs={"device": 1}, work="set"))
    machine = Machine(graph)
    machine.feed(Begin({}))
    (acquire,) = machine.feed(Ended(1, "done", {"set": {"num_samples": 7}}))
    assert (acquire.work, acquire.yields) == ({"num_samples": 7}, False)


def test_a_timeout_that_was_not_needed_is_disarmed():
    story = Story(row(work(timeout_s=5.0)))
    assert story.ended("/A#0") == ["Disarm /A#0 timeout", "Finish done"]


def test_a_failed_copy_cancels_the_others():
    story = Story(row(ForEach(over="xs", item="x", body=work(reads=("x",)))), xs=[3, 4, 5])
    assert story.log == [f"Start /A#0/[{k}] x={k + 3}" for k in range(3)]
    assert story.ended("/A#0/[0]") == []
    assert story.failed("/A#0/[1]", "one") == ["Cancel /A#0/[2]"]
    assert story.ended("/A#0/[2]", "cancelled") == ["Finish failed one"]


def test_no_copy_is_started_any_more_after_one_has_failed():
    each = ForEach(over="xs", item="x", body=work(), limit=2)
    story = Story(row(each, timeout_s=9.0), xs=[0, 1, 2, 3])
    assert story.failed("/A#0/[0]", "zero") == ["Cancel /A#0/[1]"]
    assert story.ended("/A#0/[1]") == ["Disarm #0 timeout", "Finish failed zero"]
    story = Story(row(each, timeout_s=9.0), xs=[0, 1, 2, 3])
    assert story.fired("#0") == ["Cancel /A#0/[0]", "Cancel /A#0/[1]"]
    assert story.ended("/A#0/[0]") == []
    assert story.ended("/A#0/[1]") == ["Finish timeout took longer than 9.0 s"]


def test_a_failed_copy_is_only_recorded_if_so_declared():
    each = ForEach(over="xs", item="x", body=work(), on_failure="record")
    story = Story(row(each), xs=[3, 4])
    assert story.failed("/A#0/[0]") == []
    assert story.ended("/A#0/[1]") == ["Finish done"]


def test_copies_are_started_in_order_as_room_is_made():
    story = Story(row(ForEach(over="xs", item="x", body=work(), limit=2), work()), xs=list("abcd"))
    assert story.log == ["Start /A#0/[0]", "Start /A#0/[1]"]
    assert story.ended("/A#0/[1]") == ["Start /A#0/[2]"]
    assert story.ended("/A#0/[2]") == ["Start /A#0/[3]"]
    assert story.ended("/A#0/[0]") == []
    assert story.ended("/A#0/[3]") == ["Start /B#0"]


def test_nothing_to_do_is_done_at_once_however_often():
    inner = ForEach(over="none", item="y", body=work())
    story = Story(row(ForEach(over="xs", item="x", body=inner, limit=1), work()), xs=list(range(3000)), none=[])
    assert story.log == ["Start /B#0"]


def test_a_copy_has_its_own_slots():
    body = row(work(outcomes={"done": ("y",)}), work(reads=("y",)))
    story = Story(row(ForEach(over="xs", item="x", body=body), work(reads=("y",))), xs=[0, 1], y="around")
    story.ended("/A#0/[0]/A#0", y="first")
    assert story.ended("/A#0/[1]/A#0", y="second") == ["Start /A#0/[1]/B#0 y=second"]
    story.ended("/A#0/[0]/B#0")
    assert story.ended("/A#0/[1]/B#0") == ["Start /B#0 y=around"]


def test_a_scope_joins_what_it_spawned():
    body = row(Spawn(body=row(work(), work())), work())
    story = Story(row(Scope(body=body), work()))
    assert story.log == ["Start /A#0/A#0/A#0", "Start /A#0/B#0"]
    assert story.ended("/A#0/B#0") == []
    assert story.ended("/A#0/A#0/A#0") == ["Start /A#0/A#0/B#0"]
    assert story.ended("/A#0/A#0/B#0") == ["Start /B#0"]


def test_a_spawned_body_sees_a_snapshot_and_does_not_hold_what_the_spawner_holds():
    spawned = row(work(needs={"device": 1}, reads=("x",)))
    body = row(Spawn(body=spawned), work(outcomes={"done": ("x",)}), work(reads=("x",)), needs={"training_slot": 1})
    story = Story(Scope(body=body), x="before")
    assert story.log == ["Acquire / 1 training_slot"]
    assert story.granted("/", training_slot="t:0") == ["Acquire /A#0/A#0 1 device", "Start /B#0 on t:0"]
    assert story.ended("/B#0", x="after") == ["Start /C#0 x=after on t:0"]
    assert story.granted("/A#0/A#0", device="d:0") == ["Start /A#0/A#0 x=before on d:0"]
    assert story.ended("/C#0") == ["Release /"]
    assert story.ended("/A#0/A#0") == ["Release /A#0/A#0", "Finish done"]


def test_a_spawned_failure_fails_its_scope_only_if_so_declared():
    def graph(**fields: Any) -> Node:
        return row(Scope(body=row(Spawn(body=work(), **fields), work())))

    recorded, fatal = Story(graph()), Story(graph(on_failure="fail"))
    assert recorded.failed("/A#0/A#0") == []
    assert recorded.ended("/A#0/B#0") == ["Finish done"]
    assert fatal.failed("/A#0/A#0", "spawned") == ["Cancel /A#0/B#0"]
    assert fatal.ended("/A#0/B#0") == ["Finish failed spawned"]


@pytest.mark.parametrize(
    "graph",
    [
        Scope(body=Spawn(body=work())),
        Scope(body=Spawn(body=Spawn(body=work()))),
        Scope(body=ForEach(over="xs", item="x", body=Spawn(body=work()))),
        Scope(body=Flow(start="A", steps={"A": work(), "B": Spawn(body=work())}, edges={"A": DONE}, finally_="B")),
    ],
)
def test_a_spawn_may_stand_anywhere_in_a_scope(graph):
    story = Story(graph, xs=[1])
    while story.log != ["Finish done"]:
        (line,) = story.log
        story.ended(line.split()[1])


def with_last(*steps: Node, last: Node, **fields: Any) -> Flow:
    flow = row(*steps, **fields)
    return replace(flow, steps={**flow.steps, "LAST": last}, finally_="LAST")


def test_finally_runs_on_every_way_out():
    graph = with_last(choice("done"), last=work())
    done, failed = Story(graph), Story(graph)
    assert done.ended("/A#0") == ["Start /LAST#0"]
    assert done.ended("/LAST#0") == ["Finish done"]
    assert failed.failed("/A#0", "first") == ["Start /LAST#0"]
    assert failed.ended("/LAST#0") == ["Finish failed first"]


def test_a_flow_fails_with_its_finally_step():
    story = Story(with_last(work(), last=work()))
    story.ended("/A#0")
    assert story.failed("/LAST#0", "last") == ["Finish failed last"]


def test_finally_runs_although_cancelled_and_is_not_cancelled():
    body = with_last(work(), last=row(work(), work()))
    story = Story(row(ForEach(over="xs", item="x", body=body), timeout_s=9.0), xs=[1, 2])
    assert story.failed("/A#0/[0]/A#0") == ["Start /A#0/[0]/LAST#0/A#0"]
    story.ended("/A#0/[0]/LAST#0/A#0")
    assert story.ended("/A#0/[0]/LAST#0/B#0") == ["Cancel /A#0/[1]/A#0"]
    assert story.ended("/A#0/[1]/A#0", "cancelled") == ["Start /A#0/[1]/LAST#0/A#0"]
    assert story.fired("#0") == []
    assert story.ended("/A#0/[1]/LAST#0/A#0") == ["Start /A#0/[1]/LAST#0/B#0"]
    assert story.ended("/A#0/[1]/LAST#0/B#0") == ["Finish timeout took longer than 9.0 s"]


def test_finally_runs_once_in_a_flow_that_is_cancelled_just_as_it_ends():
    """The first copy fails in the moment in which the flow in the second has ended, but for its finally step."""
    spawns = with_last(Spawn(body=work()), last=work())
    fails = Flow(start="A", steps={"A": ForEach(over="x", item="y", body=spawns)}, edges={"A": {"done": leave(FAILED)}})
    story = Story(Scope(body=ForEach(over="xs", item="x", body=fails)), xs=[[], [1]])
    assert story.log == ["Start /[1]/A#0/[0]/A#0", "Start /[1]/A#0/[0]/LAST#0"]
    assert story.ended("/[1]/A#0/[0]/LAST#0") == []
    assert story.ended("/[1]/A#0/[0]/A#0") == ["Finish failed"]


def test_a_request_that_waits_is_withdrawn_when_cancelled_and_no_finally_step_runs():
    body = with_last(work(), last=work(), needs={"device": 1}, retry=Retry(max_attempts=2))
    story = Story(row(ForEach(over="xs", item="x", body=body)), xs=[1, 2])
    story.granted("/A#0/[0]@1", device="d:0")
    story.failed("/A#0/[0]@1/A#0")
    assert story.ended("/A#0/[0]@1/LAST#0") == ["Release /A#0/[0]@1", "Arm /A#0/[0]@1 backoff 0.0 s"]
    story.fired("/A#0/[0]@1", "backoff")
    story.granted("/A#0/[0]@2", device="d:0")
    story.failed("/A#0/[0]@2/A#0")
    assert story.ended("/A#0/[0]@2/LAST#0") == ["Release /A#0/[0]@2", "Release /A#0/[1]@1", "Finish failed no"]


def test_what_rests_is_not_tried_again_when_cancelled():
    body = work(retry=Retry(max_attempts=3, backoff_s=5.0))
    story = Story(row(ForEach(over="xs", item="x", body=body), timeout_s=9.0), xs=[1])
    assert story.failed("/A#0/[0]@1") == ["Arm /A#0/[0]@1 backoff 5.0 s"]
    assert story.fired("#0") == ["Disarm /A#0/[0]@1 backoff", "Finish timeout took longer than 9.0 s"]


def test_a_flow_that_rests_after_its_finally_step_is_not_tried_again_when_cancelled():
    body = with_last(work(), last=work(), retry=Retry(max_attempts=2, backoff_s=5.0))
    story = Story(row(ForEach(over="xs", item="x", body=body), timeout_s=9.0), xs=[1])
    story.failed("/A#0/[0]@1/A#0")
    assert story.ended("/A#0/[0]@1/LAST#0") == ["Arm #2 backoff 5.0 s"]
    assert story.fired("#0") == ["Disarm #2 backoff", "Finish timeout took longer than 9.0 s"]


@pytest.mark.parametrize("is_late", [True, False])
@pytest.mark.parametrize("ending", ["done", FAILED])
def test_a_flow_that_is_cancelled_before_or_in_its_finally_step_is_not_tried_again(is_late, ending):
    body = with_last(work(), last=work(), retry=Retry(max_attempts=2))
    story = Story(row(ForEach(over="xs", item="x", body=body), timeout_s=9.0), xs=[1])
    if not is_late:
        assert story.fired("#0") == ["Cancel /A#0/[0]@1/A#0"]
    assert story.failed("/A#0/[0]@1/A#0") == ["Start /A#0/[0]@1/LAST#0"]
    if is_late:
        assert story.fired("#0") == []
    assert story.ended("/A#0/[0]@1/LAST#0", ending) == ["Finish timeout took longer than 9.0 s"]


def test_what_was_cancelled_from_around_is_not_tried_again_though_it_failed():
    retry = Retry(max_attempts=3)
    body = row(work(retry=retry), retry=retry)
    story = Story(row(ForEach(over="xs", item="x", body=body), timeout_s=9.0), xs=[1])
    assert story.fired("#0") == ["Cancel /A#0/[0]@1/A#0@1"]
    assert story.failed("/A#0/[0]@1/A#0@1") == ["Finish timeout took longer than 9.0 s"]


def test_a_composite_that_took_too_long_is_tried_again_as_a_whole():
    on_device = row(work(), work(), needs={"device": 1}, timeout_s=9.0, retry=Retry(max_attempts=2))
    story = Story(row(on_device))
    story.granted("/A#0@1", device="d:0")
    story.ended("/A#0@1/A#0")
    story.fired("/A#0@1")
    assert story.ended("/A#0@1/B#0", "cancelled") == ["Release /A#0@1", "Arm /A#0@1 backoff 0.0 s"]
    assert story.fired("/A#0@1", "backoff") == ["Acquire /A#0@2 1 device"]
    assert story.granted("/A#0@2", device="d:1") == ["Arm /A#0@2 timeout 9.0 s", "Start /A#0@2/A#0 on d:1"]


def test_a_timeout_still_to_come_is_overruled_from_around():
    """The flow took too long and is being cancelled, when everything around is: it is not tried again."""
    slow = row(work(), timeout_s=1.0, retry=Retry(max_attempts=2))
    story = Story(row(ForEach(over="xs", item="x", body=slow), timeout_s=9.0), xs=[1])
    assert story.log == ["Arm #0 timeout 9.0 s", "Arm #2 timeout 1.0 s", "Start /A#0/[0]@1/A#0"]
    assert story.fired("#2") == ["Cancel /A#0/[0]@1/A#0"]
    assert story.fired("#0") == []
    assert story.ended("/A#0/[0]@1/A#0", "cancelled") == ["Finish timeout took longer than 9.0 s"]


def test_a_preempted_training_goes_on_from_its_checkpoint_on_another_device():
    on_device = Flow(
        start="RUN",
        steps={"RUN": work(reads=("checkpoint",), outcomes={"trained": (), "preempted": ("checkpoint",)})},
        edges={"RUN": {"trained": leave("done"), "preempted": leave("preempted")}},
        needs={"device": 1},
    )
    graph = Flow(
        start="on_device",
        steps={"on_device": on_device},
        edges={"on_device": {"done": leave("done"), "preempted": "on_device"}},
        initial={"checkpoint": None},
    )
    story = Story(graph)
    assert story.granted("/on_device#0", device="d:0") == ["Start /on_device#0/RUN#0 checkpoint=None on d:0"]
    assert story.ended("/on_device#0/RUN#0", "preempted", checkpoint="step 90") == [
        "Release /on_device#0",
        "Acquire /on_device#1 1 device",
    ]
    assert story.granted("/on_device#1", device="d:1") == ["Start /on_device#1/RUN#0 checkpoint=step 90 on d:1"]
    assert story.ended("/on_device#1/RUN#0", "trained") == ["Release /on_device#1", "Finish done"]


def test_a_stage_sees_registers_as_they_stand_when_it_starts():
    writes = work(writes_registers=("r",))
    reads = work(reads_registers=("r",))
    graph = Scope(registers={"r": Register(initial="-")}, body=row(Spawn(body=row(reads, reads)), row(writes, writes)))
    story = Story(graph)
    assert story.log == ["Start /A#0/A#0 r=-@0", "Start /B#0/A#0"]
    assert story.ended("/B#0/A#0", r="first") == ["Start /B#0/B#0"]
    assert story.ended("/A#0/A#0") == ["Start /A#0/B#0 r=first@1"]
    assert story.ended("/B#0/B#0", r="second") == []
    assert story.ended("/A#0/B#0") == ["Finish done"]


@pytest.mark.parametrize(
    ("register", "writes", "value"),
    [
        (Register(initial=0), [1, 2], 2),
        (Register(initial=0), [], 0),
        (Register(merge="newest"), [{"trigger": 3}, {"trigger": 5}, {"trigger": 4}], {"trigger": 5}),
        (Register(merge="newest"), [{"trigger": 3, "k": 1}, {"trigger": 3, "k": 2}], {"trigger": 3, "k": 1}),
        (Register(merge="newest", initial={"trigger": 9}), [{"trigger": 3}], {"trigger": 9}),
        (Register(merge="append"), [], {"total": 0, "items": []}),
        (Register(merge="append"), [[1, 2], [], [3]], {"total": 3, "items": [1, 2, 3]}),
        (Register(merge="append", keep=2), [[1, 2], [3, 4, 5], [6]], {"total": 6, "items": [5, 6]}),
    ],
)
def test_a_register_merges_what_is_written(register, writes, value):
    loop = Flow(
        start="A",
        steps={"A": choice("more", "done", reads_registers=("r",), writes_registers=("r",))},
        edges={"A": AGAIN},
    )
    story = Story(row(Scope(registers={"r": register}, exports=("r",), body=loop), work(reads=("r",))))
    for visit, written in enumerate(writes):
        story.ended(f"/A#0/A#{visit}", "more", r=written)
    assert story.log == [f"Start /A#0/A#{len(writes)} r={value}@{len(writes)}"]
    assert story.ended(f"/A#0/A#{len(writes)}") == [f"Start /B#0 r={value}"]


def test_each_entry_of_a_scope_has_fresh_registers():
    scope = Scope(registers={"r": Register(initial=0)}, body=work(reads_registers=("r",), writes_registers=("r",)))
    story = Story(Flow(start="A", steps={"A": scope, "B": work()}, edges={"A": {"done": "B"}, "B": {"done": "A"}}))
    story.ended("/A#0", r=7)
    assert story.ended("/B#0") == ["Start /A#1 r=0@0"]


def test_a_failure_writes_no_register():
    scope = Scope(
        registers={"r": Register(initial=0)},
        body=Flow(
            start="A",
            steps={"A": work(writes_registers=("r",)), "B": work(reads_registers=("r",))},
            edges={"A": {"done": "B", "failed": "B"}, "B": DONE},
        ),
    )
    assert Story(scope).ended("/A#0", FAILED, error=None, r=7) == ["Start /B#0 r=0@0"]


def test_a_cancelled_scope_that_has_not_begun_exports_nothing():
    scope = Scope(registers={"r": Register()}, exports=("r",), needs={"device": 1}, body=work())
    story = Story(with_last(scope, last=work(), timeout_s=1.0))
    assert story.fired("#0") == ["Release /A#0", "Start /LAST#0"]


def test_labels_go_with_every_stage_run_inside():
    inner = row(work(), label="trigger")
    story = Story(row(work(outcomes={"done": ("trigger",)}), inner, label="batch"), batch=4)
    assert story.log == ["Start /A#0 for batch 4"]
    assert story.ended("/A#0", trigger=9) == ["Start /B#0/A#0 for batch 4 for trigger 9"]


def test_what_is_outstanding_is_what_an_executor_must_take_over():
    rests = work(retry=Retry(max_attempts=2, backoff_s=3.0))
    runs = row(work(timeout_s=5.0), needs={"device": 1})
    waits = work(needs={"device": 1})
    graph = Scope(body=row(Spawn(body=rests), Spawn(body=runs), Spawn(body=waits), work(timeout_s=1.0)))
    story = Story(graph)
    story.failed("/A#0@1")
    story.granted("/B#0", device="d:0")
    story.fired("/D#0")
    held, commands = story.machine.outstanding()
    assert [(request.id, units) for request, units in held] == [(story.id("/B#0"), {"device": ("d:0",)})]
    assert [story._line(command) for command in commands] == [
        "Arm /A#0@1 backoff 3.0 s",
        "Acquire /C#0 1 device",
        "Start /D#0",
        "Cancel /D#0",
        "Arm /B#0/A#0 timeout 5.0 s",
        "Start /B#0/A#0 on d:0",
    ]
    assert story.machine.open_stage_runs() == ["/A#0@1 rests", "/C#0 waits for device", "/D#0 runs", "/B#0/A#0 runs"]


# A loop that must grow


def growing(**fields: Any) -> Flow:
    return Flow(
        start="A",
        steps={"A": work(outcomes={"more": ("n",), "done": ()}, **fields), "B": work()},
        edges={"A": {"more": "A", "done": "B"}, "B": {"done": "A"}},
        initial={"n": 0},
        growing="n",
    )


@pytest.mark.parametrize("fields", [{}, {"timeout_s": 1.0}])
def test_a_loop_goes_on_as_long_as_its_slot_grows(fields):
    story = Story(growing(**fields))
    for visit in range(5):
        assert f"Start /A#{visit + 1}" in story.ended(f"/A#{visit}", "more", n=visit + 1)


@pytest.mark.parametrize("fields", [{}, {"timeout_s": 1.0}])
@pytest.mark.parametrize("last", [1, 0.5])
def test_a_loop_that_does_not_grow_is_named(fields, last):
    story = Story(growing(**fields))
    story.ended("/A#0", "more", n=1)
    with pytest.raises(LivelockError, match=re.escape(f"/A#2: slot 'n' is still {last};")):
        story.ended("/A#1", "more", n=last)


def test_a_loop_must_grow_on_every_way_round():
    story = Story(growing())
    story.ended("/A#0")
    with pytest.raises(LivelockError, match=r"/A#1: slot 'n' is still 0"):
        story.ended("/B#0")


# Breaches of the contract

BREACHES = {
    "an outcome that is not declared": (
        lambda story: story.ended("/A#0", "excellent"),
        "/A#0 ended 'excellent'; declared: more, done, failed",
    ),
    "cancelled, though nobody asked": (lambda story: story.ended("/A#0", "cancelled"), "/A#0 ended 'cancelled'"),
    "timed out, though that is the machine's to say": (lambda story: story.ended("/A#0", "timeout"), "/A#0 ended"),
    "a slot is missing": (lambda story: story.ended("/A#0", "more", n=1), "/A#0 ended without slot 'x'"),
    "a slot of another outcome": (lambda story: story.ended("/A#0", n=1), "/A#0 wrote 'n', which"),
    "a register that is not its own": (lambda story: story.ended("/A#0", s=1), "/A#0 wrote 's', which"),
    "a register that appends is given no list": (lambda story: story.ended("/A#0", r=1), "/A#0 wrote register 'r'"),
    "the newest of what has no trigger": (lambda story: story.ended("/A#0", m=1), "/A#0 wrote register 'm'"),
    "an end before the grant": (lambda story: story.ended("/B#0"), "/B#0 is not a running stage"),
    "an end of a composite": (lambda story: story.told(Ended(1, "done", {})), "/ is not a running stage"),
    "an id from nowhere ends": (lambda story: story.told(Ended(99, "done", {})), "id 99"),
    "an id from nowhere is granted something": (lambda story: story.told(Granted(99, {})), "id 99"),
    "a timer from nowhere": (lambda story: story.told(Fired(-1, "timeout")), "id -1"),
    "a second beginning": (lambda story: story.told(Begin({})), "Begin"),
}


@pytest.mark.parametrize("breach", BREACHES)
def test_a_breach_of_the_contract_is_named(breach):
    more = work(outcomes={"more": ("n", "x"), "done": ()}, writes_registers=("r", "m"))
    graph = Scope(
        registers={"r": Register(merge="append"), "m": Register(merge="newest"), "s": Register()},
        body=Flow(
            start="A",
            steps={"A": more, "B": work(needs={"device": 1})},
            edges={"A": {"more": "B", "done": "B"}, "B": DONE},
        ),
    )
    story = Story(graph)
    if "grant" in breach and "nowhere" not in breach:
        story.ended("/A#0")
    act, message = BREACHES[breach]
    with pytest.raises(ProtocolError, match=re.escape(message)):
        act(story)


def test_nothing_can_happen_before_the_beginning():
    with pytest.raises(ProtocolError, match="id 0"):
        Machine(work()).feed(Ended(0, "done", {}))


def test_what_comes_late_or_twice_is_counted_and_changes_nothing():
    story = Story(row(work(needs={"device": 1}, timeout_s=1.0), work()))
    story.granted("/A#0", device="d:0")
    start = story.machine.outstanding()
    assert story.granted("/A#0", device="d:1") == []
    assert story.fired("/A#0", "backoff") == []
    assert story.machine.outstanding() == start
    story.ended("/A#0")
    late = [Granted(1, {}), Ended(1, "done", {}), Ended(1, "?", {"y": 1}), Fired(1, "timeout"), Fired(1, "backoff")]
    assert [story.told(event) for event in late] == [[]] * 5
    assert story.ended("/B#0") == ["Finish done"]
    assert [story.told(event) for event in late] == [[]] * 5
    assert story.machine.num_ignored == 12
    assert story.machine.finished == Finish("main", "done", None)
