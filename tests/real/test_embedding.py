"""What a stored model makes of samples before it decides."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch
from real_samples import frame, separable, stored, train

from real import embedding
from real.embedding import embed
from real.models import ModelError, restored_model
from twinclock.errors import ConfigError

COUNTING = {"kind": "import", "path": "counting_models:Counting"}


def a_model(**model):
    return stored(train(separable(100), model=model, epochs=1), model=model)


def test_logistic_regression_embeds_in_its_inputs():
    model = a_model(kind="logistic")
    rows = separable(20, seed=3)
    embedded = embed(model, rows, "cpu:0")
    assert embedded.dtype == np.float64
    assert (embedded == model.encoding.features(rows)).all()


@pytest.mark.parametrize("hidden", [[], [5], [8, 5]])
def test_an_mlp_embeds_in_the_inputs_of_its_last_layer(hidden):
    model = a_model(kind="mlp", hidden=hidden)
    rows = separable(20, seed=3)
    embedded = embed(model, rows, "cpu:0")
    network = restored_model(model)
    assert embedded.shape == (20, hidden[-1] if hidden else model.encoding.num_inputs)
    with torch.inference_mode():
        outputs = network(torch.from_numpy(model.encoding.features(rows)))
        from_embedded = list(network.children())[-1](torch.from_numpy(embedded).float())
    assert torch.allclose(from_embedded, outputs, atol=1e-6)


def test_a_regression_embeds_like_a_classification():
    rows = frame(y=[1.0, 2.0, 4.0])
    model = {"kind": "mlp", "hidden": [4]}
    regression = stored(train(rows, model=model, task="regression"), model=model)
    assert embed(regression, rows, "cpu:0").shape == (3, 4)


def test_a_model_of_ones_own_says_what_its_embedding_is():
    model = a_model(**COUNTING)
    rows = separable(20, seed=3)
    inputs = torch.from_numpy(model.encoding.features(rows))
    with torch.inference_mode():
        expected = restored_model(model).hidden(inputs).double().numpy()
    assert (embed(model, rows, "cpu:0") == expected).all()


@pytest.mark.parametrize(
    ("name", "error", "message"),
    [
        ("WithoutEmbed", ConfigError, r"counting_models:WithoutEmbed has no method embed, expected embed\(inputs\)"),
        ("Flat", ModelError, r"gives shape \(100,\), expected a tensor of shape \(100, any number\)"),
        ("NoTensor", ModelError, r"gives a list, expected a tensor of shape \(100, any number\)"),
    ],
)
def test_a_model_that_does_not_embed_is_said(name, error, message):
    model = a_model(kind="import", path=f"counting_models:{name}")
    with pytest.raises(error, match=message) as caught:
        embed(model, separable(100), "cpu:0")
    assert "\n" not in str(caught.value)


def test_many_rows_are_embedded_in_parts(monkeypatch):
    model = a_model(kind="mlp", hidden=[5])
    whole = embed(model, separable(50), "cpu:0")
    monkeypatch.setattr(embedding, "_ROWS_AT_ONCE", 7)
    assert np.allclose(embed(model, separable(50), "cpu:0"), whole, atol=1e-6)


def test_no_rows_are_no_embeddings():
    assert embed(a_model(kind="mlp", hidden=[5]), separable(50).clear(), "cpu:0").shape == (0, 5)


def test_embeddings_that_are_not_finite_are_said():
    model = a_model(kind="mlp", hidden=[5])
    broken = dataclasses.replace(model, weights={name: each * torch.nan for name, each in model.weights.items()})
    with pytest.raises(ModelError, match="the embeddings of model Sequential are not finite"):
        embed(broken, separable(5), "cpu:0")
