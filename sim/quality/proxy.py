"""Scores of small models that are really fitted on the real samples, while their training's time is modelled."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from sim.quality.encoding import all_samples
from sim.quality.learner import descended, logistic
from sim.quality.network import Network
from sim.quality.protocol import Span, check_metric
from twinclock.config import TrainingConfig
from twinclock.dataset import Table
from twinclock.errors import ConfigError
from twinclock.graph import Json
from twinclock.policies import selection
from twinclock.policies.selection import validation
from twinclock.section import Section
from twinclock.seeds import Purpose, derived_seed


class ProxyQuality(Section):
    """Accuracy of a small classifier fitted on the very samples that the training would have had.

    `descent`: a network with the hidden layers of `training.model`, but narrow, trained by the optimizer, epochs and
    batch size of `training`, from scratch or from the parent's weights; so a model that needs more steps than it gets
    shows here as well. `logistic`: L2-regularised logistic regression, to the end; where it began does not matter, so
    only for trainings from scratch. What a large model would gain over a small one neither shows; how accuracy moves
    with drift, with the training set and with its size, is that of the data.
    """

    kind: Literal["proxy"] = "proxy"
    learner: Literal["descent", "logistic"] = "descent"
    max_samples: int | None = Field(default=None, gt=0)
    """Samples it is fitted on at most, a uniform draw of the training set, so with fewer steps too; None: all."""


class ProxyScores:
    """One small model for each model of the run, fitted when it is first asked about, and kept."""

    def __init__(self, quality: ProxyQuality, table: Table, training: TrainingConfig, seed: int) -> None:
        if quality.learner == "logistic":
            import sklearn.linear_model  # noqa: F401  # whose thread pools have to be there to be limited
        from threadpoolctl import ThreadpoolController

        self._threads = ThreadpoolController()
        """The matrices are small: more threads take longer, and round otherwise."""
        self._quality = quality
        self._training = training
        self._seed = seed
        self._table = table
        self._samples = all_samples(table)
        self._jobs: dict[int, Mapping[str, Json]] = {}
        self._models: dict[int, Network] = {}

    def trained(self, job: Mapping[str, Json]) -> None:
        """From its recipe the small model will be fitted."""
        self._jobs[job["trigger"]] = job

    def stored(self, model: Mapping[str, Json]) -> None:
        """Nothing to keep."""

    def score(
        self, model: Mapping[str, Json], interval: Mapping[str, Json], metric: str, *, span: Span
    ) -> float | None:
        """Share of right answers on the samples of the interval; None without samples. ConfigError otherwise."""
        check_metric(metric)
        first, stop = interval["first"], interval["stop"]
        return float((1.0 - self.errors(model, first, stop)).mean()) if first < stop else None

    def observed(self, request: Mapping[str, Json]) -> None:
        """The small model's errors are computed with."""

    def errors(self, model: Mapping[str, Json], first: int, stop: int) -> NDArray[np.float64]:
        """Those of the small model."""
        with self._threads.limit(limits=1):
            return self.model(model["trigger"]).is_wrong(self._samples, first, stop)

    def model(self, serial: int) -> Network:
        """The small model in the place of one of the run's. KeyError if that was never trained."""
        line = [serial]
        if self._quality.learner == "descent":
            while line[-1] not in self._models and (start_from := self._jobs[line[-1]]["start_from"]) is not None:
                line.append(start_from["trigger"])
        parent = None
        for each in reversed(line):
            if each not in self._models:
                self._models[each] = self._fitted(each, parent)
            parent = self._models[each]
        return self._models[serial]

    def _fitted(self, serial: int, parent: Network | None) -> Network:
        at = self._positions(serial)
        if self._quality.learner == "logistic":
            return logistic(self._samples, at)
        seed = derived_seed(self._seed, Purpose.PROXY, serial)
        found = descended(self._samples, at, self._training, seed=seed, parent=parent)
        if not found.is_finite:
            raise ConfigError(
                f"training.optimizer.lr: got {self._training.optimizer.lr:g}, with which the weights of the proxy are "
                f"not finite after the training of trigger {serial}; expected a smaller one, or another sim.quality"
            )
        return found

    def _positions(self, serial: int) -> NDArray[np.int64]:
        """What is trained on, or as much of it as is fitted on: it is shuffled, so its first are a uniform draw."""
        positions = selection.positions(self._jobs[serial]["training_set"], self._table.label_ranks)
        if self._training.validation is not None:
            positions, _ = validation.split(positions, self._training.validation.share)
        return positions[: self._quality.max_samples]
