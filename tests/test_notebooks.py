"""Every notebook runs from clean, in any folder, and shows what it should; its two files say the same."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import jupytext
import nbclient
import nbformat
import pytest

FOLDER = Path(__file__).parent.parent / "notebooks"
SOURCES = sorted(FOLDER.glob("*.py"))

each_notebook = pytest.mark.parametrize("source", SOURCES, ids=lambda path: path.stem)


def cells(notebook: nbformat.NotebookNode) -> list[tuple[str, str]]:
    return [(cell.cell_type, cell.source) for cell in notebook.cells]


def texts(output: nbformat.NotebookNode) -> Iterator[str]:
    yield output.get("text", "")
    yield from (text for kind, text in output.get("data", {}).items() if kind.startswith("text/"))


def test_every_notebook_is_a_pair():
    assert {path.stem for path in FOLDER.glob("*.ipynb")} == {path.stem for path in SOURCES}


@each_notebook
def test_a_pair_says_the_same(source: Path):
    written = nbformat.read(source.with_suffix(".ipynb"), as_version=4)
    assert cells(written) == cells(jupytext.read(source)), "make notebooks"
    assert not any(cell.get("outputs") or cell.get("execution_count") for cell in written.cells), "keep no outputs"


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of the notebook client's own dependencies
@each_notebook
def test_a_notebook_runs_from_clean(source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("PYDEVD_DISABLE_FILE_VALIDATION", "1")
    monkeypatch.setenv("JUPYTER_PLATFORM_DIRS", "1")
    nowhere, temporary = tmp_path / "nowhere", tmp_path / "temporary"
    nowhere.mkdir()
    temporary.mkdir()
    monkeypatch.setenv("TMPDIR", os.fspath(temporary))
    notebook = nbformat.read(source.with_suffix(".ipynb"), as_version=4)
    nbclient.NotebookClient(notebook, timeout=300, resources={"metadata": {"path": os.fspath(nowhere)}}).execute()
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", ())]
    assert not [output["text"] for output in outputs if output.get("name") == "stderr"]
    assert not [text for output in outputs for text in texts(output) if "Warning" in text]
    kinds = {kind for output in outputs for kind in output.get("data", ())}
    assert "text/html" in kinds  # tables
    assert "image/png" in kinds  # pictures
    assert not list(nowhere.iterdir()), "what a notebook writes goes into a temporary folder"
