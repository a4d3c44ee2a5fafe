"""The executor whose clock is the wall's: decisions in this process, device work in one worker process per device.

One thread runs everything here. It waits for whichever comes first: a message or the death of a
worker, a helper thread that has done a piece of file work, a timer.
"""

from __future__ import annotations

import heapq
import logging
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from multiprocessing.connection import Connection, wait
from typing import Any, NamedTuple, TypeAlias

from real.config import GRACE_S
from real.disk import is_disk_full
from real.helpers import HelperThreads
from real.parts import Parts
from real.pool import Died, Message, Workers
from real.suspension import stop_jobs
from twinclock.allocator import Allocator, Key
from twinclock.errors import ProtocolError, RunError
from twinclock.executor import failure
from twinclock.graph import CANCELLED, ERROR_SLOT, FAILED, Json
from twinclock.messages import (
    Acquire,
    Arm,
    Cancel,
    Command,
    Disarm,
    Ended,
    Event,
    Finish,
    Fired,
    Release,
    Start,
)
from twinclock.stream import ClockTime
from twinclock.watch import Watcher

_log = logging.getLogger("twinclock")
_LOOK_EVERY_S = 0.01
_MOST_RESTARTS = 3
"""How often a worker that is killed before all can take jobs is started again."""


class Ending(NamedTuple):
    """How a stage run ended."""

    outcome: str
    values: Mapping[str, Json]


Body: TypeAlias = "Callable[[Start, RealExecutor], Ending | None]"
"""Does one operation: at once, giving its ending, or None if it ends later. An exception is its failure."""


class _Job(NamedTuple):
    """A job in a worker, or in several that do it together."""

    devices: tuple[str, ...]
    owner: Key
    """The stage run that waits for it or, as long as none does, launched it."""
    finish: Callable[[Json], Ending] | None
    """What the result comes to; None as long as nobody waits for it."""


class RealExecutor:
    """Carries out commands in real time; `bodies` says what each operation of each pipeline does."""

    def __init__(
        self,
        bodies: Mapping[str, Mapping[str, Body]],
        allocator: Allocator,
        workers: Workers,
        watcher: Watcher,
        from_clock: ClockTime,
        grace_s: float = GRACE_S,
    ) -> None:
        """`grace_s`: seconds that a job has to stop when it is asked to, before its worker is killed."""
        self.workers = workers
        self.stopping = False
        """Set by `stop`: sources end with `stop`, and the pipeline drains."""
        self._bodies = bodies
        self._allocator = allocator
        self._watcher = watcher
        self._grace_s = grace_s
        self._origin_s = time.monotonic() - from_clock
        self._ready: deque[tuple[str, Event]] = deque()
        self._look_s = 0.0
        """When to look again at what happens outside, even if there is enough to do inside."""
        self._running: dict[Key, Start] = {}
        self._timers: list[tuple[float, int, tuple[Any, ...], Callable[[], None]]] = []
        self._armed: dict[tuple[Any, ...], int] = {}
        self._num_timers = 0
        self._jobs: dict[str, _Job] = {}
        self._parts = Parts()
        self._results: dict[str, Message] = {}
        self._lives_s: dict[str, float] = {}
        """Job → seconds from its begin to the death of its worker, as long as it has not begun."""
        self._asked_to_stop: dict[str, str] = {}
        self._helpers: HelperThreads[Key, Ending | None] = HelperThreads()
        self._polled: dict[Key, tuple[float, Callable[[], Ending | None]]] = {}
        """Stage runs that look for something again and again → how often, and how."""
        self._num_restarts = 0
        self._connecting: tuple[Key, Mapping[str, Json]] | None = None

    def now(self) -> ClockTime:
        """Seconds since the run's start, the time between a crash and its resume left out."""
        return ClockTime(time.monotonic() - self._origin_s)

    def perform(self, command: Command) -> None:
        """Begin to carry out a command."""
        match command:
            case Start():
                self._start(command)
            case Acquire():
                self._ready.extend(self._allocator.request(command, self.now()))
            case Release(pipeline, id_):
                self._ready.extend(self._allocator.release((pipeline, id_)))
            case Arm(pipeline, id_, timer, delay_s):
                fired = (pipeline, Fired(id_, timer))
                self.after(delay_s, (pipeline, id_, timer), lambda: self._ready.append(fired))
            case Disarm(pipeline, id_, timer):
                self.forget((pipeline, id_, timer))
            case Cancel(pipeline, id_):
                self._cancel((pipeline, id_))
            case Finish():
                pass
            case _:
                raise ProtocolError(f"unknown command {command!r}")

    def next(self) -> tuple[str, Event] | None:
        """Wait until something has happened; None if nothing is left that could."""
        if self._ready and self.now() >= self._look_s:
            self._look()
        while not self._ready:
            if not self._armed and not self._helpers.num_busy and not self._jobs and not self.workers.are_starting:
                return None
            self._look()
        return self._ready.popleft()

    def stop(self) -> None:
        """Ask every pipeline to take no more data, finish what it has, and be done."""
        self.stopping = True

    def suspend(self) -> None:
        """Let every job stop that runs: a training keeps a checkpoint first, what is nearly done may end."""
        devices = {job_id: self._parts.open(job_id, job.devices) for job_id, job in self._jobs.items()}
        stop_jobs(self.workers, devices, self.now, self._grace_s)

    def close(self) -> None:
        """End the workers and the helper threads."""
        self.workers.close()
        self._helpers.close()

    # -- for the bodies ------------------------------------------------------------------------------

    def end(self, key: Key, outcome: str, values: Mapping[str, Json]) -> None:
        """A stage run that was started has ended; ignored if it had already."""
        if self._running.pop(key, None) is not None:
            self._ready.append((key[0], Ended(key[1], outcome, values)))

    def end_otherwise(self, key: Key, outcome: str, instead: str) -> None:
        """A stage run that ended with `outcome`, if nobody has been told yet, ended with `instead` and no values."""
        for index, (pipeline, event) in enumerate(self._ready):
            if isinstance(event, Ended) and (pipeline, event.id) == key and event.outcome == outcome:
                self._ready[index] = (pipeline, Ended(event.id, instead, {}))

    def fail(self, key: Key, error: Mapping[str, Json]) -> None:
        """A stage run failed; `error` has a type and a message."""
        self.end(key, FAILED, {ERROR_SLOT: dict(error)})

    def after(self, delay_s: float, key: tuple[Any, ...], action: Callable[[], None]) -> None:
        """Do something later, unless `forget(key)` comes first."""
        self._num_timers += 1
        self._armed[key] = self._num_timers
        heapq.heappush(self._timers, (self.now() + delay_s, self._num_timers, key, action))

    def forget(self, key: tuple[Any, ...]) -> None:
        """Whatever was to be done later under this key is not."""
        self._armed.pop(key, None)

    def end_later(self, start: Start, delay_s: float, ending: Ending) -> None:
        """End a stage run after a while; at once if the delay is not positive."""
        key = (start.pipeline, start.id)
        self.after(delay_s, (*key, "wait"), lambda: self.end(key, *ending))

    def connect(self, start: Start, values: Mapping[str, Json]) -> None:
        """Start every worker; the stage run is `done`, with these values, when all can take jobs."""
        self._connecting = ((start.pipeline, start.id), values)
        for device in self.workers.devices:
            self.workers.start(device)
        self._connected()

    def in_thread(self, start: Start, task: Callable[[], Ending]) -> None:
        """File work beside the coordinator; its result, or what it raises, ends the stage run."""
        self._helpers.submit((start.pipeline, start.id), task)

    def poll(self, start: Start, every_s: float, look: Callable[[], Ending | None]) -> None:
        """Ask `look` beside the coordinator every so many seconds; what it gives, once it does, ends the stage run."""
        key = (start.pipeline, start.id)
        self._polled[key] = (every_s, look)
        self.after(every_s, (*key, "wait"), lambda: self._helpers.submit(key, look))

    def launch(self, start: Start, devices: Sequence[str], job: Message, dies_after_s: float | None = None) -> None:
        """Hand a job to the workers of its devices; nobody waits for it yet. A job under way is left alone.

        Several get it as `rank` 0, 1, … of `world_size`. The result is that of rank 0; if one fails, the others are
        stopped, and the job has failed when all have ended. `dies_after_s`: seconds of the job after which
        the first of its workers is killed; a worker that is starting starts first.
        """
        if not self.has_job(job["id"]):
            self._jobs[job["id"]] = _Job(tuple(devices), (start.pipeline, start.id), None)
            for rank, device in enumerate(devices):
                part = {"rank": rank, "world_size": len(devices)} if len(devices) > 1 else {}
                self.workers.send(device, {**job, **part})
            if dies_after_s is not None:
                self._lives_s[job["id"]] = dies_after_s
            if not self.workers.is_starting(devices[0]):
                self._begin_to_die(devices[0])

    def has_job(self, job_id: str) -> bool:
        """Is this job under way, or its result here?"""
        return job_id in self._jobs or job_id in self._results

    def await_job(self, start: Start, job_id: str, finish: Callable[[Json], Ending]) -> None:
        """End the stage run with `finish(result)` when the job is done, or fail with the job."""
        key = (start.pipeline, start.id)
        if job_id in self._results:
            self._finish(key, self._results.pop(job_id), finish)
        else:
            self._jobs[job_id] = self._jobs[job_id]._replace(owner=key, finish=finish)

    def stop_job(self, job_id: str, outcome: str) -> None:
        """Ask the worker to stop a job; its stage run then ends with `outcome`. No such job: nothing happens."""
        job = self._jobs.get(job_id)
        if job is not None and job_id not in self._asked_to_stop:
            self._asked_to_stop[job_id] = outcome
            self._stop_parts(job_id, job, drop=outcome != CANCELLED)

    # -- what happens --------------------------------------------------------------------------------

    def _start(self, start: Start) -> None:
        key = (start.pipeline, start.id)
        self._running[key] = start
        try:
            ending = self._bodies[start.pipeline][start.stage.operation](start, self)
        except Exception as error:
            self._raised(key, error)
            return
        if ending is not None:
            self.end(key, *ending)

    def _cancel(self, key: Key) -> None:
        for job_id, job in self._jobs.items():
            if job.owner == key:
                self.stop_job(job_id, CANCELLED)
                return
        is_looking = self._polled.pop(key, None) is not None
        if is_looking or (*key, "wait") in self._armed:
            self.forget((*key, "wait"))
            self.end(key, CANCELLED, {})

    def _look(self) -> None:
        """Take in what has happened outside; wait for it if nothing is ready."""
        while self._timers and self._timers[0][0] <= self.now():
            _, serial, key, action = heapq.heappop(self._timers)
            if self._armed.get(key) == serial:
                del self._armed[key]
                action()
        while self._timers and self._armed.get(self._timers[0][2]) != self._timers[0][1]:
            heapq.heappop(self._timers)
        if self._ready or not self._timers:
            timeout_s = 0.0 if self._ready else None
        else:
            timeout_s = max(0.0, self._timers[0][0] - self.now())
        for source in wait([self._helpers.woken, *self.workers.sources()], timeout_s):
            self._take(source)
        self._look_s = self.now() + _LOOK_EVERY_S

    def _take(self, source: Connection | int | Any) -> None:
        if source is self._helpers.woken:
            key, result = self._helpers.take()
            if result is None:
                self._look_again(key)
                return
            self._polled.pop(key, None)
            if isinstance(result, Exception):
                self._raised(key, result)
            else:
                self.end(key, *result)
            return
        for happened in self.workers.take(source):
            if isinstance(happened, Died):
                self._worker_died(happened)
            elif happened["kind"] == "ready":
                self._connected()
                self._begin_to_die(happened["device"])
            elif happened["kind"] == "progress":
                self._watcher.training(happened["device"], happened["id"], happened["done"])
            elif happened["kind"] == "notice":
                _log.warning("%s", happened["message"])
            elif happened["kind"] == "disk_full":
                raise RunError(f"{happened['id']} on {happened['device']}: {happened['error']['message']}")
            else:
                self._part_ended(happened["device"], happened)

    def _look_again(self, key: Key) -> None:
        """Nothing was found; later, unless the stage run was cancelled meanwhile."""
        if key in self._polled:
            every_s, look = self._polled[key]
            self.after(every_s, (*key, "wait"), lambda: self._helpers.submit(key, look))

    def _begin_to_die(self, device: str) -> None:
        """The jobs of this device begin now, so far as any is going to be the last of its worker."""
        for job_id in [job_id for job_id in self._lives_s if self._jobs[job_id].devices[0] == device]:
            self.after(self._lives_s.pop(job_id), ("death", job_id), lambda: self.workers.kill(device))

    def _connected(self) -> None:
        if self._connecting is not None and not self.workers.are_starting:
            key, values = self._connecting
            self._connecting = None
            self.end(key, "done", values)

    def _part_ended(self, device: str, message: Message) -> None:
        """A worker has ended its part of a job, which in most cases is all of it."""
        job = self._jobs.get(message["id"])
        if job is None:
            return
        whole = self._parts.end(job.devices, device, message)
        if whole is not None:
            self._job_ended(job, whole)
        elif message["kind"] != "done":
            self._stop_parts(message["id"], job, drop=False)

    def _stop_parts(self, job_id: str, job: _Job, drop: bool) -> None:
        """Ask the workers that are at it to stop; those that do not listen are killed. `drop`: for good."""

        def kill() -> None:
            for device in self._parts.open(job_id, job.devices):
                self.workers.kill(device)

        for device in self._parts.open(job_id, job.devices):
            self.workers.send(device, {"do": "stop", "id": job_id, "drop": drop})
        if ("grace", job_id) not in self._armed:
            self.after(self._grace_s, ("grace", job_id), kill)

    def _job_ended(self, job: _Job, message: Message) -> None:
        del self._jobs[message["id"]]
        self.forget(("grace", message["id"]))
        self.forget(("death", message["id"]))
        self._lives_s.pop(message["id"], None)
        if job.finish is not None:
            self._finish(job.owner, message, job.finish)
        elif self._asked_to_stop.get(message["id"]) == CANCELLED:  # nobody is going to wait for it
            del self._asked_to_stop[message["id"]]
        else:
            self._results[message["id"]] = message

    def _worker_died(self, died: Died) -> None:
        for job_id in [id_ for id_, job in self._jobs.items() if died.device in self._parts.open(id_, job.devices)]:
            self._part_ended(died.device, {"id": job_id, "kind": "error", "error": died.error})
        if self._connecting is not None and died.is_killed and self._num_restarts < _MOST_RESTARTS:
            self._num_restarts += 1
            self.workers.start(died.device)
        elif self._connecting is not None:
            key, _ = self._connecting
            self._connecting = None
            self.fail(key, died.error)

    def _finish(self, key: Key, message: Message, finish: Callable[[Json], Ending]) -> None:
        stopped_as = self._asked_to_stop.pop(message["id"], None)
        if message["kind"] == "done":
            try:
                self.end(key, *finish(message["result"]))
            except Exception as error:
                self._raised(key, error)
        elif stopped_as is not None:
            self.end(key, stopped_as, {})
        else:
            self.fail(key, message["error"])

    def _raised(self, key: Key, error: Exception) -> None:
        """A stage run failed; but a full disk is no fault of its own, and ends the run until there is space."""
        if is_disk_full(error):
            raise RunError(str(error)) from error
        if self._running.pop(key, None) is not None:
            self._ready.append((key[0], failure(key[1], error)))
