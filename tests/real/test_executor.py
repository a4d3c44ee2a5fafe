"""The real executor and its pool, with workers that are real processes but need no torch."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from multiprocessing.context import SpawnProcess
from pathlib import Path

import pytest
from light_worker import light_worker
from real_runs import PATIENCE_S, until

from real.executor import Body, Ending, RealExecutor
from real.pool import WorkerPool
from twinclock.allocator import Allocator
from twinclock.check import ensure_sound
from twinclock.conformance import PIPELINES, Scripted, check_executor
from twinclock.graph import Flow, ForEach, Stage, leave
from twinclock.machine import Machine
from twinclock.messages import Arm, Begin, Cancel, Disarm, Ended, Fired, Start
from twinclock.stream import ClockTime
from twinclock.watch import UNWATCHED


class Workshop:
    """An executor with light workers, and what they have noted."""

    def __init__(self, folder: Path, num_devices: int, at_start: str, grace_s: float = PATIENCE_S) -> None:
        self.log = folder / "log"
        self.devices = tuple(f"cpu:{index}" for index in range(num_devices))
        self.pool = WorkerPool(light_worker, self.devices, (str(self.log), at_start))
        bodies = {
            "CONNECT": lambda start, executor: executor.connect(start, {}),
            "JOB": job,
            "LAUNCH": launch,
            "AT_ONCE": lambda start, executor: Ending("done", {}),
        }
        allocator = Allocator({"device": self.devices})
        self.executor = RealExecutor({"main": bodies}, allocator, self.pool, UNWATCHED, ClockTime(0.0), grace_s)

    def start(self, id_: int, operation: str, do: str = "", *, device: str = "cpu:0") -> None:
        stage = Stage(kind="work", operation=operation)
        inputs = {"job": {"do": do, "id": f"job {id_}", "say": id_}}
        self.executor.perform(Start("main", id_, None, stage, inputs, {}, {}, {"device": (device,)}, {}))

    def next(self) -> Ended:
        happened = self.executor.next()
        assert happened is not None
        pipeline, event = happened
        assert pipeline == "main"
        return event

    def noted(self) -> list[str]:
        return [line.split(" ", 1)[1] for line in self.lines()]

    def worker(self, line: str) -> int:
        """The process id of the worker that notes a line, once it has."""
        lines = until(lambda: [each for each in self.lines() if each.endswith(f" {line}")], f"{line!r} is noted")
        return int(lines[-1].split()[0])

    def lines(self) -> list[str]:
        return self.log.read_text().splitlines() if self.log.exists() else []


def launch(start: Start, executor: RealExecutor) -> Ending:
    executor.launch(start, start.placement["device"], start.inputs["job"])
    return Ending("done", {})


def job(start: Start, executor: RealExecutor) -> None:
    executor.launch(start, start.placement["device"], start.inputs["job"])
    executor.await_job(start, start.inputs["job"]["id"], lambda result: Ending("done", {"said": result}))


@pytest.fixture
def workshop(tmp_path, request) -> Iterator[Workshop]:
    made = Workshop(tmp_path, *getattr(request, "param", (1, "ready")))
    yield made
    made.executor.close()
    made.executor.close()
    assert not any(is_alive(int(line.split()[0])) for line in made.lines()), "a worker was left behind"


def is_alive(process: int) -> bool:
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


@pytest.mark.parametrize("workshop", [(2, "ready")], indirect=True)
def test_jobs_run_on_their_devices_and_end_with_their_results(workshop):
    workshop.start(0, "CONNECT")
    assert workshop.next() == Ended(0, "done", {})
    assert workshop.noted() == ["start", "start"]
    workshop.start(1, "JOB", "echo", device="cpu:0")
    workshop.start(2, "JOB", "echo", device="cpu:1")
    ended = sorted([workshop.next(), workshop.next()])
    assert ended == [Ended(1, "done", {"said": 1}), Ended(2, "done", {"said": 2})]
    assert workshop.worker("begin job 1") != workshop.worker("begin job 2")
    assert workshop.executor.next() is None


@pytest.mark.parametrize(
    ("workshop", "message"),
    [((2, "refuse"), "no such class"), ((1, "leave"), "the worker of cpu:0 ended with exit code 3")],
    indirect=["workshop"],
)
def test_a_worker_that_can_not_start_fails_the_connection(workshop, message):
    workshop.start(0, "CONNECT")
    event = workshop.next()
    assert (event.id, event.outcome, event.values["error"]["message"]) == (0, "failed", message)


@pytest.mark.parametrize("workshop", [(1, "die at first")], indirect=True)
def test_a_worker_that_is_killed_before_it_is_ready_is_started_again(workshop):
    workshop.start(0, "CONNECT")
    assert workshop.next() == Ended(0, "done", {})
    assert workshop.noted() == ["start", "start"]


@pytest.mark.parametrize("workshop", [(1, "die")], indirect=True)
def test_but_not_for_ever(workshop):
    workshop.start(0, "CONNECT")
    event = workshop.next()
    assert event.outcome == "failed"
    assert event.values["error"]["message"] == "the worker of cpu:0 was ended by a signal: Killed"
    assert workshop.noted() == ["start"] * 4


def test_a_killed_worker_is_noticed_at_once_and_another_takes_over(workshop):
    workshop.start(1, "JOB", "ignore")
    old = workshop.worker("begin job 1")
    os.kill(old, signal.SIGKILL)
    began_s = time.monotonic()
    event = workshop.next()
    assert time.monotonic() - began_s < 5.0  # no timer is armed: nothing but the death itself can have told
    assert event.outcome == "failed"
    assert event.values["error"] == {
        "type": "WorkerDied",
        "message": "the worker of cpu:0 was ended by a signal: Killed",
    }
    workshop.start(2, "JOB", "echo")
    assert workshop.next() == Ended(2, "done", {"said": 2})
    assert workshop.worker("begin job 2") != old


def test_a_job_handed_to_a_dead_worker_fails_like_one_under_way(workshop):
    workshop.start(0, "CONNECT")
    workshop.next()
    worker = workshop.worker("start")
    os.kill(worker, signal.SIGKILL)
    until(lambda: not is_alive(worker), "the worker is dead")
    workshop.start(1, "JOB", "echo")
    assert workshop.next().outcome == "failed"
    workshop.start(2, "JOB", "echo")
    assert workshop.next() == Ended(2, "done", {"said": 2})


def test_a_worker_that_dies_in_the_middle_of_a_message_is_a_dead_worker(workshop):
    workshop.start(1, "JOB", "stammer")
    event = workshop.next()
    assert event.values["error"]["message"] == "the worker of cpu:0 ended with exit code 4"


def test_a_worker_can_not_be_interrupted_even_before_it_can_say_so(workshop):
    workshop.pool.start("cpu:0")
    process = workshop.pool._workers["cpu:0"].process
    blocked = next(
        line.split()[1]
        for line in Path(f"/proc/{process.pid}/status").read_text().splitlines()
        if line.startswith("SigBlk")
    )
    for number in (signal.SIGINT, signal.SIGTERM):
        assert int(blocked, 16) & 1 << (number - 1)
        assert number not in signal.pthread_sigmask(signal.SIG_BLOCK, ())
    workshop.worker("start")  # else the fixture closes before there is a worker to speak of


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupt_while_a_worker_is_started_waits_until_the_worker_is_known(workshop, monkeypatch, number):
    def interrupted(*_):
        raise KeyboardInterrupt

    spawned = SpawnProcess.start

    def start_and_interrupt(process):
        signal.raise_signal(number)
        spawned(process)

    before = {each: signal.signal(each, interrupted) for each in (signal.SIGINT, signal.SIGTERM)}
    try:
        with monkeypatch.context() as patch:
            patch.setattr(SpawnProcess, "start", start_and_interrupt)
            with pytest.raises(KeyboardInterrupt):
                workshop.pool.start("cpu:0")
        assert signal.getsignal(number) is interrupted
    finally:
        for each, handler in before.items():
            signal.signal(each, handler)
    workshop.start(1, "JOB", "echo")
    assert workshop.next() == Ended(1, "done", {"said": 1})
    assert workshop.noted().count("start") == 1


@pytest.mark.parametrize("workshop", [(1, "hang")], indirect=True)
def test_workers_that_never_get_ready_do_not_outlive_the_executor(workshop):
    workshop.start(0, "CONNECT")
    workshop.worker("start")


def test_a_cancelled_job_stops_and_its_stage_run_is_cancelled(workshop):
    workshop.start(1, "JOB", "listen")
    workshop.worker("begin job 1")
    workshop.executor.perform(Cancel("main", 1))
    workshop.executor.perform(Cancel("main", 1))
    assert workshop.next() == Ended(1, "cancelled", {})
    assert workshop.noted() == ["start", "begin job 1", "end job 1"]
    assert workshop.executor.next() is None


def test_a_job_whose_launch_was_cancelled_stops_though_nobody_waits_for_it(workshop):
    workshop.start(1, "LAUNCH", "listen")
    workshop.executor.perform(Cancel("main", 1))
    assert workshop.next() == Ended(1, "done", {})  # it had ended already
    assert workshop.executor.next() is None
    assert workshop.noted() == ["start", "begin job 1", "end job 1"]
    assert not workshop.executor.has_job("job 1")


@pytest.mark.parametrize("workshop", [(1, "ready", 0.2)], indirect=True)
def test_a_job_that_does_not_listen_is_killed_before_the_next_one_begins(workshop):
    workshop.start(1, "JOB", "ignore")
    old = workshop.worker("begin job 1")
    workshop.executor.perform(Cancel("main", 1))
    assert workshop.next() == Ended(1, "cancelled", {})
    assert not is_alive(old)
    workshop.start(2, "JOB", "echo")
    assert workshop.next() == Ended(2, "done", {"said": 2})


@pytest.mark.parametrize("workshop", [(2, "ready", PATIENCE_S)], indirect=True)
def test_suspended_every_job_stops_and_is_waited_for(workshop):
    workshop.start(1, "JOB", "listen", device="cpu:0")
    workshop.start(2, "JOB", "listen", device="cpu:1")
    for number in (1, 2):
        workshop.worker(f"begin job {number}")
    while workshop.pool.are_starting:
        workshop.executor._look()
    workshop.executor.suspend()
    assert sorted(line for line in workshop.noted() if line.startswith("end")) == ["end job 1", "end job 2"]


@pytest.mark.parametrize("workshop", [(1, "hang", PATIENCE_S)], indirect=True)
def test_suspended_a_job_that_waits_for_its_worker_is_not_waited_for(workshop):
    workshop.start(1, "JOB", "listen")
    workshop.worker("start")
    workshop.executor.suspend()
    assert workshop.noted() == ["start"]


@pytest.mark.parametrize("workshop", [(2, "ready", 0.2)], indirect=True)
def test_suspended_a_job_that_does_not_listen_is_given_up_and_one_whose_worker_dies_too(workshop):
    workshop.start(1, "JOB", "ignore", device="cpu:0")
    workshop.start(2, "JOB", "stammer", device="cpu:1")
    deaf = workshop.worker("begin job 1")
    while workshop.pool.are_starting:
        workshop.executor._look()
    workshop.executor.suspend()
    workshop.executor.close()
    assert not is_alive(deaf)


@pytest.mark.parametrize("workshop", [(1, "ready", 0.2)], indirect=True)
def test_a_device_passes_on_only_when_its_job_has_ended(workshop):
    """Three jobs for one device, the first two over their time: one stops when asked, one has to be killed."""
    said = {"done": ("said",)}
    stage = Stage(kind="wait", operation="JOB", outcomes=said, reads=("job",), needs={"device": 1}, timeout_s=600.0)
    each = Flow(start="JOB", steps={"JOB": stage}, edges={"JOB": {"done": leave("done"), "timeout": leave("late")}})
    graph = Flow(
        start="each",
        initial={"jobs": [{"do": do, "id": f"job {do}", "say": 1} for do in ("listen", "ignore", "echo")]},
        steps={"each": ForEach(over="jobs", item="job", body=each)},
        edges={"each": {"done": leave("done")}},
    )
    ensure_sound(graph)
    machine, events, outcomes = Machine(graph), deque([Begin({})]), []
    while machine.finished is None:
        event = events.popleft() if events else workshop.next()
        outcomes += [event.outcome] if isinstance(event, Ended) else []
        for command in machine.feed(event):
            workshop.executor.perform(command)
            if isinstance(command, Start) and command.inputs["job"]["do"] != "echo":
                workshop.worker(f"begin {command.inputs['job']['id']}")
                events.append(Fired(command.id, "timeout"))
    assert machine.finished.outcome == "done"
    assert outcomes == ["cancelled", "cancelled", "done"]
    assert workshop.noted() == [
        *("start", "begin job listen", "end job listen", "begin job ignore"),
        *("start", "begin job echo", "end job echo"),
    ]


def test_a_result_is_kept_until_somebody_waits_for_it(workshop):
    workshop.start(1, "LAUNCH", "echo")
    assert workshop.next() == Ended(1, "done", {})
    assert workshop.executor.next() is None  # nothing is left to happen, but the result is here
    workshop.start(1, "JOB", "echo")
    assert workshop.next() == Ended(1, "done", {"said": 1})
    assert workshop.noted() == ["start", "begin job 1", "end job 1"]


def test_workers_are_heard_while_there_is_enough_to_do_without_them(workshop):
    workshop.start(1, "JOB", "echo")
    deadline = time.monotonic() + PATIENCE_S
    workshop.start(2, "AT_ONCE")
    while (event := workshop.next()).id != 1:
        assert time.monotonic() < deadline
        workshop.start(2, "AT_ONCE")
    assert event == Ended(1, "done", {"said": 1})


@pytest.fixture
def lone() -> Iterator[RealExecutor]:
    """An executor without workers."""
    bodies = {
        "LATER": lambda start, executor: executor.end_later(start, start.inputs["s"], Ending("done", {})),
        "THREAD": lambda start, executor: executor.in_thread(start, start.inputs["task"]),
        "RAISES": lambda start, executor: 1 / 0,
    }
    executor = RealExecutor({"main": bodies}, Allocator({}), WorkerPool(None, (), ()), UNWATCHED, ClockTime(100.0))
    yield executor
    executor.close()


def perform(executor: RealExecutor, id_: int, operation: str, **inputs) -> None:
    executor.perform(Start("main", id_, None, Stage(kind="work", operation=operation), inputs, {}, {}, {}, {}))


def test_the_clock_goes_on_from_where_it_was(lone):
    first, second = lone.now(), lone.now()
    assert 100.0 <= first <= second < 100.0 + PATIENCE_S


def test_timers_fire_in_their_order_unless_they_are_disarmed(lone):
    perform(lone, 1, "LATER", s=0.03)
    lone.perform(Arm("main", 2, "timeout", 0.01))
    lone.perform(Arm("main", 3, "timeout", 0.02))
    lone.perform(Arm("main", 3, "backoff", 0.015))
    lone.perform(Disarm("main", 3, "timeout"))
    began_s = lone.now()
    happened = [lone.next() for _ in range(4)]
    assert happened == [
        ("main", Fired(2, "timeout")),
        ("main", Fired(3, "backoff")),
        ("main", Ended(1, "done", {})),
        None,
    ]
    assert lone.now() - began_s >= 0.02


def test_work_in_threads_runs_side_by_side(lone):
    meet = threading.Barrier(2, timeout=PATIENCE_S)

    def task() -> Ending:
        meet.wait()
        return Ending("done", {})

    perform(lone, 1, "THREAD", task=task)
    perform(lone, 2, "THREAD", task=task)
    happened = [lone.next(), lone.next()]
    assert sorted(happened) == [("main", Ended(1, "done", {})), ("main", Ended(2, "done", {}))]


def test_what_raises_has_failed(lone):
    perform(lone, 1, "RAISES")
    perform(lone, 2, "THREAD", task=lambda: 1 / 0)
    for id_ in (1, 2):
        _, event = lone.next()
        assert (event.id, event.outcome, event.values["error"]["type"]) == (id_, "failed", "ZeroDivisionError")


def test_a_wait_can_be_cancelled(lone):
    perform(lone, 1, "LATER", s=600.0)
    lone.perform(Cancel("main", 1))
    assert lone.next() == ("main", Ended(1, "cancelled", {}))
    assert lone.next() is None


def in_thread(scripted: Scripted) -> Body:
    def task() -> Ending:
        time.sleep(scripted.seconds)
        if scripted.raises is not None:
            raise scripted.raises
        return Ending(scripted.outcome, scripted.values)

    return lambda start, executor: executor.in_thread(start, task)


def by_timer(scripted: Scripted) -> Body:
    def body(start: Start, executor: RealExecutor) -> Ending | None:
        if scripted.raises is None:
            ending = Ending(scripted.outcome, scripted.values)
            return executor.end_later(start, scripted.seconds, ending) if scripted.seconds else ending
        if not scripted.seconds:
            raise scripted.raises
        error = {"type": type(scripted.raises).__name__, "message": str(scripted.raises)}
        key = (start.pipeline, start.id)
        return executor.after(scripted.seconds, (*key, "wait"), lambda: executor.fail(key, error))

    return body


@pytest.mark.parametrize("does", [in_thread, by_timer])
def test_keeps_the_contract_of_executors(does):
    def make_executor(script: Mapping[str, Scripted], units: Mapping[str, Sequence[str]]) -> RealExecutor:
        bodies = {operation: does(scripted) for operation, scripted in script.items()}
        workers = WorkerPool(None, (), ())
        return RealExecutor(dict.fromkeys(PIPELINES, bodies), Allocator(units), workers, UNWATCHED, ClockTime(0.0))

    check_executor(make_executor)
