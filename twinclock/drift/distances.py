"""The distance between a reference window and the current one, by name.

| name | is | range | missing values |
|---|---|---|---|
| mmd | unbiased MMD², Gaussian kernel | about 0 to 2 | filled |
| ks | Kolmogorov-Smirnov statistic | 0 to 1 | left out |
| cvm | Cramér-von Mises statistic | 0 up, grows with the windows | left out |
| wasserstein | W1 in standard deviations of the reference | 0 up | left out |
| hellinger | of histograms | 0 to 1 | left out |
| js | Jensen-Shannon distance of histograms | 0 to √ln 2 | left out |
| psi | population stability index of histograms | 0 up | left out |
| energy | energy distance, a root | 0 up | left out |
| c2st | area under the ROC curve of a classifier that tells the windows apart | 0 to 1, alike: 0.5 | filled |

All but mmd and c2st are feature-wise: the mean over all features. A feature counts 0 there if it has one value only,
the same in both windows, or fewer than two finite values in one of them. A feature that was constant in the reference
and has changed since is no constant.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
from numpy.typing import ArrayLike

from twinclock.drift import bins, kernel, ranks
from twinclock.drift.classifier import NUM_FOLDS, c2st
from twinclock.drift.windows import Floats, checked, completed

BY_RANK: Mapping[str, Callable[[ranks.Split], Floats]] = {
    "ks": ranks.ks,
    "cvm": ranks.cvm,
    "wasserstein": ranks.wasserstein,
    "energy": ranks.energy,
}
_BY_HISTOGRAM: Mapping[str, Callable[[Floats, Floats], float]] = {
    "hellinger": bins.hellinger,
    "js": bins.js,
    "psi": bins.psi,
}

_LARGEST = float(np.finfo(np.float64).max)

FEATURE_WISE = (*BY_RANK, *_BY_HISTOGRAM)
"""The distances that are means over features."""
DISTANCES = ("mmd", *FEATURE_WISE, "c2st")
"""Every distance, as a user writes it. Of all of them more means further apart."""


def distance(name: str, x: ArrayLike, y: ArrayLike) -> float | None:
    """The distance `name` of the current window y, (m, d), from the reference x, (n, d).

    None if a window has fewer than two rows (c2st: five), or there is no feature. What is too large for a float
    is the largest float. ValueError for an unknown name, or windows that are not tables of the same width.
    """
    if name not in DISTANCES:
        raise ValueError(f"unknown distance {name!r}; expected one of {', '.join(DISTANCES)}")
    windows = checked(x, y)
    if windows is None:
        return None
    if name in FEATURE_WISE:
        with np.errstate(over="ignore"):
            return min(float(feature_distances(name, *windows).mean()), _LARGEST)
    reference, current = completed(*windows)
    if name == "mmd":
        return kernel.mmd(reference, current)
    if min(len(reference), len(current)) < NUM_FOLDS:
        return None
    return c2st(reference, current)


def feature_distances(name: str, x: Floats, y: Floats) -> Floats:
    """A feature-wise distance of each feature, (d,): 0 for those that are constant or missing."""
    if name in BY_RANK:
        is_reference = np.arange(len(x) + len(y)) < len(x)
        return np.concatenate([BY_RANK[name](ranks.split(pooled, is_reference)) for pooled in ranks.pools(x, y)])
    each = _BY_HISTOGRAM[name]
    return np.array([0.0 if shares is None else each(*shares) for shares in bins.histograms(x, y)])
