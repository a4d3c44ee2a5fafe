"""A run that is killed at any moment, and resumed, ends like one that was left in peace.

One run is watched; what a kill would leave is copied at each moment, and a part of the copies is gone on with: chosen
ones, and random ones, which are cut off a second time. `TWINCLOCK_NUM_CRASHES` says how many random ones a kind of run.
"""

from __future__ import annotations

import os
import random
import shutil
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from inline_pool import InlinePool
from moments import Disk, Moment, Moments, copied, file_name
from real_runs import end_state, small

from twinclock import launch
from twinclock.result import Run
from twinclock.run_folder import HEADER, read_header

NUM_RANDOM = int(os.environ.get("TWINCLOCK_NUM_CRASHES", "3"))
"""Random moments of each kind of run; each is a kill, and then another one in the run that goes on."""
IS_LONG = "TWINCLOCK_NUM_CRASHES" in os.environ
KINDS = [(variant, mode) for variant in ("seed", "overlapped") for mode in ("replay", "live")]
WATCHED = {"commit", "result", "model", "evaluation", "header", "table"}


@pytest.fixture(autouse=True)
def inline(monkeypatch):
    monkeypatch.setattr("real.pool.WorkerPool", InlinePool)


def config(variant: str, mode: str) -> dict[str, Any]:
    live = {"live": {"speed_up": 3e8}} if mode == "live" else {}
    return small(variant=variant, mode=mode, **live)


def state(folder: Path, mode: str) -> dict[str, Any]:
    """What a resumed run has in common with an undisturbed one: all, but live what depends on the clock."""
    if mode == "replay":
        return end_state(folder)
    run = Run.load(folder)
    assert (run.state, run.outcome) == ("finished", "done")
    trained = run.trainings.filter(pl.col("outcome") == "trained")
    assert trained["trigger"].is_unique().all(), "a finished training was repeated"
    assert run.batches["first"].to_list() == [0, *run.batches["stop"].to_list()[:-1]], "a sample is lost or repeated"
    assert run.batches["stop"][-1] == 2000
    tables = {
        "triggers": run.triggers.drop("fired_s"),
        "trainings": trained.select("trigger", "num_samples", "parent", "loss").sort("trigger"),
        "models": run.models.select("model", "first_ts", "last_ts", "num_samples").sort("model"),
    }
    weights = {str(file.relative_to(folder)): file.read_bytes() for file in folder.glob("models/*/*.safetensors")}
    return {name: table.rows(named=True) for name, table in tables.items()} | weights


def watched(patch: pytest.MonkeyPatch, run: Callable[[], Run], at: Callable[[Moment], None]) -> Run:
    with patch.context() as patched:
        Moments(at).watch(patched)
        return run()


def is_run(folder: Path) -> bool:
    return (folder / HEADER).exists()


def chosen(moments: list[Moment]) -> list[Moment]:
    """Before and after the first, the middle and the last of each kind."""
    numbers: dict[str, set[int]] = defaultdict(set)
    for each in moments:
        numbers[each.what].add(each.number)
    places = {what: {0, len(found) // 2, len(found) - 1} for what, found in numbers.items()}
    return [each for each in moments if each.number in places[each.what]]


@pytest.mark.parametrize(("variant", "mode"), KINDS)
def test_killed_at_any_moment_it_ends_like_an_undisturbed_run(tmp_path, monkeypatch, variant, mode):
    out, copies = tmp_path / "run", tmp_path / "copies"
    copies.mkdir()
    moments: list[Moment] = []

    def copy(moment: Moment) -> None:
        if is_run(out):
            moments.append(moment)
            copied(out, copies / file_name(moment))

    watched(monkeypatch, lambda: launch.run(config(variant, mode), on="real", out=out), copy)
    assert {each.what for each in moments} >= WATCHED
    undisturbed, once = state(out, mode), chosen(moments)
    assert len(once) >= 20
    for moment in once:
        folder = copies / file_name(moment)
        resumed(folder)
        assert state(folder, mode) == undisturbed, moment
        shutil.rmtree(folder)

    rng = random.Random(f"{variant} {mode}")
    rest = [each for each in moments if each not in once]
    for moment in rng.sample(rest, min(NUM_RANDOM, len(rest))):
        folder, second = copies / file_name(moment), copies / "second"
        left = rng.randrange(60)

        def cut(_: Moment, folder: Path = folder, second: Path = second) -> None:
            nonlocal left
            left -= 1
            if left == 0:
                copied(folder, second)

        watched(monkeypatch, lambda folder=folder: resumed(folder), cut)
        assert state(folder, mode) == undisturbed, moment
        if second.exists():
            resumed(second)
            assert state(second, mode) == undisturbed, (moment, "and again")
            shutil.rmtree(second)


def resumed(folder: Path) -> Run:
    """Go on with a run, if it is not over already: its header may just have been written."""
    return Run.load(folder) if read_header(folder)["state"] == "finished" else launch.resume(folder)


@pytest.mark.parametrize("mark", ["kept", "lost", "empty"])
def test_after_a_power_cut_it_ends_like_an_undisturbed_run(tmp_path, monkeypatch, mark):
    """Whatever was not synced is gone: files are empty, names are not there, or are still what they were."""
    out = tmp_path / "run"
    disk, cuts = Disk(out), []

    def cut(moment: Moment) -> None:
        if is_run(out) and (moment.what != "commit" or moment.number % 3 == 0):
            cuts.append(disk.after_power_cut(tmp_path / file_name(moment), mark))

    with monkeypatch.context() as patched:
        disk.watch(patched)
        watched(monkeypatch, lambda: launch.run(config("seed", "replay"), on="real", out=out), cut)
    undisturbed = end_state(out)
    assert len(cuts) > 40
    stride = 1 if IS_LONG else 2 if mark == "kept" else 8
    for folder in cuts[::stride]:
        if not is_run(folder):
            continue
        resumed(folder)
        assert end_state(folder) == undisturbed, folder.name
        assert Run.load(folder).faults.is_empty(), folder.name
