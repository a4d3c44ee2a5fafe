from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import matplotlib
import numpy as np
import polars as pl
import pytest
from handmade import batch, held, model, run, score, stage_run, tables, together, training, trigger
from hypothesis import given
from hypothesis import strategies as st
from matplotlib.text import Text

from twinclock._chart import duration, spread
from twinclock._lanes import Spans, at_once, device_lanes, mean_at_once, merged, stage_lanes
from twinclock.errors import UserError
from twinclock.launch import run as launch
from twinclock.plots import save
from twinclock.result import Run

CONFIG = {
    "name": "demo",
    "trigger": {"kind": "amount", "n": 400},
    "data": {"kind": "table", "dataset": "portal_rodents", "limit": 2000},
    "evaluation": {"plans": [{"kind": "slicing", "every": "60d"}]},
}
TRAINED = {"evaluation": {"plans": [{"kind": "slicing", "every": 10, "models": "trained"}]}}
LIVE = {"mode": "live", "live": {"speed_up": 1e7}}
EVALUATION = "/evaluate#0/WAIT_FOR_EVALUATION_COMPLETION#0"


@pytest.fixture(scope="module")
def demo():
    return launch(CONFIG, on="sim")


def texts(figure) -> list[str]:
    return [text.get_text() for text in figure.findobj(Text) if text.get_visible()]


def lanes(figure) -> list[str]:
    return [label.get_text() for label in figure.axes[0].get_yticklabels()]


def keys(figure) -> list[str]:
    return [text.get_text() for text in figure.legends[0].get_texts()]


def test_neither_importing_nor_drawing_chooses_a_backend():
    code = """
import sys
import twinclock.plots
assert not any(name.startswith("matplotlib") for name in sys.modules)
sys.path.insert(0, "tests")
from handmade import run, training
plots = twinclock.plots.RunPlots(run(**training(0, 0, 1, 2)))
plots.timeline(); plots.accuracy()
assert "matplotlib.figure" in sys.modules and "matplotlib.pyplot" not in sys.modules
"""
    subprocess.run([sys.executable, "-c", code], check=True, cwd=Path(__file__).parent.parent)


@pytest.mark.parametrize("more", [{"variant": "seed"}, {"variant": "sequential"}, {"variant": "overlapped", **LIVE}])
def test_every_variant_and_mode_can_be_drawn(more, tmp_path):
    done = launch({**CONFIG, **more}, on="sim")
    timeline, accuracy = done.plot.timeline(), done.plot.accuracy()
    assert tuple(timeline.get_size_inches() * timeline.dpi) == (1600, 900)
    assert {"triggers", "sim:0", "ingest, decide", "train", "store", "evaluate"} <= set(lanes(timeline))
    assert ("wait for data" in lanes(timeline)) == (done.config.mode == "live")
    assert {"accuracy, level on each interval", "trigger (its last sample)", "no active model"} <= set(keys(accuracy))
    for figure in (timeline, accuracy):
        save(figure, tmp_path / "picture.png")
        assert (tmp_path / "picture.png").read_bytes().startswith(b"\x89PNG")


def test_the_accuracy_names_its_mean_and_has_a_calendar(demo):
    figure = demo.plot.accuracy()
    summary = demo.summary
    assert any(f"mean {summary['accuracy']:.3f}" in text for text in texts(figure))
    assert any(f"{summary['accuracy_left_out']:.1%} is left out" in text for text in texts(figure))
    assert figure.axes[0].get_xlabel() == "data time (UTC)"
    figure.canvas.draw()
    assert "1978" in [label.get_text() for label in figure.axes[0].get_xticklabels()]


def test_data_time_that_is_no_calendar_stays_a_number():
    plan = {"kind": "static", "intervals": [[10, 20], [25, 30]]}
    figure = run(
        config={"evaluation": {"plans": [plan]}},
        batches=[batch(0, 9, 30.0)],
        models=[model(0, 0, 9)],
        evaluations=[score(0, 10, 20, 0.5), score(0, 25, 30, 0.7)],
    ).plot.accuracy()
    assert figure.axes[0].get_xlabel() == "data time (s)"
    level = figure.axes[0].get_lines()[0]
    x, y = np.asarray(level.get_xdata()), np.asarray(level.get_ydata())
    assert x[~np.isnan(x)].tolist() == [10, 20, 25, 30]
    assert np.isnan(x[2]), "intervals that do not touch are not joined"
    assert y[[0, 1, 3, 4]].tolist() == [0.5, 0.5, 0.7, 0.7]
    assert {"no active model", "not scored: no samples, or not evaluated"} <= set(keys(figure))


def test_intervals_that_overlap_are_levels_of_their_own():
    plan = {"kind": "periodic", "every": 10, "half": 8, "from": 10, "to": 30}
    scores = [score(0, 2, 18, 0.5), score(0, 12, 28, 0.7), score(1, 22, 38, 0.9)]
    made = run(
        config={"evaluation": {"plans": [plan]}},
        batches=[batch(0, 40, 39.0)],
        models=[model(0, 0, 3), model(1, 4, 25)],
        evaluations=scores,
    )
    axes = made.plot.accuracy().axes[0]
    level, news, *_ = axes.get_lines()
    x, y = np.asarray(level.get_xdata()), np.asarray(level.get_ydata())
    assert x[~np.isnan(x)].tolist() == [2, 18, 12, 28, 22, 38]
    assert np.isnan(x[[2, 5]]).all(), "one does not lead into the next"
    assert y[[0, 1, 3, 4, 6, 7]].tolist() == [0.5, 0.5, 0.7, 0.7, 0.9, 0.9]
    assert np.asarray(news.get_xdata()).tolist() == [2, 22]
    mean = next(
        line for line in axes.get_lines() if line.get_label() != level.get_label() and line.get_linestyle() == "--"
    )
    assert np.asarray(mean.get_ydata())[0] == pytest.approx((0.5 + 0.7 + 0.9) / 3)


def test_intervals_that_share_a_timestamp_are_joined():
    made = run(
        config={"evaluation": {"plans": [{"kind": "between_triggers"}]}},
        batches=[batch(0, 40, 30.0)],
        models=[model(0, 0, 9), model(1, 9.5, 20), model(2, 20.5, 30)],
        evaluations=[score(0, 9.5, 21, 0.5), score(1, 20.5, 31, 0.7)],
    )
    level = made.plot.accuracy().axes[0].get_lines()[0]
    assert np.asarray(level.get_xdata())[:5].tolist() == [9.5, 21, 20.5, 20.5, 31]
    assert np.asarray(level.get_ydata())[:5].tolist() == [0.5, 0.5, 0.7, 0.7, 0.7]
    assert made.summary["accuracy_left_out"] == pytest.approx(10 / (10 + 11.5 + 10.5))


@pytest.mark.parametrize("suffix", [".svg", ".png", ".pdf"])
def test_the_same_run_gives_the_same_bytes_whatever_the_user_has_set(demo, tmp_path, suffix):
    files = [tmp_path / f"{name}{suffix}" for name in "abcd"]
    save(demo.plot.timeline(), files[0])
    save(demo.plot.accuracy(), files[1])
    with matplotlib.rc_context({"font.size": 30, "svg.hashsalt": None, "axes.facecolor": "red"}):
        save(demo.plot.timeline(), files[2])
        save(demo.plot.accuracy(), files[3])
    assert files[0].read_bytes() == files[2].read_bytes()
    assert files[1].read_bytes() == files[3].read_bytes()


def test_a_picture_that_cannot_be_written_is_the_users_error(demo, tmp_path):
    figure = demo.plot.accuracy()
    with pytest.raises(UserError, match=r"picture\.gif: got a picture's suffix '\.gif', expected \.png, \.svg, \.pdf"):
        save(figure, tmp_path / "picture.gif")
    with pytest.raises(UserError, match="can't be written"):
        save(figure, tmp_path / "no such folder" / "picture.png")


def test_figures_show_themselves_in_a_notebook(demo):
    assert demo.plot.timeline()._repr_png_().startswith(b"\x89PNG")


@pytest.mark.parametrize(
    ("made", "said"),
    [
        (run(), "no model was stored"),
        (run(config={"evaluation": {}}), "no evaluation plan"),
        (run(config=TRAINED), "no evaluation plan asks for the active"),
        (run(models=[model(0, 0, 9)]), "no evaluation has ended"),
        (run(models=[model(0, 0, 9)], evaluations=[score(0, 10, 20, 0.5, metric="auc")]), "metrics of this run: auc"),
        (run(models=[model(0, 0, 9)], evaluations=[score(0, 10, 20, None)]), "no interval that was evaluated"),
        (run(models=[model(0, 0, 9)], evaluations=[score(0, 5, 20, 0.4)]), "no interval that was evaluated"),
    ],
)  # fmt: skip
def test_the_accuracy_picture_says_why_there_is_none(made, said, tmp_path):
    figure = made.plot.accuracy()
    assert any(said in text for text in texts(figure))
    save(figure, tmp_path / "none.png")


def test_a_run_without_a_stage_run_says_so():
    assert any("no stage run has ended" in text for text in texts(run().plot.timeline()))


def test_a_run_without_triggers_says_so():
    said = texts(run(stage_runs=[stage_run("INIT", 0, 1)]).plot.timeline())
    assert {"no trigger fired", "no device was used"} <= set(said)


def test_a_run_that_failed_or_did_not_finish_says_so():
    stage = [stage_run("INIT", 0, 1)]
    failed = run(header={"outcome": "failed", "error": "disk $full$\nindeed"}, stage_runs=stage)
    assert any("failed: disk $full$ indeed" in text for text in texts(failed.plot.timeline()))
    running = run(header={"state": "running", "outcome": None, "makespan_s": None}, stage_runs=stage)
    assert any("not finished, state: running" in text for text in texts(running.plot.timeline()))


def test_the_timeline_tells_apart_what_devices_were_held_for():
    made = together(
        training(0, 0, 0, 40),
        training(1, 10, 40, 60, "superseded"),
        {
            "stage_runs": [stage_run("WAIT_FOR_EVALUATION_COMPLETION", 60, 80, id=EVALUATION, trigger=1)],
            "devices": [held(EVALUATION, 50, 60, 80), held("/OBSERVE#0", 80, 80, 90, unit="sim:10")],
            "triggers": [trigger(0, 0.0, 1.0), trigger(1, 1.0, 2.0, 10.0), trigger(2, None, None, 90.0)],
            "faults": [{"id": "/x", "at_s": 5.0}],
            "decisions": [{"verdict": "dropped", "decided_s": 20.0}],
        },
    )
    figure = run(config={"cluster": {"devices": 3}}, **made).plot.timeline()
    assert lanes(figure) == [
        "triggers", "sim:0", "sim:10", "other device", "training queue", "train", "evaluation queue", "evaluate",
        "faults",
    ]  # fmt: skip
    assert set(keys(figure)) == {
        "trigger", "trigger without samples", "trigger dropped", "training", "stopped or failed", "evaluation",
        "other work on a device", "queued (height: how many)", "fault",
    }  # fmt: skip
    said = texts(figure)
    assert {"80 s held, 80%", "10 s held, 10%", "never used", "30 s, at most 1", "3 fired, 1 dropped"} <= set(said)
    assert said.count("0") >= 2, "trigger 0 over its tick, and in its training"


def test_devices_come_in_the_order_of_their_numbers():
    made = tables(devices=[held(f"/h{n}", 0, 0, 1, unit=f"sim:{n}") for n in (10, 2, 1)])
    assert [lane.unit for lane in device_lanes(made)] == ["sim:1", "sim:2", "sim:10"]


def test_triggers_that_fire_at_once_share_a_label():
    triggers = [trigger(serial, 0.0, 1.0, 1 + serial / 1000) for serial in range(17)]
    figure = run(stage_runs=[stage_run("INIT", 0, 1)], triggers=triggers).plot.timeline()
    assert "0–16" in texts(figure)


@pytest.mark.parametrize("num_devices", [1, 3, 100])
def test_a_hundred_thousand_stage_runs_make_a_small_picture(num_devices, tmp_path):
    num = 25_000
    serials = np.arange(num)
    granted = serials // num_devices * 4.0
    place = pl.Series([f"/on_device{serial}" for serial in serials])
    of_a_stage = pl.DataFrame(
        {"id": place, "parent": place, "trigger": serials, "started_s": granted, "ended_s": granted + 3}
    )
    stages = ("RUN_TRAINING", "WAIT_FOR_TRAINING_COMPLETION", "STORE_TRAINED_MODEL", "HANDLE_NEW_DATA")
    unit = [f"sim:{serial % num_devices}" for serial in serials]
    made = run(header={"makespan_s": float(granted[-1] + 4)}, config={"cluster": {"devices": num_devices}})
    filled = {
        "stage_runs": pl.concat([of_a_stage.with_columns(stage=pl.lit(stage)) for stage in stages]),
        "trainings": pl.DataFrame({"id": place, "outcome": ["trained"] * num}),
        "triggers": pl.DataFrame({"trigger": serials, "fired_s": granted, "num_samples": serials}),
        "devices": pl.DataFrame({"holder": place, "unit": unit, "requested_s": granted - 3, "granted_s": granted})
        .with_columns(resource=pl.lit("device"), released_s=pl.col("granted_s") + 3),
    }  # fmt: skip
    every = {name: pl.concat([made.tables[name], table], how="diagonal") for name, table in filled.items()}
    figure = Run(made.config, made.header, {**made.tables, **every}).plot.timeline()
    save(figure, tmp_path / "many.svg")
    assert (tmp_path / "many.svg").stat().st_size < 2_000_000
    assert any(text.startswith("too many to tell apart") for text in texts(figure))


spans = st.lists(st.tuples(st.integers(0, 50), st.integers(0, 20)), min_size=1, max_size=30).map(
    lambda pairs: Spans(*np.array(sorted((s, s + n) for s, n in pairs), float).T)
)


@given(spans)
def test_merged_spans_cover_the_same_and_lie_apart(each):
    joined = merged(each)
    assert (joined.starts[1:] > joined.ends[:-1]).all()
    covered = {t for s, e in zip(each.starts, each.ends, strict=True) for t in range(int(s), int(e))}
    assert joined.total_s == len(covered)


@given(spans)
def test_heights_have_the_area_of_what_they_stand_for(each):
    edges, counts = at_once(each)
    assert np.sum(counts * np.diff(edges)) == pytest.approx(each.total_s)
    for t in np.arange(0.5, 70):
        alive = np.sum((each.starts <= t) & (t < each.ends))
        inside = len(counts) and edges[0] <= t < edges[-1]
        assert alive == (counts[np.searchsorted(edges, t) - 1] if inside else 0)
    bins = np.linspace(0, 70, 8)
    assert np.sum(mean_at_once(each, bins) * np.diff(bins)) == pytest.approx(each.total_s)


def test_nothing_at_all_has_no_lanes():
    assert stage_lanes(tables()) == []
    assert device_lanes(tables()) == []
    nothing = Spans(np.array([]), np.array([]))
    assert merged(nothing).total_s == 0
    assert mean_at_once(nothing, np.array([0.0, 1.0])).tolist() == [0.0]


@given(st.lists(st.floats(0, 1000), max_size=50), st.floats(0.1, 300))
def test_spread_labels_keep_apart(places, gap):
    at = np.array(sorted(places))
    chosen = spread(at, gap)
    assert (np.diff(at[chosen]) >= gap * (1 - 1e-9)).all()
    assert chosen[:1] == [0][: len(at)]


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.0, "0 s"), (0.0123, "12.3 ms"), (41.08, "41.1 s"), (342.4, "342 s"), (3974.0, "66.2 min"), (5e6, "57.9 days")],
)
def test_durations_have_three_figures(seconds, text):
    assert duration(seconds) == text
