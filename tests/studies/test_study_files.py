"""What a study's file may say, what its variants are, and what is said of one that is wrong."""

from __future__ import annotations

import json
import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from small_studies import BASE, study

from experiments.axes import Draw
from experiments.results import plan
from experiments.study import dump_study, load_study
from experiments.variants import drawn, variants
from twinclock.errors import ConfigError


def labels(**changes) -> list[str]:
    return [variant.label for variant in variants(load_study(study(**changes)))]


def test_axes_multiply_and_an_axis_can_be_for_some_levels_of_another_only():
    found = variants(load_study(study()))
    assert [each.label for each in found] == ["amount · n=400", "amount · n=500", "amount · n=1000", "time"]
    assert [dict(each.levels) for each in found][-2:] == [{"policy": "amount", "n": 1000}, {"policy": "time"}]
    assert found[0].values(load_study(study()))["trigger"] == {"kind": "amount", "n": 400}
    assert found[-1].values(load_study(study()))["trigger"] == {"kind": "time", "every": "6h"}


def test_the_first_axis_varies_slowest():
    first = {"kind": "grid", "key": "training.epochs", "values": [1, 2]}
    second = {"kind": "grid", "key": "cluster.devices", "name": "gpus", "values": [1, 4]}
    assert labels(axes=[first, second]) == [
        *("epochs=1 · gpus=1", "epochs=1 · gpus=4", "epochs=2 · gpus=1", "epochs=2 · gpus=4"),
    ]


def test_zipped_keys_vary_together():
    axis = {"kind": "zipped", "values": {"trigger.n": [500, 1000], "training.epochs": [2, 1]}}
    assert labels(axes=[axis]) == ["n=500 · epochs=2", "n=1000 · epochs=1"]


def test_keys_of_an_axis_that_end_alike_are_called_by_the_whole_of_them():
    axis = {"kind": "zipped", "values": {"cluster.devices": [1, 2], "training.devices": [1, 2], "trigger.n": [9, 8]}}
    (first, second) = variants(load_study(study(axes=[axis])))
    assert dict(first.levels) == {"cluster.devices": 1, "training.devices": 1, "n": 9}
    assert second.label == "cluster.devices=2 · training.devices=2 · n=8"


def test_random_points_are_spread_within_their_bounds_and_the_same_again():
    draws = {
        "trigger.n": {"low": 100, "high": 1000, "whole": True},
        "training.optimizer.lr": {"low": 1e-4, "high": 1e-1, "log": True},
    }
    axis = {"kind": "random", "num_points": 40, "draws": draws}
    found = variants(load_study(study(axes=[axis])))
    assert [each.label for each in found] == labels(axes=[axis])
    ns, rates = ([each.levels[name] for each in found] for name in ("n", "lr"))
    assert all(isinstance(n, int) and 100 <= n <= 1000 for n in ns)
    # a Latin hypercube: as many below the middle as above it, and the middle of a log range is the geometric one
    assert sum(n < 550 for n in ns) == 20
    assert sum(rate < math.sqrt(1e-4 * 1e-1) for rate in rates) == 20


@given(
    low=st.integers(1, 50), width=st.integers(1, 50), share=st.floats(0, 1, exclude_max=True),
    log=st.booleans(), whole=st.booleans(),
)  # fmt: skip
def test_draws_stay_within_their_bounds(low, width, share, log, whole):
    value = drawn(Draw(low=low, high=low + width, log=log, whole=whole), share)
    assert low * (1 - 1e-12) <= value <= (low + width) * (1 + 1e-12)
    assert isinstance(value, int) == whole


def test_whole_numbers_are_equally_likely():
    draw = Draw(low=1, high=4, whole=True)
    counts = [sum(drawn(draw, (share + 0.5) / 400) == n for share in range(400)) for n in (1, 2, 3, 4)]
    assert counts == [100, 100, 100, 100]


def test_without_axes_there_is_one_variant():
    assert labels(axes=[]) == ["small"]


def test_a_study_from_a_file_takes_its_base_from_beside_it(tmp_path):
    (tmp_path / "base.yaml").write_text(json.dumps(BASE))
    (tmp_path / "study.yaml").write_text(json.dumps({**study(), "base": "base.yaml"}))
    loaded = load_study(tmp_path / "study.yaml")
    assert loaded.base == BASE
    (tmp_path / "again.yaml").write_text(dump_study(loaded))
    assert load_study(tmp_path / "again.yaml") == loaded


def test_seeds_are_counted_from_nothing_or_named():
    assert load_study(study(seeds=3)).all_seeds == (0, 1, 2)
    assert load_study(study(seeds=[7, 3])).all_seeds == (7, 3)


def test_changes_come_before_what_is_varied():
    planned = plan(load_study(study(changes={"training.epochs": 9, "trigger.n": 1})))
    assert {each.config["training"]["epochs"] for each in planned} == {9}
    assert planned[0].config["trigger"]["n"] == 400


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"sedes": 3}, "sedes: unknown key"),
        ({"seeds": 0}, "seeds: got 0, expected how many seeds, a whole number > 0, or a list of them"),
        ({"seeds": [1, 1]}, "expected different whole numbers >= 0"),
        ({"seeds": float("nan")}, "seeds: got NaN, expected how many seeds"),
        ({"seeds": "many"}, 'seeds: got "many", expected how many seeds'),
        ({"seeds": [0, "x"]}, "expected different whole numbers >= 0"),
        ({"seeds": True}, "seeds: got true, expected how many seeds"),
        ({"metrics": ["accuracy", "-accuracy"]}, "expected each figure once"),
        ({"metrics": ["gpu seconds"]}, "got gpu seconds, expected a figure of a run, such as accuracy or -device_s"),
        ({"on": "moon"}, "no executor 'moon'; installed: ray, real, sim"),
        ({"timeout": 0}, "timeout: got 0, expected a number > 0"),
        ({"axes": [{"kind": "grid", "key": "trigger.n", "values": []}]}, "expected at least 1 item"),
        ({"axes": [{"kind": "grid", "key": "trigger..n", "values": [1]}]}, "axes.0.key: got \"trigger..n\""),
        ({"axes": [{"kind": "grid", "key": "trigger.n", "values": [5, 5]}]}, "two variants are called 'n=5'"),
        ({"axes": [{"kind": "grid", "key": "seed", "values": [5, 6]}]}, "got an axis called seed, expected another"),
        (
            {"axes": [{"kind": "grid", "key": "a.n", "values": [1]}, {"kind": "grid", "key": "b.n", "values": [1]}]},
            "axes.1: got an axis called n, expected a name of its own",
        ),
        (
            {"axes": [{"kind": "grid", "key": "trigger.n", "values": [1], "when": {"policy": "x"}}]},
            "axes.0.when: got policy, expected an earlier axis (there are: none: this is the first)",
        ),
        (
            {"axes": [{"kind": "zipped", "values": {"a": [1, 2], "b": [1]}}]},
            "got lists of different lengths (a has 2, b has 1), expected as many values for each",
        ),
        (
            {"axes": [{"kind": "random", "num_points": 2, "draws": {"a": {"low": 2, "high": 1}}}]},
            "high: got 1, expected a number > low, which is 2",
        ),
        (
            {"axes": [{"kind": "random", "num_points": 2, "draws": {"a": {"low": 0, "high": 1, "log": True}}}]},
            "low: got 0, expected a number > 0 with log",
        ),
    ],
)  # fmt: skip
def test_a_wrong_study_is_one_line(changes, told):
    with pytest.raises(ConfigError) as raised:
        plan(load_study(study(**changes)))
    assert told in str(raised.value)
    assert "\n" not in str(raised.value)


def test_wrong_files_are_one_line(tmp_path):
    with pytest.raises(ConfigError, match="no such file, expected a study in YAML"):
        load_study(tmp_path / "none.yaml")
    file = tmp_path / "config.yaml"
    file.write_text(json.dumps(BASE))
    with pytest.raises(ConfigError, match="this is a configuration, expected a study"):
        load_study(file)
    file.write_text("- 1")
    with pytest.raises(ConfigError, match=r"got \[1\], expected a mapping with name, base and axes"):
        load_study(file)
    file.write_text(json.dumps({**study(), "base": "gone.yaml"}))
    with pytest.raises(ConfigError, match=r"gone.yaml: no such file, expected a YAML configuration"):
        load_study(file)


def ids(**changes) -> list[str]:
    return [each.run for each in plan(load_study(study(**changes)))]


def test_an_id_stands_for_what_decides_the_result(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert ids() == ids(question="another", metrics=["-usd"], timeout="1h", name="other")
    assert len(set(ids())) == 8
    assert not set(ids()) & set(ids(changes={"training.epochs": 9}))
    assert ids(on="real") != ids(on="sim")


def test_an_id_changes_with_code_that_is_brought_along(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    policy = {"trigger": {"kind": "custom", "import": "brought_trigger:Mine"}}
    axes = [{"kind": "list", "name": "policy", "variants": {"mine": policy}}]
    (tmp_path / "brought_trigger.py").write_text("class Mine: pass")
    before = ids(axes=axes)
    (tmp_path / "brought_trigger.py").write_text("class Mine: 'changed'")
    assert ids(axes=axes) != before


def test_an_id_changes_with_the_data(tmp_path):
    import polars as pl

    def written(value: float) -> list[str]:
        pl.DataFrame({"t": [0.0, 1.0], "x": [value, 1.0], "y": [0, 1]}).write_parquet(tmp_path / "data.parquet")
        data = {
            "kind": "table",
            "path": str(tmp_path / "data.parquet"),
            "time": "t",
            "label": "y",
            "features": {"numeric": ["x"]},
        }
        return ids(base={**BASE, "data": data})

    assert written(1.0) == written(1.0) != written(2.0)


@settings(max_examples=20, deadline=None)
@given(st.lists(st.tuples(st.integers(1, 5), st.booleans()), min_size=1, max_size=3))
def test_there_are_as_many_variants_as_the_axes_multiply_to(shape):
    axes, expected = [], 1
    for number, (size, conditional) in enumerate(shape):
        when = {"k0": 0} if conditional and number > 0 else {}
        axes.append({"kind": "grid", "key": f"x.k{number}", "values": list(range(size)), "when": when})
        first = shape[0][0]
        if not when:
            expected *= size
    with_condition = math.prod(size for number, (size, c) in enumerate(shape) if number > 0 and c)
    plain = expected // first
    assert len(labels(axes=axes)) == plain * (with_condition + first - 1)
