"""A worker process: has one device, and trains and evaluates on it one job after another.

The parent and a worker exchange plain dicts over a pipe. To the worker:

    {"do": "train", "id": str, "training_set": recipe, "start_from": folder of a model | None}
    {"do": "evaluate", "id": str, "model": folder of a model, "intervals": [...], "metrics": [...]}
    {"do": "observe", "id": str, "request": of a trigger policy, "active": lineage entry of the active model | None}
    {"do": "stop", "id": str}

A job with a number `fails_after` fails as the fault plan has it: a training when its trainer asks whether to stop and
has done so that often (the built-in one asks before each gradient step); an evaluation after so many intervals; an
observation at once.

And back, each with the job's id (that of the worker's own start is ""):

    {"kind": "ready"}                               it can take jobs
    {"kind": "progress", "done": share of the steps}
    {"kind": "done", "result": ...}                 training: the slot `fit`; evaluation: {"rows": [...]};
                                                    observation: {"values": {...}}
    {"kind": "stopped"}
    {"kind": "error", "error": {type, message, traceback}}

A training leaves its result in `RUN/work/<name made from its id>`, in one step. So a result outlives the
worker, and asking for the same training again gives the result that is there. When the parent's end of the
pipe closes, even by its death, the worker exits at once.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import math
import os
import re
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from queue import SimpleQueue
from typing import TYPE_CHECKING, Any, TypeAlias

from real.config import RealConfig
from real.store import load_model, new_folder, write_model
from twinclock.config import Config, TrainingConfig
from twinclock.dataset import Table, TableConfig, load_table
from twinclock.errors import ConfigError
from twinclock.executor import failure
from twinclock.faults import JobFailed
from twinclock.folder import FolderConfig
from twinclock.graph import ERROR_SLOT, Json
from twinclock.landed import LandedSamples
from twinclock.observing import import_what_is_needed
from twinclock.policies.downsampling import num_kept
from twinclock.policies.needs import all_metrics_needed
from twinclock.policies.selection import positions
from twinclock.run_folder import SAMPLES
from twinclock.section import parse_section

if TYPE_CHECKING:
    from real.evaluator import Evaluator
    from real.observer import Observer
    from real.trainer import Progress, Trainer

Message: TypeAlias = dict[str, Any]

RESULT = "result.json"
WORK = "work"
"""Folder in the run's folder for the results of trainings."""
_LEAST_PROGRESS = 0.01
"""Share of the steps between two reports."""


def worker_main(connection: Connection, device: str, run_folder: str, config: Config) -> None:
    """The life of a worker process, which has to be a spawned one; see above for what it hears and says."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole group, but ending is the parent's business
    inbox = _Inbox(connection)
    with contextlib.suppress(BrokenPipeError):  # nobody is left to be told
        try:
            worker = _Worker.start(device, Path(run_folder), config)
        except Exception as error:
            connection.send({"id": "", "kind": "error", "error": _told(error)})
            sys.exit(1)
        connection.send({"id": "", "kind": "ready"})
        for job in inbox.jobs():
            answer = worker.answer(job, connection.send, inbox.is_stopped)
            inbox.finished(job)
            connection.send(answer)


def work_folder(run: Path, job_id: str) -> Path:
    """Where the result of a training is once there is one."""
    readable = re.sub(r"[^A-Za-z0-9]+", "_", job_id)[-80:].strip("_")
    return run / WORK / f"{readable}-{hashlib.sha256(job_id.encode()).hexdigest()[:12]}"


class _Inbox:
    """What the parent says. A thread listens, so that a stop, or the parent's end, is noticed during a job."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._jobs: SimpleQueue[Message] = SimpleQueue()
        self._stopped: dict[str, bool] = {}
        """Each job that has not ended → is it to stop?"""
        self._lock = threading.Lock()
        threading.Thread(target=self._listen, name="inbox", daemon=True).start()

    def jobs(self) -> Iterator[Message]:
        """Jobs in the order in which they came; never ends, for the process ends with the pipe."""
        while True:
            yield self._jobs.get()

    def is_stopped(self, job_id: str) -> bool:
        """Has the parent asked for this job to stop?"""
        return self._stopped[job_id]

    def finished(self, job: Message) -> None:
        """The job has ended: a stop that comes now is too late."""
        with self._lock:
            del self._stopped[job["id"]]

    def _listen(self) -> None:
        try:
            while True:
                self._take(self._connection.recv())
        except (EOFError, OSError):
            os._exit(0)  # from a thread, in the middle of whatever: what is on disk is whole, or not there

    def _take(self, message: Message) -> None:
        job_id = message["id"]
        with self._lock:
            if message["do"] == "stop":
                if job_id in self._stopped:
                    self._stopped[job_id] = True
            elif job_id not in self._stopped:  # else it was asked for twice, and one answer will do
                self._stopped[job_id] = False
                self._jobs.put(message)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Worker:
    """What does the jobs."""

    device: str
    run_folder: Path
    config: TrainingConfig
    table: Callable[[], Table]
    """The samples, as many as there are by now."""
    trainer: Trainer
    evaluator: Evaluator
    observer: Observer

    @classmethod
    def start(cls, device: str, run_folder: Path, config: Config) -> _Worker:
        """Load and import all that jobs need, so that what is missing is known before the first job."""
        import torch

        from real.evaluator import TorchEvaluator
        from real.metrics import load_what_is_needed
        from real.models import torch_device
        from real.observer import Observer
        from real.trainer import TorchTrainer
        from twinclock.imports import create, import_object

        torch.set_num_threads(parse_section(RealConfig, config.real, config.name, under="real").threads_per_worker)
        trainer, evaluator, model = config.training.trainer, config.evaluation.evaluator, config.training.model
        if model.kind == "import":
            import_object(model.path, "training.model.path")
        table = _table(config, run_folder)
        scorer = TorchEvaluator() if evaluator is None else create(evaluator, "evaluation.evaluator")
        worker = cls(
            device=device,
            run_folder=run_folder,
            config=config.training,
            table=table,
            trainer=TorchTrainer() if trainer is None else create(trainer, "training.trainer"),
            evaluator=scorer,
            observer=Observer(run_folder, table, scorer, device),
        )
        load_what_is_needed([*config.evaluation.metrics, *all_metrics_needed(config.trigger)])
        import_what_is_needed(config.trigger)
        # the first optimizer of a process takes a second of imports, the first use of a GPU longer: not in a training
        weight = torch.ones(1, device=torch_device(device), requires_grad=True)
        optimizer = torch.optim.SGD([weight], lr=0.0)
        weight.square().sum().backward()  # type: ignore[no-untyped-call]  # torch has no types for it
        optimizer.step()
        return worker

    def answer(self, job: Message, send: Callable[[Message], None], is_stopped: Callable[[str], bool]) -> Message:
        """Do a job; its last message."""
        from real.trainer import StoppedError

        job_id = job["id"]

        def should_stop() -> bool:
            return is_stopped(job_id)

        try:
            if should_stop():
                raise StoppedError
            if job["do"] == "train":
                result = self._train(job, _reporter(job_id, send), _failing(job, should_stop))
            elif job["do"] == "observe":
                _fail_at_once_if_asked(job)
                result = {"values": self.observer.observe(job["request"], job["active"], should_stop)}
            else:
                result = self._evaluate(job, should_stop)
        except StoppedError:
            return {"id": job_id, "kind": "stopped"}
        except Exception as error:
            return {"id": job_id, "kind": "error", "error": _told(error)}
        return {"id": job_id, "kind": "done", "result": result}

    def _train(self, job: Message, report: Callable[[Progress], None], should_stop: Callable[[], bool]) -> Json:
        from real.models import ModelError
        from real.trainer import TrainingContext

        final, recipe, config = work_folder(self.run_folder, job["id"]), job["training_set"], self.config
        if final.exists():
            return json.loads((final / RESULT).read_text(encoding="utf-8"))
        if recipe["num_samples"] == 0:
            raise ModelError("the training set has 0 samples, expected at least one")
        began_s, table = time.perf_counter(), self.table()
        context = TrainingContext(
            rows=table.take(positions(recipe, table.label_ranks)),
            columns=table.columns,
            config=config,
            seed=recipe["seed"],
            device=self.device,
            start_from=None if job["start_from"] is None else load_model(Path(job["start_from"])),
            report=report,
            should_stop=should_stop,
        )
        fitted = self.trainer.fit(context)
        _fail_at_once_if_asked(job)  # its trainer has asked less often than it should
        if fitted.loss is not None and not math.isfinite(fitted.loss):
            raise ModelError(f"the trainer gives the loss {fitted.loss}, expected a finite number or None")
        result = {
            "num_samples": recipe["num_samples"],
            "num_kept": num_kept(config.downsample, recipe["num_samples"], config.batch_size),
            "epochs": config.epochs,
            "steps": fitted.num_steps,
            "loss": fitted.loss,
            "path": f"{WORK}/{final.name}",
            "seconds": time.perf_counter() - began_s,
        }
        with new_folder(final) as folder:
            write_model(folder, fitted.weights, fitted.encoding, config.model)
            (folder / RESULT).write_text(json.dumps(result, indent=1), encoding="utf-8")
        return result

    def _evaluate(self, job: Message, should_stop: Callable[[], bool]) -> Json:
        from real.evaluator import EvaluationContext

        context = EvaluationContext(
            model=load_model(Path(job["model"])),
            table=self.table(),
            intervals=job["intervals"][: job.get("fails_after")],
            metrics=job["metrics"],
            device=self.device,
            should_stop=should_stop,
        )
        rows = self.evaluator.evaluate(context) if context.intervals else []
        _fail_at_once_if_asked(job)
        return {"rows": rows}


def _table(config: Config, run_folder: Path) -> Callable[[], Table]:
    """The samples of a run, those that came meanwhile included. ConfigError if they are only modelled."""
    if isinstance(config.data, FolderConfig):
        samples = LandedSamples(run_folder / SAMPLES, config.data)

        def landed() -> Table:
            samples.refresh()
            return samples.table()

        return landed
    if not isinstance(config.data, TableConfig):
        raise ConfigError(f"data.kind: got {config.data.kind}, expected table: only recorded samples can be trained on")
    table = load_table(config.data)
    return lambda: table


def _failing(job: Message, should_stop: Callable[[], bool]) -> Callable[[], bool]:
    """The same question, but a job that is to fail does so when it has been asked as often as that."""
    if "fails_after" not in job:
        return should_stop
    num_left = job["fails_after"]

    def asked() -> bool:
        nonlocal num_left
        if num_left == 0:
            raise JobFailed
        num_left -= 1
        return should_stop()

    return asked


def _fail_at_once_if_asked(job: Message) -> None:
    if "fails_after" in job:
        raise JobFailed


def _reporter(job_id: str, send: Callable[[Message], None]) -> Callable[[Progress], None]:
    """Sends how far a training is, unless it was only just said."""
    reported = 0.0

    def report(progress: Progress) -> None:
        nonlocal reported
        done = progress.step / progress.num_steps
        if done - reported >= _LEAST_PROGRESS:
            reported = done
            send({"id": job_id, "kind": "progress", "done": done})

    return report


def _told(error: BaseException) -> Json:
    return failure(0, error).values[ERROR_SLOT]
