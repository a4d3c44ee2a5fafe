"""Every error that twinclock raises on purpose, split by whose fault it is."""

from __future__ import annotations

from collections.abc import Sequence


class UserError(Exception):
    """A mistake that the user can mend; the message is one line that names place, value and what was expected."""


class ConfigError(UserError):
    """A configuration says something that it can't, or that can't be done here."""


class DataError(UserError):
    """A data set can't be used: missing, empty, unsorted, or without a column."""


class RunError(UserError):
    """A run folder is missing, in use, unfinished, corrupted, or of another version."""


class GraphError(UserError):
    """A stage graph is unsound. `problems` holds every fault found, each with its path."""

    def __init__(self, problems: Sequence[object]) -> None:
        super().__init__("unsound stage graph: " + "; ".join(map(str, problems)))
        self.problems = tuple(problems)


class Interrupted(KeyboardInterrupt):
    """The user interrupted a run; the message says whether and how it can go on."""


class ProtocolError(Exception):
    """An executor broke its contract with the interpreter (not: a stage failed)."""


class DeadlockError(RuntimeError):
    """Stage runs are open, and nothing is left that could end them."""


class LivelockError(RuntimeError):
    """A loop came round without its growing slot having grown."""
