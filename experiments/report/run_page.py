"""The report of one run: what it came to, how good its models were, where the time went, what went wrong."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import polars as pl

from experiments.report.blocks import (
    Block,
    Cell,
    Code,
    Column,
    Fold,
    KeyFigure,
    KeyFigures,
    Page,
    Section,
    Sentences,
    Table,
)
from experiments.report.numbers import NOTHING, date, decimals_for, number, share
from experiments.report.pictures import picture
from experiments.report.tables import figures_tables, folded, frame_table
from twinclock._chart import duration
from twinclock.explain.critical import critical_path
from twinclock.explain.text import critical_line, doing_text
from twinclock.result import Run
from twinclock.show import amount_of_usd, energy_text, footnotes
from twinclock.yaml_text import write_yaml

_PARTS = 12
"""Of the critical path, those that are named."""
_MOST_METRICS = 3
"""Metrics that get a picture."""
_USED = {
    "pool": "pool", "devices": "devices", "busy_s": "busy (s)", "idle_s": "idle (s)", "down_s": "down (s)",
    "busy_usd": "busy (USD)", "idle_usd": "idle (USD)", "busy_joules": "busy (J)", "idle_joules": "idle (J)",
}  # fmt: skip
_MODES = {"replay": "recorded stream", "live": "live stream"}


def run_page(run: Run) -> Page:
    """The whole report of a run, finished or not."""
    return Page(
        "Run",
        run.name,
        "",
        facts(run),
        [_key_figures(run), *state_notes(run), *_footnotes(run)],
        [
            Section("models", "How good the models were", list(_models(run))),
            Section("time", "Where the time went", list(_time(run))),
            Section("resources", "Devices, queues and cost", list(_resources(run))),
            Section("faults", "What went wrong", list(_faults(run))),
            Section("tables", "Tables", list(_tables(run))),
            Section("configuration", "Configuration", [configuration(run)]),
        ],
    )


def facts(run: Run) -> list[tuple[str, str]]:
    """What identifies a run."""
    config, header = run.config, run.header
    known = [
        ("executor", str(header["executor"])),
        ("pipeline", f"{config.variant}, {_MODES[config.mode]}"),
        ("trigger", config.trigger.kind),
        ("seed", str(config.seed)),
        ("started", date(header["created"]) if "created" in header else ""),
        ("folder", "" if run.folder is None else str(run.folder)),
    ]
    return [(label, text) for label, text in known if text]


def state_notes(run: Run) -> Iterator[Block]:
    """Says so if a run is not done."""
    if run.state != "finished":
        yield Sentences([f"{run.name}: not finished ({run.state}); what follows is how far it has come"], "bad")
    elif run.outcome != "done":
        yield Sentences([f"{run.name}: {run.outcome}: {run.header.get('error') or 'see what went wrong'}"], "bad")


def configuration(run: Run) -> Code:
    """Everything that was configured."""
    return Code(
        f"Configuration of {run.name}, every default written out", write_yaml(run.config.model_dump(mode="json"))
    )


def _footnotes(run: Run) -> Iterator[Block]:
    if notes := list(footnotes([run])):
        yield Sentences(notes, "warning")


def _key_figures(run: Run) -> KeyFigures:
    found = run.summary
    score = next((each for each in found["composites"] if each["value"] is not None), None)
    figures = [
        KeyFigure("accuracy", NOTHING, "not measured")
        if score is None
        else KeyFigure(score["metric"], f"{score['value']:.3f}", _of_what(score)),
        KeyFigure("trainings", f"{found['trainings']:,}", _of_triggers(found["triggers"])),
        KeyFigure("makespan", _time_text(found["makespan_s"]), "from start to end"),
        KeyFigure("device time", duration(found["device_s"]), "held by trainings and evaluations"),
        KeyFigure("queueing", duration(found["queued_s"]), "waited for a device, all jobs"),
        KeyFigure("faults", f"{found['faults']:,}", f"{found['failed_trainings']:,} attempts at trainings failed"),
    ]
    if found["staleness_s"] is not None:
        figures.insert(2, KeyFigure("staleness", duration(found["staleness_s"]), "mean age of what the model knows"))
    if found["usd"]:
        figures.append(KeyFigure("money", f"{amount_of_usd(found['usd'])} USD"))
    if found["joules"]:
        figures.append(KeyFigure("energy", energy_text(found["joules"])))
    return KeyFigures(figures)


def _of_what(score: Mapping[str, Any]) -> str:
    models = "as served" if score["models"] == "served" else f"{score['models']} model"
    return f"{models}, {share(score['left_out'])} of data time left out"


def _of_triggers(count: int) -> str:
    return "of 1 trigger" if count == 1 else f"of {count:,} triggers"


def _time_text(seconds: float | None) -> str:
    return NOTHING if seconds is None else duration(seconds)


def _models(run: Run) -> Iterator[Block]:
    yield picture(
        "accuracy",
        run.plot.accuracy(),
        "Accuracy of the active model over data time. Dotted lines: triggers, at the last of their samples.",
    )
    for place, metric in enumerate(_metrics(run)):
        yield picture(
            f"heat_map_{place}",
            run.plot.heat_map(metric),
            f"Every model on every interval that it was scored on: {metric}. Framed: the active model.",
        )
    yield picture(
        "freshness",
        run.plot.freshness(),
        "How long data took to get into a model, and how old the newest data was that the models knew.",
    )


def _metrics(run: Run) -> list[str]:
    """The metrics that were measured, the configuration's first; a few of them."""
    measured = run.evaluations["metric"].unique().sort().to_list()
    asked = [metric for metric in run.config.evaluation.metrics if metric in measured]
    return list(dict.fromkeys([*asked, *measured]))[:_MOST_METRICS]


def _time(run: Run) -> Iterator[Block]:
    yield from _critical(run)
    yield picture(
        "timeline",
        run.plot.timeline(),
        "What each device and each kind of stage did over the executor's clock, what queued, and what fired.",
    )
    yield picture(
        "time_by_stage",
        run.plot.time_by_stage(),
        "Each stage working, and waiting for what; and its share of the critical path.",
    )
    graph = picture("stage_graph", run.plot.stage_graph(), "Darker: more time was spent in the stage.")
    yield Fold("The stage graph, coloured by the time spent in each stage", graph)


def _critical(run: Run) -> Iterator[Block]:
    """The critical path in a sentence and by part; a run that is not finished has none yet."""
    if run.state != "finished":
        return
    yield Sentences([critical_line(run)], "good")
    spent = (
        critical_path(run)
        .group_by("stage", "doing", "held_for")
        .agg((pl.col("end_s") - pl.col("begin_s")).sum().alias("seconds"), pl.len().alias("segments"))
        .sort(["seconds", "stage", "doing", "held_for"], descending=[True, False, False, False])
    )
    total_s = float(run.header["makespan_s"]) or 1.0
    decimals = decimals_for(spent["seconds"])
    rows = [
        [
            Cell(stage, stage),
            Cell(doing_text(doing, held_for), doing_text(doing, held_for)),
            Cell(number(seconds, decimals), seconds),
            Cell(f"{100.0 * seconds / total_s:.1f} %", seconds),
            Cell(f"{segments:,}", segments),
        ]
        for stage, doing, held_for, seconds, segments in spent.head(_PARTS).iter_rows()
    ]
    columns = [
        Column("stage"),
        Column("working, or waits for"),
        *(Column(name, is_numeric=True) for name in ("seconds", "share of the makespan", "segments")),
    ]
    more = spent.height - len(rows)
    note = f"{more} smaller parts are left out; critical_path(run) has all." if more else ""
    yield Table(
        "The critical path: what the run did, or waited for, so that it could not end sooner", columns, rows, note
    )


def _resources(run: Run) -> Iterator[Block]:
    yield picture("queue", run.plot.queue(), "Who waited for a device or a training slot, when, and how long.")
    yield picture("cost", run.plot.cost(), "Devices in use by kind of work, and what they have added up to.")
    pools = run.usage
    if not pools.is_empty():
        named = pools.with_columns(pl.col("pool").fill_null("all devices"))
        names = {
            name: _USED[name] for name in pools.columns if name in _USED and pools[name].null_count() < pools.height
        }
        yield frame_table("What each pool of the cluster was used for", named, names, "run.usage")


def _faults(run: Run) -> Iterator[Block]:
    if run.faults.is_empty() and run.outages.is_empty():
        yield Sentences(["Nothing failed."])
    if not run.faults.is_empty():
        alike = run.faults.group_by("stage", "outcome", "type", "message", maintain_order=True)
        counts = alike.agg(pl.len().alias("times")).sort("times", descending=True, maintain_order=True)
        names = {"stage": "stage", "outcome": "outcome", "type": "type", "message": "message"}
        place = _place(run, "faults")
        yield frame_table("What failed, also what a retry mended", counts, {**names, "times": "times"}, place)
        listed = frame_table("Each fault", run.faults, {**names, "attempt": "attempt", "at_s": "at (s)"}, place)
        yield Fold(f"Each of the {run.faults.height:,} faults", listed)
    if not run.outages.is_empty():
        names = {"device": "device", "cause": "cause", "from_s": "from (s)", "until_s": "until (s)"}
        yield folded(frame_table("Devices that were not there", run.outages, names, _place(run, "outages")))


def _tables(run: Run) -> Iterator[Block]:
    yield from figures_tables([run], ["value"])
    trainings = {
        "trigger": "trigger", "outcome": "outcome", "num_samples": "samples", "device": "device",
        "queued_s": "queued (s)", "started_s": "started (s)", "ended_s": "ended (s)", "loss": "loss",
    }  # fmt: skip
    yield folded(frame_table("Trainings, each attempt", run.trainings, trainings, _place(run, "trainings")))
    triggers = {
        "trigger": "trigger", "position": "position", "num_samples": "new samples",
        "training_samples": "training samples", "first_ts": "first data", "last_ts": "last data",
        "fired_s": "fired (s)",
    }  # fmt: skip
    yield folded(frame_table("Triggers", run.triggers, triggers, _place(run, "triggers")))


def _place(run: Run, table: str) -> str:
    """Where a whole table is."""
    return f"run.{table}" if run.folder is None else f"{run.folder}/tables/{table} (Parquet)"
