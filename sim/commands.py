"""Commands about how good the simulation is: thin faces over functions that are imported when they are called."""

from __future__ import annotations

import typer

from twinclock.cli import RUN_FAILED, Debug, RunDir


def replay(run_dir: RunDir, debug: Debug = False) -> None:
    """Simulate a finished real run with the durations that it had: is the control flow the same?"""
    from rich.console import Console

    from sim.replay.run import replay as replayed
    from sim.replay.show import show_replay

    made = replayed(run_dir)
    show_replay(made, Console())
    if not made.is_within:
        raise typer.Exit(RUN_FAILED)
