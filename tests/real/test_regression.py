"""Predicting a number: the label's normalisation, the loss, and what is kept with the model."""

from __future__ import annotations

import json
import math

import numpy as np
import polars as pl
import pytest
import torch
from counting_models import Counting
from real_samples import COLUMNS, evaluation, frame, stored, train

from real.encoding import Encoding, TargetEncoding, fit_encoding
from real.evaluator import TorchEvaluator
from real.models import ModelError
from real.store import load_model, write_model
from twinclock import launch
from twinclock.config import LogisticConfig, load_config
from twinclock.dataset import DATA_FOLDER
from twinclock.errors import ConfigError, DataError

FAST = {"optimizer": {"kind": "adam", "lr": 0.05}, "task": "regression"}
REGRESSION = ("mae", "rmse", "r2")


def numbers(num_samples=300, seed=0, noise=1.0, offset=5000.0):
    """y is 30 · a + 10 if c is u, and noise."""
    rng = np.random.default_rng(seed)
    a, c = rng.normal(size=num_samples), rng.choice(["u", "v"], num_samples)
    y = offset + 30.0 * a + 10.0 * (c == "u") + noise * rng.normal(size=num_samples)
    return pl.DataFrame({"a": a, "b": rng.normal(size=num_samples), "c": c, "y": y})


def scores(model, rows):
    scored = TorchEvaluator().evaluate(evaluation(model, rows, (0, rows.height), metrics=REGRESSION))
    return {row["metric"]: row["value"] for row in scored}


@pytest.mark.parametrize("model", [{"kind": "logistic"}, {"kind": "mlp", "hidden": [16]}])
def test_it_predicts_in_the_labels_own_unit(model):
    result = train(numbers(), model=model, epochs=20, **FAST)
    assert result.loss < 0.01  # of the normalised label, whose variance is 1
    found = scores(stored(result, model=model), numbers(seed=1))
    assert found["mae"] < 3.0
    assert found["rmse"] < 4.0
    assert found["r2"] > 0.97


def test_an_untrained_model_predicts_the_mean_of_its_training_set():
    training, later = frame(y=[1.0, 2.0, 6.0]), frame(y=[3.0, 5.0, 5.0])
    untrained = train(training, task="regression", epochs=1, optimizer={"kind": "sgd", "lr": 1e-30})
    assert untrained.loss == pytest.approx(1.0)
    assert scores(stored(untrained), later) == pytest.approx(
        {"mae": 4 / 3, "rmse": math.sqrt(8 / 3), "r2": 1 - 8 / (4 / 9 + 4 / 9 + 16 / 9)}
    )


def test_the_label_is_normalised_by_the_training_set():
    encoding = fit_encoding(frame(y=[1, 2, 6]), COLUMNS, task="regression")
    assert (encoding.classes, encoding.num_outputs, encoding.task) == ((), 1, "regression")
    assert encoding.target == TargetEncoding(mean=3.0, std=pytest.approx(math.sqrt(14 / 3)))
    targets = encoding.targets(frame(y=[3, 4, 1]))
    assert targets.dtype == np.float32
    assert targets.tolist() == pytest.approx([0.0, 1 / encoding.target.std, -2 / encoding.target.std])
    assert encoding.predictions(targets.astype(np.float64)[:, None]).tolist() == pytest.approx([3.0, 4.0, 1.0])


def test_a_constant_label_is_always_predicted():
    result = train(frame(y=[7.5, 7.5, 7.5]), task="regression")
    assert result.loss == 0.0
    assert scores(stored(result), frame(y=[7.5, 7.5, 7.5])) == {"mae": 0.0, "rmse": 0.0, "r2": None}


def test_going_on_from_a_model_keeps_its_normalisation():
    first = train(numbers(offset=0.0), epochs=30, **FAST)
    later = numbers(offset=40.0, seed=1)
    model = stored(first)
    warm = train(later, epochs=1, start_from=model, **FAST)
    assert warm.encoding.target == first.encoding.target
    assert warm.loss < train(later, epochs=1, **FAST).loss + 2.0  # 40 more are more than one deviation
    constant = fit_encoding(frame(y=[2.0, 2.0, 2.0]), COLUMNS, task="regression")
    grown = fit_encoding(frame(y=[1.0, 2.0, 6.0]), COLUMNS, task="regression", extending=constant)
    assert grown.target.mean == 3.0  # it was constant: nothing depends on how it was normalised


def test_a_model_of_the_other_task_is_nothing_to_go_on_from():
    classes = stored(train(frame()))
    with pytest.raises(ConfigError, match=r"training\.task: got regression, .* is of a classification"):
        train(frame(y=[1.0, 2.0, 3.0]), task="regression", start_from=classes)


def test_model_and_normalisation_come_back_from_disk(tmp_path):
    result = train(numbers(), **FAST)
    write_model(tmp_path, result.weights, result.encoding, LogisticConfig())
    model = load_model(tmp_path)
    assert model.encoding == result.encoding
    assert model.lineage["architecture"]["num_classes"] == 1
    assert scores(model, numbers(50)) == scores(stored(result), numbers(50))


def test_an_encoding_of_before_there_were_regressions_is_read():
    encoding = fit_encoding(frame(), COLUMNS)
    old = json.loads(json.dumps(encoding.to_json()))
    del old["target"]
    assert Encoding.from_json(old) == encoding


@pytest.mark.parametrize("downsample", [{"kind": "loss"}, {"kind": "k_center"}, {"kind": "rs2"}])
def test_it_can_be_downsampled(downsample):
    result = train(numbers(), epochs=20, downsample={**downsample, "ratio": 0.3}, **FAST)
    assert scores(stored(result), numbers(seed=1))["r2"] > 0.8


def test_a_model_of_ones_own_has_one_output():
    model = {"kind": "import", "path": "counting_models:Counting"}
    result = train(numbers(), model=model, **FAST)
    assert result.weights["last.weight"].shape == (1, 3)
    assert isinstance(Counting(4, 1), torch.nn.Module)


def test_labels_far_from_their_mean_do_no_harm():
    rows = frame(y=[0.0, 1.0, 1e300])
    assert math.isfinite(train(rows, task="regression").loss)


def test_a_wild_training_is_said():
    with pytest.raises(ModelError, match=r"the loss is (inf|nan) at step"):
        train(numbers(), model={"kind": "mlp", "hidden": [8]}, task="regression", optimizer={"kind": "sgd", "lr": 1e30})


# Checked before anything runs


def rodents(tmp_path, **columns):
    """A table of ten rows, as a configuration has it."""
    path = tmp_path / "rows.parquet"
    pl.DataFrame({"t": range(10), "x": [float(row) for row in range(10)]} | columns).write_parquet(path)
    data = {"kind": "table", "path": str(path), "time": "t", "label": "y", "features": {"numeric": ["x"]}}
    return {
        "trigger": {"kind": "amount", "n": 5},
        "data": data,
        "training": {"task": "regression"},
        "evaluation": {"metrics": ["mae"]},
        "real": {"device": "cpu"},
    }


@pytest.mark.parametrize("executor", ["sim", "real"])
@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (["a"] * 10, "label column 'y' is String, expected numbers for training.task regression"),
        ([True, False] * 5, "label column 'y' is Boolean, expected numbers"),
        ([1.0] * 9 + [math.inf], r"label column 'y' is infinite in row 9 \(counted from 0\)"),
    ],
)
def test_a_label_that_is_no_number_is_said_by_every_executor(tmp_path, executor, labels, message):
    config = load_config(rodents(tmp_path, y=labels))
    with pytest.raises(DataError, match=message) as caught:
        launch.plan_run(config, executor)
    assert "\n" not in str(caught.value)


def test_a_label_that_is_a_number_is_fine(tmp_path):
    config = rodents(tmp_path, y=[1.0] * 9 + [math.inf])
    config["data"]["limit"] = 9  # as far as it is used
    launch.plan_run(load_config(config), "real")


def test_a_label_that_is_not_there_is_said_as_ever(tmp_path):
    config = load_config(rodents(tmp_path, z=[1.0] * 10))
    with pytest.raises(DataError, match="no column 'y'"):
        launch.plan_run(config, "real")


def test_classes_may_be_texts_and_numbers_alike(tmp_path):
    config = {**rodents(tmp_path, y=["a"] * 10), "training": {}, "evaluation": {}}
    launch.plan_run(load_config(config), "real")


@pytest.mark.parametrize(
    ("task", "metric", "expected"),
    [
        ("regression", "accuracy", "mae, rmse, r2 for training.task regression"),
        ("classification", "rmse", "accuracy, f1_macro, "),
    ],
)
def test_a_metric_of_the_other_task_is_refused_when_loaded(task, metric, expected):
    with pytest.raises(ConfigError) as caught:
        load_config(
            {
                "trigger": {"kind": "amount", "n": 5},
                "training": {"task": task},
                "evaluation": {"metrics": [metric]},
            }
        )
    assert f"config: evaluation.metrics: got {metric}, expected {expected}" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_the_bundled_rodents_can_be_weighed():
    rows = pl.read_parquet(DATA_FOLDER / "portal_rodents.parquet").filter(pl.col("weight").is_not_null())
    rows = rows.select(a="hindfoot_length", b=pl.col("month").cast(pl.Float64), c="species_id", y="weight")[:6000]
    result = train(rows[:5000], epochs=3, **FAST)
    assert scores(stored(result), rows[5000:])["r2"] > 0.8
