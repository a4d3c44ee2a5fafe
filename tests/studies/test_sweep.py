"""Sweeps: every run by itself, what is done stays done, and the same tables however they came about."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
from pathlib import Path

import polars as pl
import pytest
from in_processes import PATIENCE_S, killed, results, rows, started, until, written
from small_studies import hostile, study

import twinclock as tc
from experiments.engines.local import local
from experiments.job import Job
from experiments.results import StudyResult
from experiments.store import ResultStore
from twinclock.errors import ConfigError, RunError


def files(folder: Path) -> dict[str, bytes]:
    return {name: (folder / name).read_bytes() for name in ("runs.parquet", "metrics.parquet", "study.yaml")}


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("undisturbed") / "small"
    made = tc.sweep(study(), out=folder, num_workers=1)
    assert made.unfinished.is_empty()
    return folder


def test_a_row_for_each_run_and_one_for_each_figure(undisturbed):
    made = StudyResult.load(undisturbed)
    assert made.runs.columns == ["run", "variant", "seed", "policy", "n", "state", "error"]
    assert made.runs["variant"].unique(maintain_order=True).to_list() == list(made.variants)
    assert made.runs["seed"].to_list() == [0, 1] * 4
    assert made.runs["n"].to_list() == [400, 400, 500, 500, 1000, 1000, None, None]
    assert made.runs["state"].unique().to_list() == ["done"]
    assert made.metrics.group_by("run").len()["len"].n_unique() == 1
    assert pl.read_parquet(undisturbed / "runs.parquet").equals(made.runs)
    assert pl.read_parquet(undisturbed / "metrics.parquet").equals(made.metrics)


def test_the_figures_are_those_of_the_run(undisturbed):
    made = StudyResult.load(undisturbed)
    run = made.run_of("amount · n=500", seed=1)
    row = made.wide.filter(pl.col("variant") == "amount · n=500", pl.col("seed") == 1).to_dicts()[0]
    assert (run.config.trigger.n, run.config.seed) == (500, 1)
    for name in ("accuracy", "device_s", "makespan_s", "triggers", "stage_runs"):
        assert row[name] == run.summary[name]


def test_variants_have_their_random_numbers_in_common(undisturbed):
    made = StudyResult.load(undisturbed)
    arrivals = {
        (variant, seed): tuple(made.run_of(variant, seed).batches["last_ts"].drop_nulls())
        for variant in ("amount · n=400", "time")
        for seed in (0, 1)
    }
    assert arrivals["amount · n=400", 0] == arrivals["time", 0] != arrivals["time", 1]


def test_two_workers_give_the_same_bytes_as_one(undisturbed, tmp_path):
    tc.sweep(study(), out=tmp_path / "two", num_workers=2)
    assert files(tmp_path / "two") == files(undisturbed)


def test_ray_gives_the_same_bytes(undisturbed, tmp_path):
    pytest.importorskip("ray")
    script = (
        "import json, sys, twinclock as tc; "
        "tc.sweep(json.loads(sys.argv[1]), out=sys.argv[2], engine='ray', num_workers=2)"
    )
    command = [sys.executable, "-c", script, json.dumps(study()), str(tmp_path / "ray")]
    environment = os.environ | {"RAY_AUTH_MODE": "disabled", "RAY_USAGE_STATS_ENABLED": "0"}
    done = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=180, check=False)
    assert done.returncode == 0, done.stderr
    assert files(tmp_path / "ray") == files(undisturbed)


def test_of_changed_code_the_figures_stay_and_the_runs_do_not(undisturbed, monkeypatch):
    monkeypatch.setattr("experiments.fingerprint.code_version", lambda: "another")
    made = StudyResult.load(undisturbed)
    assert made.unfinished.is_empty()
    with pytest.raises(RunError, match="time, seed 0: the code or the data is another now; sweep it again"):
        made.run_of("time")


def test_a_script_needs_no_guard(undisturbed, tmp_path):
    script = tmp_path / "script.py"
    script.write_text(f"import twinclock as tc\ntc.sweep({study()!r}, out={str(tmp_path / 'out')!r}, num_workers=2)\n")
    done = subprocess.run(
        [sys.executable, str(script)], capture_output=True, text=True, timeout=PATIENCE_S, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert files(tmp_path / "out") == files(undisturbed)


def test_what_is_done_is_not_done_again(undisturbed, tmp_path):
    before = rows(undisturbed)
    assert tc.sweep(study(), out=undisturbed).unfinished.is_empty()
    assert rows(undisturbed) == before  # not even the seconds it took have changed
    larger = tc.sweep(study(seeds=3), out=undisturbed)
    assert larger.runs.height == 12
    assert larger.unfinished.is_empty()
    after = rows(undisturbed)
    assert {run: after[run] for run in before} == before
    assert len(after) == 12
    assert tc.sweep(study(), out=undisturbed).runs.height == 8


def test_poisoned_runs_are_rows_that_say_what_happened_and_the_others_are_done(tmp_path):
    policies = {
        "good": {},
        "misspelt": {"trigger.m": 3},
        "no such key": {"name.x": 3},
        "raises": hostile("Raises"),
        "dies": hostile("Dies"),
        "hangs": hostile("Hangs"),
        "good too": {"trigger.n": 1000},
    }
    poisoned = study(axes=[{"kind": "list", "name": "policy", "variants": policies}], seeds=1, timeout=3)
    made = tc.sweep(poisoned, out=tmp_path / "poisoned", num_workers=2)
    told = {row["variant"]: (row["state"], row["error"]) for row in made.runs.to_dicts()}
    assert told["good"] == told["good too"] == ("done", None)
    assert told["misspelt"] == ("failed", "trigger.m: unknown key (got 3); known: kind, n")
    assert told["no such key"][0] == "failed"
    assert 'name is "small", which has no keys' in told["no such key"][1]
    assert told["raises"][0] == "failed"
    assert "out of cheese" in told["raises"][1]
    assert told["dies"] == ("crashed", "its process ended with exit code 7")
    assert told["hangs"] == ("timeout", "took longer than 3 s")
    assert made.wide["variant"].to_list() == ["good", "good too"]


def test_a_run_that_failed_is_tried_again(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    axes = [
        {
            "kind": "list",
            "name": "policy",
            "variants": {"late": {"trigger": {"kind": "oracle", "run": "earlier", "per_training_second": 0.001}}},
        }
    ]
    made = tc.sweep(study(axes=axes, seeds=1), out=tmp_path / "out")
    assert made.runs["state"].to_list() == ["failed"]
    assert "earlier" in made.runs["error"][0]
    base = study()["base"]
    every_model = {"plans": [{"kind": "between_triggers", "models": "all"}]}
    tc.run({**base, "evaluation": every_model}, on="sim", out="earlier")
    assert tc.sweep(study(axes=axes, seeds=1), out=tmp_path / "out").runs["state"].to_list() == ["done"]


@pytest.mark.parametrize("seed", range(int(os.environ.get("TWINCLOCK_NUM_KILLS", "1"))))
def test_killed_at_any_moment_it_goes_on_and_ends_with_the_same_tables(undisturbed, tmp_path, seed):
    folder = tmp_path / "killed"
    after = random.Random(seed).randrange(1, 7)
    process = started(command(study(), folder))
    until(lambda: len(results(folder)) >= after, f"{after} results")
    workers = children(process.pid)
    killed(process)
    until(lambda: not any(Path(f"/proc/{worker}").exists() for worker in workers), "workers leave with their parent")
    before = rows(folder)
    assert len(before) >= after
    made = tc.sweep(study(), out=folder, num_workers=1)
    assert made.unfinished.is_empty()
    assert {run: rows(folder)[run] for run in before} == before  # no run was done twice
    assert files(folder) == files(undisturbed)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupt_leaves_tables_and_says_how_to_go_on(tmp_path, number):
    folder = tmp_path / "interrupted"
    slow = study(axes=[{"kind": "list", "name": "policy", "variants": {"good": {}, "hangs": hostile("Hangs")}}])
    process = started(command(slow, folder))
    until(lambda: len(results(folder)) >= 2, "both good runs")
    (os.killpg if number == signal.SIGINT else os.kill)(process.pid, number)  # a terminal tells the whole group
    _, told = process.communicate(timeout=PATIENCE_S)
    assert process.returncode == 130
    assert "interrupted with 2 runs to do; the same command goes on" in told
    assert "Traceback" not in told
    made = StudyResult.load(folder)
    assert pl.read_parquet(folder / "runs.parquet").equals(made.runs)
    assert made.runs["state"].to_list() == ["done", "done", "missing", "missing"]


def command(values, folder: Path) -> list[str]:
    main = "from twinclock.cli import main; main()"
    return [sys.executable, "-c", main, "sweep", written(values, folder), "--out", str(folder), "-j", "2", "--quiet"]


def children(pid: int) -> list[int]:
    return [int(each) for each in Path(f"/proc/{pid}/task/{pid}/children").read_text(encoding="utf-8").split()]


def test_a_metric_that_no_run_has_is_said_when_the_first_is_done(tmp_path):
    folder = tmp_path / "misspelt"
    wrong = study(metrics=["accurcy", "-device_s"], seeds=20)
    with pytest.raises(ConfigError, match="metrics: got 'accurcy', expected a figure of a run; did you mean accuracy"):
        tc.sweep(wrong, out=folder, num_workers=1)
    known = results(folder)
    assert 1 <= len(known) < 80  # and not when all are done
    with pytest.raises(ConfigError, match="metrics: got 'accurcy'"):
        tc.sweep(wrong, out=folder, num_workers=1)
    assert results(folder) == known


def test_only_one_sweep_at_a_time_has_the_folder(tmp_path):
    empty = study(axes=[{"kind": "grid", "key": "trigger.m", "values": [1]}], seeds=1)
    tc.sweep(empty, out=tmp_path / "held")
    with ResultStore.hold(tmp_path / "held"), pytest.raises(RunError, match="in use by another sweep"):
        tc.sweep(empty, out=tmp_path / "held")


def test_folders_of_something_else_are_refused(undisturbed, tmp_path):
    with pytest.raises(RunError, match="holds the study 'small', expected a new folder or one of 'other'"):
        tc.sweep(study(name="other"), out=undisturbed)
    (tmp_path / "letter.txt").write_text("dear reader")
    with pytest.raises(RunError, match="not empty and no study"):
        tc.sweep(study(), out=tmp_path)
    with pytest.raises(RunError, match=r"no study.yaml here, expected the folder of a study"):
        StudyResult.load(tmp_path)


def test_results_that_are_no_results_are_said(tmp_path):
    (tmp_path / "study.yaml").write_text(json.dumps(study()))
    (tmp_path / "results.sqlite").write_bytes(b"no database" * 1000)
    with pytest.raises(RunError, match=r"results.sqlite: can't be used"):
        tc.sweep(study(), out=tmp_path)


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ({"num_workers": 0}, "-j: got 0, expected a whole number > 0"),
        ({"engine": "dask"}, "--engine: got 'dask', expected one of local, ray"),
        ({"ray_address": "auto"}, "--ray-address: got 'auto' with the engine local, expected --engine ray"),
    ],
)
def test_wrong_arguments_are_one_line(tmp_path, arguments, told):
    with pytest.raises(ConfigError, match=told):
        tc.sweep(study(), out=tmp_path / "out", **arguments)
    assert not (tmp_path / "out").exists()


def test_asking_for_a_run_that_is_not_there(undisturbed):
    made = StudyResult.load(undisturbed)
    with pytest.raises(ConfigError, match="variant: got 'oracle', expected one of amount · n=400"):
        made.run_of("oracle")
    with pytest.raises(ConfigError, match="seed: got 9, expected one of 0, 1"):
        made.run_of("time", 9)


def test_exit_codes_of_the_command(tmp_path):
    axes = [{"kind": "list", "name": "policy", "variants": {"good": {}, "bad": {"trigger.m": 3}}}]
    partial = subprocess.run(
        command(study(axes=axes), tmp_path / "partial")[:-1], capture_output=True, text=True, check=False
    )
    assert partial.returncode == 3
    assert "bad, 2 seeds: failed: trigger.m: unknown key (got 3); known: kind, n" in partial.stdout
    assert partial.stderr.splitlines()[-1] == "2 of 4 runs are not done"
    quiet = subprocess.run(command(study(axes=axes), tmp_path / "partial"), capture_output=True, text=True, check=False)
    assert (quiet.returncode, quiet.stdout) == (3, "")
    assert quiet.stderr.splitlines() == [
        "bad, 2 seeds: failed: trigger.m: unknown key (got 3); known: kind, n",
        "2 of 4 runs are not done",
    ]
    wrong = subprocess.run(command(study(seeds=0), tmp_path / "wrong"), capture_output=True, text=True, check=False)
    assert wrong.returncode == 2
    assert wrong.stderr.startswith("error: ")


def test_workers_that_are_still_starting_when_all_is_done_go_quietly(capfd):
    for _ in range(2):
        [(_, result)] = local([Job("wrong", "wrong", {"triger": {}}, "sim", None)], num_workers=4, timeout_s=None)
        assert result.state == "failed"
    assert capfd.readouterr().err == ""
