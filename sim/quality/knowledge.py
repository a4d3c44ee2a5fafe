"""What a model has learned from: which positions, and how much each counts, also by way of the models before it.

A model trained from scratch knows its own training set; each of its samples counts 1. A model that starts from another
also has what that one had, as far as its own training set does not have it again: a sample of the parent counts
`carry_over` times what it counted there for how much was learned, and (1 − `forgetting`) times that for what the model
is about.
So after k more trainings a sample counts carry_over^k, and is present with (carry_over · (1 − forgetting))^k.

That a warm start is worth less than the samples it stands for is what Ash and Adams found (On Warm-Starting Neural
Network Training, NeurIPS 2020); that training on new data alone drives out the old is catastrophic forgetting
(McCloskey and Cohen, 1989). Both shares here are the simplest form of it, and their defaults are round figures.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sim.numbers import Share
from twinclock.graph import Json
from twinclock.section import Section

_NEGLIGIBLE = 1e-6
"""A sample that counts less than this, against the one that counts most, is left out."""


class WarmStart(Section):
    """What a model has from the one that it was started from, where `training.start_from` is `active`."""

    carry_over: Share = 0.5
    """What a sample of the parent's counts, against one of the own training set: for how much was learned."""
    forgetting: Share = 0.5
    """Share of the parent's data that training on others drives out of what the model is about."""


@dataclass(frozen=True, slots=True, eq=False)
class Knowledge:
    """Ranges of positions [first, stop), sorted and apart, and what each position in them counts."""

    first: NDArray[np.int64]
    stop: NDArray[np.int64]
    learned: NDArray[np.float64]
    """For how much was learned: 1 for each sample of the own training set."""
    present: NDArray[np.float64]
    """For what the model is about."""

    @property
    def num_samples(self) -> float:
        """Samples that count for how much was learned; a whole number if the model started from scratch."""
        return float(((self.stop - self.first) * self.learned).sum())

    @property
    def weights(self) -> NDArray[np.float64]:
        """How much of what the model is about lies in each range; the sum is 1, or 0 if there is nothing."""
        weights = (self.stop - self.first) * self.present
        total = weights.sum()
        return weights / total if total > 0.0 else weights


def from_scratch(model: Mapping[str, Json]) -> Knowledge:
    """What a lineage entry's own training set gives. Its samples are taken as spread evenly over its `ranges`."""
    bounds = np.array(model["ranges"], np.int64).reshape(-1, 2)
    total = int((bounds[:, 1] - bounds[:, 0]).sum())
    density = np.full(len(bounds), model["num_samples"] / total if total else 0.0)
    return Knowledge(bounds[:, 0], bounds[:, 1], density, density)


def warm_started(own: Knowledge, parent: Knowledge, warm: WarmStart) -> Knowledge:
    """What a model knows that was trained on `own` after it was started from one that knew `parent`.

    If `own` has only some of the samples of a range, the others are as much the parent's there as anywhere.
    """
    edges = np.unique(np.concatenate([own.first, own.stop, parent.first, parent.stop]))
    (learned, present), (older, elder) = _at(own, edges[:-1]), _at(parent, edges[:-1])
    others = (1.0 - learned) * warm.carry_over
    learned, present = learned + others * older, present + others * (1.0 - warm.forgetting) * elder
    counts = np.stack([learned, present], axis=1)
    begins = np.any(np.diff(counts, axis=0, prepend=-1.0) != 0.0, axis=1)
    at = np.flatnonzero(begins)
    first, stop = edges[at], edges[np.append(at[1:], len(edges) - 1)]
    there = learned[at] >= _NEGLIGIBLE * learned.max()
    return Knowledge(first[there], stop[there], learned[at][there], present[at][there])


def _at(known: Knowledge, positions: NDArray[np.int64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """What each of some positions counts, 0 where nothing was learned."""
    index = np.searchsorted(known.first, positions, side="right") - 1
    inside = (index >= 0) & (positions < known.stop[index])
    return np.where(inside, known.learned[index], 0.0), np.where(inside, known.present[index], 0.0)


class Ancestry:
    """What every model of a run knows, made once for each."""

    def __init__(self, warm: WarmStart) -> None:
        self._warm = warm
        self._entries: dict[int, Mapping[str, Json]] = {}
        self._known: dict[int, Knowledge] = {}

    def add(self, model: Mapping[str, Json]) -> None:
        """A model is there that others may be started from."""
        self._entries[model["trigger"]] = model

    def of(self, model: Mapping[str, Json]) -> Knowledge:
        """What a model knows. A parent that was never added counts for nothing."""
        line, at = [], model
        while at["trigger"] not in self._known:
            line.append(at)
            parent = self._entries.get(at["parent"])
            if parent is None:
                break
            at = parent
        for each in reversed(line):
            own, inherited = from_scratch(each), self._known.get(each["parent"])
            self._known[each["trigger"]] = own if inherited is None else warm_started(own, inherited, self._warm)
        return self._known[model["trigger"]]
