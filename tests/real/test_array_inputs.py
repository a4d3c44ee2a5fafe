"""Columns of arrays, such as images: what models are given of them, and a network of a user's own that learns them."""

from __future__ import annotations

import dataclasses
import json
import math

import numpy as np
import polars as pl
import pytest
import torch
from real_samples import context, evaluation, stored
from small_cnn import SHAPE, image_file, images

from real.embedding import embed
from real.encoding import Encoding, fit_encoding
from real.evaluator import TorchEvaluator
from real.models import restored_model
from real.observer import wrong_answers
from real.trainer import TorchTrainer
from twinclock import Run, arrays
from twinclock.config import load_config
from twinclock.dataset import Columns, FeatureColumns, load_table
from twinclock.errors import ConfigError
from twinclock.launch import plan_run, run

IMAGES = Columns(time="t", label="y", features=FeatureColumns(arrays=("image",)))
MIXED = Columns(
    time="t", label="y", features=FeatureColumns(numeric=("a",), categorical=("c",), arrays=("image", "more"))
)
CNN = {"kind": "import", "path": "small_cnn:Cnn"}
LEARNING = {"epochs": 12, "batch_size": 32, "optimizer": {"kind": "adam", "lr": 0.02}}


def mixed(num_samples: int = 4) -> pl.DataFrame:
    more = np.arange(3.0 * num_samples).reshape(num_samples, 3)
    kinds = {"a": np.arange(float(num_samples)), "c": ["u", "v"] * (num_samples // 2), "more": pl.Series(more)}
    return images(num_samples).with_columns(**{name: pl.Series(values) for name, values in kinds.items()})


def fit(rows: pl.DataFrame, columns: Columns, start_from=None, **training):
    given = context(rows, start_from=start_from, **training)
    return stored(TorchTrainer().fit(dataclasses.replace(given, columns=columns)), model=training["model"])


def accuracy(model, rows: pl.DataFrame) -> float:
    scored = evaluation(model, rows, (0, rows.height), metrics=("accuracy",))
    return TorchEvaluator().evaluate(scored)[0]["value"]


def test_one_column_of_arrays_keeps_its_shape():
    rows = images(6)
    encoding = fit_encoding(rows, IMAGES)
    assert (encoding.num_inputs, encoding.input_shape) == (64, SHAPE)
    pixels = rows["image"].to_numpy().astype(float)
    (image,) = encoding.arrays
    assert (image.mean, image.std) == pytest.approx((pixels.mean(), pixels.std()))
    inputs = encoding.features(rows)
    assert inputs.dtype == np.float32
    assert inputs.shape == (6, *SHAPE)
    assert inputs == pytest.approx((pixels - pixels.mean()) / pixels.std(), abs=1e-5)
    assert encoding.features(rows.clear()).shape == (0, *SHAPE)
    assert Encoding.from_json(json.loads(json.dumps(encoding.to_json()))) == encoding


@pytest.mark.parametrize("way", ["one_hot", "codes"])
def test_with_other_columns_arrays_are_flattened_behind_the_numbers(way):
    rows = mixed()
    encoding = fit_encoding(rows, MIXED, categorical=way)
    num_before = {"one_hot": 3, "codes": 2}[way]
    assert encoding.input_shape == (encoding.num_inputs,) == (num_before + 64 + 3,)
    assert [each.at for each in encoding.arrays] == [num_before, num_before + 64]
    inputs = encoding.features(rows)
    alone = fit_encoding(rows, IMAGES).features(rows)
    assert (inputs[:, num_before : num_before + 64] == alone.reshape(4, -1)).all()
    more = rows["more"].to_numpy()
    assert inputs[:, -3:] == pytest.approx((more - more.mean()) / more.std(), abs=1e-6)
    gaps = rows.with_columns(a=pl.Series([None, 1.0, 2.0, 3.0]))
    grown = fit_encoding(gaps, MIXED, categorical=way, extending=encoding)
    assert grown.num_inputs == encoding.num_inputs + 1
    assert (grown.features(rows)[:, :-1] == inputs).all()


@pytest.mark.parametrize("values_a_block", [1, 100, 2**20])
def test_it_is_done_a_block_at_a_time(values_a_block, monkeypatch):
    rows = images(20)
    expected = fit_encoding(rows, IMAGES)
    monkeypatch.setattr(arrays, "_VALUES_A_BLOCK", values_a_block)
    encoding = fit_encoding(rows, IMAGES)
    (image,), (same,) = encoding.arrays, expected.arrays
    assert (image.mean, image.std) == pytest.approx((same.mean, same.std))
    assert np.array_equal(expected.features(rows), expected.features(pl.concat([rows.head(7), rows.tail(13)])))


@pytest.mark.parametrize(
    ("values", "mean", "std"),
    [
        ([[7, 7], [7, 7]], 7.0, 0.0),
        ([[1e308, -1e308], [1e308, -1e308]], 0.0, 1e308),
        ([[math.nan, 1.0], [3.0, math.inf]], 2.0, 1.0),
        ([[math.nan, None], None], 0.0, 0.0),
    ],
)
def test_wild_values_do_no_harm(values, mean, std):
    column = pl.Series("image", values, dtype=pl.Array(pl.Float64, 2))
    rows = pl.DataFrame([column, pl.Series("y", ["p", "q"])])
    encoding = fit_encoding(rows, IMAGES)
    (image,) = encoding.arrays
    assert (image.mean, image.std) == pytest.approx((mean, std))
    inputs = encoding.features(rows)
    assert np.isfinite(inputs).all()
    assert std > 0.0 or not inputs.any()


def test_arrays_of_another_shape_are_nothing_to_go_on_with():
    other = pl.DataFrame({"image": pl.Series(np.ones((2, 3))), "y": ["p", "q"]})
    with pytest.raises(ConfigError, match=r"arrays 'image' of shape \(1, 8, 8\), now it is \(3,\)"):
        fit_encoding(other, IMAGES, extending=fit_encoding(images(2), IMAGES))
    with pytest.raises(ConfigError, match="it had image and label y, now a, c, image, more and label y"):
        fit_encoding(mixed(), MIXED, extending=fit_encoding(images(2), IMAGES))


@pytest.mark.parametrize(
    "model", [{"kind": "logistic"}, {"kind": "mlp", "hidden": [16]}, {"kind": "mlp", "hidden": [4], "embedding": 2}]
)
def test_the_built_in_models_flatten(model):
    first = fit(images(200), IMAGES, model=model, epochs=2)
    assert restored_model(first)(torch.zeros(3, *SHAPE)).shape == (3, 2)
    again = fit(images(200, seed=1), IMAGES, start_from=first, model=model, epochs=1)
    assert again.encoding == first.encoding
    assert embed(first, images(5), "cpu:0").shape == (5, model.get("hidden", [64])[-1])
    together = fit(mixed(200), MIXED, model=model, epochs=1)
    assert 0.0 <= accuracy(together, mixed(40)) <= 1.0


def test_a_network_of_ones_own_learns_images_and_is_scored():
    model = fit(images(400), IMAGES, model=CNN, **LEARNING)
    later = images(3000, seed=1)
    assert accuracy(model, later) > 0.9
    scored = evaluation(model, later, (0, later.height))
    wrong = wrong_answers(model, scored.table, 0, later.height, "cpu:0")
    assert wrong.mean() == pytest.approx(1.0 - accuracy(model, later))
    assert embed(model, later, "cpu:0").shape == (later.height, 8)
    warm = fit(images(100, seed=2), IMAGES, start_from=model, model=CNN, epochs=1)
    assert accuracy(warm, later) > 0.9


def test_few_images_are_looked_at_together():
    encoding = fit_encoding(images(2), IMAGES)
    assert encoding.rows_at_once(65_536) == 2**20 // 64
    assert encoding.rows_at_once(10) == 10


def test_images_are_kept_by_their_embedding():
    model = fit(images(100), IMAGES, model=CNN, epochs=1, downsample={"kind": "k_center", "ratio": 0.2})
    assert model.encoding.input_shape == SHAPE


def test_a_whole_run_on_images(tmp_path):
    config = {
        "seed": 1,
        "data": image_file(tmp_path, 900),
        "trigger": {"kind": "amount", "n": 300},
        "training": {"model": CNN, "start_from": "active", **LEARNING},
        "evaluation": {"plans": [{"kind": "between_triggers", "models": "active"}]},
        "real": {"device": "cpu"},
    }
    run(config, on="real", out=tmp_path / "run")
    finished = Run.load(tmp_path / "run")
    assert (finished.outcome, finished.models.height) == ("done", 3)
    assert finished.evaluations["value"][-1] > 0.9


def configured(tmp_path, **sections):
    base = {"data": image_file(tmp_path, 300), "trigger": {"kind": "amount", "n": 100}}
    return load_config({**base, **sections})


def drift(**keys) -> dict:
    metrics = {"moved": {"kind": "mmd", "rule": {"kind": "static", "threshold": 0.1}}}
    windows = {"kind": "amount", "ref": 100, "cur": 100}
    return {"kind": "drift", "interval": 100, "metrics": metrics, "windows": windows, **keys}


@pytest.mark.parametrize(
    ("sections", "told"),
    [
        (
            {"trigger": drift()},
            "no feature of the data is numeric, and distances are between numbers; expected trigger.of",
        ),
        ({"trigger": drift(features=["image"])}, "got feature 'image', which holds arrays; expected a numeric one"),
        (
            {"training": {"model": {"kind": "import", "path": "counting_models:Counting"}}},
            "counting_models:Counting is called with num_inputs, num_classes, input_shape, but got an unexpected",
        ),
        (
            {"training": {"model": {**CNN, "categorical": "codes"}}},
            "small_cnn:Cnn is called with num_inputs, num_classes, num_categories, input_shape, but got an unexpected",
        ),
    ],
)
def test_what_arrays_can_not_do_is_told_by_the_check(tmp_path, sections, told):
    with pytest.raises(ConfigError) as raised:
        plan_run(configured(tmp_path, **sections), "real")
    assert told in str(raised.value)
    assert len(str(raised.value).splitlines()) == 1


def test_drift_of_embeddings_of_images_passes_the_check(tmp_path):
    plan_run(configured(tmp_path, trigger=drift(of="embeddings"), training={"model": CNN}), "real")
    table = load_table(configured(tmp_path).data)
    assert table.frame.schema["image"] == pl.Array(pl.UInt8, SHAPE)
