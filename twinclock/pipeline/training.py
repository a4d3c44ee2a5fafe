"""What a trigger leads to: a training, the model stored, and then its evaluation."""

from __future__ import annotations

from dataclasses import replace

from twinclock.graph import Flow, Node, Spawn, Stage, leave
from twinclock.pipeline.evaluation import evaluate
from twinclock.pipeline.gate import behind_gate
from twinclock.pipeline.kinds import decide, wait, work
from twinclock.pipeline.options import GraphOptions


def train_and_eval(options: GraphOptions, evaluation_jobs: Node) -> Flow:
    """`training`, then `evaluation`: spawned in `seed`, in line in `sequential`."""
    evaluation, is_spawned = evaluate(evaluation_jobs), options.variant == "seed"
    failed = {} if is_spawned else {"failed": leave("done")}
    return Flow(
        start="training",
        label="trigger",
        steps={
            "training": _training(options),
            "TRAINING_SKIPPED": _training_skipped(),
            "evaluation": Spawn(body=evaluation) if is_spawned else evaluation,
        },
        edges={
            "training": {"done": "evaluation", "superseded": leave("skipped"), "failed": "TRAINING_SKIPPED"},
            "TRAINING_SKIPPED": {"done": leave("skipped")},
            "evaluation": {"done": leave("done"), **failed},
        },
    )


def claim_and_train(options: GraphOptions, evaluation_jobs: Node) -> Flow:
    """What `overlapped` spawns for a trigger: train when a slot is free, then evaluate."""
    # CLAIM_TRIGGERS gives a stopped training's samples to another trigger: the two must not decide at the same time
    skipped = replace(_training_skipped(), reads_registers=("superseded",), needs={"admission": 1})
    holds_slot = Flow(
        start="CLAIM_TRIGGERS",
        needs={"training_slot": 1},
        queue="training",
        steps={
            "CLAIM_TRIGGERS": decide(
                operation="CLAIM_TRIGGERS",
                outcomes={"claimed": ("trigger", "training_set"), "nothing": ()},
                reads_registers=("pending", "models", "skipped", "superseded"),
                writes_registers=("pending",),
                needs={"admission": 1},
            ),
            "claimed": Flow(
                start="training",
                label="trigger",
                steps={"training": _training(options), "TRAINING_SKIPPED": skipped},
                edges={
                    "training": {
                        "done": leave("trained"),
                        "superseded": leave("nothing"),
                        "failed": "TRAINING_SKIPPED",
                    },
                    "TRAINING_SKIPPED": {"done": leave("nothing")},
                },
            ),
        },
        edges={
            "CLAIM_TRIGGERS": {"claimed": "claimed", "nothing": leave("nothing")},
            "claimed": {"trained": leave("trained"), "nothing": leave("nothing")},
        },
    )
    return Flow(
        start="claim_and_train",
        steps={"claim_and_train": holds_slot, "evaluation": evaluate(evaluation_jobs)},
        edges={
            "claim_and_train": {"trained": "evaluation", "nothing": leave("done")},
            "evaluation": {"done": leave("done"), "failed": leave("done")},
        },
    )


def _training(options: GraphOptions) -> Flow:
    """One device (or more) held from RUN_TRAINING to TRAINING_COMPLETED, retried as a whole; then the model is stored.

    With a gate, what follows the store says whether the model becomes the active one.
    """
    on_device = Flow(
        start="RUN_TRAINING",
        needs={"device": options.devices_per_training},
        queue="training",
        work="training_set",
        timeout_s=options.training_timeout_s,
        retry=options.training_retry,
        steps={
            "RUN_TRAINING": work(
                operation="RUN_TRAINING",
                outcomes={"started": ("job",)},
                reads=("trigger", "training_set", "checkpoint"),
                reads_registers=("active_model",),
            ),
            "WAIT_FOR_TRAINING_COMPLETION": wait(
                operation="WAIT_FOR_TRAINING_COMPLETION",
                outcomes={"trained": ("fit",), "preempted": ("checkpoint",), "superseded": ()},
                reads=("job",),
                writes_registers=("trained",),
            ),
            "TRAINING_COMPLETED": decide(
                operation="TRAINING_COMPLETED",
                outcomes={"done": ("candidate",)},
                reads=("trigger", "training_set", "job", "fit"),
                writes_registers=("costs",),
            ),
        },
        edges={
            "RUN_TRAINING": {"started": "WAIT_FOR_TRAINING_COMPLETION"},
            "WAIT_FOR_TRAINING_COMPLETION": {
                "trained": "TRAINING_COMPLETED",
                "preempted": leave("preempted"),
                "superseded": leave("superseded"),
            },
            "TRAINING_COMPLETED": {"done": leave("done")},
        },
    )
    training = Flow(
        start="on_device",
        initial={"checkpoint": None},
        steps={
            "on_device": on_device,
            "STORE_TRAINED_MODEL": work(
                operation="STORE_TRAINED_MODEL",
                outcomes={"done": ("model",)},
                reads=("candidate",),
                writes_registers=("active_model", "models"),
                retry=options.training_retry,
            ),
        },
        edges={
            "on_device": {
                "done": "STORE_TRAINED_MODEL",
                "preempted": "on_device",
                "superseded": leave("superseded"),
            },
            "STORE_TRAINED_MODEL": {"done": leave("done")},
        },
    )
    return behind_gate(training, options) if options.gate else training


def _training_skipped() -> Stage:
    """A finally failed training: the old model stays, its samples count for the next trigger."""
    return decide(operation="TRAINING_SKIPPED", reads=("trigger", "error"), writes_registers=("skipped",))
