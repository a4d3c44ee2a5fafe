from __future__ import annotations

import io
import os
import random
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from xml.etree import ElementTree

import pytest
from strategies import sound_graph

from twinclock._drawing.layout import lay_out
from twinclock._drawing.shapes import (
    NAME_SIZE,
    SMALL_SIZE,
    TITLE_SIZE,
    Bar,
    Block,
    Box,
    Dot,
    Frame,
    Label,
    Stroke,
)
from twinclock.graph import Flow, ForEach, Node, Scope, Spawn, Stage, leave, stages
from twinclock.picture import draw, save_graph
from twinclock.pipeline import VARIANTS, GraphOptions, build_graph

Rectangle = tuple[float, float, float, float]

DRAW_SVG = """
import sys
from twinclock.picture import save_graph
from twinclock.pipeline import GraphOptions, build_graph
save_graph(build_graph(GraphOptions(variant="overlapped")), sys.stdout.buffer, "svg", show_data=True, title="twice")
"""


def measure(text: str, size: float, bold: bool) -> float:
    return len(text) * size * (0.68 if bold else 0.6)


def boxes(block: Block) -> list[Box]:
    return [shape for shape in block.shapes if isinstance(shape, Box)]


def texts(block: Block) -> list[str]:
    labels = [shape.text for shape in block.shapes if isinstance(shape, Label)]
    return labels + [line for box in boxes(block) for line in ("".join(box.names), *box.notes)]


def solids(block: Block) -> Iterator[tuple[Rectangle, Box | Label]]:
    """The areas that nothing else may touch: boxes, and the letters of labels."""
    for shape in block.shapes:
        if isinstance(shape, Box):
            yield (shape.x, shape.y, shape.x + shape.width, shape.y + shape.height), shape
        elif isinstance(shape, Label) and shape.text:
            size = TITLE_SIZE if shape.style == "title" else SMALL_SIZE
            width = measure(shape.text, size, shape.style == "title")
            yield (shape.x, shape.y + 0.25 * size, shape.x + width, shape.y + 1.1 * size), shape


def overlap(a: Rectangle, b: Rectangle) -> bool:
    slack = 0.5
    return a[0] < b[2] - slack and b[0] < a[2] - slack and a[1] < b[3] - slack and b[1] < a[3] - slack


def collisions(block: Block) -> list[tuple[object, object]]:
    found: list[tuple[object, object]] = []
    areas = list(solids(block))
    for i, (area, shape) in enumerate(areas):
        found += [(shape, other) for other_area, other in areas[:i] if overlap(area, other_area)]
    for stroke in block.shapes:
        if isinstance(stroke, Stroke):
            for (x0, y0), (x1, y1) in zip(stroke.points, stroke.points[1:], strict=False):
                line = (min(x0, x1), min(y0, y1), max(x0, x1), max(y0, y1))
                found += [(stroke, shape) for area, shape in areas if overlap(line, area)]
    return found


@pytest.mark.parametrize("show_data", [False, True])
@pytest.mark.parametrize("variant", VARIANTS)
def test_in_a_pipeline_nothing_lies_on_anything_else(variant: str, show_data: bool) -> None:
    root = build_graph(GraphOptions(variant=variant))  # type: ignore[arg-type]  # parametrized over the literals
    block = lay_out(root, measure, show_data=show_data)
    assert collisions(block) == []
    assert {shape.kind for shape in boxes(block)} >= {"decide", "work", "wait"}


@pytest.mark.parametrize("seed", range(40))
def test_in_any_sound_graph_nothing_lies_on_anything_else(seed: int) -> None:
    block = lay_out(sound_graph(random.Random(seed)), measure)
    assert collisions(block) == []
    for shape in block.shapes:
        if isinstance(shape, Frame | Box):
            assert 0 <= shape.x <= shape.x + shape.width <= block.width + 0.01
            assert 0 <= shape.y <= shape.y + shape.height <= block.height + 0.01


@pytest.mark.parametrize("variant", VARIANTS)
def test_every_stage_is_drawn_once(variant: str) -> None:
    root = build_graph(GraphOptions(variant=variant))  # type: ignore[arg-type]  # as above
    drawn = ["".join(box.names) for box in boxes(lay_out(root, measure)) if box.kind in ("decide", "work", "wait")]
    assert sorted(drawn) == sorted({stage.operation for _, stage in stages(root)})


def test_spawned_work_stands_in_a_frame_of_its_own_and_comes_to_the_bar_of_its_scope() -> None:
    block = lay_out(build_graph(GraphOptions(variant="seed")), measure)
    (spawned,) = [shape for shape in block.shapes if isinstance(shape, Frame) and shape.style == "spawned"]
    (join,) = [shape for shape in block.shapes if isinstance(shape, Label) and shape.text.startswith("JOIN")]
    bar = min((shape for shape in block.shapes if isinstance(shape, Bar)), key=lambda bar: abs(bar.y - join.y))
    lines = [shape for shape in block.shapes if isinstance(shape, Stroke) and shape.style == "parallel"]
    assert any(spawned.x < x < spawned.x + spawned.width and y == spawned.y for *_, (x, y) in map(points, lines))
    assert any(bar.x < x < bar.x + bar.width and y == pytest.approx(bar.y) for *_, (x, y) in map(points, lines))
    assert bar.y > spawned.y + spawned.height


def points(stroke: Stroke) -> tuple[tuple[float, float], ...]:
    return stroke.points


def test_what_is_not_spawned_has_no_such_frame_and_no_join() -> None:
    block = lay_out(build_graph(GraphOptions(variant="sequential")), measure)
    assert not any(isinstance(shape, Frame) and shape.style == "spawned" for shape in block.shapes)
    assert not any(text.startswith("JOIN") for text in texts(block))


def for_each(limit: int | None) -> ForEach:
    return ForEach(over="xs", item="x", body=Stage(kind="work", operation="A"), limit=limit)


@pytest.mark.parametrize(("limit", "words"), [(None, "all at once"), (3, "at most 3 at once")])
def test_copies_side_by_side_are_a_stack_between_two_bars(limit: int | None, words: str) -> None:
    block = lay_out(for_each(limit), measure)
    assert [shape.style for shape in block.shapes if isinstance(shape, Frame)] == ["plain", "stack"]
    assert sum(isinstance(shape, Bar) for shape in block.shapes) == 2
    assert f"for each x in xs ({words})" in " ".join(texts(block))


def test_one_copy_at_a_time_is_a_loop() -> None:
    block = lay_out(for_each(1), measure)
    assert not any(isinstance(shape, Bar) for shape in block.shapes)
    assert {"next x?", "yes", "no"} <= set(texts(block))
    assert "for each x in xs (one at a time)" in " ".join(texts(block))
    assert any(stroke.points[-1][1] < stroke.points[0][1] for stroke in block.shapes if isinstance(stroke, Stroke))


def test_the_labels_say_what_is_held_and_which_way_out() -> None:
    shown = texts(lay_out(build_graph(), measure))
    assert {"holds 1 device", "wait · holds 1 device", "finally: on every way out", "end, stop", "failed"} <= set(shown)


def test_data_is_shown_when_asked_for() -> None:
    without, with_data = (" ".join(texts(lay_out(build_graph(), measure, show_data=show))) for show in (False, True))
    assert "reads chunk, batch, observation" not in without
    assert "reads chunk, batch, observation" in with_data
    assert "∘active_model" in with_data


def test_time_spent_adds_up_where_equal_composites_are_drawn() -> None:
    live, replay = "/pipeline/wait_for_new_data", "/pipeline/replay_data"
    spent = {
        "/INIT": 10.0,
        f"{replay}/new_data/HANDLE_NEW_DATA": 20.0,
        f"{live}/new_data/HANDLE_NEW_DATA": 50.0,
        f"{live}/FETCH_NEW_DATA": 20.0,
    }
    block = lay_out(build_graph(), measure, time_spent=spent)
    shares = {"".join(box.names): box.share for box in boxes(block)}
    notes = {"".join(box.names): box.notes for box in boxes(block)}
    assert shares["INIT"] == pytest.approx(0.1)
    assert shares["HANDLE_NEW_DATA"] == pytest.approx(0.7)
    assert shares["EXIT"] == 0.0
    assert "70 s, 70.0%" in notes["HANDLE_NEW_DATA"]
    assert "50 s, 50.0%" in notes["new_data"]
    assert sum(text == "70 s" for text in texts(block)) == 2, "new_data where it is drawn, and wait_for_new_data"


def test_time_spent_in_a_stage_that_is_not_there_is_an_error() -> None:
    with pytest.raises(ValueError, match=r"time_spent: '/NOWHERE' is not the path of a stage"):
        draw(build_graph(), time_spent={"/NOWHERE": 1.0})


@pytest.mark.parametrize(
    "root",
    [
        Stage(kind="wait", operation="ALONE"),
        for_each(1),
        for_each(2),
        Scope(body=Spawn(body=for_each(2), on_failure="fail")),
        ForEach(over="ys", item="y", body=Scope(body=ForEach(over="zs", item="z", body=Spawn(body=for_each(1))))),
        Flow(start="a", steps={"a": for_each(2)}, edges={"a": {"done": leave("done"), "failed": "a"}}, timeout_s=9),
    ],
    ids=["stage", "loop", "copies", "spawn", "nested", "retrying"],
)
def test_any_node_can_be_the_root(root: Node) -> None:
    assert collisions(lay_out(root, measure, show_data=True)) == []
    assert draw(root, time_spent={}).get_size_inches()[0] > 0


def test_the_start_and_every_end_are_marked() -> None:
    root = Flow(
        start="a",
        steps={"a": Stage(kind="decide", operation="a", outcomes={"yes": (), "no": ()})},
        edges={"a": {"yes": leave("good"), "no": leave("bad")}},
    )
    block = lay_out(root, measure)
    assert sorted(shape.style for shape in block.shapes if isinstance(shape, Dot)) == ["end", "end", "start"]
    assert {"yes", "no", "good", "bad"} <= set(texts(block))


def test_the_same_graph_gives_the_same_bytes_in_every_process() -> None:
    def drawn(hash_seed: str) -> bytes:
        environment = {**os.environ, "PYTHONHASHSEED": hash_seed}
        run = subprocess.run([sys.executable, "-c", DRAW_SVG], capture_output=True, check=True, env=environment)
        return run.stdout

    first = drawn("1")
    ElementTree.fromstring(first)
    assert first == drawn("2")


def test_a_picture_is_written_to_a_file_or_a_buffer(tmp_path: Path) -> None:
    save_graph(for_each(2), tmp_path / "graph.png", "png")
    buffer = io.BytesIO()
    save_graph(for_each(2), buffer, "png")
    assert buffer.getvalue().startswith(b"\x89PNG")
    assert buffer.getvalue() == (tmp_path / "graph.png").read_bytes()
    with pytest.raises(ValueError, match="unknown picture format 'gif'"):
        save_graph(for_each(2), buffer, "gif")


def test_letters_are_legible_at_1600_pixels() -> None:
    for variant in VARIANTS:
        width_points = 72 * draw(build_graph(GraphOptions(variant=variant))).get_size_inches()[0]
        pixels_per_point = 1600 / width_points
        assert SMALL_SIZE * pixels_per_point > 9
        assert NAME_SIZE * pixels_per_point > 11


def test_matplotlib_is_loaded_only_to_draw() -> None:
    code = "import sys, twinclock.picture, twinclock.render; sys.exit('matplotlib' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_a_graph_shows_itself_in_a_notebook():
    graph = build_graph()
    assert isinstance(graph, Flow)
    drawn = ElementTree.fromstring(graph._repr_svg_())
    assert drawn.tag.endswith("svg")


def test_a_graph_that_can_not_be_drawn_shows_its_text():
    stage = Stage(kind="decide", operation="A", outcomes={"done": ()})
    assert Flow(start="A", steps={"A": stage}, edges={"A": {"done": "B"}})._repr_svg_() is None
