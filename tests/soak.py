"""Run a pipeline for long, live, and kill its worker every few seconds and the command now and then. By hand.

    python tests/soak.py --triggers 2000 --report tests/soak-report.txt
    python tests/soak.py --triggers 300 --worker-every 3 --command-every 20 --seed 1

Run from the repository's root, in its environment. Ends with 1 if anything is lost or repeated, if folders of trainings
are left over, or if the command's memory or open files grow.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from twinclock.result import Run

COMMAND = (sys.executable, "-c", "from twinclock.cli import main; main()")
SAMPLES_A_TRIGGER = 50
TRIGGERS_A_SECOND = 20.0
"""How fast data come: faster than trainings are done, so there is always something to kill."""
_LOOK_EVERY_S = 0.25
_MOST_BYTES_A_TRIGGER = 16_384
"""What the memory of the command may grow by: it keeps a line of each model."""
_MOST_FILES = 100


@dataclass
class Incarnation:
    """One life of the command, from its start or resume to its end."""

    began_s: float
    rss_bytes: list[tuple[int, int]] = field(default_factory=list)
    """(models stored, resident memory) now and then."""
    most_files: int = 0


@dataclass
class Soak:
    """What was seen from outside."""

    num_worker_kills: int = 0
    num_command_kills: int = 0
    incarnations: list[Incarnation] = field(default_factory=list)


def main(arguments: list[str] | None = None) -> int:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--triggers", type=int, default=2000, help="how many trainings (default: 2000)")
    parser.add_argument("--worker-every", type=float, default=5.0, help="seconds of work between kills of a worker (5)")
    parser.add_argument("--command-every", type=float, default=60.0, help="and between those of the command (60)")
    parser.add_argument("--seed", type=int, default=0, help="of the moments of the kills (0)")
    parser.add_argument("--out", type=Path, help="folder to work in (default: a temporary one)")
    parser.add_argument("--report", type=Path, help="a file to write the report to as well")
    given = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as temporary:
        folder = given.out or Path(temporary)
        began_s = time.monotonic()
        seen = soak(folder, given.triggers, given.worker_every, given.command_every, random.Random(given.seed))
        lines, problems = judge(folder / "run", given.triggers, seen, time.monotonic() - began_s)
    verdict = [f"BROKEN: {problem}" for problem in problems] or ["nothing is broken"]
    report = "\n".join([*lines, *verdict]) + "\n"
    print(report, end="")
    if given.report is not None:
        given.report.write_text(report, encoding="utf-8")
    return int(bool(problems))


def soak(folder: Path, num_triggers: int, worker_every_s: float, command_every_s: float, rng: random.Random) -> Soak:
    """Run to the end, killing on the way; the run is in `folder/run`. RuntimeError if the command fails by itself.

    Seconds count in which models are stored: those in which a worker starts would only be a matter of the machine.
    """
    folder.mkdir(parents=True, exist_ok=True)
    write_samples(folder / "samples.parquet", num_triggers * SAMPLES_A_TRIGGER)
    (folder / "config.yaml").write_text(json.dumps(config(folder / "samples.parquet")))
    run, seen = folder / "run", Soak()
    command = started(folder, seen, "run", folder / "config.yaml", "--on", "real", "--out", run, "--quiet")
    worker_at_s, command_at_s = rng.expovariate(1 / worker_every_s), rng.expovariate(1 / command_every_s)
    worked_s, num_models = 0.0, 0
    while command.poll() is None:
        time.sleep(_LOOK_EVERY_S)
        look(command.pid, run, seen.incarnations[-1])
        if num_models < (num_models := models_stored(run)):
            worked_s += _LOOK_EVERY_S
        if worked_s >= command_at_s:
            command_at_s = worked_s + rng.expovariate(1 / command_every_s)
            command.send_signal(rng.choice([signal.SIGKILL, signal.SIGTERM]))
            command.wait()
            seen.num_command_kills += 1
            command = started(folder, seen, "resume", run, "--quiet")
        elif worked_s >= worker_at_s:
            worker_at_s = worked_s + rng.expovariate(1 / worker_every_s)
            for worker in workers(command.pid):
                os.kill(worker, signal.SIGKILL)
                seen.num_worker_kills += 1
    if command.returncode != 0:
        raise RuntimeError(f"the command ended with {command.returncode}: {(folder / 'said').read_text()}")
    return seen


def judge(run_folder: Path, num_triggers: int, seen: Soak, wall_s: float) -> tuple[list[str], list[str]]:
    """What to report, and what is broken."""
    run = Run.load(run_folder)
    num_samples = num_triggers * SAMPLES_A_TRIGGER
    trained = run.trainings.filter(pl.col("outcome") == "trained")
    problems = []
    if run.outcome != "done":
        problems.append(f"the run ended {run.outcome}")
    for name, table in (("batches", run.batches), ("triggers", run.triggers)):
        if [0, *table["stop"].to_list()[:-1]] != table["first"].to_list() or table["stop"][-1] != num_samples:
            problems.append(f"{name} do not cover the samples exactly once")
    if trained["trigger"].sort().to_list() != list(range(num_triggers)):
        problems.append(f"{trained.height} trainings of {trained['trigger'].n_unique()} triggers, not one of each")
    if sorted(each.name for each in (run_folder / "models").iterdir()) != [f"{n:05d}" for n in range(num_triggers)]:
        problems.append("the store does not hold one model of each trigger")
    if (run_folder / "work").exists():
        problems.append("folders are left over in work/")
    most_files = max(each.most_files for each in seen.incarnations)
    if most_files > _MOST_FILES:
        problems.append(f"{most_files} files were open at once")
    longest = max(seen.incarnations, key=lambda each: len(each.rss_bytes))
    slope = growth(longest.rss_bytes)
    if slope is not None and slope > _MOST_BYTES_A_TRIGGER:
        problems.append(f"the command's memory grows by {slope:.0f} bytes a trigger")
    rss = [size for each in seen.incarnations for _, size in each.rss_bytes if size]
    lines = [
        f"{num_triggers} triggers of {SAMPLES_A_TRIGGER} samples, live, {wall_s:.0f} s",
        f"{seen.num_worker_kills} workers killed, {seen.num_command_kills} times the command killed or terminated",
        f"{run.trainings.height - trained.height} attempts at trainings failed, {run.faults.height} faults in all",
        f"resident memory of the command: {min(rss) / 1e6:.0f} to {max(rss) / 1e6:.0f} MB; in its longest life "
        + ("too short a time to say how it grows" if slope is None else f"{slope:+.0f} bytes a trigger"),
        f"{most_files} open files at most",
    ]
    return lines, problems


def growth(sizes: list[tuple[int, int]]) -> float | None:
    """Bytes a trigger in the second half of a life, in which all is loaded; None if that is too short to say."""
    late = np.array(sizes[len(sizes) // 2 :], dtype=float)
    if len(late) < 40 or np.ptp(late[:, 0]) < 50:
        return None
    return float(np.polyfit(late[:, 0], late[:, 1], 1)[0])


def write_samples(file: Path, num_samples: int) -> None:
    """Two classes that can be told apart by one of two numbers."""
    rng = np.random.default_rng(0)
    label = rng.integers(0, 2, num_samples)
    pl.DataFrame(
        {
            "t": np.arange(num_samples, dtype=float),
            "x": label + rng.normal(0.0, 0.5, num_samples),
            "y": rng.normal(0.0, 1.0, num_samples),
            "label": np.where(label, "b", "a"),
        }
    ).write_parquet(file)


def config(samples: Path) -> dict[str, Any]:
    """Small trainings from the newest model on, each evaluated once."""
    often = {"attempts": 1000, "backoff": 0.0}
    return {
        "name": "soak",
        "mode": "live",
        "live": {"speed_up": TRIGGERS_A_SECOND * SAMPLES_A_TRIGGER},
        "data": {
            "kind": "table",
            "path": str(samples),
            "time": "t",
            "label": "label",
            "features": {"numeric": ["x", "y"], "categorical": []},
        },
        "batching": {"kind": "fixed", "n": SAMPLES_A_TRIGGER},
        "trigger": {"kind": "amount", "n": SAMPLES_A_TRIGGER},
        "selection": {"kind": "new_data", "tail": 9},  # as long a training at the end as at the beginning
        "training": {
            "epochs": 1,
            "batch_size": 10,
            "start_from": "active",
            "retry": often,
            "checkpoint": {"every_steps": 2},
        },
        "evaluation": {
            "plans": [
                {"kind": "slicing", "every": 5 * SAMPLES_A_TRIGGER, "models": "active", "when": "after_training"},
            ],
            "retry": often,
        },
        "real": {"device": "cpu"},
    }


def started(folder: Path, seen: Soak, *arguments: str | Path) -> subprocess.Popen[bytes]:
    """The command; it is waited for until it can be seen that it runs."""
    seen.incarnations.append(Incarnation(time.monotonic()))
    with open(folder / "said", "ab") as said:
        return subprocess.Popen([*COMMAND, *map(str, arguments)], stdout=said, stderr=said)


def look(process: int, run: Path, incarnation: Incarnation) -> None:
    """Note memory and open files of the command."""
    try:
        pages = int(Path(f"/proc/{process}/statm").read_text().split()[1])
        num_files = len(os.listdir(f"/proc/{process}/fd"))
    except (OSError, IndexError):  # it is just leaving
        return
    incarnation.rss_bytes.append((models_stored(run), pages * os.sysconf("SC_PAGE_SIZE")))
    incarnation.most_files = max(incarnation.most_files, num_files)


def models_stored(run: Path) -> int:
    """How far it is."""
    return len(os.listdir(run / "models")) if (run / "models").exists() else 0


def workers(command: int) -> Iterator[int]:
    """The worker processes of the command."""
    try:
        children = Path(f"/proc/{command}/task/{command}/children").read_text().split()
    except OSError:
        return
    for child in children:
        try:
            if b"spawn_main" in Path(f"/proc/{child}/cmdline").read_bytes():
                yield int(child)
        except OSError:
            continue


if __name__ == "__main__":
    sys.exit(main())
