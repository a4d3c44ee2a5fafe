"""A job that several workers do together, part by part: when it has ended, and what it has come to."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from real.pool import Message

_CAUSES = {"WorkerDied": 0, "PeerLostError": 2}
"""Type of an error → its place among those of one job, what others follow from before what follows from others."""


class Parts:
    """The jobs of which some parts have ended and others have not."""

    def __init__(self) -> None:
        self._ended: dict[str, dict[str, Message]] = {}
        """Job → device → the last message of its part."""

    def end(self, devices: Sequence[str], device: str, message: Message) -> Message | None:
        """A part has ended, on one of the devices of its job; the last message of the whole if it was the last part."""
        job_id = message["id"]
        ended = self._ended.setdefault(job_id, {})
        ended.setdefault(device, message)
        if len(ended) < len(devices):
            return None
        del self._ended[job_id]
        return _together(devices, ended)

    def open(self, job_id: str, devices: Sequence[str]) -> list[str]:
        """Those of the devices of a job whose parts have not ended."""
        return [device for device in devices if device not in self._ended.get(job_id, {})]


def _together(devices: Sequence[str], ended: Mapping[str, Message]) -> Message:
    """The result of rank 0; or if a part failed, the failure that the others followed from; or that it was stopped."""
    if len(devices) == 1:
        return ended[devices[0]]
    failed = [device for device, message in ended.items() if message["kind"] == "error"]
    if failed:
        first = min(failed, key=lambda device: _CAUSES.get(ended[device]["error"]["type"], 1))
        error = ended[first]["error"]
        told = f"rank {devices.index(first)} of {len(devices)}, on {first}: {error['message']}"
        return {**ended[first], "error": {**error, "message": told}}
    return next((message for message in ended.values() if message["kind"] != "done"), ended[devices[0]])
