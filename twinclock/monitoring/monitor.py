"""A run's log and status file as one watcher, beside whoever watches anyway."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from twinclock.journal import SupersededError
from twinclock.machine import Machine
from twinclock.messages import Command, Event
from twinclock.monitoring.log import RunLog
from twinclock.monitoring.status import Status, StatusFile
from twinclock.stages import Context
from twinclock.stream import ClockTime
from twinclock.watch import Watcher

_logger = logging.getLogger("twinclock")


class Monitor:
    """Tells a log, a status file, and another watcher."""

    def __init__(self, watcher: Watcher, log: RunLog, status: StatusFile) -> None:
        self._watcher = watcher
        self._log = log
        self._status = status

    def begin(self, num_samples: int | None) -> None:
        """Passed on."""
        self._watcher.begin(num_samples)

    def event(self, now: ClockTime, event: Event, commands: Sequence[Command]) -> None:
        """An event of the run."""
        self._watcher.event(now, event, commands)
        self._log.event(now, event, commands)
        self._status.event(now, event, commands)

    def training(self, device: str, job: str, done: float) -> None:
        """How far a training is."""
        self._watcher.training(device, job, done)
        self._status.training(device, done)


class _ToLog(logging.Handler):
    """What the program's own logger is told goes into the run's log as well."""

    def __init__(self, log: RunLog) -> None:
        super().__init__()
        self._log = log

    def emit(self, record: logging.LogRecord) -> None:
        """Append it as a line."""
        self._log.note("notice", "error" if record.levelno >= logging.ERROR else "warning", message=record.getMessage())
        if not logging.root.handlers and logging.lastResort is not None:
            logging.lastResort.handle(record)  # to stderr, where it would have gone without this handler


@contextmanager
def monitored(
    folder: Path, context: Context, machine: Machine, from_clock: ClockTime, watcher: Watcher
) -> Iterator[Watcher]:
    """While a run goes on in its folder: its log and its status file. `machine` is where the run begins or goes on."""
    log, status = RunLog(folder), Status(_samples_waiting(context))
    held, commands = machine.outstanding()
    log.go_on_from(commands)
    status.go_on_from(from_clock, held, commands)
    log.note("resumed" if machine.begun else "started", clock_s=from_clock, name=context.config.name)
    file, notices = StatusFile(folder, status), _ToLog(log)
    _logger.addHandler(notices)
    try:
        yield Monitor(watcher, log, file)
    except KeyboardInterrupt:
        log.note("suspended")
        raise
    except SupersededError:
        raise  # the folder is another process's now
    except Exception as error:
        log.note("crashed", "error", type=type(error).__name__, message=str(error))
        raise
    finally:
        _logger.removeHandler(notices)
        file.close()


def _samples_waiting(context: Context) -> Callable[[int, ClockTime], int | None]:
    if context.config.mode != "live":
        return lambda _position, _now: None
    if (landed := context.landed) is not None:
        return lambda position, _now: landed.num_samples - position
    return lambda position, now: context.handover.arrived(position, context.pace.data_time(now)) - position
