"""Which CUDA device a worker sees: its own, and no other."""

from __future__ import annotations

from collections.abc import MutableMapping

from twinclock.errors import RunError

VISIBLE = "CUDA_VISIBLE_DEVICES"


def see_only(device: str, environment: MutableMapping[str, str]) -> None:
    """Hide all CUDA devices but the one called `cuda:1`, or all from a `cpu:1`, before CUDA is first used.

    `cuda:1` is the second of those that the parent sees, which may itself see only some of the machine's.
    RunError if the parent sees fewer.
    """
    kind, _, number = device.partition(":")
    if kind != "cuda":
        environment[VISIBLE] = ""
        return
    if VISIBLE not in environment:
        environment[VISIBLE] = number
        return
    seen = [each.strip() for each in environment[VISIBLE].split(",") if each.strip()]
    if int(number) >= len(seen):
        raise RunError(f"{VISIBLE}: got {environment[VISIBLE]!r}, which has no device number {number} for {device}")
    environment[VISIBLE] = seen[int(number)]


def seen_as(device: str) -> str:
    """What the worker that sees no other calls its device: `cuda:0` whichever of the CUDA devices it is."""
    return "cuda:0" if device.startswith("cuda") else device
