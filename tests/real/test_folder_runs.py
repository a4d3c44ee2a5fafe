"""Runs on a watched folder: every record once, over crashes too; what is wrong is kept aside."""

from __future__ import annotations

import shutil
import threading
from pathlib import Path

import polars as pl
import pytest
from crashing import Crash, crash_at_commit, run_through_crashes
from folder_runs import landed, manifests, on_folder, rodents, write, write_in_parts
from inline_pool import InlinePool
from polars.testing import assert_frame_equal
from real_runs import end_state, small, until

import twinclock as tc
from twinclock import launch
from twinclock.errors import ConfigError, UserError
from twinclock.show import summary_text


@pytest.fixture
def inline(monkeypatch):
    monkeypatch.setattr("real.pool.WorkerPool", InlinePool)


def test_a_folder_gives_what_a_table_of_the_same_rows_does(tmp_path, inline):
    """Whatever the files are: their kinds don't matter, nor where one ends."""
    write_in_parts(rodents(2000), tmp_path / "in", 7, (".parquet", ".csv", ".jsonl"))
    run = launch.run(on_folder(tmp_path / "in"), on="real", out=tmp_path / "run")
    table = launch.run(small(), on="real", out=tmp_path / "table")
    assert (run.outcome, run.quarantine.height) == ("done", 0)
    for name, clock in (("triggers", "fired_s"), ("models", "stored_s"), ("decisions", "decided_s")):
        assert_frame_equal(run.tables[name].drop(clock), table.tables[name].drop(clock))
    scores = ["plan", "model", "start_ts", "end_ts"]
    assert_frame_equal(
        run.evaluations.drop("evaluated_s").sort(scores), table.evaluations.drop("evaluated_s").sort(scores)
    )
    assert manifests(tmp_path / "run")[-1]["is_last"]


@pytest.mark.parametrize("variant", ["seed", "overlapped"])
@pytest.mark.parametrize(("number", "before"), [(1, False), (2, True)])
def test_a_crash_at_every_commit_loses_nothing_and_reads_nothing_twice(
    tmp_path, monkeypatch, inline, variant, number, before
):
    """Files are deleted as soon as they have landed, so there would be nothing to read them from a second time."""
    write_in_parts(rodents(2000), tmp_path / "in", 8)
    config = on_folder(tmp_path / "in", variant=variant, data={"chunk": 250})
    undisturbed = launch.run(config, on="real", out=tmp_path / "whole")
    out = tmp_path / "run"

    def delete_what_landed() -> None:
        for manifest in manifests(out):
            for origin in manifest["origins"]:
                (tmp_path / "in" / origin["file"]).unlink(missing_ok=True)

    run, num_crashes = run_through_crashes(config, out, number, before=before, at_crash=delete_what_landed)
    assert num_crashes > 20
    assert_frame_equal(landed(out), landed(tmp_path / "whole"))
    files = [origin["file"] for manifest in manifests(out) for origin in manifest["origins"]]
    assert files == [f"{number:03d}.parquet" for number in range(8)]
    assert run.batches["first"].to_list() == [0, *run.batches["stop"].to_list()[:-1]]
    assert run.triggers.drop("fired_s").equals(undisturbed.triggers.drop("fired_s"))
    if variant == "seed":
        ours, theirs = end_state(out), end_state(tmp_path / "whole")
        assert ours == theirs


def test_files_that_come_while_it_runs(tmp_path, inline):
    """The run waits for each of them; the last one says that it is over."""
    folder, rows, done = tmp_path / "in", rodents(2000), []
    folder.mkdir()
    config = on_folder(folder, data={"poll": 0.001})
    thread = threading.Thread(target=lambda: done.append(launch.run(config, on="real", out=tmp_path / "run")))
    thread.start()
    try:
        for number in range(4):
            write(rows.slice(500 * number, 500), folder / f"{number}.parquet")
            until(lambda number=number: len(manifests(tmp_path / "run")) > number, "the file has landed")
    finally:
        (folder / "_END").touch()  # whatever fails: a run left waiting would disturb the tests behind
        thread.join()
    assert done[0].triggers["position"].to_list() == [499, 999, 1499, 1999]
    assert [manifest["stop"] for manifest in manifests(tmp_path / "run")][:4] == [500, 1000, 1500, 2000]


def test_what_is_wrong_is_kept_aside_and_counted(tmp_path, inline):
    folder, rows = tmp_path / "in", rodents(2000)
    folder.mkdir()
    write(rows.head(1000), folder / "a.parquet")
    wrong = rows.slice(1000, 3).with_columns(species_id=pl.lit(None, rows["species_id"].dtype))
    write(pl.concat([rows.slice(1000, 1000), wrong, rows.slice(1000, 2)]), folder / "b.parquet")
    (folder / "c.csv").write_text("not,our,columns\n1,2,3\n")
    (folder / "d.jsonl").write_text('{"t": \n')
    (folder / "_END").touch()
    run = launch.run(on_folder(folder, data={"key": "id"}), on="real", out=tmp_path / "run")
    counts = dict(run.quarantine.group_by("reason").agg(pl.col("records").sum()).iter_rows())
    assert counts == {"schema": 3 + 1, "duplicate": 2, "malformed": 1}
    assert run.summary["samples"] == 2000
    assert run.summary["quarantined"] == run.batches["quarantined"].sum() == 7
    assert run.triggers["position"].to_list() == [499, 999, 1499, 1999]
    assert_frame_equal(landed(tmp_path / "run")["t"].to_frame(), rows["t"].to_frame())
    assert "quarantined: 4 schema, 2 duplicate, 1 malformed" in summary_text(run)


def test_a_time_trigger_fires_where_it_does_on_a_table_and_at_the_end(tmp_path, inline):
    trigger = {"kind": "time", "every": "180d", "final": True}
    write_in_parts(rodents(1500), tmp_path / "in", 5)
    run = launch.run(on_folder(tmp_path / "in", trigger=trigger), on="real", out=tmp_path / "run")
    data = {"kind": "table", "dataset": "portal_rodents", "limit": 1500}
    table = launch.run(small(trigger=trigger, data=data), on="real", out=tmp_path / "table")
    assert run.triggers.drop("fired_s").equals(table.triggers.drop("fired_s"))
    assert run.triggers["position"][-1] == 1499


def test_an_end_without_samples(tmp_path, inline):
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "_END").touch()
    run = launch.run(on_folder(tmp_path / "in"), on="real", out=tmp_path / "run")
    assert (run.outcome, run.summary["samples"], run.triggers.height) == ("done", 0, 0)


def test_workers_read_what_landed(tmp_path):
    """With torch, in processes: the models are those of the table."""
    write_in_parts(rodents(1000), tmp_path / "in", 4, (".parquet", ".csv"))
    run = launch.run(on_folder(tmp_path / "in", data={"chunk": 300}), on="real", out=tmp_path / "run")
    data = {"kind": "table", "dataset": "portal_rodents", "limit": 1000}
    table = launch.run(small(data=data), on="real", out=tmp_path / "table")
    assert run.outcome == "done"
    assert run.trainings["loss"].to_list() == table.trainings["loss"].to_list()
    for name in ("models", "evaluations"):
        ours, theirs = run.tables[name], table.tables[name]
        keep = [column for column in ours.columns if not column.endswith("_s") and column != "size_bytes"]
        order = keep[:4]
        assert_frame_equal(ours.select(keep).sort(order), theirs.select(keep).sort(order))


def test_landings_that_are_gone_are_told(tmp_path, monkeypatch, inline):
    write_in_parts(rodents(2000), tmp_path / "in", 8)
    with monkeypatch.context() as patch:
        crash_at_commit(patch, 12, before=False)
        with pytest.raises(Crash):
            launch.run(on_folder(tmp_path / "in", data={"chunk": 250}), on="real", out=tmp_path / "run")
    shutil.rmtree(tmp_path / "run" / "samples")
    with pytest.raises(UserError, match="holds 0 samples, but the run knows of one"):
        launch.resume(tmp_path / "run")


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"mode": "replay"}, "mode: got replay, expected live for data.kind folder"),
        ({"live": {"speed_up": 2.0}}, "live.speed_up: got 2, expected 1 for data.kind folder"),
    ],
)
def test_what_would_mean_nothing_is_refused(tmp_path: Path, changes, said):
    with pytest.raises(ConfigError, match=said):
        tc.load_config({**on_folder(tmp_path), **changes})


def test_what_can_not_be_had_is_one_line(tmp_path):
    config = on_folder(tmp_path / "nowhere")
    with pytest.raises(UserError, match="nowhere: no such folder, expected one that files of samples come into"):
        launch.plan_run(tc.load_config(config), "real")
    with pytest.raises(ConfigError, match=r"data.kind: got folder, whose samples are still to come; expected"):
        launch.plan_run(tc.load_config(config), "sim")


def test_a_landing_that_was_not_finished_is_in_no_table(tmp_path, inline):
    """A process that is killed while it lands leaves its unfinished folder; the next one lands the records anew."""
    folder = tmp_path / "in"
    folder.mkdir()
    write(rodents(500).with_columns(t=pl.lit(None)), folder / "0.parquet")
    write(rodents(500), folder / "1.parquet")
    (folder / "_END").touch()
    run = launch.run(on_folder(folder), on="real", out=tmp_path / "run")
    assert run.quarantine.height == 500
    shutil.copytree(tmp_path / "run" / "samples" / "00000", tmp_path / "run" / "samples" / "00001.4711.tmp")
    assert tc.Run.load(tmp_path / "run").quarantine.height == 500
