"""Crashes of a run in this process: at a commit of its journal, and one after the other until it comes through."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from twinclock import launch
from twinclock.journal import Journal
from twinclock.result import Run


class Crash(BaseException):
    """The end of the process, as far as one can have it without ending the process."""


def crash_at_commit(patch: pytest.MonkeyPatch, number: int, *, before: bool) -> None:
    """Crash at a commit of this incarnation, counted from 1: `before` it is durable, or right after."""
    commit, left = Journal.commit, number

    def crashing(journal: Journal) -> None:
        nonlocal left
        left -= journal._database.in_transaction
        if left == 0 and before:
            raise Crash
        commit(journal)
        if left == 0:
            raise Crash

    patch.setattr(Journal, "commit", crashing)


def run_through_crashes(
    config: Any, out: Path, number: int, *, before: bool, at_crash: Callable[[], object] = lambda: None
) -> tuple[Run, int]:
    """Run to the end though each incarnation crashes at its commit of that number; the run, and how often it did."""
    start, num_crashes = partial(launch.run, config, on="real", out=out), 0
    while True:
        with pytest.MonkeyPatch.context() as patch:
            crash_at_commit(patch, number, before=before)
            try:
                return start(), num_crashes
            except Crash:
                num_crashes += 1
        at_crash()
        start = partial(launch.resume, out)
