"""The stages that decide: pure functions, one for all executors.

Each takes what its stage reads (`inputs`: slots, `registers`) and a context that never changes during
a run, and gives the outcome and the values it writes. Nothing here reads a clock or the outside world,
and none can tell whether the run is simulated; that is why a journal of outcomes can be replayed.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import TypeAlias

from twinclock.config import Config
from twinclock.dataset import Table, TableConfig, load_table
from twinclock.errors import DataError
from twinclock.folder import FolderConfig
from twinclock.graph import Json
from twinclock.landed import LandedSamples
from twinclock.lateness import Handover, handover
from twinclock.live import Pace
from twinclock.messages import Start
from twinclock.policies import evaluation, overlap, selection
from twinclock.policies.batching import cut, first_batch_size, max_wait_s
from twinclock.policies.triggers import Fire, Observe, Samples, Trigger, build_trigger
from twinclock.stream import DataTime, Known, Stream

Values: TypeAlias = Mapping[str, Json]
Decision: TypeAlias = tuple[str, Values]
"""(outcome, values)"""


@dataclass(frozen=True)
class Context:
    """What every decision of a run may look at besides its inputs; the same from start to end."""

    config: Config
    stream: Stream

    @cached_property
    def trigger(self) -> Trigger:
        """The trigger policy; its state is loaded from the register before every use."""
        return self.fresh_trigger()

    @cached_property
    def untouched(self) -> Json:
        """The state of a trigger policy that has seen nothing yet."""
        return self.fresh_trigger().state_dict()

    def fresh_trigger(self) -> Trigger:
        """A trigger policy at the start of the stream."""
        return build_trigger(self.config.trigger, seed=self.config.seed, num_devices=self.config.training.devices)

    @cached_property
    def handover(self) -> Handover:
        """When the samples are handed over."""
        return handover(self.stream)

    @cached_property
    def pace(self) -> Pace:
        """How data time goes with the clock, live. The stream must not be empty."""
        return Pace(DataTime(self.stream.timestamp(0)), self.config.live.speed_up)

    @cached_property
    def max_wait_s(self) -> float:
        """Seconds of data time that a sample waits at most, live, for its batch to be full; may be inf."""
        return max_wait_s(self.config.batching) * self.config.live.speed_up

    @cached_property
    def table(self) -> Table:
        """The samples themselves, loaded when first asked for. DataError if they are only modelled."""
        if not isinstance(self.config.data, TableConfig):
            raise DataError(f"data.kind: got {self.config.data.kind}, whose samples have no features; expected table")
        return load_table(self.config.data)

    @property
    def landed(self) -> LandedSamples | None:
        """The samples of a source that grows; None: it is a stream of which all is known."""
        return self.stream if isinstance(self.stream, LandedSamples) else None

    def rows(self) -> Table:
        """The samples themselves, as many as there are by now. DataError if they are only modelled."""
        return self.table if self.landed is None else self.landed.table()

    @property
    def has_table(self) -> bool:
        """Are there samples, or only their timestamps?"""
        return isinstance(self.config.data, TableConfig | FolderConfig)


def decide(context: Context, start: Start) -> Decision:
    """The decision of a `decide` stage that was started."""
    return DECISIONS[start.stage.operation](context, start.inputs, start.registers)


def _done(_context: Context, _inputs: Values, _registers: Values) -> Decision:
    return "done", {}


def _get_selector_batch_size(context: Context, _inputs: Values, _registers: Values) -> Decision:
    config = context.config
    return config.mode, {"batch_size": first_batch_size(config.batching, config.data.chunk)}


def _handle_new_data(_context: Context, inputs: Values, _registers: Values) -> Decision:
    batches = cut(inputs["chunk"], inputs["batch_size"], inputs["next_batch"])
    return "done", {"batches": batches, "next_batch": inputs["next_batch"] + len(batches)}


def _handle_triggers_within_batch(context: Context, inputs: Values, registers: Values) -> Decision:
    """Tell the trigger policy what has happened since it was last asked, then ask for its next answer."""
    trigger = context.trigger
    selector = registers["selector"] or selection.initial_state()
    state = registers["policy"]
    if state is None:
        state = {"trigger": context.untouched, "fired": None, "triggers": 0, "costs": 0, "model": None}
    trigger.load_state_dict(state["trigger"])
    triggers = selector["serial"]
    if state["fired"] is not None and triggers > state["triggers"]:
        trigger.on_fire(state["fired"])
    costs = registers["costs"]
    unseen = costs["total"] - state["costs"]
    for cost in costs["items"][-unseen:] if unseen else ():
        trigger.on_training_cost(cost["num_samples"], cost["seconds"])
    active = registers["active_model"]
    model = None if active is None else active["trigger"]
    if active is not None and model != state["model"]:
        trigger.on_new_model(active)

    batch, answers = inputs["batch"], inputs["answers"]
    watermark = batch["watermark"]
    samples = Samples(
        stream=_known(context, inputs),
        first=batch["first"],
        stop=batch["stop"],
        watermark=None if watermark is None else DataTime(watermark),
        label_delay_s=context.config.data.label_delay,
        training_under_way=_is_training_under_way(registers),
        preview=_preview(context, registers),
        table=context.rows if context.has_table else None,
    )
    observed = inputs["observation"]
    fresh = observed is not None and observed["serial"] == answers
    answer = trigger.advance(samples, observed if fresh else None)
    values: dict[str, Json] = {
        "answers": answers + 1,
        "decisions": [asdict(decision) for decision in answer.decisions],
        "policy": {
            "trigger": trigger.state_dict(),
            "fired": answer.position if isinstance(answer, Fire) else None,
            "triggers": triggers,
            "costs": costs["total"],
            "model": model,
        },
    }
    if isinstance(answer, Fire):
        return "fired", values | {"fire": {"position": answer.position, "reason": answer.reason}}
    if isinstance(answer, Observe):
        return "observe", values | {"request": {**answer.request, "serial": answers + 1}}
    return "none", values


def _preview(context: Context, registers: Values) -> Callable[[int], int]:
    """How many samples a training fired now at a position would get."""
    state, skipped = registers["selector"] or selection.initial_state(), registers["skipped"]

    def num_samples(position: int) -> int:
        config = context.config
        return selection.training_set_size(
            state,
            position,
            skipped,
            config=config.selection,
            seed=config.seed,
            stream=context.stream,
            label_delay_s=config.data.label_delay,
        )

    return num_samples


def _known(context: Context, inputs: Values) -> Stream:
    """The samples as they were known when this chunk was taken: a decision that is made again sees no more of them."""
    chunk = inputs["chunk"]
    if "ended" not in chunk:
        return context.stream
    return Known(context.stream, chunk["stop"], math.inf if chunk["ended"] else chunk["watermark"])


def _is_training_under_way(registers: Values) -> bool:
    """Does a training run beside ingestion, or wait to?"""
    return "pending" in registers and overlap.training_under_way(registers["pending"], _ended_trainings(registers))


def _inform_selector_and_trigger(context: Context, inputs: Values, registers: Values) -> Decision:
    selector, trigger, training_set = selection.on_trigger(
        registers["selector"] or selection.initial_state(),
        inputs["fire"]["position"],
        registers["skipped"],
        config=context.config.selection,
        seed=context.config.seed,
        stream=_known(context, inputs),
        label_delay_s=context.config.data.label_delay,
    )
    if training_set is None:
        return "empty", {"trigger": trigger, "selector": selector}
    return "trigger", {"trigger": trigger, "training_set": training_set, "selector": selector}


def _inform_selector_remaining_data(_context: Context, inputs: Values, registers: Values) -> Decision:
    state = registers["selector"] or selection.initial_state()
    return "done", {"selector": selection.on_remaining(state, inputs["batch"])}


def _admit_trigger(context: Context, inputs: Values, registers: Values) -> Decision:
    config = context.config.overlap
    if config is None:
        raise ValueError("only the variant `overlapped` admits triggers, and it always has a section `overlap`")
    admission = overlap.admit(
        registers["pending"],
        inputs["trigger"],
        inputs["training_set"],
        _ended_trainings(registers),
        config,
        context.stream,
    )
    values: dict[str, Json] = {"pending": admission.pending}
    if admission.outcome == "dropped":
        values["selector"] = selection.on_dropped(registers["selector"], inputs["trigger"])
    if admission.outcome == "preempt":
        values["victim"] = admission.victim
    return admission.outcome, values


def _ended_trainings(registers: Values) -> set[int]:
    """Serials of the triggers whose training came to its own end, a stored model or a failure for good."""
    return {item["trigger"] for name in ("models", "skipped") for item in registers[name]["items"]}


def _superseded_trainings(registers: Values) -> set[int]:
    """Serials of the triggers whose training was stopped for a newer one; only `overlapped` has such."""
    return set(registers["superseded"]["items"]) if "superseded" in registers else set()


def _claim_triggers(context: Context, _inputs: Values, registers: Values) -> Decision:
    claimed, pending = overlap.claim(
        registers["pending"], _ended_trainings(registers), _superseded_trainings(registers), context.stream
    )
    if claimed is None:
        return "nothing", {"pending": pending}
    return "claimed", {"trigger": claimed["trigger"], "training_set": claimed["training_set"], "pending": pending}


def _training_completed(context: Context, inputs: Values, _registers: Values) -> Decision:
    trigger, recipe, fit = inputs["trigger"], inputs["training_set"], inputs["fit"]
    candidate = {
        "trigger": trigger["serial"],
        "parent": None if inputs["job"]["start_from"] is None else inputs["job"]["start_from"]["trigger"],
        "first_ts": trigger["first_ts"],
        "last_ts": trigger["last_ts"],
        "stop": trigger["stop"],
        "ranges": selection.sample_ranges(recipe),
        "epochs": context.config.training.epochs,
        "num_samples": recipe["num_samples"],
        "loss": fit["loss"],
        "path": fit["path"],
    }
    cost = {"trigger": candidate["trigger"], "num_samples": recipe["num_samples"], "seconds": fit["held_s"]}
    return "done", {"candidate": candidate, "costs": [cost]}


def _training_skipped(_context: Context, inputs: Values, registers: Values) -> Decision:
    """Gives the samples back, unless the training was stopped: then a newer trigger has them."""
    trigger = inputs["trigger"]
    is_superseded = trigger["serial"] in _superseded_trainings(registers)
    return "done", {"skipped": [] if is_superseded else [selection.given_back(trigger)]}


def _evaluate(context: Context, inputs: Values, registers: Values) -> Decision:
    jobs, planned = evaluation.plan_after_training(
        context.config.evaluation.plans,
        inputs["trigger"],
        registers["models"]["items"],
        context.stream,
        context.config.evaluation.metrics,
        context.config.evaluation.intervals_per_visit,
    )
    return ("jobs", {"jobs": jobs, "planned": planned}) if jobs else ("nothing", {})


def _post_evaluation(context: Context, inputs: Values, _registers: Values) -> Decision:
    jobs = evaluation.plan_after_pipeline(
        context.config.evaluation.plans,
        inputs["models"]["items"],
        inputs["planned"],
        inputs["selector"] or selection.initial_state(),
        context.stream,
        context.config.evaluation.metrics,
        context.config.evaluation.intervals_per_visit,
    )
    return ("jobs", {"jobs": jobs}) if jobs else ("nothing", {})


def _evaluation_completed(_context: Context, inputs: Values, _registers: Values) -> Decision:
    job = inputs["evaluation_job"]
    return "done", {"scores": [{"plan": job["plan"], "model": job["model"], **row} for row in inputs["result"]]}


Decide: TypeAlias = Callable[[Context, Values, Values], Decision]
"""Decides from the slots and registers that its stage reads."""

DECISIONS: Mapping[str, Decide] = {
    "INIT": _done,
    "GET_SELECTOR_BATCH_SIZE": _get_selector_batch_size,
    "REPLAY_DATA_DONE": _done,
    "HANDLE_NEW_DATA": _handle_new_data,
    "NEW_DATA_HANDLED": _done,
    "HANDLE_TRIGGERS_WITHIN_BATCH": _handle_triggers_within_batch,
    "INFORM_SELECTOR_AND_TRIGGER": _inform_selector_and_trigger,
    "INFORM_SELECTOR_REMAINING_DATA": _inform_selector_remaining_data,
    "ADMIT_TRIGGER": _admit_trigger,
    "CLAIM_TRIGGERS": _claim_triggers,
    "TRAINING_COMPLETED": _training_completed,
    "TRAINING_SKIPPED": _training_skipped,
    "EVALUATE": _evaluate,
    "EVALUATION_COMPLETED": _evaluation_completed,
    "POST_EVALUATION": _post_evaluation,
    "DONE": _done,
}
