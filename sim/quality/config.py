"""The section `sim.quality`: which model says how good models are."""

from __future__ import annotations

from typing import Annotated, TypeAlias

from pydantic import Field

from sim.quality.decay import DecayQuality
from sim.quality.formula import FormulaQuality
from sim.quality.matrix import MatrixQuality
from sim.quality.measured import MeasuredQuality
from sim.quality.proxy import ProxyQuality
from twinclock.section import kind_if_unsaid

QualityConfig: TypeAlias = Annotated[
    DecayQuality | FormulaQuality | MeasuredQuality | MatrixQuality | ProxyQuality,
    Field(discriminator="kind"),
    kind_if_unsaid("decay"),
]
"""A mapping without a `kind` is `decay`."""
DEFAULTS = (DecayQuality(), FormulaQuality())
"""Figures that nobody has measured."""
