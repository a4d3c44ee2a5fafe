"""P-values: those of scipy, permutations counted by hand, uniform without drift, small with it."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from twinclock.drift import DISTANCES, TESTABLE, distance, kernel, p_value, p_values

TESTS = {"ks": stats.ks_2samp, "cvm": stats.cramervonmises_2samp}
every_test = pytest.mark.parametrize("name", TESTABLE)


def keyed(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def windows(seed: int, n: int, m: int, d: int, shift: float = 0.0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    return rng.normal(size=(n, d)), rng.normal(shift, 1, size=(m, d))


def divided(both: np.ndarray, division: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    return both[division], both[~division]


# Tests of scipy


@pytest.mark.parametrize("name", TESTS)
@pytest.mark.parametrize(("n", "m"), [(2, 3), (7, 10), (40, 25), (150, 150)])
@pytest.mark.parametrize("decimals", [0, 9])
def test_a_feature_wise_test_takes_the_smallest_times_the_number_of_features(name, n, m, decimals):
    for seed in range(6):
        x, y = (each.round(decimals) for each in windows(seed, n, m, 3, 0.7 if seed % 2 else 0))
        expected = min(1, 3 * min(TESTS[name](p, q).pvalue for p, q in zip(x.T, y.T, strict=True)))
        assert p_value(name, x, y, keyed()) == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("name", TESTS)
def test_it_does_so_on_the_values_that_are_there(name):
    rng = np.random.default_rng(3)
    for seed in range(8):
        x, y = windows(seed, 40, 30, 4, 0.5)
        x[rng.random(x.shape) < 0.2] = math.nan
        y[rng.random(y.shape) < 0.2] = math.inf
        x[1:, 1] = math.nan  # one value: no evidence
        x[:, 2] = y[:, 2] = 1.0  # constant: none either
        pairs = [(x[np.isfinite(x[:, j]), j], y[np.isfinite(y[:, j]), j]) for j in (0, 3)]
        expected = min(1, 4 * min(TESTS[name](p, q).pvalue for p, q in pairs))
        assert p_value(name, x, y, keyed()) == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("name", TESTS)
def test_it_draws_nothing(name):
    rng = keyed()
    p_value(name, *windows(0, 20, 20, 2), rng)
    assert rng.bit_generator.state == keyed().bit_generator.state


@pytest.mark.parametrize("name", TESTS)
def test_features_without_evidence_have_none(name):
    assert p_value(name, np.ones((9, 2)), np.ones((9, 2)), keyed()) == 1
    assert p_value(name, np.full((9, 2), math.nan), np.ones((9, 2)), keyed()) == 1


# Permutations


def divisions_of(n: int, m: int, rng: np.random.Generator) -> np.ndarray:
    return rng.permuted(np.tile(np.arange(n + m) < n, (200, 1)), axis=1)


@pytest.mark.parametrize(
    ("name", "shift"), [("mmd", 0.0), ("mmd", 0.4), ("energy", 0.0), ("energy", 0.4), ("c2st", 0.4)]
)
def test_a_permutation_test_counts_what_reaches_the_distance(name, shift, monkeypatch):
    monkeypatch.setattr(p_values, "NUM_PERMUTATIONS", 20)
    n, m = 14, 11
    x, y = windows(2, n, m, 2, shift)
    both = np.concatenate([x, y])
    found = distance_with_one_kernel(name, both, np.arange(n + m) < n, x)
    divisions = keyed(8).permuted(np.tile(np.arange(n + m) < n, (20, 1)), axis=1)
    others = [distance_with_one_kernel(name, both, division, x) for division in divisions]
    expected = (1 + sum(other >= found for other in others)) / 21
    assert p_value(name, x, y, keyed(8)) == expected
    assert 0 < expected < 1


def distance_with_one_kernel(name, both, division, reference) -> float:
    p, q = divided(both, division)
    if name == "energy":
        return float(np.mean([stats.energy_distance(a, b) for a, b in zip(p.T, q.T, strict=True)]))
    if name == "c2st":
        return distance("c2st", p, q)
    scale = kernel.lower_median_squared_distance(reference)
    k = {
        key: np.exp(-((a[:, None] - b[None]) ** 2).sum(axis=2) / scale)
        for key, a, b in (("pp", p, p), ("qq", q, q), ("pq", p, q))
    }
    n, m = len(p), len(q)
    within_p, within_q = (k["pp"].sum() - n) / (n * (n - 1)), (k["qq"].sum() - m) / (m * (m - 1))
    return float(within_p + within_q - 2 * k["pq"].mean())


@pytest.mark.parametrize("block_values", [1, 60, 10**6])
def test_mmd_of_other_divisions_is_mmd_of_those_windows(block_values, monkeypatch):
    monkeypatch.setattr(kernel, "_BLOCK_VALUES", block_values)
    x, y = windows(4, 9, 13, 3, 0.5)
    both = np.concatenate([x, y])
    divisions = np.concatenate([[np.arange(22) < 9], divisions_of(9, 13, keyed())])
    found = kernel.mmd_of_divisions(x, y, divisions)
    expected = [distance_with_one_kernel("mmd", both, division, x) for division in divisions]
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-13)
    assert found[0] == pytest.approx(distance("mmd", x, y), abs=1e-13)


def test_energy_of_other_divisions_leaves_out_what_is_missing():
    x, y = windows(5, 12, 8, 3, 0.3)
    x[:4, 0], y[2, 1], x[:11, 2], y[:, 2] = math.nan, math.inf, math.nan, -math.inf
    both, as_found = np.concatenate([x, y]), np.arange(20) < 12
    found, *others = (
        sum(energy_of_what_is_there(p, q) for p, q in zip(*(each.T for each in divided(both, division)), strict=True))
        for division in [as_found, *divisions_of(12, 8, keyed(4))]
    )
    expected = (1 + sum(other >= found - 1e-12 for other in others)) / 201
    assert p_value("energy", x, y, keyed(4)) == expected
    assert 0.05 < expected < 0.95


def energy_of_what_is_there(p: np.ndarray, q: np.ndarray) -> float:
    p, q = p[np.isfinite(p)], q[np.isfinite(q)]
    return stats.energy_distance(p, q) if min(len(p), len(q)) >= 2 else 0.0


@pytest.mark.parametrize("name", ["mmd", "energy", "c2st"])
def test_windows_that_no_permutation_changes_are_no_evidence(name, monkeypatch):
    monkeypatch.setattr(p_values, "NUM_PERMUTATIONS", 10)
    assert p_value(name, np.ones((6, 2)), np.ones((7, 2)), keyed()) == 1


@pytest.mark.parametrize("name", ["mmd", "energy"])
def test_the_smallest_p_value_is_one_in_201(name):
    x, y = windows(0, 40, 40, 2, 9.0)
    assert p_value(name, x, y, keyed()) <= 1 / 201


# What a p-value is for


def largest_gap_to_uniform(found: list[float]) -> float:
    return float(stats.ks_1samp(found, stats.uniform.cdf).statistic)


@pytest.mark.parametrize(("name", "n", "m"), [("mmd", 20, 25), ("energy", 20, 25), ("ks", 300, 251), ("cvm", 30, 40)])
def test_without_drift_p_values_are_spread_evenly(name, n, m, monkeypatch):
    """The bound is the 1 % critical value of a test for uniformity; a p-value twice as large as due would miss it."""
    monkeypatch.setattr(p_values, "NUM_PERMUTATIONS", 99)
    found = [p_value(name, *windows(seed, n, m, 1), keyed(seed)) for seed in range(100)]
    assert largest_gap_to_uniform(found) < 1.63 / math.sqrt(100)
    assert largest_gap_to_uniform([min(1, 2 * p) for p in found]) > 1.63 / math.sqrt(100)


@pytest.mark.parametrize("name", TESTS)
def test_with_many_features_a_false_alarm_is_no_more_likely_than_said(name):
    found = np.array([p_value(name, *windows(seed, 40, 40, 8), keyed()) for seed in range(100)])
    assert 0 < (found < 0.1).sum() <= 17  # 10 are due, and 17 is two deviations and a half above


@every_test
def test_a_shift_is_found(name, monkeypatch):
    monkeypatch.setattr(p_values, "NUM_PERMUTATIONS", 19)
    assert p_value(name, *windows(0, 50, 50, 3, 1.0), keyed()) <= 1 / 20


# Keys, and windows that have none


@every_test
def test_the_same_key_gives_the_same_p_value(name, monkeypatch):
    monkeypatch.setattr(p_values, "NUM_PERMUTATIONS", 10)
    x, y = windows(1, 15, 15, 2, 0.2)
    assert p_value(name, x, y, keyed(3)) == p_value(name, x, y, keyed(3))


@pytest.mark.parametrize("name", ["mmd", "energy"])
def test_another_key_gives_another_but_not_far_from_it(name):
    x, y = windows(1, 40, 40, 2, 0.1)
    found = {p_value(name, x, y, keyed(seed)) for seed in range(6)}
    assert len(found) > 1
    assert max(found) - min(found) < 0.2


@every_test
@pytest.mark.parametrize(("n", "m", "d"), [(1, 9, 2), (9, 1, 2), (0, 0, 2), (9, 9, 0)])
def test_too_few_rows_or_no_features_have_no_p_value(name, n, m, d):
    assert p_value(name, np.zeros((n, d)), np.zeros((m, d)), keyed()) is None


def test_four_rows_have_none_for_the_classifier():
    assert p_value("c2st", np.zeros((4, 1)), np.zeros((9, 1)), keyed()) is None


@every_test
def test_hostile_values_give_a_p_value(name, monkeypatch):
    monkeypatch.setattr(p_values, "NUM_PERMUTATIONS", 5)
    rng = np.random.default_rng(0)
    hostile = np.array([math.nan, math.inf, -math.inf, 0.0, 5e-324, 1e300, -1.7e308, 1.7e308])
    for _ in range(5):
        x, y = rng.choice(hostile, (15, 3)), rng.choice(hostile, (12, 3))
        assert 0 < p_value(name, x, y, keyed()) <= 1


@pytest.mark.parametrize("name", [*(each for each in DISTANCES if each not in TESTABLE), "t"])
def test_a_distance_without_a_test_is_refused(name):
    with pytest.raises(ValueError, match=f"no hypothesis test for '{name}'; expected one of mmd, ks, cvm"):
        p_value(name, *windows(0, 9, 9, 1), keyed())
