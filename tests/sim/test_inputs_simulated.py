"""What the simulator makes of arrays and of embedded categories: nothing, or one line where it would matter."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest

from twinclock.config import load_config
from twinclock.errors import ConfigError
from twinclock.launch import plan_run, run


@pytest.fixture
def config(tmp_path):
    rows = {"t": range(200), "y": ["p", "q"] * 100, "image": pl.Series(np.zeros((200, 4, 4), np.float32))}
    pl.DataFrame(rows).write_parquet(tmp_path / "images.parquet")
    data = {"kind": "table", "path": str(tmp_path / "images.parquet"), "time": "t", "label": "y"}
    return {
        "data": {**data, "features": {"arrays": ["image"]}},
        "trigger": {"kind": "amount", "n": 50},
        "training": {"model": {"kind": "mlp", "hidden": [4], "embedding": 2}},
        "evaluation": {"plans": [{"kind": "between_triggers"}]},
    }


def test_they_change_nothing_of_what_is_modelled(config, tmp_path):
    simulated = run(config, on="sim", out=tmp_path / "arrays")
    plain = {**config, "training": {"model": {"kind": "mlp", "hidden": [4]}}}
    other = run(plain, on="sim", out=tmp_path / "plain")
    assert simulated.models.height == 4
    assert simulated.evaluations.equals(other.evaluations)


def test_the_proxy_can_not_be_fitted_on_arrays(config):
    expected = "data.features.arrays: got image, expected none: sim.quality of kind proxy is fitted on numeric and"
    with pytest.raises(ConfigError, match=expected) as raised:
        plan_run(load_config({**config, "sim": {"quality": {"kind": "proxy"}}}), "sim")
    assert len(str(raised.value).splitlines()) == 1
