"""The proxy: a small model that is really fitted, the same as one fitted by hand."""

from __future__ import annotations

import warnings

import numpy as np
import polars as pl
import pytest
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression

import twinclock as tc
from sim.quality import ProxyQuality, ProxyScores
from sim.quality.encoding import all_samples, fitted_encoder
from twinclock.config import TrainingConfig
from twinclock.dataset import TableConfig, load_table
from twinclock.errors import ConfigError

NUM = 1200
SEED = 5


def frame(num_samples=NUM):
    """Two classes that a line parts, another line in the second half; a third class and category come late."""
    rng = np.random.default_rng(0)
    a, b = rng.normal(size=(2, num_samples))
    first_half = np.arange(num_samples) < 600
    label = np.where(np.where(first_half, a + b, a - b) > 0, "y", "x")
    label[1000:1050] = "new"
    color = np.where(rng.random(num_samples) < 0.5, "red", "blue")
    color[1000:] = "green"
    holes = np.where(rng.random(num_samples) < 0.1, np.nan, a)
    return pl.DataFrame(
        {"time": np.arange(num_samples, dtype=float), "a": holes, "b": b, "color": color, "label": label}
    )


@pytest.fixture(scope="module")
def config(tmp_path_factory):
    path = tmp_path_factory.mktemp("data") / "samples.parquet"
    frame().write_parquet(path)
    features = {"numeric": ["a", "b"], "categorical": ["color"]}
    return {"kind": "table", "path": str(path), "time": "time", "label": "label", "features": features}


@pytest.fixture(scope="module")
def table(config):
    return load_table(TableConfig.model_validate(config))


def recipe(*ranges, seed=SEED):
    total = sum(stop - first for first, stop in ranges)
    method = {"kind": "new_data", "keep": "last"}
    return {"ranges": [list(each) for each in ranges], "num_samples": total, "method": method, "seed": seed}


def job(serial, *ranges, parent=None):
    start_from = None if parent is None else {"trigger": parent, "path": ""}
    return {"trigger": serial, "training_set": recipe(*ranges), "start_from": start_from}


def proxy(table, *jobs, learner="logistic", max_samples=None, seed=SEED, **training):
    quality = ProxyQuality(learner=learner, max_samples=max_samples)
    scores = ProxyScores(quality, table, TrainingConfig.model_validate(training), seed)
    for each in jobs:
        scores.trained(each)
    return scores


def scored(scores, serial, first, stop):
    interval = {"start": float(first), "end": float(stop), "first": first, "stop": stop}
    return scores.score({"trigger": serial}, interval, "accuracy", span=(float(first), float(stop)))


def by_hand(rows, mean=None, std=None):
    """The features as anybody would encode them, for the categories red and blue; `a` has gaps."""
    numbers = rows.select("a", "b").to_numpy()
    mean = np.nanmean(numbers, axis=0) if mean is None else mean
    std = np.nanstd(numbers, axis=0) if std is None else std
    colors = [(rows["color"] == each).to_numpy().astype(float) for each in ("blue", "red")]
    return np.column_stack([np.nan_to_num((numbers - mean) / std), np.isnan(numbers[:, 0]), *colors]), mean, std


def test_logistic_regression_is_that_of_scikit_learn(table):
    train, test = frame()[100:500], frame()[500:1000]
    x, mean, std = by_hand(train)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        model = LogisticRegression().fit(x, train["label"].to_numpy())
    right = model.predict(by_hand(test, mean, std)[0]) == test["label"].to_numpy()
    scores = proxy(table, job(3, (100, 500)))
    for first, stop in [(500, 1000), (500, 501), (600, 730)]:
        assert scored(scores, 3, first, stop) == pytest.approx(right[first - 500 : stop - 500].mean())


MODELS = [{"model": {"kind": "logistic"}, "optimizer": {"lr": 0.03}}, {"model": {"kind": "mlp", "hidden": [16]}}]
OPTIMIZERS = [
    {"kind": "sgd", "lr": 0.1},
    {"kind": "sgd", "lr": 0.05, "momentum": 0.9, "weight_decay": 0.01},
    {"kind": "adam", "lr": 0.01},
    {"kind": "adam", "lr": 0.003, "weight_decay": 0.1},
]


@pytest.mark.parametrize("optimizer", OPTIMIZERS, ids=lambda each: " ".join(map(str, each.values())))
@pytest.mark.parametrize("hidden", [None, [], [5], [8, 3]], ids=str)
def test_descent_is_that_of_torch(table, optimizer, hidden):
    """The same layers, from the same weights, after the same minibatches."""
    import torch
    from torch import nn

    from sim.quality.learner import _fresh
    from twinclock.policies import selection
    from twinclock.seeds import Purpose, derived_seed

    model = {"kind": "logistic"} if hidden is None else {"kind": "mlp", "hidden": hidden}
    training = {"model": model, "epochs": 3, "batch_size": 16, "accumulate": 2, "optimizer": optimizer}
    ours = proxy(table, job(3, (100, 500)), learner="descent", **training).model(3)

    rows = frame()[selection.positions(recipe((100, 500)))]
    _, mean, std = by_hand(frame()[100:500])
    x = torch.tensor(by_hand(rows, mean, std)[0], dtype=torch.float64)
    y = torch.tensor((rows["label"] == "y").to_numpy().astype(np.int64))
    config = TrainingConfig.model_validate(training)
    start = _fresh(config.model, 5, 2, derived_seed(SEED, Purpose.PROXY, 3))
    layers = [nn.Linear(*each.weights.shape, dtype=torch.float64) for each in start]
    with torch.no_grad():
        for layer, weights in zip(layers, start, strict=True):
            layer.weight.copy_(torch.tensor(weights.weights.T))
            layer.bias.copy_(torch.tensor(weights.bias))
    between = [each for layer in layers for each in (layer, nn.ReLU())]
    net = nn.Sequential(*between[:-1])
    kind, values = optimizer["kind"], {key: value for key, value in optimizer.items() if key != "kind"}
    steps = (torch.optim.Adam if kind == "adam" else torch.optim.SGD)(net.parameters(), **values)
    for _ in range(3):
        for begin in range(0, 400, 32):
            steps.zero_grad()
            nn.functional.cross_entropy(net(x[begin : begin + 32]), y[begin : begin + 32]).backward()
            steps.step()
    for layer, found in zip(layers, ours.layers, strict=True):
        assert found.weights == pytest.approx(layer.weight.detach().numpy().T, abs=1e-9)
        assert found.bias == pytest.approx(layer.bias.detach().numpy(), abs=1e-9)


def test_hidden_layers_stay_narrow_and_begin_as_those_of_torch():
    from sim.quality.learner import _fresh

    model = TrainingConfig.model_validate({"model": {"kind": "mlp", "hidden": [1000, 20]}}).model
    layers, again, other = (_fresh(model, 400, 3, seed) for seed in (7, 7, 8))
    assert [each.weights.shape for each in layers] == [(400, 64), (64, 20), (20, 3)]
    for layer, same, another in zip(layers, again, other, strict=True):
        reach = layer.weights.shape[0] ** -0.5
        assert np.abs(layer.bias).max() <= reach
        assert 0.9 * reach < np.abs(layer.weights).max() <= reach
        assert np.array_equal(layer.weights, same.weights)
        assert not np.array_equal(layer.weights, another.weights)
    (convex,) = _fresh(TrainingConfig().model, 400, 3, 7)
    assert not convex.weights.any()


def test_each_seed_of_a_run_is_another_draw(table):
    network = {"model": {"kind": "mlp"}, "epochs": 1}
    one, other = (proxy(table, job(3, (100, 500)), learner="descent", seed=seed, **network) for seed in (0, 1))
    assert not np.array_equal(one.model(3).layers[0].weights, other.model(3).layers[0].weights)


def test_what_is_held_out_is_not_trained_on(table):
    for learner in ("descent", "logistic"):
        whole = proxy(table, job(3, (100, 400)), learner=learner)
        older = proxy(table, job(3, (100, 500)), learner=learner, validation={"share": 0.25})
        assert sorted(older._positions(3)) == sorted(whole._positions(3)) == list(range(100, 400))


def test_a_model_that_gets_few_steps_is_no_better_here(table):
    """What made the fitted learner useless for networks: theirs is a question of steps, not of samples only."""
    few = {"model": {"kind": "mlp"}, "batch_size": 64, "optimizer": {"lr": 0.001}}
    brief = proxy(table, job(0, (0, 500)), learner="descent", epochs=1, **few)
    long = proxy(table, job(0, (0, 500)), learner="descent", epochs=60, **few)
    assert scored(long, 0, 500, 600) > scored(brief, 0, 500, 600) + 0.05


@pytest.mark.parametrize("kind", ["adam", "sgd"])
def test_an_absurd_learning_rate_is_told(table, kind):
    """A real training would fail. Weights that are enormous, and finite, give answers, if not good ones."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        wild = {"model": {"kind": "mlp", "hidden": [8, 8]}, "optimizer": {"kind": kind, "lr": 1e300}}
        told = r"^training.optimizer.lr: got 1e\+300, .* the training of trigger 0; expected"
        with pytest.raises(ConfigError, match=told):
            scored(proxy(table, job(0, (0, 500)), learner="descent", **wild), 0, 500, 600)
        once = proxy(table, job(0, (0, 500)), learner="descent", epochs=1, batch_size=500, **wild)
        assert 0.0 <= scored(once, 0, 500, 600) <= 1.0


def test_accuracy_moves_with_the_data(table):
    scores = proxy(table, job(0, (0, 500)), job(1, (600, 1000)))
    assert scored(scores, 0, 500, 600) > 0.8
    assert scored(scores, 0, 600, 1000) < 0.65, "the line has moved"
    assert scored(scores, 1, 600, 1000) > 0.8
    assert scored(scores, 1, 1000, 1050) == 0.0, "a class that it has never seen"


def test_a_warm_start_begins_where_the_parent_ended(table):
    few = {"learner": "descent", "epochs": 1, "batch_size": 64, "optimizer": {"lr": 0.1}}
    jobs = [job(0, (0, 500)), job(1, (500, 520), parent=0), job(2, (500, 520))]
    scores = proxy(table, *jobs, **few)
    assert scored(scores, 1, 520, 600) > scored(scores, 2, 520, 600)
    together = scores.model(1)
    (child,), (parent,) = together.layers, scores.model(0).layers
    assert 0.05 < np.abs(child.weights - parent.weights).max() < 0.2, "one step away"


@pytest.mark.parametrize("training", MODELS)
def test_a_warm_start_forgets_and_learns(table, training):
    jobs = [job(0, (0, 600)), job(1, (600, 1000), parent=0)]
    scores = proxy(table, *jobs, learner="descent", epochs=20, batch_size=16, **training)
    assert scored(scores, 0, 0, 600) > scored(scores, 1, 0, 600) + 0.1, "forgotten"
    assert scored(scores, 1, 600, 1000) > scored(scores, 0, 600, 1000) + 0.1, "learned"


@pytest.mark.parametrize("training", MODELS)
def test_new_classes_and_categories_find_a_place(table, training):
    jobs = [job(0, (0, 600)), job(1, (950, 1200), parent=0)]
    scores = proxy(table, *jobs, learner="descent", epochs=30, batch_size=8, **training)
    older, newer = scores.model(0), scores.model(1)
    assert len(newer.classes) == len(older.classes) + 1
    assert newer.encoder.num_inputs == older.encoder.num_inputs + 1
    assert newer.encoder.mean.tolist() == older.encoder.mean.tolist()
    assert scored(scores, 1, 600, 950) > 0.6


def test_a_gap_that_comes_later_gets_a_mark(table):
    numbers = frame()["a"].to_numpy()
    whole = next(n for n in range(NUM) if np.isfinite(numbers[n : n + 20]).all())
    jobs = [job(0, (whole, whole + 20)), job(1, (0, 600), parent=0)]
    older, newer = (proxy(table, *jobs, learner="descent").model(n).encoder for n in (0, 1))
    assert (older.gaps.tolist(), newer.gaps.tolist()) == ([], [0])
    assert newer.num_inputs == older.num_inputs + 1
    samples, at = all_samples(table), np.arange(NUM)
    assert np.array_equal(newer.inputs(samples, at)[:, newer.places_of(older)], older.inputs(samples, at))


def test_a_long_line_of_warm_starts_is_no_trouble(table):
    jobs = [job(n, (n % 1000, n % 1000 + 2), parent=n - 1 if n else None) for n in range(2000)]
    scores = proxy(table, *jobs, learner="descent", epochs=1)
    assert 0.0 <= scored(scores, 1999, 0, 100) <= 1.0


def test_a_small_model_is_fitted_once_and_only_if_asked_about(table, monkeypatch):
    from sim.quality import proxy as module

    fitted = []
    logistic = module.logistic
    monkeypatch.setattr(module, "logistic", lambda samples, at: fitted.append(len(at)) or logistic(samples, at))
    scores = proxy(table, job(0, (0, 500)), job(1, (0, 400)))
    assert fitted == []
    assert [scored(scores, 0, 500, 600), scored(scores, 0, 500, 600), scored(scores, 0, 0, 600)]
    assert fitted == [500]


def test_a_training_that_begins_again_counts_as_it_was_the_last_time(table):
    again = proxy(table, job(0, (0, 500)), job(0, (600, 1000)))
    assert scored(again, 0, 0, 1000) == scored(proxy(table, job(0, (600, 1000))), 0, 0, 1000)


def test_at_most_so_many_samples_a_uniform_draw(table):
    from twinclock.policies import selection

    scores = proxy(table, job(0, (0, 600)), max_samples=50)
    drawn = selection.positions(recipe((0, 600)))[:50]
    assert scores._positions(0).tolist() == drawn.tolist()
    assert len(np.unique(drawn)) == 50
    assert 200 < drawn.mean() < 400


def test_one_class_is_all_that_is_said(table):
    at = int(np.flatnonzero((frame()["label"] == "x").to_numpy())[0])
    scores = proxy(table, job(0, (at, at + 1)))
    expected = (frame()["label"][200:600] == "x").mean()
    assert scored(scores, 0, 200, 600) == pytest.approx(expected)


def test_its_errors_are_those_that_the_accuracy_counts(table):
    scores = proxy(table, job(0, (0, 500)))
    errors = scores.errors({"trigger": 0}, 300, 900)
    assert set(errors) == {0.0, 1.0}
    assert scored(scores, 0, 300, 900) == pytest.approx(1 - errors.mean())
    assert np.array_equal(scores.errors({"trigger": 0}, 400, 410), errors[100:110])


def test_the_same_twice_and_more_rows_than_a_block(table, monkeypatch):
    from sim.quality import network

    before = proxy(table, job(0, (0, 500))).errors({"trigger": 0}, 0, NUM)
    monkeypatch.setattr(network, "_ROWS", 7)
    assert np.array_equal(proxy(table, job(0, (0, 500))).errors({"trigger": 0}, 0, NUM), before)


def test_what_comes_later_in_the_table_changes_nothing(config, tmp_path):
    """Neither a new category, nor a new label, nor wild numbers."""
    rows = frame()
    wild = rows[1000:].with_columns(
        pl.lit("aaa").alias("label"), pl.lit("amber").alias("color"), (pl.col("b") * 1e9).alias("b")
    )
    pl.concat([rows[:1000], wild]).write_parquet(tmp_path / "wild.parquet")
    other = load_table(TableConfig.model_validate({**config, "path": str(tmp_path / "wild.parquet")}))
    same = load_table(TableConfig.model_validate(config))
    for learner in ("logistic", "descent"):
        ours, theirs = (proxy(each, job(0, (0, 900)), learner=learner) for each in (same, other))
        for our, their in zip(ours.model(0).layers, theirs.model(0).layers, strict=True):
            assert np.array_equal(our.weights, their.weights)
        assert np.array_equal(ours.errors({"trigger": 0}, 0, 1000), theirs.errors({"trigger": 0}, 0, 1000))


def test_columns_that_say_nothing_and_numbers_without_measure(tmp_path):
    hostile = pl.DataFrame(
        {
            "time": np.arange(40.0),
            "constant": np.full(40, 3.0),
            "gone": pl.Series([None] * 40, dtype=pl.Float64),
            "wild": np.where(np.arange(40) % 3 == 0, np.inf, 1e300 * np.arange(40)),
            "c": pl.Series([None, "u", "v", None] * 10),
            "label": [True, False] * 20,
        }
    )
    hostile.write_parquet(tmp_path / "hostile.parquet")
    features = {"numeric": ["constant", "gone", "wild"], "categorical": ["c"]}
    table = load_table(
        TableConfig.model_validate(
            {"path": str(tmp_path / "hostile.parquet"), "time": "time", "label": "label", "features": features}
        )
    )
    samples = all_samples(table)
    encoder = fitted_encoder(samples, np.arange(20))
    inputs = encoder.inputs(samples, np.arange(40))
    assert inputs.shape == (40, 8), "two have gaps, and so a mark each"
    assert inputs[:, 3:5].tolist() == [[1.0, float(n % 3 == 0)] for n in range(40)]
    assert np.isfinite(inputs).all()
    assert 0.0 <= scored(proxy(table, job(0, (0, 20))), 0, 0, 40) <= 1.0


def test_of_too_many_categories_the_frequent_ones_are_kept(tmp_path):
    from sim.quality.encoding import _MAX_CATEGORIES

    many = pl.DataFrame({"time": np.arange(400.0), "c": [*range(300), *range(100, 200)], "label": ["x", "y"] * 200})
    many.write_parquet(tmp_path / "many.parquet")
    config = {"path": str(tmp_path / "many.parquet"), "time": "time", "label": "label"}
    table = load_table(TableConfig.model_validate({**config, "features": {"categorical": ["c"]}}))
    samples = all_samples(table)
    (known,) = fitted_encoder(samples, np.arange(400)).categories
    assert len(known) == _MAX_CATEGORIES
    assert set(known) == set(samples.codes[100:200, 0])


def test_a_run_with_the_proxy_is_the_same_twice(config):
    made = {
        "data": config,
        "batching": {"n": 100},
        "trigger": {"kind": "performance", "interval": 100, "rules": [{"kind": "static", "threshold": 0.75}]},
        "evaluation": {"plans": [{"kind": "between_triggers"}]},
        "selection": {"kind": "freshness", "unused": 60},
        "training": {"start_from": "active", "epochs": 3},
        "sim": {"quality": {"kind": "proxy", "learner": "descent"}},
    }
    first, second = (tc.run(made, on="sim") for _ in range(2))
    assert first.models.height > 2
    assert all(first.tables[name].equals(second.tables[name]) for name in first.tables)
