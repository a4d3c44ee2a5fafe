"""Failures that the fault plan has in store for a job, made to happen in the worker."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from twinclock.faults import JobFailed


def failing(job: Mapping[str, Any], should_stop: Callable[[], bool]) -> Callable[[], bool]:
    """The same question, but a job that is to fail does so when it has been asked as often as that."""
    if "fails_after" not in job:
        return should_stop
    num_left = job["fails_after"]

    def asked() -> bool:
        nonlocal num_left
        if num_left == 0:
            raise JobFailed
        num_left -= 1
        return should_stop()

    return asked


def fail_at_once_if_asked(job: Mapping[str, Any]) -> None:
    """JobFailed if the job is to fail and has not yet."""
    if "fails_after" in job:
        raise JobFailed
