"""A few short real runs that show what the costs of a configuration are, so that they can be calibrated.

Trainings take seconds by a line in the numbers of samples and of minibatches. To tell its slopes apart takes trainings
of several sizes, and of two sizes of minibatches. Evaluations need jobs of one interval and of many, the trigger policy
and what it looks at a run of its own. So these are the runs:

- `probe`: two trainings, to see how long such trainings take, and so how many samples there is time for;
- `batch-N`, for the configuration's size of minibatches and for another: trainings on growing sets, every model scored;
- `policy`: the configuration itself on the first of its samples, as many as a simulation by the probe has time for;
- `together`, if there are several devices: as many trainings at once, to see how far they slow each other down.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from twinclock import launch
from twinclock.config import Config, load_config
from twinclock.dataset import TableConfig, load_table
from twinclock.errors import ConfigError, Interrupted, RunError
from twinclock.result import Run
from twinclock.watch import UNWATCHED

NUM_SIZES = 6
"""Trainings of each run on growing sets: on n samples, on 2 n, and so on."""
TRAINING_S = 15.0
"""Seconds of training that each run is to take, about."""
_OTHER_BATCH_SIZE = 4
_PROBE_BATCHES = 20
"""Minibatches of the first training of the probe; the second has twice as many."""
_FEWEST_BATCHES = 4
"""Minibatches of the smallest training: with fewer, what a minibatch costs can't be seen."""
_HALVINGS = 12


@dataclass(frozen=True)
class Observed:
    """The runs that were made, by name."""

    runs: Mapping[str, Run]

    @property
    def folders(self) -> list[Path]:
        """Of the runs; what `calibrate` takes."""
        return [run.folder for run in self.runs.values() if run.folder is not None]

    @property
    def seconds(self) -> float:
        """That the runs took together."""
        return float(sum(run.header["makespan_s"] for run in self.runs.values()))

    def _repr_html_(self) -> str:
        rows = "".join(
            f"<tr><td>{name}</td><td>{run.trainings.height}</td><td>{run.header['makespan_s']:.1f} s</td></tr>"
            for name, run in self.runs.items()
        )
        return f"<table><tr><th>run</th><th>trainings</th><th>took</th></tr>{rows}</table>"


def observe(
    config: str | Path | Mapping[str, Any] | Config,
    *,
    out: str | Path | None = None,
    training_s: float | None = None,
    told: Callable[[str], None] = lambda _: None,
) -> Observed:
    """Make short real runs from which the costs of a configuration can be calibrated.

    `out`: a new folder for them; `runs/NAME-observed` if there is none. `training_s`: seconds of training that each of
    them is to take, about (None: 15); all of them together take some four times that, and their workers have to start.
    `told` is called with the name of each run before it begins.

    ConfigError if the samples are no table, or too few to train on six sizes. RunError if the folder is not empty, or
    if one of the runs fails, with the place where it can be looked at.
    """
    loaded = load_config(config)
    if not isinstance(loaded.data, TableConfig):
        expected = "expected table: samples that are still to come can't be trained on in many sizes"
        raise ConfigError(f"{loaded.name}: data.kind: got {loaded.data.kind}, {expected}")
    budget_s = TRAINING_S if training_s is None else training_s
    folder = Path("runs") / f"{loaded.name}-observed" if out is None else Path(out)
    if folder.exists() and any(folder.iterdir()):
        raise RunError(f"{folder}: not empty, expected a new folder for the runs")
    plain, times = _undisturbed(loaded), load_table(loaded.data).timestamps
    num_samples = len(times)
    runs: dict[str, Run] = {}

    def make(name: str, changed: dict[str, Any]) -> Run:
        told(name)
        runs[name] = _made(folder / name, {**plain, **changed, "name": f"{loaded.name}-{name}"})
        return runs[name]

    batch_size = loaded.training.batch_size
    sizes = [batch_size, _other_batch_size(batch_size, num_samples)]
    fewest = _FEWEST_BATCHES * max(sizes)
    if num_samples < NUM_SIZES * fewest:
        expected = f"expected at least {NUM_SIZES * fewest} to see costs by"
        raise ConfigError(f"{loaded.name}: data: got {num_samples} samples, {expected}")
    first = min(_PROBE_BATCHES * batch_size, num_samples // NUM_SIZES)
    probe = make("probe", _growing(plain, times, first, 2, batch_size))
    sample_s = _seconds_a_sample(probe)
    step = int(budget_s / (sample_s * sum(range(1, NUM_SIZES + 1))))
    step = max(fewest, min(step, num_samples // NUM_SIZES))
    for size in sizes:
        make(f"batch-{size}", _growing(plain, times, step, NUM_SIZES, size))
    limit = _affordable(plain, NUM_SIZES * step, sample_s, budget_s)
    make("policy", {"data": {**plain["data"], "limit": limit}})
    if loaded.cluster.devices > 1:
        at_once = {"variant": "overlapped", "overlap": {"trainings_at_once": loaded.cluster.devices}}
        make("together", {**_growing(plain, times, step, NUM_SIZES, batch_size), **at_once})
    return Observed(runs)


def _undisturbed(config: Config) -> dict[str, Any]:
    """The configuration in replay, which takes no longer than its work does, and without faults."""
    plain = config.model_dump(mode="json")
    batching = {"kind": "fixed"} if config.batching.kind == "time" else plain["batching"]
    return {**plain, "mode": "replay", "batching": batching, "faults": {}}


def _other_batch_size(batch_size: int, num_samples: int) -> int:
    """Larger where there are samples for it, else smaller."""
    larger = _OTHER_BATCH_SIZE * batch_size
    return larger if num_samples >= NUM_SIZES * _FEWEST_BATCHES * larger else max(1, batch_size // _OTHER_BATCH_SIZE)


def _growing(
    plain: Mapping[str, Any], times: NDArray[np.float64], step: int, num_trainings: int, batch_size: int
) -> dict[str, Any]:
    """Trainings on the first `step` samples, on twice as many, and so on, one after another; all models are scored.

    `times`: when the samples of the data set come, in data time.
    """
    span_s = max(float(np.ptp(times[: step * num_trainings])), 1.0)
    return {
        "variant": "sequential",
        "overlap": None,
        "data": {**plain["data"], "limit": step * num_trainings, "label_delay": 0.0},
        "batching": {"kind": "fixed", "n": step},
        "trigger": {"kind": "amount", "n": step},
        "selection": {"kind": "new_data", "tail": None},
        "training": {**plain["training"], "batch_size": batch_size, "gate": None},
        "evaluation": {
            **plain["evaluation"],
            "plans": [
                {"kind": "between_triggers", "models": "active", "when": "after_training"},
                {"kind": "slicing", "every": span_s / NUM_SIZES, "models": "all", "when": "after_pipeline"},
            ],
        },
    }


def _seconds_a_sample(probe: Run) -> float:
    """Of the last training: an earlier one may have warmed up the device."""
    last = probe.trainings.sort("ended_s").row(-1, named=True)
    return float((last["ended_s"] - last["started_s"]) / last["num_samples"])


def _affordable(plain: Mapping[str, Any], num_samples: int, sample_s: float, training_s: float) -> int:
    """How many of the first samples the configuration can go through, if trainings take what the probe says."""
    epochs = plain["training"]["epochs"]
    costs = {"connect_s": 0.0, "training": {"setup_s": 0.0, "samples_per_s": epochs / sample_s}, "noise_sigma": 0.0}
    for _ in range(_HALVINGS):
        changed = {"data": {**plain["data"], "limit": num_samples}, "sim": {"costs": costs}}
        if launch.run({**plain, **changed}, on="sim", watcher=UNWATCHED).header["makespan_s"] <= training_s:
            break
        num_samples //= 2
    return num_samples


def _made(folder: Path, values: dict[str, Any]) -> Run:
    try:
        run = launch.run(values, on="real", out=folder, watcher=UNWATCHED)
    except Interrupted:
        raise Interrupted(f"interrupted; {folder.parent} has only some of the runs, begin again in a new one") from None
    why = run.faults["message"][0] if run.faults.height else run.header["error"]
    if run.outcome != "done" or run.faults.height:
        raise RunError(f"{folder}: not all went well ({why}), so what it costs can't be observed")
    return run
