"""What the ready studies found: the figures that `studies/README.md` quotes.

    python -m experiments.findings [NAME ...]

Sweeps the studies, or only those named, in `runs/`, and writes `studies/findings.json`. What is done there already is
not done again. The figures are the same on every run, but for the last digits of floating-point libraries.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import polars as pl

from experiments.results import StudyResult
from experiments.statistics import describe, verdict
from experiments.sweep import sweep
from twinclock.errors import ConfigError, RunError

STUDIES = Path(__file__).parent / "studies"
FINDINGS = STUDIES / "findings.json"
COMPARED_WITHIN: Mapping[str, str | None] = {
    "trigger-frequency": None,
    "trigger-policies": "drift",
    "overlap": "n",
    "how-many-gpus": "devices",
    "batching": "cv",
    "faults": "faults",
    "scratch-or-warm": "drift",
    "free-training": "training_s",
}
"""The ready studies → the axis whose levels are circumstances, so that variants are only compared within each."""
ALSO = ("trainings", "missed_triggers")
"""Figures that are shown besides those that a study compares."""


def findings(made: StudyResult) -> dict[str, Any]:
    """A study's means over its seeds, and its verdicts. RunError if some runs are not done."""
    name, axis = made.study.name, COMPARED_WITHIN[made.study.name]
    if not made.unfinished.is_empty():
        raise RunError(f"{name}: {made.unfinished.height} of {made.runs.height} runs are not done")
    metrics = [*(metric.name for metric in made.study.compared), *ALSO]
    means: dict[str, dict[str, float]] = {}
    for variant, metric, mean in describe(made, metrics=metrics).select("variant", "metric", "mean").iter_rows():
        means.setdefault(variant, {})[metric] = rounded(mean)
    if axis is None:
        verdicts = {"all": verdict(made)}
    else:
        parts = made.runs.partition_by(axis, as_dict=True, maintain_order=True)
        verdicts = {str(level): verdict(_only(made, runs)) for (level,), runs in parts.items()}
    return {"runs": made.runs.height, "means": means, "verdicts": verdicts}


def rounded(value: float) -> float:
    """To four significant digits: what is quoted, and what is the same on every machine."""
    return float(f"{value:.4g}")


def _only(made: StudyResult, runs: pl.DataFrame) -> StudyResult:
    return replace(made, runs=runs, metrics=made.metrics.join(runs, on="run", how="semi", maintain_order="left"))


def main(names: Sequence[str]) -> None:
    """Sweep these studies, all if none are named, and write what they found. ConfigError if one is not there."""
    if unknown := [name for name in names if name not in COMPARED_WITHIN]:
        raise ConfigError(f"got {unknown[0]}, expected one of {', '.join(COMPARED_WITHIN)}")
    found = json.loads(FINDINGS.read_text(encoding="utf-8")) if FINDINGS.exists() else {}
    for name in names or COMPARED_WITHIN:
        found[name] = findings(sweep(STUDIES / f"{name}.yaml"))
        in_order = {each: found[each] for each in COMPARED_WITHIN if each in found}
        FINDINGS.write_text(json.dumps(in_order, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1:])
