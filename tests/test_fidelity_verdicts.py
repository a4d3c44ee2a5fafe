"""When a simulated figure is good enough, and whether the policies are in the right order: pure functions."""

from __future__ import annotations

from itertools import combinations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import kendalltau

from experiments.fidelity.ranking import kendall_tau, ranked_pairs
from experiments.fidelity.verdicts import (
    Comparison,
    compare,
    grade_of,
    spread,
    stage_verdict,
    tau_verdict,
    verdict,
    within,
    worst,
)
from twinclock.summary import edit_distance

SECONDS = st.floats(0.0, 1e6)
REPEATS = st.lists(SECONDS, min_size=1, max_size=5)
POSITIONS = st.lists(st.integers(0, 30), max_size=12).map(sorted)


# One figure


@given(REPEATS)
def test_the_spread_is_the_largest_difference_between_two_repeats(values):
    pairs = [abs(one - other) for one, other in combinations(values, 2)]
    assert spread(values) == max(pairs, default=0.0)
    assert spread(values[::-1]) == spread(values)


@given(REPEATS)
def test_each_repeat_is_a_tie_with_all_of_them(values):
    assert all(verdict(compare(values, value), 0.1) == "tie" for value in values)


@given(REPEATS, SECONDS)
def test_the_grade_of_a_figure_gets_no_better_the_farther_it_is_off(values, further):
    middle, width = compare(values, 0.0).real, spread(values)
    grades = [grade_of(verdict(compare(values, middle + each), 0.1)) for each in (0.0, width, width + further)]
    assert grades == sorted(grades)


@pytest.mark.parametrize(
    ("real", "simulated", "told"),
    [
        ([10.0], 10.0, "tie"),
        ([10.0], 11.0, "met"),
        ([10.0], 8.9, "near"),
        ([10.0], 12.0, "near"),
        ([10.0], 12.1, "missed"),
        ([8.0, 10.0, 12.0], 14.0, "tie"),
        ([8.0, 10.0, 12.0], 14.1, "missed"),
        ([0.0], 0.0, "tie"),
        ([0.0], 1.0, "missed"),
    ],
)
def test_verdicts(real, simulated, told):
    assert verdict(compare(real, simulated), 0.1) == told


def test_a_comparison_is_with_the_median_and_the_error_is_a_share_of_it():
    assert compare([10.0, 20.0, 12.0], 9.0) == Comparison(12.0, 10.0, 9.0, -3.0, -0.25)
    assert compare([0.0], 2.0).error is None
    assert compare([0.0], 0.0).error == 0.0


@pytest.mark.parametrize(
    ("real_s", "simulated_s", "told"),
    [(0.9, 0.1, "small"), (0.9, 1.5, "missed"), (1.5, 0.9, "missed"), (1.0, 1.05, "met"), (50.0, 50.0, "tie")],
)
def test_a_stage_is_small_only_if_it_is_so_in_both(real_s, simulated_s, told):
    assert stage_verdict(compare([real_s], simulated_s), 100.0) == told


@pytest.mark.parametrize(("tau", "told"), [(1.0, "met"), (0.9, "met"), (0.85, "near"), (0.8, "near"), (0.79, "missed")])
def test_twice_as_far_from_a_perfect_order_is_near(tau, told):
    assert tau_verdict(tau) == told


def test_of_several_grades_the_worst_counts():
    assert worst([]) == "A"
    assert worst(["A", "B"]) == "B"
    assert worst(["B", "C", "A"]) == "C"
    assert within(None, 0.1) == "missed"


# Trigger positions


@given(POSITIONS, POSITIONS)
def test_the_edit_distance_is_symmetric_and_zero_for_equal_positions_only(one, other):
    assert edit_distance(one, other) == edit_distance(other, one)
    assert (edit_distance(one, other) == 0) == (one == other)
    assert abs(len(one) - len(other)) <= edit_distance(one, other) <= len(one) + len(other)


@given(POSITIONS, POSITIONS)
def test_the_edit_distance_is_what_the_longest_common_subsequence_leaves(one, other):
    lengths = [[0] * (len(other) + 1) for _ in range(len(one) + 1)]
    for i, ours in enumerate(one):
        for j, theirs in enumerate(other):
            longest = max(lengths[i][j + 1], lengths[i + 1][j])
            lengths[i + 1][j + 1] = lengths[i][j] + 1 if ours == theirs else longest
    assert edit_distance(one, other) == len(one) + len(other) - 2 * lengths[-1][-1]


@given(POSITIONS, POSITIONS, POSITIONS)
def test_no_detour_is_shorter(one, by, other):
    assert edit_distance(one, other) <= edit_distance(one, by) + edit_distance(by, other)


# The order of the policies

POLICIES = st.lists(st.tuples(st.integers(0, 1000), st.integers(0, 1000)), min_size=2, max_size=8)


@given(st.permutations(range(6)), st.permutations(range(6)))
def test_without_ties_tau_is_that_of_scipy(real, simulated):
    pairs = ranked_pairs(*named([float(each) for each in real], [float(each) for each in simulated]))
    assert kendall_tau(pairs) == pytest.approx(kendalltau(real, simulated).statistic)


@given(POLICIES)
def test_a_simulation_that_is_right_has_a_tau_of_1_and_the_reverse_one_of_minus_1(values):
    real = [float(each) for each, _ in values]
    right, reverse = (kendall_tau(ranked_pairs(*named(real, [sign * each for each in real]))) for sign in (1.0, -1.0))
    if len(set(real)) == 1:
        assert right is reverse is None
    else:
        assert (right, reverse) == (1.0, -1.0)


def named(real, simulated):
    labels = [f"p{number}" for number in range(len(real))]
    return {label: [each] for label, each in zip(labels, real, strict=True)}, dict(zip(labels, simulated, strict=True))


def test_pairs_within_the_spread_are_left_out_and_the_wrong_ones_named():
    real = {"a": [10.0, 11.0], "b": [10.8], "c": [20.0], "d": [30.0], "e": [40.0]}
    simulated = {"a": 12.0, "b": 10.0, "c": 35.0, "d": 30.0, "e": 35.0, "unmeasured": 1.0}
    pairs = ranked_pairs(real, simulated)
    relations = {(pair.policy, pair.other): pair.relation for pair in pairs}
    assert len(pairs) == 10
    assert [pair for pair, relation in relations.items() if relation == "left out"] == [("a", "b")]
    assert [pair for pair, relation in relations.items() if relation == "discordant"] == [("c", "d")]
    assert [pair for pair, relation in relations.items() if relation == "equal in the simulation"] == [("c", "e")]
    assert kendall_tau(pairs) == pytest.approx((7 - 1) / 9)


def test_a_difference_counts_only_if_it_is_larger_than_the_larger_spread():
    pairs = ranked_pairs({"a": [10.0, 12.0], "b": [12.9]}, {"a": 1.0, "b": 0.0})
    assert pairs[0].spread == 2.0
    assert pairs[0].relation == "left out"
    assert kendall_tau(pairs) is None
    assert kendall_tau([]) is None
