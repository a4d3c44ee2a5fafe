"""The pictures of one run: what is in them, and that their figures are those of the summary."""

from __future__ import annotations

import numpy as np
import pytest
from handmade import batch, held, model, run, score, training, trigger
from hypothesis import given, settings
from matplotlib.collections import PolyCollection
from matplotlib.colors import to_rgb
from matplotlib.patches import Rectangle
from matplotlib.text import Text
from simulated import breaking, configs, faults, simulate

import twinclock as tc
from twinclock._chart import PAINTS
from twinclock._lanes import WORK
from twinclock._occupancy import KINDS, occupancy
from twinclock._stage_graph import path_of
from twinclock.explain.places import graph_of
from twinclock.freshness import incorporation_latencies, staleness_shares
from twinclock.graph import stages
from twinclock.plots import save

DEMO = "experiments/studies/demo.yaml"
PICTURES = ("heat_map", "cost", "freshness", "queue", "stage_graph")
UNFINISHED = {"state": "running", "outcome": None, "makespan_s": None}


@pytest.fixture(scope="module")
def demo():
    return tc.run(DEMO, on="sim", overrides=["evaluation.plans.0.models=all"])


def texts(figure) -> list[str]:
    return [text.get_text() for text in figure.findobj(Text) if text.get_visible()]


def keys(figure) -> list[str]:
    return [text.get_text() for legend in figure.legends for text in legend.get_texts()]


def says(figure, part: str) -> bool:
    return any(part in text for text in texts(figure))


@pytest.mark.parametrize(
    ("name", "suffix"), [*((name, ".svg") for name in PICTURES), *((name, ".png") for name in PICTURES[:-1])]
)
def test_the_same_run_gives_the_same_bytes(demo, tmp_path, name, suffix):
    first, second = (tmp_path / f"{each}{suffix}" for each in "ab")
    for file in (first, second):
        save(getattr(demo.plot, name)(), file)
    assert first.read_bytes() == second.read_bytes()


@pytest.mark.parametrize(
    ("made", "said"),
    [
        (run(), {"heat_map": "no model was stored", "queue": "Nothing has waited", "stage_graph": "no stage run"}),
        (run(config={"evaluation": {}}), {"heat_map": "no evaluation plan", "freshness": "no sample has got into"}),
        (run(models=[model(0, 0, 9)]), {"heat_map": "no evaluation has ended", "cost": "0 s of 100 s"}),
        (run(header=UNFINISHED), {"cost": "no time has passed", "queue": "no time has passed", "freshness": "no end"}),
        (run(header=UNFINISHED, **training(0, 0, 1, 5)), {"cost": "4 s of 5 s", "queue": "not finished"}),
        (run(header={"makespan_s": 0.0}), {"cost": "no time has passed"}),
        (run(models=[model(0, 0, 9)], evaluations=[score(0, 10, 20, None)]), {"heat_map": "no samples, or not defi"}),
        (run(**training(0, 0, 1, 5, "failed")), {"cost": "stopped or failed: 4 s", "queue": "1 s, at most 1"}),
    ],
)  # fmt: skip
def test_what_is_missing_is_said(made, said, tmp_path):
    for name, words in said.items():
        figure = getattr(made.plot, name)()
        save(figure, tmp_path / "picture.svg")
        assert says(figure, words), texts(figure)


def test_the_heat_map_has_a_cell_for_each_score_and_a_frame_around_what_was_active(demo):
    figure = demo.plot.heat_map()
    (cells,) = figure.axes[0].findobj(PolyCollection)
    assert len(cells.get_paths()) == demo.evaluations.height
    assert sorted(np.asarray(cells.get_array())) == pytest.approx(sorted(demo.evaluations["value"]))
    frames = [each for each in figure.axes[0].patches if isinstance(each, Rectangle)]
    assert len(frames) == 2 * 16, "the last of 17 models came after the last interval; each frame has a halo"
    assert keys(figure) == ["it was the active model"]
    assert figure.axes[1].get_ylabel() == "accuracy (higher is better)"
    assert says(figure, "plan 0: slicing, models: all")


def test_the_colours_of_the_heat_map_are_as_bright_as_the_score_is_high(demo):
    (cells,) = demo.plot.heat_map().axes[0].findobj(PolyCollection)
    grey = cells.cmap(np.linspace(0, 1, 50))[:, :3] @ (0.299, 0.587, 0.114)
    assert (np.diff(grey) > 0).all()


def test_the_heat_map_of_a_metric_that_was_not_measured_names_those_that_were(demo):
    assert says(demo.plot.heat_map("log_loss"), "No log_loss was measured; the metrics of this run: accuracy.")


def test_many_models_and_intervals_are_thinned(tmp_path):
    scores = [score(m, 10.0 * i, 10.0 * i + 10, (m + i) % 7 / 7) for m in range(130) for i in range(0, 450)]
    figure = run(
        batches=[batch(0, 5000, 4500.0)], models=[model(m, 0, 10.0 * m) for m in range(130)], evaluations=scores
    ).plot.heat_map()
    assert says(figure, "44 of 130 models, 1 in 3; each cell the mean of 3 intervals")
    assert says(figure, "129"), "the newest model is there"
    save(figure, tmp_path / "many.svg")
    assert (tmp_path / "many.svg").stat().st_size < 2_000_000


def test_intervals_that_overlap_are_cut_in_the_heat_map():
    plan = {"kind": "periodic", "every": 10, "half": 8, "from": 10, "to": 30, "models": "all"}
    figure = run(
        config={"evaluation": {"plans": [plan]}},
        batches=[batch(0, 40, 39.0)],
        models=[model(0, 0, 1)],
        evaluations=[score(0, 2, 18, 0.5), score(0, 12, 28, 0.7)],
    ).plot.heat_map()
    (cells,) = figure.axes[0].findobj(PolyCollection)
    spans = [(path.vertices[:, 0].min(), path.vertices[:, 0].max()) for path in cells.get_paths()]
    assert spans == [(2, 12), (12, 28)]
    assert says(figure, "intervals overlap")


PRICED = {
    "data": {"kind": "uniform", "num_samples": 1500, "every": 1.0},
    "trigger": {"kind": "amount", "n": 100},
    "evaluation": {"plans": [{"kind": "slicing", "every": 100}]},
    "sim": {"costs": {"training": {"setup_s": 10, "samples_per_s": 5}, "evaluation": {"setup_s": 4}}},
    "cluster": {
        "jobs_per_device": 2,
        "pools": [
            {"name": "spot", "devices_per_node": 2, "device": {"usd_per_hour": 3, "spot": {"lasts": "5m", "away": 90}}},
            {"name": "own", "devices_per_node": 1},
        ],
    },
}


def test_the_cost_of_shared_spot_devices_is_that_of_the_summary():
    made = tc.run(PRICED, on="sim")
    spent, summary = occupancy(made), made.summary
    seconds = {kind: spent.until(rates)[-1] for kind, rates in spent.devices.items()}
    assert sum(seconds.get(kind, 0.0) for kind in WORK) == pytest.approx(summary["device_s"])
    assert seconds["down"] == pytest.approx(summary["down_s"]) != 0.0
    assert sum(spent.until(rates)[-1] for rates in spent.usd_per_s.values()) == pytest.approx(summary["usd"])
    figure = made.plot.cost()
    assert figure.axes[2].get_ylabel() == "USD so far"
    assert says(figure, "without a price, left out: own")
    assert says(figure, f"{summary['usd']:,.4g} USD")


@settings(max_examples=25, derandomize=True, deadline=None)
@given(configs(), faults())
def test_at_each_moment_every_device_does_something(config, broken):
    made = simulate(config, wrap=breaking(broken)).run
    spent = occupancy(made)
    if spent.devices:
        assert list(spent.devices) == [kind for kind in KINDS if kind in spent.devices]
        assert sum(spent.devices.values()) == pytest.approx(made.config.cluster.num_devices)
        held_s = sum(spent.until(rates)[-1] for kind, rates in spent.devices.items() if kind in WORK)
        assert held_s == pytest.approx(made.summary["device_s"])


@settings(max_examples=25, derandomize=True, deadline=None)
@given(configs(), faults())
def test_distributions_of_freshness_are_those_of_the_summary(config, broken):
    made = simulate(config, wrap=breaking(broken)).run
    latency_s, counts = incorporation_latencies(made.tables)
    stale_s, shares = staleness_shares(made.tables, made.header["makespan_s"])
    summary = made.summary
    assert counts.sum() + summary["not_incorporated"] == summary["samples"]
    assert (np.diff(latency_s) >= 0).all()
    if summary["incorporation_p99_s"] is not None:
        assert summary["incorporation_p99_s"] in latency_s
    if summary["staleness_s"] is None:
        assert not len(stale_s)
    else:
        assert (np.diff(shares) >= 0).all()
        assert (shares[0], shares[-1], stale_s[-1]) == pytest.approx((0.0, 1.0, summary["staleness_max_s"]))
        mean = np.sum(np.diff(shares) * (stale_s[1:] + stale_s[:-1]) / 2)
        assert mean == pytest.approx(summary["staleness_s"])


def test_too_many_changes_are_shown_as_means(tmp_path):
    held_s = np.arange(0.0, 100.0, 0.1)
    holdings = [held(f"/h{i}", max(at - 0.2, 0.0), at, at + 0.05) for i, at in enumerate(held_s.tolist())]
    made = run(devices=holdings)
    assert not occupancy(made).is_exact
    assert occupancy(made).until(occupancy(made).devices["other"])[-1] == pytest.approx(0.05 * len(held_s))
    for figure in (made.plot.cost(), made.plot.queue()):
        assert says(figure, "too many changes to tell apart: means")
        save(figure, tmp_path / "many.svg")
        assert (tmp_path / "many.svg").stat().st_size < 2_000_000


def test_freshness_names_its_percentiles(demo):
    figure, summary = demo.plot.freshness(), demo.summary
    assert says(figure, f"95 %: {summary['incorporation_p95_s']:.3g} s")
    assert says(figure, f"mean {summary['staleness_s']:.3g} s, largest {summary['staleness_max_s']:.3g} s")
    assert says(figure, "247 more never got into a model")
    assert set(keys(figure)) == {"data incorporation latency", "staleness", "50 %", "95 %", "99 %"}


def test_freshness_says_what_its_mode_leaves_out():
    live = {**PRICED, "mode": "live", "batching": {"kind": "time", "seconds": 10}}
    assert says(tc.run(live, on="sim").plot.freshness(), "live: counted from when a batch is cut")


def test_the_queue_tells_who_waited_and_how_busy_the_devices_were(demo):
    figure = demo.plot.queue()
    assert {"training", "evaluation", "mean utilisation"} == set(keys(figure))
    assert says(figure, f"mean {demo.summary['utilisation']:.0%}")
    assert [axes.get_ylabel().split(",")[0] for axes in figure.axes] == ["waiting", "utilisation"]


@pytest.mark.parametrize("variant", ["seed", "sequential", "overlapped"])
def test_every_stage_run_has_its_place_in_the_graph(variant):
    made = tc.run(DEMO, on="sim", overrides=[f"variant={variant}", "data.limit=6000"])
    known = dict(stages(graph_of(made)))
    for id_, stage in made.stage_runs.select("id", "stage").iter_rows():
        assert known[path_of(id_)].operation == stage


def test_the_stage_that_took_longest_has_the_strongest_colour(demo):
    figure = demo.plot.stage_graph()
    total = sum(demo.summary["stage_s"].values())
    share = demo.summary["stage_s"]["WAIT_FOR_TRAINING_COMPLETION"] / total
    assert says(figure, f"0 to {share:.0%} of the time spent in stages")
    assert figure._repr_png_().startswith(b"\x89PNG")


def test_what_stands_side_by_side_differs_without_colour():
    looks = {kind: (grey(PAINTS[kind].fill), PAINTS[kind].hatch) for kind in KINDS}
    for kind, (brightness, hatch) in looks.items():
        for other, (other_brightness, other_hatch) in looks.items():
            assert kind == other or hatch != other_hatch or abs(brightness - other_brightness) > 0.2


def grey(color: str) -> float:
    return float(np.dot(to_rgb(color), (0.299, 0.587, 0.114)))


def test_a_model_that_was_never_active_has_no_frame():
    figure = run(
        batches=[batch(0, 40, 39.0)],
        triggers=[trigger(0, 0, 5.0), trigger(1, 6.0, 30.0)],
        models=[model(0, 0, 5), model(1, 6, 30)],
        evaluations=[score(0, 10, 20, 0.5), score(1, 10, 20, 0.9)],
    ).plot.heat_map()
    frames = [each for each in figure.axes[0].patches if isinstance(each, Rectangle)]
    assert {0 <= frame.get_y() < 1 for frame in frames} >= {True}
    assert any(frame.get_x() == 10 for frame in frames)
