"""What happens to a trigger that fires while trainings run (variant `overlapped`).

* `queue`     each trigger trains on its own set, in order
* `coalesce`  what waits becomes one trigger at the newest position, with all their samples
* `drop`      the trigger is none; its samples belong to the next
* `preempt`   the running training stops; its samples go to the new trigger

The register `pending` holds what waits and what runs: `{"waiting": [entry, ...], "running": [...]}`,
an entry being a trigger with its training set, and one that waits may name the entry whose training it
stopped. Whoever writes it holds the resource `admission`, so
no two decisions about it are made at the same time.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Annotated, Literal, NamedTuple

from pydantic import Field

from twinclock.graph import Json
from twinclock.policies.selection import coalesced
from twinclock.section import Section
from twinclock.stream import Stream

_NOTHING: Json = {"waiting": [], "running": []}


class OverlapConfig(Section):
    """The `overlap:` section."""

    on_trigger: Literal["queue", "coalesce", "drop", "preempt"] = "queue"
    """What to do with a trigger that fires while as many trainings run as may."""
    trainings_at_once: Annotated[int, Field(ge=1)] = 1


class Admission(NamedTuple):
    """What becomes of a trigger. `start`: something must be spawned that will claim it."""

    outcome: Literal["start", "pending", "dropped", "preempt"]
    pending: Json
    victim: int | None = None
    """`preempt`: serial of the trigger whose training is to stop."""


def admit(
    pending: Json, trigger: Json, training_set: Json, ended: Collection[int], config: OverlapConfig, stream: Stream
) -> Admission:
    """Decide about a new trigger. `ended`: serials of the triggers whose trainings have ended."""
    waiting = (pending or _NOTHING)["waiting"]
    running = [entry for entry in (pending or _NOTHING)["running"] if entry["trigger"]["serial"] not in ended]
    entry = {"trigger": trigger, "training_set": training_set}
    full = len(running) + len(waiting) >= config.trainings_at_once
    if config.on_trigger == "drop" and full:
        return Admission("dropped", {"waiting": waiting, "running": running})
    if config.on_trigger in ("coalesce", "preempt") and waiting:
        return Admission(
            "pending",
            {"waiting": [{**waiting[-1], **_with_samples_of(waiting[-1], entry, stream)}], "running": running},
        )
    if config.on_trigger == "preempt" and full:
        victim, *others = running
        pending = {"waiting": [{**entry, "victim": victim}], "running": others}
        return Admission("preempt", pending, victim["trigger"]["serial"])
    return Admission("start", {"waiting": [*waiting, entry], "running": running})


def claim(pending: Json, ended: Collection[int], stream: Stream) -> tuple[Json | None, Json]:
    """The entry that is to be trained now, the one that has waited longest, and what is pending after that.

    `ended`: serials of the triggers whose trainings have ended. A victim that is among them had ended
    before it could be stopped: its samples are trained on, or given back already. Those of any other
    victim go to the entry.
    """
    if not pending["waiting"]:
        return None, pending
    first, *waiting = pending["waiting"]
    victim = first.get("victim")
    entry = {"trigger": first["trigger"], "training_set": first["training_set"]}
    if victim is not None and victim["trigger"]["serial"] not in ended:
        entry = _with_samples_of(victim, entry, stream)
    return entry, {"waiting": waiting, "running": [*pending["running"], entry]}


def _with_samples_of(older: Json, newer: Json, stream: Stream) -> Json:
    old, new = ((entry["trigger"], entry["training_set"]) for entry in (older, newer))
    trigger, training_set = coalesced(old, new, stream)
    return {"trigger": trigger, "training_set": training_set}
