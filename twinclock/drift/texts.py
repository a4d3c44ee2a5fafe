"""What every distance and detector is, for people: one line, then exactly, and the paper it is from.

x is the reference window, of n samples, y the current one, of m; d is the number of features.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple


class Text(NamedTuple):
    """About one of them."""

    about: str
    """Its first line says what it is; after an empty line comes how it is computed."""
    source: str
    """Empty for common practice."""


_PER_FEATURE = """A mean over the features; one that has a single value, the same in both windows, or fewer than two
    finite values in one of them, counts 0. Missing values are left out."""
_FILLED = "Missing values count as the feature's mean in the reference."
_OWN_TEST = "`hypothesis_test`: scipy's test of each feature, the smallest p-value times d, at most 1 (Bonferroni)."
_PERMUTED = """`hypothesis_test`: the samples of both windows are dealt out anew 200 times, p = (1 + how many of these
    distances reach the one found) / 201."""
_NO_TEST = "There is no `hypothesis_test` for it."
_BINS = """p and q are the shares of x and of y in each bin of a histogram of both windows together: ⌈log2(n + m) + 1⌉
    bins of one width (Sturges); of a feature with at most 20 distinct values in the reference, each value is a bin."""

DISTANCE_TEXTS: Mapping[str, Text] = {
    "mmd": Text(
        f"""Maximum mean discrepancy: how far apart the windows lie in the feature space of a Gaussian kernel.

    The unbiased estimate of MMD², not its root: mean of k(xᵢ, xⱼ) over i ≠ j + mean of k(yᵢ, yⱼ) over i ≠ j − 2 ·
    mean of k(xᵢ, yⱼ), with k(a, b) = exp(−‖a − b‖² / s), s the lower median of ‖xᵢ − xⱼ‖² over i ≠ j
    (of more than 16,384 samples, over evenly spaced ones). All features together. About 0 to 2; around 0, and as
    often below as above, where the windows are alike. {_FILLED} {_PERMUTED}
    """,
        "Gretton et al., A Kernel Two-Sample Test, JMLR 13, 2012",
    ),
    "ks": Text(
        f"""Kolmogorov-Smirnov: the largest gap between the two distribution functions.

    max |F(v) − G(v)| over all values v, F and G being the empirical distribution functions of x and y. 0 to 1.
    {_PER_FEATURE} {_OWN_TEST}
    """,
        "Kolmogorov, 1933; Smirnov, 1939; two samples as in scipy.stats.ks_2samp",
    ),
    "cvm": Text(
        f"""Cramér-von Mises: the squared gap between the two distribution functions, added up over the samples.

    T = U / (n·m·(n + m)) − (4·n·m − 1) / (6·(n + m)), U = n · Σ (rᵢ − i)² + m · Σ (sⱼ − j)², where rᵢ and sⱼ are the
    ranks (midranks for ties) of the i-th smallest of x and the j-th smallest of y among all n + m. It grows with the
    windows, so `hypothesis_test` is the rule for it. {_PER_FEATURE} {_OWN_TEST}
    """,
        "Anderson, On the Distribution of the Two-Sample Cramér-von Mises Criterion, Ann. Math. Statist. 33, 1962",
    ),
    "wasserstein": Text(
        f"""Wasserstein: how far the values have to be moved, in standard deviations of the reference.

    W1 / max(std(x), 0.001), W1 = ∫ |F(v) − G(v)| dv, std being that of a population (divided by n). 0 up.
    {_PER_FEATURE} {_NO_TEST}
    """,
        "Kantorovich, 1942; Vaserstein, 1969; W1 as in scipy.stats.wasserstein_distance",
    ),
    "hellinger": Text(
        f"""Hellinger: the distance between the square roots of two histograms.

    √(1 − Σ √(p·q)). 0 to 1. {_BINS} {_PER_FEATURE} {_NO_TEST}
    """,
        "Hellinger, 1909",
    ),
    "js": Text(
        f"""Jensen-Shannon: how much two histograms tell about which window a value is from.

    √(½ Σ p·ln(p/r) + ½ Σ q·ln(q/r)) with r = (p + q) / 2: the root of the divergence, with natural logarithms, 0 to
    √ln 2.
    {_BINS} {_PER_FEATURE} {_NO_TEST}
    """,
        "Lin, Divergence Measures Based on the Shannon Entropy, IEEE Trans. Inf. Theory 37, 1991",
    ),
    "psi": Text(
        f"""Population stability index: by how much the shares of a histogram have shifted.

    Σ (p − q)·ln(p/q), where a share of 0 counts as 0.0001. 0 up; below 0.1 is usually taken for none, above 0.25 for
    much. {_BINS} {_PER_FEATURE} {_NO_TEST}
    """,
        "",
    ),
    "energy": Text(
        f"""Energy distance: how much farther values lie from those of the other window than from their own.

    √(2 ∫ (F(v) − G(v))² dv), in roots of the feature's unit. 0 up. {_PER_FEATURE} {_PERMUTED}
    """,
        "Székely and Rizzo, Energy Statistics, J. Statist. Plann. Inference 143, 2013",
    ),
    "c2st": Text(
        f"""Classifier two-sample test: how well a classifier tells the two windows apart.

    The mean area under the ROC curve of logistic regression on standardised features, over 5 folds: row i of a window
    is held out in fold i mod 5. All features together. 0 to 1; about 0.5 where the windows are alike, 1 where they
    share nothing. Each window needs 5 samples. {_FILLED} {_PERMUTED}
    That is 1,000 fits and takes seconds at every decision, however small the windows are.
    """,
        "Lopez-Paz and Oquab, Revisiting Classifier Two-Sample Tests, ICLR 2017; here with the area for the accuracy",
    ),
}

_STREAMED = "Begun anew after each drift that it reports, and at each trigger; missing values are not fed."

DETECTOR_TEXTS: Mapping[str, Text] = {
    "adwin": Text(
        f"""ADWIN: a window of the latest values that is cut where two parts of it have different means.

    Reports drift when some split of its window has means farther apart than the bound for confidence 1 − delta.
    river's ADWIN with its defaults (delta 0.002, clock 32, max_buckets 5, min_window_length 5, grace_period 10).
    {_STREAMED}
    """,
        "Bifet and Gavaldà, Learning from Time-Changing Data with Adaptive Windowing, SDM 2007",
    ),
    "page_hinkley": Text(
        f"""Page-Hinkley: adds up how far values lie from their mean, and reports when the sum has moved too far.

    Reports drift when the cumulative deviation from the running mean, less a tolerance, has moved away from its extreme
    by more than a threshold, in either direction. river's PageHinkley with its defaults (min_instances 30, delta
    0.005, threshold 50, alpha 0.9999). {_STREAMED}
    """,
        "Page, Continuous Inspection Schemes, Biometrika 41, 1954",
    ),
    "kswin": Text(
        f"""KSWIN: a Kolmogorov-Smirnov test of the latest values against a draw from those before them.

    Of the last 100 values the newest 30 are tested against 30 drawn from the others; reports drift if p ≤ 0.005 and the
    statistic is above 0.1. river's KSWIN with its defaults, seeded by the run. {_STREAMED}
    """,
        "Raab, Heusinger and Schleif, Reactive Soft Prototype Computing for Concept Drift Streams, Neurocomputing 416, "
        "2020",
    ),
}
