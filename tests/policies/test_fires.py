"""The dry helper as a notebook calls it: what it takes, and what it says to what it can't take."""

from __future__ import annotations

import doctest

import numpy as np
import pytest

import twinclock as tc
from twinclock.errors import ConfigError
from twinclock.policies import fires as module
from twinclock.policies.triggers.amount import AmountTrigger, AmountTriggerConfig

SCORED = {"kind": "performance", "interval": 4, "rules": [{"kind": "static", "threshold": 0.8}]}
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
        ({"batch_size": 0}, "batch_size: got 0, expected a number > 0"),
        ({"batch_size": -3}, "batch_size: got -3, expected a number > 0"),
        ({"trigger": COSTLY, "train_seconds": -1}, "train_seconds: got -1, expected a finite number >= 0"),
        ({"trigger": COSTLY, "train_seconds": float("nan")}, "train_seconds: got nan, expected a finite number >= 0"),
        ({"timestamps": [3, 2, 1]}, "timestamp at position 1 is earlier than the one before it"),
        ({"timestamps": [float("nan")]}, "timestamp at position 0 is not a finite number"),
    ],
)
def test_what_it_can_not_take(given, message):
    arguments = {"trigger": {"kind": "amount", "n": 6}, "timestamps": range(12), **given}
    with pytest.raises((ConfigError, ValueError)) as raised:
        tc.fires(**arguments)
    assert message in str(raised.value)
    assert len(str(raised.value).splitlines()) == 1
