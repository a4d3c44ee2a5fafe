"""How much faster several devices are than one, within a node and across nodes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise


@dataclass(frozen=True, slots=True)
class Scaling:
    """Throughput on several devices as a multiple of that on one."""

    efficiency: float
    """Share of a device's throughput that each further one adds."""
    by_devices: Mapping[int, float]
    """Number of devices → that share, on average over the second to the last of them; empty: `efficiency` for all."""

    def multiple(self, devices: float) -> float:
        """1 + (devices − 1) · share; a straight line between two numbers of devices whose shares are known.

        Beyond the largest known number each device adds the share known for that number.
        """
        if not self.by_devices:
            return 1 + (devices - 1) * self.efficiency
        for (few, low), (many, high) in pairwise(self._knots()):
            if devices <= many:
                return low + (devices - few) / (many - few) * (high - low)
        most, top = self._knots()[-1]
        return top + (devices - most) * self.by_devices[int(most)]

    def _knots(self) -> list[tuple[float, float]]:
        known = sorted(self.by_devices.items())
        return [(1.0, 1.0), *((float(count), 1 + (count - 1) * share) for count, share in known)]


def devices_on_one_node(nodes: Iterable[object], node_efficiency: float) -> float:
    """As many devices of one node as those on `nodes` (one entry a device) come to; 1 for none.

    The node with most of them counts in full, every device on another one `node_efficiency`.
    """
    counts: Sequence[int] = sorted(Counter(nodes).values(), reverse=True)
    return counts[0] + node_efficiency * sum(counts[1:]) if counts else 1.0
