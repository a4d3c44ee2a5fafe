"""Pictures of a study: cost against quality, and how a metric responds to its axes."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import combinations

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from matplotlib.collections import LineCollection, PolyCollection, QuadMesh
from matplotlib.text import Text

import twinclock as tc
from experiments.plots import draw_pareto, draw_response, pareto, response
from experiments.plots.look import looks
from experiments.plots.pareto import front
from experiments.plots.placement import overlap, place
from experiments.plots.values import mean_of
from experiments.statistics import describe
from twinclock.plots import save


@dataclass(frozen=True)
class Metric:
    name: str
    larger_is_better: bool


@dataclass(frozen=True)
class Study:
    name: str
    compared: tuple[Metric, ...]


@dataclass(frozen=True)
class Result:
    study: Study
    variants: tuple[str, ...]
    axes: tuple[str, ...]
    runs: pl.DataFrame
    metrics: pl.DataFrame


STUDY = Study("when to train", (Metric("accuracy", True), Metric("device_s", False)))


@pytest.fixture(scope="module")
def result():
    """Real runs: two amounts, two models, two seeds; one run is said to have failed."""
    runs, metrics, variants = [], [], []
    for n in (1000, 3000):
        for hidden in ("small", "large"):
            variants.append(f"n={n} · {hidden}")
            for seed in (0, 1):
                width = 16 if hidden == "small" else 256
                overrides = [f"trigger.n={n}", f"seed={seed}", "data.limit=6000", f"training.model.hidden=[{width}]"]
                overrides.append("sim.costs.noise_sigma=0.3")
                summary = tc.run("experiments/studies/demo.yaml", on="sim", overrides=overrides).summary
                name = f"{variants[-1]} {seed}"
                runs.append({"run": name, "variant": variants[-1], "seed": seed, "n": n, "model": hidden})
                metrics += [{"run": name, "metric": m.name, "value": summary[m.name]} for m in STUDY.compared]
    table = pl.DataFrame(runs).with_columns(state=pl.lit("done"), error=pl.lit(None, pl.String))
    failed = pl.when(run=runs[-1]["run"]).then(pl.lit("failed")).otherwise("state")
    return Result(STUDY, tuple(variants), ("n", "model"), table.with_columns(state=failed), pl.DataFrame(metrics))


def texts(figure) -> list[str]:
    return [text.get_text() for text in figure.findobj(Text) if text.get_visible() and text.get_text()]


def keys(figure) -> list[str]:
    return [text.get_text() for legend in figure.legends for text in legend.get_texts()]


def points(figure):
    """Marker, colour, fill and place of each point."""
    found = [line for line in figure.axes[0].get_lines() if line.get_marker() not in ("None", "", None)]
    return [(p.get_marker(), p.get_color(), p.get_markerfacecolor(), p.get_xdata()[0], p.get_ydata()[0]) for p in found]


def test_pareto_shows_the_mean_of_each_variant_in_its_look(result):
    figure = pareto(result)
    assert figure.axes[0].get_ylabel() == "accuracy (larger is better)"
    assert figure.axes[0].get_xlabel() == "device_s (smaller is better)"
    look = looks(result.variants)
    done = result.runs.filter(state="done")
    for variant, (marker, color, _, x, y) in zip(result.variants, points(figure), strict=True):
        own = done.filter(variant=variant).join(result.metrics, on="run")
        assert (marker, color) == look[variant][1::-1]
        assert x == pytest.approx(own.filter(metric="device_s")["value"].mean())
        assert y == pytest.approx(own.filter(metric="accuracy")["value"].mean())
    assert set(result.variants) <= set(texts(figure))
    assert any("1 failed" in text for text in texts(figure))


def test_dominated_points_are_hollow_and_the_front_is_a_line_of_steps():
    figure = draw_pareto(
        ["cheap", "middle", "dear", "bad"],
        [np.array(v) for v in ([0.5, 0.52], [0.7, 0.71], [0.8, 0.82], [0.6, 0.6])],
        [np.array(v) for v in ([1.0, 1.1], [2.0, 2.1], [4.0, 4.0], [3.0, 3.0])],
    )
    hollow = [fill == "white" for *_, fill, _, _ in points(figure)]
    assert hollow == [False, False, False, True]
    line = next(line for line in figure.axes[0].get_lines() if len(line.get_xdata()) > 1)
    assert np.asarray(line.get_xdata()) == pytest.approx([1.05, 2.05, 2.05, 4.0, 4.0])
    assert np.asarray(line.get_ydata()) == pytest.approx([0.51, 0.51, 0.705, 0.705, 0.81])
    whiskers = figure.axes[0].collections
    assert len(whiskers) == 8, "one each way for each variant"


@pytest.mark.parametrize(
    ("quality", "cost", "said"),
    [
        ([[0.5], [0.7]], [[1.0], [2.0]], "one seed, so there are no intervals"),
        ([[0.5, 0.6], [np.nan, np.nan]], [[1.0, 1.0], [2.0, 2.0]], "without a value: b"),
        ([[], []], [[], []], "Nothing to show: no variant has a value of both."),
        ([[0.5, 0.6], [0.5]], [[1.0, 1.0], [1.0]], "mean over 1 to 2 seeds"),
    ],
)
def test_pareto_says_what_is_missing(quality, cost, said, tmp_path):
    figure = draw_pareto(["a", "b"], [np.array(v) for v in quality], [np.array(v) for v in cost])
    save(figure, tmp_path / "odd.png")
    assert any(said in text for text in texts(figure)), texts(figure)


def test_pareto_of_nothing_is_a_picture():
    assert "Nothing to show: no variant has a value of both." in texts(draw_pareto([], [], []))


def test_many_variants_have_numbers_and_a_list():
    rng = np.random.default_rng(1)
    labels = [f"drift · n={n}" for n in range(40)]
    figure = draw_pareto(labels, list(rng.normal(0.7, 0.1, (40, 3))), list(rng.uniform(1, 100, (40, 3))))
    assert [key for key in keys(figure) if key[0].isdigit()] == [f"{n + 1}  drift · n={n}" for n in range(40)]
    assert {str(n) for n in range(1, 41)} <= set(texts(figure))
    figure.draw_without_rendering()
    one, other = (legend.get_window_extent() for legend in figure.legends)
    assert one.y0 >= other.y1 - 1 or other.y0 >= one.y1 - 1, "the lists do not overlap"
    assert figure.axes[0].xaxis.label.get_window_extent().y0 > max(one.y1, other.y1) - 6


values = st.lists(st.tuples(st.integers(0, 6), st.integers(0, 6)), min_size=1, max_size=12)


@given(values, st.tuples(st.booleans(), st.booleans()))
def test_the_front_is_what_no_other_point_dominates(pairs, larger):
    x, y = np.array(pairs, float).T
    found = front(x, y, larger)
    signs = np.where(larger, 1, -1)
    for i, one in enumerate(np.array(pairs) * signs):
        dominated = any((o >= one).all() and (o > one).any() for o in np.array(pairs) * signs)
        assert (i in found) != dominated
    assert list(x[found]) == sorted(x[found])


@given(
    st.lists(st.tuples(st.floats(0, 900), st.floats(0, 500)), max_size=25),
    st.lists(st.tuples(st.floats(10, 200), st.floats(8, 20)), min_size=25, max_size=25),
)
@settings(deadline=None)
def test_labels_keep_apart_from_each_other_and_from_points(at, sizes):
    centres = place(at, sizes, (900.0, 500.0), 6.0)
    boxes = [
        (x - w / 2, y - h / 2, x + w / 2, y + h / 2)
        for (x, y), (w, h) in ((centre, size) for centre, size in zip(centres, sizes, strict=False) if centre)
    ]
    assert not any(overlap(a, b) for a, b in combinations(boxes, 2))
    marks = [(x - 6, y - 6, x + 6, y + 6) for x, y in at]
    assert not any(overlap(box, mark) for box in boxes for mark in marks)
    assert all(min(left, low) >= 0 and right <= 900 and top <= 500 for left, low, right, top in boxes)


def test_a_mean_has_an_interval_if_there_are_two_values():
    mean = mean_of(np.array([1.0, 2.0, np.nan, 3.0, 2.0]))
    assert (mean.value, mean.num_values) == (2.0, 4)
    assert 1.0 <= mean.low < 2.0 < mean.high <= 3.0
    assert mean == mean_of(np.array([1.0, 2.0, 3.0, 2.0])), "the draws are the same each time"
    one, none = mean_of(np.array([5.0])), mean_of(np.array([]))
    assert (one.value, one.num_values, none.num_values) == (5.0, 1, 0)
    assert np.isnan([one.low, one.high, none.value]).all()


def test_the_intervals_drawn_are_those_of_the_tables():
    values = {"a": [1.0, 2.0, 4.0, 5.0, 7.0, 11.0], "b": [3.0, 3.5, 5.0, 8.0, 8.5, 9.0]}
    rows = [(f"{variant}{seed}", variant, seed, "done") for variant in values for seed in range(6)]
    runs = pl.DataFrame(rows, schema=["run", "variant", "seed", "state"], orient="row")
    metrics = pl.DataFrame({"run": runs["run"], "value": [v for each in values.values() for v in each]})
    both = pl.concat([metrics.with_columns(metric=pl.lit(name)) for name in ("accuracy", "device_s")])
    made = Result(STUDY, tuple(values), (), runs, both)
    segments = [segment for each in pareto(made).findobj(LineCollection) for segment in each.get_segments()]
    drawn = {tuple(np.round(sorted({x for x, _ in segment}), 9)) for segment in segments}
    told = describe(made, metrics=["device_s"]).select("low", "high")
    assert {tuple(np.round(ends, 9)) for ends in told.iter_rows()} <= drawn


def test_two_axes_are_a_heat_map_with_numbers(result):
    figure = response(result)
    axes = figure.axes[0]
    (mesh,) = axes.findobj(QuadMesh)
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("n", "model")
    assert [tick.get_text() for tick in axes.get_xticklabels()] == ["1,000", "3,000"]
    assert [tick.get_text() for tick in axes.get_yticklabels()] == ["small", "large"]
    scores = np.asarray(mesh.get_array()).ravel()
    own = result.runs.filter(n=1000, model="small").join(result.metrics.filter(metric="accuracy"), on="run")
    assert scores[0] == pytest.approx(own["value"].mean())
    assert all(any(text.startswith(f"{score:.3f}"[:5]) for text in texts(figure)) for score in scores)
    assert any("means over seeds · 1 failed" in text for text in texts(figure))


def test_one_axis_of_numbers_is_a_line_with_a_band(result):
    figure = response(result, x="n", metric="device_s")
    axes = figure.axes[0]
    line = next(line for line in axes.get_lines() if line.get_linestyle() == "-")
    assert np.asarray(line.get_xdata()).tolist() == [1000, 3000]
    assert len(axes.findobj(PolyCollection)) == 1
    assert axes.get_ylabel() == "device_s (smaller is better)"
    assert any("means over seeds and levels of model" in text for text in texts(figure))


def test_words_are_not_joined(result):
    axes = response(result, x="model").axes[0]
    assert not any(line.get_linestyle() == "-" for line in axes.get_lines())
    assert [tick.get_text() for tick in axes.get_xticklabels()] == ["small", "large"]


def test_levels_that_do_not_apply_come_last_and_empty_cells_are_hatched(tmp_path):
    cells = {(n, kind): np.array([n / 10]) for n in (1, 2) for kind in ("a", None)}
    cells[(2, None)] = np.array([])
    figure = draw_response([1, 2], ["a", None], cells, names=("n", "kind"), label="accuracy", title="t")
    assert [tick.get_text() for tick in figure.axes[0].get_yticklabels()] == ["a", "does not apply"]
    assert keys(figure) == ["no run that is done has a value"]
    assert {"0.100", "0.200"} <= set(texts(figure)), "one seed has no interval"
    save(figure, tmp_path / "cells.png")


def test_response_says_what_is_missing(result):
    nothing = Result(STUDY, result.variants, (), result.runs, result.metrics)
    assert "Nothing to show: the study has no axis." in texts(response(nothing))
    said = texts(response(result, metric="usd"))
    assert "Nothing to show: no run that is done has a value of this metric." in said


@pytest.mark.parametrize("suffix", [".svg", ".png"])
def test_the_same_study_gives_the_same_bytes(result, suffix, tmp_path):
    for draw in (pareto, response, lambda each: response(each, x="n")):
        first, second = (tmp_path / f"{each}{suffix}" for each in "ab")
        for file in (first, second):
            save(draw(result), file)
        assert first.read_bytes() == second.read_bytes()
