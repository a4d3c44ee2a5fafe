"""The commands over many runs: thin faces over the Python functions, which they import when they are called."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Optional

import typer

from twinclock.cli import Debug, Quiet, interruptible, say

if TYPE_CHECKING:
    from experiments.results import StudyResult

PARTIAL = 3
"""Exit code of a sweep of which some runs are not done."""

_CODES = {"A": 0, "B": 3, "C": 4}
"""Grade of a fidelity → exit code."""

Dirs = Annotated[
    list[Path], typer.Argument(metavar="DIR…", help="The folders of runs, or that of a study or a fidelity.")
]
StudyDir = Annotated[Optional[Path], typer.Option("--out", help="The study's folder; runs/NAME if not said.")]  # noqa: UP045
StudyFile = Annotated[Path, typer.Argument(metavar="STUDY", help="A study in YAML.")]

Workers = Annotated[
    Optional[int],  # noqa: UP045
    typer.Option("-j", metavar="N", help="Runs at once; all cores if not said, and one where they take real time."),
]


def sweep(
    study: StudyFile,
    out: StudyDir = None,
    num_workers: Workers = None,
    engine: Annotated[
        str, typer.Option(metavar="local|ray", help="Processes of this machine, or a cluster.")
    ] = "local",
    ray_address: Annotated[
        Optional[str],  # noqa: UP045
        typer.Option(metavar="ADDRESS", help="Of a Ray cluster; a new one on this machine if not said."),
    ] = None,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """Run all variants of a study with all seeds; what is done already is not done again."""
    from experiments.progress import watching
    from experiments.sweep import sweep as sweep_study

    with interruptible(), watching(quiet) as watcher:
        made = sweep_study(
            study, out=out, num_workers=num_workers, engine=engine, ray_address=ray_address, watcher=watcher
        )
    _tell(made, quiet)


def report(
    what: Dirs,
    out: Annotated[
        Optional[Path],  # noqa: UP045
        typer.Option("-o", "--out", help="The file to write; if not said, report.html, in DIR if there is one DIR."),
    ] = None,
    debug: Debug = False,
) -> None:
    """Write a run, several runs side by side, a study, or a fidelity as one HTML page."""
    from experiments.report.write import report as write_report

    typer.echo(f"report: {write_report(*what, out=out)}")


def fidelity(
    study: StudyFile,
    repeats: Annotated[int, typer.Option(metavar="N", help="Real runs of each variant.")] = 3,
    out: Annotated[
        Optional[Path],  # noqa: UP045
        typer.Option("--out", help="The folder; runs/NAME-fidelity if not said."),
    ] = None,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """Run a study's variants for real, predict each with another one's costs, and grade how far off that is."""
    from experiments.fidelity.measure import fidelity as measure
    from experiments.fidelity.result import PAGE_FILE
    from experiments.fidelity.show import grade_line, missing_lines, show_fidelity
    from experiments.progress import watching

    with interruptible(), watching(quiet) as watcher:
        made = measure(study, out=out, repeats=repeats, watcher=watcher)
    code = _CODES[made.grade]
    if not quiet:
        from rich.console import Console

        show_fidelity(made, Console())
        typer.echo(f"report: {made.folder}/{PAGE_FILE}")
    elif code:
        for line in (*missing_lines(made), grade_line(made)):
            say(line, code)
    if code:
        raise typer.Exit(code)


def observe(
    config: Annotated[Path, typer.Argument(metavar="CONFIG", help="A configuration in YAML.")],
    out: Annotated[
        Optional[Path],  # noqa: UP045
        typer.Option("--out", help="A new folder for the runs; runs/NAME-observed if not said."),
    ] = None,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """Make a few short real runs that show what a configuration costs, for `calibrate`."""
    from experiments.observe import observe as observe_config

    with interruptible():
        made = observe_config(config, out=out, told=lambda name: None if quiet else typer.echo(f"{name} …"))
    if not quiet:
        typer.echo(f"{len(made.runs)} runs, {made.seconds:.0f} s; now: twinclock calibrate {made.folders[0].parent}/*")


def _tell(made: StudyResult, quiet: bool) -> None:
    from rich.console import Console

    from experiments.show import show_study, unfinished_lines

    if not quiet:
        show_study(made, Console())
    else:
        for line in unfinished_lines(made):
            say(line, PARTIAL)
    if not made.unfinished.is_empty():
        raise typer.Exit(say(f"{made.unfinished.height} of {made.runs.height} runs are not done", PARTIAL))


def search(
    study: StudyFile,
    objective: Annotated[
        Optional[str],  # noqa: UP045
        typer.Option(metavar="A,-B", help="Figures of a run, with a minus where less is better; the study's metrics."),
    ] = None,
    trials: Annotated[int, typer.Option(metavar="N", help="Variants to try, those of earlier calls included.")] = 100,
    at_most: Annotated[
        Optional[list[str]],  # noqa: UP045
        typer.Option(metavar="METRIC=BOUND", help="A bound to keep, such as device_s=40h; may be said again."),
    ] = None,
    confirm: Annotated[int, typer.Option(metavar="K", help="Run so many variants of the front for real.")] = 0,
    prune: Annotated[
        bool, typer.Option("--prune/--no-prune", help="Leave out what a short simulation shows to be beaten.")
    ] = True,
    batch: Annotated[int, typer.Option(metavar="N", help="Trials that are proposed together.")] = 8,
    seed: Annotated[int, typer.Option(metavar="N", help="Of the search; the study says those of its runs.")] = 0,
    out: StudyDir = None,
    num_workers: Workers = None,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """Search among the variants of a study for those that nothing beats, without running all of them."""
    from experiments.progress import watching
    from experiments.search.goals import read_bounds
    from experiments.search.optimise import search as search_study

    with interruptible(), watching(quiet) as watcher:
        made = search_study(
            study,
            objectives=None if objective is None else [each.strip() for each in objective.split(",")],
            at_most=read_bounds(at_most or ()),
            num_trials=trials,
            batch_size=batch,
            seed=seed,
            prune=prune,
            confirm=confirm,
            out=out,
            num_workers=num_workers,
            watcher=watcher,
        )
    if not quiet:
        from rich.console import Console

        from experiments.search.show import show_search

        show_search(made, Console())
    if made.front.is_empty():
        raise typer.Exit(say(f"none of {made.trials.height} trials is done and keeps the bounds", PARTIAL))
