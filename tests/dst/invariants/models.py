"""Cause before effect: no model is used before it is stored, and every evaluation that is due is made once."""

from __future__ import annotations

import numpy as np
import polars as pl
from simulated import StageRun

from dst.invariants.samples import settled_in
from dst.witness import Seen, Witness
from sim.throughput.constant import ConstantCost
from twinclock.lateness import handover
from twinclock.messages import Recalled
from twinclock.policies.evaluation import Span, active, all_bounds, trained
from twinclock.policies.evaluation.in_use import activated
from twinclock.policies.gate import judge
from twinclock.schemas import KEYS
from twinclock.seeds import Purpose

_APPENDED = ("costs", "models", "trained", "skipped", "superseded", "planned")
_COSTS_KEPT = 1000


def a_stage_sees_the_registers_as_they_stand(witnessed: Witness) -> None:
    """What it reads is what had been written when it started; each version is written once."""
    for seen in witnessed.pipelines.values():
        written: dict[str, list[tuple[int, object]]] = {}
        for each in sorted((run for run in seen.trace.runs if run.ended), key=lambda run: run.finished):
            for name in each.start.stage.writes_registers:
                if name in each.values:
                    written.setdefault(name, []).append((each.finished, each.values[name]))
        for each in seen.trace.runs:
            for name, version in each.start.versions.items():
                before = [value for finished, value in written.get(name, ()) if finished < each.began]
                assert version == len(before), f"{each.path} reads {name}@{version}, not @{len(before)}"
                value = each.start.registers[name]
                if name in _APPENDED:
                    items = [item for written_by_one in before for item in written_by_one]
                    assert value == {"total": len(items), "items": items[-_COSTS_KEPT:] if name == "costs" else items}
                elif name == "active_model":
                    assert value == max(before, key=lambda model: model["trigger"], default=None)
                else:
                    assert value == (before[-1] if before else None)


def no_model_is_used_before_it_is_stored(witnessed: Witness) -> None:
    """Not as the active one, not scored, not observed, and no training starts from it."""
    for seen in witnessed.pipelines.values():
        warm = seen.run.config.training.start_from == "active"
        stored = {each.trigger["serial"]: each for each in settled_in(seen)}
        for each in seen.trace.runs:
            for serial in _models_used(each):
                assert serial in stored, f"{each.path} uses model {serial}, which is never stored"
                assert stored[serial].finished < each.began, f"{each.path} uses model {serial} before it is stored"
        starts: dict[int, StageRun] = {}
        for each in sorted(seen.of("RUN_TRAINING", "WAIT_FOR_TRAINING_COMPLETION"), key=lambda run: run.began):
            if each.operation == "RUN_TRAINING":
                starts[each.trigger["serial"]] = each
                continue
            began = starts[each.trigger["serial"]].began
            before = [serial for serial, run in stored.items() if run.finished < began and run.outcome != "rejected"]
            parent = each.start.inputs["job"]["start_from"]
            assert (parent and parent["trigger"]) == (max(before) if warm and before else None), each.path


def _models_used(each: StageRun) -> list[int]:
    registers, inputs = each.start.registers, each.start.inputs
    used = [model["trigger"] for model in (registers.get("models") or {"items": []})["items"]]
    used += [registers["active_model"]["trigger"]] if registers.get("active_model") else []
    used += [inputs["evaluation_job"]["model"]] if "evaluation_job" in inputs else []
    request = inputs.get("request")
    if isinstance(request, dict) and request.get("models"):
        used += [model["trigger"] for model in request["models"]]
    return used


def the_gate_says_what_the_scores_say(witnessed: Witness) -> None:
    """Of models that were stored, one at a time, each held against the one that is active by then."""
    for seen in witnessed.pipelines.values():
        gate, verdicts = seen.run.config.training.gate, settled_in(seen)
        if gate is None:
            assert seen.run.activations.is_empty()
            continue
        rows = {row["model"]: row for row in seen.run.activations.rows(named=True)}
        assert list(rows) == [each.trigger["serial"] for each in verdicts]
        active_serial, last = None, -1
        stored, scored = ({each.trigger["serial"]: each for each in found}
                          for found in (stored_in(seen), seen.of("SCORE_CANDIDATE")))  # fmt: skip
        for each in verdicts:
            serial = each.trigger["serial"]
            assert stored[serial].finished < scored[serial].began < each.began
            assert last < scored[serial].began, "two candidates at the gate at once"
            row, last = rows[serial], each.finished
            is_first, is_older = active_serial is None, active_serial is not None and active_serial > serial
            passed = is_first or (not is_older and judge(gate, row["value"], row["active_value"]).is_activated)
            assert (each.outcome == "activated") == passed == (row["activated_s"] is not None), row
            if row["metric"] is not None:
                assert row["active"] == active_serial
                assert row["first"] < row["stop"] or row["value"] is None, "a set of one sample has none to hold out"
                assert row["stop"] == each.trigger["stop"]
            active_serial = serial if passed else active_serial


def the_active_model_never_gets_older(witnessed: Witness) -> None:
    """Whenever a stage looks."""
    for seen in witnessed.pipelines.values():
        models = [
            run.start.registers["active_model"] for run in seen.trace.runs if "active_model" in run.start.registers
        ]
        serials = [-1 if model is None else model["trigger"] for model in models]
        assert serials == sorted(serials)


def a_training_has_at_most_one_model(witnessed: Witness) -> None:
    """Which is that of its trigger, trained on the set of that trigger; stored after it has trained."""
    for seen in witnessed.pipelines.values():
        stored = [each.trigger["serial"] for each in stored_in(seen)]
        assert len(stored) == len(set(stored)), f"stored twice: {stored}"
        trained_ = {each.trigger["serial"]: each for each in seen.of("WAIT_FOR_TRAINING_COMPLETION")
                    if each.outcome == "trained"}  # fmt: skip
        for each in stored_in(seen):
            wait = trained_[each.trigger["serial"]]
            assert wait.finished < each.began
            assert each.values["model"]["num_samples"] == wait.start.inputs["job"]["training_set"]["num_samples"]


def costs_are_those_of_the_trainings(witnessed: Witness) -> None:
    """What has trained is reported once, with the seconds of the attempt that was used, from its start to its end."""
    for seen in witnessed.pipelines.values():
        reported = {}
        used = {each.trigger["serial"]: each for each in seen.ended("WAIT_FOR_TRAINING_COMPLETION")
                if each.outcome == "trained"}  # fmt: skip
        for each in seen.ended("TRAINING_COMPLETED"):
            for cost in each.values.get("costs", ()):
                assert cost["trigger"] not in reported, f"the training of trigger {cost['trigger']} is charged twice"
                reported[cost["trigger"]] = cost
        for serial, cost in reported.items():
            held_s = used[serial].ended_s - used[serial].start.inputs["job"]["started_s"]
            assert abs(cost["seconds"] - held_s) <= 1e-9 * max(1.0, used[serial].ended_s), (cost, held_s)


def the_luck_of_a_training_is_its_own(witnessed: Witness) -> None:
    """Its noise follows from seed and trigger alone, not from what came before; seen where costs are constant."""
    for seen in witnessed.pipelines.values():
        config, sim = seen.run.config, seen.sim
        cost, luck = sim.costs.training, config.faults.stragglers
        others_count = any(can_interfere(each) for each in witnessed.pipelines.values())
        keeps = config.training.checkpoint
        kept = keeps.every is not None or keeps.every_steps is not None
        if not isinstance(cost, ConstantCost) or sim.costs.warmup_s > 0 or kept or seen.broken or others_count:
            continue
        for each in seen.of("WAIT_FOR_TRAINING_COMPLETION"):
            if "fit" in each.values:
                key = np.random.SeedSequence(config.seed, spawn_key=(Purpose.TRAINING_NOISE, each.trigger["serial"]))
                sigma = sim.costs.noise_sigma
                seconds = cost.seconds * np.exp(sigma * np.random.default_rng(key).standard_normal() - sigma**2 / 2)
                found = each.values["fit"]["seconds"]
                slack = 1e-9 * found + 1e-14 * each.ended_s  # the clock may be far on
                assert any(abs(found - seconds * factor) <= slack for factor in (1.0, luck.factor)), each.path


def can_interfere(seen: Seen) -> bool:
    """Can a job take longer because of others?"""
    told = seen.sim.interference
    return told.same_node > 0 or (seen.run.config.cluster.jobs_per_device > 1 and told.same_device > 0)


def every_pair_is_evaluated_once_and_none_is_missing(witnessed: Witness) -> None:
    """Every model and interval that a plan asks for, with as many samples as there are; but for jobs that failed."""
    recalled = {(step.pipeline, step.event.id) for step in witnessed.steps if isinstance(step.event, Recalled)}
    for seen in witnessed.pipelines.values():
        if not seen.is_done or not seen.taken:
            continue
        run = seen.run
        models = sorted((each.values["models"][0] for each in settled_in(seen)), key=lambda model: model["trigger"])
        assert run.evaluations.select(KEYS["evaluations"]).is_unique().all()
        failed = {
            (job["plan"], job["model"], each["start"], each["end"])
            for run_ in seen.of("WAIT_FOR_EVALUATION_COMPLETION")
            if run_.outcome != "done" and (run_.start.pipeline, run_.start.id) not in recalled
            for job in [run_.start.inputs["evaluation_job"]]
            for each in job["intervals"]
        }
        for number, plan in enumerate(run.config.evaluation.plans):
            rows = run.evaluations.filter(pl.col("plan") == number)
            found = {
                tuple(pair): n for *pair, n in rows.select("model", "start_ts", "end_ts", "num_samples").iter_rows()
            }
            asked = pairs_asked(plan, models, seen)
            missing = {pair for pair in asked if pair not in found and (number, *pair) not in failed}
            assert not missing, f"plan {number}: never evaluated: {sorted(missing)[:3]}"
            assert all(found[pair] == asked[pair] for pair in asked.keys() & found.keys()), "other numbers of samples"
            assert {pair[1:] for pair in found} <= {pair[1:] for pair in asked}
            settled = [each.trigger["serial"] for each in settled_in(seen)]
            late = settled != sorted(settled)
            # a model that comes late can change who is in use
            assert found.keys() <= asked.keys() or (late and plan.models in ("active", "trained"))
            for num_samples, value in rows.select("num_samples", "value").iter_rows():
                assert (value is None) == (num_samples == 0)
                assert value is None or 0 <= value <= 1


def pairs_asked(plan, models: list[dict], seen: Seen) -> dict[tuple[int, float, float], int]:
    """(model, start, end) → how many samples are to be scored; what the gate turned away is never in use."""
    times = seen.stream.timestamps(0, seen.taken)
    span = Span(times[0], times[-1])
    asked: dict[tuple[int, float, float], int] = {}
    for each in [models] if plan.models != "own" else [[model] for model in models]:
        bounds = all_bounds(plan, span, each)
        for (start, end), key in zip(bounds.pairs(), bounds.keys, strict=True):
            positions = np.flatnonzero((times >= start) & (times < end)).tolist()
            if plan.models == "served":
                servers = [_server(activated(models), position) for position in positions]
                asked |= {(who, start, end): servers.count(who) for who in set(servers) - {None}}
                continue
            ours = activated(each)
            in_use = {"active": [active(ours, key)], "trained": [trained(ours, key)]}.get(plan.models, each)
            asked |= {(model["trigger"], start, end): len(positions) for model in in_use if model is not None}
    return asked


def _server(models: list[dict], position: int) -> int | None:
    return max((model["trigger"] for model in models if model["served_from"] <= position), default=None)


def evaluations_use_only_samples_that_were_there(witnessed: Witness) -> None:
    """An evaluation after a training scores nothing that was not taken in by then."""
    for seen in witnessed.pipelines.values():
        for each in seen.of("EVALUATE"):
            for job in each.values.get("jobs", ()):
                stops = [interval["stop"] for interval in job["intervals"]]
                assert max(stops) <= each.start.inputs["trigger"]["stop"], f"{each.path} scores what is yet to come"
        most = seen.run.config.evaluation.intervals_per_visit
        for each in seen.of("WAIT_FOR_EVALUATION_COMPLETION"):
            intervals = each.start.inputs["evaluation_job"]["intervals"]
            assert most is None or len(intervals) <= most
            assert all(interval["stop"] <= seen.taken for interval in intervals)


def a_model_serves_what_comes_after_it_is_stored(witnessed: Witness) -> None:
    """Live by the clock; in replay what follows its trigger, where training stops ingestion."""
    for seen in witnessed.pipelines.values():
        config = seen.run.config
        moment = handover(seen.stream).moment
        origin = seen.stream.timestamp(0)
        for each in settled_in(seen):
            if each.outcome == "rejected":
                continue
            stop, served_from = each.trigger["stop"], each.values["active_model"]["served_from"]
            if config.mode == "replay":
                assert served_from == (None if config.variant == "overlapped" else stop)
                continue
            stored_ts = origin + each.ended_s * config.live.speed_up
            slack = 1e-6 * max(1.0, abs(stored_ts - origin)) + 1e-9 * abs(stored_ts)
            assert served_from >= stop
            if served_from < seen.stream.num_samples:
                assert moment(served_from) >= stored_ts - slack, f"model of {each.path} serves before it is stored"
            if served_from > stop:
                assert moment(served_from - 1) <= stored_ts + slack


def stored_in(seen: Seen) -> list[StageRun]:
    """The stage runs that stored a model, in the order in which they ended."""
    return [each for each in seen.ended("STORE_TRAINED_MODEL") if each.outcome == "done"]
