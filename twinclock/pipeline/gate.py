"""The gate: a stored model is scored beside the active one before it may take its place."""

from __future__ import annotations

from dataclasses import replace

from twinclock.graph import Flow, Stage, leave
from twinclock.pipeline.kinds import work
from twinclock.pipeline.options import GraphOptions


def behind_gate(training: Flow, options: GraphOptions) -> Flow:
    """A flow that ends with STORE_TRAINED_MODEL, with the gate after it: the store no longer activates."""
    store = training.steps["STORE_TRAINED_MODEL"]
    assert isinstance(store, Stage)
    return replace(
        training,
        steps={**training.steps, "STORE_TRAINED_MODEL": replace(store, writes_registers=()), "gate": _gate(options)},
        edges={**training.edges, "STORE_TRAINED_MODEL": {"done": "gate"}, "gate": {"done": leave("done")}},
    )


def _gate(options: GraphOptions) -> Flow:
    """One candidate at a time: what is active must not change between the scores and what follows from them."""
    decide = "ACTIVATE_MODEL"
    return Flow(
        start="SCORE_CANDIDATE",
        needs={"activation": 1},
        queue="evaluation",
        initial={"gate_scores": None},
        steps={
            "SCORE_CANDIDATE": work(
                operation="SCORE_CANDIDATE",
                outcomes={"done": ("gate_scores",)},
                reads=("model", "training_set"),
                reads_registers=("active_model",),
                needs={"device": 1},
                queue="evaluation",
                timeout_s=options.evaluation_timeout_s,
                retry=options.evaluation_retry,
            ),
            # work, since it has an effect outside, and the scores must be on record before that
            decide: work(
                operation=decide,
                outcomes={"activated": ("verdict",), "rejected": ("verdict",)},
                reads=("model", "gate_scores"),
                reads_registers=("active_model",),
                writes_registers=("active_model", "models"),
                retry=options.training_retry,
            ),
        },
        edges={
            "SCORE_CANDIDATE": {"done": decide, "failed": decide}
            | ({} if options.evaluation_timeout_s is None else {"timeout": decide}),
            decide: {"activated": leave("done"), "rejected": leave("done")},
        },
    )
