"""How many of several voices it takes."""

from __future__ import annotations

from typing import Annotated, Literal, TypeAlias

from pydantic import BeforeValidator, Field, ValidationError

from twinclock.section import Section


class AtLeast(Section):
    """At least k of them."""

    kind: Literal["at_least"] = "at_least"
    k: int = Field(gt=0)
    """How many it takes. [voices]"""


def _quorum(value: object) -> object:
    if isinstance(value, AtLeast) or value in ("any", "all", "majority"):
        return value
    try:
        return AtLeast.model_validate(value)
    except ValidationError:
        raise ValueError("expected any, all, majority, or {kind: at_least, k: a number > 0}") from None


Quorum: TypeAlias = Annotated[Literal["any", "all", "majority"] | AtLeast, BeforeValidator(_quorum)]
"""`majority` is more than half of all, whether they have spoken or not."""


def needed(quorum: Quorum, num_voices: int) -> int:
    """How many of so many voices it takes."""
    if isinstance(quorum, AtLeast):
        return quorum.k
    return {"any": 1, "all": num_voices, "majority": num_voices // 2 + 1}[quorum]
