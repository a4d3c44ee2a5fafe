"""Run many simulated pipelines drawn at random, and hold each to what has to be true of every run.

    python tests/fuzz.py --runs 50000 -j 8
    python tests/fuzz.py --runs 1 --seed 1234        exactly the run that failed
    python tests/fuzz.py --case failing.yaml         a case from a file

Run from the repository's root, in its environment. Ends with 1 if anything is broken, and then says of each seed which
invariant, how to repeat it, and its case as YAML, shrunk. The digest is over all tables of all runs: it is the same for
any `-j`, in any process.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections import Counter
from pathlib import Path

from dst.draw import draw_case
from dst.files import case_text, read_case
from dst.fuzz import Digest, Outcome, judge, outcomes
from dst.shrink import shrunk

_SHOWN_EVERY_S = 5.0
_MOST_SHOWN = 5


def main(arguments: list[str] | None = None) -> int:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=2000, help="how many seeds (default: 2000)")
    parser.add_argument("--seed", type=int, default=0, help="the first seed (default: 0)")
    parser.add_argument("-j", dest="num_processes", type=int, default=1, help="worker processes (default: 1)")
    parser.add_argument("--case", type=Path, help="run the case in this file instead")
    given = parser.parse_args(arguments)
    if given.case is not None:
        verdict = judge(read_case(given.case))
        print(f"{given.case}: {verdict.broken or verdict.refused or 'nothing is broken'}\n{verdict.message}".strip())
        return int(verdict.broken is not None)
    return _many(range(given.seed, given.seed + given.runs), given.num_processes)


def _many(seeds: range, num_processes: int) -> int:
    began_s = shown_s = time.monotonic()
    digest, counted, broken = Digest(), Counter[str](), list[Outcome]()
    for done, found in enumerate(outcomes(seeds, num_processes), start=1):
        digest.add(found)
        counted["refused" if found.verdict.refused else "broken" if found.verdict.broken else "ran"] += 1
        if found.verdict.broken:
            broken.append(found)
            if len(broken) <= _MOST_SHOWN:
                print(f"seed {found.seed}: {found.verdict.broken}: {found.verdict.message}", flush=True)
        now_s = time.monotonic()
        if now_s - shown_s > _SHOWN_EVERY_S:
            shown_s, rate = now_s, done / (now_s - began_s)
            left_s = (len(seeds) - done) / rate
            print(
                f"{done} of {len(seeds)}, {rate:.1f} runs/s, {left_s:.0f} s left, {len(broken)} broken", file=sys.stderr
            )
    took_s = time.monotonic() - began_s
    print(f"{len(seeds)} runs in {took_s:.1f} s, {len(seeds) / took_s:.1f} runs/s", file=sys.stderr)
    for each in broken[:_MOST_SHOWN]:
        _tell(each)
    told = ", ".join(f"{counted[what]} {what}" for what in ("ran", "refused", "broken"))
    print(f"seeds {seeds.start} to {seeds.stop - 1}: {told}; digest {digest}")
    return int(bool(broken))


def _tell(found: Outcome) -> None:
    """How to see it again, and what it is, as small as it gets."""
    assert found.verdict.broken is not None
    print(
        f"\nseed {found.seed} breaks {found.verdict.broken}; again: python tests/fuzz.py --runs 1 --seed {found.seed}"
    )
    print("the same, shrunk (save it, then: python tests/fuzz.py --case FILE):\n")
    print(case_text(shrunk(draw_case(found.seed), found.verdict.broken)), flush=True)


if __name__ == "__main__":
    sys.exit(main())
