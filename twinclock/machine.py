"""The interpreter of stage graphs. No clock, no I/O, no threads, no randomness: events in, commands out.

The rules, all of which are in this file:

1.  Same events in, same commands out. `feed` runs to completion before it returns.
2.  A node is entered, asks for its needs if it has any, begins when they are granted, ends once.
    Needs are given back when it has ended, and between attempts.
3.  A stage sees slots and registers as they stand when it starts; what it writes takes effect when it
    ends. Only slots of the outcome that it ended with are written, and `error` by a failure.
4.  A failure without an edge leaves its flow with `failed`. A `finally` step runs on every way out.
5.  A ForEach copy and a spawned body have a snapshot of the slots around; nothing they write in their
    slots is seen outside. A scope ends after its body and all it spawned.
6.  Cancel is a request. What is cancelled ends when its last stage run has ended, whatever that run
    answers, and its values are dropped. A failed copy of a ForEach cancels the others (if it says so),
    a timeout the node it stands on, a recall the stage whose units somebody else asked for.
7.  A node that ended with an outcome it retries rests, then is entered anew; cancelled, it is not.
8.  Late and duplicate events are counted and ignored, an Outage is ignored. An event that no sound executor could
    send is a ProtocolError; a loop that comes round without its growing slot having grown is a LivelockError.

Endings go through an agenda and never recurse: a composite can't end while its parts are still being
entered. Recursion follows the depth of the graph only.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from typing import Any, Final

from twinclock._compile import FLOW, FOR_EACH, SCOPE, SPAWN, STAGE, Code, compile_graph
from twinclock._frame import RESTING, RUNNING, WAITING, Cell, Frame, rest_s
from twinclock._snapshot import frames_from_json, frames_to_json
from twinclock.errors import LivelockError, ProtocolError
from twinclock.graph import BUILT_IN_OUTCOMES, CANCELLED, ERROR_SLOT, FAILED, TIMEOUT, YIELDED, Json, Node
from twinclock.messages import (
    Acquire,
    Arm,
    Begin,
    Cancel,
    Command,
    Disarm,
    Ended,
    Event,
    Finish,
    Fired,
    Granted,
    Path,
    Placement,
    Recalled,
    Release,
    Start,
    path_text,
)

_NOTHING: Final[Mapping[str, Any]] = {}


class Machine:
    """Interprets one graph for one pipeline; `feed` it events, do its commands."""

    def __init__(self, graph: Node, pipeline: str = "main") -> None:
        self.pipeline = pipeline
        self.finished: Finish | None = None
        self.num_ignored = 0
        """Late and duplicate events met so far."""
        self._root = compile_graph(graph)
        self._live: dict[int, Frame] = {}
        self._next_id = 0
        self._agenda: deque[tuple[Frame, str, Json]] = deque()
        self._out: list[Command] = []

    @classmethod
    def restore(cls, graph: Node, snapshot: Json, pipeline: str = "main") -> Machine:
        """A machine that goes on as the one would that gave `snapshot` for the same graph."""
        machine = cls(graph, pipeline)
        machine._next_id, machine.num_ignored = snapshot["next_id"], snapshot["num_ignored"]
        machine._live = frames_from_json(machine._root, pipeline, snapshot["frames"])
        if snapshot["finished"] is not None:
            machine.finished = Finish(pipeline, *snapshot["finished"])
        return machine

    def snapshot(self) -> Json:
        """All that `feed` depends on, as JSON."""
        return {
            "next_id": self._next_id,
            "num_ignored": self.num_ignored,
            "finished": None if self.finished is None else [self.finished.outcome, self.finished.error],
            "frames": frames_to_json(self._root, self._live.values()),
        }

    @property
    def num_open(self) -> int:
        """How many nodes have been entered and have not ended."""
        return len(self._live)

    @property
    def begun(self) -> bool:
        """Has it been fed `Begin`?"""
        return self._next_id > 0

    @property
    def registers(self) -> dict[str, Json]:
        """The values of the registers as they stand, by name; none as long as no scope is entered."""
        return {name: cell.value for frame in self._live.values() for name, cell in frame.cells.items()}

    def feed(self, event: Event) -> list[Command]:
        """Everything that follows from one event.

        Raises ProtocolError (an event that the contract rules out) or LivelockError.
        """
        out = self._out = []
        if type(event) is Ended:
            if not self._walk_on(event):
                self._stage_ended(event)
        elif type(event) is Granted:
            frame = self._find(event.id)
            if frame is None or frame.state != WAITING or frame.doom is not None:
                self.num_ignored += 1
            else:
                frame.placement = {**frame.placement, **event.placement}
                self._begin(frame)
        elif type(event) is Fired:
            self._timer_fired(event)
        elif type(event) is Recalled:
            self._recalled(event)
        elif type(event) is Begin:
            if self._next_id:
                raise ProtocolError("Begin fed twice")
            path = None if self._root.retry is None else (None, "", 0, 1)
            self._enter(self._root, None, path, dict(event.slots), {}, None, _NOTHING)
        agenda = self._agenda
        while agenda:
            frame, outcome, error = agenda.popleft()
            if frame.id in self._live:
                self._end(frame, outcome, error)
        return out

    def outstanding(self) -> tuple[list[tuple[Acquire, Placement]], list[Command]]:
        """What an executor must take over to go on from here.

        What was granted, each with the request for it, and the commands not yet answered.
        """
        held: list[tuple[Acquire, Placement]] = []
        commands: list[Command] = []
        for frame in self._live.values():
            code = frame.code
            if frame.state == WAITING:
                commands.append(self._request(frame))
                continue
            if frame.state == RUNNING and code.needs:
                units = {resource: frame.placement[resource] for resource in code.needs}
                held.append((self._request(frame), units))
            if frame.armed and code.timeout_s is not None:
                commands.append(Arm(self.pipeline, frame.id, "timeout", code.timeout_s))
            if frame.state == RESTING:
                commands.append(Arm(self.pipeline, frame.id, "backoff", rest_s(frame)))
            elif code.kind == STAGE:
                commands.append(frame.start)
                if frame.doom is not None:
                    commands.append(Cancel(self.pipeline, frame.id))
        return held, commands

    def open_stage_runs(self) -> list[str]:
        """The paths of what has begun to wait or run and has not ended, for error messages."""
        lines = []
        for frame in self._live.values():
            if frame.state == WAITING:
                lines.append(f"{path_text(frame.path) or '/'} waits for {', '.join(frame.code.needs)}")
            elif frame.code.kind == STAGE:
                lines.append(f"{path_text(frame.path) or '/'} {'rests' if frame.state == RESTING else 'runs'}")
        return lines

    # -- events --------------------------------------------------------------------------------------

    def _find(self, id_: int) -> Frame | None:
        if not 0 <= id_ < self._next_id:
            raise ProtocolError(f"event for id {id_}, which was never given out")
        return self._live.get(id_)

    def _stage_ended(self, event: Ended) -> None:
        id_, outcome, values = event
        frame = self._live.get(id_) or self._find(id_)
        if frame is None or frame.state == RESTING:
            self.num_ignored += 1
            return
        code = frame.code
        if code.kind != STAGE or frame.state != RUNNING:
            raise ProtocolError(f"{path_text(frame.path) or '/'} is not a running stage; it can't end {outcome!r}")
        error: Json = None
        if frame.doom is not None:
            outcome, error = frame.doom
        elif outcome == FAILED:
            error = values.get(ERROR_SLOT)
        else:
            slots = code.stage.outcomes.get(outcome)
            if slots is None:
                declared = ", ".join((*code.stage.outcomes, FAILED))
                raise ProtocolError(f"{path_text(frame.path) or '/'} ended {outcome!r}; declared: {declared}")
            if slots or values:
                self._write(frame, slots, values)
        self._end(frame, outcome, error)

    def _walk_on(self, event: Ended) -> bool:
        """From a plain stage of a flow to what follows: what `_stage_ended`, `_end` and `_after_step` come to then.

        By far most events are of this kind, so this path calls nothing that it can do without; and if
        another plain stage follows, the frame becomes that of the next. False: take the long way.
        """
        id_, outcome, values = event
        live = self._live
        frame = live.get(id_)
        if frame is None or frame.doom is not None:
            return False
        code = frame.code
        slots = code.walk.get(outcome)
        flow = frame.parent
        if slots is None or flow is None or flow.finishing:
            return False
        if slots or values:
            self._write(frame, slots, values)
        del live[id_]
        target = code.next[outcome]
        if not isinstance(target, Code):
            del flow.kids[frame]
            self._end(flow, target, None)
            return True
        if not target.plain:
            del flow.kids[frame]
            self._visit(flow, target)
            return True
        name, visits = target.name, flow.visits
        number = visits.get(name, 0)
        visits[name] = number + 1
        if flow.code.growing is not None:
            self._ensure_grown(flow, name, number)
        frame.id = id_ = self._next_id
        self._next_id = id_ + 1
        frame.code = target
        frame.path = (flow.path, name, number, 0)
        live[id_] = frame
        self._start(frame)
        return True

    def _write(self, frame: Frame, slots: tuple[str, ...], values: Mapping[str, Json]) -> None:
        into = frame.slots
        for slot in slots:
            if slot not in values:
                raise ProtocolError(f"{path_text(frame.path) or '/'} ended without slot {slot!r}")
            into[slot] = values[slot]
        if len(values) > len(slots):
            for name in values:
                if name in frame.code.stage.writes_registers:
                    try:
                        frame.cells[name].write(values[name])
                    except ValueError as error:
                        where = path_text(frame.path) or "/"
                        raise ProtocolError(f"{where} wrote register {name!r}: {error}") from None
                elif name not in slots:
                    where = path_text(frame.path) or "/"
                    raise ProtocolError(f"{where} wrote {name!r}, which its outcome does not declare")

    def _timer_fired(self, event: Fired) -> None:
        frame = self._find(event.id)
        if frame is not None and event.timer == "timeout" and frame.armed:
            frame.armed = False
            self._cancel(frame, TIMEOUT, {"type": "timeout", "message": f"took longer than {frame.code.timeout_s} s"})
        elif frame is not None and event.timer == "backoff" and frame.state == RESTING and frame.doom is None:
            del self._live[frame.id]
            if frame.parent is not None:
                del frame.parent.kids[frame]
            path = None if frame.path is None else (*frame.path[:3], frame.attempt + 1)
            self._enter(
                frame.code,
                frame.parent,
                path,
                frame.slots,
                frame.cells,
                frame.scope,
                frame.placement,
                frame.attempt + 1,
            )
        else:
            self.num_ignored += 1

    def _recalled(self, event: Recalled) -> None:
        frame = self._find(event.id)
        if frame is None or frame.state != RUNNING or frame.doom is not None:
            self.num_ignored += 1
        elif not frame.code.yields:
            raise ProtocolError(f"{path_text(frame.path) or '/'} does not yield; its units can't be recalled")
        else:
            self._cancel(frame, YIELDED, None)

    # -- entering ------------------------------------------------------------------------------------

    def _enter(
        self,
        code: Code,
        parent: Frame | None,
        path: Path,
        slots: dict[str, Json],
        cells: dict[str, Cell],
        scope: Frame | None,
        placement: Placement,
        attempt: int = 1,
    ) -> None:
        """Enter a node, and what follows at once inside it."""
        frame = Frame(code, parent, path, slots, attempt)
        frame.cells = cells
        frame.scope = scope
        frame.placement = placement
        frame.labels = _NOTHING if parent is None else parent.labels
        frame.id = id_ = self._next_id
        self._next_id = id_ + 1
        self._live[id_] = frame
        if parent is not None:
            parent.kids[frame] = None
        if code.plain:
            frame.state = RUNNING
            self._start(frame)
        elif code.needs:
            frame.state = WAITING
            self._out.append(self._request(frame))
        else:
            self._begin(frame)

    def _request(self, frame: Frame) -> Acquire:
        code = frame.code
        work = None if code.work is None else frame.slots[code.work]
        return Acquire(self.pipeline, frame.id, frame.path, code.needs, code.queue, work, code.yields)

    def _begin(self, frame: Frame) -> None:
        code = frame.code
        kind = code.kind
        frame.state = RUNNING
        if code.timeout_s is not None:
            frame.armed = True
            self._out.append(Arm(self.pipeline, frame.id, "timeout", code.timeout_s))
        if kind == STAGE:
            self._start(frame)
            return
        frame.kids = {}
        if kind == FLOW:
            if code.initial:
                frame.slots.update(code.initial)
            if code.label is not None:
                frame.labels = {**frame.labels, code.label: frame.slots[code.label]}
            frame.visits = {}
            if code.growing is not None:
                frame.grown = {}
            self._visit(frame, code.start)
        elif kind == FOR_EACH:
            frame.left = 0
            self._fill(frame)
        elif kind == SCOPE:
            own = {name: Cell(register) for name, register in code.registers.items()}
            frame.cells = {**frame.cells, **own}
            self._enter_body(code.body, frame, frame.path, frame.slots)
        else:
            self._spawn(frame, code.body, frame.path)
            self._agenda.append((frame, "done", None))

    def _start(self, frame: Frame) -> None:
        stage, slots, cells = frame.code.stage, frame.slots, frame.cells
        inputs = {name: slots[name] for name in stage.reads} if stage.reads else _NOTHING
        registers, versions = _NOTHING, _NOTHING
        if stage.reads_registers:
            registers, versions = {}, {}
            for name in stage.reads_registers:
                cell = cells[name]
                registers[name], versions[name] = cell.value, cell.version
        # tuple.__new__ gives the same Start as Start(…), at a third of its price
        frame.start = start = tuple.__new__(
            Start,
            (self.pipeline, frame.id, frame.path, stage, inputs, registers, versions, frame.placement, frame.labels),
        )
        self._out.append(start)

    def _visit(self, flow: Frame, step: Code) -> None:
        """Enter a step of a flow; a spawn starts its body and is over at once, so the walk goes on."""
        while True:
            visits, name = flow.visits, step.name
            number = visits.get(name, 0)
            visits[name] = number + 1
            if flow.code.growing is not None:
                self._ensure_grown(flow, name, number)
            if step.kind != SPAWN or flow.finishing:
                path = (flow.path, name, number, 0 if step.retry is None else 1)
                self._enter(step, flow, path, flow.slots, flow.cells, flow.scope, flow.placement)
                return
            self._spawn(flow, step.body, (flow.path, name, number, 0))
            target = step.next["done"]
            if not isinstance(target, Code):
                self._agenda.append((flow, target, None))
                return
            step = target

    def _spawn(self, spawner: Frame, body: Code, path: Path) -> None:
        scope = spawner.scope
        assert scope is not None  # the static check: a spawn stands inside a scope
        self._enter_body(body, scope, path, dict(spawner.slots))

    def _enter_body(self, body: Code, scope: Frame, path: Path, slots: dict[str, Json]) -> None:
        inner = path if body.retry is None else (path, "", 0, 1)
        self._enter(body, scope, inner, slots, scope.cells, scope, scope.placement)

    def _ensure_grown(self, flow: Frame, name: str, number: int) -> None:
        growing = flow.code.growing or ""
        now = flow.slots[growing]
        if number and now <= flow.grown[name]:
            where = path_text((flow.path, name, number, 0))
            raise LivelockError(f"{where}: slot {growing!r} is still {now!r}; it must grow at each turn of the loop")
        flow.grown[name] = now

    def _fill(self, each: Frame) -> None:
        """Start copies until the limit is reached or no item is left; nothing left and nothing running: done."""
        code = each.code
        items = each.slots[code.over]
        while each.left < len(items) and (code.limit is None or len(each.kids) < code.limit):
            number = each.left
            each.left = number + 1
            path = (each.path, None, number, 0 if code.body.retry is None else 1)
            slots = {**each.slots, code.item: items[number]}
            self._enter(code.body, each, path, slots, each.cells, each.scope, each.placement)
        if not each.kids:
            self._agenda.append((each, "done", None))

    # -- ending --------------------------------------------------------------------------------------

    def _end(self, frame: Frame, outcome: str, error: Json) -> None:
        """`frame` has nothing running inside any more: end it, and whatever ends with it, from the inside out."""
        while True:
            code = frame.code
            if frame.finishing and frame.kids:
                return  # on the agenda twice: it was to end already when it was cancelled
            if frame.doom is not None and not frame.finishing:
                outcome, error = frame.doom
            if code.finally_ is not None and not frame.finishing and frame.state == RUNNING:
                frame.finishing = True
                frame.result = (outcome, error)
                self._visit(frame, code.finally_)
                return
            if frame.armed:
                frame.armed = False
                self._out.append(Disarm(self.pipeline, frame.id, "timeout"))
            if code.needs and frame.state != RESTING:
                self._out.append(Release(self.pipeline, frame.id))
            if code.retry is not None and outcome in code.retry.on and frame.attempt < code.retry.max_attempts:
                frame.state = RESTING
                frame.doom = None
                frame.finishing = False
                self._out.append(Arm(self.pipeline, frame.id, "backoff", rest_s(frame)))
                return
            parent = frame.parent
            del self._live[frame.id]
            if error is not None or outcome in BUILT_IN_OUTCOMES:
                frame.slots[ERROR_SLOT] = error
            elif code.kind == SCOPE and outcome != CANCELLED:
                for name in code.exports:
                    frame.slots[name] = frame.cells[name].value
            if parent is None:
                self.finished = Finish(self.pipeline, outcome, error)
                self._out.append(self.finished)
                return
            del parent.kids[frame]
            around = self._after_step if parent.code.kind == FLOW else self._after_copy
            left = around(parent, code, outcome, error)
            if left is None:
                return
            frame, (outcome, error) = parent, left

    def _after_step(self, flow: Frame, step: Code, outcome: str, error: Json) -> tuple[str, Json] | None:
        """A step of a flow has ended: enter the next, or say what the flow ends with."""
        if flow.finishing:
            if outcome in BUILT_IN_OUTCOMES and flow.result != (CANCELLED, None):
                flow.result = (FAILED, error)
            return flow.result
        if flow.doom is not None:
            return flow.doom
        target = step.next[outcome]
        if isinstance(target, Code):
            self._visit(flow, target)
            return None
        return target, error if target == FAILED else None

    def _after_copy(self, parent: Frame, body: Code, outcome: str, error: Json) -> tuple[str, Json] | None:
        """A copy of a ForEach, or a part of a Scope, has ended: what its parent ends with, if it does."""
        code = parent.code
        if code.kind == SCOPE and body is code.body:
            parent.result = (outcome, error)
        if parent.doom is None and body.fatal and outcome in BUILT_IN_OUTCOMES:
            self._cancel(parent, FAILED, error)
        elif parent.doom is None and code.kind == FOR_EACH:
            self._fill(parent)
        elif not parent.kids:
            return parent.doom or parent.result or (outcome, error)
        return None

    def _cancel(self, frame: Frame, outcome: str, error: Json) -> None:
        """Ask everything inside to end; the frame ends with `outcome` once it all has."""
        if frame.finishing:
            if outcome == CANCELLED:
                frame.result = (CANCELLED, None)
            return
        if frame.doom is not None:
            if outcome == CANCELLED:
                frame.doom = (CANCELLED, None)
            return
        frame.doom = (outcome, error)
        if frame.state == RESTING:
            self._out.append(Disarm(self.pipeline, frame.id, "backoff"))
        elif frame.state == RUNNING and frame.code.kind == STAGE:
            self._out.append(Cancel(self.pipeline, frame.id))
            return
        elif frame.state == RUNNING and frame.kids:
            for kid in list(frame.kids):
                self._cancel(kid, CANCELLED, None)
            return
        self._agenda.append((frame, outcome, error))
