"""The watched folder: when a file is complete, and what is wrong with what is in it."""

from __future__ import annotations

import os
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from real.sources import folder as folders
from real.sources.columns import Wanted
from real.sources.folder import GIVE_UP, FolderSource
from real.sources.landing import land
from real.sources.text import MAX_LINE_BYTES
from twinclock.folder import FolderConfig
from twinclock.landed import LandedSamples, read_parquet

SETTLE_S = 2.0


class Watched:
    """A folder, and a run's samples; the clock stands still but where a test moves it."""

    def __init__(self, tmp_path: Path, task: str = "classification", **changes) -> None:
        self.folder = tmp_path / "in"
        self.folder.mkdir()
        self.task, self.run = task, tmp_path / "samples"
        values = {"path": str(self.folder), "time": "t", "label": "y", "features": {"numeric": ["x"]}, **changes}
        self.config = FolderConfig.model_validate(values)
        self.now = 0.0
        self.restart()

    def restart(self) -> None:
        """As after a crash: only what landed is known."""
        self.samples = LandedSamples(self.run, self.config)
        self.source = FolderSource(self.config, self.task, self.samples)

    def look(self, limit: int = 10**6) -> bool:
        """Land what there is; was there something?"""
        fetched = self.source.fetch(None, self.now, limit)
        assert fetched is None or self.source.has_news(None, self.now)
        if fetched is None:
            return False
        wanted = Wanted.of(self.config, self.task)
        land(
            self.samples,
            fetched,
            empty=pl.DataFrame(schema=wanted.schema),
            has_keys=bool(wanted.key),
            time="t",
            allowed_lateness_s=self.config.allowed_lateness,
            now=self.now,
        )
        return True

    def look_when_settled(self) -> None:
        self.look()
        self.now += SETTLE_S
        self.look()

    def put(self, name: str, content: str | bytes) -> None:
        (self.folder / name).write_bytes(content if isinstance(content, bytes) else content.encode())

    def times(self) -> list[float]:
        return [] if not self.samples.landings else self.samples.timestamps(0, self.samples.num_samples).tolist()

    def quarantine(self) -> list[tuple]:
        frames = [read_parquet(file) for file in sorted(self.run.glob("*/quarantine.parquet"))]
        return pl.concat(frames).select("source", "line", "reason", "detail").rows() if frames else []

    def reasons(self) -> list[tuple]:
        return [row[:3] for row in self.quarantine()]


@pytest.fixture
def watched(tmp_path):
    return Watched(tmp_path)


def rows(*times: float, label: object = "a") -> pl.DataFrame:
    return pl.DataFrame({"t": [float(ts) for ts in times], "x": [1.5] * len(times), "y": [label] * len(times)})


def test_a_parquet_file_is_complete_when_it_has_its_footer(watched):
    rows(1, 2).write_parquet(watched.folder / "a.parquet")
    whole = (watched.folder / "a.parquet").read_bytes()
    for length in (0, 3, 50, len(whole) - 1):
        watched.put("a.parquet", whole[:length])
        watched.now += SETTLE_S
        assert not watched.look()
    watched.put("a.parquet", whole)
    assert watched.look()
    assert watched.times() == [1.0, 2.0]
    assert not watched.look()


@pytest.mark.parametrize("name", ["a.csv", "a.jsonl"])
def test_a_text_file_is_complete_when_it_ends_and_has_not_changed(watched, name):
    head, lines = ("t,x,y\n", ["1,2,a\n", "3,4,b\n"])
    if name == "a.jsonl":
        head, lines = "", ['{"t": 1, "x": 2, "y": "a"}\n', '{"t": 3, "x": 4.5, "y": "b"}\n']
    watched.put(name, head + lines[0] + lines[1][:-1])
    for _ in range(3):
        watched.now += SETTLE_S
        assert not watched.look()
    watched.put(name, head + "".join(lines))
    assert not watched.look()
    watched.now += SETTLE_S - 0.01
    assert not watched.look()
    watched.now += 0.01
    assert watched.look()
    assert watched.times() == [1.0, 3.0]


def test_the_end_makes_every_file_complete(watched):
    watched.put("a.csv", "t,x,y\n1,2,a\n3,4,b")
    assert not watched.look()
    watched.put("_END", "")
    assert watched.look()
    assert watched.times() == [1.0, 3.0]
    assert watched.samples.has_ended


def test_what_stays_incomplete_is_given_up(watched):
    watched.put("a.csv", "t,x,y\n1,2,a\n3,4")
    watched.put("b.parquet", b"PAR1 and no more")
    watched.put("c.csv", "")
    watched.look()
    watched.now += GIVE_UP * SETTLE_S
    assert watched.look()
    assert watched.times() == [1.0]
    assert watched.reasons() == [
        ("a.csv", 3, "malformed"),
        ("b.parquet", None, "malformed"),
        ("c.csv", None, "malformed"),
    ]


def test_names_of_unfinished_files_are_left_alone(watched):
    for name in (".a.csv", "_a.csv", "a.csv.tmp", "a.csv.part"):
        watched.put(name, "t,x,y\n1,2,a\n")
    (watched.folder / "archive").mkdir()
    watched.look_when_settled()
    assert not watched.samples.landings


def test_files_are_read_in_the_order_of_their_names_and_once_over_restarts(watched):
    for name, ts in (("c", 3), ("a", 1), ("b", 2)):
        rows(ts).write_parquet(watched.folder / f"{name}.parquet")
    assert watched.look(limit=1)
    assert watched.times() == [1.0]
    watched.restart()
    assert watched.look(limit=1)
    watched.restart()
    (watched.folder / "a.parquet").unlink()
    assert watched.look()
    watched.restart()
    assert not watched.look()
    assert watched.times() == [1.0, 2.0, 3.0]


def test_a_file_that_changes_after_it_was_read_is_told_once(watched):
    rows(1).write_parquet(watched.folder / "a.parquet")
    watched.look()
    os.utime(watched.folder / "a.parquet", ns=(1, 1))
    assert not watched.look(), "only touched"
    rows(1, 2, 3).write_parquet(watched.folder / "a.parquet")
    assert watched.look()
    rows(1, 2, 3, 4).write_parquet(watched.folder / "a.parquet")
    assert not watched.look()
    watched.restart()
    assert not watched.look()
    assert watched.reasons() == [("a.parquet", None, "changed")]
    assert watched.times() == [1.0]


@pytest.mark.parametrize(
    ("line", "reason", "detail"),
    [
        ("1,2", "malformed", "2 fields, expected 3"),
        ("1,2,a,b", "malformed", "4 fields, expected 3"),
        ('1,2,"a', "malformed", "no CSV"),
        ("1,2,\0", "malformed", "has a NUL byte"),
        (b"1,2,\xff", "malformed", "is no UTF-8"),
        ("1," + "2" * (MAX_LINE_BYTES + 5) + ",a", "malformed", f"longer than {MAX_LINE_BYTES} bytes"),
        ("1,two,a", "schema", "'x' is \"two\", expected a number"),
        ("1,2,", "schema", "label 'y' is missing"),
        (",2,a", "schema", "time 't' is"),
        ("nan,2,a", "schema", "time 't' is"),
        ("inf,2,a", "schema", "time 't' is"),
        ("yesterday,2,a", "schema", "expected a number of seconds, a date or a datetime"),
    ],
)
def test_a_wrong_line_of_csv_is_kept_aside_alone(watched, line, reason, detail):
    line = line if isinstance(line, bytes) else line.encode()
    watched.put("a.csv", b"\xef\xbb\xbft,x,y\r\n7,2,a\r\n" + line + b"\r\n\r\n8,,b\r\n")
    watched.look_when_settled()
    assert watched.times() == [7.0, 8.0]
    ((source, number, found, told),) = watched.quarantine()
    assert (source, number, found) == ("a.csv", 3, reason)
    assert detail in told
    (record,) = read_parquet(watched.run / "00000" / "quarantine.parquet")["record"]
    assert len(record) <= 1000


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ('{"t": 1, "x": 2}', "schema"),
        ('{"t": 1, "x": "2", "y": "a"}', "schema"),
        ('{"t": 1, "x": 2, "y": ["a"]}', "schema"),
        ('{"t": true, "x": 2, "y": "a"}', "schema"),
        ('{"t": NaN, "x": 2, "y": "a"}', "schema"),
        ('{"t": 1, "x": 2, "y": null}', "schema"),
        ('{"t": 1, "x": 2, "y": NaN}', "schema"),
        ('{"t": 1, "x": 2, "y": "\\ud800"}', "malformed"),
        ('[1, 2, "a"]', "malformed"),
        ("{", "malformed"),
        ("[" * 100_000, "malformed"),
        ('{"t": ' + "9" * 5000 + ', "x": 2, "y": "a"}', "malformed"),
    ],
)
def test_a_wrong_line_of_json_is_kept_aside_alone(watched, line, reason):
    watched.put("a.jsonl", f'{{"t": 7, "x": null, "y": "a"}}\n{line}\n{{"t": 8, "x": true, "y": 5, "z": 1}}\n')
    watched.look_when_settled()
    assert watched.times() == [7.0, 8.0]
    assert watched.reasons() == [("a.jsonl", 2, reason)]
    assert watched.samples.table().frame.rows() == [(None, "a"), (1.0, "5")]


def test_a_json_key_that_is_not_a_number_is_missing(tmp_path):
    watched = Watched(tmp_path, key="k")
    watched.put(
        "a.jsonl",
        "".join(f'{{"t": {ts}, "x": NaN, "y": "a", "k": {key}}}\n' for ts, key in enumerate((1, "NaN", 2, "NaN"))),
    )
    watched.look_when_settled()
    assert watched.times() == [0.0, 2.0]
    assert watched.quarantine() == [("a.jsonl", line, "schema", "key 'k' is missing") for line in (2, 4)]


def test_rows_of_parquet_that_are_wrong_are_kept_aside(watched):
    frame = pl.DataFrame(
        {"t": [1.0, None, float("inf"), 4.0, 5.0], "x": [1, 2, 3, 4, 5], "y": ["a", "b", "c", None, "e"]}
    )
    frame.write_parquet(watched.folder / "a.parquet")
    watched.look()
    assert watched.times() == [1.0, 5.0]
    assert watched.reasons() == [("a.parquet", row, "schema") for row in (2, 3, 4)]


@pytest.mark.parametrize(
    ("frame", "detail"),
    [
        (pl.DataFrame({"t": [1.0], "x": [1.0]}), "no column 'y'"),
        (pl.DataFrame({"t": [1.0], "x": ["1"], "y": ["a"]}), "column 'x' is String, expected numbers"),
        (pl.DataFrame({"t": [[1.0]], "x": [1.0], "y": ["a"]}), "expected one value a row"),
    ],
)
def test_parquet_of_another_schema_is_one_line(watched, frame, detail):
    frame.write_parquet(watched.folder / "a.parquet")
    watched.look()
    ((source, line, reason, told),) = watched.quarantine()
    assert (source, line, reason) == ("a.parquet", None, "schema")
    assert detail in told


def test_more_rows_than_memory_might_hold_are_refused_by_their_number(watched, monkeypatch):
    monkeypatch.setattr(folders, "MAX_ROWS", 3)
    rows(1, 2, 3, 4).write_parquet(watched.folder / "a.parquet")
    watched.put("b.csv", "t,x,y\n" + "1,2,a\n" * 4)
    watched.look_when_settled()
    assert watched.times() == []
    assert [row[:3] for row in watched.quarantine()] == [
        ("a.parquet", None, "schema"),
        ("b.csv", None, "malformed"),
    ]
    assert watched.samples.num_quarantined(0, 2) == 8


def test_a_broken_parquet_file_is_one_line(watched):
    rows(*range(500)).write_parquet(watched.folder / "a.parquet", compression="uncompressed")
    whole = bytearray((watched.folder / "a.parquet").read_bytes())
    whole[4:60] = os.urandom(56)
    whole[-60:-20] = b"\xff" * 40
    watched.put("a.parquet", bytes(whole))
    watched.look()
    assert watched.reasons() == [("a.parquet", None, "malformed")]


def test_what_is_no_file_is_refused(watched, tmp_path):
    (watched.folder / "folder.csv").mkdir()
    rows(1).write_parquet(tmp_path / "secret.parquet")
    (watched.folder / "link.parquet").symlink_to(tmp_path / "secret.parquet")
    os.mkfifo(watched.folder / "pipe.csv")
    watched.put("data.csv.gz", b"\x1f\x8b")
    assert watched.look()
    assert [row[0] for row in watched.quarantine()] == ["data.csv.gz", "folder.csv", "link.parquet", "pipe.csv"]
    assert watched.times() == []
    assert not watched.look()


def test_names_may_be_anything(watched):
    for name in (b"two\nlines.parquet", b"\xff.parquet", b"a'b\".parquet"):
        rows(1, label=None).with_columns(pl.col("y").cast(pl.String)).write_parquet(watched.folder / "_written")
        (watched.folder / "_written").rename(watched.folder / os.fsdecode(name))
    assert watched.look()
    watched.restart()
    assert not watched.look()
    assert sorted(row[0] for row in watched.quarantine()) == ["\\xff.parquet", "a'b\".parquet", "two\nlines.parquet"]


def test_times_of_all_kinds_are_seconds_since_1970(watched):
    moment = datetime(2024, 2, 29, 12, tzinfo=UTC)
    dates = pl.Series("t", [moment])
    seconds = pl.Series("t", [moment.timestamp()])
    for number, times in enumerate((dates, dates.dt.cast_time_unit("ns"), seconds)):
        pl.DataFrame([times]).with_columns(x=1, y=pl.lit("a")).write_parquet(watched.folder / f"{number}.parquet")
    watched.put("3.csv", "t,x,y\n2024-02-29T12:00:00,1,a\n2024-02-29 13:00:00+01:00,1,a\n2024-02-29T12:00:00Z,1,a\n")
    watched.look_when_settled()
    assert watched.times() == [moment.timestamp()] * 6


def test_the_label_of_a_regression_is_a_number(tmp_path):
    watched = Watched(tmp_path, task="regression")
    watched.put("a.csv", "t,x,y\n1,2,0.5\n2,2,b\n3,2,nan\n4,2,inf\n")
    watched.look_when_settled()
    assert watched.times() == [1.0]
    assert watched.reasons() == [("a.csv", line, "schema") for line in (3, 4, 5)]


def test_a_file_that_may_not_be_read_is_tried_again_then_told(watched, monkeypatch):
    rows(1).write_parquet(watched.folder / "a.parquet")
    rows(2).write_parquet(watched.folder / "b.parquet")
    digest = folders._digest

    def refusing(file: Path) -> str:
        if file.name == "a.parquet":
            raise PermissionError(13, "Permission denied")
        return digest(file)

    monkeypatch.setattr(folders, "_digest", refusing)
    for _ in range(12):
        watched.look()
    assert watched.times() == [2.0]
    assert watched.reasons() == [("a.parquet", None, "malformed")]


def test_duplicates_are_known_by_their_key_as_long_as_they_could_come(tmp_path):
    watched = Watched(tmp_path, key=["t", "x"], allowed_lateness=10.0)
    rows(20, 15, 15).write_parquet(watched.folder / "a.parquet")
    watched.look()
    watched.restart()
    rows(15, 20, 9, 16).write_parquet(watched.folder / "b.parquet")
    watched.look()
    assert watched.reasons() == [
        ("a.parquet", 3, "duplicate"),
        ("b.parquet", 3, "late"),
        ("b.parquet", 1, "duplicate"),
        ("b.parquet", 2, "duplicate"),
    ]
    assert watched.times() == []  # 20 - 10: none is sure yet
    watched.put("_END", "")
    watched.look()
    assert watched.times() == [15.0, 16.0, 20.0]
    assert np.isclose(watched.samples.watermark, 20.0)
