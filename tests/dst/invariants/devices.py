"""Where the seconds and the money go: held or idle, and never twice."""

from __future__ import annotations

import dataclasses

import numpy as np
import polars as pl
from simulated import StageRun

from dst.witness import Witness
from twinclock.cluster import modelled_devices
from twinclock.messages import Acquire, Granted, Release, path_text
from twinclock.usage import totals

_REL = 1e-9
ON_DEVICE = ("RUN_TRAINING", "WAIT_FOR_TRAINING_COMPLETION", "TRAINING_COMPLETED")
TRAINING = (*ON_DEVICE, "STORE_TRAINED_MODEL", "SCORE_CANDIDATE", "ACTIVATE_MODEL", "TRAINING_SKIPPED")


def no_unit_is_held_more_often_than_it_may(witnessed: Witness) -> None:
    """As the tables tell it, over all pipelines for devices: by one at a time, or by `jobs_per_device`."""
    held = pl.concat(
        seen.run.devices.with_columns(
            owner=pl.when(pl.col("resource") == "device").then(pl.lit("")).otherwise(pl.lit(name))
        )
        for name, seen in witnessed.pipelines.items()
    )
    rows = held.select("owner", "resource", "unit", "granted_s", "released_s").sort(pl.all()).iter_rows()
    ends: dict[tuple, list[float]] = {}
    for owner, resource, unit, granted_s, released_s in rows:
        most = witnessed.cluster.jobs_per_device if resource == "device" else 1
        there = ends.setdefault((owner, resource, unit), [])
        there[:] = [*(end for end in there if end > granted_s), released_s]
        # what is granted and given back in the same moment is in nobody's way
        assert len(there) <= most or released_s == granted_s, f"{unit} is held by {len(there)} at {granted_s} s"


def the_table_of_devices_says_who_held_what(witnessed: Witness) -> None:
    """Row by row what was asked for, granted and given back."""
    for name, seen in witnessed.pipelines.items():
        asked: dict[int, tuple[str, float]] = {}
        granted: dict[int, tuple[float, dict]] = {}
        rows = []
        for pipeline, now, event, commands in witnessed.steps:
            if pipeline != name:
                continue
            if isinstance(event, Granted) and event.id in asked:
                granted[event.id] = (now, event.placement)
            for command in commands:
                if isinstance(command, Acquire):
                    asked[command.id] = (path_text(command.path), now)
                elif isinstance(command, Release):
                    path, asked_s = asked.pop(command.id)
                    granted_s, units = granted.pop(command.id, (0.0, {}))
                    rows += [(kind, unit, path, asked_s, granted_s, now) for kind in units for unit in units[kind]]
        assert seen.run.devices.rows() == rows


def busy_and_idle_are_all_there_is(witnessed: Witness) -> None:
    """Device-seconds, money and energy of each pool, and of all pipelines together."""
    used = witnessed.fleet.usage if witnessed.fleet else next(iter(witnessed.pipelines.values())).run.usage
    devices = modelled_devices(witnessed.cluster)
    held = _held_s(witnessed)
    down, unpaid = _gone_s(witnessed, ("node_failed", "reclaimed")), _gone_s(witnessed, ("reclaimed",))
    for row in used.iter_rows(named=True):
        mine = [device for device in devices if row["pool"] in (None, device.pool)]
        all_s, busy_s = len(mine) * witnessed.makespan_s, sum(held.get(device.name, 0.0) for device in mine)
        down_s, unpaid_s = (sum(found.get(device.name, 0.0) for device in mine) for found in (down, unpaid))
        kind = mine[0].kind
        assert row["devices"] == len(mine)
        _close(row["busy_s"], busy_s, all_s)
        _close(row["down_s"], down_s, all_s)
        _close(row["busy_s"] + row["idle_s"] + row["down_s"], all_s, all_s)
        assert row["idle_s"] >= -_REL * max(1.0, all_s), f"busy for longer than there are devices: {row}"
        if kind.usd_per_hour is not None:
            paid_usd = kind.usd_per_hour * (all_s - unpaid_s) / 3600.0
            _close(row["busy_usd"] + row["idle_usd"] + row["down_usd"], paid_usd, all_s)
        if kind.busy_watts is not None:
            joules = kind.busy_watts * busy_s + kind.idle_watts * (all_s - busy_s - down_s)
            _close(row["busy_joules"] + row["idle_joules"], joules, all_s * 300.0)
    if witnessed.fleet is not None:
        _close(witnessed.fleet.pipelines["device_s"].sum(), used["busy_s"].sum(), witnessed.makespan_s)
        shares = witnessed.fleet.pipelines["share"].sum()
        assert shares == 0 or abs(shares - 1) < 1e-9
        usd, told = totals(used)["usd"], witnessed.fleet.pipelines["usd"].drop_nulls()
        assert usd is None or told.is_empty() or abs(told.sum() - usd) <= 1e-9 * max(1.0, usd)


def _held_s(witnessed: Witness) -> dict[str, float]:
    """Device → seconds in which anybody held it."""
    spans: dict[str, list[tuple[float, float]]] = {}
    for seen in witnessed.pipelines.values():
        for resource, unit, *_, granted_s, released_s in seen.run.devices.rows():
            if resource == "device":
                spans.setdefault(unit, []).append((granted_s, released_s))
    return {unit: _union_s(each) for unit, each in spans.items()}


def _gone_s(witnessed: Witness, causes: tuple[str, ...]) -> dict[str, float]:
    """Device → seconds of the run in which it was away for one of these causes."""
    spans: dict[str, set[tuple[float, float]]] = {}
    for seen in witnessed.pipelines.values():
        for device, cause, from_s, until_s in seen.run.outages.select("device", "cause", "from_s", "until_s").rows():
            if cause in causes:
                spans.setdefault(device, set()).add((from_s, min(until_s, witnessed.makespan_s)))
    return {device: _union_s(list(each)) for device, each in spans.items()}


def _union_s(spans: list[tuple[float, float]]) -> float:
    total_s = reached_s = 0.0
    for begin_s, end_s in sorted(spans):
        total_s += max(0.0, end_s - max(begin_s, reached_s))
        reached_s = max(reached_s, end_s)
    return total_s


def jobs_take_what_devices_are_held_for(witnessed: Witness) -> None:
    """Σ over jobs is what the summary says: seconds of devices, and seconds of queueing."""
    for seen in witnessed.pipelines.values():
        shared = dataclasses.replace(witnessed, pipelines={"": seen})
        _close(seen.run.summary["device_s"], sum(_held_s(shared).values()), witnessed.makespan_s)
        waits = {
            (resource, holder, asked_s, granted_s)
            for resource, _, holder, asked_s, granted_s, _ in seen.run.devices.rows()
            if resource in ("device", "training_slot")
        }
        queued_s = sum(granted_s - asked_s for *_, asked_s, granted_s in waits)
        _close(seen.run.summary["queued_s"], queued_s, queued_s)


def whoever_computes_holds_its_devices(witnessed: Witness) -> None:
    """As many as the configuration says, all of one pool."""
    pools = {device.name: device.pool for device in modelled_devices(witnessed.cluster)}
    for seen in witnessed.pipelines.values():
        wanted = seen.run.config.training.devices
        for each in seen.of("RUN_TRAINING", "WAIT_FOR_TRAINING_COMPLETION", "TRAINING_COMPLETED"):
            held = each.start.placement["device"]
            assert len(set(held)) == wanted
            assert len({pools[name] for name in held}) == 1
        for each in seen.of("WAIT_FOR_EVALUATION_COMPLETION", "SCORE_CANDIDATE"):
            assert len(each.start.placement["device"]) == 1


def no_more_trainings_at_once_than_may_run(witnessed: Witness) -> None:
    """From its first stage to its last."""
    for seen in witnessed.pipelines.values():
        most = 1 if seen.run.config.overlap is None else seen.run.config.overlap.trainings_at_once
        changes = []
        for runs in by_trigger(seen.of(*TRAINING)).values():
            changes += [(min(each.began for each in runs), 1), (max(each.finished for each in runs), -1)]
        running = np.cumsum([change for _, change in sorted(changes)], dtype=int)
        assert all(running <= most), f"{max(running)} trainings at once, but {most} may run"


def by_trigger(runs: list[StageRun]) -> dict[int, list[StageRun]]:
    """Serial of a trigger → the stage runs that work for it."""
    found: dict[int, list[StageRun]] = {}
    for each in runs:
        assert each.trigger is not None
        found.setdefault(each.trigger["serial"], []).append(each)
    return found


def _close(found: float, meant: float, scale: float) -> None:
    assert abs(found - meant) <= _REL * max(1.0, abs(scale)), f"{found}, not {meant}"
