from __future__ import annotations

import pytest
from handmade import batch, held, model, run, score, stage_run, tables, together, training, trigger

from twinclock.summary import active_accuracy, active_scores, data_span, holdings, queueing


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


def test_the_active_model_is_the_newest_whose_data_end_before_the_interval():
    # trainings (0,9) (10,29) (40,49), slices of 10 from 0: active –,1,1,2,2,3,3
    models = [model(0, 0, 9), model(1, 10, 29), model(2, 40, 49)]
    every = [score(m, start, start + 10, m / 10) for m in range(3) for start in range(0, 70, 10)]
    scores = active_scores(tables(models=models, evaluations=every))
    assert scores["model"].to_list() == [None, 0, 0, 1, 1, 2, 2]
    assert scores["value"].to_list() == [None, 0.0, 0.0, 0.1, 0.1, 0.2, 0.2]


def test_accuracy_is_weighted_by_data_time_and_says_what_it_leaves_out():
    made = tables(
        batches=[batch(0, 20, 100.0)],
        triggers=[trigger(0, 0.0, 19.0)],
        models=[model(0, 0.0, 19.0)],
        # the stream begins at 0, the first scored interval at 20; [60, 80) has no samples
        evaluations=[score(0, 20, 50, 0.8), score(0, 50, 60, 0.4), score(0, 60, 80, None), score(0, 80, 100, 0.5)],
    )
    value, left_out = active_accuracy(made)
    assert value == pytest.approx((0.8 * 30 + 0.4 * 10 + 0.5 * 20) / 60)
    assert left_out == pytest.approx((20 + 20) / 100)


def test_intervals_that_share_a_timestamp_count_its_time_once():
    made = tables(
        triggers=[trigger(0, 0.0, 9.0), trigger(1, 9.0, 20.0)],
        models=[model(0, -5.0, -1.0)],
        evaluations=[score(0, 0, 10, 1.0), score(0, 9, 21, 1.0)],
    )
    assert active_accuracy(made) == (1.0, pytest.approx(5 / 26))


def test_all_scored_leaves_nothing_out():
    every = [score(0, start / 10, (start + 1) / 10, 0.3) for start in range(3, 17)]
    made = tables(batches=[batch(0, 9, 1.6)], models=[model(0, 0.3, 0.2)], evaluations=every)
    assert active_accuracy(made) == (pytest.approx(0.3), 0.0)


def test_a_score_that_is_not_a_number_is_none():
    made = tables(models=[model(0, 0, 1)], evaluations=[score(0, 2, 3, float("nan")), score(0, 3, 4, 0.5)])
    assert active_scores(made)["value"].to_list() == [None, 0.5]


def test_the_first_plan_that_scored_an_active_model_is_taken():
    models = [model(0, 0, 9), model(1, 10, 19)]
    of_the_next = score(1, 10, 20, 0.9)
    of_the_active = score(0, 10, 20, 0.4, plan=1)
    assert active_accuracy(tables(models=models, evaluations=[of_the_next, of_the_active])).value == 0.4
    other_metric = score(0, 10, 20, 0.1, metric="auc", plan=0)
    assert active_accuracy(tables(models=models, evaluations=[other_metric, of_the_active])).value == 0.4
    assert active_accuracy(tables(models=models, evaluations=[of_the_next])).value is None


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
