"""Load the model in this folder with torch and safetensors alone, and let it say something about one row.

python load.py                            what the model is
python load.py '{"column": value, ...}'   the probability of each class, or the number predicted
"""

from __future__ import annotations

import importlib
import json
import math
import sys
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor, nn

FOLDER = Path(__file__).resolve().parent


def read(name: str) -> Any:
    """One of the JSON files beside this one."""
    return json.loads((FOLDER / name).read_text(encoding="utf-8"))


def load() -> nn.Module:
    """The model, its weights as they were trained, ready to predict."""
    architecture = read("lineage.json")["architecture"]
    model = build(architecture["model"], architecture["num_inputs"], architecture["num_classes"])
    model.load_state_dict(load_file(FOLDER / "model.safetensors"))
    return model.eval()


def build(config: dict[str, Any], num_inputs: int, num_outputs: int) -> nn.Module:
    """The architecture with fresh weights; a class of your own has to be importable."""
    if config["kind"] == "logistic":
        return nn.Linear(num_inputs, num_outputs)
    if config["kind"] == "mlp":
        layers: list[nn.Module] = []
        widths = [num_inputs, *config["hidden"]]
        for num_in, num_out in pairwise(widths):
            layers += [nn.Linear(num_in, num_out), nn.ReLU()]
        return nn.Sequential(*layers, nn.Linear(widths[-1], num_outputs))
    module, _, name = config["path"].partition(":")
    model = getattr(importlib.import_module(module), name)(
        num_inputs=num_inputs, num_classes=num_outputs, **config["args"]
    )
    assert isinstance(model, nn.Module)
    return model


def inputs(row: dict[str, Any]) -> Tensor:
    """One row as the model's inputs, shape (1, inputs): numbers normalised, of categories one input each."""
    encoding = read("encoding.json")
    values = torch.zeros(1, encoding["num_inputs"])
    for column in encoding["numeric"]:
        value = row.get(column["column"])
        is_known = value is not None and math.isfinite(value)
        if is_known and column["std"] > 0:
            values[0, column["at"]] = max(-1e6, min(1e6, (value - column["mean"]) / column["std"]))
        if not is_known and column["missing_at"] is not None:
            values[0, column["missing_at"]] = 1.0
    for column in encoding["categorical"]:
        value = row.get(column["column"])
        if value is None:
            if column["null_at"] is not None:
                values[0, column["null_at"]] = 1.0
        elif str(value) in column["categories"]:
            values[0, column["at"][column["categories"].index(str(value))]] = 1.0
    return values


def predict(row: dict[str, Any]) -> dict[str, float] | float:
    """The probability of each class; of a regression the number, in the label's own unit."""
    encoding = read("encoding.json")
    with torch.inference_mode():
        outputs = load()(inputs(row))[0].double()
    if encoding["target"] is not None:
        return float(encoding["target"]["mean"] + encoding["target"]["std"] * outputs[0])
    return dict(zip(encoding["classes"], outputs.softmax(dim=0).tolist(), strict=True))


if __name__ == "__main__":
    if len(sys.argv) > 1:
        print(json.dumps(predict(json.loads(sys.argv[1])), indent=1))
    else:
        print(load())
