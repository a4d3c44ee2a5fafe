"""The dry helper as a notebook calls it: what it takes, and what it says to what it can't take."""

from __future__ import annotations

import doctest
from datetime import datetime

import numpy as np
import pytest

import twinclock as tc
from twinclock.errors import ConfigError
from twinclock.policies import fires as module
from twinclock.policies.triggers.amount import AmountTrigger, AmountTriggerConfig

SCORED = {"kind": "performance", "interval": 4, "rules": [{"kind": "static", "threshold": 0.8}]}
LOSING = {**SCORED, "rules": [{"kind": "static", "metric": "log_loss", "threshold": 0.8}]}
DRIFTING = {
    "kind": "drift",
    "interval": 5,
    "metrics": {"far": {"kind": "ks", "rule": {"kind": "static", "threshold": 0.5}}},
    "windows": {"kind": "amount", "ref": 5, "cur": 5},
}
COSTLY = {"kind": "cost", "interval": 4, "regret": "incorporation_latency", "per_training_second": 1}


def test_the_example_of_its_docstring():
    assert doctest.run_docstring_examples(tc.fires, {"fires": tc.fires}) is None
    assert doctest.testmod(module).failed == 0


@pytest.mark.parametrize(
    "trigger",
    [{"kind": "amount", "n": 6}, AmountTriggerConfig(n=6), AmountTrigger(AmountTriggerConfig(n=6))],
    ids=["mapping", "configuration", "object"],
)
@pytest.mark.parametrize("timestamps", [range(20), list(range(20)), np.arange(20.0), np.arange(20) / 3])
def test_a_trigger_and_timestamps_of_any_form(trigger, timestamps):
    assert tc.fires(trigger, timestamps) == [5, 11, 17]


def test_numbers_of_any_kind_are_scores():
    scores = [None, 0.9, 0.7, 0.95]
    for made in (tuple(scores), np.array([0.0, 0.9, 0.7, 0.95]), [None, *np.float32([0.9, 0.7, 0.95])], iter(scores)):
        assert tc.fires(SCORED, range(16), scores=made) == [3, 11]
    assert tc.fires(LOSING, range(8), scores=[None, 3]) == [3, 7], "a loss has no upper end"


def test_no_samples():
    assert tc.fires({"kind": "amount", "n": 6}, []) == []


def test_scores_distances_and_seconds():
    scores = [None, 0.9, 0.7, 0.95]
    assert tc.fires(SCORED, range(16), scores=scores, batch_size=3) == [3, 11]
    assert tc.fires(DRIFTING, range(20), distances={"far": [None, 0.1, 0.6, 0.7]}) == [4, 14, 19]
    assert tc.fires(COSTLY, range(16), train_seconds=5) == [3, 7, 11, 15]
    assert tc.fires(COSTLY, range(16), train_seconds=lambda num_samples: 5.0 * num_samples) == [3, 11]


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"trigger": {"kind": "amount", "n": -6}}, "trigger.n: got -6, expected a number > 0"),
        ({"trigger": {"kind": "amuont", "n": 6}}, 'trigger.kind: got "amuont", expected one of'),
        ({"trigger": SCORED}, "scores: not given, and decision 1 (counted from 0) asks for it"),
        ({"trigger": SCORED, "scores": [None]}, "scores: got 1 values, but decision 1 (counted from 0) asks for one"),
        ({"trigger": DRIFTING, "distances": {"fra": [0.1]}}, "distances['far']: not given, and decision 1"),
        ({"trigger": DRIFTING, "distances": [0.1, 0.6]}, "distances: got [0.1, 0.6], expected a mapping from the name"),
        ({"trigger": DRIFTING, "distances": {"far": 0.1}}, "distances['far']: got 0.1, expected a list of numbers"),
        (
            {"trigger": DRIFTING, "distances": {"far": [None, 0.1, 0.2], "fra": [0.1]}, "timestamps": range(15)},
            "distances['fra']: the trigger has no metric of that name; did you mean far?",
        ),
        (
            {"trigger": DRIFTING, "distances": {"far": [None] * 6}},
            "distances['far']: got 6 values, but they are asked for in 2 decisions on these timestamps",
        ),
        ({"trigger": "amount"}, 'trigger: got "amount", expected a mapping such as {kind: amount, n: 500}'),
        ({"trigger": None}, "trigger: got null, expected a mapping such as"),
        ({"trigger": AmountTrigger}, "expected a mapping such as {kind: amount, n: 500}, its configuration, or a"),
        ({"trigger": SCORED, "scores": {"accuracy": [0.9]}}, 'scores: got {"accuracy": [0.9]}, expected a list of num'),
        (
            {"trigger": SCORED, "scores": [None, {"accuracy": 0.9}]},
            'scores[1]: got {"accuracy": 0.9}, expected a finite number, or None for no value',
        ),
        ({"trigger": SCORED, "scores": "0.9"}, 'scores: got "0.9", expected a list of numbers'),
        ({"trigger": SCORED, "scores": [None, "0.9"]}, 'scores[1]: got "0.9", expected a finite number'),
        ({"trigger": SCORED, "scores": [None, float("nan"), 1]}, "scores[1]: got NaN, expected a finite number"),
        ({"trigger": SCORED, "scores": [None, 5, 1]}, "scores[1]: got 5, expected a value of accuracy, in [0, 1]"),
        (
            {"trigger": SCORED, "scores": [None, -0.1, 1]},
            "scores[1]: got -0.1, expected a value of accuracy, in [0, 1]",
        ),
        ({"trigger": LOSING, "scores": [None, -2, 1]}, "scores[1]: got -2, expected a value of log_loss, at least 0"),
        (
            {"trigger": SCORED, "scores": [None, 0.9, 0.9, 0.9, 0.9]},
            "scores: got 5 values, but they are asked for in 3 decisions on these timestamps",
        ),
        ({"scores": [0.9]}, "scores: got 1 values, but they are never asked for on these timestamps"),
        ({"batch_size": 0}, "batch_size: got 0, expected a whole number > 0"),
        ({"batch_size": -3}, "batch_size: got -3, expected a whole number > 0"),
        ({"batch_size": 2.5}, "batch_size: got 2.5, expected a whole number > 0"),
        ({"batch_size": "3"}, 'batch_size: got "3", expected a whole number > 0'),
        ({"trigger": COSTLY, "train_seconds": -1}, "train_seconds: got -1, expected a finite number of seconds >= 0"),
        ({"trigger": COSTLY, "train_seconds": float("nan")}, "train_seconds: got NaN, expected a finite number"),
        ({"trigger": COSTLY, "train_seconds": "2s"}, 'train_seconds: got "2s", expected a finite number of seconds'),
        (
            {"trigger": COSTLY, "train_seconds": lambda num_samples: -num_samples},
            "train_seconds(4): got -4, expected a finite number of seconds >= 0",
        ),
        ({"label_delay_s": -1.0}, "label_delay_s: got -1.0, expected a finite number of seconds >= 0"),
        ({"label_delay_s": "1d"}, 'label_delay_s: got "1d", expected a finite number of seconds >= 0'),
        (
            {"timestamps": [datetime(2024, 1, 1)] * 3},
            "timestamps: got datetime.datetime(2024, 1, 1, 0, 0), expected a row",
        ),
        ({"timestamps": np.array(["2024-01-01"], "M8[s]")}, "expected a row of numbers, seconds of data time"),
        ({"timestamps": ["1", "2"]}, 'timestamps: got "1", expected a row of numbers'),
        ({"timestamps": [[1, 2], [3, 4]]}, "timestamps: got 1, expected a row of numbers"),
        ({"timestamps": 7}, "timestamps: got 7, expected a row of numbers"),
        ({"timestamps": [3, 2, 1]}, "timestamp at position 1 is earlier than the one before it"),
        ({"timestamps": [float("nan")]}, "timestamp at position 0 is not a finite number"),
    ],
)
def test_what_it_can_not_take(given, message):
    arguments = {"trigger": {"kind": "amount", "n": 6}, "timestamps": range(12), **given}
    with pytest.raises((ConfigError, ValueError)) as raised:
        tc.fires(**arguments)
    assert message in str(raised.value), str(raised.value)
    assert len(str(raised.value).splitlines()) == 1
