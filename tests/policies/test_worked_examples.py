"""The worked examples of the definitions of trigger policies; those of `amount` and `time` are in test_triggers."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest
from trigger_cases import BATCH_SIZES, Case, answers, fires_of, trigger_of

from twinclock.policies import Fire, Quiet, Samples
from twinclock.policies.cost_matrix import CostMatrix, cost, oracle
from twinclock.policies.forecast import next_value
from twinclock.policies.triggers.cara import Tuned, tuned
from twinclock.policies.triggers.dry_run import dry_run
from twinclock.policies.triggers.training_cost import TrainingSeconds
from twinclock.stream import RecordedStream

each_batch_size = pytest.mark.parametrize("size", BATCH_SIZES)
SECONDS = tuple(float(i) for i in range(40))
ACCURACIES = (0.9, 0.9, 0.7, 0.95, 0.6, 0.6, 0.9, 0.5, 0.9, 0.9)


def performance(*rules: Mapping[str, Any], interval: int = 4, **more: Any) -> dict[str, Any]:
    return {"kind": "performance", "interval": interval, "rules": list(rules), **more}


class TestIntervals:
    @each_batch_size
    def test_a_static_threshold_on_accuracies(self, size):
        rule = {"kind": "static", "metric": "accuracy", "threshold": 0.8}
        assert fires_of(Case(performance(rule), SECONDS, ACCURACIES), size) == [3, 11, 19, 23, 31]

    @each_batch_size
    @pytest.mark.parametrize(
        ("cooldown", "expected"), [({"samples": 4}, [3, 11, 19, 23, 31]), ({"samples": 5}, [3, 11, 19, 31])]
    )
    def test_a_cooldown_of_the_interval_changes_nothing_and_one_more_does(self, cooldown, expected, size):
        rule = {"kind": "static", "metric": "accuracy", "threshold": 0.8}
        assert fires_of(Case(performance(rule, cooldown=cooldown), SECONDS, ACCURACIES), size) == expected


SERIES = (0.5, 0.6, 0.4, 0.8, 0.81, 0.3, 0.9)


class TestThresholdRules:
    @each_batch_size
    @pytest.mark.parametrize(
        ("rule", "metric", "expected"),
        [
            ({"kind": "quantile", "window": 3, "q": 0.25}, "log_loss", "1101101"),
            ({"kind": "quantile", "window": 3, "q": 0.25}, "accuracy", "1010010"),
            ({"kind": "rolling", "window": 3, "deviation": 0.1, "absolute": True}, "log_loss", "1001101"),
        ],
        ids=["quantile, higher", "quantile, lower", "rolling, higher"],
    )
    def test_a_series(self, rule, metric, expected, size):
        """The first decision has no model to score, so the series begins at the second."""
        config = performance({**rule, "metric": metric}, interval=2)
        found = fires_of(Case(config, SECONDS[: 2 * 8], (None, *SERIES)), size)
        assert "".join("01"[2 * i + 3 in found] for i in range(7)) == expected


class TestDrift:
    @each_batch_size
    @pytest.mark.parametrize(
        ("threshold", "expected"),
        [(0.5, [4, 9, 14, 19, 24, 29, 34, 39]), (1.0, [4, 14, 24, 34]), (1.5, [4, 19, 34])],
    )
    def test_a_distance_of_means_on_rising_values(self, threshold, expected, size):
        values = np.arange(40.0)

        def observe(request: Mapping[str, Any]) -> dict[str, float]:
            reference, current = values[slice(*request["reference"])], values[slice(*request["current"])]
            return {"means": abs(float(current.mean()) - float(reference.mean())) / 10}

        config = {
            "kind": "drift",
            "interval": 5,
            "metrics": {"means": {"kind": "ks", "rule": {"kind": "static", "threshold": threshold}}},
            "windows": {"kind": "amount", "ref": 5, "cur": 5},
        }
        ran = dry_run(trigger_of(config), RecordedStream(values), size or 40, observe=observe)
        assert [answer.position for _, answer in ran if isinstance(answer, Fire)] == expected


class TestAvoidableMisclassifications:
    @each_batch_size
    @pytest.mark.parametrize(
        ("allow_reduction", "counts"),
        [(False, [1, 4, 4, 8, 15, 0]), (True, [1, 4, 2, 6, 13, 0])],
        ids=["without reduction", "with reduction"],
    )
    def test_what_adds_up(self, allow_reduction, counts, size):
        rule = {
            "kind": "avoidable_misclassifications",
            "threshold": 10,
            "expected_accuracy": 0.9,
            "allow_reduction": allow_reduction,
        }
        misses = (3, 5, 0, 6, 9, 2)
        scores = (None, *(1 - each / 20 for each in misses))
        case = Case(performance(rule, interval=20), tuple(map(float, range(140))), scores)
        decisions = [decision for answer in answers(case, size) for decision in answer.decisions]
        judged = decisions[1:]  # the first one has no model to judge
        assert [each.signal + each.threshold for each in judged] == counts
        assert [each.verdict for each in judged] == ["none", "none", "none", "none", "fired", "none"]

    @each_batch_size
    @pytest.mark.parametrize(("mode", "expected"), [("hindsight", [3, 19, 31]), ("lookahead", [3, 19, 23, 31])])
    def test_on_the_accuracies_of_the_static_example(self, mode, expected, size):
        rule = {
            "kind": "avoidable_misclassifications",
            "threshold": 3,
            "expected_accuracy": 0.9,
            "mode": mode,
        }
        assert fires_of(Case(performance(rule), SECONDS, ACCURACIES), size) == expected

    @pytest.mark.parametrize(("values", "expected"), [((1, 2, 3, 4), 2.5), ((1, 2, 3, 4, 5), 5.857143)])
    def test_a_forecast(self, values, expected):
        assert next_value(values) == pytest.approx(expected, abs=5e-7)


class TestCost:
    def test_the_seconds_to_expect_after_one_two_and_three_trainings(self):
        seconds, found = TrainingSeconds(1000), []
        assert seconds.of(100) is None
        for num_samples, took in ((10, 0.5), (20, 1), (30, 1.5)):
            seconds.note(num_samples, took)
            found.append(seconds.of(100))
        assert [round(each, 4) for each in found] == [0.5, 4.9167, 4.9801]

    @each_batch_size
    @pytest.mark.parametrize(
        ("price", "expected"),
        [
            (1, [3, 7, 11, 15, 19, 23, 27, 31, 35, 39]),
            (10, [3, 15, 27, 39]),
            (50, [3, 27]),
            (100, [3, 39]),
        ],
    )
    def test_the_dearer_a_second_of_training_the_rarer(self, price, expected, size):
        config = {"kind": "cost", "interval": 4, "per_training_second": price}
        assert fires_of(Case(config, SECONDS, train_seconds=lambda num_samples: 5.0), size) == expected


class TestContinuum:
    CONFIG: Mapping[str, Any] = {"kind": "continuum", "w": 10, "alpha": 0, "beta": 1}

    @pytest.mark.parametrize(("arrivals", "moment"), [((0.0, 4.0), 9.0), ((0.0,), 10.0)])
    def test_the_moment_at_which_waiting_is_worth_a_training(self, arrivals, moment):
        """It asks to be woken just after it: a sample at the moment itself is part of the fire."""
        trigger, stream = trigger_of(self.CONFIG), RecordedStream(np.array(arrivals))
        seen = Samples(stream=stream, first=0, stop=len(arrivals))
        assert isinstance(trigger.advance(seen, None), Quiet)
        assert trigger.next_deadline() == math.nextafter(moment, math.inf)

    @each_batch_size
    @pytest.mark.parametrize(
        ("arrivals", "expected"),
        [
            ((0.0, 4.0, 9.5), [1]),
            ((0.0, 4.0, 9.0), []),
            ((0.0, 4.0, 9.0, 9.5), [2]),
            ((0.0, 10.0), []),
            ((0.0, 10.5), [0]),
        ],
    )
    def test_the_fire_is_at_the_last_sample_up_to_that_moment(self, arrivals, expected, size):
        assert fires_of(Case(self.CONFIG, arrivals), size) == expected


def aging_models(price: float) -> CostMatrix:
    """A model costs 1, 3 and 6 on the intervals after its own; without one each costs 5."""
    answering = np.zeros((4, 4))
    for i in range(4):
        for j in range(i + 1, 4):
            answering[i, j] = (1, 3, 6)[j - i - 1]
    return CostMatrix(initial=np.full(4, 5.0), answering=answering, training=np.full(4, price))


class TestCostMatrix:
    @pytest.mark.parametrize(("price", "least", "fires"), [(2, 14, (0, 1)), (4, 18, (1,))])
    def test_the_oracle(self, price, least, fires):
        best = oracle(aging_models(price))
        assert (best.cost, best.fires) == (least, fires)
        assert cost(aging_models(price), fires) == least

    @pytest.mark.parametrize(
        ("mode", "expected"),
        [
            ("threshold", Tuned(3.0, 0, 0)),  # trains after 0 and 2: 2 · 2 + 5 + 1 + 3 + 1
            ("cumulative", Tuned(4.0, 0, 0)),  # the same: 1 + 3 of the first model's
            ("periodic", Tuned(math.inf, 2, 0)),
        ],
    )
    def test_cara_finds_the_cheapest_threshold_worked_by_hand(self, mode, expected):
        assert tuned(mode, aging_models(2)) == expected
        assert cost(aging_models(2), [0, 2]) == 14

    @pytest.mark.parametrize("mode", ["threshold", "cumulative"])
    def test_cara_does_not_train_where_a_training_is_worth_nothing(self, mode):
        assert tuned(mode, aging_models(100)).threshold > 5


class TestEnsemble:
    FROM_100 = tuple(float(100 + i) for i in range(20))
    BOTH: Mapping[str, Any] = {"t": {"kind": "time", "every": 5}, "a": {"kind": "amount", "n": 8}}

    @each_batch_size
    @pytest.mark.parametrize(
        ("of", "rule", "expected"),
        [
            (BOTH, {"kind": "at_least", "k": 2}, [7, 15]),
            (BOTH, {"kind": "at_least", "k": 1}, [4, 7, 9, 14, 15]),
            ({**BOTH, "b": {"kind": "amount", "n": 100}}, "majority", [7, 15]),
        ],
    )
    def test_periods_and_amounts(self, of, rule, expected, size):
        assert fires_of(Case({"kind": "ensemble", "of": of, "rule": rule}, self.FROM_100), size) == expected

    @each_batch_size
    def test_empty_periods_are_one_vote(self, size):
        of = {"t": {"kind": "time", "every": 30}, "a": {"kind": "amount", "n": 2}}
        case = Case({"kind": "ensemble", "of": of, "rule": "any"}, (0.0, 10.0, 20.0, 100.0, 110.0, 200.0))
        assert fires_of(case, size) == [1, 2, 3, 4, 5]


@pytest.mark.parametrize(("size", "expected"), [(1, list(range(8))), (3, [2, 5, 7]), (7, [6, 7]), (None, [7])])
def test_on_batch_alone_depends_on_the_batches(size, expected):
    assert fires_of(Case({"kind": "on_batch"}, SECONDS[:8]), size) == expected


@each_batch_size
def test_never_and_always(size):
    assert fires_of(Case({"kind": "never"}, SECONDS), size) == []
    assert fires_of(Case({"kind": "always"}, SECONDS[:5]), size) == [0, 1, 2, 3, 4]
    assert fires_of(Case({"kind": "always", "n": 6}, SECONDS[:20]), size) == [5, 11, 17]
