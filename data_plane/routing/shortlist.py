"""Of many holders, those that are worth weighing: it is not a sample, nobody good is left out.

What a node cost when it was weighed last is remembered until something happens there. The cheapest
by that, whoever something happened at since, and whoever has the longest beginning of the prompt
are weighed exactly; one more, each in turn, keeps the memory fresh.
"""

from __future__ import annotations

from heapq import nsmallest
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from data_plane.routing.pool_node import PoolNode
    from data_plane.routing.shadow import Shadow

WEIGH_ALL: Final = 16
"""Up to so many are all weighed."""

WEIGHED: Final = 10
"""Of more, this many."""

MOST_INDEXED: Final = 20_000
"""Beginnings of prompts that are remembered; then it begins anew."""

_STEPS: Final = (1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64, 96, 128, 192, 256)
"""Lengths in blocks at which beginnings are remembered."""


class Shortlists:
    """One per policy."""

    def __init__(self) -> None:
        self._costs: dict[str, dict[str, float]] = {}
        """By model, then by node; absent: something happened there."""

        self._turn = 0
        self._prefixes: dict[int, list[str]] = {}

    def clear(self) -> None:
        """The nodes are others."""
        self._costs.clear()

    def changed(self, node_id: str) -> None:
        """Something happened at a node."""
        for costs in self._costs.values():
            costs.pop(node_id, None)

    def sent(self, node_id: str, _key: str, blocks: tuple[int, ...]) -> None:
        """A node has begun to work on a prompt."""
        self.changed(node_id)
        if len(self._prefixes) > MOST_INDEXED:
            self._prefixes.clear()
        for length in _STEPS:
            if length > len(blocks):
                break
            holders = self._prefixes.setdefault(blocks[length - 1], [])
            if node_id in holders:
                holders.remove(node_id)
            holders.append(node_id)
            del holders[:-4]

    def weighed(self, node_id: str, key: str, cost_s: float) -> None:
        """What a node costs for a usual request of this model."""
        self._costs.setdefault(key, {})[node_id] = cost_s

    def pick(self, holders: list[PoolNode], key: str, blocks: tuple[int, ...]) -> list[PoolNode]:
        """Those of the holders that are worth weighing."""
        if len(holders) <= WEIGH_ALL:
            return holders
        costs = self._costs.get(key, {})
        by_id = {node.id: node for node in holders}
        few = nsmallest(WEIGHED, by_id, key=lambda node_id: costs.get(node_id, -1.0))
        self._turn += 1
        few.append(holders[self._turn % len(holders)].id)
        few += self._nearest(blocks)
        return [by_id[node_id] for node_id in dict.fromkeys(few) if node_id in by_id]

    def _nearest(self, blocks: tuple[int, ...]) -> list[str]:
        for length in reversed(_STEPS):
            if length <= len(blocks):
                found = self._prefixes.get(blocks[length - 1])
                if found:
                    return found
        return []


def unhung(
    shadow: Shadow, usable: list[PoolNode], key: str, *, or_all: bool = True
) -> list[PoolNode]:
    """Those of the nodes that can load the model or have it; if there are none: all, or none."""
    if not shadow.hangs:
        return usable
    left = [
        node
        for node in usable
        if (place := shadow.places.get(node.id)) is None
        or not place.hanging
        or (key in place.runners and key not in place.hanging)
    ]
    return left or usable if or_all else left
