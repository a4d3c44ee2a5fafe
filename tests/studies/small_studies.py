"""Small studies for tests."""

from __future__ import annotations

from typing import Any

BASE: dict[str, Any] = {
    "name": "small",
    "data": {"kind": "poisson", "num_samples": 2000, "every": 60.0},
    "batching": {"kind": "fixed", "n": 500},
    "trigger": {"kind": "amount", "n": 500},
    "evaluation": {"plans": [{"kind": "slicing", "every": "6h"}]},
}


def study(**changes: Any) -> dict[str, Any]:
    """Two policies, one of them with three settings, by two seeds."""
    axes = [
        {
            "kind": "list",
            "name": "policy",
            "variants": {"amount": {}, "time": {"trigger": {"kind": "time", "every": "6h"}}},
        },
        {"kind": "grid", "key": "trigger.n", "values": [400, 500, 1000], "when": {"policy": "amount"}},
    ]
    return {"name": "small", "base": BASE, "axes": axes, "seeds": 2, **changes}


def hostile(name: str) -> dict[str, Any]:
    """The changes that make a trigger of `hostile_triggers` the policy."""
    return {"trigger": {"kind": "custom", "import": f"hostile_triggers:{name}"}}
