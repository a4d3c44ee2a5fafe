"""What a record of real and simulated runs says: targets, grades, tables, text; and that the file is enough for it."""

from __future__ import annotations

import json
from io import StringIO

import polars as pl
import pytest
from handmade_fidelity import figures, of_makespans, policy, record
from rich.console import Console

from experiments.fidelity.assessing import assess
from experiments.fidelity.matching import match_stages
from experiments.fidelity.records import StageMatch
from experiments.fidelity.result import FidelityResult
from experiments.fidelity.show import fidelity_html, show_fidelity
from experiments.report.write import report
from twinclock.errors import RunError

GOOD = {"a": ([10.0, 10.1, 10.2], 10.3), "b": ([20.0, 20.1, 20.4], 20.2), "c": ([30.0, 30.3, 30.1], 31.0)}


def targets(assessment):
    return {row["target"]: row for row in assessment.targets.to_dicts()}


def with_c(real, simulated):
    return assess(of_makespans({**GOOD, "c": (real, simulated)}))


def test_a_study_whose_targets_are_all_met_has_an_a():
    said = assess(of_makespans(GOOD))
    assert said.grade == "A"
    assert said.policies["grade"].to_list() == ["A", "A", "A"]
    rows = targets(said)
    assert rows["error of the makespan, median"]["value"] == 0.0
    assert rows["error of the makespan, largest"]["value"] == pytest.approx(0.9 / 30.1)
    assert rows["rank τ by makespan_s"]["value"] == 1.0
    accuracy = rows["rank τ by accuracy"]
    assert (accuracy["value"], accuracy["grade"]) == (None, None)
    assert accuracy["note"].startswith("0 pairs, 3 left out")


@pytest.mark.parametrize(("simulated", "grade"), [(33.0, "A"), (35.9, "B"), (36.1, "C")])
def test_the_grade_is_the_worst_of_the_figures(simulated, grade):
    said = with_c([30.0, 30.0, 30.0], simulated)
    assert said.grade == grade
    assert said.policies["grade"].to_list() == ["A", "A", grade]


def test_within_the_spread_every_error_is_a_tie():
    said = with_c([20.0, 30.0, 40.0], 45.0)
    row = said.figures.row(by_predicate=(pl.col("policy") == "c") & (pl.col("figure") == "makespan_s"), named=True)
    assert (row["real"], row["spread"], row["error"], row["verdict"]) == (30.0, 20.0, 0.5, "tie")
    assert said.grade == "A"


def test_what_is_predicted_is_the_median_over_the_seeds_figure_by_figure():
    simulated = [
        figures(10.0, accuracy=0.6, positions=(1, 2), stage_s={"A": 5.0}),
        figures(30.0, accuracy=None, positions=(1,), stage_s={"A": 3.0, "B": 1.0}),
        figures(20.0, accuracy=0.8, positions=(1, 2, 3), stage_s={"A": 4.0, "B": 3.0}),
    ]
    said = assess(record(policy("a", [figures(10.0)] * 3, simulated)))
    found = dict(said.figures.select("figure", "simulated").iter_rows())
    assert (found["makespan_s"], found["device_s"], found["triggers"]) == (20.0, 16.0, 2.0)
    assert found["accuracy"] == pytest.approx(0.7)
    stages = dict(said.stages.select("stage", "simulated").iter_rows())
    assert (stages["A"], stages["B"]) == (4.0, 1.0), "a stage that a run did not come to took none"


def test_trigger_positions_are_compared_seed_by_seed():
    real = [figures(10.0, positions=(1, 2)), figures(10.0, positions=(1, 5, 7))]
    same, crossed = (assess(record(policy("a", real, each))).triggers.row(0, named=True) for each in (real, real[::-1]))
    assert (same["distance"], same["verdict"]) == (0, "met")
    assert (crossed["distance"], crossed["verdict"]) == (3, "missed")
    lost = assess(record(policy("a", ["killed", real[1]], real[::-1]))).triggers.row(0, named=True)
    assert lost["distance"] == 3, "only a seed that was run for real counts"


def test_errors_that_cancel_from_end_to_end_do_not_hide():
    swapped = {"WAIT_FOR_TRAINING_COMPLETION": 3.0, "WAIT_FOR_EVALUATION_COMPLETION": 6.0}
    real = {"WAIT_FOR_TRAINING_COMPLETION": 6.0, "WAIT_FOR_EVALUATION_COMPLETION": 3.0}
    said = assess(record(policy("a", [figures(10.0, stage_s=real)], figures(10.0, stage_s=swapped))))
    assert targets(said)["error of the makespan, largest"]["grade"] == "A"
    assert said.stages["verdict"].to_list() == ["missed", "missed"]
    assert said.stages["error"].to_list() == [-0.5, 1.0]
    assert said.grade == "C"


def test_a_stage_that_only_the_simulation_has_is_missed_if_it_is_not_small():
    stages = {"WAIT_FOR_TRAINING_COMPLETION": 9.0}
    said = assess(
        record(policy("a", [figures(10.0, stage_s=stages)], figures(10.0, stage_s={**stages, "OBSERVE": 1.0})))
    )
    row = said.stages.filter(pl.col("stage") == "OBSERVE").to_dicts()[0]
    assert (row["real"], row["simulated"], row["error"], row["verdict"]) == (0.0, 1.0, None, "missed")
    assert targets(said)["error of a stage's seconds, largest"]["value"] == float("inf")
    assert said.grade == "C"


@pytest.mark.parametrize(
    ("depends_on", "positions", "told", "grade"),
    [
        ("data", (99, 199), "met", "A"),
        ("data", (99, 149), "missed", "C"),
        ("scores", (99, 199), "met", "A"),
        ("scores", (99, 149), "tie", "A"),
        ("clock", (9, 19, 29), None, "A"),
    ],
)
def test_trigger_positions_are_promised_for_policies_that_look_at_the_data_alone(depends_on, positions, told, grade):
    # the second repeat has another seed, by which a policy may draw
    real = [figures(10.0), figures(10.0, positions=(99, 149))]
    simulated = [figures(10.0, positions=positions), real[1]]
    said = assess(record(policy("a", real, simulated, depends_on=depends_on)))
    assert said.triggers["verdict"].to_list() == [told]
    assert said.grade == grade
    assert (targets(said)["policies with other trigger positions than promised"]["grade"] is None) == (
        depends_on != "data"
    )


@pytest.mark.parametrize(
    ("made", "told"),
    [
        (policy("bad", [figures(10.0), "its worker died"], figures(10.0)), "real run 2: failed: its worker died"),
        (policy("bad", [figures(10.0)], figures(10.0)), "1 real runs are missing"),
        (policy("bad", [figures(10.0)] * 2, "too few trainings"), "no prediction: too few trainings"),
        (policy("bad", ["a", "b"], "c"), "real run 1: failed: a; real run 2: failed: b; no prediction: c"),
    ],
)
def test_what_failed_makes_a_c_and_comes_first_wherever_it_is_shown(made, told, tmp_path):
    good = policy("good", [figures(10.0), figures(10.1)], figures(10.0))
    result = FidelityResult(record(good, made, repeats=2))
    assert result.grade == "C"
    assert result.table["policies"]["error"].to_list() == [None, told]
    assert printed(result).startswith(f"bad: {told}")
    assert told in fidelity_html(result)
    page = report(result, out=tmp_path / "page.html").read_text()
    assert page.index(f"bad: {told}") < page.index("Targets")


def printed(result):
    console = Console(file=StringIO(), width=400)
    show_fidelity(result, console)
    return console.file.getvalue()


def test_text_and_notebook_name_the_pairs_in_the_wrong_order():
    result = FidelityResult(of_makespans({"a": ([10.0], 30.0), "b": ([20.0], 20.0)}))
    line = "makespan: a is really 10 below b, and 10 above it in the simulation"
    assert line in printed(result)
    assert line in result._repr_html_()
    assert "grade C" in printed(result)


def test_the_file_alone_gives_the_same_tables_and_the_same_page(tmp_path):
    two = policy("two", [figures(10.0)], figures(11.0), interference=0.3, num_devices=2)
    without_accuracy = policy("unscored", [figures(20.0, accuracy=None)], figures(29.0, accuracy=None))
    made = FidelityResult(record(two, without_accuracy, question="Is it <good>?"))
    file = made.write(tmp_path)
    again = FidelityResult.load(file)
    assert again.record == made.record
    assert again.grade == made.grade == json.loads(file.read_text())["grade"] == "C"
    for name, frame in made.table.items():
        assert again.table[name].equals(frame), name
    assert "takes 30.0\N{NO-BREAK SPACE}% longer" in report(again, out=tmp_path / "page.html").read_text()
    assert report(file, out=tmp_path / "one.html").read_text() == report(again, out=tmp_path / "two.html").read_text()
    assert FidelityResult.load(tmp_path).folder == tmp_path


def test_a_file_that_is_none_is_said_in_one_line(tmp_path):
    file = tmp_path / "fidelity.json"
    with pytest.raises(RunError, match=r"fidelity\.json: can't be read \(No such file"):
        FidelityResult.load(file)
    file.write_text('{"format": 1}')
    with pytest.raises(RunError, match=r"fidelity\.json: name: Field required; expected a fidelity\.json"):
        FidelityResult.load(tmp_path)
    made = FidelityResult(record(policy("a", [figures(1.0)], figures(1.0)), format=9))
    made.write(tmp_path)
    with pytest.raises(RunError, match="format 9, expected 2; made by another version"):
        FidelityResult.load(tmp_path)


@pytest.mark.parametrize("name", ["makespans", "stages", "bias", "ranks"])
@pytest.mark.parametrize("simulated", [figures(10.4), figures(1000.0), "none"], ids=["good", "far off", "missing"])
def test_there_is_always_a_picture(name, simulated):
    figure = getattr(FidelityResult(record(policy("a", [figures(10.0)] * 2, simulated))).plot, name)()
    assert figure._repr_png_().startswith(b"\x89PNG")


# Stage run by stage run


def stage_runs(*rows):
    columns = {"id": pl.String, "stage": pl.String, "started_s": pl.Float64, "ended_s": pl.Float64}
    return pl.DataFrame(rows, schema=columns, orient="row")


def test_stage_runs_are_matched_by_id():
    one = stage_runs(("/A#0", "A", 0.0, 2.0), ("/A#1", "A", 5.0, 9.0), ("/B#0", "B", 9.0, 9.0))
    two = stage_runs(("/A#0", "A", 0.0, 1.0), ("/A#1", "A", 5.0, 9.0), ("/B#0", "B", 9.0, 9.0))
    simulated = stage_runs(("/A#0", "A", 1.0, 4.0), ("/A#1", "A", 5.0, 9.0), ("/A#2", "A", 9.0, 9.5))
    a, b = match_stages([one, two], simulated)
    assert a == StageMatch("A", 2, 3, 2, mape=0.5, real_mape=pytest.approx((1.0 + 0.5) / 4), start_off_s=0.5)
    assert b == StageMatch("B", 1, 0, 0, mape=None, real_mape=None, start_off_s=None)


def test_a_simulation_that_is_the_real_run_has_no_error():
    real = stage_runs(("/A#0", "A", 0.0, 2.0), ("/B#0", "B", 2.0, 5.0))
    for match in match_stages([real], real):
        assert (match.mape, match.start_off_s, match.real_mape) == (0.0, 0.0, None)
        assert match.num_matched == match.num_real == match.num_simulated == 1
