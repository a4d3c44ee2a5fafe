"""From the source that the user chose to what answers."""

from __future__ import annotations

from sim.throughput.config import TrainingSource
from sim.throughput.constant import Constant, ConstantCost
from sim.throughput.fitted import FittedCost, fit, said
from sim.throughput.formula import Formula, TrainingCost
from sim.throughput.profile import Profile, ProfileCost
from sim.throughput.protocol import Training
from sim.throughput.scaling import Scaling
from twinclock.config import TrainingConfig


def make_training(source: TrainingSource, training: TrainingConfig, scaling: Scaling, forward_share: float) -> Training:
    """A source of training seconds for trainings like `training`. ConfigError if its table or run won't do."""
    match source:
        case TrainingCost():
            return Formula(source, scaling, forward_share)
        case ConstantCost():
            return Constant(source)
        case ProfileCost():
            return Profile(source, scaling, forward_share)
        case FittedCost():
            found = fit(source.run)
            return Formula(found.cost, scaling, forward_share, said(found, source.run, training))
