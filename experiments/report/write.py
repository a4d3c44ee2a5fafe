"""Write a report: of a run, of several runs side by side, of a study, or of a fidelity."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TypeAlias

from experiments.fidelity.result import FIDELITY_FILE, FidelityResult
from experiments.report.blocks import Page
from experiments.report.html import render
from experiments.results import STUDY_FILE, StudyResult
from twinclock.errors import ConfigError
from twinclock.result import Run

FILE = "report.html"
Loaded: TypeAlias = Run | StudyResult | FidelityResult
What: TypeAlias = str | Path | Loaded


def report(*what: What, out: str | Path | None = None) -> Path:
    """Write one HTML page about a run, several runs, a study or a fidelity, and say where it is.

    `what`: folders, or what was loaded from them; of a fidelity its `fidelity.json` is enough. `out`: the file; None:
    `report.html`, in the folder of the one thing that it is about, else in the working directory. The page needs no
    network and no other file, and the same folders give the same bytes. The runs of a study that are drawn over data
    time are simulated again. ConfigError if these can't be put in one report or the file can't be written, RunError if
    there is no run or study in a folder.
    """
    if not what:
        raise ConfigError("report: got nothing, expected the folders of runs, or that of a study")
    loaded = [_loaded(each) for each in what]
    file = _default(loaded) if out is None else Path(out)
    if not file.parent.is_dir():
        raise ConfigError(f"-o {file}: got a file in a folder that is not there, expected a writable path")
    text = render(_page(loaded))
    try:
        file.write_text(text, encoding="utf-8")
    except OSError as error:
        raise ConfigError(f"-o {file}: can't be written ({error.strerror}), expected a writable path") from None
    return file


def _loaded(what: What) -> Loaded:
    if isinstance(what, Run | StudyResult | FidelityResult):
        return what
    folder = Path(what)
    if folder.is_file() or (folder / FIDELITY_FILE).exists():
        return FidelityResult.load(folder)
    return StudyResult.load(folder) if (folder / STUDY_FILE).exists() else Run.load(folder)


def _default(loaded: Sequence[Loaded]) -> Path:
    folder = loaded[0].folder if len(loaded) == 1 else None
    return (folder or Path()) / FILE


def _page(loaded: Sequence[Loaded]) -> Page:
    # matplotlib and scipy are behind these
    from experiments.report.fidelity_page import fidelity_page
    from experiments.report.run_page import run_page
    from experiments.report.runs_page import runs_page
    from experiments.report.study_page import study_page

    runs = [each for each in loaded if isinstance(each, Run)]
    if len(loaded) > 1 and len(runs) < len(loaded):
        raise ConfigError(f"report: got {', '.join(map(_name, loaded))}, expected one study, or runs only")
    match loaded[0]:
        case StudyResult() as study:
            return study_page(study)
        case FidelityResult() as made:
            return fidelity_page(made)
    return run_page(runs[0]) if len(runs) == 1 else runs_page(runs)


def _name(each: Loaded) -> str:
    match each:
        case StudyResult():
            return each.study.name
        case FidelityResult():
            return each.record.name
        case Run():
            return each.name
