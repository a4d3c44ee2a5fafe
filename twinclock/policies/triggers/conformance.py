"""A conformance kit for trigger policies; it takes no test framework, and may be run on a user's own."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import islice

import numpy as np
from numpy.typing import NDArray

from twinclock.errors import ConfigError
from twinclock.graph import Json
from twinclock.policies.observations import value_names
from twinclock.policies.triggers.dry_run import dry_run
from twinclock.policies.triggers.protocol import Answer, Fire, Observe, Quiet, Trigger
from twinclock.stream import DataTime, RecordedStream, Stream, UniformStream

MakeTrigger = Callable[[], Trigger]
_MAX_ANSWERS = 10_000
_ENOUGH = 10
"""Fires, observations and logged decisions after which a trigger was seen at work: longer streams show nothing new."""
_COSTLY = 100_000
"""Looks at timestamps on one stream after which a trigger is too slow to be shown longer streams."""
_COMPARED = 20
"""Fires that are compared on a long stream."""
_SECOND, _HALF_A_DAY = 1.0, 43_200.0


def check_trigger(make_trigger: MakeTrigger, *, batch_independent: bool = True) -> None:
    """Run a trigger over streams and see that it keeps to the protocol. ConfigError says where it doesn't.

    `make_trigger` gives a fresh trigger each time. Checked: every method is there; state survives JSON
    and a new object after every answer; fires are in order and never before the sample ahead of the
    one in hand; no sample is looked at that is not shown yet; the same fires for small, large and whole batches,
    unless `batch_independent` is False. A trigger that seldom does anything is shown ever longer streams, of up to
    200,000 samples and 270 years of data time, unless it is slow. An observation that it asks for is made up, from the
    request alone.
    """
    trigger = make_trigger()
    name = type(trigger).__name__
    if not isinstance(trigger, Trigger):
        wanted = [m for m in Trigger.__dict__ if not m.startswith("_") and not hasattr(trigger, m)]
        raise ConfigError(f"trigger {name}: has no {', '.join(sorted(wanted))}")
    if trigger.depends_on not in ("data", "scores", "clock"):
        raise ConfigError(f"trigger {name}: depends_on is {trigger.depends_on!r}, expected data, scores or clock")
    seen = _Seen()
    for label, stream in _streams():
        sizes: tuple[int, ...] = (1, 3, 7, stream.num_samples)
        _check_on(name, label, make_trigger, stream, sizes, None, batch_independent, seen)
    for label, stream in _long_streams():
        if seen.num_acts >= _ENOUGH or seen.num_looks >= _COSTLY:
            return
        seen.num_looks = 0
        sizes = (stream.num_samples // 300 + 1, stream.num_samples // 41 + 1, stream.num_samples)
        _check_on(name, label, make_trigger, stream, sizes, _COMPARED, batch_independent, seen)


@dataclass(slots=True)
class _Seen:
    """What a trigger has done so far."""

    num_acts: int = 0
    num_looks: int = 0
    """At timestamps of the stream."""


def _check_on(
    name: str,
    label: str,
    make_trigger: MakeTrigger,
    stream: Stream,
    sizes: Sequence[int],
    limit: int | None,
    batch_independent: bool,
    seen: _Seen,
) -> None:
    """The first `limit` fires must be the same for batches of all sizes."""

    def fires(size: int) -> Iterator[int]:
        for answer in _answers(name, label, make_trigger, stream, size, seen):
            if size == sizes[0]:
                seen.num_acts += not isinstance(answer, Quiet) or bool(answer.decisions)
            if isinstance(answer, Fire):
                yield answer.position

    found = {size: list(islice(fires(size), limit)) for size in sizes}
    if not batch_independent:
        return
    for size, positions in found.items():
        if positions != found[sizes[0]]:
            raise ConfigError(
                f"trigger {name}, {label}: with batches of {size} it fires at {_short(positions)}, "
                f"with batches of {sizes[0]} at {_short(found[sizes[0]])}"
            )


def _streams() -> Iterator[tuple[str, Stream]]:
    rng = np.random.default_rng(0)
    yield "one sample a second", UniformStream(40, 1.0)
    yield "ties and gaps", RecordedStream(np.repeat([0.0, 1.0, 1.5, 40.0, 41.0, 300.0], [1, 9, 1, 1, 6, 2]))
    yield "random arrivals", RecordedStream(np.cumsum(rng.exponential(3.0, 60)))
    yield "a single sample", UniformStream(1, 1.0)


def _long_streams() -> Iterator[tuple[str, Stream]]:
    """Ever longer ones, for triggers with long periods: up to 200,000 samples, and up to 270 years of data time."""
    for num_samples in (2_000, 20_000, 200_000):
        yield f"{num_samples} samples, one a second", UniformStream(num_samples, _SECOND)
        yield f"{num_samples} samples, two a day", UniformStream(num_samples, _HALF_A_DAY)


class _SoFar:
    """What a trigger may know of a stream: the samples before `stop`. ConfigError when it looks further."""

    def __init__(self, where: str, seen: _Seen, stream: Stream, stop: int) -> None:
        self._where = where
        self._seen = seen
        self._stream = stream
        self._stop = stop
        self.num_samples = stream.num_samples
        """Of the whole stream, so that it is known which sample is the last."""

    def timestamp(self, position: int) -> DataTime:
        """As of the stream."""
        self._see(position, position + 1)
        return self._stream.timestamp(position)

    def timestamps(self, first: int, stop: int) -> NDArray[np.float64]:
        """As of the stream."""
        self._see(first, stop)
        return self._stream.timestamps(first, stop)

    def first_at_or_after(self, ts: float, first: int, stop: int) -> int:
        """As of the stream."""
        self._see(first, stop)
        return self._stream.first_at_or_after(ts, first, stop)

    def _see(self, first: int, stop: int) -> None:
        self._seen.num_looks += 1
        if first < stop > self._stop:
            raise ConfigError(f"{self._where}: looks at sample {stop - 1}, but is shown those before {self._stop} only")


def _answers(
    name: str, label: str, make_trigger: MakeTrigger, stream: Stream, size: int, seen: _Seen
) -> Iterator[Answer]:
    """The answers over the stream in batches of `size`, each answer by a new object with the old one's state."""
    where = f"trigger {name}, {label}, batches of {size}"
    latest, answers = -1, 0

    def renewed(trigger: Trigger) -> Trigger:
        trigger.next_deadline()
        state = _state(where, trigger)
        fresh = make_trigger()
        fresh.load_state_dict(json.loads(state))
        if _state(where, fresh) != state:
            raise ConfigError(f"{where}: state_dict after load_state_dict differs from what was loaded")
        return fresh

    for samples, answer in dry_run(
        make_trigger(),
        stream,
        size,
        observe=_made_up,
        train_seconds=lambda num_samples: 1.0,
        renew=renewed,
        shown=partial(_SoFar, where, seen),
    ):
        answers = 0 if isinstance(answer, Quiet) else answers + 1
        if answers == _MAX_ANSWERS:
            raise ConfigError(f"{where}: no Quiet after {_MAX_ANSWERS} answers")
        if not isinstance(answer, Fire | Observe | Quiet):
            raise ConfigError(f"{where}: answers {answer!r}, expected Fire, Observe or Quiet")
        if isinstance(answer, Fire):
            if not max(latest, samples.first - 1) <= answer.position < samples.stop:
                raise ConfigError(
                    f"{where}: fires at {answer.position} in samples {samples.first} to {samples.stop - 1}, "
                    f"after a fire at {latest}"
                )
            latest = answer.position
        yield answer


def _state(where: str, trigger: Trigger) -> str:
    try:
        return json.dumps(trigger.state_dict(), sort_keys=True)
    except (TypeError, ValueError) as error:
        raise ConfigError(f"{where}: state_dict is not JSON ({error})") from None


def _made_up(request: Mapping[str, Json]) -> dict[str, float]:
    """For each value a number in [0, 1) that depends on nothing but the request."""
    text = json.dumps(request, sort_keys=True)
    rng = np.random.default_rng(list(text.encode()))
    return {name: float(rng.random()) for name in value_names(request)}


def _short(positions: list[int]) -> str:
    shown = ", ".join(map(str, positions[:10])) or "no position"
    return shown + (", …" if len(positions) > 10 else "")
