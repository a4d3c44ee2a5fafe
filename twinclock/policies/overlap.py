"""What happens to a trigger that fires while trainings run (variant `overlapped`); see `OverlapConfig`.

The register `pending` holds what waits and what runs: `{"waiting": [entry, ...], "running": [...]}`,
an entry being a trigger with its training set, and one that waits may name the entry whose training it
is to stop. Whoever writes it holds the resource `admission`, so no two decisions about it are made at
the same time.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import ClassVar, Literal, NamedTuple, TypeAlias

from pydantic import Field

from twinclock.graph import Json
from twinclock.policies.selection import coalesced
from twinclock.section import Section
from twinclock.stream import Stream

OnTrigger: TypeAlias = Literal["queue", "coalesce", "drop", "preempt"]
ON_TRIGGER: Mapping[OnTrigger, str] = {
    "queue": """Each trigger waits for a training of its own.

    Each trains on its own set, in the order of firing. With `start_from: active` a training starts from the newest
    model stored when it starts: with one training at once that is the model before it; with more, trainings that
    still run are not waited for.
    """,
    "coalesce": """Triggers that wait become one, at the newest position and with the samples of all.

    While one waits, a new trigger and that one become one trigger: at the newer's position and with its number, with
    the samples of both. Numbers that were merged away stay unused. To the trigger policy each of these fires became a
    trigger.
    """,
    "drop": """A trigger is forgotten while as many trainings run as may; the next one gets its samples.

    When full, the fire is no trigger: its number and its samples are the next one's, and the trigger policy is not told
    that it became one.
    """,
    "preempt": """A new trigger stops the training that has run longest, and takes over its samples.

    When full, the training that has run longest stops, and its samples go to the new trigger. Its seconds on the device
    are spent, but no cost of it is reported to the trigger policy. It can be stopped until WAIT_FOR_TRAINING_COMPLETION
    has ended `trained`; after that its model is stored, the new trigger has only its own samples, and waits for a free
    place. Triggers that fire until then are merged as by `coalesce`.
    """,
}
"""What each choice does with a trigger: one line, and then exactly."""

_NOTHING: Json = {"waiting": [], "running": []}


class OverlapConfig(Section):
    """What becomes of a trigger that fires while as many trainings run as may.

    A trigger's samples are those up to its position that no trigger had before, fixed when it fires. A
    training counts as running from the moment when its trigger is claimed until its model is stored, or it
    has failed for good. `full` means that as many triggers wait and run as trainings may run at once. What each
    choice does then, stands in `ON_TRIGGER`.

    So each sample of a trigger is in the own samples of exactly one training, unless that failed for good: then
    they belong to the next trigger that fires.
    """

    source: ClassVar[str] = ""
    on_trigger: OnTrigger = "queue"
    """What to do with a trigger that fires while as many trainings run as may."""
    trainings_at_once: int = Field(default=1, gt=0, le=10_000)
    """How many may run at the same time. [trainings]"""


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
    running = _still_running(pending, ended)
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


def claim(
    pending: Json, ended: Collection[int], superseded: Collection[int], stream: Stream
) -> tuple[Json | None, Json]:
    """The entry that is to be trained now, the one that has waited longest, and what is pending after that.

    `ended`: serials of the triggers whose trainings came to their own end, a stored model or a failure for
    good. `superseded`: those whose trainings were stopped. The samples of a victim that was stopped, and had
    not given them back before, go to the entry; one that it was too late to stop still runs until it ends.
    """
    if not pending["waiting"]:
        return None, pending
    first, *waiting = pending["waiting"]
    entry = {"trigger": first["trigger"], "training_set": first["training_set"]}
    running = pending["running"]
    victim = first.get("victim")
    if victim is not None and victim["trigger"]["serial"] not in ended:
        if victim["trigger"]["serial"] in superseded:
            entry = _with_samples_of(victim, entry, stream)
        else:
            running = [victim, *running]
    return entry, {"waiting": waiting, "running": [*running, entry]}


def training_under_way(pending: Json, ended: Collection[int]) -> bool:
    """Will there be a model without another fire, if nothing fails: does a trigger wait, or train?

    `pending`: the register of that name, None before the first trigger. `ended`: serials of the triggers
    whose trainings came to their own end, a stored model or a failure for good.
    """
    return bool(pending) and bool(pending["waiting"] or _still_running(pending, ended))


def _still_running(pending: Json, ended: Collection[int]) -> list[Json]:
    return [entry for entry in (pending or _NOTHING)["running"] if entry["trigger"]["serial"] not in ended]


def _with_samples_of(older: Json, newer: Json, stream: Stream) -> Json:
    old, new = ((entry["trigger"], entry["training_set"]) for entry in (older, newer))
    trigger, training_set = coalesced(old, new, stream)
    return {"trigger": trigger, "training_set": training_set}
