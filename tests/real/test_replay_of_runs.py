"""Real runs, replayed by the simulator with their own durations: the same stage runs, at the same times."""

from __future__ import annotations

import json
import os
import signal
import sqlite3
from dataclasses import replace
from functools import partial
from pathlib import Path

import polars as pl
import pytest
import typer
from crashing import run_through_crashes
from folder_runs import on_folder, rodents, write_in_parts
from inline_pool import InlinePool
from real_runs import HERE, PATIENCE_S, Gate, small
from test_fault_plan import OBSERVED, with_attempts
from test_faults import Meanwhile
from test_preempt import preempting

from sim.commands import replay as command
from sim.replay.comparison import compared
from sim.replay.recording import Recording, read_recording
from sim.replay.run import replay
from sim.replay.show import replay_text
from sim.replay.simulation import simulate
from twinclock import launch
from twinclock.errors import RunError
from twinclock.observer import RunObserver
from twinclock.run_folder import read_header

VARIANTS = ("seed", "sequential", "overlapped")
DRIFTING = {
    "kind": "drift",
    "interval": 250,
    "metrics": {"mmd": {"kind": "mmd", "rule": {"kind": "static", "threshold": 0.01}}},
    "windows": {"kind": "amount", "ref": 250, "cur": 250},
}
FEW = {"kind": "table", "dataset": "portal_rodents", "limit": 1000}
"""So that real workers are done soon."""
GATE = {"validation": {"share": 0.2}, "gate": {"metric": "accuracy", "max_worse": 0.0}}


@pytest.fixture
def inline(monkeypatch):
    monkeypatch.setattr("real.pool.WorkerPool", InlinePool)


def ensure_reproduced(folder: Path, outcome: str = "done") -> Recording:
    """Nothing differs by more than rounding, and there is something that could; what was replayed."""
    files = sorted(file for file in folder.rglob("*"))
    before = {file: file.read_bytes() for file in files if file.is_file()}
    recording, made = read_recording(folder), replay(folder)
    assert made.problems == ()
    assert made.is_exact
    assert made.is_within
    assert made.positions == made.replayed_positions
    assert made.run.outcome == outcome
    assert made.stage_runs.select(pl.col("outcome") == pl.col("outcome_replayed")).to_series().all()
    assert made.stage_runs.height == recording.tables["stage_runs"].height > 20
    assert "its clock is reproduced exactly" in replay_text(made)
    assert sorted(folder.rglob("*")) == files, "the folder is left as it is"
    assert {file: file.read_bytes() for file in before} == before
    return recording


# Runs of all kinds


@pytest.mark.parametrize("variant", VARIANTS)
def test_each_variant(tmp_path, inline, variant):
    config = small(variant=variant, cluster={"devices": 2})
    if variant == "overlapped":
        config["overlap"] = {"on_trigger": "queue", "trainings_at_once": 2}
    launch.run(config, on="real", out=tmp_path / "run")
    ensure_reproduced(tmp_path / "run")


def test_triggers_that_look_at_features(tmp_path, inline):
    run = launch.run(small(trigger=DRIFTING), on="real", out=tmp_path / "run")
    assert run.observations.height > 0
    ensure_reproduced(tmp_path / "run")


def test_triggers_that_look_at_scores_attempts_that_fail_and_a_worker_that_was_killed(tmp_path, monkeypatch):
    """One run, for real workers take seconds to start."""
    monkeypatch.setenv("TWINCLOCK_GATE", str(tmp_path / "gate"))
    monkeypatch.setenv("PYTHONPATH", str(HERE), prepend=os.pathsep)
    gate = Gate(tmp_path / "gate")

    def kill() -> None:
        try:
            os.kill(gate.await_start(250), signal.SIGKILL)
        finally:
            gate.open()

    config = with_attempts(4, trigger=OBSERVED, faults={"observation": 0.4, "evaluation": 0.4}, data=FEW)
    config["training"] |= {"trainer": "gated:GatedTrainer", "retry": {"attempts": 3, "backoff": 0.05}}
    with Meanwhile(kill):
        run = launch.run(config, on="real", out=tmp_path / "run")
    assert run.observations.height > 0
    assert set(run.faults["type"]) == {"JobFailed", "WorkerDied"}
    assert {timer for _, timer in ensure_reproduced(tmp_path / "run").timers_s} == {"backoff"}


def test_a_live_run(tmp_path, inline):
    launch.run(small(mode="live", live={"speed_up": 3e8}), on="real", out=tmp_path / "run")
    ensure_reproduced(tmp_path / "run")


def test_a_run_on_a_folder(tmp_path, inline):
    """Its samples have all landed by now; each decision sees as many as it did."""
    write_in_parts(rodents(2000), tmp_path / "in", 7)
    launch.run(on_folder(tmp_path / "in"), on="real", out=tmp_path / "run")
    ensure_reproduced(tmp_path / "run")


@pytest.mark.parametrize("variant", ["seed", "overlapped"])
def test_a_gate(tmp_path, inline, variant):
    plain = small(variant=variant, trigger={"kind": "amount", "n": 400})
    run = launch.run({**plain, "training": {**plain["training"], **GATE}}, on="real", out=tmp_path / "run")
    assert run.activations.filter(pl.col("activated_s").is_null()).height > 0
    ensure_reproduced(tmp_path / "run")


def test_trainings_that_were_stopped(tmp_path, inline, monkeypatch):
    monkeypatch.setattr("real.executor._LOOK_EVERY_S", PATIENCE_S)  # results are heard of when nothing else happens
    run = launch.run(preempting(), on="real", out=tmp_path / "run")
    assert "superseded" in run.trainings["outcome"].to_list()
    ensure_reproduced(tmp_path / "run")


@pytest.mark.parametrize("variant", ["seed", "overlapped"])
def test_a_run_that_was_resumed_again_and_again(tmp_path, inline, variant):
    """What is between two processes is not on the clock; what was under way was begun again."""
    config = small(variant=variant, cluster={"devices": 2})
    config["evaluation"]["at_once"] = 2
    _, num_crashes = run_through_crashes(config, tmp_path / "run", 3, before=True)
    assert num_crashes > 5
    assert len(ensure_reproduced(tmp_path / "run").restarts) > 3


def test_a_run_that_failed(tmp_path, inline):
    config = small(faults={"training": 1.0}, training={"epochs": 1, "retry": {"attempts": 2, "backoff": 0.01}})
    run = launch.run(config, on="real", out=tmp_path / "run")
    assert run.models.height == 0
    ensure_reproduced(tmp_path / "run", str(run.outcome))


def test_a_journal_with_a_snapshot_is_replayed_from_there_on(tmp_path, inline, monkeypatch):
    monkeypatch.setattr(launch, "RunObserver", partial(RunObserver, events_a_snapshot=60))
    run = launch.run(small(variant="overlapped"), on="real", out=tmp_path / "run")
    made = replay(tmp_path / "run")
    assert made.is_exact
    assert 0.0 < made.from_s < made.makespan_s
    assert 0 < made.stage_runs.height < run.stage_runs.height
    assert "the journal has a snapshot in place of what was before" in replay_text(made)


# What is wrong is found


@pytest.fixture
def recording(tmp_path, inline) -> Recording:
    launch.run(small(), on="real", out=tmp_path / "run")
    return read_recording(tmp_path / "run")


def of(recording: Recording, stage: str) -> list[str]:
    return recording.tables["stage_runs"].filter(stage=stage).sort("started_s")["id"].to_list()


def changed(recording: Recording, id_: str, **changes: object) -> Recording:
    return replace(recording, stage_runs={**recording.stage_runs, id_: recording.stage_runs[id_]._replace(**changes)})


def test_another_duration_moves_all_that_follows(recording):
    id_ = of(recording, "WAIT_FOR_TRAINING_COMPLETION")[1]
    longer = changed(recording, id_, duration_s=recording.stage_runs[id_].duration_s + 2.0)
    made = compared(recording, simulate(longer))
    assert made.is_same
    assert not made.is_within
    assert made.replayed_makespan_s - made.makespan_s == pytest.approx(2.0)
    began_s = made.stage_runs.filter(id=id_)["started_s"].item()
    moved = made.stage_runs.filter(pl.col("started_s") > began_s, pl.col("stage") == "INFORM_SELECTOR_AND_TRIGGER")
    assert moved["started_off_s"].to_list() == pytest.approx([2.0] * moved.height)
    assert made.largest_off_s == pytest.approx(2.0)
    assert "the makespan is off by more than 1%" in replay_text(made)


def test_another_value_of_a_decision_is_named(recording):
    id_ = of(recording, "INFORM_SELECTOR_AND_TRIGGER")[2]
    values = json.loads(json.dumps(dict(recording.stage_runs[id_].values)))
    values["trigger"]["first_ts"] += 1.0
    made = compared(recording, simulate(changed(recording, id_, values=values)))
    assert not made.is_same
    first = made.problems[0]
    assert first.id == id_
    assert first.what.startswith(f'{id_} decided trigger {{"trigger"')
    assert "when made again" in first.what
    assert made.stage_runs.height == recording.tables["stage_runs"].height, "it goes on as the run did"


def test_another_outcome_of_a_decision_is_named_and_where_it_leads(recording):
    id_ = of(recording, "HANDLE_TRIGGERS_WITHIN_BATCH")[0]
    fires = of(recording, "HANDLE_TRIGGERS_WITHIN_BATCH")[1]
    assert recording.stage_runs[id_].outcome == "none"
    made = compared(recording, simulate(changed(recording, id_, **recording.stage_runs[fires]._asdict())))
    assert made.problems[0].id == id_
    assert "decided fired" in made.problems[0].what
    assert "but none" in made.problems[0].what
    assert made.problems[1].what == "was started, but the run never had it"
    assert made.problems[1].id.endswith("/INFORM_SELECTOR_AND_TRIGGER#0")
    assert any(problem.id == "triggers" for problem in made.problems)
    assert "the control flow is not that of the run" in replay_text(made)
    assert "more" in replay_text(made)


def test_an_outcome_that_the_graph_does_not_have_ends_the_replay(recording):
    id_ = of(recording, "STORE_TRAINED_MODEL")[0]
    made = compared(recording, simulate(changed(recording, id_, outcome="lost")))
    assert any("the replay can't go on" in problem.what and "ended 'lost'" in problem.what for problem in made.problems)


def test_other_units_are_named(tmp_path, inline):
    launch.run(small(cluster={"devices": 2}), on="real", out=tmp_path / "run")
    recording = read_recording(tmp_path / "run")
    devices = recording.tables["devices"].with_columns(unit=pl.col("unit").str.replace("cpu:0", "cpu:9"))
    made = compared(replace(recording, tables={**recording.tables, "devices": devices}), simulate(recording))
    assert made.problems[0].what == "was granted cpu:0, expected cpu:9"


# The command


def test_the_command_says_it_and_ends_with_a_code(tmp_path, inline, capsys, monkeypatch):
    launch.run(small(), on="real", out=tmp_path / "run")
    command(tmp_path / "run")
    said = capsys.readouterr().out
    assert "small (real), replayed" in said
    assert "trigger positions" in said
    monkeypatch.setattr("sim.replay.run.simulate", lambda each: replace(simulate(each), makespan_s=1e3))
    with pytest.raises(typer.Exit) as left:
        command(tmp_path / "run")
    assert left.value.exit_code == 1


def test_a_notebook_gets_a_table(tmp_path, inline):
    launch.run(small(), on="real", out=tmp_path / "run")
    html = replay(tmp_path / "run")._repr_html_()
    assert html.count("<tr>") == 7
    assert "<strong>small (real), replayed</strong>" in html


def test_runs_that_can_not_be_replayed(tmp_path, inline):
    uniform = {"data": {"kind": "uniform", "num_samples": 20, "every": 1}, "trigger": {"kind": "amount", "n": 5}}
    launch.run(uniform, on="sim", out=tmp_path / "simulated")
    with pytest.raises(RunError, match=r"simulated: a run on 'sim' keeps no journal, expected a real run"):
        replay(tmp_path / "simulated")
    with pytest.raises(RunError, match=r"nothing: no such folder, expected the folder of a run"):
        replay(tmp_path / "nothing")
    run = tmp_path / "run"
    launch.run(small(), on="real", out=run)
    header = read_header(run)
    (run / "run.json").write_text(json.dumps({**header, "state": "suspended"}))
    with pytest.raises(RunError, match=r"run: this run is suspended, expected a finished one"):
        replay(run)
    (run / "run.json").write_text(json.dumps(header))
    journal = run / "journal.sqlite"
    whole = journal.read_bytes()
    with sqlite3.connect(journal) as database:
        database.execute("DELETE FROM events WHERE serial > 30")
    database.close()
    with pytest.raises(RunError, match=r"corrupted journal \(holds 31 events, but \d+ were committed\)"):
        replay(run)
    (run / "journal.mark").unlink()
    with pytest.raises(RunError, match=r"run: its journal ends before the run does, expected that of the whole run"):
        replay(run)
    journal.write_bytes(whole.replace(b'"outcome":"none"', b'"outcome":"some"', 1))
    with pytest.raises(RunError, match=r"corrupted journal"):
        replay(run)
    journal.unlink()
    with pytest.raises(RunError, match=r"journal.sqlite: missing, expected the journal of a real run"):
        replay(run)
    (run / "config.yaml").write_text((run / "config.yaml").read_text().replace("seed: 3", "seed: 4"))
    journal.write_bytes(whole)
    with pytest.raises(RunError, match=r"config is \w+, but the run began with"):
        replay(run)
