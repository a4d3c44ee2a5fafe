"""The continual-training pipeline as a stage graph, in three variants.

The variants differ in one thing, what happens beside what:

* `seed`        training stops ingestion; evaluation runs beside what follows, joined before DONE
* `sequential`  training and evaluation both stop ingestion
* `overlapped`  ingestion never stops; trainings and evaluations run beside it

`build_graph` gives the graph for a set of options. Equal parts are the same subtree in all three.

Slots, in the order in which they come up:

| slot | holds |
|---|---|
| cluster | the devices found |
| batch_size | samples in an ingest batch |
| chunk, position | the samples just taken; the first position not yet taken |
| taken_s | clock time at which taking in the last chunk began; None once batch_size is that of the time after it |
| batches, next_batch | the chunk cut into ingest batches; the serial of the next batch |
| batch | one of them |
| answers, decisions | how often the trigger policy has answered in this batch; what it decided |
| fire, request | the position it fired at; what it wants to have observed |
| observation | the score or distance that it asked for |
| trigger, training_set | serial, position, samples; the recipe of the training set |
| victim | serial of the trigger whose training is to stop |
| job | a training: its id, its recipe, the model that it starts from |
| checkpoint, fit | a training put aside; a training that ended |
| candidate, model | a trained model; the same once it is stored |
| jobs, evaluation_job | evaluations: one model, some intervals each |
| result, scores | what the evaluator measured; the rows for the records |
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Literal, TypeAlias, get_args

from twinclock.graph import ONCE, YIELDED, Flow, ForEach, Node, Register, Retry, Scope, Spawn, Stage, leave

Variant: TypeAlias = Literal["seed", "sequential", "overlapped"]
VARIANTS: tuple[Variant, ...] = get_args(Variant)

RESOURCES = ("training_slot", "admission", "device")
"""What stages can need, in the order in which nested holders must ask.

`training_slot`: trainings at once. `admission`: one unit, guards the register `pending`.
`device`: what computes. Asking in one order everywhere is what rules out circular waiting.
"""

_COSTS_KEPT = 1000

_decide = partial(Stage, kind="decide")
_work = partial(Stage, kind="work")
_wait = partial(Stage, kind="wait")


@dataclass(frozen=True, slots=True, kw_only=True)
class GraphOptions:
    """What a graph can be asked to differ in; everything else about it is fixed."""

    variant: Variant = "seed"
    devices_per_training: int = 1
    training_timeout_s: float | None = None
    training_retry: Retry = ONCE
    evaluation_timeout_s: float | None = None
    evaluation_retry: Retry = ONCE
    observation_on_device: bool = False
    """Does OBSERVE hold a device?"""
    observation_timeout_s: float | None = None
    observation_retry: Retry = ONCE
    evaluations_yield: bool = False
    """Does an evaluation give its device back when somebody else waits for it?"""
    evaluations_at_once: int | None = None
    """Evaluation jobs of one plan that may run at once; None: as many as there are devices."""


def build_graph(options: GraphOptions = GraphOptions()) -> Node:
    """The pipeline's stage graph. ValueError if the variant is unknown."""
    if options.variant not in VARIANTS:
        raise ValueError(f"unknown variant {options.variant!r}; expected one of: {', '.join(VARIANTS)}")
    evaluation_jobs = _evaluation_jobs(options)
    pipeline = Scope(
        registers=_registers(options.variant),
        exports=("models", "planned", "selector"),
        body=_ingest(_new_data(options, evaluation_jobs)),
    )
    return Flow(
        start="INIT",
        finally_="EXIT",
        steps={
            "INIT": _decide(operation="INIT"),
            "INIT_CLUSTER_CONNECTION": _work(operation="INIT_CLUSTER_CONNECTION", outcomes={"done": ("cluster",)}),
            "pipeline": pipeline,
            "post_evaluation": Flow(
                start="POST_EVALUATION",
                steps={
                    "POST_EVALUATION": _decide(
                        operation="POST_EVALUATION",
                        outcomes={"jobs": ("jobs",), "nothing": ()},
                        reads=("models", "planned", "selector"),
                    ),
                    "evaluation_jobs": evaluation_jobs,
                },
                edges={
                    "POST_EVALUATION": {"jobs": "evaluation_jobs", "nothing": leave("done")},
                    "evaluation_jobs": {"done": leave("done")},
                },
            ),
            "DONE": _decide(operation="DONE"),
            "EXIT": _work(operation="EXIT"),
        },
        edges={
            "INIT": {"done": "INIT_CLUSTER_CONNECTION"},
            "INIT_CLUSTER_CONNECTION": {"done": "pipeline"},
            "pipeline": {"done": "post_evaluation"},
            "post_evaluation": {"done": "DONE"},
            "DONE": {"done": leave("done")},
        },
    )


def _registers(variant: Variant) -> Mapping[str, Register]:
    shared = {
        "active_model": Register(merge="newest"),
        "models": Register(merge="append"),
        "costs": Register(merge="append", keep=_COSTS_KEPT),
        "trained": Register(merge="append"),
        "skipped": Register(merge="append"),
        "planned": Register(merge="append"),
        "selector": Register(),
        "policy": Register(),
    }
    overlapped = {"pending": Register(guard="admission"), "superseded": Register(merge="append")}
    return shared | (overlapped if variant == "overlapped" else {})


def _ingest(new_data: Node) -> Flow:
    """Replay or live: which of the two is the outcome of a stage, so it is on record."""
    replay_data = Flow(
        start="REPLAY_DATA",
        initial={"position": 0, "next_batch": 0, "taken_s": None},
        steps={
            "REPLAY_DATA": _work(
                operation="REPLAY_DATA",
                outcomes={"chunk": ("chunk", "position", "batch_size", "taken_s"), "end": (), "stop": ()},
                reads=("batch_size", "position", "taken_s"),
            ),
            "new_data": new_data,
            "REPLAY_DATA_DONE": _decide(operation="REPLAY_DATA_DONE"),
        },
        edges={
            "REPLAY_DATA": {"chunk": "new_data", "end": "REPLAY_DATA_DONE", "stop": "REPLAY_DATA_DONE"},
            "new_data": {"done": "REPLAY_DATA"},
            "REPLAY_DATA_DONE": {"done": leave("done")},
        },
    )
    wait_for_new_data = Flow(
        start="FETCH_NEW_DATA",
        initial={"position": 0, "next_batch": 0, "taken_s": None},
        steps={
            "FETCH_NEW_DATA": _work(
                operation="FETCH_NEW_DATA",
                outcomes={
                    "chunk": ("chunk", "position", "batch_size", "taken_s"),
                    "nothing": ("batch_size", "taken_s"),
                    "end": (),
                },
                reads=("batch_size", "position", "taken_s"),
                reads_registers=("policy",),
            ),
            "WAIT_FOR_NEW_DATA": _wait(
                operation="WAIT_FOR_NEW_DATA",
                outcomes={"ready": (), "deadline": ("chunk",), "end": (), "stop": ()},
                reads=("batch_size", "position"),
                reads_registers=("policy",),
            ),
            "new_data": new_data,
        },
        edges={
            "FETCH_NEW_DATA": {"chunk": "new_data", "nothing": "WAIT_FOR_NEW_DATA", "end": leave("done")},
            "WAIT_FOR_NEW_DATA": {
                "ready": "FETCH_NEW_DATA",
                "deadline": "new_data",
                "end": leave("done"),
                "stop": leave("done"),
            },
            "new_data": {"done": "FETCH_NEW_DATA"},
        },
    )
    return Flow(
        start="GET_SELECTOR_BATCH_SIZE",
        steps={
            "GET_SELECTOR_BATCH_SIZE": _decide(
                operation="GET_SELECTOR_BATCH_SIZE", outcomes={"replay": ("batch_size",), "live": ("batch_size",)}
            ),
            "replay_data": replay_data,
            "wait_for_new_data": wait_for_new_data,
        },
        edges={
            "GET_SELECTOR_BATCH_SIZE": {"replay": "replay_data", "live": "wait_for_new_data"},
            "replay_data": {"done": leave("done")},
            "wait_for_new_data": {"done": leave("done")},
        },
    )


def _new_data(options: GraphOptions, evaluation_jobs: Node) -> Flow:
    return Flow(
        start="HANDLE_NEW_DATA",
        steps={
            "HANDLE_NEW_DATA": _decide(
                operation="HANDLE_NEW_DATA",
                outcomes={"done": ("batches", "next_batch")},
                reads=("chunk", "batch_size", "next_batch"),
            ),
            "new_data_batch": ForEach(
                over="batches", item="batch", limit=1, body=_new_data_batch(options, evaluation_jobs)
            ),
            "NEW_DATA_HANDLED": _decide(operation="NEW_DATA_HANDLED"),
        },
        edges={
            "HANDLE_NEW_DATA": {"done": "new_data_batch"},
            "new_data_batch": {"done": "NEW_DATA_HANDLED"},
            "NEW_DATA_HANDLED": {"done": leave("done")},
        },
    )


def _new_data_batch(options: GraphOptions, evaluation_jobs: Node) -> Flow:
    ask = "HANDLE_TRIGGERS_WITHIN_BATCH"
    overlapped = options.variant == "overlapped"
    beside = ("pending", "models") if overlapped else ()
    steps: dict[str, Node] = {
        ask: _decide(
            operation=ask,
            outcomes={
                "fired": ("answers", "decisions", "fire"),
                "observe": ("answers", "decisions", "request"),
                "none": ("answers", "decisions"),
            },
            reads=("batch", "observation", "answers"),
            reads_registers=("active_model", "costs", "selector", "skipped", "policy", *beside),
            writes_registers=("policy",),
        ),
        "OBSERVE": _work(
            operation="OBSERVE",
            outcomes={"done": ("observation",)},
            reads=("request",),
            reads_registers=("active_model",),
            needs={"device": 1} if options.observation_on_device else {},
            queue="observation",
            timeout_s=options.observation_timeout_s,
            retry=options.observation_retry,
        ),
        "INFORM_SELECTOR_AND_TRIGGER": _decide(
            operation="INFORM_SELECTOR_AND_TRIGGER",
            outcomes={"trigger": ("trigger", "training_set"), "empty": ("trigger",)},
            reads=("fire", "batch"),
            reads_registers=("selector", "skipped"),
            writes_registers=("selector",),
        ),
        "INFORM_SELECTOR_REMAINING_DATA": _decide(
            operation="INFORM_SELECTOR_REMAINING_DATA",
            reads=("batch",),
            reads_registers=("selector",),
            writes_registers=("selector",),
        ),
    }
    edges: dict[str, dict[str, str]] = {
        ask: {"fired": "INFORM_SELECTOR_AND_TRIGGER", "observe": "OBSERVE", "none": "INFORM_SELECTOR_REMAINING_DATA"},
        "OBSERVE": {"done": ask, "failed": ask} | ({} if options.observation_timeout_s is None else {"timeout": ask}),
        "INFORM_SELECTOR_REMAINING_DATA": {"done": leave("done")},
    }
    if overlapped:
        steps |= {
            "ADMIT_TRIGGER": _decide(
                operation="ADMIT_TRIGGER",
                outcomes={"start": (), "pending": (), "dropped": (), "preempt": ("victim",)},
                reads=("trigger", "training_set"),
                reads_registers=("pending", "models", "skipped", "selector"),
                writes_registers=("pending", "selector"),
                needs={"admission": 1},
            ),
            "PREEMPT": _work(
                operation="PREEMPT",
                outcomes={"stopped": (), "too_late": ()},
                reads=("victim",),
                reads_registers=("trained", "skipped"),
                writes_registers=("superseded",),
            ),
            "train_and_eval": Spawn(body=_claim_and_train(options, evaluation_jobs)),
        }
        edges |= {
            "INFORM_SELECTOR_AND_TRIGGER": {"trigger": "ADMIT_TRIGGER", "empty": ask},
            "ADMIT_TRIGGER": {"start": "train_and_eval", "pending": ask, "dropped": ask, "preempt": "PREEMPT"},
            "PREEMPT": {"stopped": "train_and_eval", "too_late": "train_and_eval"},
            "train_and_eval": {"done": ask},
        }
    else:
        steps["train_and_eval"] = _train_and_eval(options, evaluation_jobs)
        edges |= {
            "INFORM_SELECTOR_AND_TRIGGER": {"trigger": "train_and_eval", "empty": ask},
            "train_and_eval": {"done": ask, "skipped": ask},
        }
    return Flow(
        start=ask,
        initial={"answers": 0, "observation": None},
        growing="answers",
        label="batch",
        steps=steps,
        edges=edges,
    )


def _train_and_eval(options: GraphOptions, evaluation_jobs: Node) -> Flow:
    """`training`, then `evaluation`: spawned in `seed`, in line in `sequential`."""
    evaluation, is_spawned = _evaluation(evaluation_jobs), options.variant == "seed"
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


def _claim_and_train(options: GraphOptions, evaluation_jobs: Node) -> Flow:
    """What `overlapped` spawns for a trigger: train when a slot is free, then evaluate."""
    # CLAIM_TRIGGERS gives a stopped training's samples to another trigger: the two must not decide at the same time
    skipped = replace(_training_skipped(), reads_registers=("superseded",), needs={"admission": 1})
    holds_slot = Flow(
        start="CLAIM_TRIGGERS",
        needs={"training_slot": 1},
        queue="training",
        steps={
            "CLAIM_TRIGGERS": _decide(
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
        steps={"claim_and_train": holds_slot, "evaluation": _evaluation(evaluation_jobs)},
        edges={
            "claim_and_train": {"trained": "evaluation", "nothing": leave("done")},
            "evaluation": {"done": leave("done"), "failed": leave("done")},
        },
    )


def _training(options: GraphOptions) -> Flow:
    """One device (or more) held from RUN_TRAINING to TRAINING_COMPLETED, retried as a whole."""
    on_device = Flow(
        start="RUN_TRAINING",
        needs={"device": options.devices_per_training},
        queue="training",
        work="training_set",
        timeout_s=options.training_timeout_s,
        retry=options.training_retry,
        steps={
            "RUN_TRAINING": _work(
                operation="RUN_TRAINING",
                outcomes={"started": ("job",)},
                reads=("trigger", "training_set", "checkpoint"),
                reads_registers=("active_model",),
            ),
            "WAIT_FOR_TRAINING_COMPLETION": _wait(
                operation="WAIT_FOR_TRAINING_COMPLETION",
                outcomes={"trained": ("fit",), "preempted": ("checkpoint",), "superseded": ()},
                reads=("job",),
                writes_registers=("trained",),
            ),
            "TRAINING_COMPLETED": _decide(
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
    return Flow(
        start="on_device",
        initial={"checkpoint": None},
        steps={
            "on_device": on_device,
            "STORE_TRAINED_MODEL": _work(
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


def _training_skipped() -> Stage:
    """A finally failed training: the old model stays, its samples count for the next trigger."""
    return _decide(operation="TRAINING_SKIPPED", reads=("trigger", "error"), writes_registers=("skipped",))


def _evaluation(evaluation_jobs: Node) -> Flow:
    return Flow(
        start="EVALUATE",
        label="trigger",
        steps={
            "EVALUATE": _decide(
                operation="EVALUATE",
                outcomes={"jobs": ("jobs",), "nothing": ()},
                reads=("trigger", "model"),
                reads_registers=("models",),
                writes_registers=("planned",),
            ),
            "evaluation_jobs": evaluation_jobs,
        },
        edges={
            "EVALUATE": {"jobs": "evaluation_jobs", "nothing": leave("done")},
            "evaluation_jobs": {"done": leave("done")},
        },
    )


def _evaluation_jobs(options: GraphOptions) -> ForEach:
    """Every job of a plan; one that fails is recorded and never stops the rest."""
    again = {YIELDED: "WAIT_FOR_EVALUATION_COMPLETION"} if options.evaluations_yield else {}
    return ForEach(
        over="jobs",
        item="evaluation_job",
        limit=options.evaluations_at_once,
        on_failure="record",
        body=Flow(
            start="WAIT_FOR_EVALUATION_COMPLETION",
            steps={
                "WAIT_FOR_EVALUATION_COMPLETION": _wait(
                    operation="WAIT_FOR_EVALUATION_COMPLETION",
                    outcomes={"done": ("result",)},
                    reads=("evaluation_job",),
                    needs={"device": 1},
                    queue="evaluation",
                    work="evaluation_job",
                    yields=options.evaluations_yield,
                    timeout_s=options.evaluation_timeout_s,
                    retry=options.evaluation_retry,
                ),
                "EVALUATION_COMPLETED": _decide(
                    operation="EVALUATION_COMPLETED", outcomes={"done": ("scores",)}, reads=("evaluation_job", "result")
                ),
                "STORE_EVALUATION_RESULTS": _work(
                    operation="STORE_EVALUATION_RESULTS", reads=("evaluation_job", "scores")
                ),
            },
            edges={
                "WAIT_FOR_EVALUATION_COMPLETION": {"done": "EVALUATION_COMPLETED", **again},
                "EVALUATION_COMPLETED": {"done": "STORE_EVALUATION_RESULTS"},
                "STORE_EVALUATION_RESULTS": {"done": leave("done")},
            },
        ),
    )
