"""Rows of a table as what a model takes: finite numbers, and a class number, or a number, for each label.

Everything that is fitted (means, deviations, categories, classes) is fitted on a training set and
kept with the model, so a later row is seen as the model would have seen it in training.

* A numeric column is one input, (value - mean) / deviation. What is missing (null, NaN, infinite) is the
  mean, and 1 in a second input that marks it; a column without gaps in training has no such input.
  A column that was constant in training says nothing: its input is always 0.
* A categorical column is one input per category, null being one of them if training knew it. An unknown
  category has none of the inputs set.
* Where the model embeds its categories, a categorical column is one input instead, which holds a code: 0 for
  an unknown category, and from 1 for those that training knew, null being one of them. These inputs come first.
* A column of arrays is as many inputs as an array has values, behind the numeric ones, normalised by one mean and
  one deviation for the column.
* The label of a regression is (value - mean) / deviation too, and a prediction is turned back with the same two.
* An encoding can *extend* an older one: all that the older one knows stays as it is, inputs, codes and
  classes keep their numbers, new ones come after them. Old weights so fit the front of the new ones.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from itertools import count

import numpy as np
import polars as pl
from numpy.typing import NDArray

from real.columns.arrays import ArrayEncoding, fit_array, write_array
from real.columns.categories import (
    MAX_VALUES,
    UNKNOWN,
    CategoricalEncoding,
    CodedEncoding,
    fit_categorical,
    fit_coded,
    positions,
    texts,
    with_new_values,
    write_codes,
    write_marks,
)
from real.columns.numbers import NumericEncoding, fit_numeric, moments, normalised, numbers, write_numbers
from twinclock.dataset import Columns
from twinclock.errors import ConfigError
from twinclock.graph import Json
from twinclock.policies.metrics import Task
from twinclock.training import CategoricalAs

__all__ = [
    "MAX_VALUES",
    "UNKNOWN",
    "ArrayEncoding",
    "CategoricalEncoding",
    "CodedEncoding",
    "Encoding",
    "NumericEncoding",
    "TargetEncoding",
    "fit_encoding",
]

_ARRAY_INPUTS_AT_ONCE = 2**20
"""Inputs, not rows: what a convolution makes of them may take a hundred times their memory."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TargetEncoding:
    """How the label of a regression is encoded."""

    mean: float
    std: float
    """Standard deviation; 0: constant in training, and every prediction is the mean."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Encoding:
    """From rows to inputs, and to classes or numbers, as fitted on a training set."""

    numeric: tuple[NumericEncoding, ...]
    categorical: tuple[CategoricalEncoding, ...]
    num_inputs: int
    label: str
    """Name of the label column."""
    classes: tuple[str, ...]
    """Of a regression: none."""
    target: TargetEncoding | None = None
    """Of a classification: None."""
    coded: tuple[CodedEncoding, ...] = ()
    """All categorical columns, if the model takes codes; `categorical` then is empty. Their inputs come first."""
    arrays: tuple[ArrayEncoding, ...] = ()

    @property
    def task(self) -> Task:
        """What a model with this encoding predicts."""
        return "classification" if self.target is None else "regression"

    @property
    def num_classes(self) -> int:
        """Classes seen in training."""
        return len(self.classes)

    @property
    def num_outputs(self) -> int:
        """Numbers that a model gives for each row: a logit for each class, or the label of a regression."""
        return self.num_classes if self.target is None else 1

    @property
    def num_categories(self) -> tuple[int, ...]:
        """Of each input that holds a code, which are the first, the number of codes; all codes are below it."""
        return tuple(each.num_codes for each in self.coded)

    @property
    def input_shape(self) -> tuple[int, ...]:
        """The shape of a sample: of its array if there is nothing else, or else a row of `num_inputs` numbers."""
        if len(self.arrays) == 1 and self.arrays[0].size == self.num_inputs:
            return self.arrays[0].shape
        return (self.num_inputs,)

    def rows_at_once(self, most: int) -> int:
        """Rows to ask a model about at a time: `most`, or fewer if arrays make them large."""
        return min(most, max(1, _ARRAY_INPUTS_AT_ONCE // self.num_inputs)) if self.arrays else most

    def features(self, rows: pl.DataFrame) -> NDArray[np.float32]:
        """The inputs, shape (rows, *input_shape); finite whatever is in the rows."""
        inputs = np.zeros((rows.height, self.num_inputs), np.float32)
        write_numbers(inputs, rows, self.numeric)
        for each in self.categorical:
            write_marks(inputs, rows, each)
        for coded in self.coded:
            write_codes(inputs, rows, coded)
        for array in self.arrays:
            write_array(inputs, rows, array)
        return inputs.reshape(rows.height, *self.input_shape)

    def labels(self, rows: pl.DataFrame) -> NDArray[np.int64]:
        """The class number of each row; UNKNOWN for a label that training did not know."""
        return positions(self.label_texts(rows), self.classes, range(self.num_classes))

    def label_texts(self, rows: pl.DataFrame) -> pl.Series:
        """The label of each row as the text that `classes` would have for it."""
        return texts(rows[self.label])

    def label_values(self, rows: pl.DataFrame) -> NDArray[np.float64]:
        """The label of each row as a number."""
        return numbers(rows, [self.label])[:, 0]

    def targets(self, rows: pl.DataFrame) -> NDArray[np.int64] | NDArray[np.float32]:
        """What a model's outputs are held against in training: class numbers, or normalised numbers."""
        if self.target is None:
            return self.labels(rows)
        if self.target.std == 0.0:
            return np.zeros(rows.height, np.float32)
        return normalised(self.label_values(rows), self.target.mean, self.target.std).astype(np.float32)

    def predictions(self, outputs: NDArray[np.float64]) -> NDArray[np.float64]:
        """What a regression predicts, in the label's own unit, from a model's outputs of shape (rows, 1)."""
        if self.target is None:
            raise ValueError("the encoding of a classification has no numbers to predict")
        return self.target.mean + self.target.std * outputs[:, 0]

    def to_json(self) -> Json:
        """The encoding as JSON values."""
        return asdict(self)

    @classmethod
    def from_json(cls, data: Mapping[str, Json]) -> Encoding:
        """What `to_json` gave. TypeError, KeyError or ValueError if it is something else."""
        return cls(
            numeric=tuple(NumericEncoding(**each) for each in data["numeric"]),
            categorical=tuple(
                CategoricalEncoding(**{**each, "categories": tuple(each["categories"]), "at": tuple(each["at"])})
                for each in data["categorical"]
            ),
            num_inputs=int(data["num_inputs"]),
            label=data["label"],
            classes=tuple(data["classes"]),
            target=None if data.get("target") is None else TargetEncoding(**data["target"]),
            coded=tuple(
                CodedEncoding(**{**each, "categories": tuple(each["categories"]), "codes": tuple(each["codes"])})
                for each in data.get("coded", ())
            ),
            arrays=tuple(ArrayEncoding(**{**each, "shape": tuple(each["shape"])}) for each in data.get("arrays", ())),
        )


def fit_encoding(
    rows: pl.DataFrame,
    columns: Columns,
    *,
    extending: Encoding | None = None,
    task: Task = "classification",
    categorical: CategoricalAs = "one_hot",
) -> Encoding:
    """Fit an encoding on a training set; DataError if a column has too many different values.

    `categorical`: what the model takes for a category. With `extending`, the encoding of an older model, known
    columns keep their normalisation and known values their numbers. Only a column that was constant until now is
    normalised afresh, for the older model's weights can't depend on it. ConfigError if the older model has other
    columns or another task.
    """
    if extending is not None:
        _check_same_columns(extending, columns, categorical)
        if extending.task != task:
            raise ConfigError(f"training.task: got {task}, but the model to start from is of a {extending.task}")
    known_numeric = {} if extending is None else {each.column: each for each in extending.numeric}
    known_marked = {} if extending is None else {each.column: each for each in extending.categorical}
    known_coded = {} if extending is None else {each.column: each for each in extending.coded}
    known_arrays = {} if extending is None else {each.column: each for each in extending.arrays}
    features = columns.features
    coded_names, marked_names = ((), features.categorical) if categorical == "one_hot" else (features.categorical, ())
    coded = tuple(fit_coded(texts(rows[name]), known_coded.get(name), at) for at, name in enumerate(coded_names))
    free = count(len(coded) if extending is None else extending.num_inputs)
    numeric = tuple(
        fit_numeric(name, values, known_numeric.get(name), free)
        for name, values in zip(features.numeric, numbers(rows, features.numeric).T, strict=True)
    )
    marked = tuple(fit_categorical(texts(rows[name]), known_marked.get(name), free) for name in marked_names)
    arrays = tuple(fit_array(rows[name], known_arrays.get(name), free) for name in features.arrays)
    classes: tuple[str, ...] = ()
    target = None
    if task == "regression":
        target = _fit_target(rows, columns.label, extending)
    else:
        known_classes = () if extending is None else extending.classes
        classes = with_new_values(texts(rows[columns.label]), known_classes, "label column")
    return Encoding(
        numeric=numeric,
        categorical=marked,
        num_inputs=next(free),
        label=columns.label,
        classes=classes,
        target=target,
        coded=coded,
        arrays=arrays,
    )


def _fit_target(rows: pl.DataFrame, label: str, old: Encoding | None) -> TargetEncoding:
    if old is not None and old.target is not None and old.target.std > 0.0:
        return old.target
    mean, std = moments(numbers(rows, [label])[:, 0])
    return TargetEncoding(mean=mean, std=std)


def _check_same_columns(old: Encoding, columns: Columns, categorical: CategoricalAs) -> None:
    had = (
        [each.column for each in old.numeric],
        [*(each.column for each in old.categorical), *(each.column for each in old.coded)],
        [each.column for each in old.arrays],
        old.label,
    )
    features = columns.features
    want = (list(features.numeric), list(features.categorical), list(features.arrays), columns.label)
    if had != want:
        raise ConfigError(
            f"data: the model to start from was trained with other columns: it had {_listed(had)}, now {_listed(want)}"
        )
    takes_others = bool(old.categorical) if categorical == "codes" else bool(old.coded)
    if takes_others:
        raise ConfigError(
            f"training.model: takes categories as {categorical}, expected as {'codes' if old.coded else 'one_hot'}, "
            "like the model to start from"
        )


def _listed(columns: tuple[list[str], list[str], list[str], str]) -> str:
    numeric, categorical, arrays, label = columns
    return f"{', '.join([*numeric, *categorical, *arrays])} and label {label}"
