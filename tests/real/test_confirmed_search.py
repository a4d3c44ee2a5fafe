"""A search whose front is run for real: what the simulation said beside what came of it, and the regret."""

from __future__ import annotations

import polars as pl
import pytest
from real_runs import small
from rich.console import Console

import experiments.search.results as found
from experiments.search.goals import Goals
from experiments.search.optimise import search
from experiments.search.results import SearchResult
from experiments.search.show import show_search
from experiments.store import read_results
from experiments.study import Metric, load_study
from twinclock.result import Run


def study():
    data = {"kind": "table", "dataset": "portal_rodents", "limit": 1000}
    axes = [{"kind": "grid", "key": "trigger.n", "values": [250, 500]}]
    quality = {"kind": "decay", "half_samples": 50, "half_life_s": 3e6}
    plans = [{"kind": "slicing", "every": "30d", "models": "active"}]
    base = small(data=data, evaluation={"plans": plans}, sim={"quality": quality})
    return {"name": "confirmed", "base": base, "axes": axes, "metrics": ["accuracy", "-trainings"]}


def test_the_best_of_the_front_are_run_for_real_once(tmp_path):
    folder = tmp_path / "confirmed"
    made = search(study(), out=folder, confirm=2)
    table = made.confirmed
    assert table["state"].unique().to_list() == ["done"]
    assert table["metric"].to_list() == ["accuracy", "trainings"] * 2
    best, last = made.front.row(0, named=True), made.front.row(-1, named=True)
    assert table["number"].to_list() == [best["number"]] * 2 + [last["number"]] * 2
    assert table["simulated"].to_list() == [each[name] for each in (best, last) for name in ("accuracy", "trainings")]
    for run, rows in table.group_by("run"):
        summary = Run.load(folder / "runs" / run[0]).summary
        assert summary["executor"] == "real"
        assert dict(rows.select("metric", "real").iter_rows()) == {name: summary[name] for name in rows["metric"]}
    assert (made.regret["regret"] >= 0).all()
    trainings = made.regret.row(1, named=True)
    assert trainings["chosen"] == trainings["best"] == last["variant"]  # of triggers by amount, the simulator is sure
    assert trainings["regret"] == 0
    before = read_results(folder)
    again = search(study(), out=folder, confirm=2)
    assert again.confirmed.equals(table)
    assert read_results(folder) == before  # not even the seconds it took have changed
    assert pl.read_parquet(folder / "confirmed.parquet").equals(table)


def test_regret_is_what_the_best_for_real_has_more_than_the_best_of_the_simulation(tmp_path):
    rows = [
        ("a", "done", "accuracy", 0.9, 0.5),
        ("b", "done", "accuracy", 0.8, 0.75),
        ("c", "failed", "accuracy", 0.7, None),
        ("a", "done", "device_s", 20.0, 30.0),
        ("b", "done", "device_s", 10.0, 12.0),
        ("c", "failed", "device_s", 5.0, None),
    ]
    made = result_of(rows, tmp_path)
    accuracy, device_s = made.regret.rows(named=True)
    assert (accuracy["chosen"], accuracy["best"], accuracy["regret"]) == ("a", "b", pytest.approx(0.25))
    assert (device_s["chosen"], device_s["chosen_real"], device_s["regret"]) == ("c", None, None)
    assert (device_s["best"], device_s["best_real"]) == ("b", 12.0)
    console = Console(width=120, record=True)
    show_search(made, console)
    assert "out of memory" in console.export_text()


def result_of(rows, folder) -> SearchResult:
    confirmed = pl.DataFrame(
        [
            {"number": 0, "variant": variant, "seed": 0, "run": "r", "state": state, "metric": metric}
            | {"error": None if state == "done" else "out of memory", "simulated": simulated, "real": real}
            for variant, state, metric, simulated, real in rows
        ],
        schema=found.CONFIRMED_SCHEMA,
    )
    goals = Goals((Metric("accuracy", True), Metric("device_s", False)))
    none = found.collect(load_study(study()), goals, [], folder)
    return SearchResult(none.study, goals, none.trials, folder, confirmed)
