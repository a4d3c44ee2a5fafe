"""Rows of a table as what a model takes: a matrix of finite numbers, and a class number, or a number, for each label.

Everything that is fitted (means, deviations, categories, classes) is fitted on a training set and
kept with the model, so a later row is seen as the model would have seen it in training.

* A numeric column is one input, (value - mean) / deviation. What is missing (null, NaN, infinite) is the
  mean, and 1 in a second input that marks it; a column without gaps in training has no such input.
  A column that was constant in training says nothing: its input is always 0.
* A categorical column is one input per category, null being one of them if training knew it. An unknown
  category has none of the inputs set.
* The label of a regression is (value - mean) / deviation too, and a prediction is turned back with the same two.
* An encoding can *extend* an older one: all that the older one knows stays as it is, inputs and
  classes keep their numbers, new ones come after them. Old weights so fit the front of the new ones.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import count, islice

import numpy as np
import polars as pl
from numpy.typing import NDArray

from twinclock.dataset import Columns
from twinclock.errors import ConfigError, DataError
from twinclock.graph import Json
from twinclock.policies.metrics import Task

UNKNOWN = -1
"""The class number of a label that was never seen in training."""
MAX_VALUES = 5_000
"""Different values that a categorical column or the label may have in a training set."""
_LARGEST = 1e6
"""Normalised values are cut off here, so that a wild one stays finite in float32."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NumericEncoding:
    """How a numeric column is encoded."""

    column: str
    mean: float
    std: float
    """Standard deviation; 0: constant in training."""
    at: int
    """Number of the input that holds the normalised value."""
    missing_at: int | None
    """Number of the input that marks a missing value."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CategoricalEncoding:
    """How a categorical column is encoded."""

    column: str
    categories: tuple[str, ...]
    at: tuple[int, ...]
    """Number of each category's input."""
    null_at: int | None
    """Number of the input that marks a null."""


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

    def features(self, rows: pl.DataFrame) -> NDArray[np.float32]:
        """The inputs, shape (rows, inputs); finite whatever is in the rows."""
        inputs = np.zeros((rows.height, self.num_inputs), np.float32)
        values = _numbers(rows, [each.column for each in self.numeric])
        is_known = np.isfinite(values)
        for index, numeric in enumerate(self.numeric):
            if numeric.std > 0.0:
                normalised = _normalised(values[:, index], numeric.mean, numeric.std)
                inputs[:, numeric.at] = np.where(is_known[:, index], normalised, 0.0)
            if numeric.missing_at is not None:
                inputs[:, numeric.missing_at] = ~is_known[:, index]
        for each in self.categorical:
            texts = _texts(rows[each.column])
            at = _positions(texts, each.categories, each.at)
            if each.null_at is not None:
                at[texts.is_null().to_numpy()] = each.null_at
            marked = np.flatnonzero(at != UNKNOWN)
            inputs[marked, at[marked]] = 1.0
        return inputs

    def labels(self, rows: pl.DataFrame) -> NDArray[np.int64]:
        """The class number of each row; UNKNOWN for a label that training did not know."""
        return _positions(self.label_texts(rows), self.classes, range(self.num_classes))

    def label_texts(self, rows: pl.DataFrame) -> pl.Series:
        """The label of each row as the text that `classes` would have for it."""
        return _texts(rows[self.label])

    def label_values(self, rows: pl.DataFrame) -> NDArray[np.float64]:
        """The label of each row as a number."""
        return _numbers(rows, [self.label])[:, 0]

    def targets(self, rows: pl.DataFrame) -> NDArray[np.int64] | NDArray[np.float32]:
        """What a model's outputs are held against in training: class numbers, or normalised numbers."""
        if self.target is None:
            return self.labels(rows)
        if self.target.std == 0.0:
            return np.zeros(rows.height, np.float32)
        return _normalised(self.label_values(rows), self.target.mean, self.target.std).astype(np.float32)

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
        )


def fit_encoding(
    rows: pl.DataFrame, columns: Columns, *, extending: Encoding | None = None, task: Task = "classification"
) -> Encoding:
    """Fit an encoding on a training set; DataError if a column has too many different values.

    With `extending`, the encoding of an older model, known columns keep their normalisation and known
    values their numbers. Only a column that was constant until now is normalised afresh, for the
    older model's weights can't depend on it. ConfigError if the older model has other columns or another task.
    """
    if extending is not None:
        _check_same_columns(extending, columns)
        if extending.task != task:
            raise ConfigError(f"training.task: got {task}, but the model to start from is of a {extending.task}")
    known_numeric = {} if extending is None else {each.column: each for each in extending.numeric}
    known_categorical = {} if extending is None else {each.column: each for each in extending.categorical}
    free = count(0 if extending is None else extending.num_inputs)
    values = _numbers(rows, columns.features.numeric)
    numeric = tuple(
        _fit_numeric(name, column, known_numeric.get(name), free)
        for name, column in zip(columns.features.numeric, values.T, strict=True)
    )
    categorical = tuple(
        _fit_categorical(_texts(rows[name]), known_categorical.get(name), free) for name in columns.features.categorical
    )
    classes: tuple[str, ...] = ()
    target = None
    if task == "regression":
        target = _fit_target(rows, columns.label, extending)
    else:
        known_classes = () if extending is None else extending.classes
        classes = _with_new_values(_texts(rows[columns.label]), known_classes, "label column")
    return Encoding(
        numeric=numeric,
        categorical=categorical,
        num_inputs=next(free),
        label=columns.label,
        classes=classes,
        target=target,
    )


def _fit_target(rows: pl.DataFrame, label: str, old: Encoding | None) -> TargetEncoding:
    if old is not None and old.target is not None and old.target.std > 0.0:
        return old.target
    mean, std = _moments(_numbers(rows, [label])[:, 0])
    return TargetEncoding(mean=mean, std=std)


def _fit_numeric(
    name: str, values: NDArray[np.float64], old: NumericEncoding | None, free: Iterator[int]
) -> NumericEncoding:
    is_known = np.isfinite(values)
    at = next(free) if old is None else old.at
    missing_at = None if old is None else old.missing_at
    if missing_at is None and not is_known.all():
        missing_at = next(free)
    if old is not None and old.std > 0.0:
        mean, std = old.mean, old.std
    else:
        mean, std = _moments(values[is_known])
    return NumericEncoding(column=name, mean=mean, std=std, at=at, missing_at=missing_at)


def _moments(values: NDArray[np.float64]) -> tuple[float, float]:
    """Mean and standard deviation, without overflow; (value, 0) for a constant, (0, 0) for nothing."""
    if len(values) == 0 or values.min() == values.max():
        return (float(values[0]) if len(values) else 0.0), 0.0
    scale = float(np.abs(values).max())
    scaled = values / scale
    return float(scaled.mean()) * scale, float(scaled.std()) * scale


def _normalised(values: NDArray[np.float64], mean: float, std: float) -> NDArray[np.float64]:
    with np.errstate(over="ignore", invalid="ignore"):
        normalised = (values - mean) / std
    return np.clip(normalised, -_LARGEST, _LARGEST)


def _fit_categorical(texts: pl.Series, old: CategoricalEncoding | None, free: Iterator[int]) -> CategoricalEncoding:
    known = () if old is None else old.categories
    categories = _with_new_values(texts, known, "categorical column")
    at = (() if old is None else old.at) + tuple(islice(free, len(categories) - len(known)))
    null_at = None if old is None else old.null_at
    if null_at is None and texts.null_count():
        null_at = next(free)
    return CategoricalEncoding(column=texts.name, categories=categories, at=at, null_at=null_at)


def _with_new_values(texts: pl.Series, known: tuple[str, ...], role: str) -> tuple[str, ...]:
    """The known values, then the new ones in alphabetical order."""
    new = sorted(set(texts.drop_nulls().unique().to_list()).difference(known))
    if len(known) + len(new) > MAX_VALUES:
        raise DataError(
            f"{role} {texts.name!r} has {len(known) + len(new)} different values in the training set, "
            f"expected at most {MAX_VALUES}"
        )
    return (*known, *new)


def _numbers(rows: pl.DataFrame, names: Sequence[str]) -> NDArray[np.float64]:
    """Columns as float64, shape (rows, columns); null is NaN."""
    if not names:
        return np.empty((rows.height, 0))
    return rows.select(pl.col(names).cast(pl.Float64)).to_numpy()


def _texts(column: pl.Series) -> pl.Series:
    """Values as text: equal texts for equal values, null for null and NaN."""
    if column.dtype.is_float():
        column = column.fill_nan(None)
    elif column.dtype == pl.Binary:
        return column.bin.encode("hex")
    elif column.dtype == pl.Duration:
        column = column.to_physical()
    return column.cast(pl.String)


def _positions(texts: pl.Series, known: Sequence[str], at: Sequence[int]) -> NDArray[np.int64]:
    """For each text the number that goes with it; UNKNOWN for null and for what isn't known."""
    return texts.replace_strict(known, at, default=UNKNOWN, return_dtype=pl.Int64).to_numpy(writable=True)


def _check_same_columns(old: Encoding, columns: Columns) -> None:
    had = ([each.column for each in old.numeric], [each.column for each in old.categorical], old.label)
    want = (list(columns.features.numeric), list(columns.features.categorical), columns.label)
    if had != want:
        raise ConfigError(
            f"data: the model to start from was trained with other columns: it had {_listed(had)}, now {_listed(want)}"
        )


def _listed(columns: tuple[list[str], list[str], str]) -> str:
    numeric, categorical, label = columns
    return f"{', '.join([*numeric, *categorical])} and label {label}"
