"""Workers on CUDA devices, which only a machine that has one can show."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
import torch.distributed as dist
from real_runs import small
from real_samples import context, separable
from torch.nn.parallel import DistributedDataParallel

from real.trainer import TorchTrainer
from real.training.distributed import Ranks, process_group
from real.usage import Meter
from twinclock import launch

pytestmark = [
    pytest.mark.cuda,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA device"),
]


class SaysWhatItSees:
    """A trainer that fails unless it sees one device."""

    def fit(self, context):
        assert torch.cuda.device_count() == 1
        assert (context.device, torch.device(context.device).index) == ("cuda:0", 0)
        return TorchTrainer().fit(context)


def test_a_worker_sees_its_device_alone_and_records_its_use(tmp_path):
    config = small(real={"device": "cuda"})
    config["training"]["trainer"] = "test_cuda_devices:SaysWhatItSees"
    run = launch.run(config, on="real", out=tmp_path / "run")
    assert run.trainings["outcome"].to_list() == ["trained"] * 4
    assert run.trainings["device"].unique().to_list() == ["cuda:0"]
    assert (run.trainings["peak_memory_bytes"] > 0).all()


def test_the_meter_knows_the_peak_of_a_job_and_not_of_the_one_before():
    large = torch.ones(2**22, device="cuda:0")
    del large
    meter = Meter("cuda:0")
    small_one = torch.ones(2**10, device="cuda:0")
    used = meter.read()
    assert small_one.nbytes <= used.peak_memory_bytes < 2**24
    assert used.utilisation is None or 0.0 <= used.utilisation <= 1.0


def test_a_process_group_of_one_steps_by_nccl_as_without(tmp_path):
    asked = replace(context(separable(200), epochs=2), device="cuda:0")
    alone = TorchTrainer().fit(asked)
    with process_group(Ranks(0, 1), str(tmp_path / "rendezvous"), "cuda:0"):
        for device in ("cpu", "cuda:0"):
            numbers = torch.arange(3.0, device=device)
            dist.all_reduce(numbers)
            assert numbers.tolist() == [0.0, 1.0, 2.0]

        class One(Ranks):
            """Goes by the process group although it is alone in it."""

            def sharing(self, model):
                return DistributedDataParallel(model)

        together = TorchTrainer().fit(replace(asked, ranks=One(0, 1)))
    for name, tensor in alone.weights.items():
        torch.testing.assert_close(together.weights[name], tensor, rtol=0.0, atol=1e-6)
