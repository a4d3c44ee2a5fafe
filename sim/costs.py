"""How long a training, an evaluation, a store takes: modelled seconds, with keyed noise."""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np

from sim.config import Costs, LinearCost
from twinclock.graph import Json
from twinclock.seeds import Purpose


def linear_s(cost: LinearCost, num_samples: float, speed: float = 1.0) -> float:
    """Seconds for `num_samples` samples on a device of `speed`; the setup takes as long on any."""
    return cost.setup_s + num_samples / (cost.samples_per_s * speed)


def training_s(
    costs: Costs, num_samples: int, epochs: int, batch_size: int, num_devices: int = 1, speed: float = 1.0
) -> float:
    """Seconds to train `epochs` epochs on `num_samples` samples in minibatches of `batch_size`, without noise.

    A second device adds `scaling_efficiency` of a device's throughput, and so on. Devices of twice the `speed` have
    twice the throughput. The setup, and the seconds that a step takes whatever its samples, stay the same.
    """
    devices = 1 + (num_devices - 1) * costs.scaling_efficiency
    samples_s = epochs * num_samples / (costs.training.samples_per_s * devices * speed)
    steps_s = epochs * math.ceil(num_samples / batch_size) * costs.training.step_s
    return costs.training.setup_s + samples_s + steps_s


def scoring_s(costs: Costs, num_scored: int, num_devices: int = 1, speed: float = 1.0) -> float:
    """Seconds of a training in which samples only go forward through the model, to be scored for downsampling."""
    devices = 1 + (num_devices - 1) * costs.scaling_efficiency
    return costs.forward_share * num_scored / (costs.training.samples_per_s * devices * speed)


def store_s(costs: Costs) -> float:
    """Seconds to make a model durable."""
    return costs.store.latency_s + costs.store.model_bytes / costs.store.bytes_per_s


def evaluation_key(job: Mapping[str, Json]) -> tuple[int, int, int]:
    """The key of draws for an evaluation job: its model, its plan, and its first interval's start in milliseconds."""
    return job["model"], job["plan"], int(job["intervals"][0]["start"] * 1000) & 0xFFFFFFFFFFFF


def noise(sigma: float, seed: int, purpose: Purpose, *serial: int) -> float:
    """A factor with median 1, log-normal, that depends on nothing but its key.

    One more training in a run therefore leaves the noise of every other one as it was, and two
    policies that train on the same trigger meet the same luck (common random numbers).
    """
    if sigma == 0.0:
        return 1.0
    key = np.random.SeedSequence(seed, spawn_key=(int(purpose), *serial))
    return float(np.exp(sigma * np.random.default_rng(key).standard_normal()))
