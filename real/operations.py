"""What every stage does in a real run: decisions here, file work in helper threads, torch in the workers.

Where the fault plan makes an attempt fail, it fails where the work is done: in the thread, or in the worker, which is
told after how many steps or intervals. A device that fails is its worker, killed.
"""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from itertools import count
from pathlib import Path
from typing import NoReturn

import polars as pl

from real.active import activate
from real.executor import Body, Ending, RealExecutor
from real.pool import Message
from real.sources.intake import Intake
from real.store import MODELS, ModelStore
from real.usage import Usage
from real.worker import WORK, checkpoint_folder, work_folder
from twinclock import gate, work
from twinclock.allocator import Key
from twinclock.config import config_hash
from twinclock.faults import JobFailed
from twinclock.graph import Json
from twinclock.luck import Fate, FaultPlan, life_s
from twinclock.messages import Start, path_text
from twinclock.observing import DetectorMemory, distances, import_what_is_needed, numbers_of
from twinclock.policies.observations import needs_a_model, observation
from twinclock.run_folder import make_folder, replace_durably
from twinclock.stages import DECISIONS, Context, decide
from twinclock.training import training_effort


@dataclass(frozen=True)
class RealRun:
    """One pipeline in the real world."""

    context: Context
    folder: Path
    faults: FaultPlan
    intake: Intake | None
    """Where its samples come from, if they come while it runs."""
    detectors: DetectorMemory = field(default_factory=DetectorMemory)
    trainings: dict[int, str] = field(default_factory=dict)
    """Serial of the trigger → the job of its training."""
    waits: dict[int, Key] = field(default_factory=dict)
    """Serial of the trigger → the stage run that waits, or has waited, for its training."""
    launches: Iterator[int] = field(default_factory=count)
    """Numbers for trainings on several devices, as they are launched."""

    @cached_property
    def config_hash(self) -> str:
        """For the lineage of models."""
        return config_hash(self.context.config)

    def superseded(self, trigger: int) -> Path:
        """The file that is there when the training of a trigger is to stop."""
        return self.folder / "superseded" / f"{trigger:05d}"

    def rendezvous(self) -> Path:
        """The file by which the ranks of a training find each other; another one for each time that one is launched."""
        _rendezvous(self.folder).mkdir(parents=True, exist_ok=True)
        return _rendezvous(self.folder).resolve() / str(next(self.launches))


def bodies(context: Context, folder: Path) -> dict[str, Body]:
    """Operation → what does it, for one pipeline whose files are in `folder`."""
    shutil.rmtree(_rendezvous(folder), ignore_errors=True)  # of a process before this one
    run = RealRun(context, folder, FaultPlan(context.config.faults, context.config.seed), Intake.of(context))
    done: Mapping[str, Callable[[RealRun, Start, RealExecutor], Ending | None]] = {
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

    def bind(operation: str) -> Body:
        return lambda start, executor: done[operation](run, start, executor)

    def decided(start: Start, _executor: RealExecutor) -> Ending:
        return Ending(*decide(context, start))

    return dict.fromkeys(DECISIONS, decided) | {operation: bind(operation) for operation in done}


def _rendezvous(folder: Path) -> Path:
    return folder / WORK / "rendezvous"


def _init_cluster_connection(run: RealRun, start: Start, executor: RealExecutor) -> None:
    _fail_if_so_fated(run.faults.fate(start))
    executor.connect(start, {"cluster": {"devices": list(executor.workers.devices)}})
    import_what_is_needed(run.context.config.trigger)  # while the workers start


def _replay_data(run: RealRun, start: Start, executor: RealExecutor) -> Ending:
    return Ending(*work.replay_chunk(run.context, start.inputs, executor.now(), executor.stopping))


def _fetch_new_data(run: RealRun, start: Start, executor: RealExecutor) -> Ending | None:
    if run.intake is not None:
        return run.intake.fetch(start, executor)
    return Ending(*work.live_chunk(run.context, start.inputs, start.registers, executor.now(), executor.stopping))


def _wait_for_new_data(run: RealRun, start: Start, executor: RealExecutor) -> Ending | None:
    if run.intake is not None:
        return run.intake.wait(start, executor)
    if executor.stopping:
        return Ending("stop", {})
    at, outcome, values = work.next_wake(run.context, start.inputs, start.registers)
    executor.end_later(start, at - executor.now(), Ending(outcome, values))
    return None


def _observe(run: RealRun, start: Start, executor: RealExecutor) -> Ending | None:
    """On the device that is held; else distances between features in a helper thread, what models do on the first."""
    request, active = start.inputs["request"], start.registers["active_model"]
    device = start.placement.get("device", executor.workers.devices)[0]
    fate = run.faults.fate(start)
    if not start.placement and not needs_a_model(request):

        def observe() -> Ending:
            _fail_if_so_fated(fate)
            return _observed(request, _distances(run, request))

        executor.in_thread(start, observe)
        return None
    job = {"do": "observe", "id": path_text(start.path), "request": request, "active": active, **_fails(fate, 1)}
    executor.launch(start, (device,), job, _dies_after_s(run, fate))
    executor.await_job(start, job["id"], lambda result: _observed(request, result["values"]))
    return None


def _distances(run: RealRun, request: Json) -> dict[str, float | None]:
    def no_model(*_: object) -> NoReturn:
        raise ValueError(f"{request} needs a model, and is a worker's business")

    return distances(request, numbers_of(run.context.rows(), request, no_model), run.detectors)


def _observed(request: Json, values: Mapping[str, float | None]) -> Ending:
    return Ending("done", {"observation": observation(request, values)})


def _run_training(run: RealRun, start: Start, executor: RealExecutor) -> Ending:
    job = work.training_job(run.context.config, start, executor.now())
    if not run.superseded(job["trigger"]).exists():
        _launch_training(run, start, executor, job)
    return Ending("started", {"job": job})


def _wait_for_training_completion(run: RealRun, start: Start, executor: RealExecutor) -> Ending | None:
    """Make sure that the job runs, then wait: after a crash it may have to be started again, or be done.

    A training that is superseded does not end `trained`, even if its result is there.
    """
    job = start.inputs["job"]
    trigger, superseded = job["trigger"], run.superseded(job["trigger"])
    if superseded.exists() and not executor.has_job(job["id"]):
        _drop_work(run, job)
        return Ending("superseded", {})
    _launch_training(run, start, executor, job)
    run.waits[trigger] = (start.pipeline, start.id)

    def finish(result: Json) -> Ending:
        if superseded.exists():
            _drop_work(run, job)
            return Ending("superseded", {})
        fit = {key: result[key] for key in ("num_samples", "num_kept", "epochs", "loss", "path", "seconds")}
        fit |= {key: result.get(key) for key in ("wait_share", *Usage._fields)}
        fit["held_s"] = executor.now() - job["started_s"]
        return Ending("trained", {"fit": fit, "trained": [trigger]})

    executor.await_job(start, job["id"], finish)
    return None


def _store_trained_model(run: RealRun, start: Start, executor: RealExecutor) -> None:
    candidate, fate = start.inputs["candidate"], run.faults.fate(start)
    origin = {"run": run.context.config.name, "config_hash": run.config_hash}

    def store() -> Ending:
        _fail_if_so_fated(fate)
        entry = {**candidate, "path": work.model_path(candidate), **origin}
        size_bytes = ModelStore(run.folder / MODELS).commit(run.folder / candidate["path"], entry)
        model = work.stored_model(run.context, candidate, size_bytes, executor.now())
        values = work.stored_values(run.context, model)
        if "active_model" in values:
            activate(run.folder, model["trigger"])
        return Ending("done", values)

    executor.in_thread(start, store)


def _score_candidate(run: RealRun, start: Start, executor: RealExecutor) -> None:
    """On the device that is held: which samples were held out is known where the training set can be made again."""
    model, active, fate = start.inputs["model"], start.registers["active_model"], run.faults.fate(start)
    models = {"candidate": model} if active is None else {"candidate": model, "active": active}
    job = {
        "do": "score_candidate",
        "id": path_text(start.path),
        "training_set": start.inputs["training_set"],
        "models": {name: str(run.folder / each["path"]) for name, each in models.items()},
        "stop": model["stop"],
        **_fails(fate, 1),
    }

    def finish(result: Json) -> Ending:
        interval = gate.interval_of(run.context, model, result["first"])
        return Ending(*gate.scored(run.context, active, interval, result["values"]))

    executor.launch(start, start.placement["device"], job, _dies_after_s(run, fate))
    executor.await_job(start, job["id"], finish)


def _activate_model(run: RealRun, start: Start, executor: RealExecutor) -> None:
    def decide() -> Ending:
        outcome, values = gate.activation(run.context, start, executor.now())
        if outcome == "activated":
            activate(run.folder, start.inputs["model"]["trigger"])
        return Ending(outcome, values)

    executor.in_thread(start, decide)


def _wait_for_evaluation_completion(run: RealRun, start: Start, executor: RealExecutor) -> None:
    job, fate = start.inputs["evaluation_job"], run.faults.fate(start)
    message = _evaluation(run, path_text(start.path), job["lineage"]["path"], job["intervals"], job["metrics"])
    message |= _fails(fate, len(job["intervals"]))
    executor.launch(start, start.placement["device"], message, _dies_after_s(run, fate))
    executor.await_job(start, message["id"], lambda result: Ending("done", {"result": result["rows"]}))


def _store_evaluation_results(run: RealRun, start: Start, executor: RealExecutor) -> None:
    scores = start.inputs["scores"]
    model = start.inputs["evaluation_job"]["model"]

    def store() -> Ending:
        folder = run.folder / "evaluations"
        make_folder(folder)
        digest = hashlib.sha256(path_text(start.path).encode()).hexdigest()[:16]
        with replace_durably(folder / f"{model:05d}-{digest}.parquet") as unfinished:
            pl.DataFrame(scores, infer_schema_length=None).write_parquet(unfinished)
        return Ending("done", {})

    executor.in_thread(start, store)


def _preempt(run: RealRun, start: Start, executor: RealExecutor) -> Ending:
    """Stop the victim's training, wherever it stands; one that has ended is left as it is.

    A victim that waits for a device or for its next attempt has nothing to stop yet, and one whose worker is
    done may not have been told. They find a file, which a crash does not take away.
    """
    outcome, values = work.preempted(start)
    if outcome == "too_late":
        return Ending(outcome, values)
    victim = start.inputs["victim"]
    mark = run.superseded(victim)
    make_folder(mark.parent)
    with replace_durably(mark) as unfinished:
        unfinished.touch()
    if victim in run.trainings:
        executor.stop_job(run.trainings[victim], "superseded")
    if victim in run.waits:
        executor.end_otherwise(run.waits[victim], "trained", "superseded")
    return Ending(outcome, values)


def _exit(run: RealRun, _start: Start, _executor: RealExecutor) -> Ending:
    """All trainings have ended: what is left of those that failed for good is of no use."""
    shutil.rmtree(run.folder / WORK, ignore_errors=True)
    return Ending("done", {})


def _launch_training(run: RealRun, start: Start, executor: RealExecutor, job: Json) -> None:
    config, fate = run.context.config.training, run.faults.fate_of_training(job["trigger"], start)
    num_steps = training_effort(config, job["training_set"]["num_samples"]).steps.num_steps
    message = {**_training(run, job), **_fails(fate, num_steps), "last": _attempt(start) == config.retry.attempts}
    devices = start.placement["device"]
    if len(devices) > 1 and not executor.has_job(job["id"]):
        message["rendezvous"] = str(run.rendezvous())
    executor.launch(start, devices, message, _dies_after_s(run, fate))
    run.trainings[job["trigger"]] = job["id"]


def _attempt(start: Start) -> int:
    """The number of the attempt that a stage of a training belongs to."""
    return start.path[0][3] if start.path is not None and start.path[0] is not None else 0


def _drop_work(run: RealRun, job: Json) -> None:
    """Nobody is going to want the result of this training, nor go on with it."""
    for folder in (work_folder(run.folder, job["id"]), checkpoint_folder(run.folder, job["id"])):
        shutil.rmtree(folder, ignore_errors=True)


def _fails(fate: Fate, num_parts: int) -> Message:
    """For a worker: after how many of the parts of its work the job is to fail, if it is."""
    return {} if fate.fails_after is None else {"fails_after": int(fate.fails_after * num_parts)}


def _fail_if_so_fated(fate: Fate) -> None:
    if fate.fails_after is not None:
        raise JobFailed


def _dies_after_s(run: RealRun, fate: Fate) -> float | None:
    """Seconds of the job after which its device fails; None: devices never do, or it holds none."""
    mtbf_s = run.faults.faults.device_mtbf
    return None if mtbf_s is None or not fate.lives else life_s(mtbf_s, 1.0, min(fate.lives))


def _training(run: RealRun, job: Json) -> Message:
    start_from = job["start_from"]
    return {
        "do": "train",
        "id": job["id"],
        "training_set": job["training_set"],
        "start_from": None if start_from is None else str(run.folder / start_from["path"]),
    }


def _evaluation(run: RealRun, id_: str, path: str, intervals: list[Json], metrics: list[str]) -> Message:
    return {"do": "evaluate", "id": id_, "model": str(run.folder / path), "intervals": intervals, "metrics": metrics}
