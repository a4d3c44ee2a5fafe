"""The workers of a run as actors of a Ray cluster, one per device.

A thread for each actor waits for what it says, or for its end, and wakes the executor by a pipe. Ray restarts and
repeats nothing: what has failed, the graph retries.
"""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from multiprocessing.connection import Connection, Pipe
from pathlib import Path
from queue import SimpleQueue
from typing import Any, NamedTuple

from real.config import RayConfig
from real.pool import Died, Message
from real.ray import cluster
from real.ray.actor import HEARD, SAID, WorkerActor
from twinclock.errors import UserError

_MARK = "ray-token"
"""File in the run's folder by which an actor knows that it sees the same folder."""
_EXIT_S = 10.0
"""Seconds for the news that a worker is gone."""
_LONGEST = 200
"""Characters of what Ray says of a death; it goes on with advice."""


class _Actor(NamedTuple):
    handle: Any
    follower: threading.Thread


class RayPool:
    """`Workers` (see `real.pool`) in the cluster that this process has joined.

    `target` and `arguments` as for `WorkerPool`; what is sent is pickled. `folder` is the run's, which
    every node has to see under the same path.
    """

    def __init__(
        self,
        target: Callable[..., None],
        devices: Sequence[str],
        arguments: Sequence[Any],
        *,
        folder: Path,
        needs: RayConfig,
        at_end: Callable[[], None],
    ) -> None:
        self.devices = tuple(devices)
        self._ray = cluster.imported()
        self._target = target
        self._arguments = tuple(arguments)
        self._needs = needs
        self._at_end = at_end
        self._mark = folder.resolve() / _MARK
        self._token = os.urandom(16).hex()
        self._mark.write_text(self._token, encoding="utf-8")
        self._actors: dict[str, _Actor] = {}
        self._starting: set[str] = set()
        self._followers: list[threading.Thread] = []
        self._happened: SimpleQueue[tuple[str, Any, Message | Died]] = SimpleQueue()
        self._woken, self._wake = Pipe(duplex=False)

    @property
    def are_starting(self) -> bool:
        """Is a worker on its way that has not said `ready`?"""
        return bool(self._starting)

    def is_starting(self, device: str) -> bool:
        """Is the worker of this device on its way?"""
        return device in self._starting

    def start(self, device: str) -> None:
        """Start the worker of a device, unless it is there, on whichever node has room."""
        if device in self._actors:
            return
        options = {
            "num_cpus": self._needs.cpus_per_device,
            "num_gpus": _num_gpus(device),
            "scheduling_strategy": "SPREAD",
            "max_restarts": 0,
            "max_task_retries": 0,
            "runtime_env": {"env_vars": {"PYTHONPATH": cluster.search_path()}},
        }
        made = self._ray.remote(concurrency_groups={HEARD: 1, SAID: 1}, **options)(WorkerActor).remote()
        follower = threading.Thread(target=self._follow, args=(device, made), name=f"ray {device}", daemon=True)
        self._actors[device] = _Actor(made, follower)
        self._starting.add(device)
        follower.start()

    def send(self, device: str, message: Mapping[str, Any]) -> None:
        """Send a message to the worker of a device, starting it if need be. A dead worker loses it: see `take`."""
        self.start(device)
        self._actors[device].handle.tell.options(num_returns=0, concurrency_group=HEARD).remote(dict(message))

    def sources(self) -> Iterator[Connection]:
        """What to wait on: one pipe for all workers."""
        yield self._woken

    def take(self, source: Any) -> list[Message | Died]:
        """The oldest message of a worker, or its death."""
        if source is not self._woken:
            return []
        self._woken.recv_bytes()
        device, handle, happened = self._happened.get()
        if device not in self._actors or self._actors[device].handle is not handle:
            return []  # of one whose death was heard before
        if isinstance(happened, Died):
            self._forget(device)
        elif device in self._starting:
            self._starting.discard(device)
        return [happened]

    def kill(self, device: str) -> None:
        """End a worker that does not listen; its death is then seen like any other."""
        if device in self._actors:
            self._ray.kill(self._actors[device].handle, no_restart=True)

    def close(self) -> None:
        """End all workers, and leave the cluster if it was joined for this run."""
        if self._wake.closed:
            return
        for device in list(self._actors):
            self._forget(device)
        for follower in self._followers:
            follower.join(_EXIT_S)
        self._at_end()
        self._mark.unlink(missing_ok=True)
        self._woken.close()
        self._wake.close()

    def _forget(self, device: str) -> None:
        actor = self._actors.pop(device)
        self._starting.discard(device)
        self._followers.append(actor.follower)
        with contextlib.suppress(self._ray.exceptions.RayError):  # it is dead as it should be
            self._ray.kill(actor.handle, no_restart=True)

    def _follow(self, device: str, handle: Any) -> None:
        """Hear an actor until it is gone. In a thread of its own."""
        listen = handle.listen.options(concurrency_group=SAID)
        try:
            begun = handle.begin.remote(self._target, device, self._arguments, self._mark, self._token)
            self._ray.get(begun, timeout=self._needs.wait)
            while True:
                for message in self._ray.get(listen.remote()):
                    if message["kind"] == "error" and not message["id"]:
                        self._put(device, handle, Died(device, message["error"]))
                        return
                    self._put(device, handle, {**message, "device": device})
        except self._ray.exceptions.GetTimeoutError:
            self._put(device, handle, Died(device, self._no_place(device)))
        except Exception as error:
            is_killed = isinstance(error, self._ray.exceptions.RayActorError)
            self._put(device, handle, Died(device, _told(device, error), is_killed))

    def _put(self, device: str, handle: Any, happened: Message | Died) -> None:
        self._happened.put((device, handle, happened))
        self._wake.send_bytes(b"\0")

    def _no_place(self, device: str) -> Mapping[str, Any]:
        needs, has = f"{self._needs.cpus_per_device:g} CPU", cluster.free_and_all(self._ray, "CPU")
        if _num_gpus(device):
            needs, has = f"{needs} and 1 GPU on one node", f"{has}, and {cluster.free_and_all(self._ray, 'GPU')}"
        return {
            "type": "RunError",
            "message": f"the worker of {device} found no place in the Ray cluster within {self._needs.wait:g} s "
            f"(real.ray.wait): it needs {needs}, and the cluster has {has}",
        }


def _num_gpus(device: str) -> int:
    return int(device.startswith("cuda"))


def _told(device: str, error: Exception) -> Mapping[str, Any]:
    """Why a worker is gone, in one line."""
    cause = getattr(error, "cause", None)
    if isinstance(cause, UserError):
        return {"type": type(cause).__name__, "message": str(cause)}
    lines = [line for line in str(error).splitlines() if line.strip()]
    why = next((line for line in lines if line.startswith("The actor")), lines[-1] if lines else type(error).__name__)
    why = next((line for line in lines if "because" in line), why)
    return {"type": "WorkerDied", "message": f"the worker of {device} died: {' '.join(why.split())[:_LONGEST]}"}
