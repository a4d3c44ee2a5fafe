"""Every metric against its definition, and where it is not defined."""

from __future__ import annotations

import itertools
import math
import subprocess
import sys

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from real_samples import evaluation, frame, separable, stored, train
from sklearn.metrics import f1_score

from real.evaluator import TorchEvaluator
from real.metrics import score_numbers
from twinclock.errors import ConfigError
from twinclock.policies.metrics import METRIC_NAMES, find_metric, metric_names

F1 = ("f1_macro", "f1_micro", "f1_weighted")


@pytest.fixture(scope="module")
def three():
    """A model of three classes that knows a little."""
    rng = np.random.default_rng(0)
    a = rng.normal(size=300)
    labels = np.array(["low", "mid", "top"])[np.digitize(a + 0.5 * rng.normal(size=300), [-0.5, 0.5])]
    rows = pl.DataFrame({"a": a, "b": rng.normal(size=300), "c": rng.choice(["u", "v"], 300), "y": labels})
    return stored(train(rows, epochs=10, optimizer={"kind": "adam", "lr": 0.05})), rows


@pytest.fixture(scope="module")
def two():
    return stored(train(separable(), epochs=3, optimizer={"kind": "adam", "lr": 0.01}))


def values(model, rows, *metrics):
    scored = TorchEvaluator().evaluate(evaluation(model, rows, (0, rows.height), metrics=metrics))
    return {row["metric"]: row["value"] for row in scored}


def probabilities(model, rows):
    inputs = model.encoding.features(rows).astype(np.float64)
    logits = inputs @ model.weights["weight"].double().numpy().T + model.weights["bias"].double().numpy()
    exp = np.exp(logits - logits.max(axis=1, keepdims=True))
    return exp / exp.sum(axis=1, keepdims=True)


def naive_auc(is_it, score):
    """The share of pairs of a positive and a negative in which the positive scores higher; a tie is half a pair."""
    pairs = list(itertools.product(score[is_it], score[~is_it]))
    return sum(1.0 if p > n else 0.5 if p == n else 0.0 for p, n in pairs) / len(pairs)


def test_every_metric_of_the_table_is_computed(three, two):
    model, rows = three
    names = [name.replace("<n>", "2") for name in metric_names("classification") if name != "f1_binary"]
    assert all(0.0 <= value <= 1.5 for value in values(model, rows, *names).values())
    assert 0.0 < values(two, separable(60, seed=9), "f1_binary")["f1_binary"] <= 1.0
    assert [name for name in METRIC_NAMES if find_metric(name) is not None and name not in names] == [
        "f1_binary",
        "mae",
        "rmse",
        "r2",
    ]


def test_top_n_is_whether_the_label_is_among_the_n_most_likely(three):
    model, rows = three
    order = np.argsort(-probabilities(model, rows), axis=1, kind="stable")
    labels = model.encoding.labels(rows)[:, None]
    expected = {f"top_{n}_accuracy": (order[:, :n] == labels).any(axis=1).mean() for n in (1, 2, 3, 7)}
    assert values(model, rows, *expected) == pytest.approx(expected)
    assert expected["top_3_accuracy"] == 1.0
    assert values(model, rows, "accuracy")["accuracy"] == expected["top_1_accuracy"]


def test_a_label_never_seen_is_not_even_among_all_classes(three):
    model, rows = three
    assert values(model, rows.with_columns(y=pl.lit("new")), "top_9_accuracy") == {"top_9_accuracy": 0.0}


def test_of_equally_likely_classes_the_first_is_the_likelier():
    even = stored(train(frame(), epochs=1, optimizer={"kind": "sgd", "lr": 1e-30}))
    assert values(even, frame(y=["p", "p", "q"]), "accuracy", "top_2_accuracy") == pytest.approx(
        {"accuracy": 2 / 3, "top_2_accuracy": 1.0}
    )


def test_f1_is_that_of_the_labels_as_they_are_new_ones_included(three):
    model, rows = three
    labels = rows["y"].to_list()[:100]
    labels[3], labels[7], labels[8] = "new", "newer", "new"
    rows = rows[:100].with_columns(y=pl.Series(labels))
    predicted = np.array(model.encoding.classes)[probabilities(model, rows).argmax(axis=1)]
    expected = {name: f1_score(labels, predicted, average=name[3:], zero_division=0.0) for name in F1}
    assert values(model, rows, *F1) == pytest.approx(expected)
    assert values(model, rows, "f1_micro")["f1_micro"] == pytest.approx(values(model, rows, "accuracy")["accuracy"])


def test_f1_binary_is_that_of_the_second_class(two):
    rows = separable(80, seed=4)
    predicted = probabilities(two, rows).argmax(axis=1) == 1
    truth = (rows["y"] == "yes").to_numpy()
    expected = 2 * (predicted & truth).sum() / (predicted.sum() + truth.sum())
    assert values(two, rows, "f1_binary")["f1_binary"] == pytest.approx(expected)


def test_the_second_class_is_the_second_by_alphabet_not_by_when_it_was_met():
    rows = separable(200)
    first = stored(train(rows.with_columns(y=pl.lit("yes"))))
    options = {"epochs": 5, "optimizer": {"kind": "adam", "lr": 0.05}}
    late = stored(train(rows, start_from=first, **options))
    assert late.encoding.classes == ("yes", "no")
    in_order = stored(train(rows, **options))
    for metric in ("f1_binary", "roc_auc"):
        ours, theirs = values(late, rows, metric)[metric], values(in_order, rows, metric)[metric]
        assert ours == pytest.approx(theirs, abs=0.05)
        assert ours > 0.9


def test_f1_binary_of_many_classes_is_a_mistake(three):
    model, rows = three
    with pytest.raises(ConfigError, match="f1_binary is for two classes, the model knows 3; expected f1_macro"):
        values(model, rows, "f1_binary")


def test_roc_auc_of_two_classes(two):
    rows = separable(60, seed=4)
    expected = naive_auc((rows["y"] == "yes").to_numpy(), probabilities(two, rows)[:, 1])
    assert values(two, rows, "roc_auc")["roc_auc"] == pytest.approx(expected)
    with_new = rows.with_columns(y=pl.Series(["new" if row % 5 == 0 else y for row, y in enumerate(rows["y"])]))
    against_all = naive_auc((with_new["y"] == "yes").to_numpy(), probabilities(two, rows)[:, 1])
    assert values(two, with_new, "roc_auc")["roc_auc"] == pytest.approx(against_all)


def test_roc_auc_of_many_classes_is_the_mean_over_those_that_are_there(three):
    model, rows = three
    rows = rows.filter(pl.col("y") != "mid")[:60]
    each = probabilities(model, rows)
    y = rows["y"].to_numpy()
    both = [naive_auc(y == name, each[:, model.encoding.classes.index(name)]) for name in ("low", "top")]
    assert values(model, rows, "roc_auc")["roc_auc"] == pytest.approx(np.mean(both))
    with_new = rows.with_columns(y=pl.Series(["new", *rows["y"].to_list()[1:]]))
    y = with_new["y"].to_numpy()
    both = [naive_auc(y == name, each[:, model.encoding.classes.index(name)]) for name in ("low", "top")]
    assert values(model, with_new, "roc_auc")["roc_auc"] == pytest.approx(np.mean([*both, 0.5]))


def test_where_a_metric_is_not_defined_it_is_none(two):
    one_label = separable(40).with_columns(y=pl.lit("yes"))
    assert values(two, one_label, "roc_auc") == {"roc_auc": None}
    assert values(two, separable(40).with_columns(y=pl.lit("new")), "roc_auc") == {"roc_auc": None}
    only = stored(train(frame(y=["p", "p", "p"])))
    assert values(only, frame(), "f1_binary", "roc_auc") == {"f1_binary": None, "roc_auc": 0.5}
    sure = stored(train(frame(a=[0.0, 5.0, 0.0], y=["p", "q", "p"]), epochs=50, optimizer={"kind": "adam", "lr": 0.1}))
    first = frame(a=[0.0, 5.0, 0.0])[:1]
    assert values(sure, first, "f1_binary", "f1_macro") == {"f1_binary": None, "f1_macro": 1.0}
    nothing = [row["value"] for row in TorchEvaluator().evaluate(evaluation(two, frame(), (1, 1), metrics=F1))]
    assert nothing == [None, None, None]


def test_intervals_share_what_was_predicted(three):
    model, rows = three
    metrics = ("f1_macro", "roc_auc", "top_2_accuracy")
    spans = [(0, 100), (50, 200), (0, 100)]
    scored = TorchEvaluator().evaluate(evaluation(model, rows, *spans, metrics=metrics))
    assert [row["value"] for row in scored] == pytest.approx(
        [value for first, stop in spans for value in values(model, rows[first:stop], *metrics).values()]
    )


@pytest.mark.parametrize(
    ("metrics", "loaded"),
    [
        (["accuracy", "top_3_accuracy", "log_loss", "of_my_own"], False),
        (["accuracy", "f1_macro"], True),
        (["r2"], True),
    ],
)
def test_scikit_learn_is_loaded_for_what_needs_it(metrics, loaded):
    code = f"import sys; from real.metrics import load_what_is_needed as load; load({metrics}); "
    code += "print('sklearn.metrics' in sys.modules)"
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert told.stdout.strip() == str(loaded)


# Regression


def test_errors_of_numbers_by_hand():
    label, predicted = np.array([1.0, 2.0, 6.0]), np.array([1.0, 4.0, 5.0])
    assert score_numbers("mae", label, predicted) == pytest.approx(1.0)
    assert score_numbers("rmse", label, predicted) == pytest.approx(math.sqrt(5 / 3))
    assert score_numbers("r2", label, predicted) == pytest.approx(1 - 5 / 14)


def test_numbers_without_variance_have_no_r2():
    assert score_numbers("r2", np.array([2.0, 2.0]), np.array([2.0, 2.0])) is None
    assert score_numbers("r2", np.array([2.0]), np.array([1.0])) is None
    assert score_numbers("mae", np.array([2.0]), np.array([1.0])) == 1.0
    for metric in metric_names("regression"):
        assert score_numbers(metric, np.empty(0), np.empty(0)) is None


@settings(deadline=None)
@given(st.lists(st.tuples(st.floats(-1e300, 1e300), st.floats(-1e300, 1e300)), min_size=1, max_size=5))
def test_a_value_is_finite_or_none(pairs):
    label, predicted = np.array(pairs).T
    for metric in metric_names("regression"):
        with np.errstate(all="ignore"):
            value = score_numbers(metric, label, predicted)
        assert value is None or math.isfinite(value)
