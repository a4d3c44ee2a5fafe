"""A trigger made of others, which vote."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field, model_validator

from twinclock.graph import Json
from twinclock.policies.triggers.protocol import (
    Answer,
    Decision,
    DependsOn,
    Fire,
    Observation,
    Observe,
    Quiet,
    Samples,
    Trigger,
    strongest,
)
from twinclock.policies.triggers.votes import AtLeast, Quorum, needed
from twinclock.section import Section, WrongKeyError
from twinclock.stream import DataTime

if TYPE_CHECKING:
    from twinclock.policies.triggers import TriggerConfig


class EnsembleTriggerConfig(Section):
    """Fires when enough of several triggers have.

    A member that has fired stays on until the ensemble fires; then all are off. Fires at the position at which the
    rule first holds. Votes count in order of position; several at one position, or at or before the last fire, are
    one. Members are told of the ensemble's triggers, not of their own votes.
    """

    source: ClassVar[str] = ""

    kind: Literal["ensemble"] = "ensemble"
    of: dict[str, TriggerConfig] = Field(min_length=1)
    """The members, by names of your own."""
    rule: Quorum = "majority"
    """How many of the members it takes."""

    @model_validator(mode="after")
    def _possible(self) -> EnsembleTriggerConfig:
        if isinstance(self.rule, AtLeast) and self.rule.k > len(self.of):
            raise WrongKeyError("rule.k", f"got {self.rule.k}, expected at most {len(self.of)}, the number of members")
        return self


class EnsembleTrigger:
    """Lets its members read on by turns, so that none is ahead of a fire of the ensemble.

    Each member looks ahead to the next thing that it has to say. The earliest is taken; the others forget what they
    saw, for a fire before it could have changed their minds.
    """

    def __init__(self, rule: Quorum, members: Mapping[str, Trigger]) -> None:
        self.depends_on: DependsOn = strongest(*(member.depends_on for member in members.values()))
        self._members = dict(members)
        self._needed = needed(rule, len(members))
        self._on: list[str] = []
        self._asking: tuple[str, int] | None = None
        """The member that awaits an observation, and the position of its decision."""
        self._votes: list[tuple[str, int]] = []
        """Votes that are not counted yet: member and position."""
        self._fired: int | None = None
        """The latest position at which the ensemble has fired; votes up to there are part of that fire."""
        self._since = 0

    def advance(self, samples: Samples, observation: Observation | None) -> Answer:
        """Take the members' answers in order of position, up to the first observation wanted or the vote that fires."""
        decisions: list[Decision] = []
        if self._asking is not None:
            name, position = self._asking
            self._asking = None
            self._read_to(name, position, samples, observation, decisions)
        while True:
            name, answer = self._look_ahead(samples)
            vote = min(self._votes, key=lambda each: each[1], default=None)
            if vote is not None and (isinstance(answer, Quiet) or _order(answer) >= (vote[1], True)):
                self._votes.remove(vote)
                name, position = vote
            elif isinstance(answer, Quiet):
                return self._all_quiet(samples, decisions)
            else:
                self._members[name].advance(samples, None)
                decisions += _votes(name, answer.decisions)
                position = answer.position
                if isinstance(answer, Observe):
                    self._asking = name, position
                    request = {**answer.request, "member": _within(name, answer.request.get("member"))}
                    return Observe(request=request, position=position, decisions=tuple(decisions))
            if self._fired is not None and position <= self._fired:
                continue
            if name not in self._on:
                self._on.append(name)
            if len(self._on) >= self._needed:
                return self._fire(samples, position, decisions)

    def on_fire(self, position: int) -> None:
        """All members are off, and told."""
        self._on = []
        self._since = position + 1
        for member in self._members.values():
            member.on_fire(position)

    def on_training_cost(self, num_samples: int, seconds: float) -> None:
        """Members are told."""
        for member in self._members.values():
            member.on_training_cost(num_samples, seconds)

    def on_new_model(self, model: Mapping[str, Json]) -> None:
        """Members are told."""
        for member in self._members.values():
            member.on_new_model(model)

    def next_deadline(self) -> DataTime | None:
        """The earliest of the members'."""
        deadlines = [member.next_deadline() for member in self._members.values()]
        return min((each for each in deadlines if each is not None), default=None)

    def state_dict(self) -> dict[str, Json]:
        """Who is on, who awaits an observation, and the members' states."""
        return {
            "on": list(self._on),
            "asking": None if self._asking is None else list(self._asking),
            "votes": [list(vote) for vote in self._votes],
            "fired": self._fired,
            "since": self._since,
            "members": {name: member.state_dict() for name, member in self._members.items()},
        }

    def load_state_dict(self, state: Mapping[str, Json]) -> None:
        """Go on from a `state_dict`."""
        self._on = list(state["on"])
        self._asking = None if state["asking"] is None else (state["asking"][0], state["asking"][1])
        self._votes = [(name, position) for name, position in state["votes"]]
        self._fired, self._since = state["fired"], state["since"]
        for name, member in self._members.items():
            member.load_state_dict(state["members"][name])

    def _look_ahead(self, samples: Samples) -> tuple[str, Answer]:
        """The member that has something to say next, and what; no member has read on."""
        answers = {}
        for name, member in self._members.items():
            before = member.state_dict()
            answers[name] = member.advance(samples, None)
            member.load_state_dict(before)
        name = min(answers, key=lambda name: _order(answers[name]))
        return name, answers[name]

    def _read_to(
        self, name: str, position: int, samples: Samples, observation: Observation | None, decisions: list[Decision]
    ) -> None:
        """A member reads on up to a position; its votes are kept until it is their turn."""
        shown = samples.until(position + 1)
        answer = self._members[name].advance(shown, observation)
        while isinstance(answer, Fire):
            decisions += _votes(name, answer.decisions)
            self._votes.append((name, answer.position))
            answer = self._members[name].advance(shown, None)
        decisions += _votes(name, answer.decisions)
        if isinstance(answer, Observe):
            raise ValueError(
                f"member {name} wants an observation at {answer.position}, where it has read to {position}"
            )

    def _all_quiet(self, samples: Samples, decisions: list[Decision]) -> Quiet:
        for name, member in self._members.items():
            decisions += _votes(name, member.advance(samples, None).decisions)
        return Quiet(decisions=tuple(decisions))

    def _fire(self, samples: Samples, position: int, decisions: list[Decision]) -> Fire:
        """Members read on to the fire's position before they are told of it; what they say there is part of it."""
        for name in self._members:
            self._read_to(name, position, samples, None, decisions)
        self._votes = [vote for vote in self._votes if vote[1] > position]
        self._fired = position
        reason = f"{', '.join(self._on)} of {', '.join(self._members)}"
        row = Decision(
            first=min(self._since, position + 1),
            stop=position + 1,
            observation=len(self._on),
            threshold=self._needed,
            verdict="fired",
            reason=reason,
        )
        return Fire(position=position, reason=reason, decisions=(*decisions, row))


def _within(name: str, member: str | None) -> str:
    return name if member is None else f"{name}.{member}"


def _order(answer: Answer) -> tuple[float, bool]:
    """By position; at the same one observations are made before votes are counted."""
    return (math.inf, True) if isinstance(answer, Quiet) else (answer.position, isinstance(answer, Fire))


def _votes(name: str, decisions: tuple[Decision, ...]) -> list[Decision]:
    """A member's decisions in the log: its fires are votes."""
    return [
        replace(each, verdict="none", reason=f"{name} votes: {each.reason}")
        if each.verdict == "fired"
        else replace(each, reason=f"{name}: {each.reason}")
        for each in decisions
    ]
