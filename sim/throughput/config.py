"""The sections `sim.costs.training` and `sim.costs.evaluation`: which kind of source says how long it takes."""

from __future__ import annotations

from typing import Annotated, TypeAlias

from pydantic import Field

from sim.throughput.constant import ConstantCost
from sim.throughput.fitted import FittedCost
from sim.throughput.formula import EvaluationCost, TrainingCost
from sim.throughput.profile import ProfileCost
from twinclock.section import kind_if_unsaid

TrainingSource: TypeAlias = Annotated[
    TrainingCost | ConstantCost | ProfileCost | FittedCost,
    Field(discriminator="kind"),
    kind_if_unsaid("formula"),
]
"""A mapping without a `kind` is `formula`."""
EvaluationSource: TypeAlias = Annotated[
    EvaluationCost | ConstantCost,
    Field(discriminator="kind"),
    kind_if_unsaid("formula"),
]
"""A mapping without a `kind` is `formula`."""
