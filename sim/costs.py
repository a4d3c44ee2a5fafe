"""How long a training, an evaluation, a store takes: modelled seconds, with keyed noise."""

from __future__ import annotations

import numpy as np

from sim.config import Costs, DriftCost, ReadCost
from sim.throughput.config import EvaluationSource
from sim.throughput.constant import ConstantCost
from sim.throughput.make import make_training
from sim.throughput.protocol import Held, Job, Training
from sim.throughput.scaling import Scaling
from twinclock.config import TrainingConfig
from twinclock.seeds import Purpose


def linear_s(cost: ReadCost | DriftCost, num_samples: float, speed: float = 1.0) -> float:
    """Seconds for `num_samples` samples on a device of `speed`; the setup takes as long on any."""
    return cost.setup_s + num_samples / (cost.samples_per_s * speed)


def evaluation_s(cost: EvaluationSource, num_samples: float, num_intervals: int, speed: float = 1.0) -> float:
    """Seconds to score `num_samples` samples, of all intervals together, on a device of `speed`."""
    if isinstance(cost, ConstantCost):
        return cost.seconds
    return cost.setup_s + num_intervals * cost.interval_s + num_samples / (cost.samples_per_s * speed)


def decide_s(costs: Costs, operation: str) -> float:
    """Seconds of a stage that only decides."""
    return costs.decide_by_stage.get(operation, costs.decide_s)


def training_source(costs: Costs, training: TrainingConfig) -> Training:
    """What says how long trainings take. ConfigError if it is a table or a run that won't do."""
    by_devices = {each.devices: each.share for each in costs.efficiency_by_devices}
    scaling = Scaling(costs.scaling_efficiency, by_devices)
    return make_training(costs.training, training, scaling, costs.forward_share)


def training_s(costs: Costs, source: Training, job: Job, held: Held) -> float:
    """Seconds of a training without noise and without checkpoints: computing, or loading if that takes longer."""
    return source.seconds(job, held, loading_s(costs, job))


def loading_s(costs: Costs, job: Job) -> float:
    """Seconds to read a training's samples: in each epoch those stepped on, and what is scored besides."""
    loading = costs.loading
    if loading.bytes_per_s is None or loading.sample_bytes is None:
        return 0.0
    return (job.epochs * job.num_samples + job.num_scored) * loading.sample_bytes / loading.bytes_per_s


def store_s(costs: Costs) -> float:
    """Seconds to make a model durable."""
    return costs.store.latency_s + costs.store.model_bytes / costs.store.bytes_per_s


def evaluation_sigma(costs: Costs) -> float:
    """Of the noise of evaluation times."""
    return costs.noise_sigma if costs.evaluation_noise_sigma is None else costs.evaluation_noise_sigma


def noise(sigma: float, seed: int, purpose: Purpose, *serial: int) -> float:
    """A factor with mean 1, log-normal, that depends on nothing but its key.

    Its mean is 1 so that costs are mean seconds, and many trainings take what so many times their cost is.
    One more training in a run therefore leaves the noise of every other one as it was, and two
    policies that train on the same trigger meet the same luck (common random numbers).
    """
    if sigma == 0.0:
        return 1.0
    key = np.random.SeedSequence(seed, spawn_key=(int(purpose), *serial))
    return float(np.exp(sigma * np.random.default_rng(key).standard_normal() - sigma**2 / 2))
