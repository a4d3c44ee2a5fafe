"""What lands does not depend on how the records came, and every record is somewhere once."""

from __future__ import annotations

import math
from itertools import pairwise
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import polars as pl
from hypothesis import given, settings
from hypothesis import strategies as st

from real.sources.landing import Window, land, sort_in
from real.sources.protocol import Arrival, Fetched
from twinclock.folder import FolderConfig
from twinclock.landed import LandedSamples
from twinclock.lateness import reorder
from twinclock.stream import RecordedStream

EMPTY = pl.DataFrame(schema={"t": pl.Float64, "n": pl.Float64, "y": pl.String})


def arrival(times, numbers, keys=None) -> Arrival:
    frame = pl.DataFrame(
        {"t": list(map(float, times)), "n": list(map(float, numbers)), "y": ["a"] * len(times)}, schema=EMPTY.schema
    )
    return Arrival(
        source="file",
        origin={"file": str(numbers)},
        rows=frame,
        keys=None if keys is None else pl.Series("key", list(map(str, keys)), pl.String),
        lines=np.array(numbers, np.int64),
        texts=lambda rows: [str(numbers[row]) for row in rows],
    )


def split(times, cuts):
    """The records, numbered in the order of coming, as files."""
    edges = [0, *sorted(set(cuts)), len(times)]
    return [arrival(times[a:b], list(range(a, b))) for a, b in pairwise(edges) if b > a]


def fresh(keys=False):
    known = pl.DataFrame(schema={"key": pl.String, "ts": pl.Float64}) if keys else None
    return Window(-math.inf, -math.inf, EMPTY, known)


@settings(derandomize=True, deadline=None, max_examples=100)
@given(
    st.lists(st.tuples(st.integers(0, 10**6), st.floats(0, 9)), min_size=1, max_size=30, unique_by=lambda row: row[0]),
    st.lists(st.integers(1, 29), max_size=6),
    st.lists(st.integers(1, 6), max_size=6),
)
def test_any_split_and_any_order_within_the_lateness_land_the_same(rows, cuts, visits):
    """No record comes more than 10 s after one that is newer by so much, so none is late, however they are cut."""
    times = sorted(ts / 10.0 for ts, _ in rows)
    delays = [delay for _, delay in rows]
    order = sorted(range(len(times)), key=lambda i: times[i] + delays[i])
    files = split([times[i] for i in order], [cut for cut in cuts if cut < len(times)])
    window, landed, refused = fresh(), [], []
    while files:
        take = visits.pop() if visits else len(files)
        window, handed_over, more = sort_in(window, files[:take], time="t", allowed_lateness_s=10.0, is_last=False)
        files, refused = files[take:], refused + more
        landed += handed_over["t"].to_list()
        assert all(ts > window.watermark for ts in window.held["t"])
    _, rest, _ = sort_in(window, [], time="t", allowed_lateness_s=10.0, is_last=True)
    assert landed + rest["t"].to_list() == times
    assert refused == []


@settings(derandomize=True, deadline=None, max_examples=100)
@given(
    st.lists(st.integers(0, 30), min_size=1, max_size=40),
    st.lists(st.integers(1, 39), max_size=8),
    st.sampled_from([0.0, 3.0, 12.0]),
)
def test_one_record_a_file_is_judged_as_rows_of_a_table_are(times, cuts, allowed_s):
    """And every record is handed over or turned away, exactly once, wherever the landings end."""
    files = split(times, range(1, len(times)))
    edges = [0, *sorted(cut for cut in set(cuts) if cut < len(times)), len(times)]
    window, landed, refused = fresh(), [], []
    for a, b in pairwise(edges):
        window, rows, more = sort_in(
            window, files[a:b], time="t", allowed_lateness_s=allowed_s, is_last=b == len(times)
        )
        landed += rows.select("t", "n").rows()
        refused += [each.line for each in more]
    expected = reorder(np.array(times, float), allowed_s)
    assert landed == [(ts, float(n)) for ts, n in zip(expected.timestamps, expected.rows, strict=True)]
    assert sorted([*(int(n) for _, n in landed), *refused]) == list(range(len(times)))


@settings(derandomize=True, deadline=None, max_examples=100)
@given(
    st.lists(st.tuples(st.integers(0, 12), st.integers(0, 5)), min_size=1, max_size=40),
    st.lists(st.integers(1, 39), max_size=8),
)
def test_no_two_records_with_one_key_land_within_the_lateness(rows, cuts):
    times, keys = zip(*rows, strict=True)
    edges = [0, *sorted(cut for cut in set(cuts) if cut < len(rows)), len(rows)]
    window, landed, num_refused, marks = fresh(keys=True), [], 0, -math.inf
    for a, b in pairwise(edges):
        files = [arrival(times[a:b], list(range(a, b)), keys[a:b])]
        alive = {key for ts, key in landed if ts >= marks}
        window, _, refused = sort_in(window, files, time="t", allowed_lateness_s=4.0, is_last=False)
        num_refused += len(refused)
        turned_away = {each.line: each.reason for each in refused}
        for n in range(a, b):
            if times[n] < marks:
                assert turned_away[n] == "late"
            elif keys[n] in alive:
                assert turned_away[n] == "duplicate"
            else:
                assert n not in turned_away
                alive.add(keys[n])
                landed.append((times[n], keys[n]))
        marks = window.watermark
    assert len(landed) + num_refused == len(rows)


def test_the_stream_of_landings_is_that_of_all_their_rows():
    times = [1.0, 2.0, 2.0, 5.0, 5.0, 5.0, 9.0]
    config = FolderConfig(path="unused", time="t", label="y", features={"numeric": ["n"]})
    with TemporaryDirectory() as folder:
        samples = LandedSamples(Path(folder) / "samples", config)
        for part in ([1.0], [2.0, 2.0], [], [5.0, 5.0], [5.0, 9.0]):
            numbers = list(range(len(part)))
            land(
                samples,
                Fetched([arrival(part, numbers)], {"files": 1}, False),
                empty=EMPTY,
                has_keys=False,
                time="t",
                allowed_lateness_s=0.0,
                now=3.0,
            )
        expected = RecordedStream(np.array(times))
        for stream in (samples, LandedSamples(Path(folder) / "samples", config)):
            assert stream.num_samples == 7
            for first in range(8):
                for stop in range(first, 8):
                    assert stream.timestamps(first, stop).tolist() == times[first:stop]
                    for ts in (0.0, 1.0, 2.0, 3.0, 5.0, 9.0, 10.0):
                        found = stream.first_at_or_after(ts, first, stop)
                        assert found == expected.first_at_or_after(ts, first, stop), (ts, first, stop)
            assert [stream.timestamp(position) for position in range(7)] == times
            assert stream.table().timestamps.tolist() == times
            assert stream.table().frame.height == 7
