"""What every stage comes to in a simulated run: its seconds from the cost model, its values from the shared code."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial

import numpy as np
from numpy.typing import NDArray

from sim.config import SimConfig
from sim.contention import Interference
from sim.costs import decide_s, evaluation_s, evaluation_sigma, linear_s, noise, store_s, training_s, training_source
from sim.effects import Effect, Load
from sim.executor import Body, SimExecutor
from sim.faults import Ages, breaking
from sim.quality import Quality, drawn_errors, make_quality
from sim.recovery import Stint, TrainingWork, checkpoint_every_s
from sim.throughput.protocol import Held, Job, Training
from sim.throughput.scaling import devices_on_one_node
from twinclock import gate, work
from twinclock.allocator import Key
from twinclock.cluster import Device, modelled_devices
from twinclock.graph import Json
from twinclock.luck import FaultPlan
from twinclock.messages import Start
from twinclock.observing import DetectorMemory, Sources, distances, num_samples_read, numbers_of
from twinclock.policies.observations import needs_a_model, observation
from twinclock.seeds import Purpose
from twinclock.stages import DECISIONS, Context, Decide
from twinclock.stream import ClockTime
from twinclock.training import training_effort


@dataclass(frozen=True, slots=True)
class SimRun:
    """One pipeline in a simulated world."""

    context: Context
    sim: SimConfig
    quality: Quality
    training: Training
    """How long trainings take."""
    devices: Mapping[str, Device]
    """By name."""
    faults: FaultPlan
    detectors: DetectorMemory = field(default_factory=DetectorMemory)
    trainings: dict[int, Key] = field(default_factory=dict)
    """Serial of the trigger → the stage run that waits for its training, or did."""
    kept: dict[int, float] = field(default_factory=dict)
    """Serial of the trigger → share of its training that a checkpoint holds, from attempt to attempt."""
    warm: set[str] = field(default_factory=set)
    """Devices that were trained on."""
    superseded: set[int] = field(default_factory=set)
    """Serials of the triggers whose trainings are to stop, also those that wait for a device or their next attempt."""


def bodies(context: Context, sim: SimConfig, ages: Ages | None = None) -> dict[str, Body]:
    """Operation → what doing it comes to, for one pipeline. `ages`: of the devices, where others use them too."""
    devices = {device.name: device for device in modelled_devices(context.config.cluster)}
    training = training_source(sim.costs, context.config.training)
    plan = FaultPlan(context.config.faults, context.config.seed)
    run = SimRun(context, sim, make_quality(sim.quality, context), training, devices, plan)
    modelled: Mapping[str, Callable[[SimRun, Start, SimExecutor], Effect]] = {
        "INIT_CLUSTER_CONNECTION": _init_cluster_connection,
        "REPLAY_DATA": _replay_data,
        "FETCH_NEW_DATA": _fetch_new_data,
        "WAIT_FOR_NEW_DATA": _wait_for_new_data,
        "OBSERVE": _observe,
        "RUN_TRAINING": _run_training,
        "WAIT_FOR_TRAINING_COMPLETION": _wait_for_training_completion,
        "STORE_TRAINED_MODEL": _store_trained_model,
        "SCORE_CANDIDATE": _score_candidate,
        "ACTIVATE_MODEL": _activate_model,
        "WAIT_FOR_EVALUATION_COMPLETION": _wait_for_evaluation_completion,
        "STORE_EVALUATION_RESULTS": _store_evaluation_results,
        "PREEMPT": _preempt,
        "EXIT": _exit,
    }
    decisions: dict[str, Body] = {
        operation: partial(_decided, decide, context, decide_s(sim.costs, operation))
        for operation, decide in DECISIONS.items()
    }
    work_bodies: dict[str, Body] = {operation: partial(body, run) for operation, body in modelled.items()}
    return decisions | breaking(work_bodies, plan, {} if ages is None else ages)


def _decided(decide: Decide, context: Context, seconds: float, start: Start, _executor: SimExecutor) -> Effect:
    outcome, values = decide(context, start.inputs, start.registers)
    return Effect(seconds, outcome, values)


def _init_cluster_connection(run: SimRun, _start: Start, _executor: SimExecutor) -> Effect:
    return Effect(run.sim.costs.connect_s, "done", {"cluster": {"devices": list(run.devices)}})


def _speed(run: SimRun, start: Start) -> float:
    """Of the slowest device held: the others wait for it at every step. 1 for what is done beside the devices."""
    return min((run.devices[name].kind.speed for name in start.placement.get("device", ())), default=1.0)


def _held(run: SimRun, start: Start) -> Held:
    nodes = [(run.devices[name].pool, run.devices[name].node) for name in start.placement.get("device", ())]
    return Held(devices_on_one_node(nodes, run.sim.costs.node_efficiency), _speed(run, start))


def _load(run: SimRun, start: Start, values: Callable[[float], Mapping[str, Json]] | None = None) -> Load | None:
    devices = start.placement.get("device", ())
    told = run.sim.interference
    return Load(devices, Interference(told.same_device, told.same_node), values) if devices else None


def _replay_data(run: SimRun, start: Start, executor: SimExecutor) -> Effect:
    outcome, values = work.replay_chunk(run.context, start.inputs, executor.now(), executor.stopping)
    return Effect(_read_s(run, values), outcome, values)


def _fetch_new_data(run: SimRun, start: Start, executor: SimExecutor) -> Effect:
    outcome, values = work.live_chunk(run.context, start.inputs, start.registers, executor.now(), executor.stopping)
    return Effect(_read_s(run, values), outcome, values)


def _wait_for_new_data(run: SimRun, start: Start, executor: SimExecutor) -> Effect:
    if executor.stopping:
        return Effect(0.0, "stop", {})
    at, outcome, values = work.next_wake(run.context, start.inputs, start.registers)
    return Effect(max(0.0, at - executor.now()), outcome, values)


def _read_s(run: SimRun, values: Mapping[str, Json]) -> float:
    chunk = values.get("chunk")
    return 0.0 if chunk is None else linear_s(run.sim.costs.read, chunk["stop"] - chunk["first"])


def _observe(run: SimRun, start: Start, _executor: SimExecutor) -> Effect:
    request, model = start.inputs["request"], start.registers["active_model"]
    if request["kind"] == "distance":
        seconds = linear_s(run.sim.costs.drift, num_samples_read(request), _speed(run, start))
        values = _distances(run, request)
        return Effect(seconds, "done", {"observation": observation(request, values)}, load=_load(run, start))
    interval = work.observed_interval(run.context, request)
    models = work.models_to_score(request, model)
    values = {
        name: None
        if each is None
        else run.quality.score(each, interval, metric, span=(interval["start"], interval["end"]))
        for name, metric, each in models
    }
    num_models = len({None if each is None else each["trigger"] for _, _, each in models})
    num_scored = num_models * (request["stop"] - request["first"])
    seconds = evaluation_s(run.sim.costs.evaluation, num_scored, num_models, _speed(run, start))
    return Effect(seconds, "done", {"observation": observation(request, values)}, load=_load(run, start))


def _distances(run: SimRun, request: Json) -> dict[str, float | None]:
    """Computed from the real features; errors of models, which are not there, are drawn."""
    context = run.context
    known = run.quality.observed(request) if needs_a_model(request) else None
    if known is not None:
        return known

    def errors(model: Mapping[str, Json], first: int, stop: int) -> NDArray[np.float64]:
        known = run.quality.errors(model, first, stop)
        if known is not None:
            return known
        return drawn_errors(run.quality, model, context.stream, first, stop, context.config.seed)

    # a detector of errors needs no features, so the samples may be modelled ones
    sources = numbers_of(context.table, request, errors) if context.has_table else Sources(_none, _none, errors)
    return distances(request, sources, run.detectors)


def _none(*_: object) -> NDArray[np.float64]:
    return np.empty(0)


def _run_training(run: SimRun, start: Start, executor: SimExecutor) -> Effect:
    job = work.training_job(run.context.config, start, executor.now())
    return Effect(run.sim.costs.launch_s, "started", {"job": job})


def _wait_for_training_completion(run: SimRun, start: Start, executor: SimExecutor) -> Effect:
    job, config = start.inputs["job"], run.context.config
    if job["trigger"] in run.superseded:
        return Effect(0.0, "superseded", {})
    num_samples, epochs = job["training_set"]["num_samples"], config.training.epochs
    num_held_out, todo = training_effort(config.training, num_samples)
    num_scored = todo.num_scored + epochs * num_held_out
    job_size = Job(todo.num_kept, epochs, config.training.batch_size, num_scored)
    work_s = training_s(run.sim.costs, run.training, job_size, _held(run, start))
    work_s *= noise(run.sim.costs.noise_sigma, config.seed, Purpose.TRAINING_NOISE, job["trigger"])
    work_s *= run.faults.slow_down(job["trigger"], start)
    if not run.warm.issuperset(devices := start.placement.get("device", ())):
        run.warm.update(devices)
        work_s += run.sim.costs.warmup_s
    every_s = checkpoint_every_s(config.training.checkpoint, work_s=work_s, num_steps=todo.num_steps)
    stint = Stint(work_s, run.kept.get(job["trigger"], 0.0), every_s, run.sim.costs.checkpoint)
    seconds, began_s = stint.seconds, executor.now()
    run.kept[job["trigger"]] = stint.share_kept(seconds)
    run.quality.trained(job)
    run.trainings[job["trigger"]] = (start.pipeline, start.id)

    def values(seconds: float) -> dict[str, Json]:
        fit = {
            "num_samples": num_samples,
            "num_kept": todo.num_kept,
            "epochs": epochs,
            "loss": None,
            "path": job["id"],
            "seconds": seconds,
            "wait_share": None,
            "held_s": began_s - job["started_s"] + seconds,
        }
        return {"fit": fit, "trained": [job["trigger"]]}

    under_way = TrainingWork(job["trigger"], stint, run.kept)
    return Effect(seconds, "trained", values(seconds), under_way, _load(run, start, values))


def _store_trained_model(run: SimRun, start: Start, executor: SimExecutor) -> Effect:
    seconds, size_bytes = store_s(run.sim.costs), run.sim.costs.store.model_bytes
    stored = ClockTime(executor.now() + seconds)
    model = work.stored_model(run.context, start.inputs["candidate"], size_bytes, stored)
    run.quality.stored(model)
    return Effect(seconds, "done", work.stored_values(run.context, model))


def _score_candidate(run: SimRun, start: Start, _executor: SimExecutor) -> Effect:
    model, active, config = start.inputs["model"], start.registers["active_model"], run.context.config
    interval = gate.interval_of(
        run.context, model, gate.first_held_out(run.context, model, start.inputs["training_set"])
    )
    metric, span = gate.gate_of(config).metric, (interval["start"], interval["end"])
    models = {"candidate": model} if active is None else {"candidate": model, "active": active}
    is_empty = interval["first"] == interval["stop"]  # a set of one sample, which is trained on
    scores = {
        name: None if is_empty else run.quality.score(each, interval, metric, span=span)
        for name, each in models.items()
    }
    num_scored = len(models) * (interval["stop"] - interval["first"])
    seconds = evaluation_s(run.sim.costs.evaluation, num_scored, len(models), _speed(run, start))
    seconds *= noise(evaluation_sigma(run.sim.costs), config.seed, Purpose.GATE_NOISE, model["trigger"])
    return Effect(seconds, *gate.scored(run.context, active, interval, scores), load=_load(run, start))


def _activate_model(run: SimRun, start: Start, executor: SimExecutor) -> Effect:
    seconds = run.sim.costs.decide_s
    return Effect(seconds, *gate.activation(run.context, start, ClockTime(executor.now() + seconds)))


def _wait_for_evaluation_completion(run: SimRun, start: Start, _executor: SimExecutor) -> Effect:
    job, costs = start.inputs["evaluation_job"], run.sim.costs
    num_samples = sum(each["stop"] - each["first"] for each in job["intervals"])
    seed, key = run.context.config.seed, work.evaluation_key(job)
    luck = noise(evaluation_sigma(costs), seed, Purpose.EVALUATION_NOISE, *key)
    result = [
        {
            "start": each["start"],
            "end": each["end"],
            "metric": metric,
            "value": run.quality.score(job["lineage"], each, metric, span=_scored_span(run, each)),
            "num_samples": each["stop"] - each["first"],
        }
        for each in job["intervals"]
        for metric in job["metrics"]
    ]
    seconds = evaluation_s(costs.evaluation, num_samples, len(job["intervals"]), _speed(run, start)) * luck
    return Effect(seconds, "done", {"result": result}, load=_load(run, start))


def _scored_span(run: SimRun, interval: Mapping[str, Json]) -> tuple[float, float]:
    """The data time of an interval's samples that are scored: its own, cut where the rest of its samples lies."""
    stream, first, stop = run.context.stream, interval["first"], interval["stop"]
    start, end = interval["start"], interval["end"]
    if first > 0 and stream.timestamp(first - 1) >= start:
        start = stream.timestamp(first)
    return start, min(end, stream.timestamp(stop)) if stop < stream.num_samples else end


def _store_evaluation_results(run: SimRun, _start: Start, _executor: SimExecutor) -> Effect:
    return Effect(run.sim.costs.results_s, "done", {})


def _preempt(run: SimRun, start: Start, executor: SimExecutor) -> Effect:
    """Stop the victim's training, wherever it stands; one that has ended, or ends at this moment, goes on."""
    victim, now, launch_s = start.inputs["victim"], executor.now(), run.sim.costs.launch_s
    outcome, values = work.preempted(start)
    key = run.trainings.get(victim)
    job = None if key is None else executor.job(key)  # an attempt that failed, or took too long, is over before
    if outcome == "too_late" or (job is not None and job.ends_s == now and job.effect.outcome == "trained"):
        return Effect(launch_s, "too_late", {})
    run.superseded.add(victim)
    if key is not None and job is not None:
        executor.end_now(key, "superseded", {})
    return Effect(launch_s, outcome, values)


def _exit(_run: SimRun, _start: Start, _executor: SimExecutor) -> Effect:
    return Effect(0.0, "done", {})
