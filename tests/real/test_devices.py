"""Which device a worker sees, and what it says of its use."""

from __future__ import annotations

import pytest
from real_runs import small

from real.devices import VISIBLE, see_only, seen_as
from real.usage import Meter
from twinclock import launch
from twinclock.errors import RunError


@pytest.mark.parametrize(
    ("device", "parent_sees", "sees"),
    [
        ("cpu:1", None, ""),
        ("cpu:0", "0,1", ""),
        ("cuda:0", None, "0"),
        ("cuda:3", None, "3"),
        ("cuda:0", "2,3", "2"),
        ("cuda:1", "2, 3", "3"),
        ("cuda:1", "GPU-8932f937,MIG-5c1d", "MIG-5c1d"),
    ],
)
def test_a_worker_sees_its_device_among_those_of_its_parent(device, parent_sees, sees):
    environment = {} if parent_sees is None else {VISIBLE: parent_sees}
    see_only(device, environment)
    assert environment == {VISIBLE: sees}


def test_a_device_that_the_parent_does_not_see_is_told():
    with pytest.raises(RunError, match="CUDA_VISIBLE_DEVICES: got '2,3', which has no device number 2 for cuda:2"):
        see_only("cuda:2", {VISIBLE: "2,3"})


def test_its_device_is_the_first_to_a_worker_that_sees_no_other():
    assert [seen_as(device) for device in ("cuda:0", "cuda:5", "cpu:2")] == ["cuda:0", "cuda:0", "cpu:2"]


def test_on_a_cpu_the_use_is_resident_memory_and_cpu_time():
    meter = Meter("cpu:0")
    sum(range(200_000))
    used = meter.read()
    assert used.peak_memory_bytes > 10 * 2**20
    assert used.utilisation is not None
    assert used.utilisation > 0.0


def test_a_simulated_training_takes_nothing_of_a_device_that_could_be_measured():
    simulated = launch.run(small(), on="sim")
    assert simulated.trainings["peak_memory_bytes"].is_null().all()
    assert simulated.trainings["utilisation"].is_null().all()
