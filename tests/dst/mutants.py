"""Defects put into the product on purpose, each of a kind that somebody could make. The fuzzer has to find them all."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any
from unittest.mock import patch

from sim import operations
from sim.executor import SimExecutor
from twinclock import _snapshot, gate, result, scheduling, stages, work
from twinclock.allocator import Allocator
from twinclock.lateness import OnTime
from twinclock.machine import Machine
from twinclock.messages import Disarm, Granted, Recalled, Release
from twinclock.policies.evaluation import planning
from twinclock.policies.selection import selector
from twinclock.records import Recorder

Mutant = Callable[[], Any]
"""A context in which the product has the defect."""
_SECOND = 2
_FIFTH = 5


def _patched(owner: Any, name: str, make: Callable[[Any], Any]) -> Mutant:
    """Replace a function by what `make` makes of it."""

    @contextmanager
    def mutant() -> Iterator[None]:
        with patch.object(owner, name, make(getattr(owner, name))):
            yield

    return mutant


def _decision(operation: str, changed: Callable[[str, dict, Mapping, Mapping], tuple[str, dict]]) -> Mutant:
    """Change what a stage decides: outcome, values, and what it was started with."""

    @contextmanager
    def mutant() -> Iterator[None]:
        right = stages.DECISIONS[operation]

        def decide(context: Any, inputs: Mapping, registers: Mapping) -> tuple[str, dict]:
            outcome, values = right(context, inputs, registers)
            return changed(outcome, dict(values), inputs, registers)

        with patch.dict(stages.DECISIONS, {operation: decide}):
            yield

    return mutant


def _visible_at_start(right: Any) -> Any:
    def start(machine: Machine, frame: Any) -> None:
        if frame.code.stage.operation == "STORE_TRAINED_MODEL":
            frame.cells["active_model"].write(frame.slots["candidate"])
        right(machine, frame)

    return start


def _grants_what_is_held(right: Any) -> Any:
    def hand_over(allocator: Allocator, ask: Any, placement: Any) -> Any:
        grant = right(allocator, ask, placement)
        if "device" in placement and ask.id % _FIFTH == 0:
            allocator._stocks["device"].give(placement["device"][:1])
        return grant

    return hand_over


def _last_come_first(_right: Any) -> Any:
    return lambda cluster, epochs: lambda ask, now: -now


def _recalls_too_much(right: Any) -> Any:
    """Whoever yields is recalled whenever anybody waits, and for nobody in particular."""

    def recall(allocator: Allocator) -> Any:
        yielding = [key for key, (ask, _) in allocator._held.items() if ask.yields and key not in allocator._recalled]
        allocator._recalled.update(yielding)
        return [(pipeline, Recalled(id_)) for pipeline, id_ in yielding]

    return recall


def _trigger_lost(outcome: str, values: dict, _inputs: Mapping, _registers: Mapping) -> tuple[str, dict]:
    if outcome == "trigger" and values["trigger"]["serial"] == _SECOND:
        return "empty", {"trigger": values["trigger"], "selector": values["selector"]}
    return outcome, values


def _charged_again(outcome: str, values: dict, inputs: Mapping, _registers: Mapping) -> tuple[str, dict]:
    cost = values["costs"][0]
    twice = "@2" in inputs["job"]["id"]
    return outcome, {**values, "costs": [{**cost, "seconds": cost["seconds"] * (2 if twice else 1)}]}


def _one_evaluation_less(outcome: str, values: dict, _inputs: Mapping, _registers: Mapping) -> tuple[str, dict]:
    jobs = values.get("jobs", ())
    return (outcome, {**values, "jobs": jobs[:-1]}) if len(jobs) > 1 else (outcome, values)


def _claims_the_newest(outcome: str, values: dict, _inputs: Mapping, registers: Mapping) -> tuple[str, dict]:
    waiting = registers["pending"]["waiting"]
    if len(waiting) < _SECOND:
        return outcome, values
    *others, last = waiting
    pending = {**values["pending"], "waiting": others}
    return outcome, {**values, "trigger": last["trigger"], "training_set": last["training_set"], "pending": pending}


def _chunk_skipped(right: Any) -> Any:
    def chunk(context: Any, inputs: Mapping, *more: Any) -> Any:
        outcome, values = right(context, inputs, *more)
        if outcome == "chunk" and values["chunk"]["first"] > 0 and values["chunk"]["stop"] < context.stream.num_samples:
            values = {**values, "position": values["position"] + 1}
        return outcome, values

    return chunk


def _timer_forgets_to_be_disarmed(right: Any) -> Any:
    def perform(executor: SimExecutor, command: Any) -> None:
        if not isinstance(command, Disarm):
            right(executor, command)

    return perform


def _noise_by_order(right: Any) -> Any:
    drawn = [0]

    def noise(sigma: float, seed: int, purpose: int, *serial: int) -> float:
        drawn[0] += 1
        return right(sigma, seed, purpose, drawn[0] % 7)

    return noise


def _forgets_retry_is_over(right: Any) -> Any:
    """Units are kept over the rest between two attempts."""

    def feed(machine: Machine, event: Any) -> list:
        commands = right(machine, event)
        rests = any(getattr(command, "timer", "") == "backoff" for command in commands)
        return [each for each in commands if not (rests and isinstance(each, Release))]

    return feed


def _unlabelled(_right: Any) -> Any:
    return lambda first, position, stream, label_delay_s: max(first, position + 1)


def _early(right: Any) -> Any:
    return lambda samples, position, now: min(samples.stream.num_samples, right(samples, position, now) + 1)


def _queueing_is_busy(right: Any) -> Any:
    import polars as pl

    def held(holdings: Any) -> Any:
        return right(holdings.with_columns(granted_s=pl.col("requested_s")))

    return held


def _never_stops(_right: Any) -> Any:
    return lambda executor: None


def _too_late_all_the_same(right: Any) -> Any:
    """A victim that has trained is stopped on record."""

    def preempted(start: Any) -> Any:
        outcome, values = right(start)
        return ("stopped", {"superseded": [start.inputs["victim"]]}) if outcome == "too_late" else (outcome, values)

    return preempted


def _grant_time_forgotten(right: Any) -> Any:
    def record(recorder: Recorder, now: Any, event: Any, commands: Any) -> None:
        right(recorder, now, event, commands)
        if isinstance(event, Granted) and event.id in recorder._held:
            recorder._held[event.id] = recorder._held[event.id]._replace(requested_s=now)

    return record


def _visits_forgotten(right: Any) -> Any:
    def inside(frame: Any, values: Any) -> dict:
        row = right(frame, values)
        return row | {"visits": {}} if "visits" in row else row

    return inside


def _begin_forgotten(right: Any) -> Any:
    def snapshot(recorder: Recorder) -> Any:
        told = right(recorder)
        return told | {"open": [[id_, 0.0] for id_, _ in told["open"]]}

    return snapshot


def _the_other_way_round(right: Any) -> Any:
    return lambda gate, candidate, active: right(gate, active, candidate)


MUTANTS: Mapping[str, Mutant] = {
    "a model is visible when its store begins": _patched(Machine, "_start", _visible_at_start),
    "the allocator grants a device that is held": _patched(Allocator, "_hand_over", _grants_what_is_held),
    "who asks last is first": _patched(scheduling, "ranking", _last_come_first),
    "what yields is recalled for nobody": _patched(Allocator, "_recall", _recalls_too_much),
    "a trigger is lost": _decision("INFORM_SELECTOR_AND_TRIGGER", _trigger_lost),
    "a retried training is charged twice": _decision("TRAINING_COMPLETED", _charged_again),
    "an evaluation is forgotten": _decision("EVALUATE", _one_evaluation_less),
    "the newest waiting trigger is claimed": _decision("CLAIM_TRIGGERS", _claims_the_newest),
    "a sample between chunks is skipped": _patched(work, "replay_chunk", _chunk_skipped),
    "a timer fires after it was disarmed": _patched(SimExecutor, "perform", _timer_forgets_to_be_disarmed),
    "noise goes by the order of drawing": _patched(operations, "noise", _noise_by_order),
    "devices are kept between attempts": _patched(Machine, "feed", _forgets_retry_is_over),
    "labels are known at once": _patched(selector, "known_stop", _unlabelled),
    "a live sample is taken before it comes": _patched(OnTime, "arrived", _early),
    "queueing counts as busy": _patched(result, "occupied", _queueing_is_busy),
    "a stop is not heard": _patched(SimExecutor, "stop", _never_stops),
    "a training that is done is stopped": _patched(work, "preempted", _too_late_all_the_same),
    "a snapshot forgets how often a step was visited": _patched(_snapshot, "_inside", _visits_forgotten),
    "a snapshot forgets when a stage began": _patched(Recorder, "snapshot", _begin_forgotten),
    "requests are dated by their grant": _patched(Recorder, "record", _grant_time_forgotten),
    "the gate lets through what is worse": _patched(gate, "judge", _the_other_way_round),
    "a rejected model is scored as the active one": _patched(planning, "activated", lambda _right: list),
}
"""What is wrong → the context in which it is."""
