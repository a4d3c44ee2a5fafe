"""What only the variant `overlapped` has: admission, and trainings that are stopped for newer ones."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from itertools import pairwise

from dst.invariants.samples import ended_by_themselves, last_written, settled_in
from dst.witness import Seen, Witness
from twinclock.policies.overlap import training_under_way


def _overlapped(witnessed: Witness) -> Iterator[Seen]:
    return (seen for seen in witnessed.pipelines.values() if seen.run.config.overlap is not None and seen.is_done)


def admissions_are_made_one_at_a_time(witnessed: Witness) -> None:
    """No two look at what is pending at once, and none is forgotten there."""
    for seen in _overlapped(witnessed):
        admissions = seen.of("ADMIT_TRIGGER", "CLAIM_TRIGGERS", "TRAINING_SKIPPED")
        assert all(earlier.finished < later.began for earlier, later in pairwise(admissions))
        admissions = [each for each in admissions if each.operation != "TRAINING_SKIPPED"]
        for each in admissions:
            pending = each.values["pending"]
            serials = [entry["trigger"]["serial"] for place in ("waiting", "running") for entry in pending[place]]
            assert max(Counter(serials).values(), default=0) <= 1, "a trigger is pending twice"
        if admissions:
            assert last_written(seen, "pending")["waiting"] == [], "a trigger was never claimed"


def triggers_are_admitted_as_the_policy_says(witnessed: Witness) -> None:
    """Queued, put together, dropped, or a training is stopped for it: as `overlap.on_trigger` has it."""
    for seen in _overlapped(witnessed):
        _admitted(seen)


def _admitted(seen: Seen) -> None:
    config = seen.run.config.overlap
    waiting: list[int] = []
    running: list[int] = []
    victims: dict[int, int] = {}
    ended: set[int] = set()
    by_itself = ended_by_themselves(seen)
    ends = [*seen.ended("CLAIM_TRIGGERS", "TRAINING_SKIPPED"), *settled_in(seen)]
    changes = [(each.finished, each) for each in ends]
    changes += [(each.began, each) for each in seen.of("ADMIT_TRIGGER")]
    for _, each in sorted(changes, key=lambda change: change[0]):
        if each.operation == "CLAIM_TRIGGERS":
            assert each.outcome == "claimed"
            assert each.values["trigger"]["serial"] == waiting[0], "not the one that has waited longest"
            serial = waiting.pop(0)
            victim = victims.get(serial)
            still_runs = victim in by_itself and victim not in ended
            running = [*([victim] if still_runs else []), *running, serial]
        elif each.operation == "ADMIT_TRIGGER":
            serial = each.start.inputs["trigger"]["serial"]
            full = len(waiting) + len(running) >= config.trainings_at_once
            if config.on_trigger == "drop" and full:
                meant = "dropped"
            elif config.on_trigger in ("coalesce", "preempt") and waiting:
                meant, older, waiting[-1] = "pending", waiting[-1], serial
                if older in victims:
                    victims[serial] = victims[older]
            elif config.on_trigger == "preempt" and full:
                meant = "preempt"
                victims[serial] = each.values["victim"]
                assert victims[serial] == running.pop(0), "not the one that has run longest"
                waiting.append(serial)
            else:
                meant = "start"
                waiting.append(serial)
            assert each.outcome == meant
        elif each.outcome in ("done", "activated", "rejected"):
            ended.add(each.trigger["serial"])
            running = [serial for serial in running if serial not in ended]


def what_is_preempted_stops_or_it_was_too_late(witnessed: Witness) -> None:
    """Of what was stopped no attempt comes to its end; what was not goes on to its own end."""
    for seen in _overlapped(witnessed):
        by_itself = ended_by_themselves(seen)
        for preempt in seen.of("PREEMPT"):
            victim = preempt.start.inputs["victim"]
            waits = [each for each in seen.of("WAIT_FOR_TRAINING_COMPLETION") if each.trigger["serial"] == victim]
            later = {each.outcome for each in waits if each.finished > preempt.began}
            if preempt.outcome == "stopped":
                assert "trained" not in later, f"{victim} was stopped, and trained all the same"
                skipped = [each for each in seen.of("TRAINING_SKIPPED") if each.trigger["serial"] == victim]
                assert victim not in by_itself or skipped[0].began < preempt.finished
            else:
                assert preempt.outcome == "too_late"
                assert "superseded" not in later
                assert victim in by_itself


def it_is_known_whether_a_training_is_under_way(witnessed: Witness) -> None:
    """Whenever the trigger policy is asked: is there a trigger that has samples, and whose fate is not yet known?"""
    for seen in _overlapped(witnessed):
        by_itself = ended_by_themselves(seen)
        changes = [(each.began, each) for each in seen.of("HANDLE_TRIGGERS_WITHIN_BATCH")]
        ends = [*seen.ended("ADMIT_TRIGGER", "TRAINING_SKIPPED"), *settled_in(seen)]
        changes += [(each.finished, each) for each in ends]
        alive: set[int] = set()
        ended: set[int] = set()
        for _, each in sorted(changes, key=lambda change: change[0]):
            if each.operation == "HANDLE_TRIGGERS_WITHIN_BATCH":
                assert training_under_way(each.start.registers["pending"], ended) == bool(alive)
            elif each.operation == "ADMIT_TRIGGER":
                alive |= {each.start.inputs["trigger"]["serial"]} if each.outcome != "dropped" else set()
                if each.outcome == "pending":
                    alive.discard(each.start.registers["pending"]["waiting"][-1]["trigger"]["serial"])
                alive -= {each.values["victim"]} - by_itself if each.outcome == "preempt" else set()
            elif each.outcome in ("done", "activated", "rejected"):
                alive.discard(each.trigger["serial"])
                ended.add(each.trigger["serial"])


def costs_are_reported_of_what_was_trained(witnessed: Witness) -> None:
    """And of nothing that was stopped, though it held its device."""
    for seen in _overlapped(witnessed):
        reported = {cost["trigger"] for each in seen.of("TRAINING_COMPLETED") for cost in each.values.get("costs", ())}
        trained = [each for each in seen.of("WAIT_FOR_TRAINING_COMPLETION") if each.outcome == "trained"]
        assert reported <= {each.trigger["serial"] for each in trained}
        assert not {each.trigger["serial"] for each in seen.trace.runs if each.outcome == "superseded"} & reported


def ingestion_never_waits_for_a_training(witnessed: Witness) -> None:
    """Of the stages that ingest, one begins as another ends; only for admission, and to observe, is there a wait."""
    for seen in _overlapped(witnessed):
        ingesting = [each for each in seen.trace.runs if "train_and_eval" not in each.path]
        ingesting = [each for each in ingesting if each.path.startswith("/pipeline#0/")]
        for earlier, later in pairwise(ingesting):
            if later.operation not in ("ADMIT_TRIGGER", "OBSERVE"):
                assert later.started_s == earlier.ended_s, f"{later.path} waits"
