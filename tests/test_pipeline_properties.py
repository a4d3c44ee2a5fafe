"""Random pipelines, simulated: every run keeps the rules, whatever its costs, its failures and its luck.

Each rule is a function of what happened in a run. A rule that says what should have been is written from the
definitions alone: sets of positions, and the order of events.
"""

from __future__ import annotations

import json
import os
import re
from collections import Counter
from collections.abc import Iterable, Iterator
from itertools import pairwise
from unittest.mock import patch

import numpy as np
import polars as pl
import pytest
from acceptor import accepts, segments
from hypothesis import given, settings
from hypothesis import strategies as st
from simulated import Simulated, StageRun, breaking, configs, faults, positions_in, simulate

from sim.config import DecayQuality
from sim.quality import accuracy
from twinclock import stages
from twinclock.graph import Flow, ForEach, Scope, walk
from twinclock.launch import graph_options
from twinclock.messages import path_text
from twinclock.pipeline import VARIANTS, build_graph
from twinclock.policies.evaluation import Span, active, all_bounds, trained
from twinclock.policies.observations import score_request
from twinclock.policies.overlap import training_under_way
from twinclock.policies.triggers import Decision, Fire, Observe, Quiet
from twinclock.result import Run
from twinclock.schemas import KEYS
from twinclock.stages import Context, decide
from twinclock.stream import RecordedStream, Stream

NUM_PIPELINES = int(os.environ.get("TWINCLOCK_NUM_PIPELINES", "150"))
pipelines = settings(max_examples=NUM_PIPELINES, derandomize=True, deadline=None)


@pipelines
@given(configs(), faults())
def test_every_run_keeps_the_rules(config, broken):
    simulated = simulate(config, wrap=breaking(broken))
    for rule in RULES:
        rule(simulated)


@pipelines
@given(configs(["overlapped"]), faults())
def test_every_overlapped_run_keeps_the_rules(config, broken):
    simulated = simulate(config, wrap=breaking(broken))
    for rule in (*RULES, *OVERLAPPED):
        rule(simulated)


@pytest.mark.parametrize("on_trigger", ["queue", "coalesce", "drop", "preempt"])
@settings(pipelines, max_examples=NUM_PIPELINES // 4)
@given(configs(["overlapped"]), st.sampled_from([2, 3]), faults())
def test_several_trainings_at_once_keep_the_rules(on_trigger, config, at_once, broken):
    overlap = {"on_trigger": on_trigger, "trainings_at_once": at_once}
    simulated = simulate({**config, "overlap": overlap}, wrap=breaking(broken))
    for rule in (*RULES, *OVERLAPPED):
        rule(simulated)


@settings(pipelines, max_examples=NUM_PIPELINES // 5)
@given(configs(), st.integers(0, 12))
def test_a_run_that_is_asked_to_stop_finishes_what_it_has(config, num_chunks):
    """It takes no more data, joins all that it has begun, and evaluates what it has seen."""

    def wrap(bodies):
        def handle(start, executor):
            if start.path[0][2] >= num_chunks:
                executor.stop()
            return bodies["HANDLE_NEW_DATA"](start, executor)

        return {**bodies, "HANDLE_NEW_DATA": handle}

    simulated = simulate(config, wrap=wrap)
    taken = simulated.run.batches["stop"].max() or 0
    assert len(simulated.trace.of("HANDLE_NEW_DATA")) <= num_chunks + 1
    meant = list(fires_of(simulated))
    assert fires(simulated.run) == meant[: len(fires(simulated.run))]
    for rule in RULES:
        if rule is not triggers_are_where_the_policy_fires:  # live, the clock closes periods that no sample does
            rule(simulated._replace(stream=RecordedStream(simulated.stream.timestamps(0, taken))))


@pytest.mark.parametrize("trigger", [{"kind": "amount", "n": 7}, {"kind": "time", "every": 9.0}])
def test_triggers_do_not_depend_on_batches_chunks_or_the_variant(trigger):
    """As tables, but for the clock; a chunk is a whole number of batches."""
    found = []
    for variant in VARIANTS:
        for batch_size, chunk in [(1, 1), (3, 10), (7, 7), (7, 1000), (50, 50), (1000, 3)]:
            config = {
                "variant": variant,
                "data": {"kind": "poisson", "num_samples": 50, "every": 2.0, "chunk": chunk},
                "batching": {"n": batch_size},
                "selection": {"tail": 2, "limit": 20, "keep": "uniform"},
                "trigger": trigger,
            }
            found.append(simulate(config).run.triggers.drop("fired_s"))
    assert found[0].height >= 7
    assert all(each.equals(found[0]) for each in found)


def test_an_evaluation_that_fails_for_good_stops_nothing():
    def wrap(bodies):
        def evaluate(start, executor):
            if start.inputs["evaluation_job"]["model"] == 1:
                raise RuntimeError("device lost")
            return bodies["WAIT_FOR_EVALUATION_COMPLETION"](start, executor)

        return {**bodies, "WAIT_FOR_EVALUATION_COMPLETION": evaluate}

    for variant in VARIANTS:
        run, trace, _ = simulate(
            {
                "variant": variant,
                "data": {"kind": "uniform", "num_samples": 40, "every": 1.0},
                "evaluation": {"plans": [{"kind": "slicing", "every": 10.0, "models": "all"}]},
            },
            wrap=wrap,
        )
        assert run.outcome == "done"
        assert run.models["model"].sort().to_list() == [0, 1, 2, 3]
        assert run.evaluations["model"].value_counts().sort("model").rows() == [(0, 4), (2, 4), (3, 4)]
        jobs = [each for each in trace.of("WAIT_FOR_EVALUATION_COMPLETION") if each.outcome == "failed"]
        assert run.faults["id"].to_list() == [each.path for each in jobs]
        assert len(jobs) == 2 * len({each.path.rsplit("@")[0] for each in jobs}), "each job is tried twice"


class Watchful:
    """Scores the active model on every ten samples, and fires if it is not good enough, or could not be scored."""

    depends_on = "scores"

    def __init__(self, config):
        self.state = {"reached": 0, "judged": 0}

    def advance(self, samples, observation):
        reached, judged = self.state["reached"], self.state["judged"]
        if observation is not None or judged < reached:
            value = observation and observation["values"]["accuracy"]
            self.state["judged"] = reached
            verdict = "none" if value is not None and value >= 0.5 else "fired"
            decision = Decision(first=judged, stop=reached, verdict=verdict, reason="score", observation=value)
            if verdict == "fired":
                return Fire(position=reached - 1, reason="score", decisions=(decision,))
        if reached + 10 > samples.stop:
            return Quiet()
        self.state["reached"] = reached + 10
        request = score_request(decision=reached // 10, first=reached, stop=reached + 10, metrics=["accuracy"])
        return Observe(request=request, position=reached + 9)

    def on_fire(self, position):
        pass

    def on_training_cost(self, num_samples, seconds):
        pass

    def on_new_model(self, model):
        pass

    def next_deadline(self):
        return None

    def state_dict(self):
        return dict(self.state)

    def load_state_dict(self, state):
        self.state = dict(state)


@pytest.mark.parametrize("variant", VARIANTS)
def test_a_policy_that_asks_for_scores_gets_those_of_the_active_model(variant):
    config = {
        "variant": variant,
        "data": {"kind": "uniform", "num_samples": 60, "every": 1.0},
        "batching": {"n": 15},
        "observation": {"retry": {"attempts": 1}},
        "sim": {"quality": {"peak": 0.9, "floor": 0.1, "half_samples": 1.0, "half_life_s": 10.0}},
    }

    def wrap(bodies):
        def observe(start, executor):
            if start.inputs["request"]["first"] == 30:
                raise RuntimeError("device lost")
            return bodies["OBSERVE"](start, executor)

        return {**bodies, "OBSERVE": observe}

    with patch.object(stages, "build_trigger", lambda config, **_: Watchful(config)):
        simulated = simulate(config, wrap=wrap)
    assert [each.start.inputs["request"]["first"] for each in simulated.trace.of("OBSERVE")] == [0, 10, 20, 30, 40, 50]
    for each in simulated.trace.of("OBSERVE"):
        model, request = each.start.registers["active_model"], each.start.inputs["request"]
        if each.outcome == "done" and model is not None:
            quality = DecayQuality(**config["sim"]["quality"])
            scored = accuracy(quality, model, request["first"], request["stop"] - 1)
            assert each.values["observation"]["values"]["accuracy"] == scored
    decisions = simulated.run.decisions.filter(pl.col("first") == 30)
    assert decisions.select("stop", "observation", "verdict").rows() == [(40, None, "fired")]
    fired = simulated.run.decisions.filter(verdict="fired")
    assert simulated.run.triggers["stop"].to_list() == fired["stop"].to_list()
    if variant != "overlapped":
        # half of what a model knows is lost after 10 s: it is good enough for one interval, not for two
        assert simulated.run.triggers["position"].to_list() == [9, 29, 39, 59]


# Stage runs


def the_run_ends_and_leaves_nothing_open(simulated: Simulated) -> None:
    run, trace, _ = simulated
    assert (run.state, run.outcome) == ("finished", "done")
    assert all(stage_run.ended for stage_run in trace.runs)
    assert run.stage_runs.height == len(trace.runs)
    *others, done, exit_ = trace.runs
    assert (done.operation, exit_.operation) == ("DONE", "EXIT")
    assert all(each.finished < done.began for each in others), "something was not joined before DONE"


def the_clock_never_goes_back(simulated: Simulated) -> None:
    run, trace, _ = simulated
    assert all(earlier <= later for (earlier, *_), (later, *_) in pairwise(trace.happened))
    for name, table in run.tables.items():
        times = [column for column in ORDERED_TIMES if column in table.columns]
        for row in table.select(times).iter_rows():
            known = [time for time in row if time is not None]
            assert known == sorted(known), (name, dict(zip(times, row, strict=True)))


ORDERED_TIMES = ("requested_s", "queued_s", "granted_s", "started_s", "ended_s", "released_s")


def stage_runs_have_their_place_in_the_graph(simulated: Simulated) -> None:
    run = simulated.run
    nodes = dict(walk(build_graph(graph_options(run.config))))
    assert run.stage_runs["id"].is_unique().all()
    for id_, stage, parent in run.stage_runs.select("id", "stage", "parent").iter_rows():
        assert nodes[in_graph(id_)].operation == stage
        assert isinstance(nodes[in_graph(parent)], Flow | ForEach | Scope)
        *around, own = segments(id_)
        assert parent == ("".join(around[:-1] if own.startswith("@") else around) or "/")


def in_graph(id_: str) -> str:
    return re.sub(r"#\d+|@\d+", "", re.sub(r"\[\d+\]", "[]", id_)) or "/"


def the_graph_accepts_what_happened(simulated: Simulated) -> None:
    run, trace, _ = simulated
    if len(trace.runs) <= 150:  # the acceptor is slow
        happened = [(each.path, each.outcome) for each in trace.runs]
        assert accepts(build_graph(graph_options(run.config)), happened, "done")


def a_stage_sees_the_registers_as_they_stand(simulated: Simulated) -> None:
    """What it reads is what had been written when it started; each version is written once."""
    written: dict[str, list[tuple[int, object]]] = {}
    for each in simulated.trace.ended(*{run.operation for run in simulated.trace.runs}):
        for name in each.start.stage.writes_registers:
            if name in each.values:
                written.setdefault(name, []).append((each.finished, each.values[name]))
    for each in simulated.trace.runs:
        for name, version in each.start.versions.items():
            before = [value for finished, value in written.get(name, ()) if finished < each.began]
            assert version == len(before)
            value = each.start.registers[name]
            if name in ("costs", "models", "trained", "skipped", "superseded", "planned"):
                items = [item for written_by_one in before for item in written_by_one]
                assert value == {"total": len(items), "items": items}
            elif name == "active_model":
                assert value == max(before, key=lambda model: model["trigger"], default=None)
            else:
                assert value == (before[-1] if before else None)


def decisions_are_json_and_come_out_the_same_when_made_again(simulated: Simulated) -> None:
    """That is what makes a journal of outcomes enough to go on from."""
    for each in simulated.trace.runs:
        assert json.loads(json.dumps(each.values, allow_nan=False)) == each.values
    context = Context(simulated.run.config, simulated.stream)
    for each in simulated.trace.runs:
        if each.start.stage.kind == "decide":
            assert decide(context, each.start) == (each.outcome, each.values)


# Devices


def no_unit_is_held_twice_at_once(simulated: Simulated) -> None:
    held = simulated.run.devices.select("resource", "unit", "granted_s", "released_s").sort(pl.all())
    for (*unit, _, released_s), (*next_unit, granted_s, _) in pairwise(held.iter_rows()):
        assert unit != next_unit or released_s <= granted_s


def whoever_computes_holds_its_devices(simulated: Simulated) -> None:
    config = simulated.run.config
    units = {f"sim:{index}" for index in range(config.cluster.devices)}
    for each in simulated.trace.of("RUN_TRAINING", "WAIT_FOR_TRAINING_COMPLETION", "TRAINING_COMPLETED"):
        assert len(set(each.start.placement["device"]) & units) == config.training.devices
    for each in simulated.trace.of("WAIT_FOR_EVALUATION_COMPLETION"):
        assert len(set(each.start.placement["device"]) & units) == 1


def no_more_trainings_at_once_than_may_run(simulated: Simulated) -> None:
    config, trace = simulated.run.config, simulated.trace
    most = 1 if config.overlap is None else config.overlap.trainings_at_once
    changes = []
    for runs in by_trigger(trace.of(*TRAINING)).values():
        changes += [(min(each.began for each in runs), 1), (max(each.finished for each in runs), -1)]
    running = np.cumsum([change for _, change in sorted(changes)], dtype=int)
    assert all(running <= most)


TRAINING = (
    "RUN_TRAINING", "WAIT_FOR_TRAINING_COMPLETION", "TRAINING_COMPLETED", "STORE_TRAINED_MODEL", "TRAINING_SKIPPED",
)  # fmt: skip


def by_trigger(runs: Iterable[StageRun]) -> dict[int, list[StageRun]]:
    found: dict[int, list[StageRun]] = {}
    for each in runs:
        assert each.trigger is not None
        found.setdefault(each.trigger["serial"], []).append(each)
    return found


def no_evaluation_starves(simulated: Simulated) -> None:
    """Nothing passes it that asks later than its patience lasts, and meanwhile no device that it could use idles."""
    config = simulated.run.config
    patience_s = config.cluster.patience.evaluation
    devices = simulated.run.devices.filter(pl.col("resource") == "device")
    held = devices.select("holder", "requested_s", "granted_s", "released_s").rows()
    longest_s = max((released_s - granted_s for _, _, granted_s, released_s in held), default=0.0)
    requests = {(holder, requested_s): spans for holder, requested_s, *spans in held}
    for (holder, requested_s), (granted_s, _) in requests.items():
        if "EVALUATION" not in holder:
            continue
        until_s = requested_s + patience_s
        assert not any(asked > until_s and got < granted_s for (_, asked), (got, _) in requests.items())
        ahead = sum(
            asked + (patience_s if "EVALUATION" in other else 0.0) <= until_s < released_s
            for (other, asked), (_, released_s) in requests.items()
        )
        assert granted_s <= until_s + longest_s * ahead * (1 + 1e-9)
        if config.training.devices == 1 and granted_s > requested_s:
            spans = [(max(got, requested_s), min(released_s, granted_s)) for _, _, got, released_s in held]
            busy_s = sum(end - begin for begin, end in spans if end > begin)
            assert busy_s == pytest.approx(config.cluster.devices * (granted_s - requested_s))


# Samples


def batches_hold_each_sample_once(simulated: Simulated) -> None:
    batches = simulated.run.batches
    assert batches["batch"].to_list() == list(range(batches.height))
    edges = [0, *batches["stop"]]
    assert batches["first"].to_list() == edges[:-1]
    assert edges[-1] == simulated.stream.num_samples


def triggers_are_where_the_policy_fires(simulated: Simulated) -> None:
    """At the same positions for batches and chunks of any size, in every variant, replayed or live."""
    run = simulated.run
    assert fires(run) == list(fires_of(simulated))
    assert run.triggers["trigger"].is_sorted()
    assert sorted([*run.triggers["trigger"], *merged_away(simulated)]) == list(
        range(run.triggers.height + len(merged_away(simulated)))
    )
    assert run.triggers["stop"].to_list() == (run.triggers["position"] + 1).to_list()
    if run.config.overlap is None or run.config.overlap.on_trigger != "preempt":
        own = run.triggers.filter(pl.col("num_samples") > 0)
        assert own["first"].to_list() == [0, *own["stop"]][:-1]


def fires(run: Run) -> list[int]:
    """Positions, also of fires that were dropped, or merged into a newer trigger."""
    others = run.decisions.filter(pl.col("verdict").is_in(["dropped", "coalesced"]))
    return sorted([*run.triggers["position"], *(others["stop"] - 1)])


def merged_away(simulated: Simulated) -> dict[int, int]:
    """Serial of a trigger that became part of a newer one → serial of that."""
    return {
        each.start.registers["pending"]["waiting"][-1]["trigger"]["serial"]: each.start.inputs["trigger"]["serial"]
        for each in simulated.trace.of("ADMIT_TRIGGER")
        if each.outcome == "pending"
    }


def fires_of(simulated: Simulated) -> Iterator[int]:
    """By definition, for all samples."""
    trigger, times = simulated.run.config.trigger, simulated.stream.timestamps(0, simulated.stream.num_samples).tolist()
    if trigger.kind == "amount":
        yield from (i for i in range(len(times)) if (i + 1) % trigger.n == 0)
        return
    boundary = (times[0] if trigger.start is None else trigger.start) + trigger.every
    for i, ts in enumerate(times):
        while ts >= boundary:
            yield i - 1
            boundary += trigger.every


def each_sample_counts_for_one_training_or_waits(simulated: Simulated) -> None:
    """Also those of trainings that were dropped, put together, stopped, or that failed for good."""
    _, trace, stream = simulated
    counted = np.zeros(stream.num_samples, int)
    for ended in trace.ended("STORE_TRAINED_MODEL"):
        if ended.outcome == "done":
            counted[list(own_samples(ended.trigger))] += 1
    selector = last_written(simulated, "selector")
    waiting = [[selector["first"], selector["informed"]], *selector["owed"]]
    given_back = [entry for run in trace.ended("TRAINING_SKIPPED") for entry in run.values["skipped"]]
    for entry in given_back[selector["returned"] :]:
        waiting += entry["ranges"]
    for first, stop in waiting:
        counted[first:stop] += 1
    assert (counted == 1).all()


def own_samples(trigger) -> set[int]:
    return {*positions_in(trigger["returned"]), *range(trigger["first"], trigger["stop"])}


def last_written(simulated: Simulated, register: str):
    writers = [run for run in simulated.trace.runs if register in run.values]
    return max(writers, key=lambda run: run.finished).values[register]


def ended_by_themselves(simulated: Simulated) -> set[int]:
    """Serials of the triggers whose model was stored in the end, or whose samples were given back."""
    stored = [each for each in simulated.trace.ended("STORE_TRAINED_MODEL") if each.outcome == "done"]
    given_back = [each for each in simulated.trace.ended("TRAINING_SKIPPED") if each.values["skipped"]]
    return {each.trigger["serial"] for each in (*stored, *given_back)}


def training_sets_follow_their_recipe(simulated: Simulated) -> None:
    config, trace, stream = simulated.run.config, simulated.trace, simulated.stream
    method = config.selection
    counting: dict[int, set[int]] = {}
    owed: set[int] = set()
    sets: dict[int, set[int]] = {}
    num_given_back = 0
    victims: dict[int, int] = {}
    by_itself = ended_by_themselves(simulated)
    for each in trace.ended("INFORM_SELECTOR_AND_TRIGGER", "ADMIT_TRIGGER", "CLAIM_TRIGGERS"):
        if each.operation == "CLAIM_TRIGGERS":
            serial = each.values["trigger"]["serial"]
            if serial in victims and victims[serial] not in by_itself:
                sets[serial] |= sets[victims[serial]]
            continue
        if each.operation == "ADMIT_TRIGGER":
            serial = each.start.inputs["trigger"]["serial"]
            if each.outcome == "dropped":
                owed |= set(positions_in(each.start.inputs["trigger"]["returned"]))
                del counting[serial]
            elif each.outcome == "preempt":
                victims[serial] = each.values["victim"]
            elif each.outcome == "pending":
                older = each.start.registers["pending"]["waiting"][-1]["trigger"]["serial"]
                sets[serial] |= sets[older]
                if older in victims:
                    victims[serial] = victims[older]
            continue
        given_back = each.start.registers["skipped"]["items"]
        owed |= {p for entry in given_back[num_given_back:] for p in positions_in(entry["ranges"])}
        num_given_back = len(given_back)
        counting = {serial: own for serial, own in counting.items() if not own <= owed}
        trigger = each.values["trigger"]
        if each.outcome == "empty":
            continue
        serial, own = trigger["serial"], own_samples(trigger)
        assert own == owed | set(range(trigger["first"], trigger["stop"]))
        owed = set()
        tail = list(counting.values())[-method.tail :] if method.tail else []
        sets[serial] = set(range(trigger["stop"])) if method.tail is None else own.union(*tail)
        counting[serial] = own
    for each in trace.of("RUN_TRAINING"):
        recipe = each.start.inputs["training_set"]
        meant = sets[recipe["trigger"]]
        assert recipe["trigger"] == each.trigger["serial"]
        found = set(positions_in(recipe["ranges"]))
        if method.tail and num_given_back and config.overlap is not None:
            # the selector remembers few of the triggers before: of many that fail while others wait, or are dropped,
            # it may find fewer than `tail` that count
            assert own_samples(each.trigger) <= found <= meant
            meant = found
        assert found == meant
        assert recipe["num_samples"] == min(len(meant), method.limit or len(meant))
        kept = sorted(meant)[-recipe["num_samples"] :] if method.keep == "last" else sorted(meant)
        assert (recipe["first_ts"], recipe["last_ts"]) == (stream.timestamp(kept[0]), stream.timestamp(kept[-1]))


# Models


def no_model_is_used_before_it_is_stored(simulated: Simulated) -> None:
    trace, warm = simulated.trace, simulated.run.config.training.start_from == "active"
    stored = {e.trigger["serial"]: e.finished for e in trace.ended("STORE_TRAINED_MODEL") if e.outcome == "done"}
    for each in trace.runs:
        registers = each.start.registers
        used = [model["trigger"] for model in (registers.get("models") or {"items": []})["items"]]
        used += [registers["active_model"]["trigger"]] if registers.get("active_model") else []
        used += [each.start.inputs["evaluation_job"]["model"]] if "evaluation_job" in each.start.inputs else []
        assert all(stored[model] < each.began for model in used)
    for each in trace.of("WAIT_FOR_TRAINING_COMPLETION"):
        run = next(r for r in reversed(trace.of("RUN_TRAINING")) if r.began < each.began and r.trigger == each.trigger)
        before = [serial for serial, finished in stored.items() if finished < run.began]
        parent = each.start.inputs["job"]["start_from"]
        assert (parent and parent["trigger"]) == (max(before) if warm and before else None)


def the_active_model_never_gets_older(simulated: Simulated) -> None:
    seen = [
        each.start.registers["active_model"] for each in simulated.trace.runs if "active_model" in each.start.registers
    ]
    serials = [-1 if model is None else model["trigger"] for model in seen]
    assert serials == sorted(serials)


def tables_tell_of_every_training(simulated: Simulated) -> None:
    run, trace, _ = simulated
    waits = trace.ended("WAIT_FOR_TRAINING_COMPLETION")
    assert run.trainings.height == len(waits)
    outcomes = ["timeout" if each.outcome == "cancelled" else each.outcome for each in waits]
    assert run.trainings["outcome"].to_list() == outcomes
    assert run.trainings["id"].is_unique().all()
    stored = [each for each in trace.ended("STORE_TRAINED_MODEL") if each.outcome == "done"]
    assert run.models["model"].to_list() == [each.trigger["serial"] for each in stored]
    assert run.models["stored_s"].to_list() == [each.ended_s for each in stored]
    assert run.models["model"].is_unique().all()


def tables_tell_of_every_trigger(simulated: Simulated) -> None:
    """As it was trained, if it was; a fire that became part of a newer trigger is among the decisions instead."""
    run, trace, _ = simulated
    rows = {row["trigger"]: row for row in run.triggers.rows(named=True)}
    assert len(rows) == run.triggers.height
    for each in trace.of("RUN_TRAINING"):
        trigger, row = each.trigger, rows[each.trigger["serial"]]
        assert row["training_samples"] == each.start.inputs["training_set"]["num_samples"]
        assert {key: row[key] for key in TOLD} == {key: trigger[key] for key in TOLD}
    fired = {each.values["trigger"]["serial"]: each for each in trace.of("INFORM_SELECTOR_AND_TRIGGER")}
    assert run.triggers["fired_s"].to_list() == [fired[serial].ended_s for serial in run.triggers["trigger"]]
    coalesced = run.decisions.filter(pl.col("verdict") == "coalesced")
    merged = merged_away(simulated)
    assert coalesced["reason"].to_list() == [f"joined trigger {newer}" for newer in merged.values()]
    assert (coalesced["stop"] - 1).to_list() == [fired[older].values["trigger"]["position"] for older in merged]


TOLD = ("position", "first", "stop", "num_samples", "first_ts", "last_ts")


def all_that_failed_is_among_the_faults(simulated: Simulated) -> None:
    run, trace, _ = simulated
    failed = [each.path for each in trace.ended(*TRAINING) if each.outcome == "failed"]
    assert run.faults.filter(pl.col("outcome") == "failed")["id"].to_list() == failed
    cut_off = [path_text(each.start.path[0]) for each in trace.ended(*TRAINING) if each.outcome == "cancelled"]
    assert run.faults.filter(pl.col("outcome") == "timeout")["id"].to_list() == cut_off


# Evaluations


def every_pair_is_evaluated_once_and_none_is_missing(simulated: Simulated) -> None:
    run, _, stream = simulated
    models = sorted((each.values["model"] for each in stored_in(simulated)), key=lambda model: model["trigger"])
    assert run.evaluations.select(KEYS["evaluations"]).is_unique().all()
    for number, plan in enumerate(run.config.evaluation.plans):
        rows = run.evaluations.filter(pl.col("plan") == number)
        found = {tuple(pair): n for *pair, n in rows.select("model", "start_ts", "end_ts", "num_samples").iter_rows()}
        asked = pairs_asked(plan, models, stream)
        assert asked.items() <= found.items()
        assert {pair[1:] for pair in found} <= {pair[1:] for pair in asked}
        late = not in_turn(run.models["model"].to_list())  # a model that comes late can change who is in use
        assert found == asked or (late and plan.models in ("active", "trained"))
        for num_samples, value in rows.select("num_samples", "value").iter_rows():
            assert (value is None) == (num_samples == 0)


def pairs_asked(plan, models: list[dict], stream: Stream) -> dict[tuple[int, float, float], int]:
    """(model, start, end) → how many samples are to be scored."""
    times = stream.timestamps(0, stream.num_samples)
    span = Span(times[0], times[-1])
    asked: dict[tuple[int, float, float], int] = {}
    for each in [models] if plan.models != "own" else [[model] for model in models]:
        bounds = all_bounds(plan, span, each)
        for (start, end), key in zip(bounds.pairs(), bounds.keys, strict=True):
            positions = np.flatnonzero((times >= start) & (times < end)).tolist()
            if plan.models == "served":
                servers = [server(models, position) for position in positions]
                asked |= {(who, start, end): servers.count(who) for who in set(servers) - {None}}
                continue
            in_use = {"active": [active(each, key)], "trained": [trained(each, key)]}.get(plan.models, each)
            asked |= {(model["trigger"], start, end): len(positions) for model in in_use if model is not None}
    return asked


def server(models: list[dict], position: int) -> int | None:
    return max((model["trigger"] for model in models if model["served_from"] <= position), default=None)


def stored_in(simulated: Simulated) -> list[StageRun]:
    return [each for each in simulated.trace.ended("STORE_TRAINED_MODEL") if each.outcome == "done"]


def evaluations_use_only_samples_that_were_there(simulated: Simulated) -> None:
    """And a model serves what comes after it was stored, live by the clock."""
    run, trace, stream = simulated
    for each in trace.of("EVALUATE"):
        for job in each.values.get("jobs", ()):
            assert all(interval["stop"] <= each.start.inputs["trigger"]["stop"] for interval in job["intervals"])
    num_intervals = run.config.evaluation.intervals_per_visit
    for each in trace.of("WAIT_FOR_EVALUATION_COMPLETION"):
        assert num_intervals is None or len(each.start.inputs["evaluation_job"]["intervals"]) <= num_intervals
    arrivals_s = (stream.timestamps(0, stream.num_samples) - stream.timestamp(0)) / run.config.live.speed_up
    for each in stored_in(simulated):
        stop, served_from = each.trigger["stop"], each.values["model"]["served_from"]
        if run.config.mode == "replay":
            assert served_from == (None if run.config.variant == "overlapped" else stop)
        else:
            assert (arrivals_s[served_from:] >= each.ended_s - 1e-6).all()
            assert (arrivals_s[stop:served_from] <= each.ended_s + 1e-6).all()
            assert served_from >= stop


def in_turn(serials: list[int]) -> bool:
    return serials == sorted(serials)


# What only the variant `overlapped` has


def admissions_are_made_one_at_a_time(simulated: Simulated) -> None:
    admissions = simulated.trace.of("ADMIT_TRIGGER", "CLAIM_TRIGGERS", "TRAINING_SKIPPED")
    assert all(earlier.finished < later.began for earlier, later in pairwise(admissions))
    admissions = [each for each in admissions if each.operation != "TRAINING_SKIPPED"]
    for each in admissions:
        serials = [
            entry["trigger"]["serial"] for place in ("waiting", "running") for entry in each.values["pending"][place]
        ]
        assert max(Counter(serials).values(), default=0) <= 1, "a trigger is pending twice"
    if admissions:
        assert last_written(simulated, "pending")["waiting"] == [], "a trigger was never claimed"


def triggers_are_admitted_as_the_policy_says(simulated: Simulated) -> None:
    config, trace = simulated.run.config.overlap, simulated.trace
    waiting: list[int] = []
    running: list[int] = []
    victims: dict[int, int] = {}
    ended: set[int] = set()
    by_itself = ended_by_themselves(simulated)
    changes = [
        (each.finished, each) for each in trace.ended("CLAIM_TRIGGERS", "STORE_TRAINED_MODEL", "TRAINING_SKIPPED")
    ]
    changes += [(each.began, each) for each in trace.of("ADMIT_TRIGGER")]
    for _, each in sorted(changes, key=lambda change: change[0]):
        if each.operation == "CLAIM_TRIGGERS":
            assert each.outcome == "claimed"
            assert each.values["trigger"]["serial"] == waiting[0], "not the one that has waited longest"
            serial = waiting.pop(0)
            victim = victims.get(serial)
            still_runs = victim in by_itself and victim not in ended
            running = [*([victim] if still_runs else []), *running, serial]
        elif each.operation == "ADMIT_TRIGGER":
            serial = each.start.inputs["trigger"]["serial"]
            full = len(waiting) + len(running) >= config.trainings_at_once
            if config.on_trigger == "drop" and full:
                meant = "dropped"
            elif config.on_trigger in ("coalesce", "preempt") and waiting:
                meant, older, waiting[-1] = "pending", waiting[-1], serial
                if older in victims:
                    victims[serial] = victims[older]
            elif config.on_trigger == "preempt" and full:
                meant = "preempt"
                victims[serial] = each.values["victim"]
                assert victims[serial] == running.pop(0), "not the one that has run longest"
                waiting.append(serial)
            else:
                meant = "start"
                waiting.append(serial)
            assert each.outcome == meant
        elif each.outcome == "done":
            ended.add(each.trigger["serial"])
            running = [serial for serial in running if serial not in ended]


def what_is_preempted_stops_or_it_was_too_late(simulated: Simulated) -> None:
    """Of what was stopped no attempt comes to its end; what was not goes on to its own end."""
    trace, by_itself = simulated.trace, ended_by_themselves(simulated)
    for preempt in trace.of("PREEMPT"):
        victim = preempt.start.inputs["victim"]
        waits = [each for each in trace.of("WAIT_FOR_TRAINING_COMPLETION") if each.trigger["serial"] == victim]
        later = {each.outcome for each in waits if each.finished > preempt.began}
        if preempt.outcome == "stopped":
            assert "trained" not in later
            skipped = [each for each in trace.of("TRAINING_SKIPPED") if each.trigger["serial"] == victim]
            assert victim not in by_itself or skipped[0].began < preempt.finished
        else:
            assert preempt.outcome == "too_late"
            assert "superseded" not in later
            assert victim in by_itself


def it_is_known_whether_a_training_is_under_way(simulated: Simulated) -> None:
    """Whenever the trigger policy is asked: is there a trigger that has samples, and whose fate is not yet known?"""
    trace, by_itself = simulated.trace, ended_by_themselves(simulated)
    changes = [(each.began, each) for each in trace.of("HANDLE_TRIGGERS_WITHIN_BATCH")]
    changes += [
        (each.finished, each) for each in trace.ended("ADMIT_TRIGGER", "STORE_TRAINED_MODEL", "TRAINING_SKIPPED")
    ]
    alive: set[int] = set()
    ended: set[int] = set()
    for _, each in sorted(changes, key=lambda change: change[0]):
        if each.operation == "HANDLE_TRIGGERS_WITHIN_BATCH":
            assert training_under_way(each.start.registers["pending"], ended) == bool(alive)
        elif each.operation == "ADMIT_TRIGGER":
            alive |= {each.start.inputs["trigger"]["serial"]} if each.outcome != "dropped" else set()
            alive -= (
                {each.start.registers["pending"]["waiting"][-1]["trigger"]["serial"]}
                if each.outcome == "pending"
                else set()
            )
            alive -= {each.values["victim"]} - by_itself if each.outcome == "preempt" else set()
        elif each.outcome == "done":
            alive.discard(each.trigger["serial"])
            ended.add(each.trigger["serial"])


def costs_are_reported_of_what_was_trained(simulated: Simulated) -> None:
    """And of nothing that was stopped, though it held its device."""
    trace = simulated.trace
    reported = [cost["trigger"] for each in trace.ended("TRAINING_COMPLETED") for cost in each.values.get("costs", [])]
    trained = [each for each in trace.ended("WAIT_FOR_TRAINING_COMPLETION") if each.outcome == "trained"]
    assert set(reported) <= {each.trigger["serial"] for each in trained}
    assert not {each.trigger["serial"] for each in trace.runs if each.outcome == "superseded"} & set(reported)


def ingestion_never_waits_for_a_training(simulated: Simulated) -> None:
    """Of the stages that ingest, one begins at the moment at which another ends; only admission is waited for."""
    ingesting = [each for each in simulated.trace.runs if "train_and_eval" not in each.path and "#0/" in each.path]
    ingesting = [each for each in ingesting if each.path.startswith("/pipeline#0/")]
    for earlier, later in pairwise(ingesting):
        if later.operation != "ADMIT_TRIGGER":
            assert later.started_s == earlier.ended_s


RULES = (
    the_run_ends_and_leaves_nothing_open,
    the_clock_never_goes_back,
    stage_runs_have_their_place_in_the_graph,
    the_graph_accepts_what_happened,
    a_stage_sees_the_registers_as_they_stand,
    decisions_are_json_and_come_out_the_same_when_made_again,
    no_unit_is_held_twice_at_once,
    whoever_computes_holds_its_devices,
    no_more_trainings_at_once_than_may_run,
    no_evaluation_starves,
    batches_hold_each_sample_once,
    triggers_are_where_the_policy_fires,
    each_sample_counts_for_one_training_or_waits,
    training_sets_follow_their_recipe,
    no_model_is_used_before_it_is_stored,
    the_active_model_never_gets_older,
    tables_tell_of_every_training,
    tables_tell_of_every_trigger,
    all_that_failed_is_among_the_faults,
    every_pair_is_evaluated_once_and_none_is_missing,
    evaluations_use_only_samples_that_were_there,
)
OVERLAPPED = (
    admissions_are_made_one_at_a_time,
    triggers_are_admitted_as_the_policy_says,
    what_is_preempted_stops_or_it_was_too_late,
    it_is_known_whether_a_training_is_under_way,
    costs_are_reported_of_what_was_trained,
    ingestion_never_waits_for_a_training,
)
