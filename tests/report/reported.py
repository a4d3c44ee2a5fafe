"""What is run for these reports."""

from __future__ import annotations

HOSTILE = "<script>alert('x')</script>&amp;"
BASE = {
    "name": "small",
    "data": {"kind": "uniform", "num_samples": 400, "every": 86400},
    "trigger": {"kind": "amount", "n": 100},
    "evaluation": {"plans": [{"kind": "slicing", "every": "30d", "models": "all"}]},
}
STUDY = {
    "name": "how_often",
    "question": f"Is often better than seldom? {HOSTILE}",
    "base": BASE,
    "axes": [
        {"kind": "grid", "key": "trigger.n", "values": [50, 100, 200]},
        {"kind": "list", "name": "data", "variants": {HOSTILE: {}, "broken": {"data.every": HOSTILE}}},
    ],
    "seeds": 3,
}
