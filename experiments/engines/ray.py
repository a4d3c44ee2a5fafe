"""Runs as tasks of a Ray cluster: the one at an address, or a new one on this machine."""

from __future__ import annotations

import time
from collections.abc import Generator, Iterable
from itertools import islice
from typing import Any

from experiments.job import Job, perform
from experiments.store import Result
from twinclock.errors import ConfigError

_LOOK_EVERY_S = 1.0
"""How long to wait for a result before looking who has taken too long."""


def on_ray(
    jobs: Iterable[Job], *, num_workers: int | None, timeout_s: float | None, address: str | None
) -> Generator[tuple[Job, Result]]:
    """The jobs with their results, as they end, at most as many at once as the cluster has CPUs.

    ConfigError if Ray is not installed, or no cluster answers at `address`. Closing the iterator ends the runs that are
    under way, and the cluster if it was started here.
    """
    ray = _ray()
    is_ours = not ray.is_initialized()
    if is_ours:
        _connect(ray, address, num_workers)
    # a task is never tried again by Ray: the next sweep does, and this one says what happened
    remote = ray.remote(num_cpus=1, max_retries=0)(perform)
    running: dict[Any, tuple[Job, float]] = {}
    try:
        at_once = num_workers or max(1, int(ray.cluster_resources().get("CPU", 1)))
        waiting = iter(jobs)
        while True:
            for job in islice(waiting, at_once - len(running)):
                running[remote.remote(job)] = (job, time.monotonic())
            if not running:
                return
            ready, _ = ray.wait(list(running), num_returns=1, timeout=_LOOK_EVERY_S)
            for reference in ready:
                job, began_s = running.pop(reference)
                yield job, _result(ray, reference, time.monotonic() - began_s)
            for reference, job in _overdue(running, timeout_s):
                del running[reference]
                ray.cancel(reference, force=True)
                yield job, Result("timeout", {}, f"took longer than {timeout_s:g} s", timeout_s or 0.0)
    finally:
        for reference in running:
            ray.cancel(reference, force=True)
        if is_ours:
            ray.shutdown()


def _ray() -> Any:
    try:
        import ray
    except ImportError:
        raise ConfigError("--engine ray: Ray is not installed; expected pip install 'twinclock[ray]'") from None
    return ray


def _connect(ray: Any, address: str | None, num_workers: int | None) -> None:
    here = {"include_dashboard": False, "num_cpus": num_workers} if address is None else {}
    try:
        ray.init(address=address, log_to_driver=False, logging_level="ERROR", **here)
    except (ConnectionError, ValueError, RuntimeError) as error:
        told = " ".join(str(error).split())
        raise ConfigError(f"--ray-address: got {address!r}, expected the address of a Ray cluster ({told})") from None


def _overdue(running: dict[Any, tuple[Job, float]], timeout_s: float | None) -> list[tuple[Any, Job]]:
    if timeout_s is None:
        return []
    now_s = time.monotonic()
    return [(reference, job) for reference, (job, began_s) in running.items() if now_s - began_s > timeout_s]


def _result(ray: Any, reference: Any, elapsed_s: float) -> Result:
    try:
        found: Result = ray.get(reference)
    except ray.exceptions.RayError as error:
        told = " ".join(str(error).split())
        return Result("crashed", {}, f"{type(error).__name__}: {told}", elapsed_s)
    return found
