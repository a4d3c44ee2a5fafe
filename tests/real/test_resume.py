"""A run that was killed or interrupted, and resumed, ends like one that was left in peace."""

from __future__ import annotations

import contextlib
import json
import shutil
import signal
import sqlite3
from functools import partial
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from crashing import Crash, crash_at_commit, run_through_crashes
from inline_pool import InlinePool
from polars.testing import assert_frame_equal
from real_runs import Command, Gate, end_state, gated, journaled, small, until
from test_crashes import IS_LONG

from twinclock import launch, progress, stages
from twinclock.dataset import TableConfig, load_table
from twinclock.errors import RunError, UserError
from twinclock.journal import JOURNAL, MARK, Journal
from twinclock.machine import Machine
from twinclock.messages import Acquire, Arm, Disarm, Ended, Fired, Granted, Release, Start
from twinclock.monitoring.status import STATUS
from twinclock.observer import RunObserver
from twinclock.records import Recorder
from twinclock.recovery import replayed
from twinclock.result import Run
from twinclock.run_folder import RunFolder, read_header
from twinclock.stages import Context

KILL, INTERRUPT, TERMINATE = signal.SIGKILL, signal.SIGINT, signal.SIGTERM
UNCOPIED = ("lock", "*-shm", f"{STATUS}*")
"""What a folder may lack after a power cut."""


def start(gate: Gate, config: dict, out: Path) -> Command:
    file = out.with_suffix(".yaml")
    file.write_text(json.dumps(config))
    return Command(gate, "run", file, "--on", "real", "--out", out, "--quiet")


DISTURBED = [
    # while the workers start; after the first training; after the second, when RUN_TRAINING of the third was done
    ("overlapped", [(0, INTERRUPT), (1, KILL), (2, TERMINATE)]),
    *([("seed", [(0, KILL), (1, KILL), (2, KILL)])] if IS_LONG else []),
]


@pytest.mark.parametrize(("variant", "disturbances"), DISTURBED)
def test_ends_like_an_undisturbed_run(tmp_path, variant, disturbances):
    config = gated(variant=variant)
    open_gate, gate = Gate(tmp_path / "open"), Gate(tmp_path / "gate")
    open_gate.open()
    undisturbed = start(open_gate, config, tmp_path / "undisturbed")
    assert undisturbed.end() == (0, "")

    run = tmp_path / "disturbed"
    command = start(gate, config, run)
    for num_trained, number in disturbances:
        if num_trained == 0:
            until(lambda command=command: command.num_processes() == 3, "a worker is there")
        else:
            gate.open(500 * num_trained)
            gate.await_start(500 * (num_trained + 1))
            gate.forget(500 * (num_trained + 1))
        assert gate.trained() == [500 * (k + 1) for k in range(num_trained)]
        if number == KILL:
            command.kill()
            assert read_header(run)["state"] == "running"
        else:
            assert command.signal_group(number) == (130, f"interrupted; go on with: twinclock resume {run}\n")
            assert read_header(run)["state"] == "suspended"
        command = Command(gate, "resume", run, "--quiet")
    gate.open()
    assert command.end() == (0, "")

    assert end_state(run) == end_state(tmp_path / "undisturbed")
    assert gate.trained() == [500, 1000, 1500, 2000], "a finished training was repeated"


VARIANTS = ("seed", "sequential", "overlapped")


@pytest.fixture
def inline(monkeypatch):
    monkeypatch.setattr("real.pool.WorkerPool", InlinePool)


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize(("number", "before"), [(1, False), (2, True)])
def test_a_crash_at_every_commit(tmp_path, monkeypatch, inline, variant, number, before):
    """Crash after crash: each incarnation comes one commit farther.

    Before the second commit: what the first one allowed has been done, but its end is not on record.
    """
    config = small(variant=variant)
    undisturbed = launch.run(config, on="real", out=tmp_path / "undisturbed")
    assert undisturbed.folder is not None
    assert undisturbed.models.height == 4, "there would be little to lose"
    out = tmp_path / "disturbed"

    def at_crash() -> None:
        assert read_header(out)["state"] == "running"

    _, num_crashes = run_through_crashes(config, out, number, before=before, at_crash=at_crash)
    assert num_crashes > 20
    assert end_state(out) == end_state(undisturbed.folder)


@pytest.fixture
def snapshots(monkeypatch):
    """Sets after how many events a snapshot is taken."""

    def every(num_events: int) -> None:
        monkeypatch.setattr(launch, "RunObserver", partial(RunObserver, events_a_snapshot=num_events))

    return every


@pytest.mark.parametrize(
    ("variant", "every", "number", "before"),
    [
        ("seed", 1, 3, False),
        ("sequential", 1, 4, True),
        ("overlapped", 1, 3, False),
        ("overlapped", 9, 3, True),
    ],
)
def test_a_crash_at_every_commit_of_a_run_with_snapshots(
    tmp_path, monkeypatch, inline, snapshots, variant, every, number, before
):
    """After each event there are two commits more, before the tables and of the snapshot: a crash comes at any."""
    config = small(variant=variant)
    undisturbed = launch.run(config, on="real", out=tmp_path / "undisturbed")
    snapshots(every)
    out = tmp_path / "disturbed"
    run, num_crashes = run_through_crashes(config, out, number, before=before)
    assert num_crashes > 10
    assert end_state(out) == end_state(undisturbed.folder)
    assert run.stage_runs["id"].is_unique().all()
    assert run.stage_runs.height == undisturbed.stage_runs.height
    assert run.devices.height == undisturbed.devices.height
    assert len(journaled(out)) < 2 * every + 10, "the journal has grown all the same"


def copy_at_rest(folder: Path, copy: Path) -> None:
    """Once more if a helper thread has moved something meanwhile, which would then be in neither place or in both."""
    while True:
        with contextlib.suppress(shutil.Error):
            shutil.copytree(folder, copy, symlinks=True, ignore=shutil.ignore_patterns(*UNCOPIED))
            if paths_in(copy) == paths_in(folder):
                return
        shutil.rmtree(copy)


def paths_in(folder: Path) -> set[Path]:
    paths = (path.relative_to(folder) for path in folder.rglob("*"))
    return {path for path in paths if not any(path.match(each) for each in UNCOPIED)}


@pytest.mark.parametrize("variant", VARIANTS)
def test_a_power_cut_after_any_transaction(tmp_path, monkeypatch, inline, snapshots, variant):
    """What lies on the disk after a commit is enough to go on from."""
    snapshots(5)
    commit, num_commits = Journal.commit, 0
    cuts, out = tmp_path / "cuts", tmp_path / "run"

    def copying(journal: Journal) -> None:
        nonlocal num_commits
        was_open = journal._database.in_transaction
        commit(journal)
        if was_open:
            num_commits += 1
            copy_at_rest(out, cuts / str(num_commits))

    with monkeypatch.context() as patch:
        patch.setattr(Journal, "commit", copying)
        launch.run(small(variant=variant), on="real", out=out)
    expected = end_state(out)
    assert num_commits > 40
    for number in range(1, num_commits, 7):
        launch.resume(cuts / str(number))
        assert end_state(cuts / str(number)) == expected, f"after commit {number}"


def test_tables_that_a_snapshot_counts_on_must_be_there(tmp_path, monkeypatch, inline, snapshots):
    snapshots(10)
    with monkeypatch.context() as patch:
        crash_at_commit(patch, 20, before=False)
        with pytest.raises(Crash):
            launch.run(small(), on="real", out=tmp_path / "run")
    (tmp_path / "run" / "tables" / "stage_runs" / "00001.parquet").unlink()
    before = contents(tmp_path / "run")
    with pytest.raises(RunError, match=r"tables/stage_runs: 1 of \d+ parts are missing; what they held is no longer"):
        launch.resume(tmp_path / "run")
    assert contents(tmp_path / "run") == before


@pytest.mark.parametrize("every", [10_000, 5])
def test_a_live_run_loses_no_sample_and_counts_none_twice(tmp_path, monkeypatch, inline, snapshots, every):
    """Its batches are a matter of the clock, but its triggers are not."""
    snapshots(every)
    config = small(mode="live", live={"speed_up": 3e8})
    undisturbed = launch.run(config, on="real", out=tmp_path / "undisturbed")
    run, num_crashes = run_through_crashes(config, tmp_path / "disturbed", 6, before=True)
    assert num_crashes > 2
    assert run.triggers.drop("fired_s").equals(undisturbed.triggers.drop("fired_s"))
    assert run.batches["first"].to_list() == [0, *run.batches["stop"].to_list()[:-1]]
    assert run.batches["stop"][-1] == 2000


class Ledger:
    """What is owed after some events and commands, by plain bookkeeping."""

    def __init__(self) -> None:
        self.held, self.owed = {}, {}

    def note(self, event, commands) -> None:
        match event:
            case Granted(id_, placement):
                self.held[id_] = {name: placement[name] for name in self.owed.pop((Acquire, id_)).needs}
            case Ended(id_):
                del self.owed[Start, id_]
            case Fired(id_):
                del self.owed[Arm, id_]
        for command in commands:
            match command:
                case Acquire() | Start() | Arm():
                    self.owed[type(command), command.id] = command
                case Release(_, id_):
                    del self.held[id_]
                case Disarm(_, id_):
                    del self.owed[Arm, id_]


@pytest.fixture
def finished(request, tmp_path, inline):
    config = small(variant=getattr(request, "param", "seed"))
    config["training"]["timeout"] = 600
    return launch.run(config, on="real", out=tmp_path / "run")


@pytest.mark.parametrize("finished", VARIANTS, indirect=True)
def test_every_prefix_of_a_journal_leads_to_the_same_commands(finished):
    plan = launch.plan_run(finished.config, "real")
    machine = Machine(plan.graph)
    with Journal.open(finished.folder, plan.hashes, "now") as journal:
        whole = [(event, machine.feed(event)) for _, event in journal.events()]
    assert machine.finished is not None
    assert len(whole) > 70
    (finished.folder / MARK).unlink()  # it knows how many events there were
    for cut in range(len(whole), 0, -3):
        with sqlite3.connect(finished.folder / JOURNAL) as database:
            database.execute("DELETE FROM events WHERE serial >= ?", (cut,))
        database.close()
        machine, ledger = Machine(plan.graph), Ledger()
        with Journal.open(finished.folder, plan.hashes, "now") as journal:
            for _, event, commands in replayed(machine, journal, Context(plan.config, plan.stream)):
                ledger.note(event, commands)
        held, owed = machine.outstanding()
        assert {request.id: placement for request, placement in held} == ledger.held
        assert {(type(command), command.id): command for command in owed} == ledger.owed
        assert [machine.feed(event) for event, _ in whole[cut:]] == [commands for _, commands in whole[cut:]]


def test_progress_counts_from_the_start_also_after_a_snapshot(tmp_path, monkeypatch, capsys, inline, snapshots):
    monkeypatch.setattr(progress, "_LINE_EVERY_S", 0.0)
    snapshots(20)
    with monkeypatch.context() as patch:
        crash_at_commit(patch, 20, before=False)
        with pytest.raises(Crash):
            launch.run(small(), on="real", out=tmp_path / "run")
    with progress.watching(quiet=False) as watcher:
        launch.resume(tmp_path / "run", watcher=watcher)
    assert capsys.readouterr().err.splitlines()[-1].startswith("2000 of 2000 samples, 4 triggers, 4 models, clock ")


def with_snapshot(finished: Run, folder: Path, after: int) -> list[Any]:
    """The journal of a run with a snapshot after so many events; what followed from each event since."""
    plan = launch.plan_run(finished.config, "real")
    folder.mkdir()
    machine, answers = Machine(plan.graph), []
    with (
        Journal.open(finished.folder, plan.hashes, "now") as whole,
        Journal.create(folder, plan.hashes, "now") as journal,
    ):
        for number, (now, event) in enumerate(whole.events()):
            if number == after:
                journal.put_snapshot({"machine": machine.snapshot()})
            commands = machine.feed(event)
            journal.record(now, event, commands)
            if number >= after:
                answers.append(commands)
        journal.commit()
    return answers


def replayed_from_snapshot(finished: Run, folder: Path) -> list[Any]:
    plan = launch.plan_run(finished.config, "real")
    with Journal.open(folder, plan.hashes, "now") as journal:
        machine = Machine.restore(plan.graph, journal.snapshot()["machine"])
        return [commands for *_, commands in replayed(machine, journal, Context(plan.config, plan.stream))]


@pytest.mark.parametrize("finished", VARIANTS, indirect=True)
def test_a_replay_from_a_snapshot_anywhere_answers_the_same(finished, tmp_path):
    for after in range(1, 70, 9):
        folder = tmp_path / f"after_{after}"
        assert with_snapshot(finished, folder, after) == replayed_from_snapshot(finished, folder)


def test_a_decision_that_was_open_in_a_snapshot_is_made_again_too(finished, tmp_path, monkeypatch):
    cut, made = stages.cut, []
    monkeypatch.setattr(stages, "cut", lambda chunk, size, number: made.append(chunk) or cut(chunk, size, number))
    for after in range(1, 12):
        with_snapshot(finished, tmp_path / str(after), after)
        replayed_from_snapshot(finished, tmp_path / str(after))
        if not made:
            break  # it had been made by then
        made.clear()
    assert after > 3
    monkeypatch.setattr(stages, "cut", lambda chunk, size, number: cut(chunk, size + 50, number))
    with pytest.raises(RunError, match="HANDLE_NEW_DATA#0 decided done"):
        replayed_from_snapshot(finished, tmp_path / str(after - 1))


@pytest.mark.parametrize("finished", VARIANTS, indirect=True)
def test_the_journal_alone_gives_the_tables(finished):
    plan = launch.plan_run(finished.config, "real")
    recorder = Recorder(plan.stream.timestamp)
    with Journal.open(finished.folder, plan.hashes, "now") as journal:
        for now, event, commands in replayed(Machine(plan.graph), journal, Context(plan.config, plan.stream)):
            recorder.record(now, event, commands)
    for name, table in recorder.take().items():
        assert_frame_equal(table, finished.tables[name])


def test_a_policy_that_is_not_deterministic_is_told(finished, monkeypatch):
    set_state(finished.folder, "running")
    cut = stages.cut
    monkeypatch.setattr(stages, "cut", lambda chunk, size, number: cut(chunk, size + 50, number))
    before = contents(finished.folder)
    with pytest.raises(RunError) as error:
        launch.resume(finished.folder)
    message = str(error.value)
    assert "\n" not in message
    assert "/new_data#0/HANDLE_NEW_DATA#0 decided done {" in message
    assert '"stop": 250' in message
    assert '"stop": 300' in message
    assert "not deterministic" in message
    assert contents(finished.folder) == before


def test_a_decision_that_fails_when_made_again_is_told(finished, monkeypatch):
    set_state(finished.folder, "running")
    monkeypatch.setattr(stages, "cut", lambda *_: 1 / 0)
    with pytest.raises(RunError, match=r"HANDLE_NEW_DATA#0 decided done .* but failed .*ZeroDivisionError"):
        launch.resume(finished.folder)


def set_state(folder: Path, state: str) -> None:
    header = read_header(folder)
    (folder / "run.json").write_text(json.dumps({**header, "state": state}))


def contents(folder: Path) -> dict[str, bytes]:
    """Every file that a refused resume must leave as it is (the journal counts its openings)."""
    files = (file for file in folder.rglob("*") if file.is_file() and not file.name.startswith("journal."))
    return {str(file.relative_to(folder)): file.read_bytes() for file in files}


class TestRefused:
    """Nothing to resume, or not possible: one line, and the folder stays as it was."""

    def refused(self, folder: Path, match: str) -> None:
        before = contents(folder) if folder.exists() else None
        with pytest.raises(UserError, match=match) as error:
            launch.resume(folder)
        assert "\n" not in str(error.value)
        assert (contents(folder) if folder.exists() else None) == before

    @pytest.fixture
    def crashed(self, tmp_path, monkeypatch, inline) -> Path:
        with monkeypatch.context() as patch:
            crash_at_commit(patch, 20, before=False)
            with pytest.raises(Crash):
                launch.run(small(), on="real", out=tmp_path / "run")
        return tmp_path / "run"

    def test_no_run_at_all(self, tmp_path):
        self.refused(tmp_path / "nowhere", "no such folder, expected the folder of a run")
        (tmp_path / "other").mkdir()
        self.refused(tmp_path / "other", "no run.json here; expected the folder of a run")

    def test_a_finished_run(self, tmp_path, inline):
        launch.run(small(), on="real", out=tmp_path / "run")
        self.refused(tmp_path / "run", "this run is finished; there is nothing to resume")

    def test_a_simulated_run(self, tmp_path):
        launch.run(small(), on="sim", out=tmp_path / "run")
        set_state(tmp_path / "run", "interrupted")
        self.refused(tmp_path / "run", "a run on 'sim' keeps no journal; run it again instead")

    def test_a_run_that_goes_on_elsewhere(self, crashed):
        with RunFolder.reopen(crashed):
            self.refused(crashed, "in use by another process")

    def test_the_second_of_two_resumes_at_once(self, crashed, tmp_path):
        with RunFolder.reopen(crashed):
            code, said = Command(Gate(tmp_path / "gate"), "resume", crashed).end()
        assert (code, said) == (2, f"error: {crashed}: in use by another process; wait for it, or stop it first\n")

    def test_a_changed_configuration(self, crashed):
        file = crashed / "config.yaml"
        file.write_text(file.read_text().replace("seed: 3", "seed: 4"))
        self.refused(crashed, r"journal.sqlite: config is \w{12}, but the run began with \w{12}")

    def test_a_changed_data_file(self, tmp_path, monkeypatch, inline):
        """The same rows under the same name, but for one feature of one row."""
        rows = load_table(TableConfig(dataset="portal_rodents", limit=2000))
        frame = rows.frame.with_columns(t=pl.Series(rows.timestamps))
        file = tmp_path / "rows.parquet"
        frame.write_parquet(file)
        features = {"numeric": ["weight"], "categorical": ["sex"]}
        data = {"kind": "table", "path": str(file), "time": "t", "label": "species_id", "features": features}
        with monkeypatch.context() as patch:
            crash_at_commit(patch, 20, before=False)
            with pytest.raises(Crash):
                launch.run(small(data=data), on="real", out=tmp_path / "run")
        began_with = file.read_bytes()
        frame[7, "weight"] = 1.5
        frame.write_parquet(file)
        self.refused(tmp_path / "run", r"journal.sqlite: data is \w{12}, but the run began with \w{12}")
        file.write_bytes(began_with)
        assert launch.resume(tmp_path / "run").outcome == "done"

    def test_a_changed_graph(self, crashed, monkeypatch):
        monkeypatch.setattr(launch, "graph_hash", lambda graph: "0" * 64)
        self.refused(crashed, "journal.sqlite: graph is 000000000000, but the run began with")

    @pytest.mark.parametrize("damage", ["flip", "truncate", "empty", "remove"])
    def test_a_damaged_journal(self, crashed, damage):
        file = crashed / JOURNAL
        data = file.read_bytes()
        expected = "corrupted journal"
        match damage:
            case "flip":
                at = data.index(b'"training_set"') + 20
                file.write_bytes(data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :])
            case "truncate":
                file.write_bytes(data[: len(data) // 2])
            case "empty":
                file.write_bytes(b"")
            case "remove":
                file.unlink()
                expected = "missing; a run can't go on without its journal"
        self.refused(crashed, expected)
