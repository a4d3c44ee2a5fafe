"""One seed after the other: draw, run, check; in several processes, with the same digest for any number of them."""

from __future__ import annotations

import hashlib
import traceback
from collections.abc import Iterable, Iterator, Sequence
from multiprocessing import get_context
from typing import NamedTuple

from dst.draw import Case, draw_case
from dst.invariants import INVARIANTS, Invariant
from dst.witness import witness

_AT_ONCE = 8
"""Seeds that a worker process takes at a time."""


class Verdict(NamedTuple):
    """What is wrong with a case, if anything is."""

    digest: str
    refused: str | None = None
    """The message, if the configuration was refused before it ran."""
    broken: str | None = None
    """The invariant that is broken, or `raised` if the run did not come to an end."""
    message: str = ""


class Outcome(NamedTuple):
    """What came of a seed."""

    seed: int
    verdict: Verdict


def judge(case: Case, invariants: Sequence[Invariant] = INVARIANTS) -> Verdict:
    """Run a case and hold it to every invariant, or to these; the first that is broken is told."""
    try:
        witnessed = witness(case)
    except Exception as error:
        return Verdict("", None, "raised", "".join(traceback.format_exception(error)[-4:]))
    if witnessed.refused is not None:
        return Verdict(witnessed.digest, witnessed.refused)
    for invariant in invariants:
        try:
            invariant(witnessed)
        except Exception as error:  # an invariant that stumbles has met what can't be, which is a finding too
            told = str(error) if isinstance(error, AssertionError) else ""
            where = "".join(traceback.format_exception(error)[-2:])
            return Verdict(witnessed.digest, None, invariant.__name__, told or where)
    return Verdict(witnessed.digest)


def outcome(seed: int) -> Outcome:
    """Of one seed."""
    return Outcome(seed, judge(draw_case(seed)))


def outcomes(seeds: Iterable[int], num_processes: int) -> Iterator[Outcome]:
    """Of many, in the order of the seeds, whoever ran them."""
    if num_processes == 1:
        yield from map(outcome, seeds)
        return
    with get_context("spawn").Pool(num_processes) as pool:  # polars must not be forked
        yield from pool.imap(outcome, seeds, _AT_ONCE)


class Digest:
    """One fingerprint over all runs."""

    def __init__(self) -> None:
        self._hash = hashlib.sha256()

    def add(self, found: Outcome) -> None:
        """The next outcome, in the order of the seeds."""
        verdict = found.verdict
        self._hash.update(f"{found.seed} {verdict.digest} {verdict.refused} {verdict.broken}\n".encode())

    def __str__(self) -> str:
        return self._hash.hexdigest()[:16]
