"""Taking in data: replayed or live, chunk by chunk, batch by batch, trigger by trigger."""

from __future__ import annotations

from twinclock.graph import Flow, ForEach, Node, Spawn, leave
from twinclock.pipeline.kinds import decide, wait, work
from twinclock.pipeline.options import GraphOptions
from twinclock.pipeline.training import claim_and_train, train_and_eval


def ingest(new_data: Node) -> Flow:
    """Replay or live: which of the two is the outcome of a stage, so it is on record."""
    replay_data = Flow(
        start="REPLAY_DATA",
        initial={"position": 0, "next_batch": 0, "taken_s": None},
        steps={
            "REPLAY_DATA": work(
                operation="REPLAY_DATA",
                outcomes={"chunk": ("chunk", "position", "batch_size", "taken_s"), "end": (), "stop": ()},
                reads=("batch_size", "position", "taken_s"),
            ),
            "new_data": new_data,
            "REPLAY_DATA_DONE": decide(operation="REPLAY_DATA_DONE"),
        },
        edges={
            "REPLAY_DATA": {"chunk": "new_data", "end": "REPLAY_DATA_DONE", "stop": "REPLAY_DATA_DONE"},
            "new_data": {"done": "REPLAY_DATA"},
            "REPLAY_DATA_DONE": {"done": leave("done")},
        },
    )
    wait_for_new_data = Flow(
        start="FETCH_NEW_DATA",
        initial={"position": 0, "next_batch": 0, "taken_s": None, "source": None},
        steps={
            "FETCH_NEW_DATA": work(
                operation="FETCH_NEW_DATA",
                outcomes={
                    "chunk": ("chunk", "position", "batch_size", "taken_s", "source"),
                    "nothing": ("batch_size", "taken_s", "source"),
                    "end": ("source",),
                },
                reads=("batch_size", "position", "taken_s", "source"),
                reads_registers=("policy",),
            ),
            "WAIT_FOR_NEW_DATA": wait(
                operation="WAIT_FOR_NEW_DATA",
                outcomes={"ready": (), "deadline": ("chunk",), "end": (), "stop": ()},
                reads=("batch_size", "position", "source"),
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
            "GET_SELECTOR_BATCH_SIZE": decide(
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


def new_data(options: GraphOptions, evaluation_jobs: Node) -> Flow:
    """What is done with a chunk, in both modes."""
    return Flow(
        start="HANDLE_NEW_DATA",
        steps={
            "HANDLE_NEW_DATA": decide(
                operation="HANDLE_NEW_DATA",
                outcomes={"done": ("batches", "next_batch")},
                reads=("chunk", "batch_size", "next_batch"),
            ),
            "new_data_batch": ForEach(
                over="batches", item="batch", limit=1, body=_new_data_batch(options, evaluation_jobs)
            ),
            "NEW_DATA_HANDLED": decide(operation="NEW_DATA_HANDLED"),
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
        ask: decide(
            operation=ask,
            outcomes={
                "fired": ("answers", "decisions", "fire"),
                "observe": ("answers", "decisions", "request"),
                "none": ("answers", "decisions"),
            },
            reads=("chunk", "batch", "observation", "answers"),
            reads_registers=("active_model", "costs", "selector", "skipped", "policy", *beside),
            writes_registers=("policy",),
        ),
        "OBSERVE": work(
            operation="OBSERVE",
            outcomes={"done": ("observation",)},
            reads=("request",),
            reads_registers=("active_model",),
            needs={"device": 1} if options.observation_on_device else {},
            queue="observation",
            timeout_s=options.observation_timeout_s,
            retry=options.observation_retry,
        ),
        "INFORM_SELECTOR_AND_TRIGGER": decide(
            operation="INFORM_SELECTOR_AND_TRIGGER",
            outcomes={"trigger": ("trigger", "training_set"), "empty": ("trigger",)},
            reads=("chunk", "fire", "batch"),
            reads_registers=("selector", "skipped"),
            writes_registers=("selector",),
        ),
        "INFORM_SELECTOR_REMAINING_DATA": decide(
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
            "ADMIT_TRIGGER": decide(
                operation="ADMIT_TRIGGER",
                outcomes={"start": (), "pending": (), "dropped": (), "preempt": ("victim",)},
                reads=("trigger", "training_set"),
                reads_registers=("pending", "models", "skipped", "selector"),
                writes_registers=("pending", "selector"),
                needs={"admission": 1},
            ),
            "PREEMPT": work(
                operation="PREEMPT",
                outcomes={"stopped": (), "too_late": ()},
                reads=("victim",),
                reads_registers=("trained", "skipped"),
                writes_registers=("superseded",),
            ),
            "train_and_eval": Spawn(body=claim_and_train(options, evaluation_jobs)),
        }
        edges |= {
            "INFORM_SELECTOR_AND_TRIGGER": {"trigger": "ADMIT_TRIGGER", "empty": ask},
            "ADMIT_TRIGGER": {"start": "train_and_eval", "pending": ask, "dropped": ask, "preempt": "PREEMPT"},
            "PREEMPT": {"stopped": "train_and_eval", "too_late": "train_and_eval"},
            "train_and_eval": {"done": ask},
        }
    else:
        steps["train_and_eval"] = train_and_eval(options, evaluation_jobs)
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
