"""Leaving out trials that a cheap look already tells apart: a simulation of the first part of the stream.

Optuna's own pruners know one objective only. Here a trial is pruned if its short simulation is worse, in every
objective and clearly, than those of several trials that were done in full and kept all bounds.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import polars as pl

from experiments.search.goals import Figures, Goals
from experiments.search.trials import Ended
from experiments.study import Study
from twinclock import plugins
from twinclock.arrivals import RecordedConfig
from twinclock.config import load_config
from twinclock.dataset import TableConfig
from twinclock.errors import UserError
from twinclock.folder import FolderConfig

SHARE = 0.2
"""How much of the stream a short simulation sees."""
NUM_BETTER = 3
"""Trials that have to be clearly better before one is pruned: a single lucky one prunes nothing."""
MARGIN = 0.1
"""What is clearly better: by this part of the range that the objective has over all short simulations."""


def can_prune(study: Study) -> bool:
    """Is a short run of this study cheap? One that takes real time is not."""
    return not plugins.find(study.on).is_resumable


def shortened(config: Mapping[str, Any]) -> dict[str, Any] | None:
    """The same on the first part of the stream; None if it is wrong, or has nothing to leave out."""
    try:
        data = load_config(config).data
        if isinstance(data, FolderConfig):
            return None  # nobody knows how much will come
        has_limit = isinstance(data, TableConfig | RecordedConfig)
        num_samples = _num_rows(data) if isinstance(data, TableConfig | RecordedConfig) else data.num_samples
    except (UserError, OSError, pl.exceptions.PolarsError):
        return None  # the full run says what is wrong
    num_short = int(num_samples * SHARE)
    if num_short < 1:
        return None
    changed = {"limit" if has_limit else "num_samples": num_short}
    return {**config, "data": {**data.model_dump(mode="json", by_alias=True), **changed}}


def is_beaten(goals: Goals, short: Figures | None, before: Sequence[Ended]) -> bool:
    """Is a short simulation clearly worse than enough of those of the trials before?"""
    known = [each for each in before if _has_all(goals, each.short)]
    if not _has_all(goals, short) or not known:
        return False
    losses = goals.losses(each.short for each in known if each.short is not None)
    own = goals.losses([short or {}])[0]
    spread = np.ptp(np.vstack([losses, own]), axis=0)
    better = (losses < own - MARGIN * spread).all(axis=1)
    done = np.array([each.state == "done" for each in known])
    return int((better & done).sum()) >= NUM_BETTER


def _has_all(goals: Goals, short: Figures | None) -> bool:
    return short is not None and all(each.name in short for each in goals.objectives)


def _num_rows(data: TableConfig | RecordedConfig) -> int:
    scan = pl.scan_csv(data.file) if data.file.suffix == ".csv" else pl.scan_parquet(data.file, glob=False)
    num_rows = int(scan.select(pl.len()).collect().item())
    return num_rows if data.limit is None else min(num_rows, data.limit)
