"""Does the simulation put the policies into the order in which they really are?

Two policies whose real figures are no farther apart than the spread have no order that could be got right, so that
their pair is left out. Kendall's τ of the others: (concordant − discordant) / pairs. A pair that the simulation holds
to be equal is neither.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import combinations
from typing import Literal, NamedTuple, TypeAlias

from experiments.fidelity.verdicts import compare

Relation: TypeAlias = Literal["concordant", "discordant", "equal in the simulation", "left out"]


class Pair(NamedTuple):
    """Two policies, and how they differ."""

    policy: str
    other: str
    real_difference: float
    """Policy − other, of the medians over the repeats."""
    spread: float
    """The larger one of the two."""
    simulated_difference: float
    relation: Relation


def ranked_pairs(real: Mapping[str, Sequence[float]], simulated: Mapping[str, float]) -> list[Pair]:
    """All pairs of the policies that have both: in the order of `real`. Policy → a figure of each of its repeats."""
    known = {label: compare(values, simulated[label]) for label, values in real.items() if label in simulated}
    pairs = []
    for (policy, one), (other, two) in combinations(known.items(), 2):
        real_difference, wider = one.real - two.real, max(one.spread, two.spread)
        simulated_difference = one.simulated - two.simulated
        relation = _relation(real_difference, wider, simulated_difference)
        pairs.append(Pair(policy, other, real_difference, wider, simulated_difference, relation))
    return pairs


def kendall_tau(pairs: Sequence[Pair]) -> float | None:
    """τ of those pairs that are not left out; None if all are."""
    counted = [pair for pair in pairs if pair.relation != "left out"]
    if not counted:
        return None
    agreeing = sum(pair.relation == "concordant" for pair in counted)
    against = sum(pair.relation == "discordant" for pair in counted)
    return (agreeing - against) / len(counted)


def _relation(real: float, wider: float, simulated: float) -> Relation:
    if abs(real) <= wider:
        return "left out"
    if simulated == 0.0:
        return "equal in the simulation"
    return "concordant" if (real > 0.0) == (simulated > 0.0) else "discordant"
