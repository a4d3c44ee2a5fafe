"""What a run leaves behind is what happened, and its summary is what the tables say."""

from __future__ import annotations

import re
from itertools import pairwise

from acceptor import accepts, segments

from dst.invariants.devices import ON_DEVICE
from dst.invariants.models import stored_in
from dst.witness import Witness, tables_of, witness
from twinclock.graph import Flow, ForEach, Scope, walk
from twinclock.messages import path_text

_FEW = 80
"""Stage runs that the acceptor, which is slow, is shown."""
_TIMES = ("requested_s", "queued_s", "granted_s", "started_s", "ended_s", "released_s")
_TOLD = ("position", "first", "stop", "num_samples", "first_ts", "last_ts")
_RUN_TWICE = 0.25
"""Cases with a smaller `cut`, which is drawn evenly, are run twice."""


def the_run_ends_and_leaves_nothing_open(witnessed: Witness) -> None:
    """Everything is joined before DONE, and EXIT is last; a run fails only if there is no cluster for it."""
    for seen in witnessed.pipelines.values():
        assert seen.run.state == "finished"
        assert all(stage_run.ended for stage_run in seen.trace.runs)
        assert seen.run.stage_runs.height == len(seen.trace.runs)
        *others, last = seen.trace.runs
        assert last.operation == "EXIT"
        if seen.is_done:
            assert others[-1].operation == "DONE"
            assert all(each.finished < others[-1].began for each in others[:-1]), "something was not joined before DONE"
        else:
            assert others[-1].operation == "INIT_CLUSTER_CONNECTION", f"failed: {seen.run.header['error']}"
            assert others[-1].outcome == "failed"


def times_of_a_row_are_in_order(witnessed: Witness) -> None:
    """Asked, granted, started, ended, given back: in each row of each table, and no later than the end."""
    for _, name, table in tables_of(witnessed):
        for row in table.select([column for column in _TIMES if column in table.columns]).iter_rows():
            known = [time for time in row if time is not None]
            assert known == sorted(known), (name, row)
        for column in table.columns:
            if column.endswith("_s") and (name, column) != ("outages", "until_s"):  # which may lie after the run
                latest = table[column].max()
                assert latest is None or 0 <= latest <= witnessed.makespan_s, f"{name}.{column}: {latest} s"


def rows_are_in_the_order_in_which_things_happened(witnessed: Witness) -> None:
    """Stage runs by their end, and every table by the time at which its rows were written."""
    written = {"stage_runs": "ended_s", "batches": "cut_s", "decisions": "decided_s", "observations": "observed_s",
               "trainings": "ended_s", "models": "stored_s", "activations": "decided_s", "evaluations": "evaluated_s",
               "faults": "at_s", "devices": "released_s", "outages": "from_s"}  # fmt: skip
    for _, name, table in tables_of(witnessed):
        if name in written:
            times = table[written[name]].to_list()
            assert all(earlier <= later for earlier, later in pairwise(times)), name
    for seen in witnessed.pipelines.values():
        assert seen.run.stage_runs["id"].to_list() == [each.path for each in _ended(seen)]


def stage_runs_have_their_place_in_the_graph(witnessed: Witness) -> None:
    """Each id is unique and names a stage of the graph; its parent is the composite around."""
    for name, seen in witnessed.pipelines.items():
        nodes = dict(walk(witnessed.graphs[name]))
        assert seen.run.stage_runs["id"].is_unique().all()
        for id_, stage, parent in seen.run.stage_runs.select("id", "stage", "parent").iter_rows():
            assert nodes[_in_graph(id_)].operation == stage
            assert isinstance(nodes[_in_graph(parent)], Flow | ForEach | Scope)
            *around, own = segments(id_)
            assert parent == ("".join(around[:-1] if own.startswith("@") else around) or "/")


def _in_graph(id_: str) -> str:
    return re.sub(r"#\d+|@\d+", "", re.sub(r"\[\d+\]", "[]", id_)) or "/"


def the_graph_accepts_what_happened(witnessed: Witness) -> None:
    """A second reading of the graph finds a way through it for these stage runs and outcomes."""
    for name, seen in witnessed.pipelines.items():
        if len(seen.trace.runs) <= _FEW and seen.is_done:
            happened = [(each.path, each.outcome) for each in seen.trace.runs]
            assert accepts(witnessed.graphs[name], happened, "done")


def tables_tell_of_every_training(witnessed: Witness) -> None:
    """One row for each attempt, one for each model."""
    for seen in witnessed.pipelines.values():
        run, waits = seen.run, seen.ended("WAIT_FOR_TRAINING_COMPLETION")
        assert run.trainings["id"].is_unique().all()
        outcomes = ["timeout" if each.outcome == "cancelled" else each.outcome for each in waits]
        assert run.trainings["outcome"].to_list() == outcomes
        stored = stored_in(seen)
        assert run.models["model"].to_list() == [each.trigger["serial"] for each in stored]
        assert run.models["stored_s"].to_list() == [each.ended_s for each in stored]


def tables_tell_of_every_trigger(witnessed: Witness) -> None:
    """As it was trained, if it was; a fire that became part of a newer trigger is among the decisions instead."""
    for seen in witnessed.pipelines.values():
        run = seen.run
        rows = {row["trigger"]: row for row in run.triggers.rows(named=True)}
        for each in seen.of("RUN_TRAINING"):
            trigger, row = each.trigger, rows[each.trigger["serial"]]
            assert row["training_samples"] == each.start.inputs["training_set"]["num_samples"]
            assert {key: row[key] for key in _TOLD} == {key: trigger[key] for key in _TOLD}
        fired = {each.values["trigger"]["serial"]: each for each in seen.of("INFORM_SELECTOR_AND_TRIGGER")}
        assert run.triggers["fired_s"].to_list() == [fired[serial].ended_s for serial in run.triggers["trigger"]]
        num = {verdict: (run.decisions["verdict"] == verdict).sum() for verdict in ("dropped", "coalesced")}
        admitted = [each.outcome for each in seen.of("ADMIT_TRIGGER")]
        assert num == {"dropped": admitted.count("dropped"), "coalesced": admitted.count("pending")}
        informed = len(seen.of("INFORM_SELECTOR_AND_TRIGGER"))
        assert run.triggers.height + num["dropped"] + num["coalesced"] == informed, "a trigger has no row"


def all_that_failed_is_among_the_faults(witnessed: Witness) -> None:
    """Every failure and every timeout, with the stage run that it befell."""
    for seen in witnessed.pipelines.values():
        failed = [each.path for each in _ended(seen) if each.outcome == "failed"]
        assert seen.run.faults.filter(outcome="failed")["id"].to_list() == failed
        cut_off = [path_text(each.start.path[0]) for each in seen.ended(*ON_DEVICE) if each.outcome == "cancelled"]
        timed_out = seen.run.faults.filter(outcome="timeout")["id"].to_list()
        assert set(cut_off) <= set(timed_out)


def the_summary_is_that_of_the_tables(witnessed: Witness) -> None:
    """Each count and each sum, made again from the rows."""
    for seen in witnessed.pipelines.values():
        run, summary = seen.run, seen.run.summary
        outcomes = run.trainings["outcome"].to_list()
        stopped = [each for each in outcomes if each in ("preempted", "superseded", "cancelled")]
        assert summary["trainings"] == outcomes.count("trained")
        assert summary["stopped_trainings"] == len(stopped)
        assert summary["failed_trainings"] == len(outcomes) - outcomes.count("trained") - len(stopped)
        for name in ("stage_runs", "batches", "triggers", "models", "evaluations", "faults"):
            assert summary[name] == run.tables[name].height
        rejected = [each for each in seen.ended("ACTIVATE_MODEL") if each.outcome == "rejected"]
        assert summary["rejected_models"] == len(rejected)
        assert summary["samples"] == (seen.taken if run.batches.height else 0)
        by_trigger = sorted(run.triggers.select("trigger", "position").rows())
        assert summary["positions"] == [position for _, position in by_trigger]
        assert summary["makespan_s"] == run.header["makespan_s"]
        took: dict[str, float] = {}
        for each in seen.trace.runs:
            took[each.operation] = took.get(each.operation, 0.0) + each.ended_s - each.started_s
        assert summary["stage_s"].keys() == took.keys()
        assert all(abs(summary["stage_s"][stage] - took[stage]) <= 1e-6 * max(1.0, took[stage]) for stage in took)


def the_same_case_gives_the_same_tables(witnessed: Witness) -> None:
    """To the last bit. A second run is as much work as all rules together, so it is made of one case in four."""
    if witnessed.case.cut >= _RUN_TWICE:
        return
    assert witness(witnessed.case).digest == witnessed.digest, "run a second time, something else came of it"


def _ended(seen) -> list:
    return sorted(seen.trace.runs, key=lambda each: each.finished)
