"""Categories as codes, for models that learn a vector for each."""

from __future__ import annotations

import dataclasses
import json

import numpy as np
import polars as pl
import pytest
import torch
from real_samples import COLUMNS, evaluation, frame, stored, train

from real.embedding import embed
from real.encoding import MAX_VALUES, Encoding, fit_encoding
from real.evaluator import TorchEvaluator
from real.models import restored_model
from real.store import StoredModel, load_model, write_model
from twinclock.errors import ConfigError, DataError
from twinclock.training import MlpConfig, TrainingConfig

EMBEDDED = {"kind": "mlp", "hidden": [6], "embedding": 3}


def coded(rows: pl.DataFrame, extending: Encoding | None = None) -> Encoding:
    return fit_encoding(rows, COLUMNS, extending=extending, categorical="codes")


def by_category(num_samples: int = 300, categories: str = "uvw", seed: int = 0) -> pl.DataFrame:
    """The label is told by `c` alone."""
    rng = np.random.default_rng(seed)
    c = rng.choice(list(categories), size=num_samples)
    numbers = {name: rng.normal(size=num_samples) for name in ("a", "b")}
    return pl.DataFrame({**numbers, "c": c, "y": np.where(np.isin(c, ["u", "x"]), "yes", "no")})


def outputs(model: StoredModel, rows: pl.DataFrame) -> torch.Tensor:
    with torch.inference_mode():
        return restored_model(model).eval()(torch.from_numpy(model.encoding.features(rows)))


def test_a_column_is_one_input_which_holds_a_code():
    encoding = coded(frame(c=["v", None, "u"]))
    assert encoding.num_inputs == 3
    assert encoding.num_categories == (4,)  # unknown, u, v, null
    inputs = encoding.features(frame(a=[2.0, 2.0, 2.0]).with_columns(c=pl.Series(["u", None, "new"])))
    assert inputs.dtype == np.float32
    assert inputs[:, 0].tolist() == [1.0, 3.0, 0.0]
    assert encoding.numeric[0].at == 1


def test_a_null_that_training_did_not_know_is_unknown():
    encoding = coded(frame())
    assert encoding.num_categories == (3,)
    assert encoding.features(frame(c=[None, "u", "v"]))[:, 0].tolist() == [0.0, 1.0, 2.0]


def test_known_categories_keep_their_codes_and_new_ones_come_behind():
    first = coded(frame(c=["v", None, "u"]))
    second = coded(frame(c=["a", "z", "u"], a=[1.0, None, 2.0]), first)
    assert second.coded[0].categories == ("u", "v", "a", "z")
    assert second.coded[0].codes == (1, 2, 4, 5)
    assert second.coded[0].null_code == 3
    third = coded(frame(c=["b", None, "u"]), coded(frame()))
    assert (third.coded[0].codes, third.coded[0].null_code) == ((1, 2, 3), 4)
    assert coded(frame(), second) == second
    assert Encoding.from_json(json.loads(json.dumps(second.to_json()))) == second


def test_as_many_codes_as_there_may_be_are_exact_and_more_are_refused():
    num_rows = MAX_VALUES + 1
    values = [str(row) for row in range(num_rows)]
    rows = pl.DataFrame({"a": [1.0] * num_rows, "b": [1.0] * num_rows, "c": values, "y": ["p"] * num_rows})
    with pytest.raises(DataError, match="'c' has 5001 different values in the training set, expected at most 5000"):
        coded(rows)
    fitting = rows.with_columns(c=pl.Series([None, *values[1:]]))
    codes = coded(fitting).features(fitting)[:, 0]
    assert sorted(codes.tolist()) == list(range(1, num_rows + 1))
    with pytest.raises(DataError, match="5001 different values"):
        coded(rows.head(1), coded(fitting))


def test_an_embedded_category_is_learnt_and_scored():
    rows = by_category()
    options = {"model": EMBEDDED, "epochs": 8, "batch_size": 32, "optimizer": {"kind": "adam", "lr": 0.05}}
    model = stored(train(rows, **options), model=EMBEDDED)
    (accuracy,) = TorchEvaluator().evaluate(evaluation(model, by_category(seed=1), (0, 300), metrics=("accuracy",)))
    assert accuracy["value"] > 0.95
    again = train(rows, **options)
    assert all(torch.equal(again.weights[name], weight) for name, weight in model.weights.items())


def test_an_unknown_category_adds_nothing():
    model = stored(train(by_category(), model=EMBEDDED, epochs=2), model=EMBEDDED)
    assert not model.weights["0.vectors.0.weight"][0].any()
    assert model.weights["0.vectors.0.weight"][1:].all()
    rows = by_category(20).with_columns(c=pl.lit("never seen"))
    assert outputs(model, rows).isfinite().all()
    assert (embed(model, rows, "cpu:0") >= 0).all()


def test_it_comes_back_from_disk_and_gives_the_same(tmp_path):
    model = stored(train(by_category(), model=EMBEDDED, epochs=2), model=EMBEDDED)
    write_model(tmp_path, model.weights, model.encoding, MlpConfig.model_validate(EMBEDDED))
    loaded = load_model(tmp_path)
    assert loaded.encoding == model.encoding
    rows = by_category(50, "uvz", seed=3)
    assert torch.equal(outputs(loaded, rows), outputs(model, rows))


def test_going_on_with_new_categories_leaves_all_that_was_learnt():
    first = stored(train(by_category(), model=EMBEDDED, epochs=3), model=EMBEDDED)
    grown = by_category(200, "uxz", seed=2).with_columns(
        a=pl.when(pl.int_range(200) % 7 == 0).then(None).otherwise(pl.col("a")),
        c=pl.when(pl.int_range(200) % 5 == 0).then(None).otherwise(pl.col("c")),
    )
    still = {"model": EMBEDDED, "epochs": 1, "batch_size": 200, "optimizer": {"kind": "sgd", "lr": 1e-12}}
    second = stored(train(grown, start_from=first, **still), model=EMBEDDED)
    assert first.encoding.num_categories == (4,)
    assert second.encoding.num_categories == (7,)  # x, z and null are new
    assert second.weights["0.vectors.0.weight"].shape == (7, 3)
    known = by_category(60, seed=5)
    assert torch.allclose(outputs(second, known), outputs(first, known), atol=1e-5)
    learning = {**still, "epochs": 40, "batch_size": 32, "optimizer": {"kind": "adam", "lr": 0.02}}
    third = stored(train(grown, start_from=first, **learning), model=EMBEDDED)
    scored = evaluation(third, by_category(200, "x", seed=7), (0, 200), metrics=("accuracy",))
    assert TorchEvaluator().evaluate(scored)[0]["value"] > 0.9


def test_codes_stay_exact_where_numbers_are_rounded():
    rng = np.random.default_rng(0)
    number = rng.permutation(np.repeat(np.arange(600), 5))  # bf16 has 8 bits for a number
    rows = pl.DataFrame(
        {"a": rng.normal(size=3000), "b": rng.normal(size=3000), "c": [f"{each:03}" for each in number]}
    )
    rows = rows.with_columns(y=pl.Series(np.where(number % 2, "odd", "even")))
    config = {"kind": "import", "path": "small_cnn:ByCode", "categorical": "codes"}
    options = {"precision": "bf16", "epochs": 3, "batch_size": 100, "optimizer": {"kind": "adam", "lr": 0.3}}
    model = stored(train(rows, model=config, **options), model=config)
    (accuracy,) = TorchEvaluator().evaluate(evaluation(model, rows, (0, 3000), metrics=("accuracy",)))
    assert accuracy["value"] == 1.0


def test_what_the_optimizer_knows_goes_on_with_the_categories_that_it_was_about():
    optimizer = {"kind": "adam", "lr": 0.01, "state": "keep"}
    options = {"model": EMBEDDED, "epochs": 1, "batch_size": 100, "optimizer": optimizer}
    result = train(by_category(), **options)
    first = dataclasses.replace(stored(result, model=EMBEDDED), optimizer=result.optimizer)
    moments = "exp_avg_sq:0.vectors.0.weight"
    assert result.optimizer[moments].shape == (4, 3)
    second = train(by_category(200, "z"), start_from=first, **options)
    assert second.optimizer[moments].shape == (5, 3)
    assert (second.optimizer[moments][1:4] < result.optimizer[moments][1:4]).all()  # none came: they fade
    assert second.optimizer[moments][4].all()


@pytest.mark.parametrize(
    ("before", "after"),
    [("one_hot", "codes"), ("codes", "one_hot")],
)
def test_a_model_that_took_categories_otherwise_is_nothing_to_go_on_from(before, after):
    old = fit_encoding(frame(), COLUMNS, categorical=before)
    expected = f"training.model: takes categories as {after}, expected as {before}, like the model to start from"
    with pytest.raises(ConfigError, match=expected):
        fit_encoding(frame(), COLUMNS, extending=old, categorical=after)


@pytest.mark.parametrize("hidden", [[], [5]])
def test_what_the_last_layer_is_given(hidden):
    config = {**EMBEDDED, "hidden": hidden}
    model = stored(train(by_category(), model=config, epochs=1), model=config)
    rows = by_category(20, seed=3)
    embedded = embed(model, rows, "cpu:0")
    assert embedded.shape == (20, hidden[0] if hidden else 3 + 2)
    with torch.inference_mode():
        from_embedded = list(restored_model(model).children())[-1](torch.from_numpy(embedded).float())
    assert torch.allclose(from_embedded, outputs(model, rows), atol=1e-6)


def test_samples_are_kept_by_their_embedding():
    downsample = {"kind": "k_center", "ratio": 0.3}
    assert train(by_category(), model=EMBEDDED, epochs=1, downsample=downsample).num_steps == 2


def test_a_regression_embeds_too():
    rows = by_category().with_columns(y=pl.col("a") + (pl.col("c") == "u").cast(pl.Float64))
    result = train(rows, model=EMBEDDED, task="regression", epochs=60, optimizer={"kind": "adam", "lr": 0.01})
    assert result.loss < 0.05


def test_a_model_of_ones_own_takes_codes():
    config = {"kind": "import", "path": "small_cnn:ByCode", "categorical": "codes"}
    options = {"model": config, "epochs": 20, "optimizer": {"kind": "adam", "lr": 0.1}}
    first = stored(train(by_category(), **options), model=config)
    (accuracy,) = TorchEvaluator().evaluate(evaluation(first, by_category(seed=1), (0, 300), metrics=("accuracy",)))
    assert accuracy["value"] == 1.0
    warm = train(by_category(categories="xz"), start_from=first, **options)
    assert warm.weights["votes.0.weight"].shape == (6, 2)


def test_only_an_embedding_asks_for_codes():
    models = [{"kind": "logistic"}, {"kind": "mlp"}, EMBEDDED, {"kind": "import", "path": "small_cnn:ByCode"}]
    asked = [TrainingConfig.model_validate({"model": each}).model.categorical for each in models]
    assert asked == ["one_hot", "one_hot", "codes", "one_hot"]
