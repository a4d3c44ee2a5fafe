"""Pictures of a run, as matplotlib figures: what happened when, and how good the models were.

matplotlib is loaded when a picture is drawn, and used without pyplot: no backend is chosen, no window
opens, nothing has to be closed. In a notebook the figures show themselves.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from twinclock._chart import style
from twinclock.errors import UserError
from twinclock.result import Run

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_METADATA = {".png": {"Software": None}, ".svg": {"Date": None}, ".pdf": {"CreationDate": None}}
"""Suffix → what to leave out of the file, so that the same run gives the same bytes."""


@dataclass(frozen=True)
class RunPlots:
    """The pictures of one run. Finished or not, with or without trainings: there is always a picture."""

    run: Run

    def timeline(self) -> Figure:
        """What each device and each kind of stage did over the executor's clock, what queued, what fired."""
        from twinclock._timeline import draw_timeline

        with style():
            return draw_timeline(self.run)

    def accuracy(self) -> Figure:
        """Accuracy of the active model over data time, with the triggers at the last of their samples."""
        from twinclock._accuracy import draw_accuracy

        with style():
            return draw_accuracy(self.run)

    def time_by_stage(self) -> Figure:
        """Where the time went: each stage working, and waiting for what; and its share of the critical path."""
        from twinclock._stage_time import draw_time_by_stage

        with style():
            return draw_time_by_stage(self.run)

    def heat_map(self, metric: str = "accuracy") -> Figure:
        """The score of each model on each interval of data time, with frames where it was the active one.

        Of several evaluation plans, the one that scored the most pairs of a model and an interval.
        """
        from twinclock._heat_map import draw_heat_map

        with style():
            return draw_heat_map(self.run, metric)

    def cost(self) -> Figure:
        """What the devices did over the clock, and device-seconds and money so far, by kind of work."""
        from twinclock._cost import draw_cost

        with style():
            return draw_cost(self.run)

    def freshness(self) -> Figure:
        """Distributions of data incorporation latency over samples, and of staleness over the clock."""
        from twinclock._freshness import draw_freshness

        with style():
            return draw_freshness(self.run)

    def queue(self) -> Figure:
        """How many waited for devices and training slots over the clock, and how busy the devices were."""
        from twinclock._queue import draw_queue

        with style():
            return draw_queue(self.run)

    def stage_graph(self) -> Figure:
        """The stage graph, each stage coloured by the time spent in it. RunError if the run's folder has no graph."""
        from twinclock._stage_graph import draw_stage_graph

        with style():
            return draw_stage_graph(self.run)


def save(figure: Figure, path: str | Path) -> None:
    """Write a picture as .png, .svg or .pdf. UserError if it is neither, or the file can't be written."""
    file = Path(path)
    metadata = _METADATA.get(file.suffix.lower())
    if metadata is None:
        raise UserError(f"{file}: got a picture's suffix {file.suffix!r}, expected {', '.join(_METADATA)}")
    try:
        with style():
            figure.savefig(file, metadata=metadata)
    except OSError as error:
        raise UserError(f"{file}: can't be written ({error.strerror or error}); expected a writable path") from None
