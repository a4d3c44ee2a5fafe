"""Joining a Ray cluster, and leaving it as it was."""

from __future__ import annotations

import os
import signal
import socket
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from twinclock.errors import ConfigError

ADDRESS = "RAY_ADDRESS"
"""The environment variable that says where the cluster is; without it there is one on this machine for each run."""
_ANSWERS_WITHIN_S = 10.0


def join(num_cpus: int) -> Callable[[], None]:
    """Join the cluster at `RAY_ADDRESS`, or start one here, with at least so many CPUs; gives what leaves it again.

    ConfigError if Ray is not installed or no cluster answers. A process that has joined one already keeps to it.
    """
    with _own_handlers():
        ray = imported()
        if ray.is_initialized():
            return lambda: None
        address = os.environ.get(ADDRESS)
        if not address:
            num_cpus = max(num_cpus, os.cpu_count() or 1)
            ray.init(
                address="local", num_cpus=num_cpus, include_dashboard=False, log_to_driver=False, logging_level="ERROR"
            )
            return _leave
        _ensure_it_answers(address)
        try:
            ray.init(address=address, log_to_driver=False, logging_level="ERROR")
        except (ConnectionError, ValueError, RuntimeError) as error:
            raise _no_cluster(address, " ".join(str(error).split())) from None
    return _leave


def imported() -> Any:
    """The package Ray. ConfigError if it is not installed."""
    try:
        import ray
    except ImportError:
        raise ConfigError("--on ray: Ray is not installed; expected pip install 'twinclock[ray]'") from None
    return ray


def free_and_all(ray: Any, resource: str) -> str:
    """How much of a resource the cluster has, in words."""
    free, everything = (each().get(resource, 0.0) for each in (ray.available_resources, ray.cluster_resources))
    return f"{everything:g} {resource}, {free:g} of them free"


def search_path() -> str:
    """Where this process finds packages beside those of its Python installation, for the environment of workers."""
    installed = (sys.prefix, sys.base_prefix)
    return os.pathsep.join(os.path.abspath(path) for path in sys.path if not path.startswith(installed))


def _leave() -> None:
    """One that was started here ends."""
    imported().shutdown()


def _ensure_it_answers(address: str) -> None:
    """Ray itself takes minutes to find out that nobody is there."""
    if address == "auto":
        return
    host, _, port = address.rpartition(":")
    if not host or not port.isdecimal() or "/" in host:
        raise _no_cluster(address, "expected HOST:PORT, or auto for the one on this machine")
    try:
        socket.create_connection((host, int(port)), _ANSWERS_WITHIN_S).close()
    except (OSError, OverflowError) as error:
        raise _no_cluster(address, str(error)) from None


def _no_cluster(address: str, told: str) -> ConfigError:
    return ConfigError(f"--ray-address, or {ADDRESS}: got {address!r}, expected the address of a Ray cluster ({told})")


@contextmanager
def _own_handlers() -> Iterator[None]:
    """Ray puts a handler for SIGTERM in place of the one that is there; afterwards that is back."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.getsignal(signal.SIGTERM)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
