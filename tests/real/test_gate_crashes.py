"""A run with a gate that dies between the store, the score and the activation, and is resumed."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import polars as pl
import pytest
from crashing import Crash, crash_at_commit, run_through_crashes
from inline_pool import InlinePool
from real_runs import end_state, journaled, small

from real.active import active_trigger
from real.executor import RealExecutor
from twinclock import launch
from twinclock.machine import Machine
from twinclock.messages import Command, Ended
from twinclock.result import Run

GATE = {"validation": {"share": 0.2}, "gate": {"metric": "accuracy", "max_worse": 0.0}}


def config(**changes):
    plain = small(**changes)
    return {**plain, "trigger": {"kind": "amount", "n": 400}, "training": {**plain["training"], **GATE}}


@pytest.fixture(autouse=True)
def inline(monkeypatch):
    monkeypatch.setattr("real.pool.WorkerPool", InlinePool)


def decided(folder: Path) -> Iterator[tuple[str, int]]:
    """The verdicts in the journal, and whom each was about."""
    for _, _, data in journaled(folder):
        if "verdict" in data.get("values", {}):
            yield data["outcome"], data["values"]["models"][0]["trigger"]


@pytest.mark.parametrize(
    ("variant", "number", "before"),
    [("seed", 2, True), ("sequential", 2, True), ("overlapped", 2, True), ("sequential", 1, False)],
)
def test_a_crash_at_every_commit(tmp_path, monkeypatch, variant, number, before):
    """At every crash the link leads to the active model, or to one that becomes active as soon as the run goes on."""
    undisturbed = launch.run(config(variant=variant), on="real", out=tmp_path / "undisturbed")
    assert undisturbed.folder is not None
    passed = undisturbed.activations.filter(pl.col("activated_s").is_not_null())["model"].to_list()
    assert 1 < len(passed) < undisturbed.models.height == 5
    out, ahead = tmp_path / "disturbed", 0

    def look_at_link() -> None:
        nonlocal ahead
        journaled_as_active = [serial for outcome, serial in decided(out) if outcome == "activated"]
        link = active_trigger(out)
        if link != max(journaled_as_active, default=None):
            assert link == passed[len(journaled_as_active)]
            ahead += 1

    run, num_crashes = run_through_crashes(config(variant=variant), out, number, before=before, at_crash=look_at_link)
    assert num_crashes > 20
    # overlapped, the link may be set already while the crash comes at another branch's commit
    assert ahead == 0 or before, "what was committed is what the link says"
    assert end_state(out) == end_state(undisturbed.folder)
    columns = ["model", "metric", "first", "stop", "value", "active", "active_value", "reason"]
    assert run.activations.select(columns).equals(undisturbed.activations.select(columns))


def test_a_link_that_was_lost_or_led_astray_is_set_before_the_run_goes_on(tmp_path, monkeypatch):
    out = tmp_path / "run"
    crashed(monkeypatch, 30, partial(launch.run, config(), on="real", out=out))
    _, active = [each for each in decided(out) if each[0] == "activated"][-1]
    assert active > 0
    led: list[int | None] = []
    perform = RealExecutor.perform

    def look(executor: RealExecutor, command: Command) -> None:
        led.append(active_trigger(out))
        perform(executor, command)

    for wrong in (None, 0):
        (out / "active").unlink()
        if wrong is not None:
            (out / "active").symlink_to("models/00000")
        led.clear()
        with monkeypatch.context() as patch:
            patch.setattr(RealExecutor, "perform", look)
            crashed(monkeypatch, 1, partial(launch.resume, out))
        assert led[0] == active
    assert launch.resume(out).outcome == "done"
    passed = Run.load(out).activations.filter(pl.col("activated_s").is_not_null())["model"]
    assert os.readlink(out / "active") == f"models/{passed.max():05d}"


def crashed(monkeypatch: pytest.MonkeyPatch, number: int, start: Callable[[], object]) -> None:
    """Start a run that crashes before its commit of this number."""
    with monkeypatch.context() as patch:
        crash_at_commit(patch, number, before=True)
        with pytest.raises(Crash):
            start()


def test_without_a_gate_the_link_follows_the_store(tmp_path):
    followed: list[tuple[int, int | None]] = []
    out = tmp_path / "run"
    feed = Machine.feed

    def look(machine: Machine, event):
        if isinstance(event, Ended) and "active_model" in event.values:
            followed.append((event.values["active_model"]["trigger"], active_trigger(out)))
        return feed(machine, event)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Machine, "feed", look)
        launch.run(small(), on="real", out=out)
    assert followed == [(serial, serial) for serial in range(4)]
