from __future__ import annotations

import math
import sys

import numpy as np
import polars as pl
import pytest
import torch
from real_samples import COLUMNS, context, frame, separable, stored, train
from safetensors.torch import save

from real.models import ModelError, build_model
from real.trainer import Progress, StoppedError, TorchTrainer, TrainingContext
from twinclock.config import ImportedModelConfig, LogisticConfig, MlpConfig, OptimizerConfig, TrainingConfig
from twinclock.dataset import TableConfig, load_table
from twinclock.errors import ConfigError, UserError

MLP = {"kind": "mlp", "hidden": [8]}


def test_it_learns_on_the_bundled_data():
    table = load_table(TableConfig(dataset="portal_rodents"))
    rows = table.rows([[0, 6000]])
    progress: list[Progress] = []
    result = TorchTrainer().fit(
        TrainingContext(
            rows=rows,
            columns=table.columns,
            config=TrainingConfig(epochs=3, optimizer=OptimizerConfig(lr=0.01)),
            seed=1,
            device="cpu",
            start_from=None,
            report=progress.append,
            should_stop=lambda: False,
        )
    )
    model = build_model(
        LogisticConfig(), num_inputs=result.encoding.num_inputs, num_classes=result.encoding.num_classes
    )
    model.load_state_dict(dict(result.weights))
    held_out = table.rows([[6000, 7000]])
    with torch.inference_mode():
        predicted = model(torch.from_numpy(result.encoding.features(held_out))).argmax(dim=1).numpy()
    labels = result.encoding.labels(held_out)
    majority = np.bincount(result.encoding.labels(rows)).argmax()
    assert (predicted == labels).mean() > (labels == majority).mean() + 0.2

    assert result.num_steps == progress[-1].step == progress[-1].num_steps == 3 * math.ceil(6000 / 64)
    assert [each.epoch for each in progress] == sorted(each.epoch for each in progress)
    assert result.loss < progress[0].loss


@pytest.mark.parametrize("model", [{"kind": "logistic"}, MLP])
def test_same_seed_same_weights_to_the_last_bit(model):
    rows = separable()
    first, again, other = (train(rows, model=model, seed=seed) for seed in (1, 1, 2))
    assert save(dict(first.weights)) == save(dict(again.weights))
    assert first.loss == again.loss
    assert save(dict(first.weights)) != save(dict(other.weights))


def test_the_global_random_stream_is_left_alone():
    before = torch.random.get_rng_state()
    train(separable(50), model=MLP)
    assert torch.equal(torch.random.get_rng_state(), before)


def test_features_with_gaps_are_no_obstacle():
    rows = frame(a=[math.nan, 2.0, None], b=[math.inf, -math.inf, 1.0], c=[None, "v", None])
    assert math.isfinite(train(rows).loss)


def test_one_class_is_learnt():
    result = train(frame(y=["p", "p", "p"]))
    assert result.encoding.classes == ("p",)
    assert result.loss == 0.0


def test_the_loss_is_the_mean_over_samples_not_minibatches():
    rows = frame(a=[1.0, 1.0, 1.0], b=[0.0, 0.0, 0.0], c=["u", "u", "u"], y=["p", "p", "q"])
    tiny = {"optimizer": {"kind": "sgd", "lr": 1e-12}, "epochs": 2}
    assert train(rows, batch_size=2, **tiny).loss == pytest.approx(math.log(2))
    result = train(rows, batch_size=1, **tiny)
    assert result.loss == pytest.approx(math.log(2))
    assert result.num_steps == 6


def test_no_samples_is_said():
    with pytest.raises(ModelError, match="the training set has 0 samples"):
        train(frame().clear())


def test_starting_from_a_model_goes_on_where_it_was():
    rows = separable()
    first = train(rows, model=MLP, epochs=8, optimizer={"kind": "adam", "lr": 0.02})
    scratch = train(rows, model=MLP, epochs=1)
    warm = train(rows, model=MLP, epochs=1, start_from=stored(first, model=MLP))
    assert warm.encoding == first.encoding
    assert warm.loss < 0.5 * scratch.loss


@pytest.mark.parametrize("model", [{"kind": "logistic"}, MLP])
def test_new_classes_and_categories_leave_the_old_weights_in_place(model):
    first = train(separable(), model=model)
    grown = separable().with_columns(
        c=pl.Series(["w" if row % 3 == 0 else "u" for row in range(400)]),
        y=pl.Series(["maybe" if row % 5 == 0 else "no" for row in range(400)]),
    )
    options = {"epochs": 1, "batch_size": 400, "optimizer": {"kind": "sgd", "lr": 1e-12}}
    warm = train(grown, model=model, start_from=stored(first, model=model), **options)
    assert warm.encoding.classes == ("no", "yes", "maybe")
    assert warm.encoding.num_inputs == first.encoding.num_inputs + 1
    grew = 0
    for name, old in first.weights.items():
        new = warm.weights[name]
        grew += new.numel() > old.numel()
        assert torch.allclose(new[tuple(slice(size) for size in old.shape)], old, atol=1e-6), name
    assert grew == {"logistic": 2, "mlp": 3}[model["kind"]]


def test_another_architecture_can_not_go_on_with_a_model():
    first = train(separable(), model=MLP)
    with pytest.raises(ModelError, match="other weights"):
        train(separable(), start_from=stored(first, model=MLP))
    with pytest.raises(ModelError, match="does not fit"):
        train(separable(), model={"kind": "mlp", "hidden": [4]}, start_from=stored(first, model=MLP))


def test_clipping_bounds_the_step():
    rows = frame(y=["p", "q", "p"])
    options = {"epochs": 1, "batch_size": 3, "optimizer": {"kind": "sgd", "lr": 1.0}}
    free, clipped = (train(rows, clip_norm=norm, **options) for norm in (None, 0.01))

    def length(result):  # logistic regression starts at zero: the weights are the one step
        return math.sqrt(sum(float((each**2).sum()) for each in result.weights.values()))

    assert length(free) > 0.1
    assert length(clipped) == pytest.approx(0.01, rel=1e-3)


def test_weight_decay_shrinks_the_weights():
    plain, decayed = (
        train(separable(), optimizer={"kind": "sgd", "lr": 0.1, "weight_decay": decay}) for decay in (0.0, 1.0)
    )
    assert decayed.weights["weight"].norm() < 0.5 * plain.weights["weight"].norm()


def test_a_loss_that_is_not_finite_is_said_with_its_step():
    rows = separable(640)
    wild = {"kind": "sgd", "lr": 1e30}
    with pytest.raises(ModelError) as caught:
        train(rows, model=MLP, optimizer=wild, batch_size=64)
    text = str(caught.value)
    assert "\n" not in text
    assert "(epoch 1, minibatch " in text
    assert "of 10)" in text
    assert "training.clip_norm" in text


def test_it_stops_between_two_steps_when_asked_to():
    asked = []

    def should_stop() -> bool:
        asked.append(True)
        return len(asked) > 7

    with pytest.raises(StoppedError):
        train(separable(), should_stop=should_stop, batch_size=10)
    assert len(asked) == 8


USER_MODULE = """
import torch

class Net(torch.nn.Linear):
    def __init__(self, num_inputs, num_classes, scale=1.0):
        super().__init__(num_inputs, num_classes)
        self.register_buffer("scale", torch.tensor(scale))

    def forward(self, inputs):
        return self.scale * super().forward(inputs)

class Flat(Net):
    def forward(self, inputs):
        return super().forward(inputs).sum(dim=1)

class Two(Net):
    def forward(self, inputs):
        return super().forward(inputs), None

def no_module(num_inputs, num_classes):
    return "a string"

constant = 3
"""


@pytest.fixture
def user_module(tmp_path, monkeypatch):
    (tmp_path / "user_models.py").write_text(USER_MODULE)
    (tmp_path / "broken_models.py").write_text("import torch\nraise RuntimeError('first line\\nsecond line')\n")
    (tmp_path / "needy_models.py").write_text("import not_installed_anywhere\n")
    monkeypatch.syspath_prepend(tmp_path)
    yield
    for name in ("user_models", "broken_models", "needy_models"):
        sys.modules.pop(name, None)


def test_a_model_class_of_the_users_own(user_module):
    model = {"kind": "import", "path": "user_models:Net", "args": {"scale": 2.0}}
    first = train(separable(), model=model)
    warm = train(separable(labels=("no", "new")), model=model, start_from=stored(first, model=model))
    assert warm.encoding.classes == ("no", "yes", "new")
    assert warm.weights["scale"] == 2.0
    assert warm.weights["weight"].shape == (3, 4)


def test_a_model_class_is_also_looked_for_in_the_working_directory(tmp_path, monkeypatch):
    (tmp_path / "models_lying_about.py").write_text(USER_MODULE)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    build_model(ImportedModelConfig(path="models_lying_about:Net"), num_inputs=1, num_classes=1)


@pytest.mark.parametrize(
    ("path", "args", "message"),
    [
        ("no_such_module:Net", {}, "no module 'no_such_module'"),
        ("needy_models:Net", {}, "no module 'not_installed_anywhere'"),
        ("broken_models:Net", {}, "RuntimeError: first line second line"),
        ("user_models:net", {}, "no 'net'; did you mean Net"),
        ("user_models:constant", {}, "is a int, expected a class"),
        ("user_models:no_module", {}, "gives a str, expected a torch.nn.Module"),
        ("user_models:Net", {"width": 3}, "Net(num_inputs=2, num_classes=2, width=3) failed: TypeError"),
        ("__main__:Net", {}, "a worker process can't import"),
    ],
)
def test_a_model_class_that_can_not_be_had_is_one_line(user_module, path, args, message):
    with pytest.raises(ConfigError) as caught:
        build_model(ImportedModelConfig(path=path, args=args), num_inputs=2, num_classes=2)
    text = str(caught.value)
    assert text.startswith("training.model.path: ")
    assert path in text or path.split(":")[0] in text
    assert message in text
    assert "\n" not in text


def test_weights_that_end_up_not_finite_are_never_a_result(user_module):
    model = {"kind": "import", "path": "user_models:Net", "args": {"scale": 1e3}}
    with pytest.raises(ModelError, match="weights are not finite after the last step, which is 1"):
        train(frame(), model=model, epochs=1, batch_size=3, optimizer={"kind": "sgd", "lr": 1e38})


@pytest.mark.parametrize(("name", "got"), [("Flat", r"shape \(3,\)"), ("Two", "a tuple")])
def test_a_model_that_gives_no_logits_is_said(user_module, name, got):
    with pytest.raises(ModelError, match=rf"{name} gives {got}, expected a tensor of shape \(3, 2\)"):
        train(frame(), model={"kind": "import", "path": f"user_models:{name}"})


def test_an_mlp_without_hidden_layers_is_linear():
    assert [
        tuple(each.shape) for each in build_model(MlpConfig(hidden=()), num_inputs=3, num_classes=2).parameters()
    ] == [
        (2, 3),
        (2,),
    ]


def test_errors_are_the_users_to_mend():
    assert issubclass(ModelError, UserError)
    assert context(frame()).columns is COLUMNS
