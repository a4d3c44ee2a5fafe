"""What these tests share: a browser, and pages of a run, of several runs, of a study, and of a fidelity."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

sys.path[:0] = [str(Path(__file__).parent.parent), str(Path(__file__).parent)]

from browser import Browser, Tab, browser  # noqa: E402
from handmade_fidelity import figures, policy, record  # noqa: E402
from reported import BASE, HOSTILE, STUDY  # noqa: E402

import twinclock as tc  # noqa: E402
from experiments.fidelity.result import FidelityResult  # noqa: E402
from experiments.report.write import report  # noqa: E402
from experiments.results import StudyResult  # noqa: E402
from experiments.sweep import sweep  # noqa: E402
from twinclock.result import Run  # noqa: E402


@pytest.fixture(scope="session")
def runs(tmp_path_factory: pytest.TempPathFactory) -> list[Run]:
    """Three finished runs with folders."""
    folder = tmp_path_factory.mktemp("runs")
    sizes = (100, 50, 200)
    return [tc.run(BASE, on="sim", out=folder / f"n{n}", overrides=[f"trigger.n={n}"]) for n in sizes]


@pytest.fixture(scope="session")
def study(tmp_path_factory: pytest.TempPathFactory) -> StudyResult:
    """A study of which half of the variants fail, and whose names are those of an attacker."""
    return sweep(STUDY, out=tmp_path_factory.mktemp("study") / "swept", num_workers=1)


@pytest.fixture(scope="session")
def fidelity() -> FidelityResult:
    """Three policies: one well predicted, one badly, one not at all."""
    good = policy("amount", [figures(10.0), figures(10.2)], figures(10.1))
    bad = policy("time", [figures(20.0), figures(20.1)], figures(9.0, accuracy=0.6), depends_on="clock")
    missing = policy(HOSTILE, [figures(15.0), "its worker died"], "too few trainings")
    return FidelityResult(record(good, bad, missing, question=HOSTILE))


@pytest.fixture(scope="session")
def pages(
    tmp_path_factory: pytest.TempPathFactory, runs: list[Run], study: StudyResult, fidelity: FidelityResult
) -> dict[str, Path]:
    """One page of each sort."""
    folder = tmp_path_factory.mktemp("pages")
    return {
        "run": report(runs[0].folder, out=folder / "run.html"),
        "runs": report(*runs, out=folder / "runs.html"),
        "study": report(study.folder, out=folder / "study.html"),
        "fidelity": report(fidelity, out=folder / "fidelity.html"),
    }


@pytest.fixture(scope="session")
def opened(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    """A headless Chromium. Without one the tests are skipped, unless TWINCLOCK_NEEDS_BROWSER=1."""
    program = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if program is None:
        if os.environ.get("TWINCLOCK_NEEDS_BROWSER") == "1":
            pytest.fail("no Chromium on the path, and TWINCLOCK_NEEDS_BROWSER=1")
        pytest.skip("no Chromium on the path")
    with browser(program, tmp_path_factory.mktemp("profile")) as made:
        yield made


@pytest.fixture
def tab(opened: Browser) -> Iterator[Tab]:
    """A tab of its own."""
    with opened.tab() as made:
        yield made
