"""The folder of a run: nothing half-written looks whole, and one process at a time has it."""

from __future__ import annotations

import fcntl
import json
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier

import polars as pl
import pytest

import twinclock as tc
from twinclock import launch, records
from twinclock.errors import RunError
from twinclock.run_folder import RunFolder, StoredTables, make_folder, read_header, replace_durably
from twinclock.schemas import SCHEMAS

CONFIG = {
    "data": {"kind": "uniform", "num_samples": 2000, "every": 60},
    "trigger": {"kind": "amount", "n": 500},
    "batching": {"kind": "fixed", "n": 100},
}
HEADER = {"state": "running", "executor": "sim"}


def tables(serials: list[int]) -> dict[str, pl.DataFrame]:
    made = {name: pl.DataFrame(schema=schema) for name, schema in SCHEMAS.items()}
    made["triggers"] = pl.DataFrame({"trigger": serials}, schema_overrides={"trigger": pl.Int64}).select(
        [pl.col(name) if name == "trigger" else pl.lit(None, kind).alias(name) for name, kind in triggers().items()]
    )
    return made


def triggers() -> dict[str, pl.DataType]:
    return dict(SCHEMAS["triggers"])


def test_a_folder_is_a_run_once_its_header_is_written(tmp_path):
    with RunFolder.create(tmp_path / "a" / "run") as folder:
        folder.write_text("config.yaml", "x: 1\n")
        with pytest.raises(RunError, match=r"no run.json here; expected the folder of a run"):
            read_header(folder.path)
        folder.write_header(HEADER)
        folder.update_header(state="suspended", note="é")
    assert read_header(tmp_path / "a" / "run") == {**HEADER, "format": 1, "state": "suspended", "note": "é"}


def test_what_holds_something_is_not_taken(tmp_path):
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(RunError, match="not empty; expected a new folder for the run"):
        RunFolder.create(tmp_path)
    assert [file.name for file in tmp_path.iterdir()] == ["notes.txt"]


def test_a_place_that_can_not_be_written_is_told(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(RunError, match=r"file/run: can't be written \(Not a directory\); expected a writable folder"):
        RunFolder.create(tmp_path / "file" / "run")


def test_threads_that_need_the_same_folder_make_it_once(tmp_path):
    together = Barrier(4)

    def make(number: int) -> None:
        together.wait()
        make_folder(tmp_path / str(number) / "inner")

    with ThreadPoolExecutor(4) as threads:
        for number in range(50):
            assert list(threads.map(make, [number] * 4)) == [None] * 4
            assert (tmp_path / str(number) / "inner").is_dir()


def test_a_folder_that_is_made_by_another_meanwhile(tmp_path, monkeypatch):
    wanted, looked = tmp_path / "wanted", []

    def is_dir(path: Path) -> bool:
        if path == wanted and not looked:
            looked.append(os.mkdir(path))
            return False
        return os.path.isdir(path)

    monkeypatch.setattr(Path, "is_dir", is_dir)
    make_folder(wanted)
    assert looked


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_without_permission_is_told(tmp_path):
    tmp_path.chmod(0o500)
    with pytest.raises(RunError, match=r"can't be written \(Permission denied\)"):
        RunFolder.create(tmp_path / "run")


def test_one_process_at_a_time(tmp_path):
    with RunFolder.create(tmp_path) as folder:
        folder.write_header(HEADER)
        with pytest.raises(RunError, match="in use by another process"):
            RunFolder.reopen(tmp_path)
    RunFolder.reopen(tmp_path).close()


def test_a_run_that_finished_while_one_waited_for_it_is_not_taken(tmp_path, monkeypatch):
    with RunFolder.create(tmp_path) as folder:
        folder.write_header(HEADER)
    flock = fcntl.flock

    def finish_meanwhile(lock, operation):
        flock(lock, operation)
        (tmp_path / "run.json").write_text(json.dumps({**HEADER, "format": 1, "state": "finished"}))

    monkeypatch.setattr("fcntl.flock", finish_meanwhile)
    with pytest.raises(RunError, match="this run is finished; there is nothing to resume"):
        RunFolder.reopen(tmp_path)
    monkeypatch.undo()
    monkeypatch.setattr("twinclock.run_folder._ensure_unfinished", lambda path: None)
    RunFolder.reopen(tmp_path).close()  # it was let go again


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("{", "can't be read"),
        ("[]", "not the header of a run; expected format, state and executor in it"),
        ('{"state": "running"}', "not the header of a run; expected format, state and executor in it"),
        ('{"format": 99, "state": "running", "executor": "sim"}', "format 99, expected 1; made by another version"),
    ],
)
def test_a_header_that_is_none_is_told(tmp_path, text, told):
    (tmp_path / "run.json").write_text(text)
    with pytest.raises(RunError, match=rf"run.json: {told}") as error:
        read_header(tmp_path)
    assert "\n" not in str(error.value)


def test_a_file_is_whole_or_as_it_was(tmp_path):
    file = tmp_path / "a.txt"
    with replace_durably(file) as unfinished:
        unfinished.write_text("one")

    def fail_halfway():
        with replace_durably(file) as unfinished:
            unfinished.write_text("tw")
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail_halfway()
    assert {each.name: each.read_text() for each in tmp_path.iterdir()} == {"a.txt": "one"}


def test_tables_grow_by_parts_and_can_begin_anew(tmp_path):
    with RunFolder.create(tmp_path) as folder:
        folder.write_tables(tables([0, 1]))
        folder.write_tables(tables([2]))
        assert StoredTables(tmp_path)["triggers"]["trigger"].to_list() == [0, 1, 2]
        assert StoredTables(tmp_path)["models"].schema == dict(SCHEMAS["models"])
        folder.drop_tables()
        folder.drop_tables()
        folder.write_tables(tables([5]))
        assert StoredTables(tmp_path)["triggers"]["trigger"].to_list() == [5]


def test_tables_can_be_taken_back_to_an_earlier_part(tmp_path):
    """What was left unfinished is gone as well; what was counted must be there."""
    with RunFolder.create(tmp_path) as folder:
        for number in range(4):
            folder.write_tables(tables([number]))
        counted = folder.num_files(2)
        (tmp_path / "tables" / "triggers" / "00002.parquet.tmp").write_text("unfinished")
        folder.drop_tables(2)
        assert (folder.num_parts, StoredTables(tmp_path)["triggers"]["trigger"].to_list()) == (2, [0, 1])
        assert len(list((tmp_path / "tables" / "triggers").iterdir())) == 2
        folder.write_tables(tables([7]))
        assert StoredTables(tmp_path)["triggers"]["trigger"].to_list() == [0, 1, 7]
        folder.ensure_files(2, counted)
        (tmp_path / "tables" / "triggers" / "00001.parquet").unlink()
        with pytest.raises(RunError, match="tables/triggers: 1 of 2 parts are missing"):
            folder.ensure_files(2, counted)


def test_a_table_that_can_not_be_read_is_told(tmp_path):
    with RunFolder.create(tmp_path) as folder:
        folder.write_tables(tables([0]))
    (tmp_path / "tables" / "triggers" / "00000.parquet").write_bytes(b"PAR1")
    stored = StoredTables(tmp_path)
    with pytest.raises(RunError, match="tables/triggers: can't be read"):
        stored["triggers"]


def test_a_table_is_read_when_it_is_first_asked_for_and_once(tmp_path):
    """So a run of any length is made, and its small tables read, in little memory."""
    with RunFolder.create(tmp_path) as folder:
        folder.write_tables(tables([0]))
        stored = StoredTables(tmp_path)
        assert set(stored) == set(SCHEMAS)
        assert len(stored) == len(SCHEMAS)
        (tmp_path / "tables" / "stage_runs" / "00000.parquet").unlink()
        folder.write_tables(tables([1]))
    assert stored["triggers"]["trigger"].to_list() == [0], "as far as there was when it was opened"
    assert stored["triggers"] is stored["triggers"]
    with pytest.raises(RunError, match="tables/stage_runs: can't be read"):
        stored["stage_runs"]
    with pytest.raises(KeyError):
        stored["no such table"]


LIMITED = """
import resource, sys
from twinclock.cli import main
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv.pop(1)),) * 2)
main()
"""


@pytest.mark.parametrize("max_bytes", [200, 3_000])
def test_a_full_disk_is_told_and_nothing_looks_finished(tmp_path, max_bytes):
    """No room for the configuration; or only for that, and not for the tables."""
    config, out = tmp_path / "config.yaml", tmp_path / "run"
    config.write_text(json.dumps(CONFIG))
    arguments = [str(max_bytes), "run", str(config), "--on", "sim", "--out", str(out), "--quiet"]
    done = subprocess.run([sys.executable, "-c", LIMITED, *arguments], capture_output=True, text=True)
    assert done.returncode == 2
    assert done.stderr.startswith(f"error: {out}: can't be written (")
    assert "File too large" in done.stderr
    assert done.stderr.count("\n") == 1
    assert not list(out.rglob("*.tmp"))
    assert not (out / "run.json").exists() or read_header(out)["state"] == "crashed"


def test_a_run_that_meets_a_bug_is_not_finished(tmp_path, monkeypatch):
    def broken(*_):
        raise ArithmeticError("a bug")

    monkeypatch.setitem(records._NOTES, "WAIT_FOR_TRAINING_COMPLETION", broken)
    with pytest.raises(ArithmeticError):
        tc.run(CONFIG, on="sim", out=tmp_path / "run")
    header = read_header(tmp_path / "run")
    assert (header["state"], header["error"]) == ("crashed", "ArithmeticError: a bug")
    assert "outcome" not in header
    assert tc.Run.load(tmp_path / "run").batches.height > 0


def test_a_deadlock_is_one_line(tmp_path, monkeypatch):
    monkeypatch.setattr("sim.executor.SimExecutor.next", lambda self: None)
    with pytest.raises(RunError, match=r"nothing is left to happen, but: .*; .*/run is unfinished"):
        tc.run(CONFIG, on="sim", out=tmp_path / "run")
    assert read_header(tmp_path / "run")["state"] == "crashed"


def test_an_interrupted_simulation_says_that_it_can_not_go_on(tmp_path, monkeypatch):
    def interrupted(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr("sim.executor.SimExecutor.next", interrupted)
    with pytest.raises(KeyboardInterrupt, match=r"interrupted; .*/run is unfinished"):
        tc.run(CONFIG, on="sim", out=tmp_path / "run")
    assert read_header(tmp_path / "run")["state"] == "interrupted"


def test_runs_without_a_name_for_their_folder_are_numbered(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "runs" / "demo-1").mkdir(parents=True)
    assert launch._free_folder("demo") == Path("runs/demo-2")
