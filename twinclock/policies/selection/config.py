"""What a user may ask of the selection: the kinds, and the kinds of presampling.

N is the number of samples at hand. Shares that a user writes as decimals are taken as such: 0.29 of 100
samples is 29, although 100 * 0.29 in binary is a little less.
"""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal, TypeAlias

from pydantic import Field

from twinclock.durations import Duration
from twinclock.section import Section, kind_if_unsaid

PresampleRatio: TypeAlias = Annotated[float, Field(gt=0, le=1)]
"""How much of the set is drawn. [share]"""
PresampleLimit: TypeAlias = Annotated[int, Field(gt=0)] | None
"""How much is drawn at most; None: as `ratio` says. [samples]"""

_MODYN = "Böther et al., Modyn: Data-Centric Machine Learning Pipeline Orchestration, SIGMOD 2025"


class UniformPresampleConfig(Section):
    """A uniform draw from the set.

    min(⌊N·ratio⌋, limit) of the N samples, none twice; every such subset is equally likely.
    """

    source: ClassVar[str] = _MODYN

    kind: Literal["uniform"] = "uniform"
    ratio: PresampleRatio = 1.0
    limit: PresampleLimit = None


class RoundsPresampleConfig(Section):
    """A uniform draw that takes every sample once before it takes one again.

    m = min(⌊N·ratio⌋, limit) of the N samples. If at least m of them are unused in this round, m of those
    are drawn. If they are fewer, all of those are taken, a new round begins, and the rest is drawn from
    the others, which alone count as used in the new round. So no sample is twice in a set.

    A draw is forgotten if its trigger is dropped, or if its training fails for good: what it had
    marked gets back the mark that it had before, unless a later draw has marked it since.
    """

    source: ClassVar[str] = _MODYN

    kind: Literal["uniform_without_replacement"] = "uniform_without_replacement"
    ratio: PresampleRatio = 1.0
    limit: PresampleLimit = None


class LabelBalancedPresampleConfig(Section):
    """A draw with a fair share of each label.

    min(⌊N·ratio⌋, limit) of the N samples. A label with fewer samples than an equal share gives all of
    them, and what is left is shared again among the others; remainders go to the labels in ascending
    order. Within a label the draw is uniform.
    """

    source: ClassVar[str] = _MODYN

    kind: Literal["label_balanced"] = "label_balanced"
    ratio: PresampleRatio = 1.0
    limit: PresampleLimit = None


class TriggerBalancedPresampleConfig(Section):
    """A draw with a fair share of each trigger whose samples are in the set.

    As for labels: min(⌊N·ratio⌋, limit) of the N samples, fair shares, remainders to the oldest
    triggers. The samples of a training that failed for good are the trigger's that took them over.
    """

    source: ClassVar[str] = _MODYN

    kind: Literal["trigger_balanced"] = "trigger_balanced"
    ratio: PresampleRatio = 1.0
    limit: PresampleLimit = None


PresampleConfig: TypeAlias = Annotated[
    UniformPresampleConfig | RoundsPresampleConfig | LabelBalancedPresampleConfig | TriggerBalancedPresampleConfig,
    Field(discriminator="kind"),
]


class NewDataConfig(Section):
    """The trigger's own samples, and those of the triggers before it as far as `tail` reaches.

    Four steps, each on what the one before it leaves: the samples of this trigger and of the `tail`
    before it (None: all since the start); those with ts > ts of the set's last sample − `window`; at most
    `limit` of them, the last by position or a uniform draw (`keep`); and `presample` from these. The set
    is shuffled. A presample of ⌊N·ratio⌋ = 0 samples trains nothing.
    """

    source: ClassVar[str] = ""

    kind: Literal["new_data"] = "new_data"
    tail: int | None = Field(default=None, ge=0)
    """How many earlier triggers' samples are added; None: all data since the start. [triggers]"""
    window: Duration | None = None
    """What is older than the set's last sample by this or more is left out; None: nothing. [s of data time]"""
    limit: int | None = Field(default=None, gt=0)
    """Size of the whole set at most; None: all of it. [samples]"""
    keep: Literal["last", "uniform"] = "last"
    """Which ones if there are more than `limit`: the last by position, or drawn uniformly."""
    presample: PresampleConfig | None = None
    """Draw some of them; None: train on all."""


class FreshnessConfig(Section):
    """A fixed share of samples that no training has used yet, filled up with used ones.

    With u for `unused`, U samples unused so far and V used ones: while V = 0, all U (above `limit` L: L of
    them). Else T = min(⌊100·U/u⌋, ⌊100·V/(100−u)⌋), where u = 100 puts no bound by V. If the second is smaller, V used
    and T − V unused samples, else U unused and T − U used ones. If T > L: ⌊L·u/100⌋ unused ones, used
    ones for the rest. Both parts are drawn uniformly, and what was drawn counts as used.

    A draw is forgotten if its trigger is dropped, or if its training fails for good: the samples that it took
    as unused ones are unused again. Triggers that are put together train on all that either drew.
    """

    source: ClassVar[str] = _MODYN

    kind: Literal["freshness"] = "freshness"
    unused: float = Field(gt=0, le=100)
    """u: how much of a training set no training has used before. [percent]"""
    limit: int | None = Field(default=None, gt=0)
    """L: size of the set at most; None: as many as keep the share. [samples]"""


SelectionConfig: TypeAlias = Annotated[
    Annotated[NewDataConfig | FreshnessConfig, Field(discriminator="kind")], kind_if_unsaid("new_data")
]
"""A mapping without a `kind` is `new_data`."""
