"""The demo: simulate `studies/demo.yaml`, run the very same file with torch, show both side by side.

    python -m experiments.demo [FOLDER]

Leaves two run folders (`sim`, `real`) with a timeline and an accuracy picture each.
"""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

from rich.console import Console

import twinclock as tc
from twinclock.errors import UserError
from twinclock.plots import save
from twinclock.progress import watching
from twinclock.show import compare_runs

CONFIG = Path(__file__).parent / "studies" / "demo.yaml"


def main(folder: Path = Path("runs/demo")) -> int:
    """Run both, print the comparison, write the pictures. The exit code: 1 if a run failed or they disagree."""
    console = Console()
    shutil.rmtree(folder, ignore_errors=True)
    runs = []
    for executor in ("sim", "real"):
        console.print(f"{CONFIG.name} on {executor} …")
        with watching(quiet=False) as watcher:
            run = tc.run(CONFIG, on=executor, out=folder / executor, watcher=watcher)
        for name, figure in (("timeline", run.plot.timeline()), ("accuracy", run.plot.accuracy())):
            save(figure, folder / executor / f"{name}.png")
        runs.append(run)
    compare_runs(runs, console)
    console.print(f"pictures: {folder}/{{sim,real}}/{{timeline,accuracy}}.png")
    simulated, real = (run.triggers["position"].to_list() for run in runs)
    return 0 if simulated == real and all(run.outcome == "done" for run in runs) else 1


if __name__ == "__main__":
    try:
        sys.exit(main(*(Path(argument) for argument in sys.argv[1:])))
    except UserError as error:
        sys.exit(f"error: {error}")
