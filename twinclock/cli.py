"""The command `twinclock`: a thin face over the Python functions; nothing heavy is imported before it is needed."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Optional

import typer

from twinclock.errors import ConfigError, UserError

if TYPE_CHECKING:
    from twinclock.config import Config
    from twinclock.fleet import Fleet

app = typer.Typer(
    name="twinclock",
    help="One stage graph of a continual-training pipeline, under two clocks: simulated, or run with torch.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)

Quiet = Annotated[bool, typer.Option("--quiet", help="Say nothing but errors.")]
Debug = Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")]
RunDir = Annotated[Path, typer.Argument(metavar="RUN_DIR", help="The folder of a run.")]
RayAddress = Annotated[
    Optional[str],  # noqa: UP045
    typer.Option(
        metavar="HOST:PORT", help="The cluster of a run on ray; else that of RAY_ADDRESS, or one on this machine."
    ),
]
ConfigFile = Annotated[Path, typer.Argument(metavar="CONFIG", help="A configuration in YAML.")]

USER_ERROR, RUN_FAILED, INTERRUPTED = 2, 1, 130
_RAY_ADDRESS = "RAY_ADDRESS"
_PIPED_WIDTH = 160
"""Columns for a wide table where there is no terminal that could say how many it has."""


@app.command()
def run(
    config: ConfigFile,
    on: Annotated[Optional[str], typer.Option("--on", metavar="sim|real|ray", help="Which executor runs it.")] = None,  # noqa: UP045
    out: Annotated[Optional[Path], typer.Option(help="A new folder for the run.")] = None,  # noqa: UP045
    seed: Annotated[Optional[int], typer.Option(help="Instead of the configuration's seed.")] = None,  # noqa: UP045
    set_: Annotated[
        Optional[list[str]],  # noqa: UP045
        typer.Option("--set", metavar="KEY=VALUE", help="Change a key, e.g. trigger.n=500; may be repeated."),
    ] = None,
    ray_address: RayAddress = None,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """Run a configuration from start to end and say what came of it."""
    from twinclock import launch, plugins
    from twinclock.fleet import is_fleet
    from twinclock.progress import watching

    if on not in plugins.names():
        got = "missing" if on is None else f"got {on}"
        raise ConfigError(f"--on: {got}, expected one of {', '.join(plugins.names())}")
    if seed is not None and seed < 0:
        raise ConfigError(f"--seed: got {seed}, expected a whole number >= 0")
    _use_ray_at(ray_address, on)
    if is_fleet(config):
        _run_fleet(config, on, out, seed, set_ or (), quiet)
        return
    with interruptible(), watching(quiet) as watcher:
        done = launch.run(config, on=on, out=out, seed=seed, overrides=set_ or (), watcher=watcher)
    _tell(done, quiet)


@app.command()
def resume(run_dir: RunDir, ray_address: RayAddress = None, quiet: Quiet = False, debug: Debug = False) -> None:
    """Go on with a real run that crashed or was interrupted."""
    from twinclock import launch
    from twinclock.progress import watching
    from twinclock.run_folder import read_header

    _use_ray_at(ray_address, read_header(run_dir)["executor"])
    with interruptible(), watching(quiet) as watcher:
        done = launch.resume(run_dir, watcher=watcher)
    _tell(done, quiet)


@app.command()
def watch(run_dir: RunDir, debug: Debug = False) -> None:
    """Look at a real run while it goes on: active stages, devices, backlog, last trigger, scores."""
    from rich.console import Console

    from twinclock.monitoring.view import watch as watch_run

    watch_run(run_dir, Console())


@app.command()
def show(run_dir: RunDir, debug: Debug = False) -> None:
    """Show a run: its figures, and its pictures as files beside them."""
    from twinclock.fleet import Fleet
    from twinclock.result import Run

    if Fleet.is_in(run_dir):
        _print_fleet(Fleet.load(run_dir))
        return
    loaded = Run.load(run_dir)
    _print_run(loaded)
    if loaded.state == "finished":
        from twinclock.explain.text import critical_line

        typer.echo(critical_line(loaded))
        _write_pictures(loaded)


@app.command()
def compare(
    run_dirs: Annotated[list[Path], typer.Argument(metavar="RUN_DIR RUN_DIR…", help="Two runs or more.")],
    debug: Debug = False,
) -> None:
    """Show runs side by side."""
    from rich.console import Console

    from twinclock.result import Run
    from twinclock.show import compare_runs

    if len(run_dirs) < 2:
        raise ConfigError(f"compare: got {len(run_dirs)} run, expected two or more")
    compare_runs([Run.load(run_dir) for run_dir in run_dirs], Console())


@app.command()
def whatif(
    run_dir: RunDir,
    set_: Annotated[
        Optional[list[str]],  # noqa: UP045
        typer.Option("--set", metavar="KEY=VALUE", help="What to change, e.g. cluster.devices=4; may be repeated."),
    ] = None,
    quiet: Annotated[bool, typer.Option("--quiet", help="Show no progress.")] = False,
    debug: Debug = False,
) -> None:
    """Simulate a run's configuration as it is and changed, and show what differs and why."""
    from rich.console import Console

    from twinclock.explain.text import show_whatif
    from twinclock.explain.whatif import whatif
    from twinclock.progress import watching

    with interruptible(), watching(quiet) as watcher:
        made = whatif(run_dir, set_ or (), watcher=watcher)
    show_whatif(made, Console())


@app.command()
def trace(
    run_dir: RunDir,
    out: Annotated[
        Optional[Path],  # noqa: UP045
        typer.Option("-o", "--out", help="The file to write; RUN_DIR/trace.json if not said."),
    ] = None,
    debug: Debug = False,
) -> None:
    """Write a run as a trace, to be opened at ui.perfetto.dev or in chrome://tracing."""
    from twinclock.explain.trace import write_trace
    from twinclock.result import Run

    file = run_dir / "trace.json" if out is None else out
    write_trace(Run.load(run_dir), file)
    typer.echo(f"trace: {file}")


@app.command()
def graph(
    variant: Annotated[str, typer.Option(metavar="seed|sequential|overlapped", help="Which pipeline.")] = "seed",
    format_: Annotated[str, typer.Option("--format", metavar="mermaid|svg|png", help="How to draw it.")] = "mermaid",
    out: Annotated[Optional[Path], typer.Option("-o", "--out", help="The file to write.")] = None,  # noqa: UP045
    debug: Debug = False,
) -> None:
    """Draw the stage graph."""
    from twinclock.pipeline import VARIANTS, GraphOptions, build_graph

    chosen = next((each for each in VARIANTS if each == variant), None)
    if chosen is None:
        raise ConfigError(f"--variant: got {variant!r}, expected one of {', '.join(VARIANTS)}")
    root = build_graph(GraphOptions(variant=chosen))
    if format_ == "mermaid":
        from twinclock.render import mermaid

        _write_text(mermaid(root), out)
    elif format_ in ("svg", "png"):
        from twinclock.picture import save_graph

        if out is None:
            raise ConfigError(f"--format {format_}: expected -o FILE to write the picture to")
        _writable(out)
        save_graph(root, out, format_)
    else:
        raise ConfigError(f"--format: got {format_!r}, expected mermaid, svg or png")


@app.command()
def check(config: ConfigFile, debug: Debug = False) -> None:
    """Check a configuration, its data and its graph, for every executor that is installed."""
    from twinclock import plugins
    from twinclock.config import load_config
    from twinclock.fleet import is_fleet, plan_fleet

    plan: Callable[[str], object]
    if is_fleet(config):
        names = [name for name in plugins.names() if isinstance(plugins.find(name), plugins.FleetPlugin)]
        plan = partial(plan_fleet, config)
    else:
        names, plan = plugins.names(), partial(_plan, config, load_config(config))
    problems: dict[str, list[str]] = {}
    for name in names:
        try:
            plan(name)
        except UserError as error:
            problems.setdefault(str(error), []).append(name)
        else:
            typer.echo(f"{name}: ok")
    for problem, wrong in problems.items():
        typer.echo(f"{', '.join(wrong)}: {problem}", err=True)
    if problems:
        raise typer.Exit(USER_ERROR)


@app.command()
def policies(
    name: Annotated[Optional[str], typer.Argument(metavar="NAME", help="A policy; without one, all.")] = None,  # noqa: UP045
    debug: Debug = False,
) -> None:
    """List all policies, or say everything about those of a name."""
    from twinclock.show_policies import list_policies, policy_console, show_policies

    if name is None:
        list_policies(policy_console())
    else:
        show_policies(name, policy_console())


def add_commands() -> None:
    """Add the commands that are installed beside this package's own."""
    from twinclock.extensions import commands

    known = {command.name for command in app.registered_commands}
    for name, function in commands().items():
        if name not in known:
            app.command(name)(function)


def main() -> None:
    """Entry point: every error that a user can cause is one line on stderr and exit code 2."""
    debug = "--debug" in sys.argv
    add_commands()
    signal.signal(signal.SIGTERM, _interrupt)
    try:
        code = app(standalone_mode=False)
    except (typer.Abort, KeyboardInterrupt):
        sys.exit(say("interrupted", INTERRUPTED))
    except UserError as error:
        if debug:
            raise
        sys.exit(say(f"error: {error}", USER_ERROR))
    except Exception as error:
        if debug or not hasattr(error, "exit_code"):
            raise
        told = error.format_message() if hasattr(error, "format_message") else str(error)
        sys.exit(say(f"error: {told} (twinclock --help shows the usage)", error.exit_code))
    sys.exit(code if isinstance(code, int) else 0)


def _plan(source: Path, config: Config, on: str) -> None:
    from twinclock import launch

    with launch.located(source, config):
        launch.plan_run(config, on)


def _use_ray_at(address: str | None, on: str) -> None:
    """The address is no part of a run, which may go on in another cluster: what Ray itself reads says where it is."""
    from twinclock import plugins

    if address is not None:
        plugins.ensure_reads(plugins.find(on), _RAY_ADDRESS, "--ray-address")
        os.environ[_RAY_ADDRESS] = address


def _run_fleet(
    config: Path, on: str, out: Path | None, seed: int | None, overrides: Sequence[str], quiet: bool
) -> None:
    from twinclock.fleet import run_fleet
    from twinclock.progress import watching

    if seed is not None:
        raise ConfigError("--seed: each pipeline of a fleet has its own; expected --set fleet.NAME.set={seed: N}")
    with interruptible(), watching(quiet) as watcher:
        done = run_fleet(config, on=on, out=out, overrides=overrides, watcher=watcher)
    if not quiet:
        _print_fleet(done)
    if any(run.outcome != "done" for run in done.runs.values()):
        raise typer.Exit(RUN_FAILED)
    for name, run in done.runs.items():
        _tell_of_missing(run, f"{name}: ")


def _print_fleet(fleet: Fleet) -> None:
    from rich.console import Console

    from twinclock.fleet.show import NARROWEST, show_fleet

    is_fitted = sys.stdout.isatty() or "COLUMNS" in os.environ
    console = Console(width=None if is_fitted else _PIPED_WIDTH)
    console.width = max(console.width, NARROWEST)  # a narrower terminal breaks the lines
    show_fleet(fleet, console)


@contextmanager
def interruptible() -> Iterator[None]:
    """Say how an interrupted run can go on, before typer makes a bare exit code of it."""
    try:
        yield
    except KeyboardInterrupt as interrupt:
        raise typer.Exit(say(str(interrupt) or "interrupted", INTERRUPTED)) from None


def _interrupt(_signal: int, _frame: object) -> None:
    raise KeyboardInterrupt


def say(line: str, code: int) -> int:
    """Say a line on stderr, whatever it is broken into, and give back the exit code that goes with it."""
    typer.echo(" ".join(line.split()), err=True)
    return code


def _tell(run: Any, quiet: bool) -> None:
    if not quiet:
        _print_run(run)
    if run.folder is not None and not quiet:
        typer.echo(f"run folder: {run.folder}")
    if run.outcome != "done":
        is_users = run.header.get("error_type") in ("ConfigError", "DataError")
        told = f"the run failed: {run.header.get('error') or 'see the table of faults'}"
        raise typer.Exit(say(told, USER_ERROR if is_users else RUN_FAILED))
    _tell_of_missing(run)


def _tell_of_missing(run: Any, name: str = "") -> None:
    """End with an error if scores are missing that the user could have had."""
    from twinclock.lost import users_line

    if (missing := users_line(run.tables)) is not None:
        raise typer.Exit(say(f"error: {name}{missing}", USER_ERROR))


def _print_run(run: Any) -> None:
    from rich.console import Console

    from twinclock.show import show_run

    show_run(run, Console())


def _write_pictures(run: Any) -> None:
    from twinclock.plots import save

    pictures = {"timeline": run.plot.timeline, "accuracy": run.plot.accuracy, "time_by_stage": run.plot.time_by_stage}
    for name, draw in pictures.items():
        path = run.folder / f"{name}.png"
        save(draw(), path)
        typer.echo(f"{name}: {path}")


def _write_text(text: str, out: Path | None) -> None:
    if out is None:
        typer.echo(text, nl=False)
    else:
        _writable(out)
        out.write_text(text, encoding="utf-8")


def _writable(out: Path) -> None:
    try:
        out.open("ab").close()
    except OSError as error:
        raise ConfigError(f"-o {out}: can't be written ({error.strerror})") from None
