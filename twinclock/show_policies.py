"""The catalog of policies as text, for a terminal or a pipe."""

from __future__ import annotations

import sys

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from rich.text import Text

from twinclock.errors import ConfigError
from twinclock.policies.catalog import GROUPS, Parameter, Policy, catalog
from twinclock.section import nearest

_PIPE_WIDTH = 160
"""Columns where no terminal has a width of its own: each policy of the list stands on one line, for grep."""


def policy_console() -> Console:
    """Where the catalog is printed: without colours, and wide, unless it is a terminal."""
    return Console(highlight=False, width=None if sys.stdout.isatty() else _PIPE_WIDTH)


def list_policies(console: Console) -> None:
    """Print every policy with its line, group by group."""
    table = Table(box=SIMPLE_HEAD, pad_edge=False, expand=False)
    table.add_column("group", no_wrap=True)
    table.add_column("policy", no_wrap=True)
    table.add_column("what it does", overflow="fold")
    for group in GROUPS:
        for policy in catalog():
            if policy.group == group:
                table.add_row(Text(group), Text(policy.name, style="bold"), Text(policy.summary))
        table.add_section()
    _print(table, console)
    console.print(Text("twinclock policies NAME: all about one; docs/policies.md: when to use which"))


def show_policies(name: str, console: Console) -> None:
    """Print all about the policies of that name. ConfigError if there is none."""
    found = [policy for policy in catalog() if policy.name == name]
    if not found:
        known = list(dict.fromkeys(policy.name for policy in catalog()))
        raise ConfigError(f"policies: got {name}, which is no policy; {nearest(name, known)}")
    for policy in found:
        _show(policy, console)


def _show(policy: Policy, console: Console) -> None:
    console.print(Text(f"{policy.name} ({policy.group})", style="bold"))
    for paragraph in (policy.summary, *policy.semantics):
        _print(Text(f"{paragraph}\n"), console)
    for place in policy.places:
        console.print(Text(f"    {place}"), soft_wrap=True)
    if policy.parameters:
        _print(_parameters(policy.parameters), console)
    else:
        console.print(Text("\nIt has no keys.\n"))
    _print(Text(f"Source: {policy.source}\n"), console)


def _parameters(parameters: tuple[Parameter, ...]) -> Table:
    table = Table(box=SIMPLE_HEAD, pad_edge=False)
    table.add_column("key", no_wrap=True)
    table.add_column("meaning, value and default", overflow="fold")
    for each in parameters:
        unit = "" if each.unit is None else f" [{each.unit}]"
        default = "required" if each.default == "required" else f"default {each.default}"
        table.add_row(Text(each.name, style="bold"), Text(f"{each.meaning}\n{each.type}{unit}; {default}"))
    return table


def _print(printed: Table | Text, console: Console) -> None:
    """Without blanks at the ends of lines, which a terminal does not show and a pipe should not get."""
    if console.is_terminal:
        console.print(printed)
        return
    with console.capture() as capture:
        console.print(printed)
    for line in capture.get().splitlines():
        console.print(Text(line.rstrip()), soft_wrap=True)
