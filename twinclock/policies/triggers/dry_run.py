"""A trigger on a bare stream: no graph, no executor, trainings that are over at once."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import TypeAlias

from twinclock.graph import Json
from twinclock.policies.observations import observation
from twinclock.policies.selection import known_stop
from twinclock.policies.triggers.protocol import Answer, Fire, Observation, Observe, Quiet, Samples, Trigger
from twinclock.stream import Stream

Observed: TypeAlias = Callable[[Mapping[str, Json]], Mapping[str, float | None]]
"""From a request to its values by name."""


def dry_run(
    trigger: Trigger,
    stream: Stream,
    batch_size: int,
    *,
    observe: Observed,
    train_seconds: Callable[[int], float] | None = None,
    label_delay_s: float = 0.0,
    renew: Callable[[Trigger], Trigger] = lambda trigger: trigger,
    shown: Callable[[Stream, int], Stream] = lambda stream, stop: stream,
) -> Iterator[tuple[Samples, Answer]]:
    """Each answer of a trigger, with the batch in view. Every fire becomes a trigger and, if it has samples, a model.

    `train_seconds`: from the number of samples to the seconds reported for a training; None: none is
    reported. `label_delay_s`: data time from a sample to its label; without its label no sample is trained on.
    `renew` is given the trigger after every answer, and gives the one to go on with. `shown` makes of the stream, and
    the position after the last sample in view, what the trigger sees of it.
    """
    trained_to, serial = 0, 0

    def num_trained_on(position: int) -> int:
        return known_stop(trained_to, position, stream, label_delay_s) - trained_to

    for first in range(0, stream.num_samples, batch_size):
        stop = min(first + batch_size, stream.num_samples)
        seen_of_it = shown(stream, stop)
        samples = Samples(
            stream=seen_of_it, first=first, stop=stop, label_delay_s=label_delay_s, preview=num_trained_on
        )
        seen: Observation | None = None
        while True:
            answer = trigger.advance(samples, seen)
            seen = None
            yield samples, answer
            if isinstance(answer, Fire):
                trigger.on_fire(answer.position)
                num_samples = num_trained_on(answer.position)
                if num_samples > 0:
                    if train_seconds is not None:
                        trigger.on_training_cost(num_samples, train_seconds(num_samples))
                    trigger.on_new_model(
                        {
                            "trigger": serial,
                            "parent": None,
                            "first_ts": stream.timestamp(trained_to),
                            "last_ts": stream.timestamp(trained_to + num_samples - 1),
                            "num_samples": num_samples,
                        }
                    )
                    trained_to += num_samples
                serial += 1
            elif isinstance(answer, Observe):
                seen = observation(answer.request, observe(answer.request))
            trigger = renew(trigger)
            if isinstance(answer, Quiet):
                break
