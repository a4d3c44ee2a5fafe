"""A study held against real runs: what is run, in which order, what is kept, gone on with, refused, and predicted."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import threading
from statistics import median

import polars as pl
import pytest
from inline_pool import InlinePool
from real_runs import COMMAND, HERE, small, until

from experiments.fidelity.measure import measure
from experiments.fidelity.result import FidelityResult
from experiments.job import perform
from experiments.study import load_study
from twinclock.errors import ConfigError, RunError
from twinclock.result import Run
from twinclock.run_folder import HEADER, read_header

BEFORE_S, A_SAMPLE_S = 0.01, 2e-5


class PacedPool(InlinePool):
    """Jobs that take as long as they have samples."""

    def send(self, device, job):
        wake, self._wakes = self._wakes, _Later(self._wakes)
        self._wakes.seconds = BEFORE_S + A_SAMPLE_S * job.get("training_set", {}).get("num_samples", 0)
        super().send(device, job)
        self._wakes = wake


class _Later:
    def __init__(self, wake):
        self._wake = wake
        self.seconds = 0.0

    def send(self, value):
        threading.Timer(self.seconds, self._wake.send, [value]).start()


@pytest.fixture
def _paced(monkeypatch):
    monkeypatch.setattr("real.pool.WorkerPool", PacedPool)


def study(**changes):
    policies = {"every 500": {}, "often": {"trigger.n": 400}}
    axis = {"kind": "list", "name": "policy", "variants": policies}
    return load_study({"name": "two", "base": small(), "axes": [axis], "seeds": 3, "on": "real", **changes})


def three(**third):
    """The same with one more policy."""
    policies = {"every 500": {}, "often": {"trigger.n": 400}, "third": third}
    return study(axes=[{"kind": "list", "name": "policy", "variants": policies}])


class Watched:
    """What was told, and what performs in this process."""

    def __init__(self):
        self.performed = []
        self.begun = []

    def perform_all(self, jobs):
        for job in jobs:
            result = perform(job)
            self.performed.append(job.label)
            yield job, result

    def begin(self, what, num, num_done):
        self.begun.append((what, num, num_done))

    def ended(self, label, state, error):
        pass


def measured(made, folder, repeats=2):
    watched = Watched()
    return measure(made, folder, repeats, watched.perform_all, watched), watched


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """Two repeats of both policies: the result, and what was told."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("real.pool.WorkerPool", PacedPool)
        return measured(study(), tmp_path_factory.mktemp("fidelity") / "whole")


@pytest.fixture
def copied(whole, tmp_path):
    return shutil.copytree(whole[0].folder, tmp_path / "copied")


def test_every_policy_is_run_and_predicted_from_another_one(whole):
    made, watched = whole
    assert watched.performed == [
        *("every 500, real run 1", "often, real run 1"),
        *("often, real run 2", "every 500, real run 2"),
    ]
    assert watched.begun == [("real runs", 4, 0), ("simulated runs", 2, 0)]
    assert made.assessment.policies["error"].to_list() == [None, None]
    assert made.assessment.policies["calibrated_on"].to_list() == ["often", "every 500"]
    seeds = [Run.load(folder).config.seed for folder in sorted((made.folder / "runs").iterdir())]
    assert seeds == [0, 1, 0, 1], "each repeat has its own, and all policies the same"
    for row in made.assessment.triggers.iter_rows(named=True):
        assert (row["is_promised"], row["distance"], row["real_distance"], row["verdict"]) == (True, 0, 0, "met")
    training = made.assessment.stages.filter(pl.col("stage") == "WAIT_FOR_TRAINING_COMPLETION")
    assert training["num_matched"].to_list() == training["num_real"].to_list() == training["num_simulated"].to_list()
    assert training["num_real"].to_list() == [4, 5]
    assert {file.name for file in made.folder.iterdir()} == {
        *("runs", "calibrations", "simulated", "fidelity.json", "fidelity.html", "machines.txt", "lock")
    }
    middle = dict(
        made.assessment.figures.filter(pl.col("figure") == "makespan_s").select("policy", "simulated").iter_rows()
    )
    for policy, begin in (("every 500", "every-500-cad092"), ("often", "often")):
        runs = [Run.load(made.folder / "simulated" / f"{begin}-r{repeat}") for repeat in (1, 2)]
        assert [run.config.seed for run in runs] == [0, 1], "those of the repeats"
        for run in runs:
            assert run.config.sim["calibration"].startswith(str(made.folder / "calibrations"))
            assert "quality" not in run.config.sim, "it is that of the calibration"
        assert middle[policy] == median(run.summary["makespan_s"] for run in runs)


def test_again_runs_nothing_and_says_the_same(whole):
    first, _ = whole
    files = [first.folder / name for name in ("fidelity.json", "fidelity.html")]
    before = [file.read_text() for file in files]
    again, watched = measured(study(), first.folder)
    assert watched.performed == []
    assert watched.begun[0] == ("real runs", 4, 4)
    assert again.record == first.record
    assert [file.read_text() for file in files] == before


def test_another_quality_is_graded_with_the_real_runs_that_are_there(whole, copied):
    first, _ = whole
    better = {"kind": "proxy", "learner": "descent", "max_samples": 100}
    made, watched = measured(study(changes={"sim.quality": better}), copied)
    assert watched.performed == []
    for before, after in zip(first.record.policies, made.record.policies, strict=True):
        assert after.runs == before.runs
        assert (before.prediction.quality, after.prediction.quality) == ("decay of the calibration", "proxy (descent)")
        for one, other in zip(before.prediction.simulated, after.prediction.simulated, strict=True):
            assert other.accuracy != one.accuracy
            assert other.makespan_s == pytest.approx(one.makespan_s)
    assert "Simulated accuracy is from: proxy (descent)." in (copied / "fidelity.html").read_text()
    assert Run.load(copied / "simulated" / "often-r2").config.sim["quality"] == better


def test_a_simulated_run_without_its_scores_is_no_prediction(copied, monkeypatch):
    """As a proxy that diverges has none: an accuracy of the intervals that are left would say nothing."""

    def refused(*_):
        raise ConfigError("training.optimizer.lr: got 1e+300, expected a smaller one")

    monkeypatch.setattr("sim.quality.proxy.ProxyScores.errors", refused)
    made, _ = measured(study(changes={"sim.quality": {"kind": "proxy"}}), copied)
    assert made.grade == "C"
    for error in made.assessment.policies["error"]:
        assert error.startswith("no prediction: simulated: ")
        assert "scores are missing: " in error
        assert error.endswith("with ConfigError: training.optimizer.lr: got 1e+300, expected a smaller one")


@pytest.mark.parametrize("kind", ["matrix", "measured"])
def test_scores_of_a_real_run_are_not_taken_from_the_study(whole, copied, kind):
    """They could be those of the run that is to be predicted."""
    own = {"kind": kind, "run": str(copied / "runs" / "often-r1")}
    made, _ = measured(study(changes={"sim.quality": own}), copied)
    assert [each.prediction for each in made.record.policies] == [each.prediction for each in whole[0].record.policies]


@pytest.mark.usefixtures("_paced")
def test_only_what_is_not_there_is_run_and_more_repeats_only_add(whole, copied):
    shutil.rmtree(copied / "runs" / "often-r1")
    more, watched = measured(study(), copied, repeats=3)
    assert watched.performed == ["often, real run 1", "every 500, real run 3", "often, real run 3"]
    for before, after in zip(whole[0].record.policies, more.record.policies, strict=True):
        assert after.runs[1] == before.runs[1]
        assert len(after.measured) == 3


@pytest.mark.usefixtures("_paced")
def test_a_policy_that_fails_is_told_and_the_others_are_compared(copied):
    made, watched = measured(three(**{"training.trainer": "nowhere:Trainer"}), copied)
    assert watched.performed == ["third, real run 1", "third, real run 2"]
    assert made.grade == "C"
    errors = dict(made.assessment.policies.select("policy", "error").iter_rows())
    assert errors["every 500"] is errors["often"] is None
    assert "real run 1: failed: " in errors["third"]
    assert "nowhere" in errors["third"]
    assert "no prediction" not in errors["third"], "the simulator needs no trainer"
    assert set(made.assessment.figures["policy"]) == {"every 500", "often"}


@pytest.mark.usefixtures("_paced")
def test_a_calibration_that_is_refused_fails_the_predictions_that_need_it(copied):
    """One training is too few to fit costs to."""
    seldom = three(**{"trigger.n": 1500}).model_copy(update={"fidelity": study(fidelity=ON_THIRD).fidelity})
    made, _ = measured(seldom, copied)
    errors = dict(made.assessment.policies.select("policy", "error").iter_rows())
    assert errors["third"] is None
    assert errors["every 500"] == errors["often"]
    assert "no prediction: costs from 'third': " in errors["often"]
    assert "expected at least 5" in errors["often"]
    assert made.assessment.policies["calibrated_on"].to_list() == ["third", "third", "often"]


ON_THIRD = {"calibrate_on": {"policy": "third"}, "calibrate_on_too": "often"}


def test_a_run_of_another_configuration_is_refused(whole):
    told = r"every-500-cad092-r1: a run of another configuration than repeat 1 of 'every 500' has now"
    with pytest.raises(RunError, match=told):
        measured(study(changes={"training.epochs": 2}), whole[0].folder)


@pytest.mark.usefixtures("_paced")
def test_an_interrupt_leaves_what_is_done(tmp_path):
    class Interrupting(Watched):
        def ended(self, label, state, error):
            raise KeyboardInterrupt

    watched = Interrupting()
    with pytest.raises(KeyboardInterrupt, match="the same command goes on, in"):
        measure(study(), tmp_path, 2, watched.perform_all, watched)
    (folder,) = (tmp_path / "runs").iterdir()
    assert read_header(folder)["state"] == "finished"


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"axes": []}, "two: axes: got one variant, expected two or more"),
        ({"fidelity": {"calibrate_on": "monthly"}}, "two: fidelity.calibrate_on: got 'monthly', which fits 0 variants"),
        ({"fidelity": {"calibrate_on": {"policy": "monthly"}}}, "which fits 0 variants, expected one of 'every 500'"),
        ({"fidelity": {"calibrate_on_too": "every 500"}}, "got 'every 500', expected another variant"),
    ],
)
def test_a_wrong_study_is_said_in_one_line(changes, told, tmp_path):
    with pytest.raises(ConfigError, match=told):
        measured(study(**changes), tmp_path)
    with pytest.raises(ConfigError, match="--repeats: got 0, expected a whole number > 0"):
        measured(study(), tmp_path, repeats=0)


def test_the_command_with_torch_goes_on_after_a_kill_and_its_exit_code_is_the_grade(tmp_path):
    file, folder = tmp_path / "study.yaml", tmp_path / "out"
    file.write_text(json.dumps(study().model_dump(mode="json")))
    command = [*COMMAND, "fidelity", str(file), "--out", str(folder), "--repeats", "1", "--quiet"]
    process = subprocess.Popen(command, cwd=HERE, start_new_session=True)
    second = folder / "runs" / "often-r1"
    until(lambda: (second / HEADER).exists(), "the second run begins")
    process.send_signal(signal.SIGKILL)
    process.wait()
    first = folder / "runs" / "every-500-cad092-r1"
    before = read_header(first)
    assert before["state"] == "finished"
    done = subprocess.run(command, cwd=HERE, capture_output=True, text=True, check=False)
    assert read_header(first) == before
    made = FidelityResult.load(folder)
    assert done.returncode == {"A": 0, "B": 3, "C": 4}[made.grade]
    assert [len(policy.measured) for policy in made.record.policies] == [1, 1]
    assert [policy.runs[0].was_resumed for policy in made.record.policies] == [False, True]
    assert (made.grade == "A") or f"two: grade {made.grade}" in done.stderr
