from __future__ import annotations

from html.parser import HTMLParser
from io import StringIO

import pytest
from handmade import batch, model, run, score, stage_run, together, training, trigger
from rich.console import Console

from twinclock.show import amount_of_usd, compare_runs, run_html, show_run, summary_text

HOSTILE = "<script>[bold red]x[/bold red]"


def hand(positions=(9, 19, 29), **header):
    triggers = [{**trigger(serial, 0.0, 1.0), "position": position} for serial, position in enumerate(positions)]
    parts = [training(serial, 5 * serial, 5 * serial + 1, 5 * serial + 5) for serial in range(len(positions))]
    scored = {"models": [model(0, 0.0, 10.0)], "evaluations": [score(0, 20.0, 30.0, 0.7), score(0, 30.0, 40.0, 0.8)]}
    ingested = {"batches": [batch(0, 1234, 39.0)], "triggers": triggers}
    return run(header=header, **together(*parts, scored, ingested))


def printed(show, width=120) -> str:
    console = Console(file=StringIO(), width=width, color_system=None)
    show(console)
    return console.file.getvalue()


def cells(text: str, label: str) -> list[str]:
    """What stands in the row of this name, column by column."""
    line = next(line for line in text.splitlines() if line.strip().startswith(label))
    return [cell.strip() for cell in line.replace(label, "", 1).split("   ") if cell.strip()]


def test_one_run_in_plain_text():
    text = summary_text(hand())
    assert text.startswith("hand (sim)\n")
    assert cells(text, "state") == ["done"]
    assert cells(text, "samples") == ["1,234"]
    assert cells(text, "trigger positions") == ["9, 19, 29"]
    assert cells(text, "trainings") == ["3"]
    assert cells(text, "makespan") == ["100.0 s"]
    assert cells(text, "device-seconds") == ["12.00 s"]
    assert cells(text, "queueing") == ["3.000 s"]
    assert cells(text, "accuracy of the active model") == ["0.750"]
    assert cells(text, "data time left out") == ["50.0 %"]
    assert cells(text, "WAIT_FOR_TRAINING_COMPLETION") == ["12.00 s"]
    assert "trainings failed" not in text
    assert "uncalibrated" not in text


def composed(plan, *rows, metrics=("accuracy",)):
    """A run in which these slices of ten were evaluated."""
    plans = [{"kind": "slicing", "every": 10, "from": 0, "to": 40, **plan}]
    evaluations = [score(0, start, start + 10, value, **more) for start, value, more in rows]
    config = {"evaluation": {"plans": plans, "metrics": list(metrics)}}
    return run(config=config, batches=[batch(0, 40, 39.0)], models=[model(0, 0.0, 9.0)], evaluations=evaluations)


def test_each_composite_has_its_name_and_what_it_leaves_out():
    losses = [(start, 0.5, {"metric": metric}) for metric in ("log_loss", "accuracy") for start in (10, 20)]
    text = summary_text(composed({"models": "all"}, *losses, metrics=["log_loss", "accuracy"]))
    said = [line.strip() for line in text.splitlines() if "model  " in line or "left out" in line]
    assert [line.split("  ")[0] for line in said] == [
        "log_loss of the active model", "data time left out", "log_loss of the trained model", "data time left out",
        "accuracy of the active model", "data time left out", "accuracy of the trained model", "data time left out",
    ]  # fmt: skip
    assert cells(text, "log_loss of the trained model") == ["0.500"]
    assert text.count("50.0 %") == 4


def test_what_only_one_run_has_planned_is_compared_with_nothing():
    served = composed({"models": "served"}, (0, 0.5, {}), (10, 0.25, {}))
    text = printed(lambda console: compare_runs([composed({}, (10, 0.5, {})), served], console))
    assert cells(text, "accuracy of the active model") == ["0.500", "-"]
    assert cells(text, "accuracy as served") == ["-", "0.375"]
    assert [line.split()[-4:] for line in text.splitlines() if "left out" in line] == [
        ["75.0", "%", "100.0", "%"],
        ["100.0", "%", "50.0", "%"],
    ]
    assert "accuracy as served" in run_html(served)


def test_what_went_wrong_is_shown():
    text = summary_text(run(header={"outcome": "failed", "error": "disk full"}, **training(0, 0, 0, 1, "failed")))
    assert cells(text, "state") == ["failed: disk full"]
    assert cells(text, "trainings failed") == ["1"]


@pytest.mark.parametrize("header", [{}, {"state": "running", "outcome": None, "makespan_s": None}])
def test_an_empty_run_can_be_shown(header):
    empty = run(header=header)
    assert "not finished (running)" in summary_text(empty) or not header
    assert "hand (sim)" in run_html(empty)
    assert "identical" in printed(lambda console: compare_runs([empty, empty], console))


def test_two_runs_side_by_side_with_their_difference():
    other = hand(makespan_s=110.0, executor="real")
    text = printed(lambda console: compare_runs([hand(), other], console))
    assert cells(text, "figure") == ["hand (sim)", "hand (real)", "difference"]
    assert cells(text, "makespan") == ["100.0 s", "110.0 s", "+10.0 %"]
    assert cells(text, "trainings") == ["3", "3", "0 %"]
    assert cells(text, "accuracy of the active model") == ["0.750", "0.750", "0 %"]
    assert "identical" in text
    assert "difference: of the second from the first" in text


def test_stages_that_only_one_run_has_are_compared_with_none():
    runs = [run(stage_runs=[stage_run(stage, 0, seconds)]) for stage, seconds in (("INIT", 2), ("FETCH_NEW_DATA", 5))]
    text = printed(lambda console: compare_runs(runs, console))
    assert cells(text, "INIT") == ["2.000 s", "0.000 s", "-100.0 %"]
    assert cells(text, "FETCH_NEW_DATA") == ["0.000 s", "5.000 s", "from 0"]


@pytest.mark.parametrize(
    ("positions", "said"),
    [
        ((9, 19, 29), "identical"),
        ((9, 20, 29), "edit distance 2, first at #1: 20, not 19"),
        ((9, 19), "edit distance 1, first at #2: none, not 29"),
        ((9, 19, 29, 39), "edit distance 1, first at #3: 39, not none"),
    ],
)
def test_trigger_positions_are_compared_one_by_one(positions, said):
    text = printed(lambda console: compare_runs([hand(), hand(positions)], console))
    assert said in text


def test_many_positions_are_cut_short():
    positions = range(999, 99_000, 1000)
    text = printed(lambda console: compare_runs([hand(positions)] * 3, console))
    assert "999, 1999, 2999, … 98999" in text
    assert text.count("identical") == 2
    assert "difference" not in text


def test_runs_of_the_same_name_are_told_apart():
    text = printed(lambda console: compare_runs([hand(), hand()], console))
    assert "#0" in text
    assert "#1" in text


def test_uncalibrated_figures_have_a_footnote():
    modelled = hand(uncalibrated=["costs", "quality"])
    said = "uncalibrated: costs and quality of hand (sim)"
    assert said in summary_text(modelled)
    assert said in run_html(modelled)
    text = printed(lambda console: compare_runs([modelled, hand(executor="real")], console))
    assert text.count("uncalibrated") == 1


def test_long_times_are_also_given_in_hours():
    assert cells(summary_text(run(header={"makespan_s": 7200.0})), "makespan") == ["7,200 s (2 h)"]


def test_what_others_wrote_is_text_and_nothing_else():
    name = HOSTILE.replace("/", "")  # which the name of a run can't have
    hostile = run(config={"name": name}, header={"outcome": "failed", "error": HOSTILE})
    assert f"{name} (sim)" in summary_text(hostile)
    assert f"failed: {HOSTILE}" in printed(lambda console: show_run(hostile, console))
    html = run_html(hostile)
    assert "<script" not in html
    assert "&lt;script&gt;[bold red]" in html


def test_the_html_is_whole_and_brings_no_colours_of_its_own():
    class Parser(HTMLParser):
        open_: list[str] = []  # noqa: RUF012 - one parser, one test

        def handle_starttag(self, tag, attrs):
            self.open_.append(tag)

        def handle_endtag(self, tag):
            assert self.open_.pop() == tag

    html = hand()._repr_html_()
    parser = Parser()
    parser.feed(html)
    assert parser.open_ == []
    assert "#" not in html
    assert "src=" not in html
    assert "1,234" in html


@pytest.mark.parametrize(
    ("usd", "text"),
    [
        (0.0, "0.00"),
        (0.00001234, "0.0000123"),
        (0.0423, "0.0423"),
        (0.5, "0.500"),
        (1.5, "1.50"),
        (12345.678, "12,345.68"),
    ],
)
def test_small_sums_of_money_are_not_rounded_away(usd, text):
    assert amount_of_usd(usd) == text


def scored(until: float):
    """A run whose model is scored from 10 to `until`, on a plan that reaches to 100."""
    parts = {"models": [model(0, 0.0, 10.0)], "batches": [batch(0, 100, 99.0)], "triggers": [trigger(0, 0.0, 9.0)]}
    scores = [score(0, float(start), start + 10.0, 0.7) for start in range(20, int(until), 10)]
    return run(**{**parts, "evaluations": scores})


def test_a_comparison_of_accuracies_over_other_data_time_is_a_warning():
    told = printed(lambda console: compare_runs([scored(100.0), scored(50.0)], console), width=200)
    (line,) = (line for line in told.splitlines() if "not comparable" in line)
    assert line.startswith("not comparable as it stands: accuracy of the active model leaves out between ")
    few, many = (round(100 * scored(until).summary["accuracy_left_out"], 1) for until in (100.0, 50.0))
    assert f"between {few} % and {many} % of the data time" in line
    assert "not comparable" not in printed(lambda console: compare_runs([scored(100.0), scored(100.0)], console))
    unscored = run(batches=[batch(0, 100, 99.0)])
    assert "not comparable" not in printed(lambda console: compare_runs([scored(100.0), unscored], console))
