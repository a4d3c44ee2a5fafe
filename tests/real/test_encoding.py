from __future__ import annotations

import datetime as dt
import json
import math
from decimal import Decimal

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from real_samples import COLUMNS, frame

from real.encoding import MAX_VALUES, UNKNOWN, Encoding, fit_encoding
from twinclock.dataset import Columns, FeatureColumns
from twinclock.errors import ConfigError, DataError

ONE_NUMBER = Columns(time="t", label="y", features=FeatureColumns(numeric=("a",)))


def test_normalisation_is_fitted_on_the_training_rows_only():
    encoding = fit_encoding(frame(a=[1.0, 2.0, 3.0]), COLUMNS)
    a, b = encoding.numeric
    assert (a.mean, a.std) == pytest.approx((2.0, math.sqrt(2 / 3)))
    assert (a.at, b.at) == (0, 1)
    later = encoding.features(frame(a=[2.0, 200.0, 3.0]))
    assert later[:, 0] == pytest.approx([0.0, 198 / a.std, 1 / a.std])


def test_what_is_missing_is_the_mean_and_is_marked_if_training_knew_it():
    gaps = frame(a=[1.0, None, 3.0], b=[1.0, 2.0, 3.0])
    encoding = fit_encoding(gaps, COLUMNS)
    a, b = encoding.numeric
    assert a.mean == 2.0
    assert b.missing_at is None
    wild = frame(a=[math.nan, math.inf, 3.0], b=[-math.inf, None, 3.0])
    inputs = encoding.features(wild)
    assert np.isfinite(inputs).all()
    assert inputs[:, a.at].tolist() == pytest.approx([0.0, 0.0, 1.0])
    assert inputs[:, a.missing_at].tolist() == [1.0, 1.0, 0.0]
    assert inputs[:2, b.at].tolist() == [0.0, 0.0]


def test_a_column_that_is_constant_or_all_missing_says_nothing():
    encoding = fit_encoding(frame(a=[0.1, 0.1, 0.1], b=[None, math.nan, math.inf]), COLUMNS)
    a, b = encoding.numeric
    inputs = encoding.features(frame(a=[0.1, 5000.0, None], b=[1.0, 2.0, None]))
    assert inputs[:, a.at].tolist() == [0.0, 0.0, 0.0]
    assert inputs[:, b.at].tolist() == [0.0, 0.0, 0.0]
    assert inputs[:, b.missing_at].tolist() == [0.0, 0.0, 1.0]


def test_categories_are_one_input_each_and_unknown_ones_none():
    encoding = fit_encoding(frame(c=["v", None, "u"]), COLUMNS)
    (c,) = encoding.categorical
    assert c.categories == ("u", "v")
    inputs = encoding.features(frame(c=["u", None, "w"]))[:, 2:]
    assert inputs.tolist() == [[1.0, 0.0, 0.0], [0.0, 0.0, 1.0], [0.0, 0.0, 0.0]]


def test_a_null_that_training_did_not_know_is_an_unknown_category():
    encoding = fit_encoding(frame(), COLUMNS)
    assert encoding.num_inputs == 4
    assert encoding.features(frame(c=[None, "u", "v"]))[0, 2:].tolist() == [0.0, 0.0]


@pytest.mark.parametrize(
    "values",
    [
        [1, 2, 1],
        [True, False, True],
        [0.5, 2.0, 0.5],
        [dt.date(2020, 1, 1), dt.date(2021, 1, 1), dt.date(2020, 1, 1)],
        [dt.datetime(2020, 1, 1), dt.datetime(2021, 1, 1), dt.datetime(2020, 1, 1)],
        [dt.timedelta(1), dt.timedelta(2), dt.timedelta(1)],
        [b"\xff\x00", b"\xfe", b"\xff\x00"],
        [Decimal("1.50"), Decimal("2.00"), Decimal("1.50")],
        pl.Series(["x", "y", "x"], dtype=pl.Categorical),
        pl.Series(["x", "y", "x"], dtype=pl.Enum(["y", "x"])),
    ],
)
def test_any_type_serves_as_category_and_as_label(values):
    rows = frame(c=values, y=values)
    encoding = fit_encoding(rows, COLUMNS)
    assert encoding.num_classes == 2
    first, second, third = encoding.features(rows)[:, 2:].tolist()
    assert first == third != second
    labels = encoding.labels(rows)
    assert sorted(labels.tolist()) in ([0, 0, 1], [0, 1, 1])
    assert labels[0] == labels[2]


def test_nan_in_a_category_is_null():
    encoding = fit_encoding(frame(c=[1.0, math.nan, None]), COLUMNS)
    (c,) = encoding.categorical
    assert c.categories == ("1.0",)
    assert encoding.features(frame(c=[math.nan, None, 1.0]))[:, c.null_at].tolist() == [1.0, 1.0, 0.0]


def test_booleans_and_big_integers_are_numbers():
    rows = frame(a=[True, False, None], b=[2**62, -(2**62), 0])
    encoding = fit_encoding(rows, COLUMNS)
    inputs = encoding.features(rows)
    a, b = encoding.numeric
    assert inputs[:, a.at].tolist() == [1.0, -1.0, 0.0]
    assert inputs[:, b.at] == pytest.approx([math.sqrt(1.5), -math.sqrt(1.5), 0.0])


def test_labels_that_training_did_not_see_have_no_class():
    encoding = fit_encoding(frame(), COLUMNS)
    assert encoding.classes == ("p", "q")
    assert encoding.labels(frame(y=["q", "new", "p"])).tolist() == [1, UNKNOWN, 0]


def test_extending_keeps_what_is_known_where_it_is():
    old = fit_encoding(frame(b=[4.0, 4.0, 4.0]), COLUMNS)
    rows = frame(a=[50.0, None, 70.0], b=[1.0, 2.0, 3.0], c=["z", "v", None], y=["new", "p", "p"])
    new = fit_encoding(rows, COLUMNS, extending=old)
    assert new.num_inputs == old.num_inputs + 3  # a is missing, c is z, c is null
    assert new.classes == ("p", "q", "new")
    known = frame(a=[1.0, 2.0, 3.0], b=[4.0, 4.0, 4.0])
    old_inputs, new_inputs = old.features(known), new.features(known)
    others = [each for each in range(old.num_inputs) if each != old.numeric[1].at]
    assert (new_inputs[:, others] == old_inputs[:, others]).all()
    assert (new_inputs[:, old.num_inputs :] == 0.0).all()
    assert new.numeric[1].mean == 2.0  # it was constant: no weight depends on how it was normalised
    assert fit_encoding(known, COLUMNS, extending=new) == new


def test_extending_the_encoding_of_other_columns_is_refused():
    with pytest.raises(ConfigError, match="other columns"):
        fit_encoding(frame(), ONE_NUMBER, extending=fit_encoding(frame(), COLUMNS))


def test_it_is_the_same_after_json():
    encoding = fit_encoding(frame(a=[1.0, None, 3.5], c=["ü", None, '"']), COLUMNS)
    assert Encoding.from_json(json.loads(json.dumps(encoding.to_json(), allow_nan=False))) == encoding


@pytest.mark.parametrize("column", ["c", "y"])
def test_a_column_with_a_value_of_its_own_for_each_row_is_refused(column):
    num_rows = MAX_VALUES + 1
    columns = {"a": [1.0] * num_rows, "b": [1.0] * num_rows, "c": ["u"] * num_rows, "y": ["p"] * num_rows}
    columns[column] = [str(row) for row in range(num_rows)]
    with pytest.raises(DataError, match=f"'{column}' has 5001 different values in the training set, expected at most"):
        fit_encoding(pl.DataFrame(columns), COLUMNS)


numbers = st.lists(st.none() | st.floats(width=64), min_size=1, max_size=20)


@given(numbers, numbers)
def test_inputs_are_finite_whatever_the_numbers(training, later):
    rows = pl.DataFrame({"a": training, "y": ["p"] * len(training)}, schema={"a": pl.Float64, "y": pl.String})
    encoding = fit_encoding(rows, ONE_NUMBER)
    for values in (training, later):
        inputs = encoding.features(pl.DataFrame({"a": values}, schema={"a": pl.Float64}))
        assert inputs.shape == (len(values), encoding.num_inputs)
        assert np.isfinite(inputs).all()
    assert Encoding.from_json(json.loads(json.dumps(encoding.to_json(), allow_nan=False))) == encoding
