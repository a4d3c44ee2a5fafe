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

from twinclock.drift import feature_wise
from twinclock.drift.classifier import NUM_FOLDS, c2st
from twinclock.drift.kernel import mmd
from twinclock.drift.windows import Floats, checked, completed, features

_FEATURE_WISE: Mapping[str, Callable[[Floats, Floats], float]] = {
    "ks": feature_wise.ks,
    "cvm": feature_wise.cvm,
    "wasserstein": feature_wise.wasserstein,
    "hellinger": feature_wise.hellinger,
    "js": feature_wise.js,
    "psi": feature_wise.psi,
    "energy": feature_wise.energy,
}

FEATURE_WISE = tuple(_FEATURE_WISE)
"""The distances that are means over features."""
DISTANCES = ("mmd", *FEATURE_WISE, "c2st")
"""Every distance, as a user writes it. Of all of them more means further apart."""


def distance(name: str, x: ArrayLike, y: ArrayLike) -> float | None:
    """The distance `name` of the current window y, (m, d), from the reference x, (n, d).

    None if a window has fewer than two rows (c2st: five), or there is no feature. ValueError for an unknown name, or
    windows that are not tables of the same width.
    """
    if name not in DISTANCES:
        raise ValueError(f"unknown distance {name!r}; expected one of {', '.join(DISTANCES)}")
    windows = checked(x, y)
    if windows is None:
        return None
    if name in FEATURE_WISE:
        return feature_mean(name, *windows)
    if name == "mmd":
        return mmd(*completed(*windows))
    return c2st(*completed(*windows)) if min(map(len, windows)) >= NUM_FOLDS else None


def feature_mean(name: str, x: Floats, y: Floats) -> float:
    """The mean of a feature-wise distance over all features, those that count 0 included."""
    each = _FEATURE_WISE[name]
    return float(np.mean([0.0 if values is None else each(*values) for values in features(x, y)]))
