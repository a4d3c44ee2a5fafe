"""What only a GPU has: half precision with a scaled loss, pinned memory, memory that runs out, compiled kernels."""

from __future__ import annotations

import itertools
from dataclasses import replace

import pytest
import torch
from real_samples import context, separable, stored
from training_parts import Noting

from real.memory import DeviceOutOfMemory, telling_of_memory
from real.trainer import StoppedError, TorchTrainer
from real.training import samples

pytestmark = [
    pytest.mark.cuda,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA device"),
]

MLP = {"kind": "mlp", "hidden": [16]}
ADAM = {"kind": "adam", "lr": 0.02}
NOTING = {"kind": "import", "path": "training_parts:Noting"}


def train(rows, **options):
    return TorchTrainer().fit(replace(context(rows, **options), device="cuda:0"))


@pytest.mark.parametrize(("precision", "dtype"), [("bf16", torch.bfloat16), ("fp16", torch.float16)])
def test_half_precision_learns_as_well(precision, dtype):
    Noting.dtypes.clear()
    options = {"model": NOTING, "optimizer": ADAM, "epochs": 10, "clip_norm": 1.0, "schedule": {"kind": "cosine"}}
    half, whole = (train(separable(), precision=each, **options) for each in (precision, "fp32"))
    assert dtype in Noting.dtypes
    assert half.loss == pytest.approx(whole.loss, abs=0.02)
    assert {each.dtype for each in half.weights.values()} == {torch.float32}


@pytest.mark.parametrize("precision", ["fp32", "fp16"])
def test_it_goes_on_from_a_checkpoint(precision):
    options = {"model": MLP, "optimizer": ADAM, "epochs": 3, "batch_size": 50, "precision": precision}
    whole, kept, asked = train(separable(), **options), [], itertools.count()
    with pytest.raises(StoppedError):
        train(separable(), should_stop=lambda: next(asked) == 11, save_checkpoint=kept.append, **options)
    rest = train(separable(), resume_from=kept[-1], **options)
    for name, each in whole.weights.items():
        assert torch.allclose(rest.weights[name], each, atol=1e-5), name


def test_samples_that_do_not_fit_stay_in_pinned_memory(monkeypatch):
    options = {"model": MLP, "optimizer": ADAM, "class_weights": "balanced", "epochs": 3}
    on_device = train(separable(), **options)
    monkeypatch.setattr(samples, "has_room", lambda num_bytes, device: False)
    pinned, empty = [], torch.empty

    def noted(*args, **keys):
        pinned.append(keys.get("pin_memory", False))
        return empty(*args, **keys)

    monkeypatch.setattr(torch, "empty", noted)
    on_host = train(separable(), downsample=None, **options)
    assert sum(pinned) == 2 * on_host.num_steps
    for name, each in on_device.weights.items():
        assert torch.allclose(on_host.weights[name], each, atol=1e-5), name
    train(separable(), downsample={"kind": "loss", "ratio": 0.5}, **options)


def test_whether_there_is_room_is_asked_of_the_device():
    device = torch.device("cuda:0")
    free_bytes, _ = torch.cuda.mem_get_info(device)
    assert samples.has_room(1000, device)
    assert not samples.has_room(free_bytes, device)


def test_its_memory_running_out_is_said_and_the_next_job_has_room():
    torch.cuda.empty_cache()
    before, _ = torch.cuda.mem_get_info(0)

    def fill() -> list[torch.Tensor]:
        return [torch.empty(2**32, dtype=torch.uint8, device="cuda:0") for _ in itertools.count()]

    with pytest.raises(DeviceOutOfMemory) as caught, telling_of_memory("cuda:0", "minibatches of 7 samples"):
        fill()
    text = str(caught.value)
    assert text.startswith("cuda:0 is out of memory with minibatches of 7 samples: asked for 4.00 GiB, torch uses ")
    assert " are free; try a smaller training.batch_size" in text
    assert "\n" not in text
    after, _ = torch.cuda.mem_get_info(0)
    assert after > before - 2**30


def test_a_training_that_needs_too_much_is_said():
    greedy = {"kind": "import", "path": "training_parts:Greedy"}
    with pytest.raises(DeviceOutOfMemory, match=r"minibatches of 64 samples: asked for .* GiB, torch uses "):
        train(separable(), model=greedy)
    assert train(separable(), epochs=1).num_steps == 7


def test_optimizer_state_that_is_kept_goes_on():
    options = {"model": MLP, "batch_size": 400, "optimizer": {**ADAM, "state": "keep"}}
    first = train(separable(), epochs=3, **options)
    both = train(separable(), epochs=2, start_from=stored(first, **options), **options)
    for name, each in train(separable(), epochs=5, **options).weights.items():
        assert torch.allclose(both.weights[name], each, atol=1e-4), name


@pytest.mark.filterwarnings("ignore")
def test_a_compiled_model_comes_to_the_same():
    options = {"model": MLP, "optimizer": ADAM, "epochs": 2}
    compiled, plain = (train(separable(), compile=each, **options) for each in (True, False))
    for name, each in plain.weights.items():
        assert torch.allclose(compiled.weights[name], each, atol=1e-3), name
