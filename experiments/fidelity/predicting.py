"""The predictions: costs from the real runs of one policy, and every other policy simulated with them.

Each policy is simulated once for each real repeat, with its seed: what one training is better by chance, and so what a
trigger that looks at scores does by chance, is then a matter of as many draws on both sides.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from experiments.fidelity.matching import figures_of, match_stages
from experiments.fidelity.performing import finished_runs
from experiments.fidelity.policies import Policy
from experiments.fidelity.records import Prediction, RealRun
from experiments.job import what_failed
from experiments.progress import ProgressWatcher
from sim.calibrated import read_calibration
from sim.config import SimConfig
from sim.quality import ProxyQuality
from twinclock import launch
from twinclock.errors import RunError, UserError
from twinclock.result import Run
from twinclock.section import parse_section
from twinclock.watch import UNWATCHED
from twinclock.yaml_text import read_yaml

SIMULATED = "sim"
SIMULATED_RUNS = "simulated"
"""Folder of the simulated runs."""
_STAGE_RUNS = "stage_runs"


def predicted(
    policies: Sequence[Policy], runs: Mapping[str, Sequence[RealRun]], folder: Path, watcher: ProgressWatcher
) -> dict[str, Prediction]:
    """Label → what the simulation says of each policy. One that can't be made says why."""
    shutil.rmtree(folder / SIMULATED_RUNS, ignore_errors=True)  # of an earlier grading, perhaps of other policies
    by_label = {policy.label: policy for policy in policies}
    watcher.begin("simulated runs", len(policies), 0)
    calibrations: dict[str, Path | str] = {}
    found = {}
    for policy in policies:
        source = policy.calibrated_on
        if source not in calibrations:
            calibrations[source] = _calibrated(by_label[source], runs, folder)
        found[policy.label] = made = _prediction(policy, calibrations[source], runs, folder)
        watcher.ended(f"{policy.label}, simulated", "failed" if made.error else "done", made.error)
    return found


def simulated_folder(folder: Path, policy: Policy, repeat: int) -> Path:
    """Where the simulated run with the seed of a repeat is."""
    return folder / SIMULATED_RUNS / f"{policy.folder}-r{repeat}"


def _calibrated(policy: Policy, runs: Mapping[str, Sequence[RealRun]], folder: Path) -> Path | str:
    """The file of the costs that a policy's runs show; or why there is none."""
    from sim.calibration import calibrate  # which loads scipy

    file = folder / "calibrations" / f"{policy.folder}.yaml"
    shutil.rmtree(file.parent / policy.folder, ignore_errors=True)
    try:
        with _of_the_user(f"costs from {policy.label!r}"):
            file.parent.mkdir(parents=True, exist_ok=True)
            calibrate(finished_runs(policy, runs, folder)).write(file)
    except RunError as error:
        return str(error)
    return file


def _prediction(
    policy: Policy, calibration: Path | str, runs: Mapping[str, Sequence[RealRun]], folder: Path
) -> Prediction:
    if isinstance(calibration, str):
        return Prediction(policy.calibrated_on, (), calibration)
    try:
        with _of_the_user("simulated"):
            repeats = [run.repeat for run in runs[policy.label]]
            simulated = [_simulated(policy, repeat, calibration, folder) for repeat in repeats]
            first = simulated[0]
            real = [Run.load(each).tables[_STAGE_RUNS] for each in finished_runs(policy, runs, folder)]
            stages = match_stages(real, first.tables[_STAGE_RUNS]) if real else ()
            interference = _interference(calibration) if first.config.cluster.devices > 1 else None
    except RunError as error:
        return Prediction(policy.calibrated_on, (), str(error))
    figures = tuple(map(figures_of, simulated))
    return Prediction(policy.calibrated_on, figures, None, _quality(first), stages, interference)


def _simulated(policy: Policy, repeat: int, calibration: Path, folder: Path) -> Run:
    if policy.config is None:
        raise RunError(str(policy.error))
    out = simulated_folder(folder, policy, repeat)
    run = launch.run(policy.simulated(repeat, str(calibration)), on=SIMULATED, out=out, watcher=UNWATCHED)
    if (failure := what_failed(run)) is not None:
        raise RunError(f"{out}: {failure}")
    return run


def _quality(run: Run) -> str:
    """Where a simulated run had its accuracy from: what the study names, or else the calibration, or nobody at all."""
    said = run.config.sim
    quality = parse_section(SimConfig, said, "sim").quality
    kind = f"{quality.kind} ({quality.learner})" if isinstance(quality, ProxyQuality) else quality.kind
    if "quality" in said:
        return kind
    is_fitted = "quality" in read_calibration(said["calibration"]).sections
    return f"{kind} of the calibration" if is_fitted else f"{kind} with the built-in figures"


def _interference(calibration: Path) -> float | None:
    """How much longer a training takes beside another one on a second device, if the runs have shown it."""
    sections = read_yaml(calibration.read_text(encoding="utf-8"), str(calibration))
    value = sections.get("interference", {}).get("same_node")
    return None if value is None else float(value)


@contextmanager
def _of_the_user(what: str) -> Iterator[None]:
    """A RunError, in one line, for whatever goes wrong: a prediction that fails is a result, not the end."""
    try:
        yield
    except UserError as error:
        raise RunError(f"{what}: {error}") from error
    except Exception as error:
        raise RunError(f"{what}: {type(error).__name__}: {error}") from error
