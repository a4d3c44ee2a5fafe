"""Figures of a study against answers worked out by hand, and what is said where there is no answer."""

from __future__ import annotations

import math
from itertools import product

import numpy as np
import pytest
from handmade_studies import study
from scipy import stats

from experiments.statistics import compare_pairs, describe, regret
from experiments.statistics.intervals import expanded, mean_intervals
from experiments.statistics.observations import generator
from experiments.statistics.pairs import RELATIONS, is_score
from experiments.statistics.regrets import HINDSIGHT
from experiments.statistics.significance import holm, rank_biserial, seeds_needed, sign_flip_p_values, smallest_p
from twinclock.errors import ConfigError


def pair(one, two, metric="device_s", **options):
    """The one row for two variants with these values of a metric."""
    result = study({"a": {metric: one}, "b": {metric: two}}, [metric])
    (row,) = compare_pairs(result, metric, **options).iter_rows(named=True)
    return row


# Description


def test_the_mean_and_the_spread_of_each_variant():
    table = describe(study({"a": {"accuracy": [0.6, 0.7, 0.8], "device_s": [1.0, 2.0, 6.0]}}))
    accuracy, device_s = table.iter_rows(named=True)
    assert accuracy["metric"] == "accuracy"
    assert device_s["metric"] == "device_s"
    assert device_s["num_seeds"] == 3
    assert device_s["mean"] == pytest.approx(3.0)
    assert device_s["std"] == pytest.approx(math.sqrt(7.0))
    assert device_s["low"] == 1.0  # three seeds: no interval can be wider than their range
    assert device_s["high"] == 6.0
    assert device_s["note"] == "few seeds: the interval is narrower than its confidence"


def test_one_seed_has_no_interval_and_none_has_nothing():
    table = describe(study({"one": {"accuracy": [0.5]}, "none": {"accuracy": [None]}}, ["accuracy"]))
    one, none = table.iter_rows(named=True)
    assert (one["mean"], one["std"], one["low"], one["high"]) == (0.5, None, None, None)
    assert one["note"] == "one seed: no interval"
    assert (none["num_seeds"], none["mean"], none["note"]) == (0, None, "no value")


def test_equal_values_have_an_interval_without_width():
    (row,) = describe(study({"a": {"accuracy": [0.1] * 7}}, ["accuracy"])).iter_rows(named=True)
    assert (row["mean"], row["std"], row["low"], row["high"]) == (0.1, 0.0, 0.1, 0.1)
    assert row["note"] == "the same in all seeds"


def test_runs_that_failed_and_values_that_are_none_count_for_nothing():
    values = {"a": {"accuracy": [0.5, float("nan"), 0.7, float("inf"), 0.9]}}
    (row,) = describe(study(values, ["accuracy"], states={("a", 4): "failed"})).iter_rows(named=True)
    assert row["num_seeds"] == 2
    assert row["mean"] == pytest.approx(0.6)


def test_metrics_that_the_study_does_not_ask_for_come_last_and_can_be_left_out():
    result = study({"a": {"device_s": [1.0], "accuracy": [0.5]}}, ["device_s"])
    assert describe(result)["metric"].to_list() == ["device_s", "accuracy"]
    assert describe(result, metrics=["accuracy"])["metric"].to_list() == ["accuracy"]


def test_an_unknown_metric_is_named_with_those_that_are_there():
    with pytest.raises(ConfigError, match=r"metric: got 'acuracy', expected one of the study's: accuracy, device_s"):
        compare_pairs(study({"a": {"accuracy": [1.0], "device_s": [1.0]}}), "acuracy")


def test_an_interval_covers_the_true_mean_about_as_often_as_it_says():
    samples = generator("coverage").normal(size=(600, 8))
    low, high = mean_intervals(samples, ("coverage",), 0.95, 999)
    covered = ((low <= 0.0) & (high >= 0.0)).mean()
    assert 0.92 <= covered <= 0.98


def test_the_percentiles_lie_further_out_the_fewer_values_there_are():
    t = stats.t.ppf(0.975, 9)
    assert (1.0 - expanded(0.95, 10)) / 2.0 == pytest.approx(stats.norm.cdf(-math.sqrt(10 / 9) * t))
    assert (1.0 - expanded(0.95, 10_000)) / 2.0 == pytest.approx(0.025, abs=1e-4)


# Pairs


def test_a_pair_worked_out_by_hand():
    row = pair([10.0, 13.0, 12.0, 15.0], [9.0, 11.0, 13.0, 11.0])
    assert row["num_seeds"] == 4
    assert (row["mean"], row["other_mean"], row["difference"]) == (12.5, 11.0, pytest.approx(1.5))
    assert row["ratio"] == pytest.approx(12.5 / 11.0)
    # differences 1, 2, −1, 4: ranks 1.5, 3, 1.5, 4
    assert row["effect"] == pytest.approx((8.5 - 1.5) / 10.0)
    sums = [abs(a + 2 * b + c + 4 * d) for a, b, c, d in product((-1, 1), repeat=4)]
    assert row["p"] == pytest.approx(sum(each >= 6 for each in sums) / 16)
    assert row["p_holm"] == row["p"]
    assert row["smallest_p_holm"] == pytest.approx(2 / 16)
    assert row["low"] <= 1.5 <= row["high"]
    assert row["ratio_low"] <= row["ratio"] <= row["ratio_high"]


def test_the_exact_test_is_that_of_scipy_on_both_samples():
    rng = generator("exact")
    one, two = rng.normal(size=(2, 9))
    (p,) = sign_flip_p_values((one - two)[None, :], ("exact",), 1)
    expected = stats.permutation_test(
        (one, two), lambda x, y, axis: (x - y).mean(axis=axis), permutation_type="samples", vectorized=True
    )
    assert p == pytest.approx(expected.pvalue)


def test_many_seeds_are_flipped_at_random_and_nearly_as_exact():
    differences = generator("random").normal(0.4, 1.0, (1, 40))
    (p,) = sign_flip_p_values(differences, ("random",), 1)
    assert p == pytest.approx(stats.ttest_1samp(differences[0], 0.0).pvalue, abs=0.02)
    assert p == sign_flip_p_values(differences, ("random",), 1)[0]


def test_five_seeds_can_not_show_anything_and_say_so():
    row = pair([1.0, 2.0, 3.0, 4.0, 5.0], [11.0, 22.0, 33.0, 44.0, 55.0])
    assert (row["p"], row["smallest_p_holm"]) == (0.0625, 0.0625)
    assert row["relation"] == "too few seeds"


def test_six_seeds_can_for_one_pair_and_not_for_three():
    values = {"a": [1.0, 2, 3, 4, 5, 6], "b": [2.0, 4, 6, 8, 10, 12], "c": [3.0, 6, 9, 12, 15, 18]}
    assert pair(values["a"], values["b"])["relation"] == "lower"
    table = compare_pairs(study({name: {"device_s": each} for name, each in values.items()}, ["device_s"]), "device_s")
    assert table["p"].to_list() == [0.03125] * 3
    assert table["p_holm"].to_list() == [0.09375] * 3
    assert table["relation"].to_list() == ["too few seeds"] * 3
    assert seeds_needed(1, 0.05) == 6
    assert seeds_needed(3, 0.05) == 7


def test_a_pair_with_fewer_seeds_may_be_shown_after_those_with_more():
    clear = [2.0 * each for each in range(1, 9)]
    values = {"a": list(range(1, 9)), "b": clear, "c": [3.0 * each for each in range(1, 8)] + [None]}
    table = compare_pairs(study({name: {"device_s": each} for name, each in values.items()}, ["device_s"]), "device_s")
    assert table["num_seeds"].to_list() == [8, 7, 7]
    assert (table["p_holm"] >= table["smallest_p_holm"]).all()
    assert table["relation"].to_list() == ["lower"] * 3


def test_the_smallest_p_is_that_of_the_flips_that_are_looked_at():
    assert smallest_p(5, 1) == 0.0625
    assert smallest_p(13, 1) == 2.0 / 8192
    assert smallest_p(50, 1) == 2.0 / 10_000
    assert 1000 * smallest_p(50, 1000) < 0.05


def test_identical_variants_have_no_difference_and_no_effect():
    row = pair([0.1, 0.2, 0.3], [0.1, 0.2, 0.3], "accuracy")
    assert (row["difference"], row["low"], row["high"], row["effect"], row["p"]) == (0.0, 0.0, 0.0, 0.0, 1.0)
    assert row["relation"] == "identical"


def test_the_rounding_of_sums_is_no_difference():
    one = [0.1 + 0.2, 0.7, 0.3]
    two = [0.3, 0.1 + 0.6, 0.1 + 0.1 + 0.1]
    assert one != two
    assert pair(one, two, "accuracy")["relation"] == "identical"


def test_the_same_difference_in_all_seeds_has_an_effect_of_one_and_a_p_as_small_as_it_gets():
    row = pair([10.3, 11.4, 12.7, 13.1, 14.2, 15.9], [9.2, 10.3, 11.6, 12.0, 13.1, 14.8])
    assert row["low"] == row["high"] == pytest.approx(1.1)
    assert (row["effect"], row["p"], row["relation"]) == (1.0, 2 / 64, "higher")


def test_only_the_seeds_that_both_have_are_compared():
    values = {"a": {"device_s": [1.0, 2.0, 100.0, None]}, "b": {"device_s": [2.0, 4.0, None, 7.0]}}
    (row,) = compare_pairs(study(values, ["-device_s"]), "device_s").iter_rows(named=True)
    assert (row["num_seeds"], row["mean"], row["other_mean"]) == (2, 1.5, 3.0)


def test_with_one_seed_or_none_in_common_there_is_no_test():
    one = pair([1.0, None], [3.0, 4.0])
    assert (one["difference"], one["low"], one["p"], one["p_holm"], one["relation"]) == (
        -2,
        None,
        None,
        None,
        "one seed",
    )
    none = pair([1.0, None], [None, 4.0])
    assert (none["num_seeds"], none["difference"], none["relation"]) == (0, None, "no seed")


def test_a_ratio_needs_positive_values():
    assert pair([0.0, 1.0], [1.0, 2.0])["ratio"] is None
    assert pair([-1.0, 1.0], [1.0, 2.0])["ratio_low"] is None
    assert pair([1.0], [2.0])["ratio"] == 0.5


def test_equal_means_the_whole_interval_is_within_the_margin():
    one, other = [0.700, 0.710, 0.690, 0.720, 0.700, 0.695], [0.702, 0.709, 0.691, 0.719, 0.702, 0.693]
    row = pair(one, other, "accuracy")
    assert (row["margin"], row["relation"]) == (0.01, "equal")
    assert pair(one, other, "accuracy", margin=0.0005)["relation"] == "not shown"
    assert pair(one[:5], other[:5], "accuracy")["relation"] == "too few seeds"


def test_the_margin_of_what_is_no_score_is_relative():
    assert pair([100.0, 102.0], [100.0, 98.0])["margin"] == pytest.approx(1.0)
    assert [is_score(name) for name in ("served_top_3_accuracy", "utilisation", "active_log_loss", "usd")] == [
        True, True, False, False,
    ]  # fmt: skip


def test_every_relation_is_explained():
    assert all(RELATIONS.values())


def test_one_variant_has_no_pairs():
    table = compare_pairs(study({"a": {"accuracy": [0.5, 0.6]}}), "accuracy")
    assert table.height == 0
    assert "p_holm" in table.columns


@pytest.mark.parametrize(
    ("differences", "expected"),
    [([1.0, 2.0, 3.0], 1.0), ([-1.0, -5.0], -1.0), ([0.0, 0.0], 0.0), ([3.0, -1.0, 0.0], 1 / 3), ([1.0, -1.0], 0.0)],
)
def test_the_rank_biserial_correlation(differences, expected):
    assert rank_biserial(np.array(differences)) == pytest.approx(expected)


def test_holms_correction_of_his_example():
    assert holm(np.array([0.01, 0.04, 0.03, 0.005])) == pytest.approx([0.03, 0.06, 0.06, 0.02])


# Regret


def test_the_regret_against_the_best_of_each_seed():
    values = {"a": {"device_s": [1.0, 5.0]}, "b": {"device_s": [2.0, 3.0]}, "c": {"device_s": [None, 4.0]}}
    table = regret(study(values, ["-device_s"]), "device_s")
    assert table["against"].to_list() == [HINDSIGHT] * 3
    assert table["regret"].to_list() == [1.0, 0.5, 1.0]
    assert table["share_without"].to_list() == [0.5, 0.5, 0.0]
    assert table["num_seeds"].to_list() == [2, 2, 1]
    assert table["low"].to_list()[2] is None


def test_the_regret_against_an_oracle_may_be_negative():
    values = {
        "oracle": {"accuracy": [0.9, 0.8, None]},
        "a": {"accuracy": [0.8, 0.9, 0.1]},
        "b": {"accuracy": [0.7, 0.7]},
    }
    table = regret(study(values), "accuracy", oracle="oracle")
    rows = {(row["variant"], row["against"]): row for row in table.iter_rows(named=True)}
    assert rows["oracle", "oracle"]["regret"] == 0.0
    assert rows["a", "oracle"]["regret"] == pytest.approx(0.0)
    assert rows["a", "oracle"]["low"] == pytest.approx(-0.1)
    assert rows["a", "oracle"]["num_seeds"] == 2
    assert rows["b", "oracle"]["regret"] == pytest.approx(0.15)
    assert rows["a", HINDSIGHT]["num_seeds"] == 3


def test_a_regret_needs_a_direction_and_an_oracle_that_is_there():
    result = study({"a": {"accuracy": [1.0], "usd": [1.0]}}, ["accuracy"])
    with pytest.raises(ConfigError, match=r"metric: got 'usd', expected one that the study asks for: accuracy"):
        regret(result, "usd")
    with pytest.raises(ConfigError, match=r"oracle: got 'o', expected one of the variants: a"):
        regret(result, "accuracy", oracle="o")
