"""What a worker does for a trigger policy: scores of stored models, distances between windows, errors for detectors."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import lru_cache
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from real.embedding import embed
from real.evaluator import EvaluationContext, Evaluator
from real.models import restored_model, torch_device
from real.store import StoredModel, load_model
from twinclock.dataset import Table
from twinclock.graph import Json
from twinclock.observing import DetectorMemory, Sources, distances, numbers_of
from twinclock.work import models_to_score

_MODELS_KEPT = 8


class Observer:
    """Answers requests of `twinclock.policies.observations` about the models of one run."""

    def __init__(self, run_folder: Path, table: Callable[[], Table], evaluator: Evaluator, device: str) -> None:
        self._run_folder = run_folder
        self._table = table
        """The samples, as many as there are by now."""
        self._evaluator = evaluator
        self._device = device
        self._memory = DetectorMemory()
        self._loaded = lru_cache(maxsize=_MODELS_KEPT)(load_model)

    def observe(
        self, request: Mapping[str, Json], active: Json | None, should_stop: Callable[[], bool]
    ) -> dict[str, float | None]:
        """The values by name. `active` is the lineage entry of the active model. Raises as an evaluator does."""
        if request["kind"] == "distance":
            return distances(request, self._sources(request, active), self._memory)
        wanted = models_to_score(request, active)
        first, stop = request["first"], request["stop"]
        table = self._table()
        start, end = float(table.timestamps[first]), float(table.timestamps[stop - 1])
        interval = {"start": start, "end": end, "first": first, "stop": stop}
        scores: dict[tuple[str, int], float | None] = {}
        for model in {each["trigger"]: each for _, _, each in wanted if each is not None}.values():
            context = EvaluationContext(
                model=self._model(model),
                table=table,
                intervals=[interval],
                metrics=request["metrics"],
                device=self._device,
                should_stop=should_stop,
            )
            for row in self._evaluator.evaluate(context):
                scores[row["metric"], model["trigger"]] = row["value"]
        return {name: None if model is None else scores[metric, model["trigger"]] for name, metric, model in wanted}

    def _sources(self, request: Mapping[str, Json], active: Json | None) -> Sources:
        table = self._table()

        def embedded(first: int, stop: int) -> NDArray[np.float64]:
            if active is None:
                return np.empty((stop - first, 0))
            embedding: NDArray[np.float64] = embed(self._model(active), table.rows([[first, stop]]), self._device)
            return embedding

        def errors(model: Mapping[str, Json], first: int, stop: int) -> NDArray[np.float64]:
            return wrong_answers(self._model(model), table, first, stop, self._device)

        sources = numbers_of(table, request, errors)
        return sources if request["of"] == "features" else Sources(embedded, sources.column, errors)

    def _model(self, model: Mapping[str, Json]) -> StoredModel:
        return self._loaded(self._run_folder / model["path"])


def wrong_answers(stored: StoredModel, table: Table, first: int, stop: int, device: str) -> NDArray[np.float64]:
    """For each sample of [first, stop) 1 if the likeliest class is not its label, else 0."""
    encoding, on = stored.encoding, torch_device(device)
    model = restored_model(stored).to(on).eval()
    wrong = np.empty(stop - first)
    at_once = encoding.rows_at_once(max(1, stop - first))
    with torch.inference_mode():
        for begin in range(first, stop, at_once):
            end = min(begin + at_once, stop)
            rows = table.rows([[begin, end]])
            likeliest = model(torch.from_numpy(encoding.features(rows)).to(on)).argmax(dim=1).cpu().numpy()
            wrong[begin - first : end - first] = likeliest != encoding.labels(rows)
    return wrong
