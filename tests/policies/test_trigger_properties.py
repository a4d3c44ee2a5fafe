"""What holds for every trigger policy on every stream, and what each promises beside its answers."""

from __future__ import annotations

import json
import math
from itertools import combinations, pairwise
from random import Random
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from reference_triggers import duration, forecast_seconds
from trigger_cases import (
    ALL_CONFIGS,
    BATCH_SIZES,
    CONFIGS,
    Case,
    answers,
    fires_of,
    random_case,
    trigger_of,
)

from twinclock.policies import Fire, Observe, Samples, Trigger, check_trigger
from twinclock.policies.cost_matrix import CostMatrix, cost, oracle, regret
from twinclock.policies.triggers.ensemble import EnsembleTrigger
from twinclock.policies.triggers.oracle import OracleTrigger
from twinclock.policies.triggers.protocol import Answer, Observation
from twinclock.stream import DataTime, RecordedStream

NUM_SEEDS = 60
LEAVES = [kind for kind in ALL_CONFIGS if not any(name in kind for name in ("ensemble", "nested"))]


# --- all kinds


@pytest.mark.parametrize("kind", ALL_CONFIGS)
def test_fires_do_not_depend_on_batches(kind):
    for seed in range(NUM_SEEDS):
        case = random_case(kind, 2 * seed)
        at_once = fires_of(case)
        for size in BATCH_SIZES:
            assert fires_of(case, size) == at_once, (seed, size, case)


@pytest.mark.parametrize("kind", LEAVES)
def test_nor_does_the_log_of_decisions(kind):
    for seed in range(NUM_SEEDS):
        case = random_case(kind, 2 * seed)
        logs = [repr([row for answer in answers(case, size) for row in answer.decisions]) for size in BATCH_SIZES]
        assert logs == [logs[0]] * len(logs), (seed, case)


@pytest.mark.parametrize("kind", ALL_CONFIGS)
def test_state_goes_through_json_between_any_two_answers(kind):
    for seed in range(NUM_SEEDS):
        case, rng = random_case(kind, 2 * seed), Random(seed)

        def renewed(trigger: Trigger, case: Case = case, rng: Random = rng) -> Trigger:
            if rng.random() < 0.5:
                return trigger
            fresh = trigger_of(case.config)
            fresh.load_state_dict(json.loads(json.dumps(trigger.state_dict())))
            assert fresh.state_dict() == trigger.state_dict()
            assert fresh.next_deadline() == trigger.next_deadline()
            return fresh

        assert fires_of(case, 3, renew=renewed) == fires_of(case, 3), (seed, case)


@pytest.mark.parametrize("kind", ALL_CONFIGS)
def test_every_kind_keeps_to_the_protocol(kind):
    for seed in range(3):
        config = ALL_CONFIGS[kind](Random(seed))
        check_trigger(lambda config=config: trigger_of(config))


def test_so_do_those_that_are_not_random():
    check_trigger(lambda: OracleTrigger((3, 9, 10, 17)))
    check_trigger(lambda: trigger_of({"kind": "on_batch"}), batch_independent=False)


# --- budget


@pytest.mark.parametrize("kind", ["budget", "budget of the top", "budgeted ensemble"])
def test_whenever_a_fire_passes_the_charges_fit_the_limit(kind):
    """The charges of a horizon: what its trainings took, and what the one that passes is expected to take."""
    num_passed = num_held_back = 0
    for seed in range(2 * NUM_SEEDS):
        case = random_case(kind, seed)
        config, ts = case.config, case.timestamps
        price = {"trainings": 0.0, "gpu_seconds": 1.0, "money": config.get("usd_per_device_hour", 0.0) / 3600}
        fixed = 1.0 if config["unit"] == "trainings" else 0.0
        charged: dict[int, float] = {}
        reports: list[tuple[int, float]] = []
        trained_to = 0
        fires = fires_of(case)
        for position in fires:
            elapsed_s = ts[max(0, position)] - ts[0]
            horizon = 0 if config.get("horizon") is None else int(elapsed_s // duration(config["horizon"]))
            known = [i for i in range(trained_to, position + 1) if ts[i] + case.label_delay_s <= ts[position]]
            trained_to += len(known)
            expected_s = max(0.0, forecast_seconds(reports, len(known), 1000) or 0.0)
            charge = fixed + price[config["unit"]] * expected_s
            assert charged.get(horizon, 0.0) + charge <= config["limit"] * (1 + 1e-12), (seed, position, case)
            if known and case.train_seconds is not None:
                reports.append((len(known), case.train_seconds(len(known))))
                charge = fixed + price[config["unit"]] * reports[-1][1]
            charged[horizon] = charged.get(horizon, 0.0) + charge
        num_passed += len(fires)
        num_held_back += len(fires_of(Case(**{**vars(case), "config": config["of"]}))) > len(fires)
    assert num_passed > NUM_SEEDS / 2
    assert num_held_back > NUM_SEEDS / 10


# --- labels that come late


@pytest.mark.parametrize("size", BATCH_SIZES)
@pytest.mark.parametrize(
    ("interval", "delay", "expected"),
    [
        (4, 0.0, [3, 7, 11]),
        (4, 2.5, [5, 9]),  # its last sample is at 3, so the sample at 6 shows that 5.5 has come
        (4, 3.0, [5, 9]),
        ("4s", 0.0, [3, 7]),  # the period ends at 4, when its last sample is past
        ("4s", 2.5, [6, 10]),
        (4, 100.0, []),
    ],
)
def test_a_decision_waits_for_labels(interval, delay, expected, size):
    config = {"kind": "performance", "interval": interval, "rules": [{"kind": "static", "threshold": 1.0}]}
    case = Case(config, tuple(map(float, range(12))), (0.5,) * 12, label_delay_s=delay)
    assert fires_of(case, size) == expected


@pytest.mark.parametrize("size", BATCH_SIZES)
def test_several_that_are_due_at_once_are_made_in_order(size):
    config = {"kind": "performance", "interval": 2, "rules": [{"kind": "static", "threshold": 1.0}]}
    case = Case(config, (0.0, 1.0, 2.0, 3.0, 4.0, 5.0, 50.0), (0.5,) * 3, label_delay_s=10.0)
    rows = [(row.first, row.stop) for answer in answers(case, size) for row in answer.decisions]
    assert rows == [(0, 2), (2, 4), (4, 6)]
    assert fires_of(case, size) == [5, 5, 5]


@pytest.mark.parametrize("kind", ["performance", "misclassifications", "cost"])
def test_nothing_is_asked_before_its_labels_are_known_and_no_later_than_need_be(kind):
    num_asked = 0
    for seed in range(4 * NUM_SEEDS):
        case = random_case(kind, seed)
        ts, every = case.timestamps, case.config["interval"]
        for answer in answers(case, 3):
            if not isinstance(answer, Observe):
                continue
            num_asked += case.label_delay_s > 0
            first, stop, position = answer.request["first"], answer.request["stop"], answer.position
            end = ts[stop - 1]
            if isinstance(every, str):
                end = ts[0] + duration(every) * (math.floor((ts[first] - ts[0]) / duration(every)) + 1)
            elif case.label_delay_s == 0:
                assert position == stop - 1
                continue
            assert ts[position + 1] >= end + case.label_delay_s, (seed, case)
            assert position == stop - 1 or ts[position] < end + case.label_delay_s, (seed, case)
    assert num_asked > NUM_SEEDS


# --- continuum


def continuum_costs(arrivals: list[float], w: float, alpha: float, beta: float) -> float:
    """What a continuum trigger costs live: one training at a time, each known to last α·n + β."""
    trigger = trigger_of({"kind": "continuum", "w": w, "alpha": alpha, "beta": beta})
    stream = RecordedStream(np.array(arrivals))
    now, busy_until, since, seen, total = arrivals[0], -math.inf, 0, 0, 0.0
    while since < len(arrivals):
        stop = int(np.searchsorted(arrivals, now, side="right"))
        under_way = now < busy_until
        samples = Samples(stream=stream, first=seen, stop=stop, watermark=DataTime(now), training_under_way=under_way)
        seen = stop
        answer = trigger.advance(samples, None)
        if isinstance(answer, Fire):
            waited = arrivals[since : answer.position + 1]
            seconds = alpha * len(waited) + beta
            busy_until = now + seconds
            total += w * seconds + sum(busy_until - ts for ts in waited)
            trigger.on_fire(answer.position)
            trigger.on_training_cost(len(waited), seconds)
            trigger.on_new_model({})
            since = answer.position + 1
            continue
        later = [*arrivals[stop : stop + 1], *([busy_until] if under_way else [])]
        deadline = trigger.next_deadline()
        now = min(later + ([] if deadline is None else [max(float(deadline), math.nextafter(now, math.inf))]))
    return total


def best_partition(arrivals: list[float], w: float, alpha: float, beta: float) -> float:
    n, best = len(arrivals), math.inf
    for number in range(n):
        for cuts in combinations(range(1, n), number):
            end, total = -math.inf, 0.0
            for first, stop in pairwise((0, *cuts, n)):
                seconds = alpha * (stop - first) + beta
                end = max(end, arrivals[stop - 1]) + seconds
                total += w * seconds + sum(end - ts for ts in arrivals[first:stop])
            best = min(best, total)
    return best


@settings(max_examples=150, deadline=None, derandomize=True)
@given(
    gaps=st.lists(st.sampled_from([0.0, 0.25, 1.0, 3.0, 10.0]), min_size=1, max_size=9),
    w=st.sampled_from([0.5, 2.0, 10.0]),
    alpha=st.sampled_from([0.0, 0.125, 0.5, 2.0]),
    beta=st.sampled_from([0.0, 0.5, 1.0, 8.0]),
)
def test_a_continuum_costs_at_most_twice_the_best_partition(gaps, w, alpha, beta):
    arrivals = np.cumsum(gaps).tolist()
    ours, best = continuum_costs(arrivals, w, alpha, beta), best_partition(arrivals, w, alpha, beta)
    assert best - 1e-9 <= ours <= 2 * best + 1e-9


# --- ensemble


class Told:
    """A trigger that writes down what it is told of fires, which no `load_state_dict` takes back."""

    def __init__(self, inner: Trigger) -> None:
        self.inner = inner
        self.fires: list[int] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(self.inner, name)

    def advance(self, samples: Samples, observation: Observation | None) -> Answer:
        return self.inner.advance(samples, observation)

    def on_fire(self, position: int) -> None:
        self.fires.append(position)
        self.inner.on_fire(position)


def told_by(rule: str, *members: Told) -> list[int]:
    """The fires of an ensemble of these on 24 samples."""
    ensemble = EnsembleTrigger(rule, {f"m{i}": member for i, member in enumerate(members)})
    samples = Samples(stream=RecordedStream(np.arange(24.0)), first=0, stop=24)
    fires = []
    while isinstance(answer := ensemble.advance(samples, None), Fire):
        fires.append(answer.position)
        ensemble.on_fire(answer.position)
    return fires


@pytest.mark.parametrize("rule", ["any", "all", "majority"])
def test_members_are_told_of_the_ensembles_fires_not_of_their_own_votes(rule):
    for seed in range(NUM_SEEDS):
        rng = Random(seed)
        kinds = [rng.choice(["amount", "time", "continuum", "custom"]) for _ in range(rng.randint(2, 4))]
        members = [Told(trigger_of(CONFIGS.get(kind, ALL_CONFIGS[kind])(rng))) for kind in kinds]
        fires = told_by(rule, *members)
        for member in members:
            assert member.fires == fires, (seed, kinds)


def test_a_vote_alone_tells_its_member_nothing():
    often, rare = (Told(trigger_of({"kind": "amount", "n": n})) for n in (2, 10))
    assert told_by("all", often, rare) == [9, 19]
    assert often.fires == rare.fires == [9, 19]


# --- the best in hindsight


@st.composite
def matrices(draw: st.DrawFn) -> CostMatrix:
    m = draw(st.integers(0, 9))
    rng = np.random.default_rng(draw(st.integers(0, 10_000)))
    high = draw(st.sampled_from([2, 5, 50]))  # low ones make many ties
    return CostMatrix(
        initial=rng.integers(0, high, m).astype(np.float64),
        answering=rng.integers(0, high, (m, m)).astype(np.float64),
        training=rng.integers(0, high, m).astype(np.float64),
    )


def by_brute_force(matrix: CostMatrix, delay: int) -> tuple[float, tuple[int, ...]]:
    """The least cost, and of the choices that have it one with the fewest and then the earliest trainings."""
    m = matrix.num_intervals
    best = math.inf, 0, ()
    for number in range(m + 1):
        for fires in combinations(range(m), number):
            total = sum(matrix.training[i] for i in fires)
            for j in range(m):
                answering = [i for i in fires if i + delay < j]
                total += matrix.answering[answering[-1], j] if answering else matrix.initial[j]
            best = min(best, (total, number, fires))
    return best[0], best[2]


@settings(max_examples=120, deadline=None, derandomize=True)
@given(matrix=matrices(), delay=st.integers(0, 3))
def test_the_oracle_is_the_best_of_all_choices(matrix, delay):
    best = oracle(matrix, delay=delay)
    assert (best.cost, best.fires) == by_brute_force(matrix, delay)


@settings(max_examples=200, deadline=None, derandomize=True)
@given(matrix=matrices(), delay=st.integers(0, 3), data=st.data())
def test_nothing_costs_less_than_the_oracle(matrix, delay, data):
    fires = [i for i in range(matrix.num_intervals) if data.draw(st.booleans())]
    assert regret(matrix, fires, delay=delay) >= 0
    best = oracle(matrix, delay=delay)
    assert cost(matrix, best.fires, delay=delay) == best.cost
    assert regret(matrix, best.fires, delay=delay) == 0


# --- models that are there before, or not yet


STATIC = {"kind": "static", "threshold": 0.5}
DECIDING = {
    "performance": {"kind": "performance", "interval": 4, "rules": [STATIC]},
    "drift": {
        "kind": "drift",
        "interval": 4,
        "metrics": {"d0": {"kind": "hellinger", "rule": STATIC}},
        "windows": {"kind": "amount", "ref": 4, "cur": 4},
    },
    "cost": {"kind": "cost", "interval": 4, "per_training_second": 1.0},
}
MODEL = {"trigger": 0, "parent": None, "first_ts": 0.0, "last_ts": 0.0, "num_samples": 1}


def first_answers(trigger: Trigger, *, training_under_way: bool = False) -> list[Answer]:
    """On samples at 0, 1, …, 11, until it is quiet or wants something."""
    samples = Samples(stream=RecordedStream(np.arange(12.0)), first=0, stop=12, training_under_way=training_under_way)
    found = [trigger.advance(samples, None)]
    while isinstance(found[-1], Fire):
        trigger.on_fire(found[-1].position)
        found.append(trigger.advance(samples, None))
    return found


@pytest.mark.parametrize("kind", DECIDING)
def test_while_the_first_training_runs_nothing_is_asked_and_nothing_fires(kind):
    (answer,) = first_answers(trigger_of(DECIDING[kind]), training_under_way=True)
    assert [(row.first, row.stop, row.verdict) for row in answer.decisions] == [
        (0, 4, "none"),
        (4, 8, "none"),
        (8, 12, "none"),
    ]


def test_waiting_goes_on_while_the_first_training_runs():
    trigger, stream = trigger_of(DECIDING["cost"]), RecordedStream(np.arange(12.0))
    trigger.advance(Samples(stream=stream, first=0, stop=8, training_under_way=True), None)
    trigger.on_training_cost(4, 50.0)
    trigger.on_new_model(MODEL)
    answer = trigger.advance(Samples(stream=stream, first=8, stop=12), None)
    assert isinstance(answer, Fire)
    assert answer.decisions[-1].observation == sum(11 - i for i in range(12))  # 66 s of waiting, worth more than 50


def test_an_initial_model_is_scored_at_once():
    trigger = trigger_of(DECIDING["performance"])
    trigger.on_new_model(MODEL)
    (answer,) = first_answers(trigger)
    assert isinstance(answer, Observe)
    assert (answer.request["first"], answer.request["stop"]) == (0, 4)


def test_with_an_initial_model_the_first_interval_is_the_reference():
    trigger = trigger_of(DECIDING["drift"])
    trigger.on_new_model(MODEL)
    (answer,) = first_answers(trigger)
    assert isinstance(answer, Observe)
    assert [(row.first, row.stop, row.verdict) for row in answer.decisions] == [(0, 4, "none")]
    assert (answer.request["reference"], answer.request["current"]) == ([0, 4], [4, 8])


def test_an_initial_model_is_no_training_that_was_timed():
    trigger = trigger_of(DECIDING["cost"])
    trigger.on_new_model(MODEL)
    assert [answer.position for answer in first_answers(trigger) if isinstance(answer, Fire)] == [3, 7, 11]
