from __future__ import annotations

import pytest
from handmade import batch, held, model, run, score, stage_run, tables, together, training, trigger

from twinclock.summary import composite_scores, data_span, holdings, queueing


def test_a_run_without_anything_has_a_summary():
    summary = run().summary
    assert summary["makespan_s"] == 100.0
    assert summary["accuracy"] is None
    assert summary["accuracy_left_out"] == 1.0
    assert summary["positions"] == []
    assert summary["stage_s"] == {}
    assert summary["samples"] == summary["triggers"] == summary["trainings"] == summary["device_s"] == 0


def test_an_unfinished_run_has_no_makespan():
    summary = run(header={"state": "running", "outcome": None, "makespan_s": None}).summary
    assert (summary["state"], summary["outcome"], summary["makespan_s"]) == ("running", None, None)


SLICES = {"kind": "slicing", "every": 10, "from": 0}
MODELS = [model(0, 0, 9), model(1, 10, 29), model(2, 40, 49)]
SECONDS = [batch(0, 70, 69.0)]


def scored(*plans, metrics=("accuracy",), **rows):
    """A run with these plans on a stream with a sample each second."""
    return run(config={"evaluation": {"plans": plans, "metrics": list(metrics)}}, **{"batches": SECONDS, **rows})


def of(made, which, metric="accuracy"):
    """Value and left-out share of a composite."""
    (found,) = [each for each in made.summary["composites"] if (each["metric"], each["models"]) == (metric, which)]
    return found["value"], found["left_out"]


def test_scores_are_those_of_the_model_in_use():
    """Trainings (0,9) (10,29) (40,49), slices of 10 from 0: active –,1,1,2,2,3,3; trained 1,2,2,3,3,3,3."""
    every = [score(m, start, start + 10, m / 10) for m in range(3) for start in range(0, 70, 10)]
    made = scored({**SLICES, "models": "all"}, models=MODELS, triggers=[trigger(0, 0.0, 9.0)], evaluations=every)
    scores = composite_scores(made.config, made.tables, "active", "accuracy")
    assert scores["model"].to_list() == [None, 0, 0, 1, 1, 2, 2]
    assert scores["value"].to_list() == [None, 0.0, 0.0, 0.1, 0.1, 0.2, 0.2]
    scores = composite_scores(made.config, made.tables, "trained", "accuracy")
    assert scores["model"].to_list() == [0, 1, 1, 2, 2, 2, 2]
    assert scores["value"].to_list() == [0.0, 0.1, 0.1, 0.2, 0.2, 0.2, 0.2]
    summary = made.summary
    assert summary["accuracy"] == pytest.approx((0.1 + 0.1 + 0.2 + 0.2) / 6)
    assert summary["accuracy_left_out"] == pytest.approx(1 / 7)
    assert (summary["trained_accuracy"], summary["trained_accuracy_left_out"]) == (pytest.approx(1.0 / 7), 0.0)
    assert (summary["served_accuracy"], summary["served_accuracy_left_out"]) == (None, 1.0)


def test_a_composite_is_weighted_by_data_time_and_says_what_it_leaves_out():
    made = scored(
        {"kind": "static", "intervals": [[0, 20], [20, 50], [50, 60], [60, 80], [80, 100], [100, 120]]},
        models=[model(0, 0.0, 19.0)],
        # no model was active on [0, 20); [60, 80) has no samples; nobody evaluated [100, 120)
        evaluations=[score(0, 20, 50, 0.8), score(0, 50, 60, 0.4), score(0, 60, 80, None), score(0, 80, 100, 0.5)],
    )
    assert of(made, "active") == (pytest.approx((0.8 * 30 + 0.4 * 10 + 0.5 * 20) / 60), pytest.approx(60 / 120))


def test_intervals_that_overlap_count_each():
    """Centres 0, 10, … 60; the model that was trained up to 9 s is active from the centre 10 on."""
    made = scored(
        {"kind": "periodic", "every": 10, "half": 15},
        models=[model(0, 0, 9)],
        evaluations=[score(0, 0, 25, 0.4), score(0, 5, 35, 0.8)],
    )
    assert of(made, "active") == (pytest.approx((0.4 * 25 + 0.8 * 30) / 55), pytest.approx(1 - 55 / (15 + 25 + 5 * 30)))


def test_an_interval_that_several_models_served_counts_by_their_samples():
    made = scored(
        {**SLICES, "every": 35, "models": "served"},
        models=MODELS,
        evaluations=[
            score(0, 0, 35, 0.5, num_samples=10),
            score(1, 0, 35, 0.8, num_samples=5),
            score(1, 35, 70, 0.9, num_samples=30),
            score(2, 35, 70, None, num_samples=2),
        ],
    )
    assert of(made, "served") == (pytest.approx((0.6 * 35 + 0.9 * 35) / 70), 0.0)
    scores = composite_scores(made.config, made.tables, "served", "accuracy")
    assert scores["model"].to_list() == [1, 2]
    assert (made.summary["served_accuracy"], made.summary["accuracy"]) == (pytest.approx(0.75), None)


def test_a_served_interval_without_a_score_is_left_out():
    rows = [score(1, 0, 35, None, num_samples=4), score(1, 35, 70, 0.25, num_samples=4)]
    made = scored({**SLICES, "every": 35, "models": "served"}, models=MODELS, evaluations=rows)
    assert of(made, "served") == (0.25, 0.5)


def test_all_scored_leaves_nothing_out():
    every = [score(0, start / 10, (start + 1) / 10, 0.3) for start in range(3, 17)]
    pieces = [[row["start_ts"], row["end_ts"]] for row in every]
    made = scored({"kind": "static", "intervals": pieces}, models=[model(0, 0.3, 0.2)], evaluations=every)
    assert of(made, "active") == (pytest.approx(0.3), 0.0)


def test_a_score_that_is_not_a_number_is_none():
    rows = [score(0, 10, 20, float("nan")), score(0, 20, 30, 0.5)]
    made = scored({**SLICES, "to": 30}, models=MODELS[:1], evaluations=rows)
    assert of(made, "active") == (0.5, pytest.approx(2 / 3))


def test_an_evaluation_that_was_made_twice_counts_once():
    rows = [score(0, 10, 20, 0.5), score(0, 20, 30, 0.7), score(0, 10, 20, 0.5)]
    assert of(scored({**SLICES, "to": 30}, models=MODELS[:1], evaluations=rows), "active")[0] == pytest.approx(0.6)


def test_the_first_plan_that_has_scores_is_taken():
    empty, full = {**SLICES, "to": 10}, {**SLICES, "every": 5, "from": 10, "to": 20}
    rows = [score(0, 0, 10, None), score(0, 10, 15, 0.4, plan=1), score(0, 15, 20, 0.2, plan=1)]
    made = scored(empty, full, models=MODELS[:1], evaluations=rows)
    assert [each["plan"] for each in made.summary["composites"]] == [1]
    assert made.summary["accuracy"] == pytest.approx(0.3)


def test_a_plan_of_other_models_says_nothing_about_the_active_one():
    rows = [score(0, 10, 20, 0.9)]  # model 0 is active there, but that is chance
    made = scored({**SLICES, "models": "trained"}, {"kind": "offset", "offsets": [0]}, models=MODELS, evaluations=rows)
    assert (made.summary["accuracy"], made.summary["accuracy_left_out"]) == (None, 1.0)
    assert [each["models"] for each in made.summary["composites"]] == ["trained"]


def test_each_metric_has_its_composites():
    rows = [score(0, 10, 20, value, metric=metric) for metric, value in [("log_loss", 0.7), ("errors", 0.1)]]
    made = scored({**SLICES, "to": 20}, metrics=["log_loss"], models=MODELS[:1], evaluations=rows)
    assert [(each["metric"], each["value"]) for each in made.summary["composites"]] == [
        ("log_loss", 0.7),
        ("errors", 0.1),  # of an evaluator of the user's own
    ]
    assert made.summary["accuracy"] is None


def test_the_data_span_counts_samples_only():
    assert data_span(tables()) is None
    watermark = batch(5, 5, 99.0)
    assert data_span(tables(batches=[watermark])) is None
    assert data_span(tables(batches=[batch(0, 5, 7.0), watermark])) == (7.0, 7.0)
    assert data_span(tables(batches=[batch(0, 5, 7.0)], triggers=[trigger(0, 2.0, 6.0)])) == (2.0, 7.0)


def test_attempts_that_were_stopped_are_not_failures():
    ends = [
        training(n, n, n, n + 1, outcome) for n, outcome in enumerate(["trained", "superseded", "failed", "timeout"])
    ]
    summary = run(**together(*ends)).summary
    assert (summary["trainings"], summary["stopped_trainings"], summary["failed_trainings"]) == (1, 1, 2)


def test_queueing_counts_each_wait_once_and_the_slot_with_the_training():
    evaluation = "/evaluate#0/WAIT_FOR_EVALUATION_COMPLETION#0"
    made = together(
        training(0, 1.0, 4.0, 9.0),
        {
            "stage_runs": [stage_run("WAIT_FOR_EVALUATION_COMPLETION", 9.0, 10.0, id=evaluation, trigger=0)],
            "devices": [
                # the second unit of the training, its slot, the evaluation, and a lock that is no queue
                held("/train0#0/on_device#0", 1.0, 4.0, 9.0, unit="sim:1"),
                held("/train0#0", 0.5, 1.0, 9.5, resource="training_slot", unit="slot:0"),
                held(evaluation, 3.0, 9.0, 10.0),
                held("/train0#0/CLAIM#0", 0.0, 1.0, 1.0, resource="admission", unit="admission"),
            ],
        },
    )
    summary = run(**made).summary
    assert summary["training_queued_s"] == pytest.approx(3.0 + 0.5)
    assert summary["evaluation_queued_s"] == pytest.approx(6.0)
    assert summary["queued_s"] == pytest.approx(9.5)
    assert summary["device_s"] == pytest.approx(5.0 + 5.0 + 1.0)
    assert sorted(queueing(tables(**made))["work"]) == ["evaluation", "training", "training"]


def test_holdings_say_what_a_device_was_held_for():
    made = together(training(3, 0, 0, 5, "superseded"), {"devices": [held("/OBSERVE#0", 5, 5, 6)]})
    rows = holdings(tables(**made)).select("work", "trigger", "outcome").rows()
    assert rows == [("training", 3, "superseded"), ("other", None, None)]


def test_stages_are_summed_and_the_longest_comes_first():
    stages = [stage_run("INIT", 0, 1), stage_run("DONE", 1, 1), stage_run("EXIT", 2, 5), stage_run("INIT", 4, 5.5)]
    assert list(run(stage_runs=stages).summary["stage_s"].items()) == [("EXIT", 3.0), ("INIT", 2.5), ("DONE", 0.0)]
