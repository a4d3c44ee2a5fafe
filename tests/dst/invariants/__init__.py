"""What has to be true of every run: one function for each rule, which raises an AssertionError where it is broken."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from types import ModuleType

from dst.invariants import devices, models, overlapping, protocol, replaying, samples, tables
from dst.witness import Witness

Invariant = Callable[[Witness], None]


def _rules_in(module: ModuleType) -> Iterator[Invariant]:
    """The functions of a module that take what was witnessed and are not private: each is a rule."""
    for name, function in vars(module).items():
        mine = callable(function) and getattr(function, "__module__", "") == module.__name__
        if mine and not name.startswith("_") and list(function.__annotations__.values()) == ["Witness", "None"]:
            yield function


INVARIANTS: Sequence[Invariant] = [
    rule
    for module in (protocol, samples, models, devices, overlapping, tables, replaying)
    for rule in _rules_in(module)
]
"""All of them, the cheap and general ones first."""
