"""The script in an exported folder takes rows as the encoding does, and builds what the package builds."""

from __future__ import annotations

import importlib.util
import shutil
from pathlib import Path
from types import ModuleType

import numpy as np
import polars as pl
import pytest
import torch

from real.encoding import fit_encoding
from real.models import model_for
from real.store import write_model
from real.stored import export
from twinclock.config import LogisticConfig, MlpConfig
from twinclock.dataset import Columns, FeatureColumns

NUMBERS = {"x": [1.0, None, 3.5, float("nan"), 8e9], "same": [2.0] * 5, "c": ["u", None, "ü", "u", "v"]}
LABEL = ["p", "q", "p", "q", "q"]
IMAGES = pl.Series("image", np.arange(60.0).reshape(5, 3, 4), dtype=pl.Array(pl.Float64, (3, 4)))


def loaded(
    folder: Path, rows: pl.DataFrame, features: FeatureColumns, config, task: str
) -> tuple[ModuleType, torch.nn.Module]:
    """What an export of a fresh model has, and the model."""
    encoding = fit_encoding(
        rows, Columns(time="t", features=features, label="label"), task=task, categorical=config.categorical
    )
    torch.manual_seed(0)
    model = model_for(config, encoding)
    for weight in model.parameters():
        torch.nn.init.normal_(weight)
    write_model(folder, model.state_dict(), encoding, config)
    shutil.copyfile(Path(export.__file__).with_name("load.py"), folder / "load.py")
    spec = importlib.util.spec_from_file_location("exported_load", folder / "load.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    rows = pl.concat([rows, rows[:1].with_columns(pl.lit("never seen").alias("c"))]) if "c" in rows.columns else rows
    for row in range(rows.height):
        one = rows[row : row + 1]
        given = one.to_dicts()[0]
        expected = torch.from_numpy(encoding.features(one))
        assert torch.allclose(module.inputs(given), expected, atol=1e-6)
        outputs = model.eval()(expected)[0].double().detach()
        if task == "regression":
            meant = [encoding.target.mean + encoding.target.std * float(outputs[0])]
            assert [module.predict(given)] == pytest.approx(meant, rel=1e-5)
        else:
            said = module.predict(given)
            assert list(said) == list(encoding.classes)
            assert list(said.values()) == pytest.approx(outputs.softmax(dim=0).tolist(), abs=1e-6)
    return module, model


@pytest.mark.parametrize("config", [LogisticConfig(), MlpConfig(hidden=(3,)), MlpConfig(hidden=(3, 2), embedding=2)])
def test_numbers_and_categories(tmp_path, config):
    rows = pl.DataFrame({**NUMBERS, "label": LABEL})
    loaded(tmp_path, rows, FeatureColumns(numeric=("x", "same"), categorical=("c",)), config, "classification")


def test_a_regression(tmp_path):
    rows = pl.DataFrame({**NUMBERS, "label": [1.0, 5.0, 2.0, 4.0, 3.0]})
    loaded(tmp_path, rows, FeatureColumns(numeric=("x",), categorical=("c",)), MlpConfig(hidden=(3,)), "regression")


@pytest.mark.parametrize("config", [LogisticConfig(), MlpConfig(hidden=(3,))])
@pytest.mark.parametrize("numeric", [(), ("x",)])
def test_arrays_alone_and_beside_numbers(tmp_path, config, numeric):
    rows = pl.DataFrame({"x": NUMBERS["x"], "label": LABEL}).with_columns(IMAGES)
    features = FeatureColumns(numeric=numeric, categorical=(), arrays=("image",))
    loaded(tmp_path, rows, features, config, "classification")
