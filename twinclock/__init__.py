"""One stage graph of a continual-training pipeline, run under either of two clocks.

import twinclock as tc

run = tc.run("experiments/studies/demo.yaml", on="sim")
run.summary, run.triggers, run.plot.timeline()
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from twinclock.config import Config, load_config
    from twinclock.conformance import check_executor
    from twinclock.launch import resume, run
    from twinclock.policies.fires import fires
    from twinclock.policies.triggers import check_trigger
    from twinclock.result import Run

__all__ = ["Config", "Run", "check_executor", "check_trigger", "fires", "load_config", "resume", "run"]

_HOMES = {
    "Config": "twinclock.config",
    "Run": "twinclock.result",
    "check_executor": "twinclock.conformance",
    "check_trigger": "twinclock.policies.triggers",
    "fires": "twinclock.policies.fires",
    "load_config": "twinclock.config",
    "resume": "twinclock.launch",
    "run": "twinclock.launch",
}


def __getattr__(name: str) -> Any:
    """The public names, imported when first used, so that `twinclock --help` need not wait for them."""
    if name in _HOMES:
        from importlib import import_module

        return getattr(import_module(_HOMES[name]), name)
    raise AttributeError(f"module 'twinclock' has no attribute {name!r}")
