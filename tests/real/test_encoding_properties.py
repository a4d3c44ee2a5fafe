"""What holds of every encoding, and of every one that extends it, whatever is in the rows."""

from __future__ import annotations

import json
import math

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from real.encoding import Encoding, fit_encoding
from twinclock.dataset import Columns, FeatureColumns

COLUMNS = Columns(
    time="t", label="y", features=FeatureColumns(numeric=("a", "b"), categorical=("c", "d"), arrays=("e",))
)
SCHEMA = {"a": pl.Float64, "b": pl.Int64, "c": pl.String, "d": pl.Float64, "e": pl.Array(pl.Float64, (2, 2))}
numbers = st.none() | st.floats(width=64)
categories = st.none() | st.sampled_from(["u", "v", "w", "", "null", "ü"])
arrays = st.none() | st.lists(st.lists(numbers, min_size=2, max_size=2), min_size=2, max_size=2)
rows = st.lists(
    st.tuples(numbers, st.none() | st.integers(-(2**63), 2**63 - 1), categories, numbers, arrays),
    min_size=1,
    max_size=8,
)
ways = st.sampled_from(["one_hot", "codes"])


def table(drawn: list[tuple]) -> pl.DataFrame:
    columns = zip(*drawn, strict=True)
    series = [pl.Series(name, list(values), dtype=SCHEMA[name]) for name, values in zip(SCHEMA, columns, strict=True)]
    return pl.DataFrame([*series, pl.Series("y", ["p"] * len(drawn))])


@settings(deadline=None)
@given(rows, rows, rows, ways)
def test_inputs_are_finite_and_what_is_known_stays(first, second, later, way):
    old = fit_encoding(table(first), COLUMNS, categorical=way)
    new = fit_encoding(table(second), COLUMNS, categorical=way, extending=old)
    for encoding in (old, new):
        assert Encoding.from_json(json.loads(json.dumps(encoding.to_json(), allow_nan=False))) == encoding
        for drawn in (first, second, later):
            inputs = encoding.features(table(drawn))
            assert inputs.shape == (len(drawn), encoding.num_inputs)
            assert np.isfinite(inputs).all()
    ours, theirs = old.features(table(first)), new.features(table(first))
    was_constant = [each.at for each in old.numeric if each.std == 0.0]
    was_constant += [at for each in old.arrays if each.std == 0.0 for at in range(each.at, each.at + each.size)]
    unmarked = [column for column in range(old.num_inputs) if column not in was_constant]
    assert (ours[:, unmarked] == theirs[:, unmarked]).all()
    assert fit_encoding(table(first), COLUMNS, categorical=way, extending=new) == new or was_constant


@settings(deadline=None)
@given(rows, rows)
def test_codes_lie_below_their_number_and_tell_categories_apart(training, later):
    encoding = fit_encoding(table(training), COLUMNS, categorical="codes")
    codes = encoding.features(table(training))[:, :2]
    assert (codes >= 1).all()
    for column, num_codes in enumerate(encoding.num_categories):
        assert (encoding.features(table(later))[:, column] < num_codes).all()
        values = [
            None if isinstance(row[2 + column], float) and math.isnan(row[2 + column]) else row[2 + column]
            for row in training
        ]
        assert len(set(codes[:, column])) == len({str(value) for value in values} if column else set(values))


@pytest.mark.parametrize("way", ["one_hot", "codes"])
def test_one_row_of_nothing_is_enough(way):
    nothing = table([(None, None, None, None, None)])
    encoding = fit_encoding(nothing, COLUMNS, categorical=way)
    assert np.isfinite(encoding.features(table([(1e308, 3, "u", math.inf, [[1.0, -1e308], [math.nan, None]])]))).all()
