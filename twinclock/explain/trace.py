"""A run as a file that viewers of traces open: Perfetto (ui.perfetto.dev) and chrome://tracing.

The format is the Trace Event Format, as JSON. One process shows the pipeline, with a lane ("thread") for each branch
that ran beside others; in it lie the stage runs, and before them what they waited for. Another shows the
devices. Arrows lead from a trigger to its trainings and from a model to its evaluations; counters show the
samples that wait for a trigger, and who waits for a device or a slot.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import polars as pl

from twinclock._lanes import by_number
from twinclock.errors import RunError
from twinclock.explain.branches import MAIN, Branches, branches_of
from twinclock.explain.places import StageRuns, stage_runs_of
from twinclock.result import Run
from twinclock.run_folder import replace_durably
from twinclock.summary import holdings, queueing

PIPELINE, DEVICES = 1, 2
"""Numbers of the two processes."""
_ROWS_A_PART = 50_000
_EVENT = {
    "ts_ns": pl.Int64,
    "dur_ns": pl.Int64,
    "ph": pl.String,
    "pid": pl.Int64,
    "tid": pl.Int64,
    "name": pl.String,
    "cat": pl.String,
    "arrow": pl.Int64,
    "depth": pl.Int64,
    "row": pl.Int64,
    "args": pl.String,
}
"""An event before it is text. `row`: the stage run whose columns are its args; `args`: those of all others, as JSON."""
_SHOWN = ("id", "outcome", "trigger", "batch", "attempt", "device", "error")
_QUEUES = ("training", "evaluation", "other")


def write_trace(run: Run, path: str | Path) -> None:
    """Write a run, finished or not, as a trace in JSON. RunError if the file can't be written.

    The file is whole or not there; one that was there before is replaced. Times are microseconds on the
    executor's clock. A run that did not finish shows what had ended.
    """
    file = Path(path)
    try:
        with replace_durably(file) as unfinished, unfinished.open("w", encoding="utf-8") as out:
            out.writelines(_text(run))
    except OSError as error:
        raise RunError(f"{file}: can't be written ({error.strerror or error}); expected a writable path") from None


def _text(run: Run) -> Iterator[str]:
    runs = stage_runs_of(run)
    asked = run.devices.filter(pl.col("granted_s") > pl.col("requested_s")).unique("holder", maintain_order=True)
    branches = branches_of(runs, dict(asked.select("holder", "requested_s").iter_rows()), _end_s(run))
    tids = {lane: number for number, lane in enumerate(branches.lanes, start=1)}
    tid_of = [tids[each.kind, each.lane] for each in branches.branches]
    units = sorted(run.devices.filter(resource="device")["unit"].unique().to_list(), key=by_number)
    stage_runs = _stage_runs(runs, branches, tid_of)
    events = [
        _names(run, list(tids), units),
        _branches(run, branches, tid_of),
        stage_runs,
        _waits(run, runs, branches, tid_of, asked),
        _holdings(run, units),
        _arrows(run, runs, stage_runs),
        _counters(run),
    ]
    in_order = pl.concat(events).sort(
        "ts_ns", pl.col("ph").replace_strict({"M": 0, "X": 1, "C": 2, "s": 3, "f": 4}), -pl.col("dur_ns"), "depth",
        maintain_order=True,
    )  # fmt: skip
    header = {"name": run.config.name, "executor": run.header["executor"], "state": run.state}
    yield f'{{"displayTimeUnit":"ms","otherData":{json.dumps(header)},"traceEvents":[\n'
    separator = ""
    for part in in_order.iter_slices(_ROWS_A_PART):
        yield separator + ",\n".join(_written(part, runs.frame))
        separator = ",\n"
    yield "\n]}\n"


def _written(events: pl.DataFrame, stage_runs: pl.DataFrame) -> list[str]:
    """Each event as JSON."""
    names = {name: json.dumps(name) for name in events["name"].unique()}
    shown = stage_runs.select(pl.col(_SHOWN).gather(events["row"])).select(pl.struct(_SHOWN).struct.json_encode())
    whole = events.with_columns(shown.to_series().alias("told"))
    is_span, is_arrow = pl.col("ph") == "X", pl.col("ph").is_in(["s", "f"])
    lines = whole.select(
        pl.concat_str(
            pl.lit('{"ph":"'),
            "ph",
            pl.lit('","pid":'),
            "pid",
            pl.lit(',"tid":'),
            "tid",
            pl.lit(',"ts":'),
            _microseconds("ts_ns"),
            pl.when(is_span).then(pl.concat_str(pl.lit(',"dur":'), _microseconds("dur_ns"))).otherwise(pl.lit("")),
            pl.when(is_arrow).then(pl.concat_str(pl.lit(',"id":'), "arrow", ignore_nulls=True)).otherwise(pl.lit("")),
            pl.when(pl.col("ph") == "f").then(pl.lit(',"bp":"e"')).otherwise(pl.lit("")),
            pl.lit(',"cat":"'),
            "cat",
            pl.lit('","name":'),
            pl.col("name").replace_strict(names),
            pl.lit(',"args":'),
            pl.when(pl.col("row").is_null()).then(pl.col("args").fill_null("{}")).otherwise(pl.col("told")),
            pl.lit("}"),
        ).alias("text"),
    )
    return lines["text"].to_list()


def _microseconds(column: str) -> pl.Expr:
    whole, rest = pl.col(column) // 1000, pl.col(column) % 1000
    return pl.concat_str(whole.cast(pl.String), pl.lit("."), rest.cast(pl.String).str.zfill(3))


def _stage_runs(runs: StageRuns, branches: Branches, tid_of: Sequence[int]) -> pl.DataFrame:
    frame = runs.frame
    return _spans(
        frame["started_s"],
        frame["ended_s"],
        pid=PIPELINE,
        tid=pl.Series([tid_of[number] for number in branches.of_rows], dtype=pl.Int64),
        name=frame["stage"],
        cat="stage",
        depth=2,
        row=pl.Series(range(frame.height), dtype=pl.Int64),
    )


def _branches(run: Run, branches: Branches, tid_of: Sequence[int]) -> pl.DataFrame:
    """What lies around the stage runs of each branch."""
    every = branches.branches
    names = [run.name if each.kind == MAIN else _title(each.kind, each.trigger) for each in every]
    return _spans(
        pl.Series([each.begin_s for each in every], dtype=pl.Float64),
        pl.Series([each.end_s for each in every], dtype=pl.Float64),
        pid=PIPELINE,
        tid=pl.Series(tid_of, dtype=pl.Int64),
        name=pl.Series(names, dtype=pl.String),
        cat="branch",
        depth=0,
        args=pl.Series([json.dumps({"id": each.id, "trigger": each.trigger}) for each in every], dtype=pl.String),
    )


def _waits(run: Run, runs: StageRuns, branches: Branches, tid_of: Sequence[int], asked: pl.DataFrame) -> pl.DataFrame:
    """What stage runs and composites waited for, in the lane in which they then ran."""
    of_rows = dict(zip(runs.ids, branches.of_rows, strict=True)) if asked.height else {}
    numbers = [of_rows.get(holder, branches.of_places.get(holder, 0)) for holder in asked["holder"]]
    return _spans(
        asked["requested_s"],
        asked["granted_s"],
        pid=PIPELINE,
        tid=pl.Series([tid_of[number] for number in numbers], dtype=pl.Int64),
        name=pl.select(pl.concat_str(pl.lit("waiting for "), asked["resource"].str.replace("_", " "))).to_series(),
        cat="waiting",
        depth=1,
        args=pl.Series([json.dumps({"id": holder}) for holder in asked["holder"]], dtype=pl.String),
    )


def _holdings(run: Run, units: Sequence[str]) -> pl.DataFrame:
    held = holdings(run.tables).filter(resource="device")
    tid = {unit: number for number, unit in enumerate(units, start=1)}
    work = held.select("work", "trigger", "holder", "outcome").to_dicts()
    return _spans(
        held["granted_s"],
        held["released_s"],
        pid=DEVICES,
        tid=pl.Series([tid[unit] for unit in held["unit"]], dtype=pl.Int64),
        name=pl.Series([_title(each["work"], each["trigger"]) for each in work], dtype=pl.String),
        cat="device",
        depth=0,
        args=pl.Series([json.dumps({k: each[k] for k in ("holder", "outcome")}) for each in work], dtype=pl.String),
    )


def _arrows(run: Run, runs: StageRuns, stage_runs: pl.DataFrame) -> pl.DataFrame:
    """From the stage run that made a trigger to its trainings, from the one that stored a model to its evaluations."""
    frame = runs.frame.with_row_index("row")
    fired = frame.filter(stage="INFORM_SELECTOR_AND_TRIGGER").select(pl.col("ended_s").alias("fired_s"), "row")
    made = run.triggers.select("trigger", "fired_s").join(fired.unique("fired_s", keep="last"), on="fired_s")
    stored = frame.filter(stage="STORE_TRAINED_MODEL", outcome="done").unique("trigger", keep="last")
    trained, evaluated = (
        frame.filter(stage=stage).select("trigger", pl.col("row").alias("to"))
        for stage in ("RUN_TRAINING", "WAIT_FOR_EVALUATION_COMPLETION")
    )
    both = [
        (made.select("trigger", "row").join(trained, on="trigger"), "trigger"),
        (stored.select("trigger", "row").join(evaluated, on="trigger"), "model"),
    ]
    arrows = pl.concat([ends.select("row", "to", pl.lit(name).alias("name")) for ends, name in both])
    arrows = arrows.sort("row", "to").with_row_index("arrow", offset=1)
    ends = []
    for ph, column in (("s", "row"), ("f", "to")):
        end = stage_runs[arrows[column].to_list()].with_columns(
            pl.lit(ph).alias("ph"),
            arrows["name"],
            pl.lit("arrow").alias("cat"),
            arrows["arrow"].cast(pl.Int64),
            *(pl.lit(None, dtype=_EVENT[name]).alias(name) for name in ("dur_ns", "row")),
        )
        ends.append(end)
    return pl.concat(ends)


def _counters(run: Run) -> pl.DataFrame:
    waits = queueing(run.tables)
    changes = pl.concat(
        [
            waits.select(pl.col(column).alias("at_s"), "work", pl.lit(by).alias("by"))
            for column, by in (("requested_s", 1), ("granted_s", -1))
        ]
    )
    counts = (
        changes.group_by("at_s")
        .agg(pl.col("by").filter(pl.col("work") == kind).sum().alias(kind) for kind in _QUEUES)
        .sort("at_s")
        .with_columns(pl.col(*_QUEUES).cum_sum())
    )
    cut = run.batches.select(pl.col("cut_s").alias("at_s"), pl.col("stop").alias("taken"), fired=None)
    fired = run.triggers.select(pl.col("fired_s").alias("at_s"), taken=None, fired=pl.col("stop"))
    samples = (
        pl.concat([cut.cast({"fired": pl.Int64}), fired.cast({"taken": pl.Int64})])
        .group_by("at_s")
        .agg(pl.col("taken").max(), pl.col("fired").max())
        .sort("at_s")
        .with_columns(pl.col("taken", "fired").cum_max().forward_fill().fill_null(0))
        .select("at_s", (pl.col("taken") - pl.col("fired")).alias("samples"))
    )
    return pl.concat(
        [
            _events(
                ts_ns=_ns(frame["at_s"]), ph="C", pid=PIPELINE, tid=1, name=name, cat="counter", depth=0,
                args=frame.select(pl.struct(pl.exclude("at_s")).struct.json_encode()).to_series(),
            )
            for name, frame in (("waiting samples", samples), ("waiting for devices and slots", counts))
        ]
    )  # fmt: skip


def _names(run: Run, lanes: Sequence[tuple[str, int]], units: Sequence[str]) -> pl.DataFrame:
    """What the processes and their lanes are called, and in which order they stand."""
    rows: list[tuple[int, int, str, Any]] = []
    for pid, name in ((PIPELINE, "pipeline"), (DEVICES, "devices")):
        rows += [(pid, 0, "process_name", {"name": f"{run.name}: {name}"})]
        rows += [(pid, 0, "process_sort_index", {"sort_index": pid})]
    threads = [(PIPELINE, kind if kind == MAIN else f"{kind} {number + 1}") for kind, number in lanes]
    for pid, names in ((PIPELINE, [name for _, name in threads]), (DEVICES, units)):
        for tid, name in enumerate(names, start=1):
            rows += [(pid, tid, "thread_name", {"name": name}), (pid, tid, "thread_sort_index", {"sort_index": tid})]
    pids, tids, names_, args = zip(*rows, strict=True)
    return _events(
        ts_ns=pl.Series([0] * len(rows), dtype=pl.Int64), ph="M", pid=pl.Series(pids, dtype=pl.Int64),
        tid=pl.Series(tids, dtype=pl.Int64), name=pl.Series(names_), cat="__metadata", depth=0,
        args=pl.Series([json.dumps(each) for each in args]),
    )  # fmt: skip


def _spans(begin_s: pl.Series, end_s: pl.Series, **columns: Any) -> pl.DataFrame:
    begin_ns = _ns(begin_s)
    return _events(ts_ns=begin_ns, dur_ns=_ns(end_s) - begin_ns, ph="X", **columns)


def _events(**columns: Any) -> pl.DataFrame:
    """Events with these columns: a series, or one value for all of them."""
    given = {
        name: value if isinstance(value, pl.Series) else pl.lit(value)
        for name, value in {**dict.fromkeys(_EVENT), **columns}.items()
    }
    frame = pl.DataFrame({"ts_ns": columns["ts_ns"]})
    return frame.select(
        (pl.lit(value) if isinstance(value, pl.Series) else value).cast(kind).alias(name)
        for (name, kind), value in zip(_EVENT.items(), (given[name] for name in _EVENT), strict=True)
    )


def _ns(seconds: pl.Series) -> pl.Series:
    """Whole nanoseconds, so that what was in order stays so, and what touched still touches."""
    return (seconds * 1e9).round().cast(pl.Int64)


def _title(what: str, trigger: int | None) -> str:
    return what if trigger is None else f"{what} {trigger}"


def _end_s(run: Run) -> float:
    last = run.stage_runs["ended_s"].max()
    ended_s = last if isinstance(last, float) else 0.0
    makespan_s = run.header.get("makespan_s")
    return max(ended_s, float(makespan_s or 0.0))
