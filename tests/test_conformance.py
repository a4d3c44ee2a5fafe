"""The conformance kit: it passes the executors that keep their contract, and names the breach of those that don't."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import pytest

from sim.executor import Body, Effect, SimExecutor
from twinclock.allocator import Allocator
from twinclock.conformance import PIPELINES, ConformanceError, Scripted, check_executor
from twinclock.executor import Executor
from twinclock.messages import Acquire, Arm, Cancel, Command, Disarm, Ended, Event, Fired, Granted, Release, Start
from twinclock.stream import ClockTime


def simulated(script: Mapping[str, Scripted], units: Mapping[str, Sequence[str]]) -> Executor:
    """The SimPy executor with bodies that do as scripted."""

    def body(scripted: Scripted) -> Body:
        def effect(start: Start, executor: SimExecutor) -> Effect:
            if scripted.raises is not None:
                raise scripted.raises
            return Effect(scripted.seconds, scripted.outcome, scripted.values)

        return effect

    bodies = {operation: body(scripted) for operation, scripted in script.items()}
    return SimExecutor(dict.fromkeys(PIPELINES, bodies), Allocator(units))


@pytest.mark.parametrize("second", [0.02, 1.0, 3600.0])
def test_the_simulator_keeps_the_contract(second):
    check_executor(simulated, second=second)
