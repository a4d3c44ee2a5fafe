from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from twinclock.policies.evaluation import (
    BetweenTriggersPlan,
    SlicingPlan,
    active,
    composite,
    intervals,
    plan_after_pipeline,
    plan_after_training,
    trained,
)
from twinclock.stream import RecordedStream, UniformStream

METRICS = ("accuracy",)
SECONDS = UniformStream(70, 1.0)


def model(trigger: int, first_ts: float, last_ts: float):
    return {"trigger": trigger, "first_ts": first_ts, "last_ts": last_ts, "path": f"models/{trigger:05d}"}


MODELS = [model(1, 0, 9), model(2, 10, 29), model(3, 40, 49)]


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


def test_the_model_in_use_on_slices():
    """Trainings on (0,9), (10,29) and (40,49), slices of ten from zero."""
    starts = [each["start"] for each in intervals(SlicingPlan(every=10, from_=0), SECONDS, 70, MODELS)]
    assert starts == [0, 10, 20, 30, 40, 50, 60]
    assert [m and m["trigger"] for m in (active(MODELS, s) for s in starts)] == [None, 1, 1, 2, 2, 3, 3]
    assert [m and m["trigger"] for m in (trained(MODELS, s) for s in starts)] == [1, 2, 2, 3, 3, 3, 3]


def test_without_models_none_is_in_use():
    assert active([], 5) is None
    assert trained([], 5) is None


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
    ],
)
def test_intervals(plan, stop, expected):
    assert bounds(intervals(plan, SECONDS, stop, MODELS)) == expected


def test_intervals_know_their_samples():
    stream = RecordedStream(np.array([0.0, 0.0, 9.0, 10.0, 31.0]))
    found = intervals(SlicingPlan(every=10), stream, 5, [])
    assert [(i["first"], i["stop"]) for i in found] == [(0, 3), (3, 4), (4, 4), (4, 5)]


def test_between_triggers_without_a_training_has_no_interval():
    assert intervals(BetweenTriggersPlan(), SECONDS, 70, []) == []


def trigger_of(serial, first_ts, last_ts, previous_last_ts):
    return {"serial": serial, "first_ts": first_ts, "last_ts": last_ts, "previous_last_ts": previous_last_ts}


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


def test_samples_that_share_a_timestamp_are_evaluated_together():
    stream = RecordedStream(np.array([0.0, 1.0, 1.0, 1.0, 2.0]))
    plans = [BetweenTriggersPlan(models="all")]
    jobs, _ = plan_after_training(plans, trigger_of(0, 0, 1, None), [model(0, 0, 1)], stream, METRICS)
    assert [(i["first"], i["stop"]) for i in jobs[0]["intervals"]] == [(0, 4)]


@st.composite
def pipelines(draw):
    """A stream with ties and gaps, a plan, and random triggers, some empty, with the models of those that trained."""
    gaps = draw(st.lists(st.integers(0, 4), min_size=1, max_size=40))
    stream = RecordedStream(np.cumsum(gaps).astype(np.float64))
    which = st.sampled_from(["all", "active", "trained"])
    origin = st.none() | st.integers(-5, 20).map(float)
    slicing = st.builds(SlicingPlan, every=st.integers(1, 12), from_=origin, models=which)
    plan = draw(slicing | st.builds(BetweenTriggersPlan, models=which))
    triggers, models = [], {}
    first, previous = 0, None
    for serial, stop in enumerate(sorted(draw(st.lists(st.integers(1, len(gaps)), max_size=6)))):
        if stop == first:
            continue
        triggers.append(trigger_of(serial, stream.timestamp(first), stream.timestamp(stop - 1), previous))
        first, previous = stop, triggers[-1]["last_ts"]
        if draw(st.booleans()):
            models[serial] = model(serial, triggers[-1]["first_ts"], triggers[-1]["last_ts"])
    return stream, plan, triggers, models


def planned_in_all(stream, plan, triggers, models, order):
    """Who planned each pair: a trigger, or None for after the pipeline; trainings end in the given order."""
    owners, stored = {}, []
    for serial in order:
        stored.append(models[serial])
        trigger = next(each for each in triggers if each["serial"] == serial)
        jobs, rows = plan_after_training([plan], trigger, stored, stream, METRICS)
        assert rows == [[0, job["model"], i["start"], i["end"]] for job in jobs for i in job["intervals"]]
        assert not owners.keys() & {tuple(row) for row in rows}
        assert len({tuple(row) for row in rows}) == len(rows)
        owners |= dict.fromkeys(map(tuple, rows), serial)
    informed = {"informed": stream.num_samples}
    rest = plan_after_pipeline([plan], stored, register([list(key) for key in owners]), informed, stream, METRICS)
    late = [(0, job["model"], i["start"], i["end"]) for job in rest for i in job["intervals"]]
    assert len(set(late)) == len(late)
    assert not set(late) & owners.keys()
    return {key[1:]: owner for key, owner in (owners | dict.fromkeys(late)).items()}


def all_asked(stream, plan, models):
    """The pairs that the definitions ask for, all models known."""
    asked = set()
    for each in intervals(plan, stream, stream.num_samples, models.values()):
        in_use = by_definition(models.values(), plan.models, each["start"])
        wanted = models.values() if plan.models == "all" else [in_use] if in_use else []
        asked |= {(m["trigger"], each["start"], each["end"]) for m in wanted}
    return asked


@settings(deadline=None)
@given(pipeline=pipelines(), data=st.data())
def test_each_pair_is_planned_once_in_whatever_order_trainings_end(pipeline, data):
    stream, plan, triggers, models = pipeline
    owners = planned_in_all(stream, plan, triggers, models, data.draw(st.permutations(sorted(models))))
    asked = all_asked(stream, plan, models)
    assert owners.keys() == asked if plan.models == "all" else owners.keys() >= asked


@settings(deadline=None)
@given(pipeline=pipelines())
def test_a_pair_belongs_to_the_training_that_completes_it(pipeline):
    """The later of the model's own and the first whose data reach the interval's end; if it trained."""
    stream, plan, triggers, models = pipeline
    owners = planned_in_all(stream, plan, triggers, models, sorted(models))
    for (serial, start, end), owner in owners.items():
        if isinstance(plan, SlicingPlan):
            whole = end - start == plan.every
            reached = [each["serial"] for each in triggers if each["last_ts"] + 1 >= end and whole]
        else:
            reached = [m["trigger"] for m in models.values() if (m["first_ts"], m["last_ts"] + 1) == (start, end)]
        expected = max(serial, min(reached)) if reached else None
        assert owner == (expected if expected in models else None)


def test_triggers_within_one_timestamp_share_an_interval():
    stream = RecordedStream(np.zeros(4))
    models = [model(0, 0, 0), model(1, 0, 0)]
    plan = BetweenTriggersPlan(models="all")
    assert bounds(intervals(plan, stream, 4, models)) == [(0, 1)]
    _, first = plan_after_training([plan], trigger_of(0, 0, 0, None), models[:1], stream, METRICS)
    _, second = plan_after_training([plan], trigger_of(1, 0, 0, 0), models, stream, METRICS)
    assert (first, second) == ([[0, 0, 0.0, 1.0]], [[0, 1, 0.0, 1.0]])


def row(model_, start, end, value, **more):
    return {"plan": 0, "metric": "accuracy", "model": model_, "start": start, "end": end, "value": value, **more}


class TestComposite:
    """The score over time of the model in use."""

    SCORES = (
        row(1, 10, 20, 0.5),
        row(1, 20, 30, 0.7),
        row(2, 20, 30, 0.1),
        row(2, 30, 50, 0.9),
        row(3, 50, 60, None),
    )

    def test_weights_are_lengths_and_gaps_are_left_out(self):
        found = composite(self.SCORES, MODELS, "active")
        assert found.value == pytest.approx((0.5 * 10 + 0.7 * 10 + 0.9 * 20) / 40)
        assert found.left_out == pytest.approx(10 / 50)

    def test_the_trained_model_is_the_next_one(self):
        assert composite(self.SCORES, MODELS, "trained").value == 0.1

    def test_intervals_that_no_model_was_asked_about_count_as_left_out(self):
        asked = intervals(SlicingPlan(every=10), SECONDS, 70, MODELS)
        scores = [row(1, 10, 20, 0.5), row(1, 20, 30, 0.7)]
        assert composite(scores, MODELS, "active", over=asked).left_out == pytest.approx(50 / 70)

    def test_nothing_scored(self):
        assert composite([], MODELS, "active").value is None
        assert composite([row(3, 50, 60, None)], [], "active").left_out == 1.0

    def test_one_plan_and_one_metric_at_a_time(self):
        with pytest.raises(ValueError, match="one plan and one metric"):
            composite([row(1, 10, 20, 0.5), row(1, 10, 20, 0.5) | {"plan": 1}], MODELS, "active")
