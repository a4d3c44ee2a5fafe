"""A trigger made of others, which vote."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, ClassVar, Literal, NamedTuple

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
    """Takes its members from moment to moment, so that none is ahead of a fire of the ensemble.

    A position has two moments: its sample is seen; later the next sample, or the clock, shows what is over with it. The
    next moment is found by looking ahead: each member says what it would say next, and forgets it, for a fire before
    could change its mind. Then all members read through that moment before their votes are counted, so that no member
    answers differently because of its place among the others.
    """

    def __init__(self, rule: Quorum, members: Mapping[str, Trigger]) -> None:
        self.depends_on: DependsOn = strongest(*(member.depends_on for member in members.values()))
        self._members = dict(members)
        self._needed = needed(rule, len(members))
        self._on: list[str] = []
        self._moment: _Moment | None = None
        """The moment that members read through; None: the next one is still to be found."""
        self._voted: list[str] = []
        """Who votes in that moment."""
        self._asking: str | None = None
        """The member that awaits an observation."""
        self._fired: int | None = None
        """Where the last fire was, its own or that of a trigger around it; votes up to there are part of it."""
        self._since = 0

    def advance(self, samples: Samples, observation: Observation | None) -> Answer:
        """Take the members from moment to moment, up to the first observation wanted or the vote that fires."""
        decisions: list[Decision] = []
        while True:
            self._moment = self._moment or self._next_moment(samples)
            if self._moment is None:
                return self._all_quiet(samples, decisions)
            request = self._read_through(self._moment, samples, observation, decisions)
            if request is not None:
                return replace(request, decisions=tuple(decisions))
            observation = None
            moment, voted = self._moment, self._voted
            self._moment, self._voted = None if moment.is_over else _Moment(moment.position, is_over=True), []
            if self._fired is not None and moment.position <= self._fired:
                continue
            self._on += [name for name in voted if name not in self._on]
            if voted and len(self._on) >= self._needed:
                return self._fire(moment, samples, decisions)

    def on_fire(self, position: int) -> None:
        """All members are off, and told."""
        self._on = []
        self._fired, self._since = position, position + 1
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
        """Who is on, where the members are and what they said there, who awaits an observation; the members' states."""
        return {
            "on": list(self._on),
            "moment": None if self._moment is None else list(self._moment),
            "voted": list(self._voted),
            "asking": self._asking,
            "fired": self._fired,
            "since": self._since,
            "members": {name: member.state_dict() for name, member in self._members.items()},
        }

    def load_state_dict(self, state: Mapping[str, Json]) -> None:
        """Go on from a `state_dict`."""
        self._on, self._voted, self._asking = list(state["on"]), list(state["voted"]), state["asking"]
        self._moment = None if state["moment"] is None else _Moment(*state["moment"])
        self._fired, self._since = state["fired"], state["since"]
        for name, member in self._members.items():
            member.load_state_dict(state["members"][name])

    def _next_moment(self, samples: Samples) -> _Moment | None:
        """The first at which a member has something to say; None if none has."""
        says = [_look_ahead(member, samples) for member in self._members.values()]
        position = min((answer.position for answer in says if not isinstance(answer, Quiet)), default=None)
        return None if position is None else _Moment(position, is_over=False)

    def _read_through(
        self, moment: _Moment, samples: Samples, observation: Observation | None, decisions: list[Decision]
    ) -> Observe | None:
        """All members say what they have to say at a moment; or up to the first observation that one of them wants."""
        view = moment.view(samples)
        for name, member in self._members.items():
            while True:
                if name == self._asking:
                    self._asking = None
                    answer = member.advance(view, observation)
                elif _speaks_by(moment.position, _look_ahead(member, samples)):
                    # some see what is over only in the next sample itself
                    answer = member.advance(samples if moment.is_over else view, None)
                else:
                    break
                decisions += _votes(name, answer.decisions)
                if isinstance(answer, Quiet):
                    break
                if isinstance(answer, Observe):
                    self._asking = name
                    request = {**answer.request, "member": _within(name, answer.request.get("member"))}
                    return replace(answer, request=request)
                if name not in self._voted:
                    self._voted.append(name)
        return None

    def _all_quiet(self, samples: Samples, decisions: list[Decision]) -> Quiet:
        for name, member in self._members.items():
            decisions += _votes(name, member.advance(samples, None).decisions)
        return Quiet(decisions=tuple(decisions))

    def _fire(self, moment: _Moment, samples: Samples, decisions: list[Decision]) -> Fire:
        """Members have read on to the moment of the fire when they are told of it."""
        view, position = moment.view(samples), moment.position
        for name, member in self._members.items():
            # not `on_batch`, which would take the end of the view for the end of a batch
            if isinstance(_look_ahead(member, view), Quiet):
                decisions += _votes(name, member.advance(view, None).decisions)
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


class _Moment(NamedTuple):
    """When something is said about a position."""

    position: int
    is_over: bool
    """Is it known as well when the next sample comes, or how far the clock is? That sample is not seen yet."""

    def view(self, samples: Samples) -> Samples:
        """What a member is shown at this moment."""
        stop = self.position + 1
        if not self.is_over:
            return replace(samples.until(stop), watermark=None)
        if stop >= samples.stop:
            return samples
        return replace(samples.until(stop), watermark=samples.stream.timestamp(stop))


def _look_ahead(member: Trigger, samples: Samples) -> Answer:
    """What a member would say next; it has not read on."""
    before = member.state_dict()
    answer = member.advance(samples, None)
    member.load_state_dict(before)
    return answer


def _speaks_by(position: int, answer: Answer) -> bool:
    return not isinstance(answer, Quiet) and answer.position <= position


def _within(name: str, member: str | None) -> str:
    return name if member is None else f"{name}.{member}"


def _votes(name: str, decisions: tuple[Decision, ...]) -> list[Decision]:
    """A member's decisions in the log: its fires are votes."""
    return [
        replace(each, verdict="none", reason=f"{name} votes: {each.reason}")
        if each.verdict == "fired"
        else replace(each, reason=f"{name}: {each.reason}")
        for each in decisions
    ]
