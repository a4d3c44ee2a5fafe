"""The statistics of a study: what its variants came to, how they differ, and what of that was shown."""

from experiments.statistics.description import describe
from experiments.statistics.front import dominations, pareto
from experiments.statistics.pairs import compare_pairs
from experiments.statistics.regrets import regret
from experiments.statistics.verdicts import verdict

__all__ = ["compare_pairs", "describe", "dominations", "pareto", "regret", "verdict"]
