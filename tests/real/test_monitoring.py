"""A run can be looked at from outside while it goes on: its log, its status file, and the command that shows both."""

from __future__ import annotations

import io
import json
import logging
import os
import signal
import subprocess
import sys
from collections import Counter

import pytest
from crashing import Crash, crash_at_commit
from inline_pool import InlinePool
from real_runs import COMMAND, Command, Gate, gated, small, until
from rich.console import Console

from twinclock import launch, work
from twinclock.errors import RunError
from twinclock.monitoring.log import LOG, RunLog, read_log
from twinclock.monitoring.status import STATUS, read_status
from twinclock.monitoring.view import watch


@pytest.fixture
def inline(monkeypatch):
    monkeypatch.setattr("real.pool.WorkerPool", InlinePool)


def lines(folder) -> list[dict]:
    return [json.loads(line) for line in (folder / LOG).read_text().splitlines()]


def seen(folder, width=120) -> str:
    console = Console(file=io.StringIO(), width=width)
    watch(folder, console)
    return console.file.getvalue()


def test_the_log_tells_the_story_of_a_run(tmp_path, inline):
    run = launch.run(small(), on="real", out=tmp_path / "run")
    log = lines(run.folder)
    told = Counter(line["event"] for line in log)
    assert told["trigger fired"] == told["training started"] == told["training ended"] == told["model stored"] == 4
    assert [log[0]["event"], log[1]["event"], log[-1]["event"]] == ["started", "connected", "finished"]
    assert log[-1]["outcome"] == "done"
    clocks = [line["clock_s"] for line in log]
    assert clocks == sorted(clocks)
    fired = [line for line in log if line["event"] == "trigger fired"]
    assert [line["position"] for line in fired] == run.triggers["position"].to_list()
    assert {line["level"] for line in log} == {"info"}


def test_what_goes_wrong_is_in_the_log_with_its_place(tmp_path, inline):
    config = small(faults={"training": 0.5}, seed=2)
    run = launch.run(config, on="real", out=tmp_path / "run")
    faults = [line for line in lines(run.folder) if line["event"] == "fault"]
    assert len(faults) == run.faults.height > 0
    assert [line["id"] for line in faults] == run.faults["id"].to_list()
    assert {(line["level"], line["type"]) for line in faults} == {("warning", "JobFailed")}


def test_a_resumed_run_goes_on_with_its_log_and_repeats_only_what_was_not_on_record(tmp_path, monkeypatch, inline):
    with monkeypatch.context() as patch:
        crash_at_commit(patch, 12, before=True)
        with pytest.raises(Crash):
            launch.run(small(), on="real", out=tmp_path / "run")
    before = lines(tmp_path / "run")
    launch.resume(tmp_path / "run")
    after = lines(tmp_path / "run")
    assert after[: len(before)] == before
    assert after[len(before)]["event"] == "resumed"
    stored = [line["model"] for line in after if line["event"] == "model stored"]
    assert list(dict.fromkeys(stored)) == [0, 1, 2, 3]
    assert len(stored) <= 5, "only the last end before the crash was not durable"


def test_a_log_that_can_not_be_written_disturbs_nothing(tmp_path, inline):
    log = RunLog(tmp_path / "no such folder")
    log.note("started")
    assert read_log(tmp_path / "no such folder", 5) == []


def test_notices_of_the_program_are_in_the_log_and_on_stderr(tmp_path, inline, capsys, monkeypatch):
    read = work.replay_chunk

    def noticing(*arguments):
        logging.getLogger("twinclock").warning("no checkpoint could be kept")
        return read(*arguments)

    monkeypatch.setattr(work, "replay_chunk", noticing)
    monkeypatch.setattr(logging.root, "handlers", [])  # pytest has its own
    run = launch.run(small(), on="real", out=tmp_path / "run")
    notices = [line for line in lines(run.folder) if line["event"] == "notice"]
    assert {(line["level"], line["message"]) for line in notices} == {("warning", "no checkpoint could be kept")}
    assert "no checkpoint could be kept" in capsys.readouterr().err
    assert logging.getLogger("twinclock").handlers == []


def test_a_line_that_is_being_written_is_left_out(tmp_path):
    RunLog(tmp_path).note("started", name="x" * 3000)
    RunLog(tmp_path).note("finished")
    with (tmp_path / LOG).open("a") as file:
        file.write('{"event": "hal')
    assert [line["event"] for line in read_log(tmp_path, 1)] == ["finished"]
    assert [line["event"] for line in read_log(tmp_path, 10)][-1] == "finished"


def test_a_finished_run_leaves_its_last_status(tmp_path, inline):
    run = launch.run(small(), on="real", out=tmp_path / "run")
    status = read_status(run.folder)
    assert status["stages"] == status["devices"] == status["waiting"] == []
    assert status["samples_taken"] == 2000
    assert (status["last_trigger"]["trigger"], status["active_model"]) == (3, 3)
    assert [score["metric"] for score in status["scores"]] == ["accuracy"]
    held_s = sum(run.devices.filter(run.devices["resource"] == "device").select("granted_s", "released_s").rows()[0])
    assert status["busy_s"]["cpu:0"] > 0 < held_s
    text = seen(run.folder)
    assert "finished, done" in text
    assert "2,000 samples taken" in text
    assert "idle" in text


def test_a_live_run_says_how_many_samples_wait(tmp_path, inline):
    run = launch.run(small(mode="live", live={"speed_up": 3e8}), on="real", out=tmp_path / "run")
    assert read_status(run.folder)["samples_waiting"] == 0
    assert "0 have come and wait" in seen(run.folder)


def test_watching_a_run_that_trains_and_one_that_was_interrupted(tmp_path):
    gate, out = Gate(tmp_path / "gate"), tmp_path / "run"
    config = tmp_path / "config.yaml"
    config.write_text(json.dumps(gated()))
    command = Command(gate, "run", config, "--on", "real", "--out", out, "--quiet")
    gate.await_start(500)

    def trains() -> dict | None:
        status = read_status(out)
        active = [stage["stage"] for stage in status["stages"]] if status else []
        return status if "WAIT_FOR_TRAINING_COMPLETION" in active else None

    status = until(trains, "the status says that it trains")
    assert [(each["device"], each["holder"].endswith("on_device#0@1")) for each in status["devices"]] == [
        ("cpu:0", True)
    ]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path), "COLUMNS": "140"}
    said = subprocess.run(
        [*COMMAND, "watch", out], env=environment, capture_output=True, text=True, timeout=60, check=True
    )
    assert "WAIT_FOR_TRAINING_COMPLETION" in said.stdout
    assert "training started: trigger 0, device cpu:0, num_samples 500" in said.stdout
    assert said.stderr == ""

    command.signal_group(signal.SIGTERM)
    assert f"suspended, go on with: twinclock resume {out}" in seen(out, 200)
    assert lines(out)[-1]["event"] == "suspended"


def test_a_run_that_was_killed_shows_no_sign_of_life(tmp_path, inline):
    run = launch.run(small(), on="real", out=tmp_path / "run")
    header = json.loads((run.folder / "run.json").read_text())
    (run.folder / "run.json").write_text(json.dumps({**header, "state": "running"}))
    status = json.loads((run.folder / STATUS).read_text())
    (run.folder / STATUS).write_text(json.dumps({**status, "written": "2026-01-01T00:00:00+00:00"}))
    assert "no sign of life for" in seen(run.folder)
    assert f"twinclock resume {run.folder}" in seen(run.folder, 300)


def test_a_terminal_is_kept_up_to_date_until_the_run_is_over(tmp_path, monkeypatch, inline):
    run = launch.run(small(), on="real", out=tmp_path / "run")
    header = json.loads((run.folder / "run.json").read_text())
    (run.folder / "run.json").write_text(json.dumps({**header, "state": "running"}))

    def ends(_seconds: float) -> None:
        (run.folder / "run.json").write_text(json.dumps(header))

    monkeypatch.setattr("twinclock.monitoring.view.time.sleep", ends)
    console = Console(file=io.StringIO(), width=120, force_terminal=True)
    watch(run.folder, console)
    assert "running, " in console.file.getvalue()
    assert "finished, done" in console.file.getvalue()


def test_a_simulated_run_can_not_be_watched(tmp_path):
    run = launch.run(small(), on="sim", out=tmp_path / "run")
    with pytest.raises(RunError, match=r"no status.json here; a run on 'sim' can't be watched, only shown"):
        watch(run.folder, Console(file=io.StringIO()))
