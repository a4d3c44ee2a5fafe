"""Tests of paired differences: a permutation test, Holm's correction, and an effect size that bears few seeds."""

from __future__ import annotations

import numpy as np

from experiments.statistics.intervals import CHUNK
from experiments.statistics.observations import Floats, generator

_NUM_RANDOM = 9_999
_RANDOM_PER_TEST = 50
"""Random flips for each test of a family: its smallest p, times their number, is then 0.04."""
_BATCH = 1_000


def sign_flip_p_values(differences: Floats, key: tuple[str, ...], num_tests: int) -> Floats:
    """The two-sided p of each row of paired differences: how rare so large a mean is if every sign were a coin's.

    That is so if the two variants of a pair could be exchanged in every seed (Fisher 1935, The Design of Experiments,
    chapter III; scipy.stats.permutation_test). All 2ⁿ signs are counted as far as there are no more than `num_flips`,
    else that many are drawn at random, the same for every row. `num_tests`: how many p-values are corrected together.
    """
    from scipy import stats

    p_values = np.empty(len(differences))
    for start in range(0, len(differences), CHUNK):
        rows = slice(start, start + CHUNK)
        p_values[rows] = stats.permutation_test(
            (differences[rows],),
            lambda x, axis: x.mean(axis=axis),
            permutation_type="samples",
            axis=-1,
            vectorized=True,
            n_resamples=num_flips(num_tests),
            batch=_BATCH,
            random_state=generator("sign flips", *key, str(differences.shape[1])),
        ).pvalue
    return p_values


def num_flips(num_tests: int) -> int:
    """How many flips of signs are looked at for each of so many tests."""
    return max(_NUM_RANDOM, _RANDOM_PER_TEST * num_tests)


def smallest_p(num_seeds: int, num_tests: int) -> float:
    """The smallest p that one of so many tests can have from so many seeds, not corrected."""
    return 2.0 / 2**num_seeds if 2**num_seeds <= num_flips(num_tests) else 2.0 / (num_flips(num_tests) + 1)


def seeds_needed(num_tests: int, level: float) -> int:
    """The fewest seeds, the same for all of so many tests, with which a corrected p can fall below a level."""
    num_seeds = 1
    while num_tests * smallest_p(num_seeds, num_tests) >= level:
        num_seeds += 1
    return num_seeds


def holm(p_values: Floats) -> Floats:
    """P-values corrected for their number, so that the chance of any false alarm stays below the level (Holm 1979).

    The k-th smallest of m is multiplied by m − k + 1, then none may be smaller than one before it. "A Simple
    Sequentially Rejective Multiple Test Procedure", Scandinavian Journal of Statistics 6:65–70.
    """
    order = np.argsort(p_values, kind="stable")
    factors = np.arange(len(p_values), 0, -1)
    corrected = np.empty(len(p_values))
    corrected[order] = np.minimum(1.0, np.maximum.accumulate(p_values[order] * factors))
    return corrected


def rank_biserial(differences: Floats) -> float:
    """The matched-pairs rank-biserial correlation: from −1, all differences negative, to 1, all positive.

    (W⁺ − W⁻) / (W⁺ + W⁻), W± being the sums of the ranks of |difference| of the positive and the negative ones; zeros
    are left out, and 0 if there is nothing else (Kerby 2014, "The Simple Difference Formula", Comprehensive Psychology
    3:11.IT.3.1). Taken rather than Cohen's d_z, the mean over the standard deviation of the differences: with random
    numbers in common that deviation can be close to 0, and is 0 in a simulation without noise, so d_z
    says how much of the noise is in common rather than how large the difference is, and may not exist.
    """
    from scipy import stats

    some = differences[differences != 0.0]
    if len(some) == 0:
        return 0.0
    ranks = stats.rankdata(np.abs(some))
    return float((ranks[some > 0.0].sum() - ranks[some < 0.0].sum()) / ranks.sum())
