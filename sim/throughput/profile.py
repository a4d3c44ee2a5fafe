"""Training seconds from a profile table: published figures, or one's own measurements."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Literal

from pydantic import Field

from sim.numbers import NotNegative
from sim.throughput.curves import Surface
from sim.throughput.protocol import Held, Job
from sim.throughput.scaling import Scaling
from sim.throughput.table import Table, curve_of, curves, is_own, load_table
from twinclock.config import TrainingConfig
from twinclock.errors import ConfigError
from twinclock.section import Section, nearest

_KEY = "sim.costs.training"


class ProfileCost(Section):
    """Throughputs that were measured by someone, somewhere."""

    kind: Literal["profile"] = "profile"
    table: str
    """A built-in table, or the path of one's own, which ends in .yaml."""
    model: str
    """As the table calls it."""
    device: str
    """What a device of speed 1 is, as the table calls it."""
    precision: str | None = None
    """As the table calls it; None: the only one that it has for this model and device."""
    efficiency: Annotated[float, Field(gt=0, le=1)] | None = None
    """What a pipeline gets of a throughput in steady state; None: 1/1.5 of published ones, all of one's own."""
    setup_s: NotNegative = 30.0
    """Seconds before the first step. The default is what Sia's simulator takes a restart for."""


PUBLISHED_EFFICIENCY = 1 / 1.5


class Profile:
    """A table looked up for one model on one kind of device."""

    def __init__(self, cost: ProfileCost, scaling: Scaling, forward_share: float) -> None:
        """ConfigError if the table won't do, or does not have the model, device or precision."""
        try:
            table = load_table(cost.table)
        except ConfigError as error:
            raise ConfigError(f"{_KEY}.table: {error}") from None
        precision = _precision(cost, table)
        rows = curves(table, cost.model, cost.device, precision)
        self._surface = Surface({devices: curve_of(rows[devices]) for devices in rows}, scaling)
        self._forward_share = forward_share
        self._setup_s = cost.setup_s
        default = 1.0 if is_own(cost.table) else PUBLISHED_EFFICIENCY
        self._efficiency = default if cost.efficiency is None else cost.efficiency
        self._what = f"{cost.model} on {cost.device}, {precision}, of {cost.table}"
        self._origin = f"{table.source}, {table.date}"

    def seconds(self, job: Job, held: Held, loading_s: float = 0.0) -> float:
        """Setup, then full steps and a smaller last one each epoch, or loading, whichever takes longer."""
        pace = self._efficiency * held.speed
        full, rest = divmod(job.num_samples, job.batch_size)
        epoch_s = full * self._step_s(job.batch_size, held.devices)
        if rest:
            epoch_s += self._step_s(rest, held.devices)
        scoring_s = self._forward_share * job.num_scored / self._surface.samples_per_s(job.batch_size, held.devices)
        return self._setup_s + max((job.epochs * epoch_s + scoring_s) / pace, loading_s)

    def notes(self, training: TrainingConfig) -> tuple[str, ...]:
        """Source and efficiency, and where the table had to be extrapolated."""
        source = f"training costs are those of {self._what} ({self._origin}), times {self._efficiency:.3g}"
        return (source, *(f"extrapolated: {text}" for text in self._extrapolated(training)))

    def _extrapolated(self, training: TrainingConfig) -> list[str]:
        known, found = sorted(self._surface.curves), []
        curve = self._surface.curves[max((each for each in known if each <= training.devices), default=known[0])]
        batch, sizes = training.batch_size, [size for size, _ in curve.points]
        if sizes == [None]:
            found.append(f"{self._what} does not say for which batch, taken to hold for {batch}")
        elif not curve.smallest <= batch <= curve.largest:
            found.append(f"{self._what} knows batches {sizes[0]} to {sizes[-1]}, got {batch}")
        if not known[0] <= training.devices <= known[-1]:
            found.append(f"{self._what} knows {known[0]} to {known[-1]} device(s), got {training.devices}")
        return found

    def _step_s(self, batch: int, devices: float) -> float:
        return batch / self._surface.samples_per_s(batch, devices)


def _precision(cost: ProfileCost, table: Table) -> str:
    """The precision meant. ConfigError if the table has no such row, or several precisions and none is said."""
    _check("model", cost.model, [row.model for row in table.rows])
    _check("device", cost.device, [row.device for row in table.rows if row.model == cost.model])
    asked = (cost.model, cost.device)
    known = list(dict.fromkeys(row.precision for row in table.rows if (row.model, row.device) == asked))
    if cost.precision is None and len(known) > 1:
        raise ConfigError(f"{_KEY}.precision: missing, expected one of {', '.join(known)}")
    if cost.precision is None:
        return known[0]
    _check("precision", cost.precision, known)
    return cost.precision


def _check(key: str, got: str, known: Sequence[str]) -> None:
    if got not in known:
        raise ConfigError(f"{_KEY}.{key}: got {got}; {nearest(got, list(dict.fromkeys(known)))}")
