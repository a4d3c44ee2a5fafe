"""A conformance kit for trigger policies; it takes no test framework, and may be run on a user's own."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping

import numpy as np

from twinclock.errors import ConfigError
from twinclock.graph import Json
from twinclock.policies.observations import value_names
from twinclock.policies.triggers.dry_run import dry_run
from twinclock.policies.triggers.protocol import Fire, Observe, Quiet, Trigger
from twinclock.stream import RecordedStream, Stream, UniformStream

MakeTrigger = Callable[[], Trigger]
_MAX_ANSWERS = 10_000


def check_trigger(make_trigger: MakeTrigger, *, batch_independent: bool = True) -> None:
    """Run a trigger over small streams and see that it keeps to the protocol. ConfigError says where it doesn't.

    `make_trigger` gives a fresh trigger each time. Checked: every method is there; state survives JSON
    and a new object after every answer; fires are in order and never before the sample ahead of the
    one in hand; the same fires for batches of 1, 3, 7 and all samples, unless `batch_independent` is
    False. An observation that it asks for is made up, from the request alone.
    """
    trigger = make_trigger()
    name = type(trigger).__name__
    if not isinstance(trigger, Trigger):
        wanted = [m for m in Trigger.__dict__ if not m.startswith("_") and not hasattr(trigger, m)]
        raise ConfigError(f"trigger {name}: has no {', '.join(sorted(wanted))}")
    if trigger.depends_on not in ("data", "scores", "clock"):
        raise ConfigError(f"trigger {name}: depends_on is {trigger.depends_on!r}, expected data, scores or clock")
    for label, stream in _streams():
        fires = {size: list(_fires(name, label, make_trigger, stream, size)) for size in (1, 3, 7, stream.num_samples)}
        if batch_independent:
            for size, positions in fires.items():
                if positions != fires[1]:
                    raise ConfigError(
                        f"trigger {name}, {label}: with batches of {size} it fires at {_short(positions)}, "
                        f"with batches of 1 at {_short(fires[1])}"
                    )


def _streams() -> Iterator[tuple[str, Stream]]:
    rng = np.random.default_rng(0)
    yield "one sample a second", UniformStream(40, 1.0)
    yield "ties and gaps", RecordedStream(np.repeat([0.0, 1.0, 1.5, 40.0, 41.0, 300.0], [1, 9, 1, 1, 6, 2]))
    yield "random arrivals", RecordedStream(np.cumsum(rng.exponential(3.0, 60)))
    yield "a single sample", UniformStream(1, 1.0)


def _fires(name: str, label: str, make_trigger: MakeTrigger, stream: Stream, size: int) -> Iterator[int]:
    """The fires over the stream in batches of `size`, each answer by a new object with the old one's state."""
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
        make_trigger(), stream, size, observe=_made_up, train_seconds=lambda num_samples: 1.0, renew=renewed
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
            yield latest


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
