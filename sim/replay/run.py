"""The replay of a finished real run."""

from __future__ import annotations

from pathlib import Path

from sim.replay.comparison import Replay, compared
from sim.replay.recording import read_recording
from sim.replay.simulation import simulate


def replay(folder: str | Path) -> Replay:
    """Simulate a finished real run with the durations that it had, and compare.

    Nothing is modelled, so what differs is an error in the control flow, and no matter of costs. Reads the folder and
    leaves it as it is. RunError if there is no finished real run in it, or it was made with other code or data.
    """
    recording = read_recording(folder)
    return compared(recording, simulate(recording))
