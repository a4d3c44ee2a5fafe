"""FETCH_NEW_DATA and WAIT_FOR_NEW_DATA for a source that grows: look, land, hand over; and look again.

What was landed is taken as it is, also if no event refers to it yet: then a process has died in between, and the
records would be the same. So a file may be deleted as soon as it has landed.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass, field

import polars as pl

from real.executor import Ending, RealExecutor
from real.sources.columns import Wanted
from real.sources.folder import FolderSource
from real.sources.landing import land
from real.sources.protocol import Source
from twinclock import work
from twinclock.errors import RunError
from twinclock.folder import FolderConfig
from twinclock.graph import Json
from twinclock.landed import LandedSamples
from twinclock.messages import Start
from twinclock.stages import Context

_LOG = logging.getLogger(__name__)
_SHORTEST_S = 0.001


@dataclass(slots=True)
class Intake:
    """One pipeline's source, and where its records land."""

    context: Context
    config: FolderConfig
    samples: LandedSamples
    source: Source
    _complaint: str | None = field(default=None)
    """What was last in the way, so that it is said once."""

    @classmethod
    def of(cls, context: Context) -> Intake | None:
        """That of a configuration; None: its stream is one of which all is known."""
        config, samples = context.config.data, context.landed
        if not isinstance(config, FolderConfig) or samples is None:
            return None
        return cls(context, config, samples, FolderSource(config, context.config.training.task, samples))

    def fetch(self, start: Start, executor: RealExecutor) -> Ending | None:
        """Land what there is, in a helper thread, then say what of it is next."""
        told = work.told(start.inputs)
        if executor.stopping:
            return Ending("nothing", {"batch_size": start.inputs["batch_size"], "taken_s": None, "source": told})
        if told["landings"] > len(self.samples.landings):
            holds = f"{self.samples.folder}: holds {len(self.samples.landings)} landings"
            raise RunError(f"{holds}, but the journal knows of {told['landings']}")

        def fetch() -> Ending:
            self.samples.refresh()
            wanted = start.inputs["position"] + max(start.inputs["batch_size"], self.config.chunk)
            while self.samples.num_samples < wanted and not executor.stopping and self._land(executor):
                pass
            deadline = work.due(self.context, start.registers)
            return Ending(*work.landed_chunk(self.context, self.samples, start.inputs, deadline, executor.now()))

        executor.in_thread(start, fetch)
        return None

    def wait(self, start: Start, executor: RealExecutor) -> Ending | None:
        """Until the source has something, or a sample has waited long enough for its batch."""
        if executor.stopping:
            return Ending("stop", {})
        until_s = work.waits_until(self.context, self.samples, start.inputs)
        every_s = max(_SHORTEST_S, min(self.config.poll, until_s - executor.now()))

        def look() -> Ending | None:
            if executor.stopping:
                return Ending("stop", {})
            return Ending("ready", {}) if executor.now() >= until_s or self._has_news(executor) else None

        executor.poll(start, every_s, look)
        return None

    def _land(self, executor: RealExecutor) -> bool:
        """One more landing, if there is something for it; not while the folder or the disk is out of order."""
        if self.samples.has_ended:
            return False
        try:
            fetched = self.source.fetch(self._position, executor.now(), self.config.chunk)
            if fetched is None:
                return False
            wanted = Wanted.of(self.config, self.context.config.training.task)
            land(
                self.samples,
                fetched,
                empty=pl.DataFrame(schema=wanted.schema),
                has_keys=bool(wanted.key),
                time=self.config.time,
                allowed_lateness_s=self.config.allowed_lateness,
                now=executor.now(),
            )
        except OSError as error:
            self._complain(error)
            return False
        self._complaint = None
        return True

    def _has_news(self, executor: RealExecutor) -> bool:
        if self.samples.has_ended:
            return True
        try:
            return self.source.has_news(self._position, executor.now())
        except OSError as error:
            self._complain(error)
            return False

    @property
    def _position(self) -> Json:
        landings = self.samples.landings
        return landings[-1].position if landings else None

    def _complain(self, error: OSError) -> None:
        complaint = f"{error.filename or self.config.path}: {error.strerror or error}"
        if complaint != self._complaint:
            _LOG.warning("%s; no new data until this is mended", complaint)
        self._complaint = complaint
