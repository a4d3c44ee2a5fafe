"""The `sim:` section of a configuration: what things cost and how good models are, where time is modelled.

The defaults are round figures for a small tabular model on one CPU core. They are not measured: a run
that uses them says so in its summary.
"""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from sim.numbers import NotNegative, Positive, Share
from sim.quality.config import QualityConfig
from sim.quality.decay import DecayQuality
from twinclock.durations import Duration
from twinclock.section import Section

Seconds = NotNegative
Rate = Positive


class LinearCost(Section):
    """Seconds = setup + samples / throughput."""

    setup_s: Seconds
    """Seconds that do not depend on the number of samples."""
    samples_per_s: Rate
    """Throughput, samples a second."""


class TrainingCost(Section):
    """Seconds = setup + for each epoch: gradient steps · seconds a step + samples / throughput.

    So a step on a full minibatch takes step_s + batch_size / samples_per_s.
    """

    setup_s: Seconds
    """Seconds that depend on neither samples nor steps."""
    samples_per_s: Rate
    """Throughput on one device, samples a second (each epoch counts its samples again)."""
    step_s: Seconds = 0.0
    """Seconds of each gradient step, however many samples it has."""


class StoreCost(Section):
    """Seconds = latency + bytes / bandwidth."""

    latency_s: Seconds = 0.005
    bytes_per_s: Rate = 200e6
    model_bytes: Annotated[int, Field(ge=0)] = 100_000
    """Size of a stored model, bytes."""


class Costs(Section):
    """How long each thing takes."""

    decide_s: Seconds = 0.0002
    """Seconds of every stage that only decides."""
    connect_s: Seconds = 1.0
    """Seconds until the cluster is there (INIT_CLUSTER_CONNECTION)."""
    launch_s: Seconds = 0.002
    """Seconds to hand a training to its device (RUN_TRAINING)."""
    results_s: Seconds = 0.001
    """Seconds to store the results of an evaluation (STORE_EVALUATION_RESULTS)."""
    read: LinearCost = LinearCost(setup_s=0.0002, samples_per_s=50e6)
    """Taking a chunk of data (REPLAY_DATA, FETCH_NEW_DATA)."""
    training: TrainingCost = TrainingCost(setup_s=0.05, samples_per_s=40_000.0)
    forward_share: Share = 1 / 3
    """Share of a training's seconds a sample that goes forward through the model: what scoring a sample costs."""
    evaluation: LinearCost = LinearCost(setup_s=0.02, samples_per_s=500_000.0)
    """Each interval of a job counts its samples; the setup counts once a job."""
    drift: LinearCost = LinearCost(setup_s=0.005, samples_per_s=1e6)
    """Distances between windows and detectors; each metric counts the samples that it looks at."""
    store: StoreCost = StoreCost()
    noise_sigma: Seconds = 0.09
    """Log-normal sigma of training and evaluation times around the model; 0 switches the noise off."""
    scaling_efficiency: Share = 0.9
    """Share of the throughput of a second, third, … device that a training on several devices gets."""


class StragglersConfig(Section):
    """Trainings on a device that is slower than others of its kind."""

    share: Share = 0.0
    """Share of training attempts that meet one."""
    factor: Annotated[float, Field(ge=1, allow_inf_nan=False)] = 2.0
    """So many times as long they take."""


class FaultsConfig(Section):
    """What goes wrong; nothing by default."""

    connect: Share = 0.0
    """Share of attempts at INIT_CLUSTER_CONNECTION that fail."""
    training: Share = 0.0
    """Share of training attempts that fail, after an evenly drawn part of their time."""
    store: Share = 0.0
    """Share of attempts at storing a model that fail."""
    evaluation: Share = 0.0
    """Share of evaluation attempts that fail."""
    observation: Share = 0.0
    """Share of attempts at an observation that fail."""
    device_mtbf: Duration | None = None
    """Mean clock time in which a device that is held does not fail; None: devices never do."""
    stragglers: StragglersConfig = StragglersConfig()


class SimConfig(Section):
    """Everything the simulated run needs beyond what both runs share."""

    costs: Costs = Costs()
    quality: QualityConfig = DecayQuality()
    faults: FaultsConfig = FaultsConfig()
