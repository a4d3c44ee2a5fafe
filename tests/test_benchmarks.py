"""The benchmarks run, on little work: what is measured is looked at by people."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

FOLDER = Path(__file__).parent.parent / "benchmarks"
SMALL = {
    "throughput": ["50", "1"],
    "triggers": ["0.1"],
    "criteo_size": ["0.01", "folder"],
    "fleet": ["4", "2"],
    "sweep": ["20", "1"],
    "drift": ["20", "2", "1"],
    "data_waiting": ["2000", "1"],
    "real_overhead": None,
    "resume": None,
    "hand_written": None,
}
"""Arguments that make it small; None: too long for a test however small, or part of another."""


def test_every_benchmark_is_known():
    assert {file.stem for file in FOLDER.glob("*.py")} == SMALL.keys()


@pytest.mark.parametrize("name", [name for name, arguments in SMALL.items() if arguments is not None])
def test_a_benchmark_runs(name):
    command = [sys.executable, str(FOLDER / f"{name}.py"), *SMALL[name]]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip()
