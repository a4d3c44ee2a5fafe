"""`RUN/active`: a symbolic link to the folder of the active model, for whoever serves it.

The link is replaced in one step, and only by that of a model that is durable. So whoever opens it finds a whole model,
at any moment and after a power cut, and the folder that it leads to never changes. It points to what the journal says
is active, or is ahead of it for the moment until that is on record; after a crash `restore` takes that back.
"""

from __future__ import annotations

import os
from pathlib import Path
from threading import Lock

from real.store import MODELS, ModelStore
from twinclock.errors import ConfigError
from twinclock.run_folder import sync

ACTIVE = "active"
_NEW, _PROBE = ".active.new", ".active.probe"
_ONE_AT_A_TIME = Lock()


def active_trigger(run: Path) -> int | None:
    """The trigger whose model the link of a run leads to; None if there is no link."""
    try:
        return int(os.readlink(run / ACTIVE).rpartition("/")[2])
    except (OSError, ValueError):
        return None


def activate(run: Path, trigger: int) -> None:
    """Let the link lead to the model of a trigger, durably; a newer one, stored meanwhile, stays.

    The model has to be stored. OSError if the link can't be made.
    """
    with _ONE_AT_A_TIME:  # several models may be stored at once
        current = active_trigger(run)
        if current is None or current < trigger:
            _point_to(run, trigger)


def restore(run: Path, trigger: int | None) -> None:
    """Let the link lead to the model of this trigger, whatever it led to before; None: to none."""
    if active_trigger(run) == trigger:
        return
    if trigger is None:
        (run / ACTIVE).unlink(missing_ok=True)
        sync(run)
    else:
        _point_to(run, trigger)


def check_links(run: Path) -> None:
    """ConfigError if the file system of a run's folder has no symbolic links, or something else is in their place."""
    link = run / ACTIVE
    if link.exists() and not link.is_symlink():
        raise ConfigError(
            f"{link}: not a symbolic link; expected none here, or one (was the run copied without links?)"
        )
    probe = run / _PROBE
    try:
        probe.unlink(missing_ok=True)
        probe.symlink_to(MODELS)
        probe.unlink()
    except OSError as error:
        expected = "expected one that has them, for the link to the active model"
        reason = error.strerror or type(error).__name__
        raise ConfigError(f"{run}: this file system has no symbolic links ({reason}), {expected}") from None


def _point_to(run: Path, trigger: int) -> None:
    folder = ModelStore(run / MODELS).folder(trigger)
    unfinished = run / _NEW
    unfinished.unlink(missing_ok=True)
    unfinished.symlink_to(folder.relative_to(run), target_is_directory=True)
    os.replace(unfinished, run / ACTIVE)
    sync(run)
