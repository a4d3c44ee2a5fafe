"""A study on the real executor: one run at a time, each in a folder of its own, and gone on with after a kill."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

from real_runs import HERE, small, until

import twinclock as tc
from experiments.results import StudyResult
from experiments.store import read_results
from twinclock.errors import RunError
from twinclock.result import Run


def study():
    return {
        "name": "for-real",
        "on": "real",
        "base": small(data={"kind": "table", "dataset": "portal_rodents", "limit": 1000}),
        "axes": [{"kind": "grid", "key": "trigger.n", "values": [500, 1000]}],
    }


def test_a_killed_study_goes_on_and_its_runs_have_folders(tmp_path):
    folder = tmp_path / "for-real"
    file = tmp_path / "study.yaml"
    file.write_text(json.dumps(study()))
    main = "from twinclock.cli import main; main()"
    command = [sys.executable, "-c", main, "sweep", str(file), "--out", str(folder), "--quiet"]
    process = subprocess.Popen(command, cwd=HERE, start_new_session=True)
    until(lambda: len(results(folder)) == 1, "the first run")
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    first = results(folder)
    made = tc.sweep(study(), out=folder)
    assert made.unfinished.is_empty()
    assert {run: read_results(folder)[run] for run in first} == first
    for row in made.wide.to_dicts():
        run = Run.load(folder / "runs" / row["run"])
        assert (run.config.trigger.n, run.outcome) == (row["n"], "done")
        assert row["trainings"] == 1000 / row["n"] == run.summary["trainings"]
    assert made.run_of("n=500").folder == folder / "runs" / made.wide["run"][0]
    assert StudyResult.load(folder).wide.equals(made.wide)


def results(folder: Path) -> dict:
    try:
        return read_results(folder)
    except RunError:
        return {}
