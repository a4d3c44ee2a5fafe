"""Scores from a measured matrix: exactly what was measured where it was, the nearest where it was not."""

from __future__ import annotations

import pytest

import twinclock as tc
from sim.quality import MatrixScores
from twinclock.errors import ConfigError
from twinclock.result import Run

DATA = {"kind": "table", "dataset": "portal_rodents", "limit": 2000}
BASE = {"name": "often", "data": DATA, "batching": {"n": 100}}
ALL = {"plans": [{"kind": "between_triggers", "models": "all"}]}
SLICES = {"kind": "slicing", "every": "12w"}
PROXY = {"quality": {"kind": "proxy", "learner": "logistic"}}
"""To which the order of the samples is nothing: the same set gives the same model."""


@pytest.fixture(scope="module")
def often(tmp_path_factory) -> Run:
    """A run that trains every 200 samples; the models are small, but their scores are real."""
    folder = tmp_path_factory.mktemp("runs") / "often"
    plans = {"plans": [*ALL["plans"], {**SLICES, "models": "all"}]}
    made = {**BASE, "trigger": {"kind": "amount", "n": 200}, "evaluation": plans, "sim": PROXY}
    return tc.run(made, on="sim", out=folder)


@pytest.fixture(scope="module")
def matrix(often) -> MatrixScores:
    return MatrixScores([str(often.folder)], often.config)


@pytest.fixture(scope="module")
def rarely(often, tmp_path_factory) -> Run:
    """Of the same data, but only every other model."""
    folder = tmp_path_factory.mktemp("runs") / "rarely"
    config = often.config.model_dump(by_alias=True)
    return tc.run({**config, "trigger": {"kind": "amount", "n": 400}}, on="sim", out=folder)


def between(often):
    """The scores of the plan that others are put together from."""
    return often.evaluations.filter(plan=0)


def asked(matrix, stop, start, end, first=0, last=1):
    """The score of a model trained up to position `stop`, on [start, end)."""
    interval = {"start": start, "end": end, "first": first, "stop": last}
    return matrix.score({"trigger": 77, "stop": stop}, interval, "accuracy", span=(start, end))


def test_where_it_was_measured_it_is_what_was_measured(often, matrix):
    stops = dict(often.triggers.select("trigger", "stop").iter_rows())
    rows = often.evaluations.select("model", "start_ts", "end_ts", "value").rows()
    assert len(rows) >= 100
    for model, start, end, value in rows:
        assert asked(matrix, stops[model], start, end) == value


def test_a_run_of_the_same_policy_gets_the_same_scores(often):
    again = tc.run(
        {**often.config.model_dump(by_alias=True), "sim": {"quality": {"kind": "matrix", "run": str(often.folder)}}},
        on="sim",
    )
    key = ["model", "start_ts", "end_ts", "metric", "value", "num_samples"]
    assert again.evaluations.select(key).sort(key).equals(often.evaluations.select(key).sort(key))


def test_the_newest_measured_model_that_is_not_younger_answers(often, matrix):
    model, start, end, value = between(often).filter(model=4).select("model", "start_ts", "end_ts", "value").row(2)
    (stop,) = often.triggers.filter(trigger=model)["stop"]
    assert {asked(matrix, each, start, end) for each in (stop, stop + 1, stop + 199)} == {value}
    (younger,) = between(often).filter(model=5, start_ts=start, end_ts=end)["value"]
    assert asked(matrix, stop + 200, start, end) == younger
    (oldest,) = between(often).filter(model=0, start_ts=start, end_ts=end)["value"]
    assert asked(matrix, 7, start, end) == oldest, "no measured model is as old"


def test_an_interval_that_overlaps_several_gets_their_mean(often, matrix):
    rows = between(often).filter(model=3).sort("start_ts").select("start_ts", "end_ts", "value", "num_samples")
    start, end = rows["start_ts"][2] + 5.0, rows["end_ts"][4] - 7.0
    total = weights = 0.0
    for begin, stop, value, num_samples in rows.iter_rows():
        share = max(0.0, min(stop, end) - max(begin, start)) / (stop - begin)
        total, weights = total + value * share * num_samples, weights + share * num_samples
    assert asked(matrix, 800, start, end) == pytest.approx(total / weights)


def test_a_moment_gets_the_interval_around_it_and_what_lies_beyond_the_nearest(often, matrix):
    rows = between(often).filter(model=3).sort("start_ts").select("start_ts", "end_ts", "value").rows()
    start, end, value = rows[1]
    inside = (start + end) / 2
    assert asked(matrix, 800, inside, inside) == value
    assert asked(matrix, 800, rows[0][0] - 900.0, rows[0][0] - 800.0) == rows[0][2]
    assert asked(matrix, 800, rows[-1][1] + 800.0, rows[-1][1] + 900.0) == rows[-1][2]


def test_without_samples_there_is_no_score_and_no_metric_without_measurement(matrix):
    assert asked(matrix, 800, 0.0, 1.0, first=5, last=5) is None
    with pytest.raises(ConfigError, match="it has measured accuracy, not log_loss"):
        matrix.score({"stop": 1}, {"first": 0, "stop": 1, "start": 0, "end": 1}, "log_loss", span=(0, 1))


OTHERS = [
    {"kind": "amount", "n": 350},
    {"kind": "performance", "interval": 150, "rules": [{"kind": "static", "threshold": 0.7}]},
    {"kind": "cara", "interval": 150, "tuning": 3, "per_training_second": 10.0},
    {"kind": "drift", "interval": 150, "metrics": {"changed": {"kind": "adwin"}}},
]


@pytest.mark.parametrize("trigger", OTHERS, ids=lambda trigger: trigger["kind"])
def test_other_policies_run_on_it(often, trigger):
    quality = {"kind": "matrix", "run": str(often.folder)}
    run = tc.run({**BASE, "trigger": trigger, "evaluation": ALL, "sim": {"quality": quality}}, on="sim")
    assert run.outcome == "done"
    assert run.faults.is_empty()
    assert set(run.evaluations["value"]) - {None} != set()
    low, high = (getattr(often.evaluations["value"], end)() for end in ("min", "max"))
    assert run.evaluations["value"].is_between(low, high).all(), "means of what was measured"


def test_where_a_models_data_depend_on_its_position_alone_the_matrix_is_what_training_would_have_shown(often):
    """The models of a policy that trains half as often are among those that were measured."""
    made = {**BASE, "trigger": {"kind": "amount", "n": 400}, "evaluation": {"plans": [SLICES]}}
    matrix = {"quality": {"kind": "matrix", "run": str(often.folder)}}
    told, trained = (tc.run({**made, "sim": sim}, on="sim") for sim in (matrix, PROXY))
    key = ["model", "start_ts", "end_ts", "metric", "value", "num_samples"]
    assert told.evaluations.height >= 5
    assert told.evaluations.select(key).sort(key).equals(trained.evaluations.select(key).sort(key))


def test_several_runs_answer_with_the_mean_of_what_each_would(often, rarely):
    alone = [MatrixScores([str(run.folder)], often.config) for run in (often, rarely)]
    together = MatrixScores([str(run.folder) for run in (often, rarely)], often.config)
    spans = between(often).select("start_ts", "end_ts").unique().sort("start_ts").rows()
    apart = 0
    for stop in (200, 600, 800, 1400):
        for start, end in spans:
            each = [asked(matrix, stop, start, end) for matrix in alone]
            assert asked(together, stop, start, end) == pytest.approx(sum(each) / 2)
            apart += each[0] != each[1]
    assert apart > 4
    quality = {"kind": "matrix", "run": [str(often.folder), str(rarely.folder)]}
    assert tc.run({**PLAIN, "evaluation": ALL, "sim": {"quality": quality}}, on="sim").outcome == "done"


# What is refused


def refused(config, **quality) -> str:
    with pytest.raises(ConfigError) as told:
        tc.run({**config, "sim": {"quality": {"kind": "matrix", **quality}}}, on="sim")
    assert len(str(told.value).splitlines()) == 1
    return str(told.value)


PLAIN = {**BASE, "trigger": {"kind": "amount", "n": 200}}


def test_a_run_without_a_matrix_is_refused(tmp_path):
    for number, plans in enumerate([{}, {"plans": [{"kind": "between_triggers"}]}]):
        tc.run({**PLAIN, "evaluation": plans, "sim": PROXY}, on="sim", out=tmp_path / str(number))
        told = refused(PLAIN, run=str(tmp_path / str(number)))
        assert f"sim.quality.run: {tmp_path / str(number)} has no matrix, expected a run with models" in told
    tc.run({**PLAIN, "trigger": {"kind": "never"}, "evaluation": ALL, "sim": PROXY}, on="sim", out=tmp_path / "never")
    assert "has no matrix" in refused(PLAIN, run=str(tmp_path / "never"))


def test_a_folder_without_a_run_is_refused(tmp_path):
    assert "sim.quality.run: " in refused(PLAIN, run=str(tmp_path / "nowhere"))
    assert "sim.quality.run: missing" in refused(PLAIN)


@pytest.mark.parametrize("run", [[], 5, [5], None, {"folder": "runs/often"}])
def test_what_is_no_folder_and_no_list_of_them_is_refused(run):
    assert "sim.quality.run: got " in (told := refused(PLAIN, run=run))
    assert told.endswith("expected the folder of a run, or a list of them")


def test_of_several_runs_the_one_that_does_not_fit_is_named(often, tmp_path):
    tc.run({**PLAIN, "sim": PROXY}, on="sim", out=tmp_path / "bare")
    assert f"sim.quality.run: {tmp_path / 'bare'} has no matrix" in refused(
        PLAIN, run=[str(often.folder), str(tmp_path / "bare")]
    )


@pytest.mark.parametrize(
    ("change", "section"),
    [
        ({"data": {**DATA, "limit": 1999}}, "section data"),
        ({"data": {"kind": "uniform", "num_samples": 2000, "every": 1}}, "section data"),
        ({"training": {"epochs": 2}}, "training.epochs"),
        ({"training": {"start_from": "active"}}, "training.start_from"),
    ],
)
def test_other_data_and_another_training_are_refused(often, change, section):
    told = refused({**PLAIN, **change}, run=str(often.folder))
    assert f"{often.folder} has another {section}, expected the same as here" in told


def test_how_data_are_taken_in_and_who_trains_where_may_differ(often):
    quality = {"kind": "matrix", "run": str(often.folder)}
    same = {"data": {**DATA, "chunk": 50, "label_delay": "1d"}, "training": {"timeout": 60}, "cluster": {"devices": 2}}
    assert tc.run({**PLAIN, **same, "sim": {"quality": quality}}, on="sim").outcome == "done"


def test_what_the_matrix_lacks_is_refused(often):
    scored = {**PLAIN, "evaluation": {**ALL, "metrics": ["accuracy", "f1_macro"]}}
    assert "evaluation.metrics: got f1_macro, expected accuracy" in refused(scored, run=str(often.folder))
