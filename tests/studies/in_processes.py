"""Sweeps and searches as commands in processes of their own, which can be killed, and what they have left on disk."""

from __future__ import annotations

import json
import signal
import subprocess
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from experiments.store import Result, read_results
from twinclock.errors import RunError

PATIENCE_S = 60.0
"""How long a test waits for what must come; reached only by a failing test."""


def started(command: Sequence[str]) -> subprocess.Popen[str]:
    """The command in a group of its own, as from a terminal: an interrupt ends it."""
    return subprocess.Popen(
        command,
        start_new_session=True,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # which a job in the background ignores
    )


def killed(process: subprocess.Popen[str]) -> None:
    """With -9, and waited for."""
    process.kill()
    process.communicate()


def written(values: Any, folder: Path) -> str:
    """The file of a study, beside the folder that it is to have."""
    file = folder.parent / f"{folder.name}.yaml"
    file.write_text(json.dumps(values), encoding="utf-8")
    return str(file)


def results(folder: Path) -> dict[str, Result]:
    try:
        return read_results(folder)
    except RunError:
        return {}  # not there yet


def rows(folder: Path) -> dict[str, tuple[str, float]]:
    """How each run ended, and the seconds it took, which no run that is done twice has twice."""
    return {run: (result.state, result.elapsed_s) for run, result in read_results(folder).items()}


def until(happened: Callable[[], object], what: str) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not happened():
        assert time.monotonic() < deadline, what
        time.sleep(0.005)
