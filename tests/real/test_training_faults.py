"""What goes wrong in a training, and how it is said: no gradient, no memory."""

from __future__ import annotations

import weakref

import pytest
import torch
from real_samples import frame, separable, train

from real.memory import DeviceOutOfMemory, telling_of_memory
from real.models import ModelError
from twinclock.errors import UserError


def model(name):
    return {"kind": "import", "path": f"training_parts:{name}"}


def test_a_loss_that_depends_on_no_weight_is_said_with_its_step():
    with pytest.raises(ModelError) as caught:
        train(separable(100), model=model("Deaf"), batch_size=10)
    where = "at step 1 (epoch 1, minibatch 1 of 10)"
    assert str(caught.value) == f"the gradient is empty {where}: the loss depends on no parameter of model Deaf"


def test_a_gradient_of_nothing_is_said_with_its_step():
    with pytest.raises(ModelError) as caught:
        train(separable(100), model=model("Mute"), batch_size=10, accumulate=4)
    text = str(caught.value)
    assert (
        "the gradient is exactly 0 at step 1 (epoch 1, minibatch 4 of 10), though the loss of a sample is 0.69" in text
    )
    assert "no parameter of model Mute" in text
    assert "\n" not in text


def test_samples_that_pull_in_opposite_directions_are_no_fault():
    """Alike, and half of each class: the gradient of logistic regression is exactly 0 where it begins."""
    rows = frame(a=[1.0, 1.0, 1.0], b=[0.0] * 3, c=["u"] * 3)[:2]
    assert train(rows, epochs=2, batch_size=2).loss == pytest.approx(0.6931, abs=1e-3)


def test_a_loss_of_zero_has_no_gradient_and_needs_none():
    assert train(frame(y=["p"] * 3), model={"kind": "mlp", "hidden": [4]}).loss == 0.0


def test_a_cpu_that_is_out_of_memory_says_how_much_was_asked_for():
    with pytest.raises(DeviceOutOfMemory) as caught:
        train(separable(64), model=model("Greedy"), batch_size=32)
    text = str(caught.value)
    assert text.startswith("cpu is out of memory with minibatches of 32 samples: asked for 119209289.55 GiB, ")
    assert text.endswith("or training.precision bf16")
    assert "\n" not in text
    assert issubclass(DeviceOutOfMemory, UserError)


def test_other_errors_of_torch_stay_what_they_are():
    with pytest.raises(RuntimeError, match="shapes cannot be multiplied"), telling_of_memory("cpu", "this"):
        torch.ones(2, 3) @ torch.ones(2, 3)


def test_what_the_failed_job_held_is_let_go():
    held = []

    def job():
        tensor = torch.ones(10)
        held.append(weakref.ref(tensor))
        torch.empty(10**16)

    with pytest.raises(DeviceOutOfMemory), telling_of_memory("cpu:0", "a job"):
        job()
    assert held[0]() is None


def test_a_loss_that_is_not_finite_is_said_with_step_and_minibatch_when_steps_have_several():
    wild = {"kind": "sgd", "lr": 1e30}
    with pytest.raises(ModelError, match=r"the loss is .* at step 2 \(epoch 1, minibatch [34] of 10\); try a smaller"):
        train(
            separable(100), model={"kind": "mlp", "hidden": [8]}, optimizer=wild, batch_size=10, accumulate=2, epochs=1
        )
