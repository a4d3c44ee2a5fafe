"""What a run leaves behind: tables with one schema for both modes, made from the events of the run alone.

A recorder watches events and commands go by and keeps rows; it never asks anybody anything, so the
same journal always gives the same tables. Times ending in `_s` are seconds on the executor's clock;
columns ending in `_ts` are data time.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple, TypeAlias

import polars as pl

from twinclock._trigger_rows import TriggerRows
from twinclock.graph import BUILT_IN_OUTCOMES, CANCELLED, ERROR_SLOT, TIMEOUT, YIELDED, Json
from twinclock.messages import (
    Acquire,
    Arm,
    Command,
    Disarm,
    Ended,
    Event,
    Fired,
    Granted,
    Outage,
    Path,
    Placement,
    Recalled,
    Release,
    Start,
    path_from_json,
    path_to_json,
    placement_from_json,
    segment_text,
)
from twinclock.policies.triggers.protocol import Verdict
from twinclock.schemas import SCHEMAS
from twinclock.stream import ClockTime

Rows: TypeAlias = list[tuple[Any, ...]]

_PATH_COLUMN: Mapping[str, int] = {"faults": 0, "devices": 2}
"""Table → the column that holds a path until the table is made."""


class _Held(NamedTuple):
    path: Path
    requested_s: float
    granted_s: float | None
    placement: Placement


class Recorder:
    """Turns events into rows; `take` hands over what has gathered since the last time."""

    def __init__(
        self,
        last_ts: Callable[[int], float],
        num_quarantined: Callable[[int, int], int] = lambda _first, _stop: 0,
    ) -> None:
        """For the batches. `last_ts`: position → data time. `num_quarantined`: of a range of positions."""
        self._last_ts = last_ts
        self._num_quarantined = num_quarantined
        self._open: dict[int, tuple[Start, ClockTime]] = {}
        self._held: dict[int, _Held] = {}
        self._held_at: dict[Path, _Held] = {}
        self._timeout_s: dict[int, float] = {}
        self._timed_out: set[Path] = set()
        self._recalled: set[int] = set()
        """Who was asked to give back what it holds, and has not done so."""
        self._stage_runs: Rows = []
        self._triggers = TriggerRows()
        self._rows: dict[str, Rows] = {name: [] for name in SCHEMAS if name not in ("stage_runs", "triggers")}
        self.num_stage_runs = 0

    @property
    def num_gathered(self) -> int:
        """Stage runs since the last `take`."""
        return len(self._stage_runs)

    def record(self, now: ClockTime, event: Event, commands: Sequence[Command]) -> None:
        """Note what happened and what was asked for; called once for each event, in order."""
        open_ = self._open
        if type(event) is Ended:
            opened = open_.pop(event.id, None)
            if opened is not None:
                start, started_s = opened
                _, id_, path, stage, _, _, versions, placement, labels = start
                _, outcome, values = event
                if id_ in self._recalled:
                    outcome = YIELDED
                error = values.get(ERROR_SLOT) if outcome in BUILT_IN_OUTCOMES else None
                queued_s = self._held[id_].requested_s if stage.needs else started_s
                self._stage_runs.append(
                    (path, stage.operation, labels, versions, placement, queued_s, started_s, now, outcome, error)
                )
                if stage.operation in _NOTES:
                    _NOTES[stage.operation](self, now, started_s, start, event)
                if error is not None:
                    self._note_fault(now, start, outcome, error)
        elif type(event) is Granted:
            held = self._held.get(event.id)
            if held is not None and held.granted_s is None:
                self._held[event.id] = self._held_at[held.path] = held._replace(
                    granted_s=now, placement=event.placement
                )
        elif type(event) is Recalled and commands:  # without an answer it came too late
            self._recalled.add(event.id)
        elif type(event) is Fired and event.timer == TIMEOUT and commands:  # without an answer it came too late
            self._note_timeout(now, event.id)
        elif type(event) is Outage:
            devices, cause, noticed_s, until_s = event
            self._rows["outages"].extend((device, cause, noticed_s, now, until_s) for device in devices)
        for command in commands:
            kind = type(command)
            if kind is Start:
                open_[command.id] = (command, now)  # type: ignore[assignment, union-attr]
            elif kind is Acquire:
                self._held[command.id] = _Held(command.path, now, None, {})  # type: ignore[union-attr]
            elif kind is Release:
                self._recalled.discard(command.id)  # type: ignore[union-attr]
                self._note_released(now, self._held.pop(command.id))  # type: ignore[union-attr]
            elif kind is Arm and command.timer == TIMEOUT:  # type: ignore[union-attr]
                self._timeout_s[command.id] = command.delay_s  # type: ignore[union-attr]
            elif kind is Disarm:
                self._timeout_s.pop(command.id, None)  # type: ignore[union-attr]

    def snapshot(self) -> Json:
        """What is still open, as JSON. Rows that were not taken are not in it."""
        return {
            "open": [[id_, started_s] for id_, (_, started_s) in self._open.items()],
            "held": [
                [id_, path_to_json(held.path), held.requested_s, held.granted_s, dict(held.placement)]
                for id_, held in self._held.items()
            ],
            "timed_out": [path_to_json(path) for path in self._timed_out],
            "recalled": sorted(self._recalled),
            "triggers": self._triggers.snapshot(),
            "num_stage_runs": self.num_stage_runs,
        }

    def restore(self, snapshot: Json, outstanding: Sequence[Command]) -> None:
        """Go on, with no rows yet, where another recorder gave `snapshot`; `outstanding` of the machine then."""
        starts = {command.id: command for command in outstanding if isinstance(command, Start)}
        self._open = {id_: (starts[id_], started_s) for id_, started_s in snapshot["open"]}
        self._held = {
            id_: _Held(path_from_json(path), requested_s, granted_s, placement_from_json(placement))
            for id_, path, requested_s, granted_s, placement in snapshot["held"]
        }
        self._held_at = {held.path: held for held in self._held.values() if held.granted_s is not None}
        self._timeout_s = {
            each.id: each.delay_s for each in outstanding if isinstance(each, Arm) and each.timer == TIMEOUT
        }
        self._timed_out = {path_from_json(path) for path in snapshot["timed_out"]}
        self._recalled = set(snapshot["recalled"])
        self._triggers = TriggerRows.restore(snapshot["triggers"])
        self.num_stage_runs = snapshot["num_stage_runs"]

    def take(self) -> dict[str, pl.DataFrame]:
        """The rows gathered since the last call, as tables; the recorder keeps only what is still open.

        From the first trigger on whose fate is open the rows of triggers stay until it is settled.
        """
        in_admission = any(held.path is not None and held.path[1] == "ADMIT_TRIGGER" for held in self._held.values())
        return self._taken(self._triggers.take(in_admission))

    def take_all(self) -> dict[str, pl.DataFrame]:
        """The same when nothing follows any more: what is open comes as it stands."""
        return self._taken(self._triggers.take_all())

    def _taken(self, triggers: Rows) -> dict[str, pl.DataFrame]:
        rows, self._stage_runs = self._stage_runs, []
        self.num_stage_runs += len(rows)
        texts = _PathTexts()
        tables = {"stage_runs": self._stage_runs_table(rows, texts), "triggers": _table("triggers", triggers)}
        for name, gathered in self._rows.items():
            if name in _PATH_COLUMN:
                column = _PATH_COLUMN[name]
                gathered = [(*row[:column], texts[row[column]], *row[column + 1 :]) for row in gathered]
            tables[name] = _table(name, gathered)
            self._rows[name] = []
        return tables

    def _stage_runs_table(self, rows: Rows, texts: _PathTexts) -> pl.DataFrame:
        """Column by column, as most rows of a run are these."""
        if not rows:
            return _table("stage_runs", rows)
        paths, operations, labels, versions, placements, queued_s, started_s, ended_s, outcomes, errors = zip(
            *rows, strict=True
        )
        triggers, batches = [each.get("trigger") for each in labels], [each.get("batch") for each in labels]
        each_once = {each["serial"]: each for each in batches if each is not None}
        end_ts = {serial: self._end_ts(batch) for serial, batch in each_once.items()}
        parents = [texts[path[0]] for path in paths]
        columns = {
            "id": [parent + segment_text(path) for parent, path in zip(parents, paths, strict=True)],
            "stage": operations,
            "parent": [parent or "/" for parent in parents],
            "trigger": [None if each is None else each["serial"] for each in triggers],
            "batch": [None if each is None else each["serial"] for each in batches],
            "attempt": [path[3] or 1 for path in paths],
            "queued_s": queued_s,
            "started_s": started_s,
            "ended_s": ended_s,
            "data_ts": [None if each is None else end_ts[each["serial"]] for each in batches],
            "device": [",".join(each["device"]) if "device" in each else None for each in placements],
            "outcome": outcomes,
            "error": [None if each is None else each.get("message") for each in errors],
            "registers": [" ".join([f"{name}@{n}" for name, n in each.items()]) or None for each in versions],
        }
        return pl.DataFrame(columns, schema=dict(SCHEMAS["stage_runs"]))

    def _note_timeout(self, now: ClockTime, id_: int) -> None:
        path = self._held[id_].path if id_ in self._held else self._open[id_][0].path if id_ in self._open else None
        _, name, _, attempt = path or (None, None, 0, 0)
        if id_ in self._held:  # what holds nothing is never asked after, and would stay for ever
            self._timed_out.add(path)
        message = f"took longer than {self._timeout_s.pop(id_)} s"
        self._rows["faults"].append((path, name, attempt or 1, TIMEOUT, TIMEOUT, message, now))

    def _note_fault(self, now: ClockTime, start: Start, outcome: str, error: Mapping[str, Json]) -> None:
        attempt = start.path[3] if start.path is not None else 0
        row = (start.path, start.stage.operation, attempt or 1, outcome)
        self._rows["faults"].append((*row, error.get("type"), error.get("message"), now))

    def _note_released(self, now: ClockTime, held: _Held) -> None:
        self._held_at.pop(held.path, None)
        self._timed_out.discard(held.path)
        if held.granted_s is not None:
            self._rows["devices"].extend(
                (resource, unit, held.path, held.requested_s, held.granted_s, now)
                for resource, units in held.placement.items()
                for unit in units
            )

    def _note_batches(self, now: ClockTime, _started_s: ClockTime, _start: Start, event: Ended) -> None:
        for batch in event.values.get("batches", ()):
            first, stop = batch["first"], batch["stop"]
            self._rows["batches"].append(
                (batch["serial"], first, stop, self._end_ts(batch), now, self._quarantined(batch, first, stop))
            )

    def _quarantined(self, batch: Json, first: int, stop: int) -> int:
        """A source that grows tells with its chunks."""
        if batch.get("quarantined") is not None:
            return int(batch["quarantined"])
        return self._num_quarantined(first, stop)

    def _end_ts(self, batch: Json) -> float:
        """Data time of a batch's last sample; of one without samples, how far data time had come."""
        first, stop, watermark = batch["first"], batch["stop"], batch["watermark"]
        return self._last_ts(stop - 1) if stop > first else watermark

    def _note_decisions(self, now: ClockTime, _started_s: ClockTime, start: Start, event: Ended) -> None:
        for each in event.values.get("decisions", ()):
            self._rows["decisions"].append(
                (start.inputs["batch"]["serial"], each["first"], each["stop"], each["observation"],
                 each["threshold"], each["verdict"], each["reason"], now)
            )  # fmt: skip

    def _note_observation(self, now: ClockTime, _started_s: ClockTime, start: Start, event: Ended) -> None:
        """One row for each value; `model` is the one scored, null for a distance."""
        observation = event.values.get("observation")
        if observation is None:
            return
        batch = start.labels["batch"]["serial"]
        active = start.registers["active_model"]
        scores_active = observation["kind"] == "score" and observation["models"] is None
        for name, value in observation["values"].items():
            metric, _, serial = name.partition("@")
            model = int(serial) if serial else active["trigger"] if scores_active and active is not None else None
            self._rows["observations"].append(
                (batch, observation["decision"], observation["member"], observation["kind"], observation["first"],
                 observation["stop"], model, metric, value, now)
            )  # fmt: skip

    def _note_trigger(self, now: ClockTime, _started_s: ClockTime, _start: Start, event: Ended) -> None:
        trigger = event.values.get("trigger")
        if trigger is not None:
            self._triggers.add(trigger, event.values.get("training_set"), now)

    def _note_admission(self, now: ClockTime, _started_s: ClockTime, start: Start, event: Ended) -> None:
        """A trigger that was dropped, or has become part of a newer one, is none: its row becomes a decision."""
        if event.outcome in BUILT_IN_OUTCOMES:
            return
        pending = event.values["pending"]
        if event.outcome == "dropped":
            self._note_no_trigger(now, start, start.inputs["trigger"], "dropped", "as many trainings run as may")
        elif event.outcome == "pending":
            older, newer = start.registers["pending"]["waiting"][-1], pending["waiting"][-1]
            reason = f"joined trigger {newer['trigger']['serial']}"
            self._note_no_trigger(now, start, older["trigger"], "coalesced", reason)
            self._triggers.renew(newer["trigger"], newer["training_set"])
        self._triggers.note_waiting(pending)

    def _note_no_trigger(self, now: ClockTime, start: Start, trigger: Json, verdict: Verdict, reason: str) -> None:
        self._triggers.remove(trigger)
        row = (trigger["first"], trigger["stop"], None, None, verdict, reason, now)
        self._rows["decisions"].append((start.labels["batch"]["serial"], *row))

    def _note_claim(self, _now: ClockTime, _started_s: ClockTime, _start: Start, event: Ended) -> None:
        """Only when it is claimed a trigger has the samples of the training that was stopped for it."""
        if event.outcome == "claimed":
            self._triggers.renew(event.values["trigger"], event.values["training_set"])
            self._triggers.note_waiting(event.values["pending"])

    def _note_training(self, now: ClockTime, started_s: ClockTime, start: Start, event: Ended) -> None:
        job, fit = start.inputs["job"], event.values.get("fit") or {}
        error = event.values.get(ERROR_SLOT) or {}
        holder = start.path[0] if start.path else None
        held = self._held_at.get(holder)
        outcome = TIMEOUT if event.outcome == CANCELLED and holder in self._timed_out else event.outcome
        parent = None if job["start_from"] is None else job["start_from"]["trigger"]
        device = ",".join(start.placement.get("device", ()))
        queued_s = None if held is None else held.requested_s
        granted_s = None if held is None else held.granted_s
        self._rows["trainings"].append(
            (job["id"], job["trigger"], outcome, job["training_set"]["num_samples"], parent, device,
             queued_s, granted_s, started_s, now, fit.get("loss"), error.get("message"),
             event.values.get("lost_s"), fit.get("wait_share"), fit.get("peak_memory_bytes"), fit.get("utilisation"))
        )  # fmt: skip

    def _note_model(self, now: ClockTime, _started_s: ClockTime, _start: Start, event: Ended) -> None:
        model = event.values.get("model")
        if model is not None:
            self._rows["models"].append(
                (model["trigger"], model["parent"], model["first_ts"], model["last_ts"], model["num_samples"],
                 model["size_bytes"], model["loss"], model["path"], now)
            )  # fmt: skip

    def _note_activation(self, now: ClockTime, _started_s: ClockTime, start: Start, event: Ended) -> None:
        if event.outcome in BUILT_IN_OUTCOMES:
            return
        scores = start.inputs["gate_scores"] or {}
        activated_s = now if event.outcome == "activated" else None
        self._rows["activations"].append(
            (start.inputs["model"]["trigger"], activated_s, scores.get("metric"), scores.get("first"),
             scores.get("stop"), scores.get("value"), scores.get("active"), scores.get("active_value"),
             event.values["verdict"], now)
        )  # fmt: skip

    def _note_scores(self, now: ClockTime, _started_s: ClockTime, _start: Start, event: Ended) -> None:
        for score in event.values.get("scores", ()):
            self._rows["evaluations"].append(
                (score["plan"], score["model"], score["start"], score["end"], score["metric"], score["value"],
                 score["num_samples"], now)
            )  # fmt: skip


_Note: TypeAlias = Callable[[Recorder, ClockTime, ClockTime, Start, Ended], None]
_NOTES: Mapping[str, _Note] = {
    "HANDLE_NEW_DATA": Recorder._note_batches,
    "HANDLE_TRIGGERS_WITHIN_BATCH": Recorder._note_decisions,
    "OBSERVE": Recorder._note_observation,
    "INFORM_SELECTOR_AND_TRIGGER": Recorder._note_trigger,
    "ADMIT_TRIGGER": Recorder._note_admission,
    "CLAIM_TRIGGERS": Recorder._note_claim,
    "WAIT_FOR_TRAINING_COMPLETION": Recorder._note_training,
    "STORE_TRAINED_MODEL": Recorder._note_model,
    "ACTIVATE_MODEL": Recorder._note_activation,
    "EVALUATION_COMPLETED": Recorder._note_scores,
}
"""Operation → what its end adds to the tables besides the stage run itself."""


class _PathTexts:
    """Paths as text. Most paths share all but their last part with many others, so every part is made once."""

    def __init__(self) -> None:
        self._known: dict[int, str] = {}

    def __getitem__(self, path: Path) -> str:
        if path is None:
            return ""
        text = self._known.get(id(path))  # by identity: a path is a nested tuple, and slow to hash
        if text is None:
            text = self._known[id(path)] = self[path[0]] + segment_text(path)
        return text


def _table(name: str, rows: Iterable[tuple[Any, ...]]) -> pl.DataFrame:
    return pl.DataFrame(list(rows), schema=dict(SCHEMAS[name]), orient="row")
