"""Jobs on several devices: they end when all their parts have."""

from __future__ import annotations

import os
import signal

import pytest
from real_runs import until
from test_executor import Workshop, is_alive

from real.parts import Parts
from twinclock.graph import Stage
from twinclock.messages import Cancel, Ended, Start

DEVICES = ("cpu:0", "cpu:1")


def done(result: object) -> dict[str, object]:
    return {"id": "job", "kind": "done", "result": result}


def error(type_: str) -> dict[str, object]:
    return {"id": "job", "kind": "error", "error": {"type": type_, "message": f"{type_} it is"}}


STOPPED = {"id": "job", "kind": "stopped"}


@pytest.mark.parametrize(
    ("said", "told"),
    [
        ({"cpu:1": done({}), "cpu:0": done("of rank 0")}, done("of rank 0")),
        ({"cpu:0": STOPPED, "cpu:1": STOPPED}, STOPPED),
        ({"cpu:0": done("too late"), "cpu:1": STOPPED}, STOPPED),
        ({"cpu:0": STOPPED, "cpu:1": error("PeerLostError")}, "rank 1 of 2, on cpu:1: PeerLostError it is"),
        ({"cpu:0": error("PeerLostError"), "cpu:1": error("ModelError")}, "rank 1 of 2, on cpu:1: ModelError it is"),
        ({"cpu:1": error("PeerLostError"), "cpu:0": error("WorkerDied")}, "rank 0 of 2, on cpu:0: WorkerDied it is"),
        ({"cpu:1": error("ModelError"), "cpu:0": error("ModelError")}, "rank 1 of 2, on cpu:1: ModelError it is"),
    ],
)
def test_a_job_comes_to_what_rank_0_says_or_to_the_failure_that_others_followed_from(said, told):
    parts, (first, last) = Parts(), said
    assert parts.open("job", DEVICES) == list(DEVICES)
    assert parts.end(DEVICES, first, said[first]) is None
    assert parts.open("job", DEVICES) == [last]
    whole = parts.end(DEVICES, last, said[last])
    assert (whole["error"]["message"] if isinstance(told, str) else whole) == told
    assert parts.open("job", DEVICES) == list(DEVICES)


@pytest.fixture
def workshop(tmp_path):
    made = Workshop(tmp_path, 2, "ready", grace_s=0.2)
    yield made
    made.executor.close()
    assert not any(is_alive(int(line.split()[0])) for line in made.lines()), "a worker was left behind"


def start(workshop: Workshop, id_: int, do: str) -> None:
    stage = Stage(kind="work", operation="JOB")
    inputs = {"job": {"do": do, "id": f"job {id_}", "say": id_}}
    workshop.executor.perform(Start("main", id_, None, stage, inputs, {}, {}, {"device": DEVICES}, {}))


def workers(workshop: Workshop, line: str) -> list[int]:
    """The process ids of the two workers that note a line, once both have."""

    def noted() -> list[int]:
        lines = [int(each.split()[0]) for each in workshop.lines() if each.endswith(f" {line}")]
        return lines if len(lines) == 2 else []

    return until(noted, f"{line!r} is noted twice")


def test_a_job_on_two_devices_fails_as_a_whole_if_one_worker_dies(workshop):
    start(workshop, 1, "echo")
    assert workshop.next() == Ended(1, "done", {"said": 1})
    start(workshop, 2, "listen")
    killed, _ = workers(workshop, "begin job 2")
    os.kill(killed, signal.SIGKILL)
    event = workshop.next()
    assert (event.id, event.outcome, event.values["error"]["type"]) == (2, "failed", "WorkerDied")
    assert event.values["error"]["message"].endswith(" was ended by a signal: Killed")
    assert event.values["error"]["message"].startswith("rank ")
    assert workshop.noted().count("end job 2") == 1  # the other stopped when asked
    start(workshop, 3, "ignore")
    killed, other = workers(workshop, "begin job 3")
    os.kill(killed, signal.SIGKILL)
    assert workshop.next().outcome == "failed"
    assert not is_alive(other)  # it did not listen
    start(workshop, 4, "listen")
    workers(workshop, "begin job 4")
    workshop.executor.perform(Cancel("main", 4))
    assert workshop.next() == Ended(4, "cancelled", {})
    assert workshop.executor.next() is None
