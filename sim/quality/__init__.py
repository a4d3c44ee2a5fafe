"""How good a model is, where no model is trained: by a formula, as a real run has measured it, or by a small stand-in.

| module | holds |
|---|---|
| config | The kinds, as a user chooses one |
| protocol | What a run asks of every kind |
| decay | The shortest formula |
| formula | A formula put together from `learning`, `knowledge`, `gradual`, `abrupt`, `recurring` and `explosive` |
| measured, matrix | Scores of a real run: of the same policy, and for other policies |
| source | Which runs they may be taken from |
| proxy | A small model that is really fitted, by `encoding`, `learner`, `network` and `stepping` |
| supported | What each kind can't answer |
"""

from __future__ import annotations

from sim.quality.config import DEFAULTS, QualityConfig
from sim.quality.decay import DecayQuality, DecayScores, accuracy
from sim.quality.formula import FormulaQuality, FormulaScores
from sim.quality.learning import fit_inverse
from sim.quality.matrix import MatrixQuality, MatrixScores
from sim.quality.measured import MeasuredQuality, MeasuredScores
from sim.quality.protocol import METRICS, Quality, drawn_errors
from sim.quality.proxy import ProxyQuality, ProxyScores
from twinclock.stages import Context

__all__ = [
    "DEFAULTS",
    "METRICS",
    "DecayQuality",
    "DecayScores",
    "FormulaQuality",
    "FormulaScores",
    "MatrixQuality",
    "MatrixScores",
    "MeasuredQuality",
    "MeasuredScores",
    "ProxyQuality",
    "ProxyScores",
    "Quality",
    "QualityConfig",
    "accuracy",
    "drawn_errors",
    "fit_inverse",
    "make_quality",
]


def make_quality(quality: QualityConfig, context: Context) -> Quality:
    """What the configuration asks for, for one run. ConfigError or DataError if the scores are not to be had."""
    match quality:
        case DecayQuality():
            return DecayScores(quality)
        case FormulaQuality():
            return FormulaScores(quality, context.stream, context.config.seed)
        case MeasuredQuality():
            return MeasuredScores(quality.run, context.config)
        case MatrixQuality():
            return MatrixScores(quality.runs, context.config)
        case ProxyQuality():
            return ProxyScores(quality, context.table, context.config.training, context.config.seed)
