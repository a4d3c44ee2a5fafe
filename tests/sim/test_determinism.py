"""The same seed gives the same bytes in any process; and luck belongs to triggers, not to the order of drawing."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import polars as pl
import pytest
from polars.testing import assert_frame_equal

import twinclock as tc
from twinclock.config import dump_yaml, load_config
from twinclock.messages import Start
from twinclock.policies.selection import positions
from twinclock.watch import UNWATCHED, Unwatched

CONFIG = {
    "seed": 7,
    "variant": "overlapped",
    "mode": "live",
    "live": {"speed_up": 20.0},
    "data": {"kind": "poisson", "num_samples": 2000, "every": 1.0},
    "batching": {"n": 40},
    "trigger": {
        "kind": "ensemble",
        "of": {
            "a": {"kind": "time", "every": 100.0},
            "b": {"kind": "performance", "interval": 150, "rules": [{"kind": "static", "threshold": 0.5}]},
        },
        "rule": "any",
    },
    "selection": {"tail": 2, "limit": 150, "keep": "uniform"},
    "training": {"start_from": "active"},
    "overlap": {"on_trigger": "coalesce", "trainings_at_once": 2},
    "evaluation": {"plans": [{"kind": "slicing", "every": 150.0, "models": "all"}, {"kind": "between_triggers"}]},
    "cluster": {"devices": 2, "patience": {"evaluation": 5.0}},
    "sim": {"costs": {"training": {"setup_s": 4.0, "samples_per_s": 500.0}, "noise_sigma": 0.3}},
}


def in_a_process(config: Path, out: Path, hash_seed: str) -> dict[str, bytes]:
    """Every file of the tables of a run in a process of its own."""
    command = [
        str(Path(sys.executable).parent / "twinclock"),
        "run",
        str(config),
        "--on",
        "sim",
        "--out",
        str(out),
        "--quiet",
    ]
    subprocess.run(command, check=True, env={**os.environ, "PYTHONHASHSEED": hash_seed}, timeout=120)
    return {str(file.relative_to(out)): file.read_bytes() for file in sorted((out / "tables").rglob("*.parquet"))}


def test_two_processes_write_the_same_bytes_whatever_their_hash_seed(tmp_path):
    config = tmp_path / "config.yaml"
    config.write_text(dump_yaml(load_config(CONFIG)))
    one, other = (in_a_process(config, tmp_path / hash_seed, hash_seed) for hash_seed in ("0", "4242"))
    assert len(one) >= 9
    assert one == other
    here = tc.run(CONFIG, on="sim")
    for name, table in tc.Run.load(tmp_path / "0").tables.items():
        assert_frame_equal(table, here.tables[name])
        assert not table.is_empty() or name in ("activations", "faults", "outages", "quarantine")


def test_a_run_leaves_nothing_behind_for_the_next():
    first, second = tc.run(CONFIG, on="sim"), tc.run(CONFIG, on="sim")
    for name, table in first.tables.items():
        assert table.equals(second.tables[name])


def test_another_seed_gives_another_run():
    one, other = tc.run(CONFIG, on="sim"), tc.run(CONFIG, on="sim", seed=8)
    for name in ("stage_runs", "trainings", "evaluations", "devices", "batches"):
        assert not one.tables[name].equals(other.tables[name])


# Common random numbers


def seconds(run, stage):
    """Trigger → seconds of its stage runs, in order."""
    runs = run.stage_runs.filter(stage=stage).sort("trigger", "started_s")
    return runs.select("trigger", (pl.col("ended_s") - pl.col("started_s")).round(9).alias("seconds"))


def trained(*, watcher=UNWATCHED, **more):
    config = {
        "seed": 3,
        "variant": "sequential",
        "data": {"kind": "uniform", "num_samples": 1000, "every": 1.0},
        "trigger": {"kind": "amount", "n": 100},
        "selection": {"tail": 0},
        "sim": {"costs": {"noise_sigma": 0.5}},
    }
    return tc.run({**config, **more}, on="sim", watcher=watcher)


WAIT = "WAIT_FOR_TRAINING_COMPLETION"


def test_one_more_training_shifts_no_other_draw():
    few, many = trained(), trained(data={"kind": "uniform", "num_samples": 1100, "every": 1.0})
    assert few.trainings.height + 1 == many.trainings.height
    assert_frame_equal(seconds(few, WAIT), seconds(many, WAIT).head(few.trainings.height))


def test_evaluations_shift_no_draw_of_a_training():
    plans = [{"kind": "slicing", "every": 50.0, "models": "all"}]
    assert_frame_equal(seconds(trained(), WAIT), seconds(trained(evaluation={"plans": plans}), WAIT))


def test_an_evaluation_is_as_lucky_whatever_else_is_evaluated():
    every = {"kind": "slicing", "every": 100.0, "models": "active"}
    alone = trained(evaluation={"plans": [every]})
    beside = trained(evaluation={"plans": [every, {"kind": "between_triggers", "models": "all"}]})

    def by_job(run):
        jobs = run.stage_runs.filter(stage="WAIT_FOR_EVALUATION_COMPLETION").with_columns(
            seconds=(pl.col("ended_s") - pl.col("started_s")).round(9)
        )
        return set(jobs.select("trigger", "seconds").iter_rows())

    assert by_job(alone) < by_job(beside)


@pytest.mark.parametrize("variant", ["seed", "overlapped"])
def test_a_trigger_meets_the_same_luck_in_every_variant(variant):
    plain = trained().trainings.sort("trigger")
    other = trained(variant=variant).trainings.sort("trigger")
    assert plain["trigger"].to_list() == other["trigger"].to_list()
    assert_frame_equal(seconds(trained(), WAIT), seconds(trained(variant=variant), WAIT))


class Recipes(Unwatched):
    """Watches which training sets are trained on."""

    def __init__(self):
        self.recipes = {}

    def event(self, now, event, commands):
        for command in commands:
            if isinstance(command, Start) and command.stage.operation == "RUN_TRAINING":
                self.recipes[command.inputs["trigger"]["serial"]] = command.inputs["training_set"]


def test_the_same_samples_are_drawn_in_every_variant_and_others_for_every_trigger():
    drawn = []
    for variant in ("seed", "sequential", "overlapped"):
        watcher = Recipes()
        trained(variant=variant, selection={"tail": 3, "limit": 50, "keep": "uniform"}, watcher=watcher)
        drawn.append({serial: positions(recipe).tolist() for serial, recipe in watcher.recipes.items()})
    assert drawn[0] == drawn[1] == drawn[2]
    offsets = {tuple(position - min(each) for position in each) for each in drawn[0].values()}
    assert len(offsets) == len(drawn[0]) == 10
