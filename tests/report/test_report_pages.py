"""What a report says of runs and of studies, whole or broken, and that it is one file that stands for itself."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from pathlib import Path

import polars as pl
import pytest
import typer
from handmade import run as by_hand
from handmade import training, trigger
from hypothesis import given, settings
from hypothesis import strategies as st
from matplotlib.figure import Figure
from reported import BASE, HOSTILE, STUDY
from typer.testing import CliRunner

from experiments import commands
from experiments.report.blocks import Cell, Column, Page, Section, Sentences, Table
from experiments.report.html import render
from experiments.report.numbers import decimals_for, interval, number
from experiments.report.pictures import picture
from experiments.report.run_page import run_page, state_notes
from experiments.report.study_page import study_page
from experiments.report.tables import frame_table
from experiments.report.write import report
from experiments.results import StudyResult, collect, plan, planned_runs
from experiments.store import Result
from experiments.study import load_study
from twinclock.errors import ConfigError, RunError
from twinclock.result import Run

SORTS = ("run", "runs", "study")
VOID = {"meta", "br", "hr", "img", "input", "link"}
PRINTABLE = st.text(st.characters(codec="utf-8", exclude_categories=["Cc", "Cs"]), min_size=1, max_size=30)


class Outline(HTMLParser):
    """Elements that are open, and all text outside scripts and styles."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.text = ""
        self.ids: list[str] = []
        self.num_scripts = 0
        self.feed(html)
        self.close()

    def handle_starttag(self, tag, attrs):
        self.ids += [value for name, value in attrs if name == "id"]
        self.num_scripts += tag == "script"
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.ids += [value for name, value in attrs if name == "id"]

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if not {"script", "style"} & set(self.open):
            self.text += data


def text_of(page: Page) -> str:
    return Outline(render(page)).text


@pytest.mark.parametrize("sort", SORTS)
def test_a_page_is_whole_and_names_no_place_outside_itself(pages: dict[str, Path], sort: str):
    html = pages[sort].read_text(encoding="utf-8")
    assert html.startswith('<!DOCTYPE html>\n<html lang="en">')
    outline = Outline(html)
    assert outline.open == []
    assert len(set(outline.ids)) == len(outline.ids)
    assert outline.num_scripts == 1
    assert "http" not in html
    assert not re.search(r"<(link|img|iframe|object|embed)\b|@import|url\((?!#)", html)


def test_the_same_input_gives_the_same_bytes(pages: dict[str, Path], study: StudyResult, tmp_path: Path):
    assert report(study, out=tmp_path / "again.html").read_bytes() == pages["study"].read_bytes()


def test_a_run_says_first_what_it_came_to_and_where_its_tables_are(pages: dict[str, Path], runs: list[Run]):
    text = Outline(pages["run"].read_text(encoding="utf-8")).text
    summary = runs[0].summary
    assert text.index(f"{summary['accuracy']:.3f}") < text.rindex("How good the models were")
    assert "critical path (" in text
    assert "Nothing failed." in text
    assert "num_samples: 400" in text


def test_a_long_table_is_cut_and_says_where_the_rest_is():
    frame = pl.DataFrame(
        {"trigger": range(80), "first_ts": [86400.0 * 5000] * 80, "note": ["x", *[None] * 79], "no": [None] * 80}
    )
    made = frame_table(
        "Triggers", frame, {"trigger": "trigger", "first_ts": "first", "note": "note", "no": "no"}, "/x/triggers"
    )
    assert made.note == "The first 50 of 80 rows; all are in /x/triggers"
    assert [cell.text for cell in made.rows[49]] == ["49", "1983-09-10 00:00", "-"]
    assert len(made.rows) == 50
    assert frame_table("Triggers", frame.head(50), {"trigger": "trigger"}, "/x/triggers").note == ""


def test_a_loss_that_diverged_is_seen_and_has_no_place_in_the_order():
    frame = pl.DataFrame({"trigger": [0, 1, 2], "loss": [0.25, float("nan"), float("inf")]})
    made = frame_table("Trainings", frame, {"trigger": "trigger", "loss": "loss"}, "x")
    assert [(row[1].text, row[1].key) for row in made.rows] == [("0.2500", 0.25), ("nan", None), ("inf", None)]


def test_two_runs_have_a_difference_and_more_have_a_best_one(
    runs: list[Run], pages: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.chdir(tmp_path)
    assert report(*runs[:2]) == Path("report.html")
    two = Outline(Path("report.html").read_text(encoding="utf-8")).text
    assert "small (sim) n100 and small (sim) n50" in two
    assert "difference" in two
    three = Outline(pages["runs"].read_text(encoding="utf-8")).text
    assert "3 runs" in three
    assert "least device time" in three
    assert "difference" not in three


def test_the_same_run_twice_has_two_names(runs: list[Run], tmp_path: Path):
    text = Outline(report(runs[0], runs[0], out=tmp_path / "twice.html").read_text(encoding="utf-8")).text
    assert "small (sim) n100 #1 and small (sim) n100 #2" in text


def test_a_simulated_run_is_held_against_a_real_one(runs: list[Run], tmp_path: Path):
    """Of the real one only its header is needed here."""
    real = Run(runs[1].config, {**runs[1].header, "executor": "real"}, runs[1].tables)
    text = Outline(report(runs[0], real, out=tmp_path / "both.html").read_text(encoding="utf-8")).text
    assert "Simulated against real" in text


def test_a_study_tells_the_verdict_every_variant_and_what_failed(pages: dict[str, Path]):
    text = Outline(pages["study"].read_text(encoding="utf-8")).text
    assert text.index("Is often better than seldom?") < text.rindex("What was shown") < text.rindex("Pair by pair")
    assert "9 of 18 runs are not done" in text
    assert "n=50 · broken" in text
    assert "data.every" in text[text.index("Runs that are not done, by variant and error") :]
    assert "0, 1, 2" in text


def made(states: dict[str, Result]) -> StudyResult:
    """The study with the same result for all runs whose variant contains a text."""
    study = load_study(STUDY)
    planned = plan(study)
    results = {each.run: result for each in planned for part, result in states.items() if part in each.variant.label}
    return collect(study, planned_runs(study, planned), results, None)


def test_a_study_that_was_not_run_says_that_nothing_can_be_said():
    text = text_of(study_page(made({})))
    assert "18 of 18 runs are not done" in text
    assert "nothing can be said" in text
    assert "not run yet" in text
    assert "Regret" not in text


def test_a_study_of_which_all_failed_names_each_error_once_for_each_variant():
    text = text_of(study_page(made({"n=": Result("crashed", {}, "its process ended with exit code 9", 1.0)})))
    assert text.count("its process ended with exit code 9") == 6
    assert "Regret" not in text


def test_a_study_with_one_seed_and_one_variant_has_no_pairs():
    study = load_study({"name": "alone", "base": BASE, "seeds": 1})
    planned = plan(study)
    (only,) = planned
    done = Result("done", {"accuracy": 0.5, "device_s": None}, None, 1.0)
    text = text_of(study_page(collect(study, planned_runs(study, planned), {only.run: done}, None)))
    assert "There is one variant, so there are no pairs." in text


def test_a_study_of_another_version_keeps_its_figures_but_has_no_pictures_over_data_time(study: StudyResult):
    renamed = pl.format("x{}", "run").alias("run")
    runs, metrics = study.runs.with_columns(renamed), study.metrics.with_columns(renamed)
    text = text_of(study_page(StudyResult(study.study, runs, metrics, study.folder)))
    assert "There are no pictures over data time" in text
    assert "sweep it again" in text
    assert "not the version, or not the data, that is here now" in text
    assert "Regret" in text


def test_a_run_that_broke_off_says_so_and_shows_how_far_it_came():
    fault = {"stage": "EVALUATE", "attempt": 1, "outcome": "failed", "type": "E", "message": f"why {HOSTILE}"}
    outage = {"device": "sim:0", "cause": "reclaimed", "noticed_s": 1.0, "from_s": 1.0, "until_s": 2.0}
    trained = training(0, 1.0, 2.0, 5.0)
    run = by_hand(
        {"state": "crashed", "outcome": None, "makespan_s": None},
        **trained,
        faults=[{**fault, "id": "/x", "at_s": 4.5}],
        outages=[outage],
        triggers=[trigger(0, 86400.0 * 5000, 86400.0 * 5001)],
    )
    outline = Outline(render(run_page(run)))
    for said in ("not finished (crashed)", f"why {HOSTILE}", "reclaimed", "not measured", "1983-09-10 00:00", "3 s"):
        assert said in outline.text
    for unsaid in ("Nothing failed.", "critical path ("):
        assert unsaid not in outline.text
    assert outline.open == []
    assert outline.num_scripts == 1


def test_a_run_that_failed_says_why():
    (told,) = state_notes(by_hand({"outcome": "failed", "error": "no space left"}))
    assert told.lines == ["hand (sim): failed: no space left"]


@given(st.lists(st.floats(-1e12, 1e12) | st.none(), min_size=1, max_size=8))
def test_numbers_of_a_column_have_the_same_decimals_and_lose_little(values):
    decimals = decimals_for(values)
    texts = [number(value, decimals) for value in values]
    assert {len(text.partition(".")[2]) for text in texts if text != "-"} <= {decimals}
    largest = max((abs(value) for value in values if value is not None), default=0.0)
    for value, text in zip(values, texts, strict=True):
        if value is not None:
            assert abs(float(text.replace(",", "")) - value) <= max(1e-3 * largest, 1e-6)


def test_an_interval_without_width_is_not_told():
    assert interval(0.5, 0.75, 2) == "[0.50, 0.75]"
    assert interval(0.5, 0.5, 2) == interval(None, None, 2) == ""


@settings(deadline=None)
@given(PRINTABLE, PRINTABLE)
def test_whatever_users_write_arrives_as_they_wrote_it(one, other):
    table = Table(one, [Column(other)], [[Cell(one, one, other)]], other)
    outline = Outline(
        render(Page("Run", one, other, [(one, other)], [Sentences([one])], [Section("a", other, [table])]))
    )
    assert outline.open == []
    assert outline.num_scripts == 1
    assert one in outline.text
    assert other in outline.text


def drawn(text: str) -> Figure:
    figure = Figure(figsize=(4, 3))
    axes = figure.add_subplot()
    axes.plot([1, 2], [3, 4], marker="o", label=text)
    axes.bar([1, 2], [3, 4], hatch="//")
    figure.text(0.1, 0.95, text)
    return figure


def test_the_same_figure_twice_shares_no_id_and_every_reference_is_to_its_own():
    one, two = (picture(key, drawn("x"), "caption") for key in ("one", "two"))
    ids = [set(re.findall(r'\bid="([^"]+)"', each.svg)) for each in (one, two)]
    assert ids[0]
    assert not ids[0] & ids[1]
    for each, own in zip((one, two), ids, strict=True):
        references = set(re.findall(r'href="#([^"]+)"|url\(#([^)]+)\)', each.svg))
        assert references
        assert {first or second for first, second in references} <= own
    assert one.svg.replace("one-", "two-") == two.svg


def test_a_picture_says_what_its_headings_say_and_holds_nothing_that_could_run():
    made = picture("one", drawn(f"--> {HOSTILE} <!--"), "caption")
    assert made.alt == f"--> {HOSTILE} <!--"
    assert "script" not in made.svg
    assert "<!--" not in made.svg
    assert "xmlns" not in made.svg


# Where it goes, and what is wrong


def test_what_can_not_be_reported_is_said_in_one_line(runs: list[Run], study: StudyResult, tmp_path: Path):
    with pytest.raises(ConfigError, match="report: got nothing, expected the folders of runs, or that of a study"):
        report()
    with pytest.raises(ConfigError, match=r"got how_often, small \(sim\), expected one study, or runs only"):
        report(study, runs[0])
    with pytest.raises(RunError, match=r"no run\.json here; expected the folder of a run"):
        report(tmp_path)
    with pytest.raises(ConfigError, match=r"-o .*missing/x\.html: .*expected a writable path"):
        report(runs[0], out=tmp_path / "missing" / "x.html")


def test_the_command_writes_the_same_into_the_folder_and_says_where(runs: list[Run], pages: dict[str, Path]):
    app = typer.Typer()
    app.command()(commands.report)
    file = runs[0].folder / "report.html"
    done = CliRunner().invoke(app, [str(runs[0].folder)])
    assert done.exit_code == 0
    assert done.output == f"report: {file}\n"
    assert file.read_bytes() == pages["run"].read_bytes()
