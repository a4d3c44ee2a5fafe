"""A trace that viewers can open: every event has what the format asks for, and shows what the tables say."""

from __future__ import annotations

import json
from collections.abc import Mapping
from decimal import Decimal
from pathlib import Path
from typing import Any
from unittest.mock import patch

import polars as pl
import pytest
from handmade import run as by_hand
from handmade import stage_run
from hypothesis import given, settings
from simulated import breaking, configs, costs, faults, seconds, simulate

import twinclock as tc
from twinclock.errors import RunError
from twinclock.explain import trace
from twinclock.explain.critical import critical_path
from twinclock.explain.trace import DEVICES, PIPELINE, write_trace
from twinclock.pipeline import VARIANTS
from twinclock.result import Run

Event = Mapping[str, Any]

REQUIRED = {
    "M": {"name", "args"},
    "X": {"name", "dur", "args"},
    "C": {"name", "args"},
    "s": {"name", "id", "cat"},
    "f": {"name", "id", "cat", "bp"},
}
"""Phase → what such an event needs besides `ph`, `ts`, `pid` and `tid`."""
METADATA = ("process_name", "process_sort_index", "thread_name", "thread_sort_index")


def events_of(run: Run, file: Path) -> list[Event]:
    """What is in the file, once that is found to be a trace; times as they are written, not rounded to floats."""
    write_trace(run, file)
    whole = json.loads(file.read_text(encoding="utf-8"), parse_float=Decimal)
    assert set(whole) == {"displayTimeUnit", "otherData", "traceEvents"}
    assert whole["displayTimeUnit"] in ("ms", "ns")
    events = whole["traceEvents"]
    for event in events:
        assert {"ph", "ts", "pid", "tid", *REQUIRED[event["ph"]]} <= event.keys(), event
        assert event["ts"] >= 0
        assert event.get("dur", 0) >= 0
        assert isinstance(event["name"], str)
        assert isinstance(event["args"], dict)
    times = [event["ts"] for event in events]
    assert times == sorted(times)
    lanes_nest(events)
    arrows_have_both_ends(events)
    everything_has_a_name(events)
    return events


def lanes_nest(events: list[Event]) -> None:
    """In one lane two spans are apart, or one lies in the other, which the viewer meets first."""
    lanes: dict[tuple[int, int], list[tuple[Decimal, Decimal]]] = {}
    for event in events:
        if event["ph"] == "X":
            lanes.setdefault((event["pid"], event["tid"]), []).append((event["ts"], event["ts"] + event["dur"]))
    for lane, spans in lanes.items():
        open_: list[Decimal] = []
        for begin, end in spans:
            while open_ and open_[-1] <= begin and not (begin == end == open_[-1]):
                open_.pop()
            assert not open_ or end <= open_[-1], (lane, begin, end)
            open_.append(end)


def arrows_have_both_ends(events: list[Event]) -> None:
    tails = {event["id"]: event for event in events if event["ph"] == "s"}
    heads = {event["id"]: event for event in events if event["ph"] == "f"}
    assert tails.keys() == heads.keys()
    assert len(tails) + len(heads) == sum(event["ph"] in "sf" for event in events), "an id is used twice"
    spans = {(event["pid"], event["tid"], event["ts"]) for event in events if event["ph"] == "X"}
    for id_, tail in tails.items():
        assert tail["ts"] <= heads[id_]["ts"]
        assert (tail["name"], tail["cat"]) == (heads[id_]["name"], heads[id_]["cat"])
        for end in (tail, heads[id_]):
            assert (end["pid"], end["tid"], end["ts"]) in spans, "it does not end where something begins"


def everything_has_a_name(events: list[Event]) -> None:
    told = {(event["pid"], event["tid"]) for event in events if event["name"] == "thread_name"}
    assert {(event["pid"], event["tid"]) for event in events if event["ph"] in "XsfC"} <= told
    assert {event["pid"] for event in events if event["name"] == "process_name"} == {PIPELINE, DEVICES}
    assert {event["name"] for event in events if event["ph"] == "M"} <= set(METADATA)


def shows_the_tables(run: Run, events: list[Event]) -> None:
    """Every stage run and every holding of a device is there, at its time."""
    spans = [event for event in events if event["ph"] == "X"]
    stages = {event["args"]["id"]: event for event in spans if event["cat"] == "stage"}
    assert len(stages) == run.stage_runs.height == sum(event["cat"] == "stage" for event in spans)
    for row in run.stage_runs.iter_rows(named=True):
        event = stages[row["id"]]
        assert event["name"] == row["stage"]
        assert float(event["ts"]) == pytest.approx(row["started_s"] * 1e6, abs=2e-3)
        assert float(event["ts"] + event["dur"]) == pytest.approx(row["ended_s"] * 1e6, abs=2e-3)
        assert all(event["args"][key] == row[key] for key in ("outcome", "trigger", "batch", "device", "error"))
    held = [event for event in spans if event["cat"] == "device"]
    assert all(event["pid"] == DEVICES for event in held)
    assert sorted(event["args"]["holder"] for event in held) == sorted(run.devices.filter(resource="device")["holder"])
    waited = run.devices.filter(pl.col("granted_s") > pl.col("requested_s")).unique("holder")
    assert sum(event["cat"] == "waiting" for event in spans) == waited.height


@settings(deadline=None, derandomize=True, max_examples=40)
@given(configs(), faults())
def test_any_simulated_run_gives_a_sound_trace(tmp_path_factory, config, broken):
    run = simulate(config, wrap=breaking(broken)).run
    events = events_of(run, tmp_path_factory.mktemp("trace") / "trace.json")
    shows_the_tables(run, events)
    samples = [event["args"]["samples"] for event in events if event["name"] == "waiting samples"]
    assert min(samples) >= 0
    queues = [event["args"] for event in events if event["name"] == "waiting for devices and slots"]
    assert all(number >= 0 for each in queues for number in each.values())
    assert not queues or not any(queues[-1].values()), "somebody waits for ever"


REAL = {
    "name": "small",
    "data": {"kind": "table", "dataset": "portal_rodents", "limit": 1500},
    "batching": {"kind": "fixed", "n": 250},
    "trigger": {"kind": "amount", "n": 500},
    "training": {"model": {"kind": "logistic"}, "epochs": 1},
    "evaluation": {"plans": [{"kind": "slicing", "every": "180d", "models": "active"}]},
    "real": {"device": "cpu"},
}


@pytest.mark.parametrize("variant", VARIANTS)
def test_a_real_run_gives_a_sound_trace_and_a_whole_path(variant, tmp_path):
    run = tc.run({**REAL, "variant": variant}, on="real", out=tmp_path / "run")
    events = events_of(run, tmp_path / "trace.json")
    shows_the_tables(run, events)
    arrows = [event["name"] for event in events if event["ph"] == "s"]
    assert arrows.count("trigger") == run.trainings.height
    assert arrows.count("model") > 0
    made = tc.whatif(tmp_path / "run", ["training.epochs=9"])
    assert made.unchanged.triggers["position"].to_list() == run.triggers["position"].to_list()
    # longer trainings; where they run beside ingestion, later ones wait for the slot of those before
    assert made.causes["stage"][0] == ("CLAIM_TRIGGERS" if variant == "overlapped" else "WAIT_FOR_TRAINING_COMPLETION")
    path = critical_path(run)
    begins, ends = path["begin_s"].to_list(), path["end_s"].to_list()
    assert (begins[0], ends[-1]) == (0.0, run.summary["makespan_s"])
    assert ends[:-1] == begins[1:]
    idle_s = path.filter(doing="executor").select((pl.col("end_s") - pl.col("begin_s")).sum()).item()
    assert idle_s < 0.2 * run.summary["makespan_s"]
    with_gaps = path.filter(doing="executor")["id"].to_list()
    first, last = run.stage_runs["id"][0], run.stage_runs["id"][-1]
    granted = set(run.devices["holder"].to_list())
    assert all(id_ in (first, last) or any(id_.startswith(each) for each in granted) for id_ in with_gaps)


def test_arrows_lead_from_triggers_to_trainings_to_evaluations(tmp_path):
    config = {
        "data": {"kind": "uniform", "num_samples": 40, "every": 1.0},
        "batching": {"n": 10},
        "evaluation": {"plans": [{"kind": "slicing", "every": 10.0, "models": "trained"}]},
    }
    run = simulate(config).run
    events = events_of(run, tmp_path / "trace.json")
    places = {
        (event["tid"], event["ts"]): (event["name"], event["args"]["trigger"])
        for event in events
        if event["ph"] == "X" and event["cat"] == "stage"
    }
    tails = {event["id"]: event for event in events if event["ph"] == "s"}
    led = [
        (places[tails[event["id"]]["tid"], tails[event["id"]]["ts"]], places[event["tid"], event["ts"]])
        for event in events
        if event["ph"] == "f"
    ]
    made = [(("INFORM_SELECTOR_AND_TRIGGER", None), ("RUN_TRAINING", serial)) for serial in run.triggers["trigger"]]
    jobs = run.stage_runs.filter(pl.col("trigger").is_not_null(), stage="WAIT_FOR_EVALUATION_COMPLETION")["trigger"]
    used = [(("STORE_TRAINED_MODEL", serial), ("WAIT_FOR_EVALUATION_COMPLETION", serial)) for serial in jobs]
    assert sorted(led, key=str) == sorted(made + used, key=str)
    assert len(used) > 2


def test_what_runs_beside_something_else_has_a_lane_of_its_own(tmp_path):
    config = {
        "variant": "overlapped",
        "mode": "live",
        "data": {"kind": "uniform", "num_samples": 60, "every": 1.0},
        "batching": {"n": 10},
        "overlap": {"on_trigger": "queue", "trainings_at_once": 3},
        "cluster": {"devices": 3},
        "sim": costs(training=seconds(15.0)),
    }
    run = simulate(config).run
    events = events_of(run, tmp_path / "trace.json")
    names = {event["tid"]: event["args"]["name"] for event in events if event["name"] == "thread_name"
             and event["pid"] == PIPELINE}  # fmt: skip
    trainings = {names[event["tid"]] for event in events if event["name"] == "WAIT_FOR_TRAINING_COMPLETION"}
    assert trainings == {f"train_and_eval {number}" for number in (1, 2)}, "a lane that is free again is used again"
    ingesting = {names[event["tid"]] for event in events if event["name"] == "HANDLE_NEW_DATA"}
    assert ingesting == {"pipeline"}


def test_counters_show_the_samples_that_wait_for_a_trigger(tmp_path):
    config = {"data": {"kind": "uniform", "num_samples": 35, "every": 1.0}, "batching": {"n": 5}, "mode": "live"}
    events = events_of(simulate(config).run, tmp_path / "trace.json")
    samples = [event["args"]["samples"] for event in events if event["name"] == "waiting samples"]
    assert samples == [5, 10, 0, 5, 10, 0, 5, 10, 0, 5]


def test_what_others_wrote_is_escaped(tmp_path):
    rows = [stage_run("INIT", 0.0, 1.0, error='a "quote" \\ and a\nline', outcome="failed")]
    run = by_hand({"executor": 'x"y'}, {"name": 'a "name"'}, stage_runs=rows)
    events = events_of(run, tmp_path / "trace.json")
    (stage,) = (event for event in events if event["name"] == "INIT")
    assert stage["args"]["error"] == 'a "quote" \\ and a\nline'


def test_a_run_that_did_not_finish_shows_what_had_ended(tmp_path):
    rows = [stage_run("INIT", 0.0, 1.0), stage_run("INIT_CLUSTER_CONNECTION", 1.0, 4.0)]
    run = by_hand({"state": "crashed", "makespan_s": None}, stage_runs=rows)
    spans = [event for event in events_of(run, tmp_path / "trace.json") if event["ph"] == "X"]
    assert [(event["name"], event["dur"]) for event in spans] == [
        ("hand (sim)", Decimal("4000000.000")),
        ("INIT", Decimal("1000000.000")),
        ("INIT_CLUSTER_CONNECTION", Decimal("3000000.000")),
    ]
    assert [event["ph"] for event in events_of(by_hand(), tmp_path / "empty.json") if event["ph"] != "M"] == ["X"]


def test_nothing_half_written_looks_whole(tmp_path):
    file = tmp_path / "trace.json"
    file.write_text("the one before")
    run = by_hand(stage_runs=[stage_run("INIT", 0.0, 1.0)])
    full = patch.object(trace, "_written", side_effect=OSError(28, "No space left on device"))
    with full, pytest.raises(RunError, match=r"trace\.json: can't be written \(No space left on device\)"):
        write_trace(run, file)
    assert [each.name for each in tmp_path.iterdir()] == ["trace.json"]
    assert file.read_text() == "the one before"
    with pytest.raises(RunError, match="can't be written"):
        write_trace(run, tmp_path / "no such folder" / "trace.json")
