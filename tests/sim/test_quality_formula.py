"""The quality formula and its parts: learning curves, drifts, warm starts, against numbers worked out by hand."""

from __future__ import annotations

import math
from itertools import count

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import TypeAdapter

from sim.config import SimConfig
from sim.quality import DecayQuality, FormulaQuality, FormulaScores, accuracy, drawn_errors, fit_inverse
from sim.quality.abrupt import AbruptDrift, change_points
from sim.quality.knowledge import WarmStart, from_scratch, warm_started
from sim.quality.learning import InverseCurve, LearningConfig, fresh_accuracy, inverse
from twinclock.errors import ConfigError
from twinclock.section import parse_section
from twinclock.stream import RecordedStream, UniformStream

SERIALS = count(1_000_000)
STREAM = UniformStream(1000, 1.0)
"""Sample i comes at data time i."""
PERFECT = {"kind": "saturating", "peak": 1.0, "half_samples": 0.0}
"""A model of any samples has accuracy 1 until something drifts."""
DRIFTS = {
    "gradual": {"kind": "gradual", "half_life": 100},
    "listed": {"kind": "abrupt", "at": [300, 600], "lost": 0.5},
    "drawn": {"kind": "abrupt", "every": 150, "lost": 0.4},
    "recurring": {"kind": "recurring", "period": 200, "depth": 0.6},
    "explosive": {"kind": "explosive", "onset": 150, "over": 50, "remains": 0.1},
}


def scores(*drift, stream=STREAM, seed=7, floor=0.0, learning=PERFECT, **more):
    section = {"kind": "formula", "floor": floor, "learning": learning, "drift": list(drift), **more}
    quality = parse_section(SimConfig, {"quality": section}, "test", under="sim").quality
    assert isinstance(quality, FormulaQuality)
    return FormulaScores(quality, stream, seed)


def model(*ranges, trigger=None, parent=None, num_samples=None, epochs=1, stream=STREAM):
    """A lineage entry of a model trained on these positions."""
    total = sum(stop - first for first, stop in ranges)
    return {
        "trigger": next(SERIALS) if trigger is None else trigger,
        "parent": parent,
        "ranges": [list(each) for each in ranges],
        "num_samples": total if num_samples is None else num_samples,
        "epochs": epochs,
        "last_ts": stream.timestamp(ranges[-1][1] - 1),
        "stop": ranges[-1][1],
    }


def scored(quality, of, first, stop, stream=STREAM):
    start, end = stream.timestamp(first), stream.timestamp(stop - 1) + 1.0
    interval = {"start": start, "end": end, "first": first, "stop": stop}
    return quality.score(of, interval, "accuracy", span=(start, end))


# Learning curves


def curve(**section):
    return TypeAdapter(LearningConfig).validate_python(section)


def test_the_saturating_curve_by_hand():
    saturating = curve(kind="saturating", peak=0.9, half_samples=100.0)
    assert fresh_accuracy(saturating, num_samples=100, epochs=1, floor=0.1) == 0.5
    assert fresh_accuracy(saturating, num_samples=300, epochs=9, floor=0.1) == pytest.approx(0.1 + 0.8 * 0.75)
    assert fresh_accuracy(saturating, num_samples=0, epochs=1, floor=0.1) == 0.1


def test_the_inverse_curve_by_hand_counts_samples_and_epochs():
    inverse_curve = curve(kind="inverse", b0=0.01, b1=1.0, b2=0.05)
    assert fresh_accuracy(inverse_curve, num_samples=300, epochs=1, floor=0.1) == pytest.approx(1 - (1 / 4 + 0.05))
    assert fresh_accuracy(inverse_curve, num_samples=300, epochs=3, floor=0.1) == pytest.approx(1 - (1 / 10 + 0.05))
    assert fresh_accuracy(inverse_curve, num_samples=0, epochs=3, floor=0.1) == 0.1, "1 - (1 + 0.05) is no accuracy"
    assert inverse(InverseCurve(b0=0.0, b1=0.0), 1000) == 0.0


def test_a_curve_is_found_again_from_its_points():
    truth = InverseCurve(b0=0.004, b1=1.7, b2=0.12)
    points = tuple((seen, inverse(truth, seen)) for seen in (0.0, 50.0, 200.0, 500.0, 2000.0, 10_000.0))
    fitted = fit_inverse(points)
    assert (fitted.b0, fitted.b1, fitted.b2) == pytest.approx((0.004, 1.7, 0.12), rel=1e-3)


@pytest.mark.parametrize("seed", range(5))
def test_a_fit_is_as_good_as_any_near_it(seed):
    rng = np.random.default_rng(seed)
    seen = np.array([100.0, 300.0, 1000.0, 3000.0, 10_000.0, 30_000.0])
    truth = InverseCurve(b0=0.002, b1=1.3, b2=0.1)
    values = np.clip([inverse(truth, each) for each in seen] + rng.normal(0, 0.02, len(seen)), 0, 1)

    def squares(b0, b1, b2):
        return sum((1 - (1 / (b0 * x + b1) + b2) - y) ** 2 for x, y in zip(seen, values, strict=True))

    fitted = fit_inverse(tuple(zip(seen.tolist(), values.tolist(), strict=True)))
    best = squares(fitted.b0, fitted.b1, fitted.b2)
    assert best <= squares(truth.b0, truth.b1, truth.b2)
    for b0 in fitted.b0 * np.array([0.9, 0.99, 1.01, 1.1]):
        for b1 in np.maximum(fitted.b1 * np.array([0.9, 1.0, 1.1]), 0.0):
            for b2 in np.maximum(fitted.b2 + np.array([-0.01, 0.0, 0.01]), 0.0):
                assert best <= squares(b0, b1, b2) + 1e-9


def test_points_from_a_few_epochs_foretell_the_rest():
    """What Ekya does: a curve from the first epochs on a share of the data says what training on all comes to."""
    truth = InverseCurve(b0=0.001, b1=1.2, b2=0.1)
    few = tuple((500.0 * epoch, inverse(truth, 500.0 * epoch)) for epoch in range(1, 6))
    fitted = curve(kind="fitted", points=few)
    told = fresh_accuracy(fitted, num_samples=10_000, epochs=10, floor=0.0)
    assert told == pytest.approx(inverse(truth, 100_000), abs=0.058)


def test_a_fit_takes_perfect_and_falling_accuracies():
    assert inverse(fit_inverse(((1.0, 1.0), (2.0, 1.0), (3.0, 1.0))), 2.0) == pytest.approx(1.0, abs=1e-3)
    assert inverse(fit_inverse(((1.0, 0.9), (2.0, 0.5), (3.0, 0.1))), 2.0) == pytest.approx(0.5, abs=1e-3)
    with pytest.raises(ValueError, match="three or more"):
        fit_inverse(((1.0, 0.9), (2.0, 0.5), (2.0, 0.1)))


@settings(derandomize=True, deadline=None, max_examples=200)
@given(
    st.sampled_from(
        [
            {"kind": "saturating", "peak": 0.8, "half_samples": 50.0},
            {"kind": "inverse", "b0": 0.01, "b1": 0.3, "b2": 0.1},
            {"kind": "fitted", "points": [[10, 0.2], [100, 0.5], [1000, 0.8], [5000, 0.7]]},
        ]
    ),
    st.integers(0, 10**9),
    st.integers(0, 10**9),
    st.integers(1, 100),
)
def test_more_samples_and_more_epochs_never_hurt(learning, few, many, epochs):
    few, many = sorted((few, many))
    at = [
        fresh_accuracy(curve(**learning), num_samples=n, epochs=e, floor=0.2)
        for n, e in [(0, 1), (few, 1), (many, 1), (many, epochs)]
    ]
    assert at == sorted(at)
    assert 0.2 <= at[0] <= at[-1] <= 1.0


# Drifts


def test_a_saturating_curve_and_a_gradual_drift_are_the_model_decay():
    decay = DecayQuality(peak=0.9, floor=0.1, half_samples=100.0, half_life_s=50.0)
    same = scores(
        {"kind": "gradual", "half_life": 50},
        floor=0.1,
        learning={"kind": "saturating", "peak": 0.9, "half_samples": 100.0},
    )
    for trained, (first, stop) in [((0, 100), (100, 200)), ((50, 80), (700, 701)), ((0, 900), (10, 20))]:
        expected = accuracy(decay, model(trained), first, stop)
        assert scored(same, model(trained), first, stop) == pytest.approx(expected, rel=1e-12)


def test_abrupt_drift_takes_the_share_that_was_trained_before_it():
    abrupt = scores({"kind": "abrupt", "at": [300], "lost": 0.4})
    assert scored(abrupt, model((0, 300)), 200, 300) == 1.0, "the change is yet to come"
    assert scored(abrupt, model((0, 300)), 300, 400) == pytest.approx(0.6)
    assert scored(abrupt, model((200, 400)), 400, 500) == pytest.approx(1 - 0.4 * 0.5)
    assert scored(abrupt, model((0, 100), (300, 600)), 600, 700) == pytest.approx(1 - 0.4 * 0.25)
    assert scored(abrupt, model((300, 400)), 400, 500) == 1.0
    assert scored(abrupt, model((0, 300)), 250, 350) == pytest.approx((1.0 + 0.6) / 2), "half of it lies before"
    assert scored(abrupt, model((300, 400)), 0, 100) == pytest.approx(0.6), "what is new does not hold for the old"


def test_change_points_add_up():
    abrupt = scores({"kind": "abrupt", "at": [600, 300], "lost": 0.5})
    assert scored(abrupt, model((0, 100)), 300, 600) == pytest.approx(0.5)
    assert scored(abrupt, model((0, 100)), 600, 700) == pytest.approx(0.25)
    assert scored(abrupt, model((0, 600)), 600, 700) == pytest.approx((0.25 + 0.5) / 2)
    both = scores({"kind": "abrupt", "at": [300], "lost": 0.5}, {"kind": "abrupt", "at": [600], "lost": 0.5})
    assert scored(both, model((0, 100)), 600, 700) == pytest.approx(0.25)


@settings(derandomize=True, deadline=None, max_examples=200)
@given(
    st.lists(st.floats(-50, 1100), min_size=1, max_size=6),
    st.floats(0, 1),
    st.tuples(st.integers(0, 999), st.integers(1, 1000)),
    st.tuples(st.integers(0, 999), st.integers(1, 1000)),
)
def test_abrupt_drift_is_the_mean_over_all_pairs(points, lost, trained, asked):
    (a, b), (c, d) = sorted(trained), sorted(asked)
    b, d = max(b, a + 1), max(d, c + 1)
    concept = np.searchsorted(np.sort(points), np.arange(1000.0), side="right")
    pairs = (1.0 - lost) ** np.abs(concept[a:b, None] - concept[None, c:d])
    drift = {"kind": "abrupt", "at": points, "lost": lost}
    assert scored(scores(drift), model((a, b)), c, d) == pytest.approx(pairs.mean(), abs=1e-9)


def test_drawn_change_points_come_at_random_with_the_rate_that_is_asked_for():
    long = UniformStream(1_000_000, 1.0, 50.0)
    points = np.array(change_points(AbruptDrift(every=100.0), long, 3, 0))
    assert len(points) == pytest.approx(10_000, rel=0.03)
    gaps = np.diff(points, prepend=50.0)
    assert (gaps > 0).all()
    assert gaps.std() == pytest.approx(gaps.mean(), rel=0.05), "exponential"
    assert points[-1] <= long.timestamp(999_999)


def test_drawn_change_points_depend_on_the_seed_and_their_place_alone():
    drift, short, long = AbruptDrift(every=20.0), UniformStream(1000, 1.0), UniformStream(90_000, 1.0)
    points = change_points(drift, short, 3, 0)
    assert points == change_points(drift, short, 3, 0)
    assert points == change_points(drift, long, 3, 0)[: len(points)], "what comes later changes nothing"
    assert points != change_points(drift, short, 4, 0)
    assert points != change_points(drift, short, 3, 1)


def test_recurring_drift_by_hand():
    recurring = scores({"kind": "recurring", "period": 200, "depth": 0.6})
    moment = model((100, 101))
    assert scored(recurring, moment, 300, 301) == pytest.approx(1.0)
    assert scored(recurring, moment, 200, 201) == pytest.approx(1 - 0.6)
    assert scored(recurring, moment, 150, 151) == pytest.approx(1 - 0.3)
    assert scored(recurring, model((0, 200)), 500, 510) == pytest.approx(1 - 0.3), "all phases are nobody's"


@settings(derandomize=True, deadline=None, max_examples=100)
@given(
    st.tuples(st.integers(0, 499), st.integers(1, 500)),
    st.tuples(st.integers(0, 499), st.integers(1, 500)),
    st.sampled_from([2.0, 7.3, 100.0, 5000.0]),
)
def test_recurring_drift_is_the_mean_over_all_pairs(trained, asked, period):
    (a, b), (c, d) = sorted(trained), sorted(asked)
    b, d = max(b, a + 1), max(d, c + 1)
    times = np.cumsum(np.random.default_rng(1).exponential(1.0, 500))
    stream = RecordedStream(times)
    between = times[c:d, None] - times[None, a:b]
    pairs = 1 - 0.6 * (1 - np.cos(2 * math.pi * between / period)) / 2
    drift = {"kind": "recurring", "period": period, "depth": 0.6}
    found = scored(scores(drift, stream=stream), model((a, b), stream=stream), c, d, stream)
    assert found == pytest.approx(pairs.mean(), abs=1e-9)


def test_many_samples_are_taken_in_pieces():
    stream = UniformStream(100_000, 1.0)
    recurring = scores({"kind": "recurring", "period": 30_000, "depth": 1.0}, stream=stream)
    times = np.arange(100_000.0)
    trained = np.exp(2j * np.pi * times[:50_000] / 30_000).mean()
    asked = np.exp(2j * np.pi * times[60_000:60_001] / 30_000).mean()
    expected = 1 - (1 - (asked * trained.conjugate()).real) / 2
    found = scored(recurring, model((0, 50_000), stream=stream), 60_000, 60_001, stream)
    assert found == pytest.approx(expected, abs=1e-4)


@settings(derandomize=True, deadline=None)
@given(st.integers(1, 300), st.integers(300, 500), st.integers(0, 2), st.integers(1, 50))
def test_a_concept_comes_back_after_its_period(num_samples, first, rounds, width):
    recurring = scores({"kind": "recurring", "period": 200, "depth": 0.9})
    of = model((0, num_samples))
    later = scored(recurring, of, first + 200 * rounds, first + 200 * rounds + width)
    assert later == pytest.approx(scored(recurring, of, first, first + width), abs=1e-9)


def test_explosive_drift_by_hand():
    explosive = scores({"kind": "explosive", "onset": 100, "over": 50, "remains": 0.2})
    of = model((0, 101))  # its newest sample comes at 100, and [199, 200) has its middle at an age of 99.5
    assert scored(explosive, of, 199, 200) == 1.0
    assert scored(explosive, of, 200, 250) == pytest.approx(1 - 0.8 * 25 / 50)
    assert scored(explosive, of, 400, 401) == pytest.approx(0.2)
    at_once = scores({"kind": "explosive", "onset": 100, "over": 0, "remains": 0.0})
    assert [scored(at_once, of, at, at + 1) for at in (150, 199, 200)] == [1.0, 1.0, 0.0]


def test_drifts_multiply_and_the_floor_stays():
    both = scores(DRIFTS["gradual"], DRIFTS["listed"], floor=0.2)
    of = model((0, 301))
    age_s, before = 50.0 + 0.5, 300 / 301
    kept = 2 ** (-age_s / 100) * (1 - 0.5 * before)
    assert scored(both, of, 350, 351) == pytest.approx(0.2 + 0.8 * kept)


@settings(derandomize=True, deadline=None, max_examples=300)
@given(
    st.lists(st.sampled_from(sorted(DRIFTS)), max_size=5),
    st.floats(0, 0.9),
    st.tuples(st.integers(0, 999), st.integers(1, 1000)),
    st.tuples(st.integers(0, 999), st.integers(1, 1000)),
    st.integers(0, 3),
)
def test_an_accuracy_lies_between_the_floor_and_a_fresh_models(names, floor, trained, asked, seed):
    (a, b), (c, d) = sorted(trained), sorted(asked)
    quality = scores(
        *(DRIFTS[name] for name in names),
        seed=seed,
        floor=floor,
        learning={"kind": "saturating", "peak": 0.95, "half_samples": 30.0},
    )
    of = model((a, max(b, a + 1)))
    value = scored(quality, of, c, max(d, c + 1))
    fresh = floor + (0.95 - floor) * of["num_samples"] / (of["num_samples"] + 30)
    assert floor - 1e-12 <= value <= fresh + 1e-12
    assert 0.0 <= value <= 1.0


def test_without_samples_there_is_no_score_and_without_a_formula_no_metric():
    quality = scores()
    interval = {"start": 5.0, "end": 9.0, "first": 5, "stop": 5}
    assert quality.score(model((0, 5)), interval, "accuracy", span=(5.0, 9.0)) is None
    with pytest.raises(ConfigError, match="gives accuracy, not log_loss"):
        quality.score(model((0, 5)), interval, "log_loss", span=(5.0, 9.0))


def test_errors_are_drawn_at_the_rate_of_each_samples_own_moment():
    stream = UniformStream(40_000, 1.0)
    abrupt = scores({"kind": "abrupt", "at": [20_000.0], "lost": 0.5}, stream=stream)
    of = model((0, 10_000), stream=stream)
    assert abrupt.errors(of, 0, 10) is None
    errors = drawn_errors(abrupt, of, stream, 19_000, 21_000, seed=3)
    assert not errors[:1000].any()
    assert errors[1000:].mean() == pytest.approx(0.5, abs=0.05)


# Warm starts


def test_a_warm_start_counts_what_the_parent_learned():
    warm = WarmStart(carry_over=0.5, forgetting=0.25)
    parent = from_scratch(model((0, 100)))
    child = warm_started(from_scratch(model((100, 140))), parent, warm)
    assert child.num_samples == 40 + 0.5 * 100
    assert child.weights.tolist() == pytest.approx([0.5 * 0.75 * 100 / 77.5, 40 / 77.5])
    grandchild = warm_started(from_scratch(model((140, 150))), child, warm)
    assert grandchild.num_samples == 10 + 0.5 * 90


def test_a_sample_that_both_were_trained_on_counts_once():
    child = warm_started(from_scratch(model((0, 200))), from_scratch(model((0, 100))), WarmStart(carry_over=1.0))
    assert child.num_samples == 200
    between = warm_started(from_scratch(model((40, 60))), from_scratch(model((0, 100))), WarmStart(carry_over=0.5))
    assert between.num_samples == 20 + 0.5 * 80
    assert list(zip(between.first, between.stop, strict=True)) == [(0, 40), (40, 60), (60, 100)]


def test_of_a_range_that_was_drawn_from_the_rest_stays_the_parents():
    parent = from_scratch(model((0, 100)))
    child = warm_started(from_scratch(model((0, 100), num_samples=20)), parent, WarmStart(carry_over=0.5))
    assert child.num_samples == pytest.approx(20 + 0.5 * 80)


@settings(derandomize=True, deadline=None)
@given(
    st.lists(st.lists(st.integers(0, 60), min_size=2, max_size=6, unique=True), min_size=2, max_size=5),
    st.floats(0, 1),
    st.floats(0, 1),
)
def test_what_a_line_of_models_knows_is_what_counting_sample_by_sample_gives(line, carry_over, forgetting):
    known, learned, present = None, np.zeros(60), np.zeros(60)
    for bounds in line:
        ranges = list(zip(sorted(bounds)[::2], sorted(bounds)[1::2], strict=False))
        own = from_scratch(model(*ranges))
        warm = WarmStart(carry_over=carry_over, forgetting=forgetting)
        known = own if known is None else warm_started(own, known, warm)
        learned, present = learned * carry_over, present * carry_over * (1 - forgetting)
        for first, stop in ranges:
            learned[first:stop] = present[first:stop] = 1.0
    assert known.num_samples == pytest.approx(learned.sum(), abs=1e-3)
    spread = np.zeros(60)
    for first, stop, weight in zip(known.first, known.stop, known.weights, strict=True):
        assert not spread[first:stop].any(), "apart"
        spread[first:stop] = weight / (stop - first)
    assert spread == pytest.approx(present / present.sum(), abs=1e-4)


def test_with_all_carried_over_and_nothing_forgotten_it_is_as_if_trained_on_everything():
    warm = {"carry_over": 1.0, "forgetting": 0.0}
    quality = scores(DRIFTS["listed"], learning={"kind": "saturating", "half_samples": 50.0}, warm_start=warm)
    entries = [model((at, at + 100), trigger=n, parent=n - 1 if n else None) for n, at in enumerate((0, 100, 200, 300))]
    for entry in entries:
        quality.stored(entry)
    at_once = model((0, 400), trigger=9)
    assert scored(quality, entries[-1], 450, 500) == pytest.approx(scored(quality, at_once, 450, 500))


def test_forgetting_frees_a_model_from_the_past_and_takes_the_past_from_it():
    entries = [model((0, 200), trigger=0), model((300, 400), trigger=1, parent=0)]
    old, new = [], []
    for forgetting in (0.0, 0.5, 1.0):
        quality = scores(
            {"kind": "abrupt", "at": [300], "lost": 1.0}, warm_start={"carry_over": 1.0, "forgetting": forgetting}
        )
        quality.stored(entries[0])
        old.append(scored(quality, entries[1], 0, 100))
        new.append(scored(quality, entries[1], 500, 600))
    assert old == pytest.approx([2 / 3, 1 / 2, 0.0])
    assert new == pytest.approx([1 / 3, 1 / 2, 1.0])


def test_nothing_carried_over_is_a_start_from_scratch():
    learning = {"kind": "inverse", "b0": 0.01, "b1": 1.0}
    cold = scores(*DRIFTS.values(), learning=learning, warm_start={"carry_over": 0.0})
    cold.stored(model((0, 200), trigger=0))
    child, alone = model((200, 300), trigger=1, parent=0), model((200, 300), trigger=2)
    assert scored(cold, child, 400, 500) == scored(cold, alone, 400, 500)


def test_a_long_line_of_warm_starts_is_no_trouble():
    quality = scores(warm_start={"carry_over": 0.9, "forgetting": 0.1}, learning={"kind": "saturating"})
    stream_length = 3000
    for serial in range(stream_length):
        entry = model((serial % 1000, serial % 1000 + 1), trigger=serial, parent=serial - 1 if serial else None)
        quality.stored(entry)
    value = scored(quality, entry, 0, 1)
    # each position comes again after 1000 trainings, so it counts 0.9^k of its latest, and 1 / (1 - 0.9) = 10 in all
    assert value == pytest.approx(0.9 * 10 / 1010, rel=1e-3)
