"""A worker process: has one device, and trains and evaluates on it one job after another.

The parent and a worker exchange plain dicts over a pipe. To the worker:

    {"do": "train", "id": str, "training_set": recipe, "start_from": folder of a model | None,
     "last": is it the last attempt?}
    {"do": "evaluate", "id": str, "model": folder of a model, "intervals": [...], "metrics": [...]}
    {"do": "observe", "id": str, "request": of a trigger policy, "active": lineage entry of the active model | None}
    {"do": "score_candidate", "id": str, "training_set": recipe, "stop": position, "models": name → folder of a model}
    {"do": "stop", "id": str, "drop": true if nobody will ever go on with it}

A job with a number `fails_after` fails as the fault plan has it: a training when its trainer asks whether to stop and
has done so that often (the built-in one asks before each gradient step); an evaluation after so many intervals; an
observation at once.

And back, each with the job's id (that of the worker's own start is ""):

    {"kind": "ready"}                               it can take jobs
    {"kind": "progress", "done": share of the steps}
    {"kind": "notice", "message": str}              something is wrong, but the job goes on
    {"kind": "done", "result": ...}                 training: the slot `fit`; evaluation: {"rows": [...]};
                                                    observation: {"values": {...}};
                                                    candidate: {"first": position, "values": name → score}
    {"kind": "stopped"}
    {"kind": "error", "error": {type, message, traceback}}
    {"kind": "disk_full", "error": ...}             it failed for lack of space: another attempt would too

A training on several devices goes to the worker of each, with `rank`, `world_size`, and in `rendezvous` the file by
which they find each other; the answer of rank 0 is the one that counts.

A training leaves its result in `RUN/work/<name made from its id>`, in one step. So a result outlives the
worker, and asking for the same training again gives the result that is there. While it runs it keeps a checkpoint
beside it (see `kept`), for its next attempt. When the parent's end of the pipe closes, even by its death, the worker
exits at once; should it be held up until then, it looks for its parent before it leaves anything.
"""

from __future__ import annotations

import contextlib
import hashlib
import math
import multiprocessing
import os
import re
import shutil
import signal
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import TYPE_CHECKING

from real.config import real_section
from real.devices import see_only, seen_as
from real.disk import is_disk_full
from real.fated import fail_at_once_if_asked, failing
from real.inbox import Inbox, Message
from real.kept import KeptTraining, attempts_until, drop_checkpoint, without_attempt
from real.results import read_result, write_result
from real.store import load_model, new_folder, write_model
from real.usage import Meter
from twinclock.config import Config
from twinclock.dataset import Table, TableConfig, load_table
from twinclock.errors import ConfigError
from twinclock.executor import failure
from twinclock.folder import FolderConfig
from twinclock.gate import first_of
from twinclock.graph import ERROR_SLOT, Json
from twinclock.landed import LandedSamples
from twinclock.observing import import_what_is_needed
from twinclock.policies.needs import all_metrics_needed
from twinclock.policies.selection import positions
from twinclock.policies.selection.validation import split
from twinclock.run_folder import SAMPLES
from twinclock.training import TrainingConfig, training_effort

if TYPE_CHECKING:
    from real.evaluator import Evaluator
    from real.observer import Observer
    from real.trainer import Progress, Trainer
    from real.training.checkpoint import Checkpoint

WORK = "work"
"""Folder in the run's folder for the results of trainings, and for their checkpoints."""
_LEAST_PROGRESS = 0.01
"""Share of the steps between two reports."""


def worker_main(connection: Connection, device: str, run_folder: str, config: Config) -> None:
    """The life of a worker process, which has to be a spawned one; see above for what it hears and says."""
    _leave_signals_to_the_parent()
    see_only(device, os.environ)
    serve(connection, device, run_folder, config)


def serve(connection: Connection, device: str, run_folder: str, config: Config) -> None:
    """Take jobs until the pipe closes, in a process that sees one CUDA device at most, the worker's own."""
    inbox = Inbox(connection)
    with contextlib.suppress(BrokenPipeError):  # nobody is left to be told
        try:
            worker = _Worker.start(seen_as(device), Path(run_folder), config)
        except Exception as error:
            connection.send({"id": "", "kind": "error", "error": _told(error)})
            sys.exit(1)
        connection.send({"id": "", "kind": "ready"})
        for job in inbox.jobs():
            answer = worker.answer(job, connection.send, inbox)
            inbox.finished(job)
            connection.send(answer)


def _leave_signals_to_the_parent() -> None:
    """Ctrl-C reaches the whole group, and so may SIGTERM, but ending is the parent's business: it has jobs stop first.

    A handler, not SIG_IGN and no mask, for these would pass on to processes that a trainer starts.
    """
    numbers = (signal.SIGINT, signal.SIGTERM)
    for number in numbers:
        signal.signal(number, lambda *_: None)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, numbers)


def work_folder(run: Path, job_id: str) -> Path:
    """Where the result of a training is once there is one."""
    readable = re.sub(r"[^A-Za-z0-9]+", "_", job_id)[-80:].strip("_")
    return run / WORK / f"{readable}-{hashlib.sha256(job_id.encode()).hexdigest()[:12]}"


def checkpoint_folder(run: Path, job_id: str) -> Path:
    """Where a training keeps how far it is: the same for all its attempts."""
    folder = work_folder(run, without_attempt(job_id))
    return folder.with_name(f"{folder.name}.checkpoint")


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

        torch.set_num_threads(real_section(config).threads_per_worker)
        trainer, evaluator, model = config.training.trainer, config.evaluation.evaluator, config.training.model
        metrics_of_gate = () if config.training.gate is None else (config.training.gate.metric,)
        if model.kind == "import":
            import_object(model.path, "training.model.path")
        if config.training.loss is not None:
            import_object(config.training.loss, "training.loss")
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
        load_what_is_needed([*config.evaluation.metrics, *all_metrics_needed(config.trigger), *metrics_of_gate])
        import_what_is_needed(config.trigger)
        # the first optimizer of a process takes a second of imports, the first use of a GPU longer: not in a training
        weight = torch.ones(1, device=torch_device(device), requires_grad=True)
        optimizer = torch.optim.SGD([weight], lr=0.0)
        weight.square().sum().backward()  # type: ignore[no-untyped-call]  # torch has no types for it
        optimizer.step()
        return worker

    def answer(self, job: Message, send: Callable[[Message], None], inbox: Inbox) -> Message:
        """Do a job; its last message."""
        from real.trainer import StoppedError

        job_id = job["id"]

        def should_stop() -> bool:
            return inbox.is_stopped(job_id)

        def tell(message: str) -> None:
            send({"id": job_id, "kind": "notice", "message": message})

        try:
            if should_stop():
                raise StoppedError
            if job["do"] == "train":
                result = self._train(job, _reporter(job_id, send), failing(job, should_stop), tell)
            elif job["do"] == "observe":
                fail_at_once_if_asked(job)
                result = {"values": self.observer.observe(job["request"], job["active"], should_stop)}
            elif job["do"] == "score_candidate":
                fail_at_once_if_asked(job)
                result = self._score_candidate(job, should_stop)
            else:
                result = self._evaluate(job, should_stop)
        except StoppedError:
            if inbox.is_dropped(job_id):
                drop_checkpoint(checkpoint_folder(self.run_folder, job_id))
            return {"id": job_id, "kind": "stopped"}
        except Exception as error:
            if is_disk_full(error):
                return {"id": job_id, "kind": "disk_full", "error": _told(error)}
            if job.get("last", False):
                drop_checkpoint(checkpoint_folder(self.run_folder, job_id))
            return {"id": job_id, "kind": "error", "error": _told(error)}
        return {"id": job_id, "kind": "done", "result": result}

    def _train(
        self,
        job: Message,
        report: Callable[[Progress], None],
        should_stop: Callable[[], bool],
        tell: Callable[[str], None],
    ) -> Json:
        from real.models import ModelError
        from real.trainer import TrainingContext
        from real.training.distributed import Ranks, joined

        ranks = Ranks(job.get("rank", 0), job.get("world_size", 1))
        final, recipe, config = work_folder(self.run_folder, job["id"]), job["training_set"], self.config
        if recipe["num_samples"] == 0:
            raise ModelError("the training set has 0 samples, expected at least one")
        began_s, meter, table = time.perf_counter(), Meter(self.device), self.table()
        parent = None if job["start_from"] is None else load_model(Path(job["start_from"]))
        kept = KeptTraining.of(checkpoint_folder(self.run_folder, job["id"]), recipe, parent, tell)
        if (there := self._result_of(job["id"], kept)) is not None:
            drop_checkpoint(kept.folder)
            return there
        if final.exists() and ranks.is_first:
            tell(f"{final}: the result of a training is damaged; the training is done again")
            shutil.rmtree(final)
        write_checkpoint = kept.writer()

        def save(checkpoint: Checkpoint) -> None:
            _leave_if_orphaned()
            write_checkpoint(checkpoint)

        chosen, held_out = positions(recipe, table.label_ranks), None
        if config.validation is not None:
            chosen, held_out = split(chosen, config.validation.share)
        context = TrainingContext(
            rows=table.take(chosen),
            columns=table.columns,
            validation=None if held_out is None else table.take(held_out),
            config=config,
            seed=recipe["seed"],
            device=self.device,
            start_from=parent,
            report=report if ranks.is_first else lambda _: None,
            should_stop=ranks.agreed(should_stop),
            resume_from=kept.read(),
            save_checkpoint=save if ranks.is_first else lambda _: None,
            ranks=ranks,
        )
        with joined(ranks, job.get("rendezvous", ""), self.device):
            fitted = self.trainer.fit(context)
        fail_at_once_if_asked(job)  # its trainer has asked less often than it should
        if fitted.loss is not None and not math.isfinite(fitted.loss):
            raise ModelError(f"the trainer gives the loss {fitted.loss}, expected a finite number or None")
        if not ranks.is_first:
            return {}
        result = {
            "training": kept.digest,
            "num_samples": recipe["num_samples"],
            "num_kept": training_effort(config, recipe["num_samples"]).steps.num_kept,
            "epochs": config.epochs if fitted.num_epochs is None else fitted.num_epochs,
            "steps": fitted.num_steps,
            "loss": fitted.loss,
            "validation_loss": fitted.validation_loss,
            "wait_share": fitted.wait_share,
            "path": f"{WORK}/{final.name}",
            "seconds": time.perf_counter() - began_s,
            **meter.read()._asdict(),
        }
        with new_folder(final) as folder:
            write_model(folder, fitted.weights, fitted.encoding, config.model, fitted.optimizer)
            write_result(folder, result)
            _leave_if_orphaned()
        drop_checkpoint(kept.folder)
        return result

    def _result_of(self, job_id: str, kept: KeptTraining) -> Json | None:
        """What an attempt at this training has left, if it came to its end: perhaps nobody heard of it any more."""
        for attempt in attempts_until(job_id):
            result = read_result(work_folder(self.run_folder, attempt))
            if result is not None and result.get("training") == kept.digest:
                return result
        return None

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
        fail_at_once_if_asked(job)
        return {"rows": rows}

    def _score_candidate(self, job: Message, should_stop: Callable[[], bool]) -> Json:
        """Models on the samples from the first that was held out of a training set up to its trigger's last."""
        from real.evaluator import EvaluationContext

        gate, validation, table = self.config.gate, self.config.validation, self.table()
        if gate is None or validation is None:
            raise ConfigError("training.gate: null, expected one where there is a candidate to score")
        held_out = split(positions(job["training_set"], table.label_ranks), validation.share)[1]
        first, values = first_of(held_out, job["stop"]), dict[str, float | None]()
        if first == job["stop"]:
            return {"first": first, "values": values}
        bounds = {"start": float(table.timestamps[first]), "end": float(table.timestamps[job["stop"] - 1])}
        for name, folder in job["models"].items():
            context = EvaluationContext(
                model=load_model(Path(folder)),
                table=table,
                intervals=[{**bounds, "first": first, "stop": job["stop"]}],
                metrics=[gate.metric],
                device=self.device,
                should_stop=should_stop,
            )
            scores = [row["value"] for row in self.evaluator.evaluate(context) if row["metric"] == gate.metric]
            values[name] = scores[0] if scores else None
        return {"first": first, "values": values}


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


def _leave_if_orphaned() -> None:
    """Leave nothing in the folder of a run that may have gone on without this worker, which was held up meanwhile."""
    parent = multiprocessing.parent_process()
    if parent is not None and not parent.is_alive():
        os._exit(0)


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
