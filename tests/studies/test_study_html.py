"""What a notebook shows of a study."""

from __future__ import annotations

from html.parser import HTMLParser

from small_studies import study

from experiments.results import StudyResult, collect, plan, planned_runs
from experiments.store import Result
from experiments.study import load_study

HOSTILE = "<script>alert(1)</script>[bold red]"


def made(num_done: int, error: str = "it broke", **changes) -> StudyResult:
    """A study of which the first runs are done and the next failed, without running anything."""
    asked = load_study(study(**changes))
    planned = plan(asked)
    results = {
        each.run: Result("done", {"accuracy": 0.5 + 0.01 * number, "device_s": 1234.0}, None, 0.1)
        for number, each in enumerate(planned[:num_done])
    }
    results[planned[num_done].run] = Result("failed", {}, error, 0.1)
    return collect(asked, planned_runs(asked, planned), results, None)


def test_it_has_the_question_the_means_what_is_not_done_and_the_verdict():
    html = made(4, question="How often?", seeds=3)._repr_html_()
    assert "How often?" in html
    assert '<td style="text-align:left;padding:0.1em 1em 0.1em 0">amount · n=400</td>' in html
    assert ">0.51</td>" in html  # the mean over three seeds
    assert ">1,234</td>" in html
    assert "failed: it broke" in html
    assert "<li>" in html


def test_a_variant_without_a_run_that_is_done_has_no_figures():
    assert ">-</td>" in made(0)._repr_html_()


def test_what_others_wrote_is_text_and_nothing_else():
    html = made(1, HOSTILE, question=HOSTILE)._repr_html_()
    assert "<script" not in html
    assert html.count("&lt;script&gt;") == 2


def test_the_html_is_whole_and_brings_no_colours_of_its_own():
    left: list[str] = []

    class Parser(HTMLParser):
        def handle_starttag(self, tag, attrs):
            left.append(tag)

        def handle_endtag(self, tag):
            assert left.pop() == tag

    html = made(2)._repr_html_()
    Parser().feed(html)
    assert left == []
    assert "#" not in html
