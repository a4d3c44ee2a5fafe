"""What both executors need to do the stages that work or wait: the values, without the doing.

The chunk that is next, the training that a job is, the entry of a stored model: the same in both
modes because it is the same code.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

from twinclock.config import Config
from twinclock.graph import Json
from twinclock.landed import LandedSamples
from twinclock.live import wake
from twinclock.messages import Start, path_text
from twinclock.policies.batching import chunk_size, next_batch_size
from twinclock.policies.observations import value_name
from twinclock.policies.triggers import Samples
from twinclock.stages import Context, Decision
from twinclock.stream import ClockTime, DataTime

Values = Mapping[str, Json]


def replay_chunk(context: Context, inputs: Values, now: ClockTime, stopping: bool) -> Decision:
    """REPLAY_DATA: the next samples in data-time order, whole ingest batches as far as they go."""
    first, num_samples = inputs["position"], context.stream.num_samples
    if stopping:
        return "stop", {}
    if first >= num_samples:
        return "end", {}
    batch_size = _batch_size(context, inputs, now)
    stop = min(first + _chunk_size(context.config, batch_size), num_samples)
    return _taken({"first": first, "stop": stop, "watermark": None}, batch_size, now)


def live_chunk(context: Context, inputs: Values, registers: Values, now: ClockTime, stopping: bool) -> Decision:
    """FETCH_NEW_DATA: what has arrived and was not taken yet, in whole ingest batches, a chunk at most.

    A batch that is not full is taken only at the end of the stream, when the trigger's deadline has
    passed, or when its first sample has waited as long as it may. The chunk that takes the last arrived
    sample says how far data time has come (`watermark`), but for the end of the stream, after which it
    does not matter. Whoever is stopping gets nothing, and WAIT_FOR_NEW_DATA ends with `stop`.
    """
    stream, first = context.stream, inputs["position"]
    batch_size = _batch_size(context, inputs, now)
    nothing = "nothing", {"batch_size": batch_size, "taken_s": None, "source": None}
    if stopping:
        return nothing
    if first >= stream.num_samples:
        return "end", {"source": None}
    data_now, samples = context.pace.data_time(now), context.handover
    watermark = samples.watermark(data_now)
    stop = there = samples.arrived(first, data_now)
    if there < stream.num_samples and not _is_past(due(context, registers), watermark):
        full = first + (there - first) // batch_size * batch_size
        if full == there or samples.moment(full) + context.max_wait_s > data_now:
            stop = full
    stop = min(stop, first + _chunk_size(context.config, batch_size))
    if stop == first:
        return nothing
    told = watermark if stop == there < stream.num_samples else None
    outcome, values = _taken({"first": first, "stop": stop, "watermark": told}, batch_size, now)
    return outcome, {**values, "source": None}


def landed_chunk(
    context: Context, samples: LandedSamples, inputs: Values, deadline: DataTime | None, now: ClockTime
) -> Decision:
    """FETCH_NEW_DATA of a source that grows: what was handed over and not taken yet, as `live_chunk` does.

    How far data time has come is said with every chunk, by the watermark: a chunk without samples says so where the
    trigger's deadline has passed, or the stream has ended, and nobody was told.
    """
    first, batch_size, before = inputs["position"], _batch_size(context, inputs, now), told(inputs)
    there, has_ended = samples.num_samples, samples.has_ended
    source = {**before, "landings": len(samples.landings)}
    if first >= there and (before["ended"] or (has_ended and there == 0)):
        return "end", {"source": source}
    stop, known = there, samples.watermark
    is_due = known is not None and _is_past(deadline, DataTime(known))
    if not has_ended and not is_due:
        full = first + (there - first) // batch_size * batch_size
        if full == there or samples.landed_s(full) + context.max_wait_s > now:
            stop = full
    stop = min(stop, first + _chunk_size(context.config, batch_size))
    watermark = known if stop == there else samples.timestamp(stop)
    ended = has_ended and stop == there
    was_due = before["watermark"] is not None and _is_past(deadline, DataTime(before["watermark"]))
    is_news = ended or (is_due and not was_due)
    if watermark is None or (stop == first and not is_news):
        return "nothing", {"batch_size": batch_size, "taken_s": None, "source": source}
    chunk = {
        "first": first,
        "stop": stop,
        "watermark": watermark,
        "ended": ended,
        "quarantined": samples.num_quarantined(before["counted"], len(samples.landings)),
    }
    outcome, values = _taken(chunk, batch_size, now)
    if stop == first:
        values = {**values, "taken_s": None}
    source |= {"counted": len(samples.landings), "watermark": watermark, "ended": ended}
    return outcome, {**values, "source": source}


def told(inputs: Values) -> dict[str, Json]:
    """How far a source that grows was read, and what the pipeline was told of it; at the start, nothing."""
    return inputs["source"] or {"landings": 0, "counted": 0, "watermark": None, "ended": False}


def waits_until(context: Context, samples: LandedSamples, inputs: Values) -> float:
    """When the first sample that was not taken yet has waited long enough, on the clock; inf: there is none."""
    first = inputs["position"]
    return samples.landed_s(first) + context.max_wait_s if first < samples.num_samples else math.inf


def next_wake(context: Context, inputs: Values, registers: Values) -> tuple[ClockTime, str, Values]:
    """WAIT_FOR_NEW_DATA: when it ends on the clock, its outcome, its values."""
    position = inputs["position"]
    deadline = due(context, registers)
    woken = wake(context.stream, position, inputs["batch_size"], deadline, context.max_wait_s)
    at = context.pace.clock_time(woken.at)
    if woken.outcome == "deadline":
        chunk = {"first": position, "stop": position, "watermark": context.handover.watermark(woken.at)}
        return at, "deadline", {"chunk": chunk}
    return at, woken.outcome, {}


def observed_interval(context: Context, request: Mapping[str, Json]) -> Json:
    """OBSERVE: the samples of a `score` request as an interval, like those of evaluations."""
    first, stop = request["first"], request["stop"]
    begin, end = context.stream.timestamp(first), context.stream.timestamp(stop - 1)
    return {"start": begin, "end": end, "first": first, "stop": stop}


def models_to_score(request: Mapping[str, Json], active: Json | None) -> list[tuple[str, str, Json | None]]:
    """OBSERVE: each value that a `score` request asks for: its name, the metric, the model (None if there is none)."""
    if request["models"] is None:
        return [(metric, metric, active) for metric in request["metrics"]]
    return [(value_name(metric, model), metric, model) for metric in request["metrics"] for model in request["models"]]


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


def evaluation_key(job: Mapping[str, Json]) -> tuple[int, int, int]:
    """The key of draws for an evaluation job: its model, its plan, and its first interval's start in milliseconds."""
    return job["model"], job["plan"], int(job["intervals"][0]["start"] * 1000) & 0xFFFFFFFFFFFF


def preempted(start: Start) -> Decision:
    """PREEMPT: `stopped`, unless it is on record that the victim has trained or has failed for good: `too_late`.

    It depends on nothing but what the stage run was started with, so it comes out the same if the run
    crashes and the stage run is started again. An executor that ends with `stopped` has to see to it that
    no wait for this training ends `trained` any more: also one whose end was not handed over yet.
    """
    victim, registers = start.inputs["victim"], start.registers
    skipped = (entry["trigger"] for entry in registers["skipped"]["items"])
    if victim in registers["trained"]["items"] or victim in skipped:
        return "too_late", {}
    return "stopped", {"superseded": [victim]}


def model_path(candidate: Json) -> str:
    """Where a model is stored in the folder of its run."""
    return f"models/{candidate['trigger']:05d}"


def stored_model(context: Context, candidate: Json, size_bytes: int, stored: ClockTime) -> Json:
    """STORE_TRAINED_MODEL: the lineage entry of a model that is durable from the clock time `stored` on."""
    return {
        **candidate,
        "path": model_path(candidate),
        "size_bytes": size_bytes,
        "served_from": served_from(context, candidate["stop"], stored),
    }


def stored_values(context: Context, model: Json) -> Values:
    """STORE_TRAINED_MODEL: what it writes. With a gate the registers wait for its verdict."""
    gated = context.config.training.gate is not None
    return {"model": model} if gated else {"model": model, "active_model": model, "models": [model]}


def served_from(context: Context, trained_stop: int, stored: ClockTime) -> int | None:
    """The first position that a model could serve, which was trained with the samples before `trained_stop`.

    Live: the first that has not arrived when it is `stored`; with a gate, when it is activated. In replay the first
    after the trigger, if training stops ingestion; if not, data time stands still while samples are taken in, and
    nothing says.
    """
    if context.landed is not None:
        return max(trained_stop, context.landed.num_samples)
    if context.config.mode == "live":
        return context.handover.arrived(trained_stop, context.pace.data_time(stored))
    return None if context.config.variant == "overlapped" else trained_stop


def due(context: Context, registers: Values) -> DataTime | None:
    """The data time at which the trigger policy wants to be asked even if no sample comes."""
    trigger, policy = context.trigger, registers["policy"]
    trigger.load_state_dict(context.untouched if policy is None else policy["trigger"])
    if policy is None and trigger.next_deadline() is None and context.stream.num_samples:
        # periods may count from the first sample, which is there but in no batch yet
        trigger.advance(Samples(stream=context.stream, first=0, stop=1), None)
    return trigger.next_deadline()


def _is_past(deadline: DataTime | None, now: DataTime) -> bool:
    return deadline is not None and deadline <= now


def _taken(chunk: Json, batch_size: int, now: ClockTime) -> Decision:
    return "chunk", {"chunk": chunk, "position": chunk["stop"], "batch_size": batch_size, "taken_s": now}


def _batch_size(context: Context, inputs: Values, now: ClockTime) -> int:
    """Samples in the next ingest batch, now that the pipeline comes for it: the last chunk, if any, is handled."""
    batch_size, taken_s = inputs["batch_size"], inputs["taken_s"]
    return batch_size if taken_s is None else next_batch_size(context.config.batching, batch_size, now - taken_s)


def _chunk_size(config: Config, batch_size: int) -> int:
    return chunk_size(config.batching, batch_size, config.data.chunk)
