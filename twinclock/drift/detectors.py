"""Detectors that look at one number after the other and say when its distribution has changed.

They are river's, with river's defaults:

* `adwin`         A. Bifet, R. Gavaldà, Learning from time-changing data with adaptive windowing, SDM 2007
* `page_hinkley`  E. S. Page, Continuous inspection schemes, Biometrika 41 (1954); both directions
* `kswin`         C. Raab, M. Heusinger, F.-M. Schleif, Reactive soft prototype computing for concept drift
                  streams, Neurocomputing 416 (2020)

After a drift all three begin anew with the next value: ADWIN does not go on with what is left of its window, nor
KSWIN with its latest values, and KSWIN draws again from the start of its seed. So a detector that has reported a drift
is the same as a fresh one, and one that was fed everything since its last drift is the same as one that was fed
everything. Whether a detector is also begun anew for other reasons is the caller's business.

NaN and infinities are missing values: they keep their index, but are not fed, for one would spoil the mean of
everything after it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import numpy as np
from numpy.typing import ArrayLike


def _adwin(_seed: int) -> Any:
    from river.drift import ADWIN

    return ADWIN()  # type: ignore[no-untyped-call]  # river leaves it without types


def _page_hinkley(_seed: int) -> Any:
    from river.drift import PageHinkley

    return PageHinkley()


def _kswin(seed: int) -> Any:
    from river.drift import KSWIN

    return KSWIN(seed=seed)


_DETECTORS: Mapping[str, Callable[[int], Any]] = {"adwin": _adwin, "page_hinkley": _page_hinkley, "kswin": _kswin}

DETECTORS = tuple(_DETECTORS)
"""Every detector, as a user writes it."""


class Detector:
    """One detector and how many values it has seen. ValueError for an unknown name.

    The seed matters to kswin only.
    """

    def __init__(self, name: str, seed: int) -> None:
        if name not in _DETECTORS:
            raise ValueError(f"unknown detector {name!r}; expected one of {', '.join(DETECTORS)}")
        self._detector = _DETECTORS[name](seed)
        self._num_seen = 0

    def feed(self, values: ArrayLike) -> list[int]:
        """Take in the next values, in order; the indices of those at which drift is reported.

        Indices count from the first value ever fed, over all calls.
        """
        numbers = np.asarray(values, np.float64)
        if numbers.ndim != 1:
            raise ValueError(f"a flat sequence of numbers expected, not an array of shape {numbers.shape}")
        present = np.flatnonzero(np.isfinite(numbers))
        drifts = _drifts(self._detector, present.tolist(), numbers[present].tolist())
        first, self._num_seen = self._num_seen, self._num_seen + len(numbers)
        return [first + index for index in drifts]


def detect(name: str, values: ArrayLike, seed: int) -> list[int]:
    """The indices at which a fresh detector reports drift when it is fed all values in order."""
    return Detector(name, seed).feed(values)


def _drifts(detector: Any, indices: Iterable[int], values: Iterable[float]) -> list[int]:
    update, drifts = detector.update, []
    for index, value in zip(indices, values, strict=True):
        update(value)
        if detector.drift_detected:
            drifts.append(index)
    return drifts
