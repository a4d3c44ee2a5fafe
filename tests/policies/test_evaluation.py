"""Evaluation plans: their intervals, who is in use on them, and which pairs are planned when."""

from __future__ import annotations

import math
from itertools import pairwise
from typing import get_args

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from twinclock.config import load_config
from twinclock.errors import ConfigError
from twinclock.policies.evaluation import (
    BetweenTriggersPlan,
    EvaluationPlan,
    OffsetPlan,
    PeriodicPlan,
    SlicingPlan,
    StaticPlan,
    active,
    intervals,
    plan_after_pipeline,
    plan_after_training,
    served,
    trained,
)
from twinclock.policies.selection import reach
from twinclock.stream import RecordedStream, UniformStream

METRICS = ("accuracy",)
SECONDS = UniformStream(70, 1.0)


def model(trigger: int, first_ts: float, last_ts: float, served_from: int | None = None):
    lineage = {"trigger": trigger, "first_ts": first_ts, "last_ts": last_ts, "path": f"models/{trigger:05d}"}
    return {**lineage, "served_from": served_from}


MODELS = [model(1, 0, 9, 10), model(2, 10, 29, 30), model(3, 40, 49, 50)]


def bounds(found):
    return [(each["start"], each["end"]) for each in found]


def register(rows):
    return {"total": len(rows), "items": rows}


def by_definition(models, which, key):
    ordered = sorted(models, key=lambda m: m["trigger"])
    older = [m for m in ordered if m["last_ts"] < key]
    if which == "active":
        return older[-1] if older else None
    newer = ordered[len(older) :]
    return newer[0] if newer else (older[-1] if older else None)


# Who is in use


def test_the_model_in_use_on_slices():
    """Trainings on (0,9), (10,29) and (40,49), slices of ten from zero."""
    starts = [each["start"] for each in intervals(SlicingPlan(every=10, from_=0), SECONDS, 70, MODELS)]
    assert starts == [0, 10, 20, 30, 40, 50, 60]
    assert [m and m["trigger"] for m in (active(MODELS, s) for s in starts)] == [None, 1, 1, 2, 2, 3, 3]
    assert [m and m["trigger"] for m in (trained(MODELS, s) for s in starts)] == [1, 2, 2, 3, 3, 3, 3]


def test_without_models_none_is_in_use():
    assert active([], 5) is None
    assert trained([], 5) is None
    assert served([]) == []


def test_a_model_that_saw_the_key_is_not_active():
    assert active(MODELS, 9) is None
    assert active(MODELS, 9.5)["trigger"] == 1


@given(
    gaps=st.lists(st.integers(0, 5), max_size=6),
    key=st.integers(-1, 30),
    which=st.sampled_from([active, trained]),
    data=st.data(),
)
def test_models_in_use_are_their_definition_in_any_order_of_storing(gaps, key, which, data):
    models = [model(i, 0, float(ts)) for i, ts in enumerate(np.cumsum(gaps))]
    stored = data.draw(st.permutations(models))
    assert which(stored, key) == by_definition(models, which.__name__, key)


def server_by_definition(models, position):
    """The newest model that was there when the sample came."""
    there = [m for m in models if m["served_from"] <= position]
    return max(there, key=lambda m: m["trigger"]) if there else None


@given(st.lists(st.integers(0, 20), max_size=6), st.data())
def test_every_sample_is_served_by_the_newest_model_that_was_there(begins, data):
    models = data.draw(st.permutations([model(i, 0, 0, first) for i, first in enumerate(begins)]))
    found = served(models)
    assert all(earlier.stop == later.first for earlier, later in pairwise(found))
    assert all(each.stop is None for each in found[-1:])
    by_position = {p: each.model for each in found for p in range(each.first, 30 if each.stop is None else each.stop)}
    assert [by_position.get(p) for p in range(30)] == [server_by_definition(models, p) for p in range(30)]


def test_what_nobody_knows_can_not_be_asked():
    with pytest.raises(ValueError, match="model 4 has no position"):
        served([model(4, 0, 9, None)])


# Intervals


@pytest.mark.parametrize(
    ("plan", "stop", "expected"),
    [
        (SlicingPlan(every=10), 25, [(0, 10), (10, 20), (20, 25)]),
        (SlicingPlan(every=10), 20, [(0, 10), (10, 20)]),
        (SlicingPlan(every=10, from_=5), 25, [(5, 15), (15, 25)]),
        (SlicingPlan(every=10, to=14), 25, [(0, 10), (10, 14)]),
        (SlicingPlan(every=10, to=1e9), 25, [(0, 10), (10, 20), (20, 25)]),
        (SlicingPlan(every=10, from_=-5, to=0), 25, [(-5, 0)]),
        (SlicingPlan(every=10, from_=25), 25, []),
        (SlicingPlan(every=10), 0, []),
        (BetweenTriggersPlan(), 70, [(0, 10), (10, 30), (40, 50), (50, 70)]),
        (BetweenTriggersPlan(), 50, [(0, 10), (10, 30), (40, 50)]),
        (PeriodicPlan(every=10, half=5), 30, [(0, 5), (5, 15), (15, 25)]),
        (PeriodicPlan(every=10, half=15), 25, [(0, 15), (0, 25), (5, 35)]),
        (PeriodicPlan(every=10, half=3, from_=4, to=24), 70, [(1, 7), (11, 17), (21, 27)]),
        (PeriodicPlan(every=10, half=3, from_=4, to=23.9), 70, [(1, 7), (11, 17)]),
        (PeriodicPlan(every=10, half=2, from_=30, to=30), 70, [(28, 32)]),
        (PeriodicPlan(every=0.1, half=1, from_=0, to=0.3), 70, [(0, 1), (0, 1.1), (0, 1.2), (0, 1.3)]),
        (PeriodicPlan(every=10, half=5, from_=-20), 10, [(0, 5)]),
        (PeriodicPlan(every=10, half=5, from_=10, to=1e12), 16, [(5, 15), (15, 25)]),
        (PeriodicPlan(every=10, half=5, from_=100), 70, []),
        (PeriodicPlan(every=10, half=5), 0, []),
        (OffsetPlan(offsets=(0,)), 70, [(0, 10), (10, 30), (40, 50)]),
        (OffsetPlan(offsets=(-4, 4)), 70, [(-4, 0), (10, 14), (6, 10), (30, 34), (36, 40), (50, 54)]),
        (OffsetPlan(offsets=("-inf",)), 70, [(0, 10), (0, 40)]),
        (OffsetPlan(offsets=("inf",)), 70, [(10, 70), (30, 70), (50, 70)]),
        (OffsetPlan(offsets=("inf", 20)), 70, [(10, 70), (10, 30), (30, 70), (30, 50), (50, 70)]),
        (OffsetPlan(offsets=("inf", 20)), 50, [(10, 50), (10, 30), (30, 50), (50, 70)]),
        (StaticPlan(intervals=((30, 40), (-5, 7), (65, 90))), 70, [(-5, 7), (30, 40), (65, 90)]),
        (StaticPlan(intervals=((30, 40),)), 0, []),
    ],
)
def test_intervals(plan, stop, expected):
    assert bounds(intervals(plan, SECONDS, stop, MODELS)) == [tuple(map(pytest.approx, each)) for each in expected]


def test_intervals_know_their_samples():
    stream = RecordedStream(np.array([0.0, 0.0, 9.0, 10.0, 31.0]))
    found = intervals(SlicingPlan(every=10), stream, 5, [])
    assert [(i["first"], i["stop"]) for i in found] == [(0, 3), (3, 4), (4, 4), (4, 5)]


def test_between_triggers_without_a_training_has_no_interval():
    assert intervals(BetweenTriggersPlan(), SECONDS, 70, []) == []


# Plans as a user writes them


def error_of(**plan):
    with pytest.raises(ConfigError) as caught:
        load_config({"trigger": {"kind": "amount", "n": 1}, "evaluation": {"plans": [plan]}})
    text = str(caught.value)
    assert "\n" not in text
    return text.removeprefix("config: evaluation.plans.0")


@pytest.mark.parametrize(
    ("plan", "said"),
    [
        ({"kind": "static"}, ".intervals: missing"),
        ({"kind": "static", "intervals": []}, ".intervals: got [], expected at least 1 item"),
        ({"kind": "static", "intervals": [[5, 5]]}, ".intervals.0: got [5, 5], expected [start, end]"),
        ({"kind": "static", "intervals": [[0, 1], [5, 4]]}, ".intervals.1: got [5, 4], expected [start, end]"),
        ({"kind": "static", "intervals": [[0, math.nan]]}, ".intervals.0: got [0, NaN], expected [start, end]"),
        ({"kind": "static", "intervals": [[0, math.inf]]}, ".intervals.0: got [0, Infinity], expected [start, end]"),
        ({"kind": "static", "intervals": [[0, 1, 2]]}, ".intervals.0: got [0, 1, 2], expected [start, end]"),
        ({"kind": "static", "intervals": [[True, 2]]}, ".intervals.0: got [true, 2], expected [start, end]"),
        ({"kind": "static", "intervals": ["0-5"]}, '.intervals.0: got "0-5", expected [start, end]'),
        (
            {"kind": "static", "intervals": [[8, 20], [0, 10]]},
            ".intervals: got [0, 10] and [8, 20], expected intervals that do not overlap",
        ),
        ({"kind": "offset", "offsets": []}, ".offsets: got [], expected at least 1 item"),
        ({"kind": "offset", "offsets": [0, "3x"]}, '.offsets.1: got "3x", expected a number of seconds, a duration'),
        ({"kind": "offset", "offsets": ["--3d"]}, '.offsets.0: got "--3d", expected a number of seconds'),
        ({"kind": "offset", "offsets": [math.nan]}, ".offsets.0: got NaN, expected a number of seconds"),
        ({"kind": "offset", "offsets": [True]}, ".offsets.0: got true, expected a number of seconds"),
        ({"kind": "offset", "offsets": ["1d", 86400]}, ".offsets: got 86400.0 twice, expected each offset once"),
        ({"kind": "offset", "offsets": [0], "models": "all"}, '.models: got "all", expected own'),
        ({"kind": "periodic", "every": 1, "half": 0}, ".half: got 0, expected a number > 0"),
        ({"kind": "periodic", "every": 1, "half": -3}, ".half: got -3, expected a number > 0"),
        ({"kind": "periodic", "every": 1}, ".half: missing"),
        ({"kind": "periodic", "every": 0, "half": 1}, ".every: got 0, expected a number > 0"),
        (
            {"kind": "periodic", "every": 1, "half": 1, "from": 3, "to": 2},
            ".to: got 2, expected at least from, which is 3",
        ),
        ({"kind": "slicing", "every": 1, "models": "own"}, '.models: got "own", expected one of active, trained'),
    ],
)
def test_a_plan_that_makes_no_sense_is_one_line(plan, said):
    assert error_of(**plan).startswith(said)


@pytest.mark.parametrize("plan", get_args(get_args(EvaluationPlan)[0]))
def test_a_plan_says_what_it_is(plan):
    first, _, rest = plan.__doc__.partition("\n")
    assert first.endswith(".")
    assert rest.strip()
    assert isinstance(plan.source, str)
    assert "source" not in plan.model_fields


def test_offsets_are_signed_durations():
    plan = OffsetPlan(offsets=["-30d", "-0s", 0.5, "+2h", -7, "-inf", math.inf])
    assert plan.offsets == (-30 * 86_400.0, 0.0, 0.5, 7200.0, -7.0, "-inf", "inf")
    config = load_config({"trigger": {"kind": "amount", "n": 1}, "evaluation": {"plans": [plan]}})
    assert load_config(config.model_dump(mode="json", by_alias=True)) == config


def test_who_served_can_not_be_told_where_data_time_stands_still():
    plans = {"plans": [{"kind": "between_triggers"}, {"kind": "slicing", "every": 5, "models": "served"}]}
    config = {"trigger": {"kind": "amount", "n": 1}, "variant": "overlapped", "evaluation": plans}
    with pytest.raises(ConfigError, match=r"config: evaluation\.plans\.1\.models: got served, expected mode live, or"):
        load_config(config)
    assert load_config({**config, "mode": "live"}).evaluation.plans[1].models == "served"
    assert load_config({**config, "variant": "sequential"}).evaluation.plans[1].models == "served"


# Planning


def trigger_of(serial, first_ts, last_ts, previous_last_ts, stream=SECONDS, **more):
    """On a stream with a sample each second, unless the positions are given."""
    positions = {"first": int(first_ts), "stop": int(last_ts) + 1, **more}
    return {
        "serial": serial,
        "first_ts": first_ts,
        "last_ts": last_ts,
        "reach": reach(stream, positions["stop"]),
        "previous_reach": None if previous_last_ts is None else reach(stream, positions["first"]),
    } | positions


def test_a_training_plans_what_its_data_reach_the_end_of():
    plans = [SlicingPlan(every=10, models="all"), SlicingPlan(every=10), SlicingPlan(every=10, when="after_pipeline")]
    jobs, planned = plan_after_training(plans, trigger_of(2, 10, 29, 9), MODELS[:2], SECONDS, METRICS)
    assert [(job["plan"], job["model"], bounds(job["intervals"])) for job in jobs] == [
        (0, 1, [(10, 20), (20, 30)]),
        (0, 2, [(0, 10), (10, 20), (20, 30)]),
        (1, 1, [(10, 20), (20, 30)]),
    ]
    assert planned[:2] == [[0, 1, 10.0, 20.0], [0, 1, 20.0, 30.0]]
    assert len(planned) == 7
    assert jobs[0] == {
        "trigger": 2,
        "model": 1,
        "lineage": MODELS[0],
        "plan": 0,
        "intervals": [
            {"start": 10.0, "end": 20.0, "first": 10, "stop": 20},
            {"start": 20.0, "end": 30.0, "first": 20, "stop": 30},
        ],
        "metrics": ["accuracy"],
    }


def test_an_open_slice_waits_for_its_end():
    jobs, _ = plan_after_training([SlicingPlan(every=10)], trigger_of(2, 10, 24, 9), MODELS[:1], SECONDS, METRICS)
    assert bounds(jobs[0]["intervals"]) == [(10, 20)]


def test_between_triggers_is_planned_at_the_successor():
    plans = [BetweenTriggersPlan()]
    first, planned_first = plan_after_training(plans, trigger_of(1, 0, 9, None), MODELS[:1], SECONDS, METRICS)
    assert first == []
    second, planned = plan_after_training(plans, trigger_of(2, 10, 29, 9), MODELS[:2], SECONDS, METRICS)
    assert [(job["model"], bounds(job["intervals"])) for job in second] == [(1, [(10, 30)])]
    rest = plan_after_pipeline(
        plans, MODELS[:2], register([*planned_first, *planned]), {"informed": 70}, SECONDS, METRICS
    )
    assert [(job["trigger"], job["model"], bounds(job["intervals"])) for job in rest] == [(None, 2, [(30, 70)])]


def test_the_active_model_of_a_centre_is_the_one_before_the_centre():
    plan = PeriodicPlan(every=20, half=10, from_=20)
    jobs, planned = plan_after_training([plan], trigger_of(3, 40, 49, 29), MODELS, SECONDS, METRICS)
    # [30, 50): model 2 was trained with half of what lies before the centre, and is active at it
    assert [(job["model"], bounds(job["intervals"])) for job in jobs] == [(2, [(30, 50)])]
    rest = plan_after_pipeline([plan], MODELS, register(planned), {"informed": 70}, SECONDS, METRICS)
    assert [(job["model"], bounds(job["intervals"])) for job in rest] == [(1, [(10, 30)]), (3, [(50, 70)])]


def test_offsets_are_scored_by_their_own_model_when_the_data_are_there():
    plan = OffsetPlan(offsets=("-inf", -5, 0, 5, "inf"))
    planned = []
    for serial, (first_ts, last_ts, before) in enumerate([(0, 9, None), (10, 29, 9), (40, 49, 29)], 1):
        trigger = trigger_of(serial, first_ts, last_ts, before, first=30 if serial == 3 else first_ts)
        jobs, rows = plan_after_training([plan], trigger, MODELS[:serial], SECONDS, METRICS)
        planned.append([(job["model"], *bound) for job in jobs for bound in bounds(job["intervals"])])
        assert all(row[0] == 0 for row in rows)
    assert planned == [
        [(1, -5, 0), (1, 0, 10)],
        [(1, 10, 15), (2, 0, 10), (2, 5, 10), (2, 10, 30)],
        [(2, 30, 35), (3, 0, 40), (3, 35, 40), (3, 40, 50)],
    ]
    done = register([[0, *row] for each in planned for row in each])
    rest = plan_after_pipeline([plan], MODELS, done, {"informed": 70}, SECONDS, METRICS)
    assert [(job["model"], bounds(job["intervals"])) for job in rest] == [
        (1, [(10, 70)]),
        (2, [(30, 70)]),
        (3, [(50, 55), (50, 70)]),
    ]


def test_an_interval_is_cut_into_the_stretches_that_models_served():
    """Model 1 is stored when 14 samples have come, model 2 when 33 have."""
    models = [model(1, 0, 9, 14), model(2, 10, 29, 33)]
    plan = SlicingPlan(every=20, models="served")
    jobs, planned = plan_after_training([plan], trigger_of(2, 10, 29, 9), models, SECONDS, METRICS)
    assert [(job["model"], job["intervals"]) for job in jobs] == [
        (1, [{"start": 0.0, "end": 20.0, "first": 14, "stop": 20}])
    ]
    assert planned == [[0, 1, 0.0, 20.0]]
    rest = plan_after_pipeline([plan], models, register(planned), {"informed": 70}, SECONDS, METRICS)
    assert [(job["model"], job["intervals"]) for job in rest] == [
        (1, [{"start": 20.0, "end": 40.0, "first": 20, "stop": 33}]),
        (
            2,
            [
                {"start": 20.0, "end": 40.0, "first": 33, "stop": 40},
                {"start": 40.0, "end": 60.0, "first": 40, "stop": 60},
                {"start": 60.0, "end": 70.0, "first": 60, "stop": 70},
            ],
        ),
    ]


def test_samples_that_are_not_there_yet_are_waited_for():
    """A trigger that cuts between samples of one second can't complete an interval that has more of them."""
    stream = RecordedStream(np.array([0.0, 1.0, 1.0, 1.5, 2.0]))
    plans = [BetweenTriggersPlan(models="all")]
    models = [model(0, 0, 1), model(1, 1, 2)]
    jobs, _ = plan_after_training(
        plans, trigger_of(0, 0, 1, None, stream, first=0, stop=2), models[:1], stream, METRICS
    )
    assert jobs == []
    jobs, _ = plan_after_training(plans, trigger_of(1, 1, 2, 1, stream, first=2, stop=5), models, stream, METRICS)
    assert [(job["model"], [(i["first"], i["stop"]) for i in job["intervals"]]) for job in jobs] == [
        (0, [(0, 4), (1, 5)]),
        (1, [(0, 4), (1, 5)]),
    ]


@pytest.mark.parametrize(
    ("per_visit", "sizes"), [(None, [7, 3]), (1, [1] * 10), (3, [3, 3, 1, 3]), (4, [4, 3, 3]), (9, [7, 3])]
)
def test_a_visit_to_a_device_takes_as_many_intervals_as_may_share_it(per_visit, sizes):
    plans = [SlicingPlan(every=10, models="all"), StaticPlan(intervals=((0, 5), (20, 30), (40, 50), (60, 99)))]
    given = (plans, MODELS[:1], register([]), {"informed": 70}, SECONDS, METRICS)
    jobs, whole = plan_after_pipeline(*given, per_visit), plan_after_pipeline(*given)
    assert [len(job["intervals"]) for job in jobs] == sizes
    assert [(job["plan"], i) for job in jobs for i in job["intervals"]] == [
        (job["plan"], i) for job in whole for i in job["intervals"]
    ]
    after_training = plan_after_training(plans, trigger_of(1, 0, 9, None), MODELS[:1], SECONDS, METRICS, per_visit)
    assert [bounds(job["intervals"]) for job in after_training[0]] == [[(0, 10)]]


def test_triggers_within_one_timestamp_share_an_interval():
    stream = RecordedStream(np.zeros(4))
    models = [model(0, 0, 0), model(1, 0, 0)]
    plan = BetweenTriggersPlan(models="all")
    assert bounds(intervals(plan, stream, 4, models)) == [(0, 1)]
    early = trigger_of(0, 0, 0, None, stream, first=0, stop=2)
    late = trigger_of(1, 0, 0, 0, stream, first=2, stop=4)
    _, first = plan_after_training([plan], early, models[:1], stream, METRICS)
    _, second = plan_after_training([plan], late, models, stream, METRICS)
    assert (first, second) == ([], [[0, 0, 0.0, 1.0], [0, 1, 0.0, 1.0]])


# Planning, against the definitions


CHOICES = st.sampled_from(["all", "active", "trained", "served"])
TIMES = st.integers(-5, 20).map(float)


@st.composite
def plans(draw):
    which = draw(CHOICES)
    kind = draw(st.sampled_from(["slicing", "periodic", "between_triggers", "offset", "static"]))
    if kind == "slicing":
        return SlicingPlan(every=draw(st.sampled_from([1, 0.5, 3, 12])), from_=draw(st.none() | TIMES), models=which)
    if kind == "periodic":
        origin, to = draw(st.none() | TIMES), draw(st.none() | st.integers(20, 60).map(float))
        half = draw(st.sampled_from([0.5, 2, 9]))
        return PeriodicPlan(every=draw(st.sampled_from([1, 3, 12])), half=half, from_=origin, to=to, models=which)
    if kind == "between_triggers":
        return BetweenTriggersPlan(models=which)
    if kind == "offset":
        offsets = st.sampled_from([-7, -0.5, 0, 0.5, 1, 7, "-inf", "inf"])
        return OffsetPlan(offsets=tuple(draw(st.lists(offsets, min_size=1, unique=True))))
    edges = sorted(draw(st.lists(st.integers(-3, 60), min_size=2, max_size=8, unique=True)))
    return StaticPlan(intervals=tuple((float(a), float(b)) for a, b in pairwise(edges)), models=which)


@st.composite
def pipelines(draw):
    """A stream with ties and gaps, a plan, and random triggers, some empty, with the models of those that trained.

    And an order in which the models are stored, while more and more samples have come.
    """
    gaps = draw(st.lists(st.sampled_from([0.0, 0.5, 1.0, 2.0, 4.0]), min_size=1, max_size=40))
    stream = RecordedStream(np.cumsum(gaps))
    triggers, trained_of = [], {}
    first, previous = 0, None
    for serial, stop in enumerate(sorted(draw(st.lists(st.integers(1, len(gaps)), max_size=6)))):
        if stop == first:
            continue
        bounds_ts = stream.timestamp(first), stream.timestamp(stop - 1)
        triggers.append(trigger_of(serial, *bounds_ts, previous, stream, first=first, stop=stop))
        first, previous = stop, bounds_ts[1]
        if draw(st.booleans()):
            trained_of[serial] = (*bounds_ts, stop)
    order = draw(st.permutations(sorted(trained_of)) if draw(st.booleans()) else st.just(sorted(trained_of)))
    models, arrived = {}, 0
    for serial in order:
        first_ts, last_ts, stop = trained_of[serial]
        arrived = max(arrived + draw(st.integers(0, 6)), stop)
        models[serial] = model(serial, first_ts, last_ts, arrived)
    return stream, draw(plans()), triggers, models


def planned_in_all(stream, plan, triggers, models):
    """Who planned each pair, a trigger, or None for after the pipeline; and the samples scored."""
    owners, scored, stored = {}, {}, []
    for serial in models:
        stored.append(models[serial])
        trigger = next(each for each in triggers if each["serial"] == serial)
        jobs, rows = plan_after_training([plan], trigger, stored, stream, METRICS)
        assert rows == [[0, job["model"], i["start"], i["end"]] for job in jobs for i in job["intervals"]]
        assert not owners.keys() & {tuple(row) for row in rows}
        assert len({tuple(row) for row in rows}) == len(rows)
        assert all(i["stop"] <= trigger["stop"] for job in jobs for i in job["intervals"]), "not informed yet"
        owners |= dict.fromkeys(map(tuple, rows), serial)
        scored |= samples_of(jobs)
    informed = {"informed": stream.num_samples}
    rest = plan_after_pipeline([plan], stored, register([list(key) for key in owners]), informed, stream, METRICS)
    late = [(0, job["model"], i["start"], i["end"]) for job in rest for i in job["intervals"]]
    assert len(set(late)) == len(late)
    assert not set(late) & owners.keys()
    return {key[1:]: owner for key, owner in (owners | dict.fromkeys(late)).items()}, scored | samples_of(rest)


def samples_of(jobs):
    return {
        (job["model"], i["start"], i["end"]): list(range(i["first"], i["stop"]))
        for job in jobs
        for i in job["intervals"]
    }


def intervals_by_definition(plan, times, models):
    """(start, end, key, owner) of each; `times`: all timestamps."""
    ordered = sorted(models.values(), key=lambda m: m["trigger"])
    data_end = times[-1] + 1
    found = set()
    if plan.kind == "slicing":
        start = times[0] if plan.from_ is None else plan.from_
        while start < data_end:
            found.add((start, min(start + plan.every, data_end), start, None))
            start += plan.every
    elif plan.kind == "periodic":
        centre = times[0] if plan.from_ is None else plan.from_
        while centre <= (times[-1] if plan.to is None else plan.to):
            start, end = max(0.0, centre - plan.half), centre + plan.half
            if start < end and start < data_end:
                found.add((start, end, centre, None))
            centre += plan.every
    elif plan.kind == "static":
        found = {(start, end, start, None) for start, end in plan.intervals}
    elif plan.kind == "between_triggers":
        found = {(m["first_ts"], m["last_ts"] + 1, m["first_ts"], None) for m in ordered}
        if ordered and ordered[-1]["last_ts"] + 1 < data_end:
            found.add((ordered[-1]["last_ts"] + 1, data_end, ordered[-1]["last_ts"] + 1, None))
    else:
        for m in ordered:
            first, after = m["first_ts"], m["last_ts"] + 1
            for offset in plan.offsets:
                start, end = (first, after) if offset == 0 else (after, data_end)
                if offset == "-inf":
                    start, end = times[0], first
                elif offset != "inf" and offset < 0:
                    start, end = first + offset, first
                elif offset != "inf" and offset > 0:
                    start, end = after, after + offset
                if start < end:
                    found.add((start, end, start, m["trigger"]))
    return found


def pairs_by_definition(plan, times, models):
    """(model, start, end) → the positions that are to be scored, all models known."""
    found = {}
    for start, end, key, owner in intervals_by_definition(plan, times, models):
        inside = [p for p, ts in enumerate(times) if start <= ts < end]
        if plan.models == "served":
            for position in inside:
                server = server_by_definition(models.values(), position)
                if server is not None:
                    found.setdefault((server["trigger"], start, end), []).append(position)
            continue
        if plan.models == "all":
            in_use = list(models.values())
        elif plan.models == "own":
            in_use = [models[owner]]
        else:
            in_use = [by_definition(models.values(), plan.models, key)]
        found |= {(m["trigger"], start, end): inside for m in in_use if m is not None}
    return found


@settings(deadline=None)
@given(pipelines())
def test_each_pair_is_planned_once_in_whatever_order_trainings_end(pipeline):
    stream, plan, triggers, models = pipeline
    owners, scored = planned_in_all(stream, plan, triggers, models)
    asked = pairs_by_definition(plan, stream.timestamps(0, stream.num_samples).tolist(), models)
    in_turn = list(models) == sorted(models)
    if in_turn or plan.models not in ("active", "trained"):  # a model that comes late may change who is in use
        assert owners.keys() == asked.keys()
    assert owners.keys() >= asked.keys()
    assert {pair: scored[pair] for pair in asked} == asked


@settings(deadline=None)
@given(pipelines())
def test_a_pair_belongs_to_the_training_that_completes_it(pipeline):
    """The later of the model's own and the first trigger up to which all its samples are known; if it trained."""
    stream, plan, triggers, models = pipeline
    models = dict(sorted(models.items()))
    assume(all(earlier["served_from"] <= later["served_from"] for earlier, later in pairwise(models.values())))
    times = stream.timestamps(0, stream.num_samples).tolist()
    owners, _ = planned_in_all(stream, plan, triggers, models)
    asked = intervals_by_definition(plan, times, models)
    # an interval that is another one if the stream goes on can't be scored before it has ended
    stays = asked & intervals_by_definition(plan, [*times, times[-1] + 100], models)
    keys = {(start, end): key for start, end, key, _ in asked}
    for (serial, start, end), owner in owners.items():
        key = keys[start, end]
        first = next(
            (
                each
                for each in triggers
                if end <= each["last_ts"] + 1 and all(p < each["stop"] for p, ts in enumerate(times) if ts < end)
            ),
            None,
        )
        expected = None
        if first is not None and any((start, end, key, who) in stays for who in (None, serial)):
            expected = first["serial"] if plan.models == "served" else max(serial, first["serial"])
        if plan.models == "trained" and by_definition(models.values(), "active", key) is models[serial]:
            expected = None  # it stands in for a newer one, which might have come until the end
        if plan.kind == "periodic" and plan.to is None and first is not None and key > first["last_ts"]:
            # a centre beyond the last sample is none yet: a model that knows it may score it, the rest is left
            expected = serial if plan.models != "served" and models[serial]["last_ts"] >= key else None
        assert owner == (expected if expected in models else None)
