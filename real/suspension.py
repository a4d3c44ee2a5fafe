"""Stopping all that the workers do, so that a run can be left now and gone on with later."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from multiprocessing.connection import wait

from real.pool import Died, Workers

_ENDINGS = ("done", "stopped", "error", "disk_full")


def stop_jobs(workers: Workers, devices: Mapping[str, Sequence[str]], now: Callable[[], float], grace_s: float) -> None:
    """Ask jobs (id → devices) to stop; return when all have ended, or after the grace time.

    A training keeps a checkpoint before it stops, or is done first and leaves its result. What the workers say of
    it reaches nobody: a resume asks for the same jobs again, and finds what is on disk. A job whose worker is still
    starting has nothing to keep, so it is not waited for.
    """
    under_way = {
        (job_id, device) for job_id, its in devices.items() for device in its if not any(map(workers.is_starting, its))
    }
    for job_id, device in sorted(under_way):
        workers.send(device, {"do": "stop", "id": job_id})
    until_s = now() + grace_s
    while under_way and (left_s := until_s - now()) > 0.0:
        for source in wait(list(workers.sources()), left_s):
            for happened in workers.take(source):
                if isinstance(happened, Died):
                    under_way = {part for part in under_way if part[1] != happened.device}
                elif happened["kind"] in _ENDINGS:
                    under_way.discard((happened["id"], happened["device"]))
