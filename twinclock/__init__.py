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
    from twinclock.explain.critical import critical_path
    from twinclock.explain.spent import time_by_stage, time_by_unit
    from twinclock.explain.trace import write_trace
    from twinclock.explain.whatif import whatif
    from twinclock.launch import resume, run
    from twinclock.policies.fires import fires
    from twinclock.policies.triggers import check_trigger
    from twinclock.result import Run

__all__ = [
    "Config",
    "Run",
    "calibrate",
    "check_executor",
    "check_trigger",
    "critical_path",
    "fidelity",
    "fires",
    "load_config",
    "observe",
    "replay",
    "report",
    "resume",
    "run",
    "search",
    "sweep",
    "time_by_stage",
    "time_by_unit",
    "whatif",
    "write_trace",
]

_HOMES = {
    "Config": "twinclock.config",
    "Run": "twinclock.result",
    "check_executor": "twinclock.conformance",
    "check_trigger": "twinclock.policies.triggers",
    "critical_path": "twinclock.explain.critical",
    "fires": "twinclock.policies.fires",
    "load_config": "twinclock.config",
    "resume": "twinclock.launch",
    "run": "twinclock.launch",
    "time_by_stage": "twinclock.explain.spent",
    "time_by_unit": "twinclock.explain.spent",
    "whatif": "twinclock.explain.whatif",
    "write_trace": "twinclock.explain.trace",
}


def __getattr__(name: str) -> Any:
    """The public names, imported when first used, so that `twinclock --help` need not wait for them."""
    if name in _HOMES:
        from importlib import import_module

        return getattr(import_module(_HOMES[name]), name)
    if name in __all__:
        from twinclock.extensions import function

        return function(name)
    raise AttributeError(f"module 'twinclock' has no attribute {name!r}")
