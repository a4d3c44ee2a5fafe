"""A failing case made smaller: sections and keys are left out, one by one, while it still fails the same way."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from dst.draw import Case
from dst.fuzz import judge
from dst.invariants import INVARIANTS


def shrunk(case: Case, broken: str, most_tries: int = 300) -> Case:
    """The case with as little in it as breaks the same invariant; what it has come to after so many tries."""
    asked = [rule for rule in INVARIANTS if rule.__name__ == broken]
    num_tries, before = 0, None
    while case != before:
        before, tried = case, set[str]()
        while left := next((each for each in _smaller(case) if each[0] not in tried), None):
            if num_tries == most_tries:
                return case
            what, smaller = left
            num_tries += 1
            tried.add(what)
            if judge(smaller, asked).broken == broken:
                case = smaller
    return case


def _smaller(case: Case) -> Iterator[tuple[str, Case]]:
    """Cases with one thing less, the large things first, each with what it lacks; made as they are asked for."""
    if case.is_fleet:
        cluster = {key: case.config[key] for key in ("cluster",) if key in case.config}
        for name, member in case.config["fleet"].items():
            yield f"all but {name}", replace(case, config={**member["config"], **cluster})
    if case.broken:
        yield "broken", replace(case, broken={})
    if case.stop_s is not None:
        yield "stop_s", replace(case, stop_s=None)
    for path in sorted(_paths(case.config), key=len):
        yield ".".join(map(str, path)), replace(case, config=_without(case.config, path))


def _paths(values: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    entries = values.items() if isinstance(values, dict) else enumerate(values) if isinstance(values, list) else ()
    for key, value in entries:
        yield (*path, key)
        yield from _paths(value, (*path, key))


def _without(values: Any, path: tuple[Any, ...]) -> Any:
    """A copy that lacks what is at `path`, and shares the rest."""
    first, *rest = path
    changed = values.copy()
    if rest:
        changed[first] = _without(values[first], tuple(rest))
    else:
        del changed[first]
    return changed
