"""Each distance against an independent reference, by hand where that is possible, and against hostile windows."""

from __future__ import annotations

import math
import tracemalloc
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy import stats
from scipy.spatial.distance import jensenshannon
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import PredefinedSplit, cross_val_score
from sklearn.preprocessing import StandardScaler

from twinclock.drift import DISTANCES, FEATURE_WISE, distance, feature_wise, kernel, sampled

every_distance = pytest.mark.parametrize("name", DISTANCES)
HOSTILE = (math.nan, math.inf, -math.inf, 0.0, -0.0, 1.0, 5e-324, 1e-300, 1e300, -1e300, 1.7e308, -1.7e308)


# References, one feature at a time


def binned(p, q) -> tuple[np.ndarray, np.ndarray]:
    if len(set(p)) <= 20:
        values = sorted({*p, *q})
        return tuple(np.array([list(each).count(value) / len(each) for value in values]) for each in (p, q))
    edges = np.histogram_bin_edges(np.concatenate([p, q]), "sturges")
    return tuple(np.histogram(each, edges)[0] / len(each) for each in (p, q))


def hellinger(p, q) -> float:
    shares_p, shares_q = binned(p, q)
    return math.sqrt(max(0.0, 1 - sum(math.sqrt(a * b) for a, b in zip(shares_p, shares_q, strict=True))))


def psi(p, q) -> float:
    pairs = [(max(a, 0.0001), max(b, 0.0001)) for a, b in zip(*binned(p, q), strict=True)]
    return sum((a - b) * math.log(a / b) for a, b in pairs)


BY_FEATURE: dict[str, Callable] = {
    "ks": lambda p, q: stats.ks_2samp(p, q, method="asymp").statistic,
    "cvm": lambda p, q: stats.cramervonmises_2samp(p, q).statistic,
    "wasserstein": lambda p, q: stats.wasserstein_distance(p, q) / max(np.std(p), 0.001),
    "energy": stats.energy_distance,
    "hellinger": hellinger,
    "js": lambda p, q: jensenshannon(*binned(p, q)),
    "psi": psi,
}


def by_feature(name: str, x: np.ndarray, y: np.ndarray) -> float:
    found = []
    for column_x, column_y in zip(x.T, y.T, strict=True):
        p, q = (each[np.isfinite(each)] for each in (column_x, column_y))
        counts = min(len(p), len(q)) >= 2 and len({*p, *q}) > 1
        found.append(BY_FEATURE[name](p, q) if counts else 0.0)
    return float(np.mean(found))


def mmd_by_loops(x, y) -> float:
    def squared(a, b) -> float:
        return sum((float(i) - float(j)) ** 2 for i, j in zip(a, b, strict=True))

    between = sorted(squared(x[i], x[j]) for i in range(len(x)) for j in range(len(x)) if i != j)
    scale = between[(len(between) - 1) // 2]

    def k(a, b) -> float:
        return math.exp(-squared(a, b) / scale) if scale else float(squared(a, b) == 0)

    def mean_within(w) -> float:
        return sum(k(w[i], w[j]) for i in range(len(w)) for j in range(len(w)) if i != j) / (len(w) * (len(w) - 1))

    return mean_within(x) + mean_within(y) - 2 * sum(k(a, b) for a in x for b in y) / (len(x) * len(y))


# Windows


def normal(rng, n, m):
    return rng.normal(size=(n, 4)) * [1, 10, 1e-4, 1], rng.normal(0.3, 1.5, size=(m, 4)) * [1, 10, 1e-4, 1]


def tied(rng, n, m):
    return rng.integers(0, 6, (n, 3)).astype(float), rng.integers(1, 9, (m, 3)).astype(float)


def mostly_constant(rng, n, m):
    x, y = rng.normal(size=(n, 4)), rng.normal(size=(m, 4))
    x[:, :3], y[:, 0], y[:, 1] = 2.5, 2.5, 3.5
    return x, y


def with_gaps(rng, n, m):
    x, y = normal(rng, n, m)
    for each in (x, y):
        each[rng.random(each.shape) < 0.3] = math.nan
        each[rng.random(each.shape) < 0.1] = -math.inf
    x[1:, 3] = math.nan
    return x, y


KINDS = (normal, tied, mostly_constant, with_gaps)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("n", "m"), [(2, 2), (7, 30), (64, 64), (200, 131)])
@pytest.mark.parametrize("name", FEATURE_WISE)
def test_a_feature_wise_distance_is_the_mean_of_that_of_each_feature(name, n, m, kind):
    x, y = kind(np.random.default_rng(n), n, m)
    assert distance(name, x, y) == pytest.approx(by_feature(name, x, y), rel=1e-12, abs=1e-12)


@given(
    arrays(np.float64, st.tuples(st.integers(2, 12), st.just(2)), elements=st.sampled_from([0, 1, 2, 2.5, math.nan])),
    arrays(np.float64, st.tuples(st.integers(2, 12), st.just(2)), elements=st.sampled_from([0, 1, 2, 7, math.inf])),
)
@settings(deadline=None, max_examples=20)
def test_ties_and_gaps_in_all_arrangements(x, y):
    for name in FEATURE_WISE:
        # a distance that is a root shows rounding of what it is the root of
        assert distance(name, x, y) == pytest.approx(by_feature(name, x, y), rel=1e-12, abs=1e-7)


# By hand


def test_the_shares_of_a_discrete_feature():
    x, y = [[0], [0], [1], [1]], [[0], [1], [1], [2]]  # shares 1/2 1/2 0 and 1/4 1/2 1/4
    assert distance("hellinger", x, y) == pytest.approx(math.sqrt(1 - math.sqrt(1 / 8) - 1 / 2), rel=1e-12)
    in_nats = (math.log(4 / 3) / 2 + math.log(2 / 3) / 4 + math.log(2) / 4) / 2
    assert distance("js", x, y) == pytest.approx(math.sqrt(in_nats), rel=1e-12)
    assert distance("psi", x, y) == pytest.approx(math.log(2) / 4 + 0.2499 * math.log(2500), rel=1e-12)


def test_the_shares_of_a_continuous_feature():
    """N = 64 has ⌈6 + 1⌉ = 7 bins; over 0 … 63 each holds 9 numbers, the last 10."""
    x, y = np.arange(32.0)[:, None], np.arange(32.0, 64.0)[:, None]
    p, q = np.array([9, 9, 9, 5, 0, 0, 0]) / 32, np.array([0, 0, 0, 4, 9, 9, 10]) / 32
    assert distance("hellinger", x, y) == pytest.approx(math.sqrt(1 - math.sqrt(20) / 32), rel=1e-12)
    assert distance("js", x, y) == pytest.approx(jensenshannon(p, q), rel=1e-12)
    small = 0.0001
    terms = [3 * (9 / 32 - small) * math.log(9 / 32 / small), 1 / 32 * math.log(5 / 4)]
    terms += [2 * (9 / 32 - small) * math.log(9 / 32 / small), (10 / 32 - small) * math.log(10 / 32 / small)]
    assert distance("psi", x, y) == pytest.approx(sum(terms), rel=1e-12)


@pytest.mark.parametrize(("num_distinct", "num_bins"), [(20, 20), (21, 7)])
def test_a_feature_with_twenty_values_in_the_reference_is_discrete_and_with_more_it_is_not(num_distinct, num_bins):
    x = np.resize(np.arange(float(num_distinct)), 32)
    shares, _ = binned(x, x)
    assert len(shares) == num_bins
    moved = np.where(x == 0, 0.5, x)  # a value of its own, or the same bin
    apart = distance("hellinger", x[:, None], moved[:, None])
    assert (apart > 0) == (num_distinct == 20)


@pytest.mark.parametrize("num_rows", [22, 32, 127, 128, 500, 512, 4000])
def test_the_bins_are_those_of_numpy(num_rows):
    """Rounding may give one bin more than the formula where N is a power of two, and does so here as there."""
    for seed in range(12):
        rng = np.random.default_rng([num_rows, seed])
        p, q = rng.normal(size=num_rows), rng.normal(0.5, 2, size=num_rows)
        np.testing.assert_array_equal(feature_wise.shares(p, q), binned(p, q))


def test_a_range_of_a_few_smallest_steps_has_bins_too():
    """There numpy gives up."""
    p = 1 + np.arange(25) * np.finfo(float).eps
    with pytest.raises(ValueError, match="Too many bins"):
        np.histogram_bin_edges(p, 200)
    shares_p, shares_q = feature_wise.shares(p, p[::-1])
    np.testing.assert_array_equal(shares_p, shares_q)
    assert shares_p.sum() == pytest.approx(1)


def test_a_value_that_only_the_current_window_has_is_a_bin_too():
    x, near, far = [[1], [1], [2], [2]], [[1], [1], [2], [2.1]], [[1], [1], [2], [99]]
    assert distance("js", x, near) == distance("js", x, far) > 0


def test_wasserstein_counts_in_deviations_of_the_reference_or_thousandths():
    assert distance("wasserstein", [[-2], [2]], [[4], [8]]) == 3.0
    assert distance("wasserstein", [[1], [1]], [[3], [3]]) == pytest.approx(2000)
    assert distance("wasserstein", [[1], [1]], [[1], [1]]) == 0


def test_a_constant_feature_counts_zero_but_counts():
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(30, 1)), rng.normal(1, 1, size=(25, 1))
    for name in FEATURE_WISE:
        with_constant = distance(name, np.insert(x, 0, 7.0, axis=1), np.insert(y, 0, 7.0, axis=1))
        assert with_constant == pytest.approx(distance(name, x, y) / 2, rel=1e-12)


@pytest.mark.parametrize("name", FEATURE_WISE)
def test_a_feature_that_was_constant_and_has_changed_shows(name):
    assert distance(name, np.full((30, 1), 1.0), np.full((30, 1), 2.0)) > 0.5


def test_the_scale_of_the_kernel_is_the_lower_median():
    x = np.array([[0.0], [1.0], [3.0], [7.0]])  # squared distances 1 4 9 16 36 49
    assert kernel.lower_median_squared_distance(x) == 9
    assert kernel.lower_median_squared_distance(x[:3]) == 4
    assert kernel.lower_median_squared_distance(x[:2]) == 1


def test_mmd_by_hand():
    """Scale 1. Within the reference e⁻¹, within the current window e⁻⁴, between e⁻⁹ e⁻²⁵ e⁻⁴ e⁻¹⁶."""
    expected = math.exp(-1) + math.exp(-4) - (math.exp(-9) + math.exp(-25) + math.exp(-4) + math.exp(-16)) / 2
    assert distance("mmd", [[0], [1]], [[3], [5]]) == pytest.approx(expected, rel=1e-14)


# Maximum mean discrepancy


@pytest.mark.parametrize("kind", [normal, tied, mostly_constant])
@pytest.mark.parametrize(("n", "m"), [(2, 2), (3, 9), (21, 16)])
def test_mmd_is_what_two_loops_give(kind, n, m):
    x, y = kind(np.random.default_rng(m), n, m)
    assert distance("mmd", x, y) == pytest.approx(mmd_by_loops(x, y), rel=1e-12, abs=1e-12)


def test_mmd_is_unbiased_so_it_falls_below_zero_as_often_as_not():
    rng = np.random.default_rng(5)
    found = [distance("mmd", rng.normal(size=(30, 2)), rng.normal(size=(20, 2))) for _ in range(300)]
    assert abs(np.mean(found)) < 3 * np.std(found) / math.sqrt(300)
    assert 0.3 < np.mean(np.array(found) < 0) < 0.8


def test_mmd_of_copies_tells_equal_rows_from_others():
    copies = np.array([[1.0, 2.0]] * 5)
    assert distance("mmd", copies, copies) == 0
    assert distance("mmd", copies, copies + 1) == 2
    assert distance("mmd", copies, np.array([[1.0, 2.0], [3.0, 4.0]])) == 1 + 0 - 2 * 5 / 10


@pytest.mark.parametrize("unit", [2.0**-300, 2.0**-3, 2.0**300])
def test_mmd_has_no_unit(unit):
    x, y = normal(np.random.default_rng(2), 20, 30)
    assert distance("mmd", x * unit, y * unit) == pytest.approx(distance("mmd", x, y), rel=1e-12)


def test_one_row_far_out_does_not_hide_the_others():
    x, y = normal(np.random.default_rng(2), 40, 40)
    x[0] = 1e300
    assert distance("mmd", x, y) == pytest.approx(mmd_by_loops(np.clip(x, -1e150, 1e150), y), rel=1e-12)


@pytest.mark.parametrize("block_values", [1, 7, 100, 10**6])
def test_mmd_does_not_depend_on_the_blocks(block_values, monkeypatch):
    x, y = normal(np.random.default_rng(3), 33, 20)
    expected = mmd_by_loops(x, y)
    monkeypatch.setattr(kernel, "_BLOCK_VALUES", block_values)
    assert distance("mmd", x, y) == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("decimals", [0, 1, 12])
@pytest.mark.parametrize("num_rows", [2, 3, 90, 91])
def test_the_median_is_exact(num_rows, decimals):
    x = np.random.default_rng(4).normal(size=(num_rows, 2)).round(decimals)
    squared = np.sort(((x[:, None] - x[None]) ** 2).sum(axis=2)[np.triu_indices(num_rows, 1)])
    assert kernel.lower_median_squared_distance(x) == pytest.approx(squared[(len(squared) - 1) // 2], rel=1e-15)


@pytest.mark.parametrize(("num_rows", "step"), [(30, 1), (31, 2), (60, 2), (61, 3), (1000, 34)])
def test_of_a_long_reference_it_is_that_of_evenly_spaced_rows(num_rows, step, monkeypatch):
    x = np.random.default_rng(4).normal(size=(num_rows, 2))
    expected = kernel.lower_median_squared_distance(x[::step])
    monkeypatch.setattr(kernel, "_MAX_MEDIAN_ROWS", 30)
    assert kernel.lower_median_squared_distance(x) == expected


def test_mmd_of_large_windows_holds_no_matrix_of_them(monkeypatch):
    x, y = (np.random.default_rng(seed).normal(size=(1500, 2)) for seed in (0, 1))
    monkeypatch.setattr(kernel, "_BLOCK_VALUES", 2**15)
    distance("mmd", x[:10], y)  # what is imported is no part of it
    tracemalloc.start()
    distance("mmd", x, y)
    _, peak_bytes = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak_bytes < 3000 * 3000 * 8 / 4


# Classifier


@pytest.mark.parametrize(("n", "m"), [(5, 5), (60, 47)])
def test_c2st_is_the_cross_validated_area_under_the_curve(n, m):
    x, y = normal(np.random.default_rng(9), n, m)
    features = StandardScaler().fit_transform(np.concatenate([x, y]))
    labels = np.repeat([0, 1], [n, m])
    folds = PredefinedSplit(np.concatenate([np.arange(n) % 5, np.arange(m) % 5]))
    areas = cross_val_score(LogisticRegression(max_iter=1000), features, labels, cv=folds, scoring="roc_auc")
    assert distance("c2st", x, y) == pytest.approx(np.mean(areas), abs=1e-12)
    assert roc_auc_score([0, 1, 0, 1], [1, 1, 0, 2]) == 0.875  # the yardstick counts a tie as half, as here


def test_c2st_tells_what_can_be_told():
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(300, 5)), rng.normal(size=(300, 5))
    assert distance("c2st", x, y) == pytest.approx(0.5, abs=0.07)
    assert distance("c2st", x, y + 0.5) > 0.75
    assert distance("c2st", x, y + 50) == 1
    assert distance("c2st", np.ones((9, 2)), np.ones((9, 2))) == 0.5


def test_c2st_needs_a_row_of_each_window_in_each_fold():
    x = np.random.default_rng(0).normal(size=(9, 2))
    assert distance("c2st", x[:4], x) is None
    assert distance("c2st", x, x[:4]) is None
    assert distance("c2st", x[:5], x[5:]) is None
    assert distance("c2st", x[:5], x) is not None


# Missing values


@pytest.mark.parametrize("name", ["mmd", "c2st"])
def test_where_rows_are_compared_a_missing_value_is_the_mean_of_the_reference(name):
    x, y = normal(np.random.default_rng(6), 12, 10)
    full_x, full_y = x.copy(), y.copy()
    full_x[3, 1] = np.delete(x[:, 1], 3).mean()
    full_y[5, 1] = full_y[6, 1] = full_x[3, 1]
    full_x[:, 2], full_y[2, 2] = 0.0, 0.0
    x[3, 1], y[5, 1], y[6, 1], x[:, 2], y[2, 2] = math.nan, math.inf, -math.inf, math.nan, math.nan
    assert distance(name, x, y) == pytest.approx(distance(name, full_x, full_y), rel=1e-9)


@pytest.mark.parametrize("name", FEATURE_WISE)
def test_elsewhere_it_is_left_out_of_its_feature_and_window(name):
    x, y = normal(np.random.default_rng(6), 40, 30)
    lacking = np.concatenate([x, np.full((5, 4), math.nan)]), np.concatenate([np.full((3, 4), math.inf), y])
    assert distance(name, *lacking) == pytest.approx(distance(name, x, y), rel=1e-12)


# What holds for all


SYMMETRIC = ("ks", "cvm", "hellinger", "js", "psi", "energy")
ZERO_FOR_EQUALS = ("ks", "wasserstein", "hellinger", "js", "psi", "energy")


@pytest.mark.parametrize("name", SYMMETRIC)
@pytest.mark.parametrize("kind", [normal, with_gaps])
def test_the_order_of_the_windows_is_nothing_to_some(name, kind):
    x, y = kind(np.random.default_rng(7), 90, 75)  # more than 20 values of each, so that none is discrete
    x[:, 3], y[:, 3] = 0.0, 1.0
    assert distance(name, x, y) == pytest.approx(distance(name, y, x), rel=1e-12)


@pytest.mark.parametrize("name", ZERO_FOR_EQUALS)
@pytest.mark.parametrize("kind", KINDS)
def test_a_window_is_at_no_distance_from_itself(name, kind):
    x, _ = kind(np.random.default_rng(8), 50, 35)
    assert distance(name, x, x) == 0


@pytest.mark.parametrize("name", [name for name in DISTANCES if name != "c2st"])
@pytest.mark.parametrize("kind", KINDS)
def test_the_order_of_the_rows_is_nothing_to_all_but_the_folds(name, kind):
    rng = np.random.default_rng(10)
    x, y = kind(rng, 50, 35)
    shuffled = rng.permutation(x), rng.permutation(y)
    assert distance(name, *shuffled) == pytest.approx(distance(name, x, y), rel=1e-11, abs=1e-14)


@every_distance
def test_the_same_windows_give_the_same_number_and_are_left_alone(name):
    x, y = with_gaps(np.random.default_rng(11), 30, 30)
    before = x.copy(), y.copy()
    assert distance(name, x, y) == distance(name, x, y)
    np.testing.assert_array_equal((x, y), before)


@every_distance
def test_a_shift_is_further_than_none(name):
    rng = np.random.default_rng(12)
    x, y = rng.normal(size=(200, 3)), rng.normal(size=(200, 3))
    near, far = distance(name, x, y), distance(name, x, y + 1)
    assert far > 2 * near or (name == "c2st" and far > 0.85 > 0.6 > near)


# Hostile


@every_distance
@pytest.mark.parametrize(("n", "m"), [(0, 0), (0, 5), (1, 5), (5, 1), (5, 0)])
def test_fewer_than_two_rows_are_at_no_distance_at_all(name, n, m):
    assert distance(name, np.zeros((n, 3)), np.zeros((m, 3))) is None


@every_distance
def test_without_features_there_is_no_distance(name):
    assert distance(name, np.zeros((9, 0)), np.zeros((9, 0))) is None


@every_distance
@given(data=st.data())
@settings(deadline=None, max_examples=25)
def test_any_floats_give_a_finite_number_and_no_warning(name, data):
    d = data.draw(st.integers(1, 3))
    shapes = st.tuples(st.integers(5, 30), st.just(d))
    elements = st.sampled_from(HOSTILE) | st.floats(-10, 10)
    windows = [data.draw(arrays(np.float64, shapes, elements=elements, fill=st.floats(0, 1))) for _ in range(2)]
    found = distance(name, *windows)
    assert type(found) is float
    assert math.isfinite(found)
    if name not in ("mmd", "cvm"):
        assert found >= 0
    if name in ("ks", "hellinger", "js", "c2st"):
        assert found <= 1 + 1e-12


@every_distance
@pytest.mark.parametrize("num_rows", [6, 40])
def test_huge_and_tiny_values_do_not_hide_a_drift(name, num_rows):
    x = np.random.default_rng(13).uniform(0.9, 1.0, size=(num_rows, 1))
    far = distance(name, x, -x)
    assert far > 0.4
    assert distance(name, x * 1e140, -x * 1e140) == pytest.approx(far * (1e70 if name == "energy" else 1), rel=1e-9)
    if name not in ("energy", "wasserstein"):  # which have a unit, and a smallest deviation
        assert distance(name, x * 1e-140, -x * 1e-140) == pytest.approx(far, rel=1e-9)


@every_distance
def test_beyond_1e150_a_value_counts_as_that(name):
    x, y = normal(np.random.default_rng(15), 30, 30)
    limited = x.copy(), y.copy()
    x[0, 0], y[:, 0], y[:9, 1], limited[0][0, 0], limited[1][:, 0], limited[1][:9, 1] = 2 * [1e300, -1e308, 1e151]
    limited = tuple(np.clip(each, -1e150, 1e150) for each in limited)
    assert distance(name, x, y) == distance(name, *limited)


def test_an_energy_keeps_its_unit():
    x, y = normal(np.random.default_rng(14), 20, 20)
    expected = distance("energy", x, y)
    assert distance("energy", x * 2.0**400, y * 2.0**400) == pytest.approx(expected * 2.0**200, rel=1e-12)
    assert distance("energy", x * 2.0**-700, y * 2.0**-700) == pytest.approx(expected * 2.0**-350, rel=1e-12)


@every_distance
def test_missing_altogether_is_no_drift(name):
    nothing = np.full((8, 2), math.nan)
    assert distance(name, nothing, nothing) == (0.5 if name == "c2st" else 0)


def test_whatever_counts_as_numbers_will_do():
    assert distance("ks", [[True], [False]], [[1], [1]]) == 0.5
    assert distance("ks", np.array([[0.1], [0.2]], np.float32), [[1], [2]]) == 1


# Mistakes


def test_an_unknown_distance_is_refused():
    with pytest.raises(ValueError, match="unknown distance 'kl'; expected one of mmd, ks"):
        distance("kl", np.zeros((3, 1)), np.zeros((3, 1)))


@pytest.mark.parametrize(("x", "y"), [((3, 2), (3, 1)), ((3,), (3,)), ((3, 1, 1), (3, 1, 1)), ((3, 1), (3,))])
def test_windows_of_different_features_are_refused(x, y):
    with pytest.raises(ValueError, match=r"windows of shapes \(n, d\) and \(m, d\) expected"):
        distance("ks", np.zeros(x), np.zeros(y))


# Samples


def test_a_sample_has_as_many_rows_as_asked_each_once_in_order():
    x = np.arange(100.0)[:, None]
    drawn = sampled(x, 30, np.random.default_rng(0))
    assert len(drawn) == 30
    assert (np.diff(drawn[:, 0]) > 0).all()
    assert sampled(x, 100, np.random.default_rng(0)) is x
    assert sampled(x, 101, np.random.default_rng(0)) is x


def test_a_sample_is_that_of_its_seed_and_favours_nobody():
    x = np.arange(10.0)[:, None]
    again = [sampled(x, 3, np.random.default_rng(5)) for _ in range(2)]
    np.testing.assert_array_equal(*again)
    drawn = np.concatenate([sampled(x, 3, np.random.default_rng(seed)) for seed in range(2000)])
    counts = np.bincount(drawn[:, 0].astype(int), minlength=10)
    assert stats.chisquare(counts).pvalue > 0.001
