"""The structural names of what commands and events know by number: the same in a run and in its replay."""

from __future__ import annotations

from collections.abc import Iterable

from twinclock.messages import Acquire, Command, Start, path_text


class Names:
    """Number → path. What starts, rests, waits for units or has a timeout was in a `Start` or an `Acquire`."""

    def __init__(self) -> None:
        self._names: dict[int, str] = {}

    def note(self, commands: Iterable[Command]) -> None:
        """Learn the names of those that commands are about."""
        for command in commands:
            if isinstance(command, Start | Acquire):
                self._names[command.id] = path_text(command.path)

    def of(self, id_: int) -> str:
        """The path of a node as text."""
        return self._names.get(id_, f"#{id_}")
