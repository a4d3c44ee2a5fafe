"""What both executors need to do the stages that work or wait: the values, without the doing.

The chunk that is next, the training that a job is, the entry of a stored model: the same in both
modes because it is the same code.
"""

from __future__ import annotations

from collections.abc import Mapping

from twinclock.config import Config
from twinclock.graph import Json
from twinclock.live import Pace, arrived, wake
from twinclock.messages import Start, path_text
from twinclock.policies.triggers import Samples
from twinclock.stages import Context, Decision
from twinclock.stream import ClockTime, DataTime

Values = Mapping[str, Json]


def device_names(kind: str, number: int) -> tuple[str, ...]:
    """Names for `number` devices of a kind: `cpu:0`, `cpu:1`, …"""
    return tuple(f"{kind}:{index}" for index in range(number))


def replay_chunk(context: Context, inputs: Values, stopping: bool) -> Decision:
    """REPLAY_DATA: the next samples in data-time order, whole ingest batches as far as they go."""
    first, num_samples = inputs["position"], context.stream.num_samples
    if stopping:
        return "stop", {}
    if first >= num_samples:
        return "end", {}
    stop = min(first + _chunk_size(context.config, inputs["batch_size"]), num_samples)
    return "chunk", {"chunk": {"first": first, "stop": stop, "watermark": None}, "position": stop}


def live_chunk(context: Context, inputs: Values, registers: Values, now: ClockTime) -> Decision:
    """FETCH_NEW_DATA: what has arrived and was not taken yet, in whole ingest batches, a chunk at most.

    A batch that is not full is taken only at the end of the stream, or when the trigger's deadline has
    passed. The chunk that takes the last arrived sample says how far data time has come (`watermark`),
    but for the end of the stream, after which it does not matter.
    """
    first, num_samples = inputs["position"], context.stream.num_samples
    if first >= num_samples:
        return "end", {}
    batch_size = inputs["batch_size"]
    data_now = pace(context).data_time(now)
    there = arrived(context.stream, first, data_now)
    stop = there
    if there < num_samples and not _is_past(_deadline(context, registers), data_now):
        stop = first + (there - first) // batch_size * batch_size
    stop = min(stop, first + _chunk_size(context.config, batch_size))
    if stop == first:
        return "nothing", {}
    watermark = data_now if stop == there < num_samples else None
    return "chunk", {"chunk": {"first": first, "stop": stop, "watermark": watermark}, "position": stop}


def next_wake(context: Context, inputs: Values, registers: Values) -> tuple[ClockTime, str, Values]:
    """WAIT_FOR_NEW_DATA: when it ends on the clock, its outcome, its values."""
    position = inputs["position"]
    woken = wake(context.stream, position, inputs["batch_size"], _deadline(context, registers))
    at = pace(context).clock_time(woken.at)
    if woken.outcome == "deadline":
        chunk = {"first": position, "stop": position, "watermark": woken.at}
        return at, "deadline", {"chunk": chunk}
    return at, woken.outcome, {}


def pace(context: Context) -> Pace:
    """How data time goes with the clock in this run. The stream must not be empty."""
    return Pace(DataTime(context.stream.timestamp(0)), context.config.live.speed_up)


def training_job(config: Config, start: Start, now: ClockTime) -> Json:
    """RUN_TRAINING: the training as a job, named after the composite that holds the device."""
    active = start.registers["active_model"]
    warm = config.training.start_from == "active" and active is not None
    return {
        "id": path_text(start.path[0] if start.path else None),
        "trigger": start.inputs["trigger"]["serial"],
        "training_set": start.inputs["training_set"],
        "start_from": {"trigger": active["trigger"], "path": active["path"]} if warm else None,
        "started_s": now,
    }


def model_path(candidate: Json) -> str:
    """Where a model is stored in the folder of its run."""
    return f"models/{candidate['trigger']:05d}"


def stored_model(context: Context, candidate: Json, size_bytes: int, stored: ClockTime) -> Json:
    """STORE_TRAINED_MODEL: the lineage entry of a model that is durable from the clock time `stored` on."""
    return {
        **candidate,
        "path": model_path(candidate),
        "size_bytes": size_bytes,
        "served_from": _served_from(context, candidate["stop"], stored),
    }


def _served_from(context: Context, trained_stop: int, stored: ClockTime) -> int | None:
    """The first position that a model could serve, which was trained with the samples before `trained_stop`.

    Live: the first that has not arrived when it is stored. In replay the first after the trigger, if
    training stops ingestion; if not, data time stands still while samples are taken in, and nothing says.
    """
    if context.config.mode == "live":
        return arrived(context.stream, trained_stop, pace(context).data_time(stored))
    return None if context.config.variant == "overlapped" else trained_stop


def _deadline(context: Context, registers: Values) -> DataTime | None:
    """The data time at which the trigger policy wants to be asked even if no sample comes."""
    trigger, policy = context.trigger, registers["policy"]
    trigger.load_state_dict(context.untouched if policy is None else policy["trigger"])
    if policy is None and trigger.next_deadline() is None:
        # periods may count from the first sample, which is there but in no batch yet
        trigger.advance(Samples(stream=context.stream, first=0, stop=1), None)
    return trigger.next_deadline()


def _is_past(deadline: DataTime | None, now: DataTime) -> bool:
    return deadline is not None and deadline <= now


def _chunk_size(config: Config, batch_size: int) -> int:
    return max(1, config.data.chunk // batch_size) * batch_size
