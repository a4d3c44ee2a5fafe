"""What if: the same luck, another configuration, and a difference that has its causes."""

from __future__ import annotations

import pytest
from handmade import run as by_hand

import twinclock as tc
from twinclock import launch
from twinclock.errors import ConfigError, RunError
from twinclock.explain.whatif import whatif

CONFIG = {
    "name": "study",
    "data": {"kind": "poisson", "num_samples": 2000, "every": 1.0},
    "trigger": {"kind": "amount", "n": 400},
    "evaluation": {"plans": [{"kind": "slicing", "every": 200.0, "models": "all"}], "intervals_per_visit": 1},
    "sim": {"costs": {"evaluation": {"setup_s": 0.5, "samples_per_s": 1000}}},
}


@pytest.fixture(scope="module")
def simulated():
    return tc.run(CONFIG, on="sim")


def test_unchanged_is_what_the_run_was(simulated):
    made = whatif(simulated, ["cluster.devices=2"])
    for name, table in simulated.tables.items():
        assert made.unchanged.tables[name].equals(table), name
    assert made.changed.config.cluster.devices == 2
    assert made.overrides == ("cluster.devices=2",)


def test_each_configuration_is_planned_once(simulated, monkeypatch):
    """What is planned may take long: a custom trigger is checked, a run to take scores from is read."""
    planned = []
    plan = launch.plan_run
    monkeypatch.setattr(launch, "plan_run", lambda config, on: planned.append(config) or plan(config, on))
    made = whatif(simulated, ["cluster.devices=2"])
    assert planned == [made.unchanged.config, made.changed.config]


def test_the_causes_add_up_to_the_difference(simulated):
    made = whatif(simulated, ["cluster.devices=4", "training.epochs=7"])
    before, after = made.unchanged.summary["makespan_s"], made.changed.summary["makespan_s"]
    causes = made.causes
    assert causes["difference_s"].sum() == pytest.approx(after - before)
    assert (causes["changed_s"] - causes["unchanged_s"]).to_list() == pytest.approx(causes["difference_s"].to_list())
    assert causes["difference_s"].abs().is_sorted(descending=True)


def test_more_devices_means_less_waiting_for_them(simulated):
    made = whatif(simulated, ["cluster.devices=4"])
    most = made.causes.row(0, named=True)
    assert (most["stage"], most["doing"], most["held_for"]) == (
        "WAIT_FOR_EVALUATION_COMPLETION", "device", "evaluation",
    )  # fmt: skip
    assert most["difference_s"] < -5.0
    figures = {row[0]: row[1:] for row in made.figures.iter_rows()}
    unchanged, changed, difference = figures["makespan_s"]
    assert difference == pytest.approx(changed - unchanged)
    assert "triggers" not in figures, "as many as before"
    assert "device_s" not in figures, "every job takes as long as before: it has the same luck"


def test_longer_trainings_are_the_cause_where_they_stop_all_else():
    made = whatif(tc.run({**CONFIG, "variant": "sequential"}, on="sim"), ["training.epochs=50"])
    most = made.causes.row(0, named=True)
    assert (most["stage"], most["doing"]) == ("WAIT_FOR_TRAINING_COMPLETION", "working")
    took_s = [(run.trainings["ended_s"] - run.trainings["started_s"]).sum() for run in (made.unchanged, made.changed)]
    assert [most["unchanged_s"], most["changed_s"]] == pytest.approx(took_s)
    assert made.causes.height == 1


def test_no_difference_has_no_cause(simulated):
    made = whatif(simulated, ["name=other"])
    assert made.causes.is_empty()
    assert made.figures.is_empty()


def test_a_folder_will_do_finished_or_not(tmp_path, simulated):
    tc.run(CONFIG, on="sim", out=tmp_path / "run")
    made = whatif(tmp_path / "run", ["cluster.devices=2"])
    assert made.causes.equals(whatif(simulated, ["cluster.devices=2"]).causes)
    assert whatif(by_hand({"state": "running"}, CONFIG), ["cluster.devices=2"]).causes.equals(made.causes)


@pytest.mark.parametrize(
    ("overrides", "said"),
    [
        ([], "whatif: got nothing to change, expected path.to.key=value"),
        (["cluster.devises=2"], "--set cluster.devises=2: cluster.devises: unknown key"),
        (["evaluation.metrics=[auc]"], "evaluation.metrics"),
        (["sim.costs.fly_s=2"], "sim.costs.fly_s: unknown key"),
    ],
)
def test_what_can_not_be_simulated_is_refused_in_one_line(simulated, overrides, said):
    with pytest.raises(ConfigError) as refused:
        whatif(simulated, overrides)
    assert said in str(refused.value)
    assert "\n" not in str(refused.value)


def test_a_folder_without_a_run_is_refused(tmp_path):
    with pytest.raises(RunError, match=r"no run\.json here"):
        whatif(tmp_path, ["cluster.devices=2"])
