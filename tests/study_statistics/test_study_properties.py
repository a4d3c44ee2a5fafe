"""What holds of the statistics whatever the values are, and how often they raise a false alarm."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import polars as pl
import pytest
from handmade_studies import study
from hypothesis import given, settings
from hypothesis import strategies as st
from polars.testing import assert_frame_equal

from experiments.statistics import compare_pairs, describe, dominations, pareto, regret, verdict
from experiments.statistics.observations import generator
from experiments.statistics.significance import holm

few = settings(max_examples=30, deadline=None)
values = st.one_of(st.none(), st.integers(-40, 40).map(lambda each: each / 8.0))
p_values = st.lists(st.floats(0.0, 1.0), min_size=0, max_size=12)


@st.composite
def studies(draw, min_variants=1, max_variants=4):
    names = [f"v{number}" for number in range(draw(st.integers(min_variants, max_variants)))]
    num_seeds = draw(st.integers(1, 7))
    column = st.lists(values, min_size=num_seeds, max_size=num_seeds)
    return study({name: {"accuracy": draw(column), "device_s": draw(column)} for name in names})


def by_definition(raw: list[float]) -> list[float]:
    """Holm's, with nothing but its definition."""
    ordered = sorted(raw)
    steps = [min(1.0, (len(raw) - place) * p) for place, p in enumerate(ordered)]
    return [max(steps[: ordered.index(p) + ordered.count(p)]) for p in raw]


@given(p_values)
def test_holm_is_its_definition(raw):
    assert holm(np.array(raw)).tolist() == pytest.approx(by_definition(raw))


@given(p_values)
def test_holm_makes_nothing_smaller_and_keeps_the_order(raw):
    corrected = holm(np.array(raw))
    assert (corrected >= np.array(raw)).all()
    assert (corrected <= 1.0).all()
    assert (np.diff(corrected[np.argsort(raw, kind="stable")]) >= 0.0).all()


def shuffled(result, seed):
    """The same study with its variants and all its rows in another order."""
    frames = {name: getattr(result, name).sample(fraction=1.0, shuffle=True, seed=seed) for name in ("runs", "metrics")}
    return replace(result, **frames)


@few
@given(studies(), st.integers(0, 1000))
def test_the_order_of_variants_and_rows_changes_nothing(result, seed):
    other = shuffled(result, seed)
    for function in (describe, pareto, lambda each: regret(each, "device_s")):
        one, two = (function(each).sort("variant", maintain_order=True) for each in (result, other))
        if "dominated_by" in one.columns:
            one, two = (each.with_columns(pl.col("dominated_by").list.sort()) for each in (one, two))
        assert_frame_equal(one, two)
    one, two = (dominations(each).sort("variant", "other") for each in (result, other))
    assert_frame_equal(one, two)


@few
@given(studies(min_variants=2), st.integers(0, 1000))
def test_a_pair_is_the_same_from_both_sides(result, seed):
    ours = {(row["variant"], row["other"]): row for row in pairs(result)}
    for row in pairs(shuffled(result, seed)):
        turned = (row["variant"], row["other"]) not in ours
        other = ours[row["other"], row["variant"]] if turned else ours[row["variant"], row["other"]]
        for column in ("num_seeds", "p", "p_holm", "smallest_p_holm", "margin"):
            assert row[column] == pytest.approx(other[column]), column
        for column in ("difference", "effect"):
            expected = other[column] if not turned or other[column] is None else -other[column]
            assert row[column] == pytest.approx(expected), column
        if other["low"] is not None:
            ends = (-other["high"], -other["low"]) if turned else (other["low"], other["high"])
            assert (row["low"], row["high"]) == pytest.approx(ends)


def pairs(result, **options):
    return compare_pairs(result, "accuracy", num_resamples=199, **options).iter_rows(named=True)


@few
@given(studies(min_variants=2), st.integers(-100, 100))
def test_what_both_have_more_changes_no_difference(result, constant):
    raised = replace(result, metrics=result.metrics.with_columns(pl.col("value") + constant))
    for one, two in zip(pairs(result), pairs(raised), strict=True):
        for column in ("difference", "low", "high", "effect", "p", "p_holm", "relation"):
            assert one[column] == (one[column] if column == "relation" else pytest.approx(two[column])), column
        assert one["relation"] == two["relation"]


@few
@given(studies())
def test_an_interval_has_the_mean_inside(result):
    for row in describe(result).drop_nulls("low").iter_rows(named=True):
        assert row["low"] <= row["mean"] + 1e-12
        assert row["mean"] <= row["high"] + 1e-12
    for row in pairs(result):
        if row["low"] is not None:
            assert row["low"] - 1e-12 <= row["difference"] <= row["high"] + 1e-12
        if row["ratio_low"] is not None:
            assert row["ratio_low"] - 1e-12 <= row["ratio"] <= row["ratio_high"] + 1e-12


@few
@given(studies(min_variants=2))
def test_no_p_is_smaller_than_the_smallest(result):
    for row in pairs(result):
        if row["p"] is not None:
            assert row["p"] <= row["p_holm"]
            assert row["smallest_p_holm"] <= row["p_holm"] + 1e-12


@settings(max_examples=60, deadline=None)
@given(
    st.lists(
        st.tuples(*(st.lists(st.integers(0, 3), min_size=3, max_size=3) for _ in range(3))), min_size=1, max_size=6
    )
)
def test_the_front_is_that_of_brute_force(table):
    names = ("accuracy", "device_s", "usd")
    result = study(
        {f"v{number}": dict(zip(names, row, strict=True)) for number, row in enumerate(table)},
        ["accuracy", "-device_s", "-usd"],
    )
    means = [(sum(a), -sum(b), -sum(c)) for a, b, c in table]

    def beats(one, two):
        return all(x >= y for x, y in zip(one, two, strict=True)) and one != two

    expected = [[f"v{number}" for number, one in enumerate(means) if beats(one, two)] for two in means]
    front = pareto(result)
    assert front["dominated_by"].to_list() == expected
    assert front["on_front"].to_list() == [not by for by in expected]
    assert front["on_front"].any()
    in_seeds = [
        np.mean([
            not any(beats((o[0][s], -o[1][s], -o[2][s]), (t[0][s], -t[1][s], -t[2][s])) for o in table)
            for s in range(3)
        ])
        for t in table
    ]  # fmt: skip
    assert front["front_share_seeds"].to_list() == pytest.approx(in_seeds)
    assert front["front_share_resamples"].is_between(0.0, 1.0).all()


@few
@given(studies())
def test_a_verdict_is_short_and_the_same_each_time(result):
    lines = verdict(result)
    assert 1 <= len(lines) <= 10
    assert lines == verdict(result)
    assert all("\n" not in line and "nan" not in line for line in lines)


def test_where_nothing_differs_there_is_seldom_a_false_alarm():
    rng = generator("calibration")
    num_studies, alarms = 200, 0
    for _ in range(num_studies):
        of_seed = rng.normal(size=8)  # what the seed does to all variants
        noise = rng.standard_exponential((3, 8))
        table = {f"v{number}": {"device_s": (50 + of_seed + row).tolist()} for number, row in enumerate(noise)}
        found = compare_pairs(study(table, ["-device_s"]), "device_s", num_resamples=99)
        alarms += int((found["p_holm"] < 0.05).any())
    assert alarms / num_studies <= 0.05 + 3.0 * (0.05 * 0.95 / num_studies) ** 0.5


def test_where_something_differs_it_is_found():
    rng = generator("power")
    found = 0
    for _ in range(40):
        of_seed = rng.normal(0.0, 5.0, 8)  # far more than what tells the variants apart
        table = {
            f"v{number}": {"device_s": (50 + 2.0 * number + of_seed + rng.normal(0.0, 0.5, 8)).tolist()}
            for number in range(3)
        }
        relations = compare_pairs(study(table, ["-device_s"]), "device_s", num_resamples=99)["relation"]
        found += int((relations == "lower").all())
    assert found >= 36
