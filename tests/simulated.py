"""Simulated runs for tests: run a configuration on given timestamps, break stages, and see everything that happened.

`simulate` takes the way of `twinclock.run`; it only puts other bodies, or another stream, where the simulator
makes its own. `configs` draws small configurations whose costs are drawn too, so that durations are random.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field
from typing import Any, NamedTuple
from unittest.mock import patch

import numpy as np
from hypothesis import strategies as st

import twinclock as tc
from sim import operations, plugin
from sim.effects import Effect
from sim.executor import Body
from twinclock.messages import Command, Ended, Event, Start, path_text
from twinclock.result import Run
from twinclock.stream import ClockTime, RecordedStream, Stream

Config = dict[str, Any]
Wrap = Callable[[Mapping[str, Body]], Mapping[str, Body]]

FREE: Config = {
    "decide_s": 0.0,
    "connect_s": 0.0,
    "launch_s": 0.0,
    "results_s": 0.0,
    "read": {"setup_s": 0.0, "samples_per_s": 1e300},
    "training": {"setup_s": 0.0, "samples_per_s": 1e300},
    "evaluation": {"setup_s": 0.0, "samples_per_s": 1e300},
    "store": {"latency_s": 0.0, "bytes_per_s": 1e300, "model_bytes": 0},
    "noise_sigma": 0.0,
}
"""Costs of a world in which nothing takes time."""


@dataclass(slots=True)
class StageRun:
    """One stage run: its commands and events, and where they stand in the order of all that happened."""

    start: Start
    started_s: float
    began: int
    ended: Ended | None = None
    ended_s: float = float("inf")
    finished: int = -1

    @property
    def operation(self) -> str:
        return self.start.stage.operation

    @property
    def path(self) -> str:
        return path_text(self.start.path)

    @property
    def outcome(self) -> str:
        return "" if self.ended is None else self.ended.outcome

    @property
    def values(self) -> Mapping[str, Any]:
        return {} if self.ended is None else self.ended.values

    @property
    def trigger(self) -> Mapping[str, Any] | None:
        """The trigger that it works for, if it works for one."""
        return self.start.labels.get("trigger")


@dataclass
class Trace:
    """Everything that happened, in order; a watcher of a run."""

    runs: list[StageRun] = field(default_factory=list)
    """In the order in which they started."""
    happened: list[tuple[ClockTime, Event, Sequence[Command]]] = field(default_factory=list)
    """What a recorder is shown."""
    _open: dict[int, StageRun] = field(default_factory=dict)
    _count: int = 0

    def begin(self, num_samples: int) -> None:
        pass

    def training(self, device: str, job: str, done: float) -> None:
        pass

    def event(self, now: ClockTime, event: Event, commands: Sequence[Command]) -> None:
        self.happened.append((now, event, commands))
        self._count += 1
        if isinstance(event, Ended) and event.id in self._open:
            run = self._open.pop(event.id)
            run.ended, run.ended_s, run.finished = event, now, self._count
        for command in commands:
            if isinstance(command, Start):
                self._count += 1
                run = self._open[command.id] = StageRun(command, now, self._count)
                self.runs.append(run)

    def of(self, *operations: str) -> list[StageRun]:
        """The runs of some operations, in the order in which they started."""
        return [run for run in self.runs if run.operation in operations]

    def ended(self, *operations: str) -> list[StageRun]:
        """The same in the order in which they ended."""
        return sorted((run for run in self.of(*operations) if run.ended), key=lambda run: run.finished)


class Simulated(NamedTuple):
    """A run, all that happened in it, and the stream that it saw."""

    run: Run
    trace: Trace
    stream: Stream


def simulate(config: Config, times: Iterable[float] | None = None, wrap: Wrap | None = None) -> Simulated:
    """Run a configuration on the simulator; `times`: timestamps to use, instead of what the configuration says."""
    trace = Trace()
    seen: list[Stream] = []
    open_stream, make = plugin.open_stream, operations.bodies

    def opened(loaded: Any) -> Stream:
        seen.append(open_stream(loaded) if times is None else RecordedStream(np.array(list(times), np.float64)))
        return seen[-1]

    def made(*given: Any) -> dict[str, Body]:
        bodies = make(*given)
        return bodies if wrap is None else dict(wrap(bodies))

    with patch.object(plugin, "open_stream", opened), patch.object(operations, "bodies", made):
        run = tc.run(
            {"name": "test", "trigger": {"kind": "amount", "n": 10}, **_with_data(config)}, on="sim", watcher=trace
        )
    return Simulated(run, trace, seen[-1])


def _with_data(config: Config) -> Config:
    return {"data": {"kind": "uniform", "num_samples": 1, "every": 1.0}, **config}


def costs(**changed: Any) -> Config:
    """The section `sim` of a world in which only these things take time."""
    return {"costs": {**FREE, **changed}}


def seconds(setup_s: float) -> Config:
    """A cost that does not depend on the number of samples."""
    return {"setup_s": setup_s, "samples_per_s": 1e300}


# Breaking trainings

FAULTS = ("once", "late", "always", "hang", "store")


def breaking(faults: Mapping[int, str]) -> Wrap:
    """Trainings that fail, by the serial of their trigger.

    `once`: the first attempt fails as it begins; `late`: the first attempt fails half-way; `always`: every
    attempt fails; `hang`: the first attempt takes for ever (which needs a timeout, or a day of patience);
    `store`: the model can't be stored.
    """

    def wrap(bodies: Mapping[str, Body]) -> Mapping[str, Body]:
        def wait(start: Start, executor: Any) -> Effect:
            fault = faults.get(start.inputs["job"]["trigger"])
            attempt = start.path[0][3] or 1 if start.path and start.path[0] else 1
            hangs = fault == "hang" and attempt == 1
            with patch.object(operations, "training_s", lambda *_: 86_400.0) if hangs else nullcontext():
                effect = bodies["WAIT_FOR_TRAINING_COMPLETION"](start, executor)
            if effect.outcome == "superseded":
                return effect
            if fault == "always" or (fault == "once" and attempt == 1):
                raise RuntimeError("out of memory")
            if fault == "late" and attempt == 1:
                return Effect(effect.seconds / 2, "failed", {"error": {"type": "Late", "message": "died half-way"}})
            return effect

        def store(start: Start, executor: Any) -> Effect:
            if faults.get(start.inputs["candidate"]["trigger"]) == "store":
                raise OSError("no space left on device")
            return bodies["STORE_TRAINED_MODEL"](start, executor)

        return {**bodies, "WAIT_FOR_TRAINING_COMPLETION": wait, "STORE_TRAINED_MODEL": store}

    return wrap


# Random configurations

_SETUPS = st.sampled_from([2.0, 0.3, 11.0, 0.001, 0.0])
_DECIDES = st.sampled_from([0.07, 0.0002, 1.0, 0.0])


@st.composite
def sim_sections(draw: st.DrawFn) -> Config:
    """Costs between nothing and more than the whole stream lasts."""

    def linear() -> Config:
        return {"setup_s": draw(_SETUPS), "samples_per_s": draw(st.sampled_from([100.0, 3.0, 1e6]))}

    return {
        "costs": {
            "decide_s": draw(_DECIDES),
            "connect_s": draw(_SETUPS),
            "launch_s": draw(_DECIDES),
            "results_s": draw(_DECIDES),
            "read": linear(),
            "training": linear(),
            "evaluation": linear(),
            "store": {"latency_s": draw(_SETUPS)},
            "noise_sigma": draw(st.sampled_from([0.5, 1.5, 0.0])),
        }
    }


@st.composite
def plans(draw: st.DrawFn, whose: Sequence[str]) -> Config:
    """An evaluation plan; `whose`: the values that its key `models` may have."""
    kind = draw(st.sampled_from(["between_triggers", "slicing", "periodic", "offset", "static"]))
    when = draw(st.sampled_from(["after_training", "after_pipeline"]))
    if kind == "offset":
        offsets = draw(st.sampled_from([[-4.0, 0], [3.0, "inf"], ["-inf", -10, 10, "inf"]]))
        return {"kind": kind, "offsets": offsets, "when": when}
    shared = {"kind": kind, "models": draw(st.sampled_from(whose)), "when": when}
    if kind == "between_triggers":
        return shared
    if kind == "static":
        pieces = draw(st.sampled_from([[[-1.0, 4.5]], [[2.0, 9.0], [9.0, 11.5]], [[20.0, 33.0], [0.0, 7.0]]]))
        return {**shared, "intervals": pieces}
    bounds = draw(st.sampled_from([{}, {"from": 3.0}, {"from": -5.0, "to": 31.5}, {"to": 20.0}]))
    half = {"half": draw(st.sampled_from([1.0, 6.0]))} if kind == "periodic" else {}
    return {**shared, "every": draw(st.sampled_from([2.5, 7.0, 20.0])), **bounds, **half}


def batchings(mode: str) -> st.SearchStrategy[Config]:
    """How ingest batches are cut; mostly by a fixed size."""
    sizes, waits = st.sampled_from([7, 3, 1, 1000]), st.sampled_from([2.0, 0.3, 60.0])
    fixed = st.fixed_dictionaries({"n": sizes})
    either = st.fixed_dictionaries({"kind": st.just("size_or_timeout"), "n": sizes, "seconds": waits})
    adaptive = st.builds(
        lambda min_, more, target: {"kind": "adaptive", "min": min_, "max": min_ + more, "step": 2, "target": target},
        st.sampled_from([1, 5]),
        st.sampled_from([4, 100, 0]),
        waits,
    )
    timed = [st.fixed_dictionaries({"kind": st.just("time"), "seconds": waits})] if mode == "live" else []
    return st.one_of(fixed, fixed, either, adaptive, *timed)


@st.composite
def configs(draw: st.DrawFn, variants: Sequence[str] = ("seed", "sequential", "overlapped")) -> Config:
    """A configuration of any variant and mode, with everything that is likely to matter drawn."""
    num_devices = draw(st.sampled_from([1, 2, 3]))
    variant = draw(st.sampled_from(variants))
    mode = draw(st.sampled_from(["replay", "live"]))
    whose = ["all", "active", "trained", *(["served"] if (mode, variant) != ("replay", "overlapped") else [])]
    config = {
        "seed": draw(st.sampled_from([0, 1, 2])),
        "variant": variant,
        "mode": mode,
        "live": {"speed_up": draw(st.sampled_from([0.3, 1.0, 9.0]))},
        "data": {
            "kind": draw(st.sampled_from(["uniform", "poisson"])),
            "num_samples": draw(st.sampled_from([30, 45, 20, 8, 1])),
            "every": draw(st.sampled_from([1.0, 3.0, 0.25])),
            "start": draw(st.sampled_from([0.0, 5.0])),
            "chunk": draw(st.sampled_from([10, 1000, 1])),
        },
        "batching": draw(batchings(mode)),
        "trigger": draw(
            st.one_of(
                st.fixed_dictionaries({"kind": st.just("amount"), "n": st.sampled_from([3, 5, 2, 12])}),
                st.fixed_dictionaries(
                    {"kind": st.just("time"), "every": st.sampled_from([4.5, 10.0, 2.0])},
                    optional={"start": st.sampled_from([0.0, 2.0])},
                ),
            )
        ),
        "selection": {
            "tail": draw(st.sampled_from([None, 0, 1, 3])),
            "limit": draw(st.sampled_from([None, 4, 15])),
            "keep": draw(st.sampled_from(["last", "uniform"])),
        },
        "training": {
            "epochs": draw(st.integers(1, 2)),
            "start_from": draw(st.sampled_from(["scratch", "active"])),
            "devices": draw(st.sampled_from([1, 1, num_devices])),
            "timeout": draw(st.sampled_from([60.0, None])),
            "retry": {"attempts": draw(st.sampled_from([2, 1, 3])), "backoff": draw(st.sampled_from([1.5, 0.0]))},
        },
        "evaluation": {
            "plans": draw(
                st.sampled_from([(0,), (0, 1), ()]).flatmap(lambda each: st.tuples(*(plans(whose) for _ in each)))
            ),
            "intervals_per_visit": draw(st.sampled_from([None, 1, 2])),
            "at_once": draw(st.sampled_from([None, 1, 2])),
        },
        "cluster": {
            "devices": num_devices,
            "patience": {"evaluation": draw(st.sampled_from([5.0, 0.5, 600.0]))},
        },
        "sim": draw(sim_sections()),
    }
    if variant == "overlapped":
        config["overlap"] = {
            "on_trigger": draw(st.sampled_from(["queue", "coalesce", "drop", "preempt"])),
            "trainings_at_once": draw(st.sampled_from([1, 2, 3])),
        }
    return config


def faults() -> st.SearchStrategy[dict[int, str]]:
    """Which trainings break, and how; sometimes none does."""
    some = st.dictionaries(st.sampled_from(range(7)), st.sampled_from(FAULTS), min_size=1, max_size=5)
    return st.one_of(st.just({}), some, some)


def positions_in(ranges: Iterable[Sequence[int]]) -> Iterator[int]:
    """The single positions in some ranges."""
    for first, stop in ranges:
        yield from range(first, stop)
