"""Verdicts word by word, on studies made by hand."""

from __future__ import annotations

import pytest
from handmade_studies import study

import twinclock as tc
from experiments.metric_names import _NAMES, metric_name
from experiments.statistics import compare_pairs, dominations, pareto, verdict
from experiments.statistics.wording import bound_text, mirrored, p_text, range_text
from experiments.sweep import sweep

BASE = [0.70, 0.72, 0.69, 0.71, 0.73, 0.68, 0.70, 0.71]
COST = [100.0, 104.0, 98.0, 101.0, 107.0, 95.0, 99.0, 103.0]
WOBBLE = [0.001, -0.002, 0.002, -0.001, 0.003, -0.003, 0.001, 0.0]


def plus(values, other, factor=1.0):
    return [one + factor * two for one, two in zip(values, other, strict=True)]


def times(values, factor):
    return [factor * each for each in values]


AMOUNT = {"accuracy": BASE, "device_s": COST}
DRIFT = {"accuracy": plus(BASE, WOBBLE), "device_s": plus(times(COST, 0.65), WOBBLE, 1000.0)}
WORSE = {"accuracy": [each - 0.05 for each in plus(BASE, WOBBLE)], "device_s": plus(times(COST, 1.3), WOBBLE, 1000.0)}
LIKE_AMOUNT = {"accuracy": plus(BASE, WOBBLE, 8.0), "device_s": plus(COST, WOBBLE, -5000.0)}
DEARER_AND_BETTER = {"accuracy": [each + 0.04 for each in plus(BASE, WOBBLE)], "device_s": times(COST, 1.5)}


def first(values, num_seeds):
    return {metric: column[:num_seeds] for metric, column in values.items()}


def test_a_cheaper_variant_that_is_as_good():
    assert verdict(study({"amount": AMOUNT, "drift": DRIFT})) == [
        "Pareto front of the means of accuracy and device-seconds (and in how many resamples): drift (100 %); "
        "dominated in the means: amount",
        "drift has 33–37 % fewer device-seconds than amount (8 seeds, p = 0.0078), at equal accuracy (difference "
        "within ±0.002)",
    ]


def test_a_variant_that_is_dominated():
    lines = verdict(study({"amount": AMOUNT, "worse": WORSE}))
    assert lines == [
        "Pareto front of the means of accuracy and device-seconds (and in how many resamples): amount (100 %); "
        "dominated in the means: worse",
        "worse is dominated by amount: a lower accuracy (by 0.048–0.052) and 28–32 % more device-seconds (8 seeds, "
        "p = 0.0078)",
    ]


def test_a_trade():
    lines = verdict(study({"amount": AMOUNT, "more": DEARER_AND_BETTER}))
    assert lines[1] == (
        "amount has a lower accuracy (by 0.038–0.042) and 33.33 % fewer device-seconds than more (8 seeds, p = 0.0078)"
    )


def test_a_difference_that_is_the_same_in_every_seed():
    lines = verdict(study({"amount": AMOUNT, "less": {"accuracy": [each - 0.02 for each in BASE], "device_s": COST}}))
    assert lines[1] == (
        "amount has a higher accuracy (by 0.02 in every seed) than less (8 seeds, p = 0.0078), at equal device-seconds "
        "(identical in all 8 seeds)"
    )


def test_no_difference_was_shown():
    lines = verdict(study({"amount": AMOUNT, "like": LIKE_AMOUNT}))
    assert lines[1] == "no difference between amount and like was shown (8 seeds, p = 1)"


def test_what_does_not_matter():
    other = {"accuracy": plus(BASE, WOBBLE), "device_s": COST}
    lines = verdict(study({"amount": AMOUNT, "other": other}))
    assert lines[1] == (
        "no difference between amount and other that matters, at equal accuracy (difference within ±0.002) and "
        "device-seconds (identical in all 8 seeds)"
    )
    narrow = verdict(study({"amount": AMOUNT, "other": other}), margins={"accuracy": 0.0001})
    assert narrow[1] == (
        "no difference between amount and other was shown in accuracy (8 seeds, p = 1), at equal device-seconds "
        "(identical in all 8 seeds)"
    )


def test_five_seeds_show_nothing_however_clear_it_is():
    lines = verdict(study({"amount": first(AMOUNT, 5), "worse": first(WORSE, 5)}))
    assert lines[0] == (
        "5 seeds are too few to show any difference: with 1 pair, p = 0.062 is the least that is possible; 6 seeds "
        "could do"
    )
    assert "worse had a lower accuracy" in lines[2]
    assert "seen but not shown (5 seeds, p = 0.062)" in lines[2]


def test_from_one_seed_nothing_is_claimed():
    assert verdict(study({"amount": first(AMOUNT, 1), "worse": first(WORSE, 1)})) == [
        "no two variants have more than one seed in common: differences can't be told from chance"
    ]


def test_one_variant_has_nothing_to_be_compared_with():
    (line,) = verdict(study({"amount": AMOUNT}))
    assert line == "only amount has all the metrics that the study asks for: nothing to compare it with"


def test_where_all_failed_nothing_can_be_said():
    states = {(variant, seed): "failed" for variant in ("amount", "drift") for seed in range(8)}
    assert verdict(study({"amount": AMOUNT, "drift": DRIFT}, states=states)) == [
        "16 of 16 runs failed and are left out (amount: 8, drift: 8)",
        "no run has all the metrics that the study asks for: nothing can be said",
    ]


def test_runs_that_are_left_out_are_counted():
    failed = verdict(study({"amount": AMOUNT, "drift": DRIFT}, states={("drift", 1): "failed"}))
    assert failed[0] == "1 of 16 runs failed and are left out (drift: 1)"
    assert "7 seeds" in failed[2]
    states = {("drift", 1): "timeout", ("drift", 2): "crashed", ("amount", 3): "missing"}
    assert verdict(study({"amount": AMOUNT, "drift": DRIFT}, states=states))[0] == (
        "3 of 16 runs are left out: 1 missing, 1 timed out, 1 crashed (amount: 1, drift: 2)"
    )


def test_values_that_are_not_there_are_named():
    never = {"accuracy": [None, float("nan")] * 4, "device_s": [1.0] * 8}
    lines = verdict(study({"amount": AMOUNT, "drift": DRIFT, "never": never}))
    assert lines[0] == "8 of 24 runs that are done have no accuracy (never: 8)"
    assert "not placed, for want of values in the same seeds: never" in lines
    assert any(line.startswith("drift has 3") and "(8 seeds, p = 0.023)" in line for line in lines)


def test_one_metric_has_a_best_and_no_front():
    lines = verdict(study({"amount": AMOUNT, "worse": WORSE}, ["accuracy"]))
    assert lines == [
        "best mean accuracy (and in how many resamples): amount (100 %)",
        "amount has a higher accuracy (by 0.048–0.052) than worse (8 seeds, p = 0.0078)",
    ]


def test_with_many_variants_it_stays_short_and_counts_the_rest():
    values = {
        f"v{number}": {
            "accuracy": [each - 0.03 * number for each in plus(BASE, WOBBLE)],
            "device_s": times(COST, 1.0 + 0.2 * number),
        }
        for number in range(12)
    }
    values = {variant: {metric: column * 2 for metric, column in each.items()} for variant, each in values.items()}
    lines = verdict(study(values))
    assert len(lines) == 10
    assert lines[0].endswith("v0 (100 %); dominated in the means: v1, v2, v3, v4, v5 and 6 more")
    assert lines[1].startswith("v1 is dominated by v0: ")
    assert lines[-1] == "58 more pairs are not told here; compare_pairs has all"


def test_the_front_first_then_the_dominated_then_ties():
    values = {"worse": WORSE, "like": LIKE_AMOUNT, "amount": AMOUNT, "more": DEARER_AND_BETTER, "drift": DRIFT}
    doubled = {variant: {metric: column * 2 for metric, column in each.items()} for variant, each in values.items()}
    lines = verdict(study(doubled))
    starts = [line.split(":")[0] for line in lines]
    assert starts[0] == "Pareto front of the means of accuracy and device-seconds (and in how many resamples)"
    assert lines[1].startswith("drift has ")
    assert "than " in lines[1]
    assert lines[-1].endswith("not told here; compare_pairs has all")
    assert any(line.startswith("worse is dominated by") for line in lines)


def test_a_study_that_was_run(tmp_path):
    made = sweep(
        {
            "name": "small",
            "base": {"data": {"kind": "uniform", "num_samples": 200, "every": 1}, "trigger": {"kind": "amount"}},
            "axes": [{"kind": "grid", "key": "trigger.n", "values": [20, 50, "none"]}],
            "seeds": 6,
            "metrics": ["-device_s"],
        },
        out=tmp_path / "small",
        num_workers=1,
    )
    lines = verdict(made)
    assert lines[0] == "6 of 18 runs failed and are left out (n=none: 6)"
    assert lines[1] == "best mean device-seconds (and in how many resamples): n=50 (100 %)"
    assert lines[3].startswith("n=50 has ")
    assert lines[3].endswith(" fewer device-seconds than n=20 (6 seeds, p = 0.031)")


# The front


def test_a_variant_that_lacks_most_seeds_does_not_take_them_from_the_others():
    result = study({"amount": AMOUNT, "drift": DRIFT, "late": {metric: v[:3] for metric, v in WORSE.items()}})
    table = {row["variant"]: row for row in pareto(result).iter_rows(named=True)}
    assert table["late"]["on_front"] is None
    assert table["amount"]["num_seeds"] == 8


def test_variants_that_are_the_same_are_both_on_the_front():
    result = study({"a": AMOUNT, "b": AMOUNT})
    assert pareto(result)["on_front"].to_list() == [True, True]
    assert dominations(result).height == 0


def test_who_dominates_whom_and_how_surely():
    (row,) = dominations(study({"worse": WORSE, "amount": AMOUNT})).iter_rows(named=True)
    assert row == {"variant": "amount", "other": "worse", "share_seeds": 1.0, "share_resamples": 1.0}


def test_one_seed_has_a_front_and_no_resamples():
    table = pareto(study({"amount": first(AMOUNT, 1), "worse": first(WORSE, 1)}))
    assert table["on_front"].to_list() == [True, False]
    assert table["front_share_resamples"].to_list() == [None, None]


# Words


@pytest.mark.parametrize(
    ("low", "high", "text"),
    [
        (31.2, 37.9, "31–38"),
        (0.0102, 0.0298, "0.01–0.03"),
        (0.3, 4.4, "0.3–4.4"),
        (66.66666666666, 66.66666666667, "66.67"),
        (5.0, 5.0, "5"),
        (1200.0, 2400.0, "1,200–2,400"),
    ],
)
def test_a_range_has_the_decimals_that_tell_its_ends_apart(low, high, text):
    assert range_text(low, high) == text


@pytest.mark.parametrize(
    ("value", "text"), [(0.0043, "0.005"), (0.005, "0.005"), (0.0, "0"), (0.96, "1.0"), (3.2, "4"), (12.0, "20")]
)
def test_a_bound_is_rounded_up(value, text):
    assert bound_text(value) == text


def test_p_values_as_text():
    assert [p_text(p) for p in (0.314159, 1.0, 0.0001, 0.0078125)] == ["p = 0.31", "p = 1", "p < 0.001", "p = 0.0078"]


def test_a_row_seen_from_the_other_side_and_back_is_the_same():
    result = study({"amount": AMOUNT, "drift": DRIFT})
    (row,) = compare_pairs(result, "device_s").iter_rows(named=True)
    assert mirrored(row)["relation"] == "lower"
    assert mirrored(mirrored(row)) == pytest.approx(row)


@pytest.mark.parametrize(
    ("metric", "label", "lower"),
    [
        ("device_s", "device-seconds", "fewer device-seconds"),
        ("usd", "money", "less money"),
        ("accuracy", "accuracy", "a lower accuracy"),
        ("served_accuracy", "accuracy as served", "a lower accuracy as served"),
        ("active_log_loss", "log_loss of the active model", "a lower log_loss of the active model"),
        ("makespan_s", "makespan", "a shorter makespan"),
        ("own_figure", "own_figure", "a lower own_figure"),
    ],
)
def test_metrics_are_called_what_they_are_called_elsewhere(metric, label, lower):
    assert (metric_name(metric).label, metric_name(metric).lower) == (label, lower)


def test_metrics_that_have_a_name_are_figures_of_a_run():
    data = {"kind": "uniform", "num_samples": 100, "every": 1}
    run = tc.run({"data": data, "trigger": {"kind": "amount", "n": 50}}, on="sim")
    assert run.summary.keys() >= _NAMES.keys()


def test_units_stand_behind_the_name_of_an_axis():
    assert metric_name("usd").with_unit == "money (USD)"
    assert metric_name("device_s").with_unit == "device-seconds"
