"""The commands of the simulator: thin faces over Python functions, which they import when they are called."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from twinclock.cli import Debug, Quiet


def calibrate(
    runs: Annotated[list[Path], typer.Argument(metavar="RUN_DIR…", help="Folders of finished real runs.")],
    out: Annotated[
        Path, typer.Option("-o", "--out", metavar="FILE", help="The file to write, for sim.calibration.")
    ] = Path("costs.yaml"),
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """Fit what a simulated run costs to real runs."""
    from sim.calibration import calibrate as fit
    from twinclock.plots import save

    found = fit(runs)
    found.write(out)
    picture = out.with_name(f"{out.stem}-residuals.png")
    save(found.plot_residuals(), picture)
    if not quiet:
        typer.echo(str(found))
    typer.echo(f"costs: {out}")
    typer.echo(f"residuals: {picture}")
