"""Are the stored models of a run what was stored?"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from real.active import ACTIVE, active_trigger
from real.store import MODELS, ModelStore, read_lineage, read_pruned, verify
from real.stored.listing import stored_run
from twinclock.errors import RunError


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """What was found."""

    num_models: int
    """Models looked at."""
    problems: tuple[str, ...]
    """One line for each model that is damaged or missing, and for a link that leads nowhere."""


def check_models(folder: Path) -> Check:
    """Compute every checksum of every model, and follow the link `active`. RunError if there is no run with models."""
    run, store = stored_run(folder), ModelStore(folder / MODELS)
    there, problems = store.triggers(), []
    for trigger in there:
        try:
            verify(store.folder(trigger), read_lineage(store.folder(trigger)))
        except RunError as error:
            problems.append(str(error))
    gone = set(run.models["model"].to_list()).difference(there, read_pruned(store.root))
    problems += [f"{store.folder(trigger)}: missing, and never pruned" for trigger in sorted(gone)]
    if (active := active_trigger(folder)) is not None and active not in there:
        problems.append(f"{folder / ACTIVE}: leads to model {active}, which is not there")
    return Check(num_models=len(there), problems=tuple(problems))
