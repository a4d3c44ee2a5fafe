"""The command over the stored models of a run: a thin face over `real.stored`, imported when it is called."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Optional

import typer

from twinclock.cli import Debug, RunDir, say
from twinclock.errors import ConfigError

DAMAGED = 1
"""Exit code if a model is not what was stored."""
_NUM_SERIALS = {"list": 0, "verify": 0, "prune": 0, "diff": 2, "export": 1}
"""Action → models that it is about."""
_KEEP, _OUT = "prune", "export"


def models(
    run_dir: RunDir,
    action: Annotated[str, typer.Argument(metavar="list|diff|verify|prune|export", help="What to do.")] = "list",
    serials: Annotated[
        Optional[list[int]],  # noqa: UP045
        typer.Argument(metavar="MODEL…", help="The models, by their triggers: two for diff, one for export."),
    ] = None,
    keep: Annotated[
        Optional[int],  # noqa: UP045
        typer.Option(metavar="N", help="For prune: how many of the newest stay, besides the active one."),
    ] = None,
    out: Annotated[Optional[Path], typer.Option(help="For export: a new folder.")] = None,  # noqa: UP045
    debug: Debug = False,
) -> None:
    """List the stored models of a run; compare, verify, prune or export them."""
    chosen = serials or []
    if action not in _NUM_SERIALS:
        raise ConfigError(f"models: got {action!r}, expected one of {', '.join(_NUM_SERIALS)}")
    if len(chosen) != _NUM_SERIALS[action]:
        raise ConfigError(f"models {action}: got {len(chosen)} models, expected {_NUM_SERIALS[action]}")
    for option, value, its_action in (("--keep", keep, _KEEP), ("--out", out, _OUT)):
        if (value is None) == (action == its_action):
            got = f"{option}: missing, expected with" if value is None else f"{option}: only for"
            raise ConfigError(f"{got} models {its_action}")
    match action:
        case "list":
            _list(run_dir)
        case "diff":
            _diff(run_dir, *chosen)
        case "verify":
            _verify(run_dir)
        case "prune":
            _prune(run_dir, keep or 0)
        case _:
            _export(run_dir, chosen[0], out or Path())


def _list(run_dir: Path) -> None:
    from rich.console import Console

    from real.stored.listing import listed
    from real.stored.show import show_models

    show_models(listed(run_dir), Console())


def _diff(run_dir: Path, a: int, b: int) -> None:
    from rich.console import Console

    from real.stored.difference import difference
    from real.stored.show import show_difference

    show_difference(difference(run_dir, a, b), a, b, Console())


def _verify(run_dir: Path) -> None:
    from real.stored.checking import check_models

    checked = check_models(run_dir)
    for problem in checked.problems:
        say(problem, DAMAGED)
    if checked.problems:
        raise typer.Exit(DAMAGED)
    typer.echo(f"{checked.num_models} models: ok")


def _prune(run_dir: Path, keep: int) -> None:
    from real.stored.pruning import prune

    removed = prune(run_dir, keep)
    typer.echo(f"pruned: {', '.join(map(str, removed)) or 'nothing'}")


def _export(run_dir: Path, trigger: int, out: Path) -> None:
    from real.stored.export import export

    export(run_dir, trigger, out)
    typer.echo(f"model {trigger}: {out}")
