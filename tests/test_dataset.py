from __future__ import annotations

import datetime as dt
import os
from decimal import Decimal

import numpy as np
import polars as pl
import pytest

from twinclock import dataset
from twinclock.dataset import DATA_FOLDER, Bundled, FeatureColumns, TableConfig, fingerprint, load_table
from twinclock.errors import DataError

COLUMNS = {"time": "t", "label": "y", "features": {"numeric": ["x"], "categorical": ["c"]}}


@pytest.fixture
def write(tmp_path):
    def write_table(**changes):
        columns = {"t": [0, 1, 1, 5], "y": ["a", "b", "a", "b"], "x": [1.0, 2.0, 3.0, 4.0], "c": ["u", "v", "u", None]}
        columns |= changes
        file = tmp_path / "samples.parquet"
        pl.DataFrame({name: values for name, values in columns.items() if values is not None}).write_parquet(file)
        return TableConfig(path=str(file), **COLUMNS)

    return write_table


def error_of(config: TableConfig) -> str:
    with pytest.raises(DataError) as caught:
        load_table(config)
    text = str(caught.value)
    assert "\n" not in text
    assert config.file.name in text
    return text


def test_table_keeps_order_and_columns(write):
    table = load_table(write())
    assert table.num_samples == 4
    assert not table.is_calendar
    assert table.timestamps.tolist() == [0.0, 1.0, 1.0, 5.0]
    assert table.stream().first_at_or_after(1.0, 0, 4) == 1
    assert table.frame.columns == ["x", "c", "y"]
    assert table.rows([(3, 4), (0, 2)])["x"].to_list() == [4.0, 1.0, 2.0]
    assert table.rows([]).height == 0
    assert table.take(np.array([2, 0]))["y"].to_list() == ["a", "a"]


@pytest.mark.parametrize(
    "labels",
    [
        ["b", "a", "c", "b"],
        pl.Series(["b", "a", "c", "b"], dtype=pl.Categorical),
        [2, -1, 30, 2],
        [0.5, 0.25, 7.0, 0.5],
        [dt.date(2000, 1, day) for day in (3, 2, 9, 3)],
    ],
)
def test_labels_are_numbered_in_ascending_order(write, labels):
    table = load_table(write(y=labels))
    assert table.label_ranks(np.array([3, 1, 2, 0])).tolist() == [2, 1, 3, 2]
    assert table.label_ranks(np.array([2, 0])).tolist() == [2, 1]


def test_limit_takes_the_first_rows(write):
    table = load_table(write().model_copy(update={"limit": 3}))
    assert table.timestamps.tolist() == [0.0, 1.0, 1.0]


@pytest.mark.parametrize(
    ("times", "seconds", "is_calendar"),
    [
        ([dt.date(1969, 12, 31), dt.date(1970, 1, 2)], [-86_400.0, 86_400.0], True),
        ([dt.datetime(1970, 1, 1, 0, 0, 1, 500_000), dt.datetime(1970, 1, 1, 0, 1)], [1.5, 60.0], True),
        (pl.Series([1, 2_500], dtype=pl.Datetime("ms", "UTC")), [0.001, 2.5], True),
        (pl.Series([1_500_000_000, 2_000_000_000], dtype=pl.Datetime("ns")), [1.5, 2.0], True),
        ([0.25, 0.5], [0.25, 0.5], False),
        ([Decimal("1.5"), Decimal("2.5")], [1.5, 2.5], False),
    ],
)
def test_time_columns_become_seconds(write, times, seconds, is_calendar):
    table = load_table(write(t=times, y=[0, 1], x=[1, 2], c=[True, False]))
    assert table.timestamps.tolist() == seconds
    assert table.is_calendar == is_calendar


def test_features_may_hold_nulls_and_numbers_that_are_none(write):
    table = load_table(write(x=[None, float("nan"), float("inf"), 1.0], c=["u", None, "", "v"]))
    assert table.rows([(0, 4)])["x"].null_count() == 1


def test_bundled_data_need_only_their_name():
    table = load_table(TableConfig(dataset="portal_rodents"))
    assert table.num_samples == 34_247
    assert table.columns.label == "species_id"
    assert not {"genus", "record_id", "species_id"} & set(table.columns.features.names)
    flights = load_table(TableConfig(dataset="nycflights13"))
    assert flights.num_samples == 336_776
    assert flights.columns.label == "late15"
    assert not {"arr_delay", "cancelled", "late15"} & set(flights.columns.features.names)
    for each in (table, flights):
        assert each.is_calendar
        assert set(each.frame.columns) == {*each.columns.features.names, each.columns.label}


def test_bundled_columns_can_be_chosen_otherwise():
    config = TableConfig(dataset="portal_rodents", label="genus", features={"numeric": ["weight"]}, limit=10)
    table = load_table(config)
    assert table.frame.columns == ["weight", "genus"]
    assert table.columns.time == "t"


def test_bundled_data_come_with_origin_and_licence():
    notes = (DATA_FOLDER / "README.md").read_text()
    for name in Bundled.__args__:
        assert f"## {name}" in notes
    for word in ("CC0", "10.6084/m9.figshare.1314459", "Leakage", "nycflights13"):
        assert word in notes


def test_missing_file(tmp_path):
    assert "no such file" in error_of(TableConfig(path=str(tmp_path / "nope.parquet"), **COLUMNS))
    assert "is a folder" in error_of(TableConfig(path=str(tmp_path), **COLUMNS))


@pytest.mark.parametrize("content", [b"", b"t,y\n1,2\n", b"PAR1" + bytes(40)])
def test_a_file_that_is_not_parquet(tmp_path, content):
    file = tmp_path / "samples.parquet"
    file.write_bytes(content)
    assert "can't be read as Parquet" in error_of(TableConfig(path=str(file), **COLUMNS))


def test_a_damaged_file(write):
    config = write(x=np.random.default_rng(0).random(4))
    content = config.file.read_bytes()
    size = int.from_bytes(content[-8:-4], "little")  # of the footer, which stays whole
    config.file.write_bytes(content[:4] + bytes(len(content) - 12 - size) + content[-8 - size :])
    assert "can't be read as Parquet" in error_of(config)


def test_empty_table(write):
    assert "no rows" in error_of(write(**{name: pl.Series([], dtype=pl.Int64) for name in "tyxc"}))


def test_missing_columns_are_all_named_with_near_matches(write):
    text = error_of(write(x=None, y=None, weight=[1, 2, 3, 4], yy=["a", "b", "a", "b"]))
    assert "no column 'y' (asked for by data.label); did you mean yy?" in text
    assert "no column 'x' (asked for by data.features.numeric); known: t, c, weight, yy" in text


def test_unsorted_times_name_the_row(write):
    text = error_of(write(t=[0, 5, 3, 1]))
    assert "row 2 (counted from 0) has 3, after 5" in text
    text = error_of(write(t=[dt.date(2000, 1, 2), dt.date(2000, 1, 1), dt.date(2000, 1, 3), dt.date(2000, 1, 3)]))
    assert "row 1 (counted from 0) has 2000-01-01, after 2000-01-02" in text


@pytest.mark.parametrize(
    ("times", "what"), [([0, 1, None, 3], "null in row 2"), ([0.0, float("nan"), 1.0, 2.0], "row 1")]
)
def test_times_must_be_there(write, times, what):
    assert what in error_of(write(t=times))


@pytest.mark.parametrize("labels", [["a", None, None, "b"], [1.0, float("nan"), None, 0.0]])
def test_labels_must_be_there(write, labels):
    assert "null in 2 of 4 rows, the first is row 1" in error_of(write(y=labels))


def test_columns_of_the_wrong_type(write):
    assert "column 'x' is String, expected a number" in error_of(write(x=["1", "2", "3", "4"]))
    assert "time column 't' is String" in error_of(write(t=["0", "1", "2", "3"]))
    assert "column 'c' is List(Int64), expected one value a row" in error_of(write(c=[[1], [2], [3], [4]]))


def test_the_label_is_no_feature(write):
    config = write().model_copy(update={"label": "x"})
    assert "'x' is the label, it can't be a feature as well" in error_of(config)


def test_features_are_named_once():
    with pytest.raises(ValueError, match="got x more than once"):
        FeatureColumns(numeric=("x",), categorical=("x",))


# Fingerprints


def test_a_fingerprint_is_of_the_content(write):
    config = write()
    before = fingerprint(config)
    content = config.file.read_bytes()
    os.utime(config.file, (0, 0))
    assert fingerprint(config) == before
    config.file.write_bytes(content[:40] + bytes([content[40] ^ 1]) + content[41:])
    assert fingerprint(config) != before
    config.file.write_bytes(content)
    assert fingerprint(config) == before


@pytest.mark.parametrize("size_bytes", [0, 1, 5, 9, 10, 11, 19, 20, 21, 35])
def test_every_byte_of_the_ends_counts_and_so_does_the_size(tmp_path, monkeypatch, size_bytes):
    """With ends of 10 bytes: of a file of up to 20 bytes every byte is in one of them."""
    monkeypatch.setattr(dataset, "_END_BYTES", 10)
    file = tmp_path / "rows.parquet"
    config = TableConfig(path=str(file), **COLUMNS)
    found = set()
    for changed in range(-1, size_bytes):
        file.write_bytes(bytes(1 if position == changed else 0 for position in range(size_bytes)))
        found.add(fingerprint(config))
    assert len(found) == 1 + min(size_bytes, 20)
    file.write_bytes(bytes(size_bytes + 1))
    assert fingerprint(config) not in found


def test_a_file_without_a_fingerprint_is_told(tmp_path):
    with pytest.raises(DataError, match=r"rows.parquet: can't be read \(No such file or directory\), expected a file"):
        fingerprint(TableConfig(path=str(tmp_path / "rows.parquet"), **COLUMNS))


def test_arrays_of_a_fixed_shape_are_kept(write):
    pixels = np.arange(4 * 6, dtype=np.uint8).reshape(4, 2, 3)
    config = write(x=pl.Series(pixels)).model_copy(update={"features": FeatureColumns(arrays=("x",))})
    table = load_table(config)
    assert (table.take(np.array([3, 0]))["x"].to_numpy() == pixels[[3, 0]]).all()
    assert (table.rows([(2, 4), (0, 1)])["x"].to_numpy() == pixels[[2, 3, 0]]).all()


@pytest.mark.parametrize(
    ("values", "data_type", "told"),
    [
        ([[1, 2], [1], [1], [1]], pl.List(pl.Int64), "'x' is List(Int64), expected numbers of a fixed shape"),
        ([["a"], ["b"], ["c"], ["d"]], pl.Array(pl.String, 1), "expected numbers of a fixed shape"),
        ([[True]] * 4, pl.Array(pl.Boolean, 1), "expected numbers of a fixed shape"),
        ([1.0] * 4, pl.Float64, "'x' is Float64, expected numbers of a fixed shape"),
        ([[1, 2], None, [1, 2], [1, 2]], pl.Array(pl.Int8, 2), "'x' is null, or not finite, in row 1 (counted from 0)"),
        ([[1, 2], [1, 2], [1, None], [1, 2]], pl.Array(pl.Int8, 2), "not finite, in row 2"),
        ([[1, 2], [1, 2], [1, 2], [float("nan"), 1]], pl.Array(pl.Float32, 2), "not finite, in row 3"),
        ([[float("-inf"), 2], [1, 2], [1, 2], [1, 2]], pl.Array(pl.Float64, 2), "not finite, in row 0"),
    ],
)
def test_arrays_with_gaps_and_what_is_no_array_are_refused(write, values, data_type, told):
    config = write(x=pl.Series(values, dtype=data_type))
    assert told in error_of(config.model_copy(update={"features": FeatureColumns(arrays=("x",))}))
