"""The detectors against river itself, one update at a time."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from river import drift

from twinclock.drift import DETECTORS, Detector, detect

BARE = {
    "adwin": lambda seed: drift.ADWIN(),
    "page_hinkley": lambda seed: drift.PageHinkley(),
    "kswin": lambda seed: drift.KSWIN(seed=seed),
}
every_detector = pytest.mark.parametrize("name", DETECTORS)


def by_river(name: str, values, seed: int) -> list[int]:
    detector, found = BARE[name](seed), []
    for index, value in enumerate(values):
        detector.update(float(value))
        if detector.drift_detected:
            found.append(index)
    return found


def shifting(seed: int, num_values: int = 1200) -> np.ndarray:
    """A stream whose mean jumps every 200 values."""
    rng = np.random.default_rng(seed)
    return rng.normal(np.repeat(rng.normal(0, 4, num_values // 200), 200), 1)


@every_detector
@pytest.mark.parametrize("seed", range(2))
def test_a_detector_reports_what_river_reports(name, seed):
    values = shifting(seed, 600)
    found = detect(name, values, seed)
    assert found == by_river(name, values, seed)
    assert len(found) >= 2


@every_detector
def test_a_calm_stream_has_few_drifts_and_one_step_has_one_soon_after_it(name):
    rng = np.random.default_rng(1)
    calm = rng.random(400)
    assert len(detect(name, calm, 0)) <= 1
    found = detect(name, np.concatenate([calm, calm + 5]), 0)
    assert any(400 <= index < 450 for index in found)


@pytest.mark.parametrize("name", ["adwin", "page_hinkley"])
@given(sizes=st.lists(st.integers(0, 400), max_size=8), seed=st.integers(0, 50))
@settings(deadline=None, max_examples=40)
def test_chunks_are_nothing_to_it(name, sizes, seed):
    check_chunks(name, sizes, seed)


@pytest.mark.parametrize("sizes", [[1] * 300, [99, 1, 0, 1, 250]])
def test_chunks_are_nothing_to_one_that_draws(sizes):
    check_chunks("kswin", sizes, 3)


def check_chunks(name: str, sizes: list[int], seed: int) -> None:
    values = shifting(seed, 600)
    detector, found = Detector(name, seed), []
    for chunk in np.split(values, np.minimum(np.cumsum(sizes, dtype=int), 600)):
        found += detector.feed(chunk)
    assert found == detect(name, values, seed)


@every_detector
def test_after_a_drift_it_is_as_good_as_new(name):
    values = shifting(4, 800)
    first, *others = detect(name, values, 4)
    assert others
    assert [first + 1 + index for index in detect(name, values[first + 1 :], 4)] == others


@every_detector
def test_missing_values_keep_their_place_but_are_not_fed(name):
    values = shifting(5, 600)
    places = np.arange(0, 600, 7)
    lacking = np.insert(values, places, [math.nan, math.inf, -math.inf][0])
    lacking[0] = math.inf
    where = np.flatnonzero(np.isfinite(lacking))
    found = detect(name, lacking, 5)
    assert found == [where[index] for index in detect(name, values, 5)]
    assert found
    detector = Detector(name, 5)
    assert [*detector.feed(lacking[:333]), *detector.feed(lacking[333:])] == found


def test_the_seed_decides_what_kswin_draws_and_nothing_else():
    values = shifting(6, 600)
    found = [detect("kswin", values, seed) for seed in range(3)]
    assert found[0] == detect("kswin", values, 0)
    assert any(other != found[0] for other in found)
    assert detect("adwin", values, 0) == detect("adwin", values, 1)
    assert detect("page_hinkley", values, 0) == detect("page_hinkley", values, 1)


@every_detector
def test_hostile_values_do_no_harm(name):
    values = np.tile([math.nan, 1e300, -1e300, 0.0, 5e-324, -0.0, math.inf], 30)
    assert all(type(index) is int for index in detect(name, values, 0))
    assert detect(name, [], 0) == []
    assert detect(name, [math.nan] * 50, 0) == []


def test_mistakes_are_refused():
    with pytest.raises(ValueError, match="unknown detector 'ddm'; expected one of adwin, page_hinkley, kswin"):
        Detector("ddm", 0)
    with pytest.raises(ValueError, match=r"a flat sequence of numbers expected, not an array of shape \(3, 2\)"):
        detect("adwin", np.zeros((3, 2)), 0)
