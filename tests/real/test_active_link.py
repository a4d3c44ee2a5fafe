"""The link to the active model: whole for whoever follows it, and where the journal says after a crash."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import threading
from pathlib import Path
from typing import Any

import pytest

from real.active import ACTIVE, activate, active_trigger, check_links, restore
from real.plugin import restore as restore_plugin
from real.store import ENCODING, LINEAGE, MODELS, WEIGHTS, ModelStore, read_lineage, verify
from twinclock.errors import ConfigError


@pytest.fixture
def run(tmp_path: Path) -> Path:
    (tmp_path / "run").mkdir()
    return tmp_path / "run"


def store(run: Path, trigger: int) -> None:
    """A model whose files are small, and are checked as any."""
    candidate = run / "work" / str(trigger)
    candidate.mkdir(parents=True)
    contents = {WEIGHTS: f"weights {trigger}".encode(), ENCODING: b"{}"}
    for name, content in contents.items():
        (candidate / name).write_bytes(content)
    sums = {name: hashlib.sha256(content).hexdigest() for name, content in contents.items()}
    (candidate / LINEAGE).write_text(json.dumps({"format": 1, "sha256": sums}))
    ModelStore(run / MODELS).commit(candidate, {"trigger": trigger})


def test_it_leads_to_the_model_wherever_the_run_is_moved(run, tmp_path):
    assert active_trigger(run) is None
    store(run, 3)
    activate(run, 3)
    assert os.readlink(run / ACTIVE) == "models/00003"
    moved = run.rename(tmp_path / "elsewhere")
    assert read_lineage(moved / ACTIVE)["trigger"] == active_trigger(moved) == 3


def test_a_newer_model_stays_when_an_older_one_is_stored_late(run):
    for trigger in (2, 5, 4):
        store(run, trigger)
        activate(run, trigger)
    assert active_trigger(run) == 5


@pytest.mark.parametrize("journaled", [None, 1, 2])
def test_after_a_crash_it_leads_where_the_journal_says(run, journaled):
    for trigger in (1, 2):
        store(run, trigger)
        activate(run, trigger)
    active = None if journaled is None else {"trigger": journaled}
    restore_plugin(run, {"active_model": active, "policy": None})
    assert active_trigger(run) == journaled
    assert (run / ACTIVE).exists() == (journaled is not None)
    restore_plugin(run, {})  # past the scope, where nothing says
    assert active_trigger(run) == journaled


def test_what_a_crash_left_half_made_is_no_hindrance(run):
    store(run, 1)
    (run / ".active.new").symlink_to("nowhere")
    (run / ".active.probe").symlink_to("nowhere")
    check_links(run)
    restore(run, 1)
    assert active_trigger(run) == 1
    assert sorted(each.name for each in run.iterdir()) == [ACTIVE, MODELS, "work"]


def test_whoever_follows_it_finds_a_whole_model_at_every_moment(run):
    num_models, seen, problems = 40, [], []
    store(run, 0)
    activate(run, 0)
    is_over = threading.Event()

    def serve() -> None:
        while not is_over.is_set() or seen[-1] != num_models - 1:
            try:
                folder = (run / ACTIVE).resolve(strict=True)
                lineage = read_lineage(folder)
                verify(folder, lineage)
                assert (run / ACTIVE / WEIGHTS).read_bytes().startswith(b"weights ")
                seen.append(lineage["trigger"])
            except Exception as error:
                problems.append(error)
                return

    reader = threading.Thread(target=serve)
    reader.start()
    for trigger in range(1, num_models):
        store(run, trigger)
        activate(run, trigger)
    is_over.set()
    reader.join()
    assert problems == []
    assert seen == sorted(seen)
    assert seen[-1] == num_models - 1


def test_the_page_says_how_to_follow_it(run):
    """The code in docs/models.md, on a link that moves."""
    page = (Path(__file__).parents[2] / "docs" / "models.md").read_text(encoding="utf-8")
    code = page.split("```python file=serve.py\n")[1].split("```")[0]
    names: dict[str, Any] = {}
    exec(compile(code, "serve.py", "exec"), names)
    store(run, 0)
    activate(run, 0)
    served = names["Served"](run)
    assert served.refresh()
    assert not served.refresh()
    store(run, 1)
    assert not served.refresh()
    activate(run, 1)
    assert served.refresh()
    assert served.lineage["trigger"] == 1


def test_activations_at_once_end_with_the_newest(run):
    triggers = range(12)
    for trigger in triggers:
        store(run, trigger)
    threads = [threading.Thread(target=activate, args=(run, trigger)) for trigger in triggers]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert active_trigger(run) == 11


def test_where_there_are_no_links_one_line_says_so(run, monkeypatch):
    def refuse(*_: object, **__: object) -> None:
        raise OSError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(Path, "symlink_to", refuse)
    with pytest.raises(ConfigError, match="has no symbolic links") as error:
        check_links(run)
    assert str(run) in str(error.value)
    assert "\n" not in str(error.value)


def test_a_folder_in_its_place_is_told(run):
    (run / ACTIVE).mkdir()
    with pytest.raises(ConfigError, match="active: not a symbolic link"):
        check_links(run)
