"""Pictures of several runs: policies side by side, and a simulated run beside the real one."""

from __future__ import annotations

import subprocess
import sys
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from handmade import run, training
from matplotlib.text import Text

import twinclock as tc
from experiments.plots import accuracy_by_policy, costs_by_policy, sim_against_real
from experiments.plots.look import looks
from twinclock.plots import save

DEMO = "experiments/studies/demo.yaml"


@pytest.fixture(scope="module")
def runs():
    triggers = {"often": "{kind: amount, n: 1000}", "seldom": "{kind: amount, n: 4000}", "never": "{kind: never}"}
    return {
        label: tc.run(DEMO, on="sim", overrides=["data.limit=8000", f"trigger={trigger}"])
        for label, trigger in triggers.items()
    }


def texts(figure) -> list[str]:
    return [text.get_text() for text in figure.findobj(Text) if text.get_visible()]


def keys(figure) -> list[str]:
    return [text.get_text() for legend in figure.legends for text in legend.get_texts()]


def colors(axes) -> set[str]:
    return {str(line.get_color()) for line in axes.get_lines()}


def test_looks_are_those_of_the_order_and_differ_without_colour_too():
    labels = [f"policy {n}" for n in range(280)]
    found = looks(labels)
    assert found == looks(list(labels))
    assert list(found) == labels
    assert looks(labels[:3]) == {label: found[label] for label in labels[:3]}
    assert len(set(found.values())) == 280
    assert len({(look.marker, look.dash) for look in list(found.values())[:40]}) == 40
    for one, next_ in pairwise(labels):
        assert all(a != b for a, b in zip(found[one], found[next_], strict=True))


def test_nothing_chooses_a_backend_or_loads_matplotlib_before_it_draws():
    code = """
import sys
import experiments.plots
assert not any(name.startswith("matplotlib") for name in sys.modules)
sys.path.insert(0, "tests")
from handmade import run, training
experiments.plots.costs_by_policy({"one": run(**training(0, 0, 1, 2))})
assert "matplotlib.figure" in sys.modules and "matplotlib.pyplot" not in sys.modules
"""
    subprocess.run([sys.executable, "-c", code], check=True, cwd=Path(__file__).parent.parent)


def test_each_policy_has_its_line_its_mean_and_its_row_of_triggers(runs):
    figure = accuracy_by_policy(runs)
    above, below = figure.axes
    look = looks(runs)
    means = [run.summary["accuracy"] for run in runs.values()]
    assert keys(figure) == [f"often: mean {means[0]:.3f}", f"seldom: mean {means[1]:.3f}", "never: no accuracy"]
    assert colors(above) == {look["often"].color, look["seldom"].color}
    rows = [len(lines.get_segments()) for lines in below.collections]
    assert rows == [8, 2, 0]
    assert {"8 triggers", "2 triggers", "0 triggers"} <= set(texts(figure))


def test_a_policy_has_the_same_colour_in_each_picture(runs):
    accuracy, costs = accuracy_by_policy(runs), costs_by_policy(runs)
    assert colors(accuracy.axes[1]) == colors(costs.axes[0]) == {look.color for look in looks(runs).values()}


def test_costs_end_at_what_the_summary_says(runs):
    figure = costs_by_policy(runs)
    lines = [line for line in figure.axes[0].get_lines() if len(line.get_xdata()) > 1]
    for line, each in zip(lines, runs.values(), strict=True):
        assert np.asarray(line.get_ydata())[-1] == pytest.approx(each.summary["device_s"])
        assert np.asarray(line.get_xdata())[-1] == pytest.approx(each.summary["makespan_s"])
    ends = [max(bar.get_x() + bar.get_width() for bar in bars) for bars in zip(*figure.axes[1].containers, strict=True)]
    assert ends == pytest.approx([each.summary["device_s"] for each in runs.values()])
    assert keys(figure) == ["often", "seldom", "never", "training", "evaluation"]


@pytest.mark.parametrize("draw", [accuracy_by_policy, costs_by_policy])
def test_the_same_runs_give_the_same_bytes(runs, draw, tmp_path):
    for suffix in (".svg", ".png"):
        first, second = (tmp_path / f"{each}{suffix}" for each in "ab")
        for file in (first, second):
            save(draw(runs), file)
        assert first.read_bytes() == second.read_bytes()


def test_without_runs_or_time_the_pictures_say_so():
    unfinished = run(header={"state": "running", "outcome": None, "makespan_s": None})
    for given in ({}, {"one": unfinished}):
        assert "Nothing to show: no run has taken in any data." in texts(accuracy_by_policy(given))
        assert "Nothing to show: no time has passed in any run." in texts(costs_by_policy(given))


def test_thirty_policies_fit(tmp_path, runs):
    many = {f"policy number {n}": runs["seldom"] for n in range(30)}
    for draw in (accuracy_by_policy, costs_by_policy):
        figure = draw(many)
        save(figure, tmp_path / "many.png")
        assert len(set(keys(figure)) - {"training", "evaluation"}) == 30
        figure.draw_without_rendering()
        (legend,) = figure.legends
        label = figure.axes[1].xaxis.label
        assert legend.get_window_extent().y1 < label.get_window_extent().y0, "the legend is below the axis"


def test_simulated_against_real_tells_stage_by_stage_how_much_they_differ(tmp_path):
    simulated = run(**training(0, 0, 1, 5))
    real = run(header={"executor": "real", "makespan_s": 80.0}, **training(0, 0, 1, 6))
    figure = sim_against_real(simulated, real)
    said = texts(figure)
    assert said[said.index("makespan") : said.index("makespan") + 4] == ["makespan", "100 s", "80 s", "+25%"]
    stage = said.index("WAIT_FOR_TRAINING_COMPLETION")
    assert said[stage : stage + 4] == ["WAIT_FOR_TRAINING_COMPLETION", "4 s", "5 s", "-20%"]
    assert "simulated (sim): done · real (real): done" in said
    for suffix in (".svg", ".png"):
        first, second = (tmp_path / f"{each}{suffix}" for each in "ab")
        for file in (first, second):
            save(sim_against_real(simulated, real), file)
        assert first.read_bytes() == second.read_bytes()


def test_simulated_against_real_shows_the_triggers_of_both(runs):
    figure = sim_against_real(runs["often"], runs["seldom"])
    ours, theirs = (len(lines.get_segments()) for lines in figure.axes[2].collections)
    assert (ours, theirs) == (8, 2)
    assert "positions of triggers that both have: 2" in figure.axes[2].get_xlabel()


def test_runs_that_have_nothing_in_common_can_be_compared():
    unfinished = run(header={"state": "running", "outcome": None, "makespan_s": None})
    said = texts(sim_against_real(unfinished, run(**training(0, 0, 1, 5))))
    assert "No stage took time in both runs." in said
    assert "simulated (sim): not finished, state: running · real (sim): done" in said
