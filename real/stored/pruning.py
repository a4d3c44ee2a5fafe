"""Removing old models of a run."""

from __future__ import annotations

import shutil
from pathlib import Path

from real.active import active_trigger
from real.store import MODELS, ModelStore, note_pruned, read_lineage
from real.stored.listing import stored_run
from twinclock.activations import activated_models
from twinclock.errors import ConfigError
from twinclock.run_folder import held, sync, told_as_run_error


def prune(folder: Path, keep: int) -> list[int]:
    """Remove all models of a run but the newest `keep`, the active one, and the parents of these; who was removed.

    A parent is kept that the lineage of one of these names, not the parent's own. What a run that is not finished has
    stored and its tables do not know yet stays too. RunError if a process has the run, or a lineage can't be read;
    then nothing is removed.
    """
    if keep < 1:
        raise ConfigError(f"--keep: got {keep}, expected at least 1")
    with held(folder):
        run, store = stored_run(folder), ModelStore(folder / MODELS)
        there = store.triggers()
        # of a run that crashed, the link may be ahead of what the journal says is active
        wanted = {*there[-keep:], active_trigger(folder), activated_models(run.tables)["model"].max()}
        parents = {read_lineage(store.folder(each)).get("parent") for each in there if each in wanted}
        known = set(run.models["model"].to_list())
        removed = [each for each in there if each not in wanted | parents and each in known]
        with told_as_run_error(folder):
            note_pruned(store.root, removed)
            for trigger in removed:
                _remove(store.folder(trigger))
    return removed


def _remove(folder: Path) -> None:
    """In one step as seen from outside, so that a crash leaves no half of a model."""
    unwanted = folder.with_name(f"{folder.name}.pruned.tmp")
    folder.rename(unwanted)
    sync(folder.parent)
    shutil.rmtree(unwanted)
