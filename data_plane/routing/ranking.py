"""The holders of one model in the order of `least_active`, kept up to date instead of searched.

Holders of equal score stand in one bucket, those that have the model in memory before the others.
Who becomes busier or freer changes buckets, so that the best of a thousand is found as fast as the
best of ten: exactly, and with ties broken by the dice among all of them. Nobody is told of
changes: they are read from a journal when a choice is to be made, so that a model which is not
asked for costs nothing. (Bucket queues are described in Dial,
"Algorithm 360: Shortest-path forest with topological ordering", CACM 12, 1969.)
"""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING, Final

from data_plane.routing.strategies import least_active

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from collections.abc import Set as AbstractSet

    from data_plane.routing.pool_node import PoolNode

MAX_JOURNAL: Final = 4_096
"""Changes that are remembered. Whoever missed more looks at all holders anew."""


WHOLE: Final[Mapping[str, float]] = MappingProxyType({})
"""Of every node all of its weight counts."""

Place = tuple[bool, float, bool]
"""Whether a node works on as much as it can, its score, and whether it has yet to load the model.
The lowest comes first."""


class Journal:
    """Whose active count or memory has changed, in the order of the changes."""

    __slots__ = ("entries", "generation")

    def __init__(self) -> None:
        self.entries: list[str] = []
        """Node ids."""

        self.generation = 0
        """Grows when the entries begin anew."""

    def note(self, node_id: str) -> None:
        """The active count of this node is another than before, or what it has in memory."""
        if len(self.entries) >= MAX_JOURNAL:
            self.entries.clear()
            self.generation += 1
        self.entries.append(node_id)


class Ranking:
    """The holders of a model by their score: counts come from `loads`, changes from a journal."""

    __slots__ = (
        "_buckets",
        "_journal",
        "_least",
        "_loaded",
        "_loads",
        "_nodes",
        "_places",
        "_read",
        "_read_of",
        "_shares",
        "holders",
    )

    def __init__(
        self,
        holders: tuple[PoolNode, ...],
        loads: Mapping[str, float],
        journal: Journal,
        loaded: AbstractSet[str] = frozenset(),
        shares: Mapping[str, float] = WHOLE,
    ) -> None:
        """`loaded` have the model in memory, `shares` is how much of a node's weight counts, where
        that is not all; changes of both are journalled too.
        """
        self.holders = holders
        self._loaded = loaded
        self._shares = shares
        self._loads = loads
        self._journal = journal
        self._nodes = {node.id: node for node in holders}
        self._buckets: dict[Place, list[PoolNode]] = {}
        self._places: dict[str, tuple[Place, int]] = {}
        self._least: Place = (False, 0.0, False)
        self._read = self._read_of = 0
        """How much of which generation of the journal was taken in."""

        self._rank_all()

    def lowest(self, dice: Callable[[], float]) -> PoolNode:
        """One of the holders with the lowest score. `dice` gives a float in [0, 1)."""
        journal = self._journal
        entries = journal.entries
        if journal.generation != self._read_of or len(entries) - self._read > len(self.holders):
            self._rank_all()
        else:
            for position in range(self._read, len(entries)):
                node = self._nodes.get(entries[position])
                if node is not None:
                    self._move(node)
            self._read = len(entries)
        bucket = self._buckets[self._least]
        return bucket[int(dice() * len(bucket))]

    def is_full(self, node: PoolNode) -> bool:
        """Whether the node works on as much as it can."""
        return self._loads.get(node.id, 0.0) >= node.max_parallel

    def is_without(self, node_ids: AbstractSet[str]) -> bool:
        """Whether none of these nodes is a holder."""
        return self._nodes.keys().isdisjoint(node_ids)

    def _score(self, node: PoolNode) -> Place:
        active_count = self._loads.get(node.id, 0.0)
        value = least_active(node, active_count, None)
        if self._shares:
            value /= self._shares.get(node.id, 1.0)
        return (active_count >= node.max_parallel, value, node.id not in self._loaded)

    def _rank_all(self) -> None:
        self._buckets.clear()
        for node in self.holders:
            self._put(node, self._score(node))
        self._least = min(self._buckets)
        self._read = len(self._journal.entries)
        self._read_of = self._journal.generation

    def _put(self, node: PoolNode, score: Place) -> None:
        bucket = self._buckets.get(score)
        if bucket is None:
            bucket = self._buckets[score] = []
        self._places[node.id] = (score, len(bucket))
        bucket.append(node)

    def _move(self, node: PoolNode) -> None:
        score = self._score(node)
        before, position = self._places[node.id]
        if score == before:
            return
        bucket = self._buckets[before]
        last = bucket.pop()
        if last is not node:
            bucket[position] = last
            self._places[last.id] = (before, position)
        self._put(node, score)
        if not bucket:
            del self._buckets[before]
        if score < self._least:
            self._least = score
        elif not bucket and before == self._least:
            self._least = min(self._buckets)
