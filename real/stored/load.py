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
    model = build(architecture["model"], read("encoding.json"), architecture["num_classes"])
    model.load_state_dict(load_file(FOLDER / "model.safetensors"))
    return model.eval()


def build(config: dict[str, Any], encoding: dict[str, Any], num_outputs: int) -> nn.Module:
    """The architecture with fresh weights; a class of your own has to be importable."""
    num_inputs, shape = encoding["num_inputs"], input_shape(encoding)
    num_categories = tuple(1 + len(each["categories"]) + (each["null_code"] is not None) for each in encoding["coded"])
    first: list[nn.Module] = [nn.Flatten()] if len(shape) > 1 else []
    if config["kind"] == "logistic":
        layer = nn.Linear(num_inputs, num_outputs)
        return nn.Sequential(*first, layer) if first else layer
    if config["kind"] == "mlp":
        width = num_inputs
        if config["embedding"] is not None:
            first.append(EmbeddedCodes(num_categories, config["embedding"]))
            width += len(num_categories) * (config["embedding"] - 1)
        layers: list[nn.Module] = []
        widths = [width, *config["hidden"]]
        for num_in, num_out in pairwise(widths):
            layers += [nn.Linear(num_in, num_out), nn.ReLU()]
        return nn.Sequential(*first, *layers, nn.Linear(widths[-1], num_outputs))
    arguments = {"num_inputs": num_inputs, "num_classes": num_outputs, **config["args"]}
    if config["categorical"] == "codes":
        arguments["num_categories"] = num_categories
    if encoding["arrays"]:
        arguments["input_shape"] = shape
    module, _, name = config["path"].partition(":")
    model = getattr(importlib.import_module(module), name)(**arguments)
    assert isinstance(model, nn.Module)
    return model


class EmbeddedCodes(nn.Module):
    """Puts a vector for the code of each category, before all other inputs."""

    def __init__(self, num_categories: tuple[int, ...], dim: int) -> None:
        """One table of vectors for each categorical column."""
        super().__init__()
        self.vectors = nn.ModuleList(nn.Embedding(num_codes, dim, padding_idx=0) for num_codes in num_categories)

    def forward(self, values: Tensor) -> Tensor:
        """The codes are the first inputs."""
        codes = values[:, : len(self.vectors)].long()
        embedded = [vectors(codes[:, column]) for column, vectors in enumerate(self.vectors)]
        return torch.cat([*embedded, values[:, len(self.vectors) :]], dim=1)


def input_shape(encoding: dict[str, Any]) -> tuple[int, ...]:
    """The shape of a sample: that of its array if there is nothing else, or else a row of numbers."""
    arrays = encoding["arrays"]
    if len(arrays) == 1 and math.prod(arrays[0]["shape"]) == encoding["num_inputs"]:
        return tuple(arrays[0]["shape"])
    return (encoding["num_inputs"],)


def inputs(row: dict[str, Any]) -> Tensor:
    """One row as the model's inputs; what is missing or not finite is the mean, an unknown category has no mark."""
    encoding = read("encoding.json")
    values = torch.zeros(1, encoding["num_inputs"])
    for column in encoding["numeric"]:
        value = row.get(column["column"])
        number = math.nan if value is None else float(value)
        if math.isfinite(number):
            values[0, column["at"]] = normalised(torch.tensor(number, dtype=torch.float64), column)
        elif column["missing_at"] is not None:
            values[0, column["missing_at"]] = 1.0
    for column in encoding["categorical"]:
        at = dict(zip(column["categories"], column["at"], strict=True)) | {None: column["null_at"]}
        if (marked := at.get(as_text(row.get(column["column"])))) is not None:
            values[0, marked] = 1.0
    for column in encoding["coded"]:
        codes = dict(zip(column["categories"], column["codes"], strict=True)) | {None: column["null_code"]}
        values[0, column["at"]] = codes.get(as_text(row.get(column["column"]))) or 0
    for column in encoding["arrays"]:
        array = torch.tensor(row[column["column"]], dtype=torch.float64).flatten()
        values[0, column["at"] : column["at"] + len(array)] = normalised(array, column)
    return values.reshape(1, *input_shape(encoding))


def normalised(value: Tensor, column: dict[str, Any]) -> Tensor:
    """As in training: (value - mean) / deviation, cut off far out."""
    if column["std"] == 0:
        return torch.zeros_like(value)
    scaled = ((value.double() - column["mean"]) / column["std"]).clamp(-1e6, 1e6)
    return torch.where(value.isfinite(), scaled, 0.0)


def as_text(value: Any) -> str | None:
    """Categories are compared as text."""
    return None if value is None else str(value)


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
