"""Searches: the same front as of all variants, the same trials however they came about, and what is done stays done."""

from __future__ import annotations

import json
import os
import signal
import sys
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import typer
from hypothesis import given
from hypothesis import strategies as st
from in_processes import PATIENCE_S, killed, results, rows, started, until, written
from small_studies import BASE, hostile, study
from typer.testing import CliRunner

from experiments import commands
from experiments.results import StudyResult
from experiments.search.goals import Goals, is_on_front
from experiments.search.optimise import search
from experiments.search.pruning import SHARE, is_beaten, shortened
from experiments.search.space import every_choice, suggested
from experiments.search.trials import Ended, Proposed
from experiments.study import Metric, load_study
from experiments.sweep import sweep
from experiments.variants import Variant, variants
from twinclock.errors import ConfigError, RunError


def grid(**changes):
    """Sixteen variants of which some are beaten by none: retraining often is dear, and worth it while data drift."""
    axes = [
        {"kind": "grid", "key": "trigger.n", "values": [50, 100, 200, 1000]},
        {"kind": "grid", "key": "training.epochs", "values": [1, 8]},
        {"kind": "grid", "key": "selection.tail", "values": [0, None]},
    ]
    sim = {
        "costs": {"training": {"setup_s": 2.0, "samples_per_s": 500}},
        "quality": {
            "kind": "formula",
            "learning": {"kind": "inverse", "b0": 0.01, "b1": 1.2, "b2": 0.1},
            "drift": [{"kind": "gradual", "half_life": "12h"}],
        },
    }
    base = {**BASE, "batching": {"kind": "fixed", "n": 50}, "sim": sim}
    return {"name": "grid", "base": base, "axes": axes, **changes}


def labels(frame: pl.DataFrame) -> list[str]:
    return frame["variant"].to_list()


@pytest.fixture(scope="module")
def swept(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("swept") / "grid"
    assert sweep(grid(), out=folder, num_workers=2).unfinished.is_empty()
    return folder


@pytest.fixture(scope="module")
def oracle(swept) -> set[str]:
    """The front of all variants, by comparing each with each."""
    all_runs = StudyResult.load(swept).wide.select("variant", "accuracy", "device_s").rows()
    return {
        label
        for label, accuracy, device_s in all_runs
        if not any(a >= accuracy and d <= device_s and (a, d) != (accuracy, device_s) for _, a, d in all_runs)
    }


@pytest.fixture(scope="module")
def undisturbed(swept):
    """A search for all of it, with short simulations."""
    return search(grid(), out=swept, num_trials=100, batch_size=4, num_workers=2)


# What it finds


def test_with_as_many_trials_as_variants_the_front_is_that_of_all(swept, oracle):
    before = rows(swept)
    made = search(grid(), out=swept, num_trials=100, prune=False)
    assert rows(swept) == before  # what the sweep has done is not done again
    assert sorted(labels(made.trials)) == sorted(each.label for each in variants(load_study(grid())))
    assert made.trials["number"].to_list() == list(range(16))
    assert made.counts == {"done": 16}
    assert set(labels(made.front)) == oracle
    assert 1 < len(oracle) < 16
    assert made.front["accuracy"].is_sorted(descending=True)
    assert made.best == made.front.row(0, named=True)
    assert pl.read_parquet(swept / "trials.parquet").equals(made.trials)
    assert "accuracy" in made._repr_html_()


def test_pruning_leaves_out_trials_and_not_one_of_the_front(undisturbed, oracle):
    assert set(labels(undisturbed.front)) == oracle
    assert undisturbed.counts["pruned"] > 0
    pruned = undisturbed.trials.filter(pl.col("state") == "pruned")
    assert oracle.isdisjoint(labels(pruned))
    assert pruned["accuracy"].null_count() == pruned.height


def test_figures_are_means_over_the_seeds_and_its_runs_are_those_of_a_sweep(tmp_path):
    values = grid(axes=[{"kind": "grid", "key": "trigger.n", "values": [500, 1000]}], seeds=[3, 5])
    made = search(values, out=tmp_path / "out", num_workers=1, prune=False)
    before = rows(tmp_path / "out")
    of_runs = sweep(values, out=tmp_path / "out").wide.group_by("variant").agg(pl.col("accuracy").mean())
    assert rows(tmp_path / "out") == before
    joined = made.trials.select("variant", "accuracy").join(of_runs, on="variant", suffix="_mean")
    assert joined.height == 2
    assert joined["accuracy"].to_list() == pytest.approx(joined["accuracy_mean"].to_list())


def test_what_exceeds_a_bound_is_infeasible_and_not_on_the_front(swept):
    device_s = StudyResult.load(swept).wide["device_s"]
    bound = device_s.median()
    made = search(grid(), out=swept, at_most={"device_s": bound}, objectives=["accuracy"], prune=False)
    by_state = {state: frame["device_s"] for (state,), frame in made.trials.group_by("state")}
    assert by_state["done"].max() <= bound < by_state["infeasible"].min()
    assert len(by_state["done"]) == (device_s <= bound).sum()
    kept = made.trials.filter(pl.col("state") == "done")
    assert set(made.front["accuracy"]) == {kept["accuracy"].max()}
    assert made.trials["accuracy"].max() > kept["accuracy"].max()


def test_a_bound_that_nothing_keeps_leaves_no_front(swept):
    made = search(grid(), out=swept, at_most={"device_s": "0s", "trainings": 0}, num_trials=3, prune=False)
    assert made.counts == {"infeasible": 3}
    assert made.front.is_empty()
    assert made.best is None


# However it came about


def test_a_search_in_parts_makes_the_same_trials(undisturbed, swept):
    assert search(grid(), out=swept, num_trials=4, batch_size=4).trials.equals(undisturbed.trials)
    other = search(grid(), out=swept, num_trials=6, batch_size=4, seed=1, prune=False)
    assert labels(other.trials) != labels(undisturbed.trials)[:6]
    whole = search(grid(), out=swept, num_trials=16, batch_size=4, seed=1, prune=False)
    assert labels(whole.trials)[:6] == labels(other.trials)
    assert set(labels(whole.trials)) == set(labels(undisturbed.trials))


def test_killed_at_any_moment_it_goes_on_and_ends_with_the_same_trials(undisturbed, tmp_path):
    folder = tmp_path / "killed"
    process = started(command(grid(), folder))
    until(lambda: len(results(folder)) >= 11, "results of the second batch")
    killed(process)
    before = rows(folder)
    made = search(grid(), out=folder, num_trials=100, batch_size=4, num_workers=1)
    assert {run: rows(folder)[run] for run in before} == before  # no run was done twice
    assert made.trials.equals(undisturbed.trials)
    assert set(labels(made.front)) == set(labels(undisturbed.front))


def test_an_interrupt_leaves_trials_and_says_how_to_go_on(tmp_path):
    folder = tmp_path / "interrupted"
    axes = [{"kind": "list", "name": "policy", "variants": {"good": {}, "hangs": hostile("Hangs")}}]
    process = started([*command(grid(axes=axes), folder), "--no-prune"])
    until(lambda: len(results(folder)) >= 1, "the good run")
    os.killpg(process.pid, signal.SIGINT)
    _, told = process.communicate(timeout=PATIENCE_S)
    assert process.returncode == 130
    assert "of 100 trials; the same command goes on" in told
    assert "Traceback" not in told
    assert (folder / "trials.parquet").exists()


def command(values, folder: Path) -> list[str]:
    main = "import typer; from experiments.commands import search; typer.run(search)"
    return [sys.executable, "-c", main, written(values, folder), "--out", str(folder), "-j", "2", "--batch", "4"]


# The space


class Highest:
    """Decides for the last choice and the highest number, and remembers what it was asked."""

    def __init__(self):
        self.asked = {}

    def suggest_categorical(self, name, choices):
        self.asked[name] = choices
        return choices[-1]

    def suggest_float(self, name, low, high, *, log):
        self.asked[name] = (low, high, log)
        return high

    def suggest_int(self, name, low, high, *, log):
        self.asked[name] = (low, high, log)
        return high


def test_an_axis_is_asked_for_only_where_it_applies():
    loaded = load_study(study())
    who = Highest()
    assert suggested(loaded, who).levels == {"policy": "time"}
    assert who.asked == {"policy": ("amount", "time")}
    choices = every_choice(loaded)
    assert choices == [{"policy": "amount", "n": f"n={n}"} for n in (400, 500, 1000)] + [{"policy": "time"}]


def test_random_axes_are_ranges():
    draws = {"training.optimizer.lr": {"low": 1e-4, "high": 0.1, "log": True}}
    whole = {"trigger.n": {"low": 9.5, "high": 20.2, "whole": True}}
    loaded = load_study(study(axes=[{"kind": "random", "num_points": 2, "draws": {**draws, **whole}}]))
    who = Highest()
    variant = suggested(loaded, who)
    assert who.asked == {"lr": (1e-4, 0.1, True), "n": (10, 20, False)}
    assert variant.changes == {"training.optimizer.lr": 0.1, "trigger.n": 20}
    assert every_choice(loaded) is None


def test_a_search_among_numbers_where_an_axis_applies_only_sometimes(tmp_path):
    axes = [
        study()["axes"][0],
        {
            "kind": "random",
            "num_points": 1,
            "draws": {"trigger.n": {"low": 100, "high": 1000, "log": True, "whole": True}},
            "when": {"policy": "amount"},
        },
        {"kind": "zipped", "values": {"training.epochs": [1, 2], "training.batch_size": [16, 64]}},
    ]
    made = search(study(axes=axes, seeds=1), out=tmp_path / "out", num_trials=14, batch_size=7, num_workers=2)
    assert made.trials.height == 14
    assert set(made.counts) <= {"done", "pruned"}
    assert made.trials.filter(pl.col("policy") == "time")["n"].null_count() == (made.trials["policy"] == "time").sum()
    numbers = made.trials["n"].drop_nulls()
    assert numbers.is_between(100, 1000).all()
    assert numbers.n_unique() > 3
    assert set(made.trials.select("epochs", "batch_size").rows()) == {(1, 16), (2, 64)}


# What goes wrong


def test_variants_that_fail_are_trials_that_say_why(tmp_path):
    policies = {
        "good": {},
        "misspelt": {"trigger.m": 3},
        "no such key": {"name.x": 3},
        "dies": hostile("Dies"),
        "not evaluated": {"evaluation.plans": []},
        "good too": {"trigger.n": 1000},
    }
    poisoned = study(axes=[{"kind": "list", "name": "policy", "variants": policies}], seeds=1)
    made = search(poisoned, out=tmp_path / "poisoned", num_workers=2)
    told = {row["variant"]: (row["state"], row["error"]) for row in made.trials.to_dicts()}
    assert told["good"] == told["good too"] == ("done", None)
    assert told["misspelt"] == ("failed", "trigger.m: unknown key (got 3); known: kind, n")
    assert 'name is "small", which has no keys' in told["no such key"][1]
    assert told["dies"] == ("failed", "crashed with seed 0: its process ended with exit code 7")
    assert told["not evaluated"] == ("failed", "accuracy: no value in this variant")


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"objectives": ["accuracy", "-gpu_seconds"]}, "--objective: got 'gpu_seconds', expected a figure of a run; "),
        ({"objectives": ["-divice_s"]}, "--objective: got 'divice_s', .* did you mean device_s"),
        ({"at_most": {"dollars": 3}}, "--at-most: got 'dollars', expected a figure of a run; known: .*usd"),
    ],
)
def test_an_unknown_metric_ends_the_search_with_the_first_run_that_is_done(swept, options, told):
    with pytest.raises(ConfigError, match=told):
        search(grid(), out=swept, prune=False, **options)
    assert search(grid(), out=swept, prune=False, num_trials=1).trials.height > 0


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"num_trials": 0}, "--trials: got 0, expected a whole number >= 1"),
        ({"batch_size": 0}, "--batch: got 0"),
        ({"seed": -1}, "--seed: got -1"),
        ({"num_workers": 0}, "-j: got 0"),
        ({"objectives": ["a b"]}, "--objective: metrics: got a b, expected a figure of a run"),
        ({"objectives": ["n"]}, "axes: got an axis called n, which is also a metric of this search"),
        ({"at_most": {"device_s": "40x"}}, "--at-most device_s: got '40x', expected a number of seconds or a duration"),
        ({"at_most": {"trainings": "40h"}}, "--at-most trainings: got '40h', expected a number"),
    ],
)
def test_wrong_options_are_one_line(tmp_path, options, told):
    with pytest.raises(ConfigError, match=told):
        search(grid(), out=tmp_path / "out", **options)
    assert not (tmp_path / "out").exists()


def test_studies_with_nothing_to_choose_are_refused(tmp_path):
    with pytest.raises(ConfigError, match="axes: got none, expected something to search among"):
        search(grid(axes=[]), out=tmp_path / "out")
    twice = [{"kind": "grid", "key": "trigger.n", "values": [100, 100]}]
    with pytest.raises(ConfigError, match="axes: got 'n=100' twice, expected different levels"):
        search(grid(axes=twice), out=tmp_path / "out")
    with pytest.raises(ConfigError, match="--confirm: got 2 for a study on real"):
        search(grid(on="real"), out=tmp_path / "out", confirm=2)


def test_without_optuna_it_says_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "optuna", None)
    with pytest.raises(ConfigError, match=r"expected pip install 'twinclock\[search\]'"):
        search(grid(), out=tmp_path / "out")


def test_trials_that_are_no_trials_are_said(tmp_path):
    folder = tmp_path / "out"
    sweep(grid(axes=[{"kind": "grid", "key": "trigger.m", "values": [1]}]), out=folder, num_workers=1)
    (folder / "search.sqlite").write_bytes(b"no database" * 1000)
    with pytest.raises(RunError, match=r"search.sqlite: can't be used"):
        search(grid(), out=folder)


def test_the_command_prints_the_front_and_fails_without_one(swept, tmp_path):
    file = tmp_path / "grid.yaml"
    file.write_text(json.dumps(grid()), encoding="utf-8")
    app = typer.Typer()
    app.command()(commands.search)
    arguments = [str(file), "--out", str(swept), "--no-prune", "--trials"]
    told = CliRunner().invoke(app, [*arguments, "5", "--objective", "accuracy,-trainings", "--at-most", "device_s=3h"])
    assert told.exit_code == 0, told.output
    assert "5 trials: 5 done" in told.stdout
    assert "on the front" in told.stdout
    none = CliRunner().invoke(app, [*arguments, "2", "--at-most", "device_s=1s"])
    assert none.exit_code == 3
    assert none.stderr.splitlines()[-1] == "none of 2 trials is done and keeps the bounds"


# Parts


@given(st.lists(st.tuples(st.integers(0, 4), st.integers(0, 4), st.integers(0, 4)), min_size=1, max_size=12))
def test_the_front_is_what_nothing_beats(points):
    found = is_on_front(np.array(points, float))
    for point, kept in zip(points, found, strict=True):
        beaten = any(all(a <= b for a, b in zip(o, point, strict=True)) and o != point for o in points)
        assert kept == (not beaten)


def test_what_is_pruned_is_clearly_worse_in_everything_than_several():
    goals = Goals((Metric("good", True), Metric("dear", False)))

    def trial(good: float, dear: float, state="done") -> Ended:
        return Ended(Proposed(Variant("", {}, {}), {}, {}), state, {}, {"good": good, "dear": dear})

    corners = [trial(1.0, 10.0), trial(0.0, 0.0)]
    three = [trial(0.8, 5.0)] * 3
    assert is_beaten(goals, {"good": 0.5, "dear": 8.0}, corners + three)
    assert not is_beaten(goals, {"good": 0.5, "dear": 8.0}, corners + three[1:])
    assert not is_beaten(goals, {"good": 0.75, "dear": 8.0}, corners + three)  # not clearly
    assert not is_beaten(goals, {"good": 0.5, "dear": 5.0}, corners + three)  # as cheap
    assert not is_beaten(goals, {"good": 0.5, "dear": 8.0}, corners + [trial(0.8, 5.0, "infeasible")] * 3)
    assert not is_beaten(goals, {"dear": 8.0}, corners + three)
    assert not is_beaten(goals, None, corners + three)


def test_a_short_stream_is_the_first_part_of_the_long_one():
    table = {**BASE, "data": {"kind": "table", "dataset": "portal_rodents", "limit": 1000}}
    assert shortened(table)["data"]["limit"] == 1000 * SHARE
    assert shortened(BASE)["data"]["num_samples"] == 2000 * SHARE
    assert shortened({**BASE, "data": {**BASE["data"], "num_samples": 1}}) is None
    assert shortened({**BASE, "trigger": {"kind": "amount"}}) is None
    assert shortened({**table, "data": {**table["data"], "limit": None}})["data"]["limit"] > 1000
