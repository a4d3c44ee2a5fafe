"""Policies: when to train, on what, in which ingest batches, and what to evaluate.

Each is pure: no clock, no I/O, no randomness but what its seed and the trigger's number give.
"""

from twinclock.policies.triggers import (
    Answer,
    Decision,
    Fire,
    Observe,
    Quiet,
    Samples,
    Trigger,
    TriggerConfig,
    build_trigger,
    check_trigger,
)

__all__ = [
    "Answer",
    "Decision",
    "Fire",
    "Observe",
    "Quiet",
    "Samples",
    "Trigger",
    "TriggerConfig",
    "build_trigger",
    "check_trigger",
]
