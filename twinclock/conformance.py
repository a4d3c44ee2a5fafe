"""Does an executor keep its contract? `check_executor` is for everybody who writes one.

    def make_executor(script, units):
        return MyExecutor(...)  # whose operations do what the script says

    check_executor(make_executor)

The kit plays with one fresh executor after another: some by hand, command by command, some under
`drive`. Every command and event passes a ledger, which knows what the executor still owes, and raises
`ConformanceError` at the first breach.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

from twinclock._ledger import PIPELINES, ConformanceError, Ledger, Scripted
from twinclock.executor import Executor, drive
from twinclock.graph import FAILED, Flow, ForEach, Node, Retry, Scope, Spawn, Stage, leave
from twinclock.machine import Machine
from twinclock.messages import Arm, Cancel, Command, Disarm, Event, Release, Start
from twinclock.stream import ClockTime

__all__ = ["PIPELINES", "ConformanceError", "MakeExecutor", "Scripted", "check_executor"]

MakeExecutor: TypeAlias = Callable[[Mapping[str, Scripted], Mapping[str, Sequence[str]]], Executor]
"""(operation → what it does, resource → its units) → an executor that serves the pipelines `PIPELINES`."""

_ONE, _OTHER = PIPELINES
_UNITS = {"slot": ("slot:0",), "device": ("device:0", "device:1", "device:2")}


def check_executor(make_executor: MakeExecutor, *, second: float = 0.02, patience_s: float = 60.0) -> None:
    """Raises ConformanceError, with one sentence, if an executor breaks its contract.

    `second`: how many seconds on the executor's clock the kit takes for one second of its plays; a
    virtual clock can take any, a wall clock one that is long against its own delays. `patience_s`:
    seconds on the wall that one play may take, all in all a few dozen of `second`, before it counts as stuck.
    The executor is made and used in a thread of its own for each play.
    """
    for play in _PLAYS:
        _run(_Table(make_executor, second), play, patience_s)


@dataclass(slots=True)
class _Table:
    """Where a play is played."""

    make_executor: MakeExecutor
    second: float
    ledger: Ledger | None = None

    def lay(self, **script: Scripted) -> Ledger:
        """A fresh executor whose operations do as scripted; seconds are those of the play."""
        scaled = {name: each._replace(seconds=each.seconds * self.second) for name, each in script.items()}
        self.ledger = Ledger(self.make_executor(scaled, _UNITS), scaled, _UNITS)
        return self.ledger


_Play: TypeAlias = Callable[[_Table], None]


def _run(table: _Table, play: _Play, patience_s: float) -> None:
    raised: list[BaseException] = []

    def work() -> None:
        try:
            play(table)
        except BaseException as error:
            raised.append(error)
        try:
            if table.ledger is not None:
                table.ledger.close()
                table.ledger.close()
        except BaseException as error:
            raised.append(error)

    thread = threading.Thread(target=work, name=play.__name__, daemon=True)
    thread.start()
    thread.join(patience_s)
    if thread.is_alive():
        where = "make_executor" if table.ledger is None else table.ledger.doing
        raise ConformanceError(f"stuck for {patience_s:g} s in {where}")
    if raised:
        raise raised[0]


def _drive(ledger: Ledger, graphs: Mapping[str, Node], outcome: str = "done") -> None:
    machines = {pipeline: Machine(graph, pipeline) for pipeline, graph in graphs.items()}
    finishes = drive(machines, ledger, dict.fromkeys(machines, _Unseen()))
    for pipeline, finish in finishes.items():
        if finish.outcome != outcome:
            raise ConformanceError(f"pipeline {pipeline!r} should have ended {outcome!r}, but ended {finish.outcome!r}")


class _Unseen:
    """Records nothing."""

    def record(self, now: ClockTime, event: Event, commands: Sequence[Command]) -> None: ...


def _start(pipeline: str, id_: int, operation: str) -> Start:
    path = (None, operation, id_, 0)
    return Start(pipeline, id_, path, Stage(kind="work", operation=operation), {}, {}, {}, {}, {})


def _in_a_row(*operations: str, failed: str | None = None) -> Flow:
    targets = [*operations[1:], leave("done")]
    return Flow(
        start=operations[0],
        steps={name: Stage(kind="work", operation=name) for name in operations},
        edges={
            name: {"done": target, **({"failed": failed} if failed else {})}
            for name, target in zip(operations, targets, strict=True)
        },
    )


# -- the plays ---------------------------------------------------------------------------------------


def _nothing_to_do(table: _Table) -> None:
    ledger = table.lay()
    ledger.expect_clock_at_start()
    ledger.settle()
    ledger.settle()


def _time_passes(table: _Table) -> None:
    ledger = table.lay(A=Scripted(1.0), B=Scripted(2.0), C=Scripted(0.0), D=Scripted(3.0))
    _drive(ledger, {_ONE: _in_a_row("A", "B", "C", "D")})
    ledger.expect_clock_beyond(6.0 * table.second)


def _everything_is_answered(table: _Table) -> None:
    ledger = table.lay(
        at_once=Scripted(0.0),
        short=Scripted(1.0, "ok", {"x": [1, {"y": None}]}),
        long=Scripted(3.0),
        late=Scripted(2.0),
    )
    for id_, operation in enumerate(("short", "at_once", "long", "at_once", "short")):
        ledger.perform(_start(_ONE, id_, operation))
    ledger.settle()
    ledger.perform(_start(_ONE, 9, "late"))
    ledger.settle()


def _what_raises_has_failed(table: _Table) -> None:
    ledger = table.lay(
        raises=Scripted(1.0, raises=ZeroDivisionError("scripted to fail")),
        raises_at_once=Scripted(0.0, raises=LookupError("scripted to fail at once")),
        mends=Scripted(1.0),
    )
    graph = _in_a_row("raises", "raises_at_once", "mends", failed="mends")
    _drive(ledger, {_ONE: _routed(graph, mends={"done": leave("done")})})
    ledger.perform(_start(_OTHER, 77, "raises_at_once"))
    ledger.settle()
    _drive(ledger, {_ONE: _in_a_row("raises")}, FAILED)


def _routed(flow: Flow, **edges: Mapping[str, str]) -> Flow:
    return Flow(start=flow.start, steps=flow.steps, edges={**flow.edges, **edges})


def _cancelled_runs_end_too(table: _Table) -> None:
    ledger = table.lay(at_once=Scripted(0.0), short=Scripted(1.0), long=Scripted(20.0))
    for id_, operation in enumerate(("long", "short", "at_once", "long", "short")):
        ledger.perform(_start(_ONE, id_, operation))
    for id_ in (0, 1, 2):
        ledger.perform(Cancel(_ONE, id_))
    ledger.until_ended(_ONE, 4)
    ledger.perform(Cancel(_ONE, 3))
    ledger.settle()


def _units_are_granted(table: _Table) -> None:
    ledger = table.lay(A=Scripted(1.0))
    for id_, needs in enumerate(({"device": 2}, {"device": 1}, {"slot": 1, "device": 2}, {"device": 1}, {"slot": 1})):
        ledger.ask(_ONE if id_ % 2 else _OTHER, id_, needs)
    ledger.settle()
    ledger.perform(Release(_ONE, 1))
    ledger.settle()
    ledger.perform(Release(_OTHER, 0))
    ledger.ask(_ONE, 9, {"device": 3})
    ledger.ask(_ONE, 11, {"slot": 1})
    ledger.settle()
    ledger.perform(Release(_ONE, 9))
    ledger.perform(Release(_OTHER, 2))
    ledger.settle()
    ledger.perform(Release(_OTHER, 4))
    ledger.perform(Release(_ONE, 3))
    ledger.settle()


def _units_are_recalled(table: _Table) -> None:
    ledger = table.lay()
    for id_ in range(3):
        ledger.ask(_ONE, id_, {"device": 1}, yields=True)
    ledger.settle()
    ledger.ask(_OTHER, 0, {"device": 2})
    ledger.settle()
    ledger.perform(Release(_ONE, 2))
    ledger.ask(_ONE, 3, {"device": 1}, yields=True)
    ledger.perform(Release(_ONE, 1))
    ledger.settle()
    ledger.perform(Release(_OTHER, 0))
    ledger.settle()


def _timers_run(table: _Table) -> None:
    ledger, second = table.lay(), table.second
    ledger.perform(Arm(_ONE, 0, "timeout", 4 * second))
    ledger.perform(Arm(_ONE, 1, "timeout", 2 * second))
    ledger.perform(Arm(_ONE, 2, "timeout", 3 * second))
    ledger.perform(Arm(_OTHER, 2, "timeout", 1 * second))
    ledger.perform(Arm(_ONE, 3, "backoff", 0.0))
    ledger.perform(Disarm(_ONE, 2, "timeout"))
    ledger.settle()
    ledger.perform(Arm(_ONE, 1, "timeout", 1 * second))
    ledger.settle()


def _timers_of_one_node_are_apart(table: _Table) -> None:
    ledger, second = table.lay(), table.second
    ledger.perform(Arm(_ONE, 0, "timeout", 2 * second))
    ledger.perform(Disarm(_ONE, 0, "timeout"))
    ledger.perform(Arm(_ONE, 0, "backoff", 1 * second))
    ledger.perform(Arm(_ONE, 1, "timeout", 1 * second))
    ledger.settle()


def _pipelines_are_apart(table: _Table) -> None:
    ledger = table.lay(
        A=Scripted(2.0, "done", {"x": "of A"}),
        B=Scripted(1.0, "done", {"x": "of B"}),
        C=Scripted(2.0, "done", {"x": "of C"}),
    )
    for id_ in range(3):
        ledger.perform(_start(_ONE, id_, "A"))
        ledger.perform(_start(_OTHER, id_, "B"))
        ledger.perform(Arm(_ONE, id_ + 10, "timeout", (1 + id_) * table.second))
        ledger.perform(Arm(_OTHER, id_ + 10, "timeout", (3 - id_) * table.second))
    ledger.perform(Disarm(_OTHER, 10, "timeout"))
    ledger.perform(Cancel(_ONE, 1))
    ledger.settle()
    graphs = {
        pipeline: Flow(
            start="A",
            steps={"A": Stage(kind="work", operation=operation, outcomes={"done": ("x",)}, needs={"device": 2})},
            edges={"A": {"done": leave("done")}},
        )
        for pipeline, operation in ((_ONE, "A"), (_OTHER, "C"))
    }
    _drive(ledger, graphs)


def _a_whole_graph(table: _Table) -> None:
    """Copies and a spawned body compete for devices; what takes too long or fails is cancelled or tried again."""
    ledger = table.lay(
        plan=Scripted(0.0, "done", {"items": [1, 2, 3, 4, 5]}),
        train=Scripted(2.0),
        evaluate=Scripted(1.0),
        endless=Scripted(20.0),
        broken=Scripted(1.0, raises=OSError("scripted to break")),
    )
    retry = Retry(max_attempts=2, backoff_s=table.second)
    endless = Stage(kind="wait", operation="endless", timeout_s=table.second, needs={"device": 1}, retry=retry)
    broken = Stage(kind="work", operation="broken", timeout_s=30 * table.second, retry=retry)
    each = ForEach(over="items", item="item", body=_in_a_row("train"), limit=4, needs={"slot": 1})
    graph = Scope(
        body=Flow(
            start="plan",
            steps={
                "plan": Stage(kind="decide", operation="plan", outcomes={"done": ("items",)}),
                "spawn": Spawn(body=Flow(start="A", steps={"A": endless}, edges={"A": {"done": leave("done")}})),
                "each": each,
                "evaluate": Stage(kind="work", operation="evaluate", needs={"device": 3}),
                "broken": broken,
            },
            edges={
                "plan": {"done": "spawn"},
                "spawn": {"done": "each"},
                "each": {"done": "evaluate"},
                "evaluate": {"done": "broken"},
                "broken": {"done": leave("unbroken"), "failed": leave("done")},
            },
        )
    )
    _drive(ledger, {_ONE: graph, _OTHER: graph})


_PLAYS: tuple[_Play, ...] = (
    _nothing_to_do,
    _time_passes,
    _everything_is_answered,
    _what_raises_has_failed,
    _cancelled_runs_end_too,
    _units_are_granted,
    _units_are_recalled,
    _timers_run,
    _timers_of_one_node_are_apart,
    _pipelines_are_apart,
    _a_whole_graph,
)
