"""The trials of a search: what Optuna proposes next, and what came of those before, durable in `search.sqlite`.

Optuna's own loop is not used. What is on disk are trials that ended, one transaction each, so there is none that a
`kill -9` leaves half done. To propose the next batch, they are put into a study in memory, with a sampler whose random
numbers are those of that batch. So a batch depends on the trials before it and on nothing else, and a search that was
interrupted, at whatever moment, proposes what it would have proposed.

The sampler is Optuna's TPE with several objectives (MOTPE): a search has a few hundred trials, which for NSGA-II would
be a handful of generations; it models each axis for itself, so an axis that applies only sometimes does no harm; and
unlike NSGA-II it also learns from trials that were pruned.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

import numpy as np

from experiments.search.goals import Goals
from experiments.search.space import every_choice, suggested
from experiments.study import Study
from experiments.variants import Variant
from twinclock.errors import ConfigError, RunError

if TYPE_CHECKING:
    import optuna

TrialState: TypeAlias = Literal["done", "pruned", "infeasible", "failed"]
FILE = "search.sqlite"
_ATTEMPTS = 5
"""How often a variant that was tried already may be proposed before one of the untried ones is taken instead."""
_TOLD = "twinclock"
"""The attribute of a stored trial that says what Optuna has no place for."""


@dataclass(frozen=True, slots=True)
class Proposed:
    """A variant that Optuna wants to see tried, in Optuna's own terms too."""

    variant: Variant
    params: Mapping[str, Any]
    distributions: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Ended:
    """A trial and what came of it."""

    proposed: Proposed
    state: TrialState
    figures: Mapping[str, float]
    """Means over the seeds; empty unless done or infeasible."""
    short: Mapping[str, float] | None
    """Figures of its short simulation; None if there was none, or it failed."""
    error: str | None = None

    @property
    def variant(self) -> Variant:
        """What was tried."""
        return self.proposed.variant


def optuna_here() -> Any:
    """Optuna, quiet. ConfigError if it is not installed."""
    try:
        import optuna
    except ImportError:
        raise ConfigError("search: Optuna is not installed; expected pip install 'twinclock[search]'") from None
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    return optuna


def propose(study: Study, goals: Goals, before: Sequence[Ended], num_trials: int, seed: int) -> list[Proposed]:
    """The batch that follows these trials: so many variants that were not tried yet, or as many as there are."""
    optuna = optuna_here()
    numbers = np.random.SeedSequence([seed, len(before)]).generate_state(2)
    sampler = optuna.samplers.TPESampler(seed=int(numbers[0]), multivariate=False)
    memory = optuna.create_study(sampler=sampler, directions=_directions(goals))
    memory.add_trials([_frozen(goals, each) for each in before])
    seen = {_key(each.proposed.params) for each in before}
    untried = _untried(study, seen, np.random.default_rng(int(numbers[1])))
    found: list[Proposed] = []
    while len(found) < num_trials:
        proposed = _new(memory, study, seen, untried)
        if proposed is None:
            break
        seen.add(_key(proposed.params))
        found.append(proposed)
    return found


def _new(memory: optuna.Study, study: Study, seen: set[str], untried: list[dict[str, str]] | None) -> Proposed | None:
    """One more, which stays open in memory, so that the sampler keeps away from it; None if all are tried."""
    from optuna.trial import TrialState as OptunaState

    for _ in range(_ATTEMPTS):
        trial = memory.ask()
        proposed = _proposed(study, trial)
        if _key(proposed.params) not in seen:
            return proposed
        memory.tell(trial, state=OptunaState.FAIL)
    if untried is None:
        return proposed  # among numbers that are not counted, one that was tried comes free of charge
    while untried:
        params = untried.pop()
        if _key(params) not in seen:
            memory.enqueue_trial(params)
            return _proposed(study, memory.ask())
    return None


def _proposed(study: Study, trial: optuna.Trial) -> Proposed:
    variant = suggested(study, trial)
    return Proposed(variant, dict(trial.params), dict(trial.distributions))


def _untried(study: Study, seen: set[str], rng: np.random.Generator) -> list[dict[str, str]] | None:
    choices = every_choice(study)
    if choices is None:
        return None
    left = [params for params in choices if _key(params) not in seen]
    return [left[index] for index in rng.permutation(len(left))]


def _key(params: Mapping[str, Any]) -> str:
    return json.dumps(params, sort_keys=True)


class Trials:
    """The trials of one search that ended, on disk."""

    def __init__(self, goals: Goals, stored: optuna.Study) -> None:
        self._goals = goals
        self._stored = stored
        self.ended = [_ended(each) for each in stored.get_trials(deepcopy=False)]
        """In the order of their numbers, which count from 0."""

    @classmethod
    @contextmanager
    def open(cls, folder: Path, name: str, goals: Goals) -> Iterator[Trials]:
        """The trials of the search of that name, or none yet. RunError if the file can't be used."""
        optuna = optuna_here()
        from sqlalchemy import URL
        from sqlalchemy.exc import SQLAlchemyError

        file = folder / FILE
        url = URL.create("sqlite", database=str(file.absolute()))
        try:
            storage = optuna.storages.RDBStorage(url.render_as_string())
            try:
                directions = _directions(goals)
                stored = optuna.create_study(
                    storage=storage, study_name=name, directions=directions, load_if_exists=True
                )
                yield cls(goals, stored)
            finally:
                storage.remove_session()
                storage.engine.dispose()
        except (SQLAlchemyError, optuna.exceptions.StorageInternalError) as error:
            told = " ".join(str(error).split())[:200]
            raise RunError(f"{file}: can't be used ({told}); expected the trials of a search") from None

    def add(self, ended: Ended) -> None:
        """Make the next trial durable."""
        self._stored.add_trial(_frozen(self._goals, ended))
        self.ended.append(ended)


def _directions(goals: Goals) -> list[str]:
    return ["maximize" if each.larger_is_better else "minimize" for each in goals.objectives]


def _frozen(goals: Goals, ended: Ended) -> optuna.trial.FrozenTrial:
    from optuna.trial import TrialState as OptunaState
    from optuna.trial import create_trial

    states = {"done": OptunaState.COMPLETE, "infeasible": OptunaState.COMPLETE, "pruned": OptunaState.PRUNED}
    complete = ended.state in ("done", "infeasible")
    variant = ended.variant
    return create_trial(
        state=states.get(ended.state, OptunaState.FAIL),
        values=[ended.figures[each.name] for each in goals.objectives] if complete else None,
        constraints=goals.violations(ended.figures) if complete else None,
        params=dict(ended.proposed.params),
        distributions=dict(ended.proposed.distributions),
        user_attrs={
            _TOLD: {  # one attribute, for each takes the storage several queries
                "state": ended.state,
                "variant": {"label": variant.label, "levels": variant.levels, "changes": variant.changes},
                "figures": dict(ended.figures),
                "short": None if ended.short is None else dict(ended.short),
                "error": ended.error,
            }
        },
    )


def _ended(stored: optuna.trial.FrozenTrial) -> Ended:
    told = stored.user_attrs[_TOLD]
    proposed = Proposed(Variant(**told["variant"]), stored.params, stored.distributions)
    return Ended(proposed, told["state"], told["figures"], told["short"], told["error"])
