"""A failing case made smaller: sections and keys are left out, one after the other, while it still fails the same way."""

from __future__ import annotations

import time
from collections.abc import Iterator
from copy import deepcopy
from dataclasses import replace
from typing import Any

from dst.draw import Case
from dst.fuzz import judge



def shrunk(case: Case, broken: str, within_s: float = 60.0) -> Case:
    """The case with as little in it as breaks the same invariant; what it has come to when the time is over."""
    over_s = time.monotonic() + within_s
    progress = True
    while progress:
        progress = False
        tried: set[str] = set()
        while untried := [(what, smaller) for what, smaller in _smaller(case) if what not in tried]:
            if time.monotonic() > over_s:
                return case
            what, smaller = untried[0]
            tried.add(what)
            if judge(smaller).broken == broken:
                case, progress = smaller, True
    return case


def _smaller(case: Case) -> Iterator[tuple[str, Case]]:
    """Cases with one thing less, the large things first, each with what it lacks."""
    if case.is_fleet:
        for name, member in case.config["fleet"].items():
            yield f"fleet but {name}", replace(case, config={**member["config"], "cluster": case.config["cluster"]})
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


def _without(config: dict[str, Any], path: tuple[Any, ...]) -> dict[str, Any]:
    changed = deepcopy(config)
    place: Any = changed
    for key in path[:-1]:
        place = place[key]
    del place[path[-1]]
    return changed
