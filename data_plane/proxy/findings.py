"""What answers of nodes teach this instance between two snapshots.

A node that answers 404 for a model it is listed with has lost it: it gets no more requests for it,
and the control plane is asked to look. A node that says 503 is left alone for a moment. A node that
has just answered for a model has it loaded: /api/ps of that node is looked at, so that our own is
right without waiting for the next sweep.
"""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable

    from data_plane.lifecycle import Lifecycle
    from data_plane.routing.pool_node import PoolNode
    from data_plane.routing.pools import Pools
    from data_plane.upstream.probe import Prober
    from shared.snapshot import LoadedModel, Snapshot

BUSY_MIN_S: Final = 1.0
BUSY_MAX_S: Final = 5.0
"""A busy node is passed over this long, as it wishes (Retry-After) within these bounds."""

WANTED_S: Final = 6.0
"""How long a node stays in our report as one to look at: longer than a heartbeat."""

LOOK_GAP_S: Final = 2.0
"""Between two looks at one node's /api/ps."""

LOOK_KEPT_S: Final = 120.0
"""Two sweeps of the inventory: by then the snapshot would say so if the model were still loaded."""

_NOTHING: Final[frozenset[str]] = frozenset()


class Findings:
    """One per process."""

    def __init__(self, prober: Prober, lifecycle: Lifecycle) -> None:
        self._prober = prober
        self._lifecycle = lifecycle
        self._missing: dict[str, frozenset[str]] = {}
        self._wanted: dict[str, float] = {}
        self._busy: dict[str, float] = {}
        self._loaded_names: dict[str, frozenset[str]] = {}
        self._looking: set[str] = set()
        self._looked_at: dict[str, float] = {}
        self.loaded: dict[str, tuple[LoadedModel, ...]] = {}
        """By node: what our own look found, until a snapshot knows better."""

        self.version = 0
        """Grows when `loaded` changes."""

        self._listeners: list[Callable[[str, tuple[LoadedModel, ...]], None]] = []

    def on_look(self, listener: Callable[[str, tuple[LoadedModel, ...]], None]) -> None:
        """Call `listener(node_id, loaded)` whenever a node has said what it has in memory."""
        self._listeners.append(listener)

    def use(self, before: Snapshot | None, after: Snapshot, pools: Pools) -> None:
        """A new snapshot is in force: keep of what we found only what it cannot know."""
        was = {node.id: node.loaded for node in before.nodes} if before is not None else {}
        for node in after.nodes:
            if node.id not in was or was[node.id] != node.loaded:
                self.loaded.pop(node.id, None)
                self._loaded_names[node.id] = frozenset(model.canonical for model in node.loaded)
        for table in (self.loaded, self._loaded_names, self._busy, self._looked_at):
            for node_id in table.keys() - pools.nodes.keys():
                del table[node_id]
        self._missing = {
            canonical: left
            for canonical, nodes in self._missing.items()
            if (left := nodes & _holders(pools, canonical))
        }
        self.version += 1

    def without(self, canonical: str) -> frozenset[str]:
        """Nodes that turned out not to have this model."""
        return self._missing.get(canonical, _NOTHING)

    def speaks_against(self, canonical: str) -> bool:
        """Whether anything found may keep a node from being chosen for this model."""
        return bool(self._busy) or canonical in self._missing

    def busy(self, now: float) -> frozenset[str]:
        """Nodes that asked to be left alone for a moment."""
        if not self._busy:
            return _NOTHING
        for node_id in [node_id for node_id, until in self._busy.items() if until <= now]:
            del self._busy[node_id]
        return frozenset(self._busy)

    def note_busy(self, node_id: str, now: float, retry_after: str) -> None:
        """The node answered that it is busy."""
        wish_s = float(retry_after) if retry_after.isascii() and retry_after.isdigit() else 0.0
        self._busy[node_id] = now + min(max(wish_s, BUSY_MIN_S), BUSY_MAX_S)

    def note_missing(self, node_id: str, canonical: str) -> None:
        """The node answered 404 for a model that it is listed with."""
        self._missing[canonical] = self.without(canonical) | {node_id}
        self._wanted[node_id] = time.monotonic() + WANTED_S

    def relisted(self, node_id: str) -> None:
        """The node was asked what it holds: what was found out before counts no more."""
        self._missing = {
            canonical: left
            for canonical, nodes in self._missing.items()
            if (left := nodes - {node_id})
        }

    def refresh_wanted(self) -> tuple[str, ...]:
        """Nodes whose inventory the control plane should read again."""
        now = time.monotonic()
        self._wanted = {node_id: until for node_id, until in self._wanted.items() if until > now}
        return tuple(sorted(self._wanted))

    def note_answered(self, node: PoolNode, canonical: str, *, is_unload: bool) -> None:
        """The node has answered for a model, so it has it loaded now (or has just dropped it)."""
        names = self._loaded_names.get(node.id, _NOTHING)
        if (canonical in names) != is_unload or node.id in self._looking:
            return
        self._looking.add(node.id)
        self._lifecycle.spawn(f"look:{node.name}", self._look(node))

    def has_loaded(self, node_id: str, canonical: str) -> bool:
        """Whether the node has the model in memory, as far as we know."""
        return canonical in self._loaded_names.get(node_id, _NOTHING)

    def forget_old_looks(self) -> None:
        """Drop what was seen so long ago that the snapshot knows better by saying nothing."""
        oldest = time.monotonic() - LOOK_KEPT_S
        old = [node_id for node_id in self.loaded if self._looked_at.get(node_id, 0.0) < oldest]
        for node_id in old:
            del self.loaded[node_id]
            self._loaded_names.pop(node_id, None)
            self.version += 1

    async def _look(self, node: PoolNode) -> None:
        try:
            gap_s = self._looked_at.get(node.id, -LOOK_GAP_S) + LOOK_GAP_S - time.monotonic()
            if gap_s > 0:
                await asyncio.sleep(gap_s)
            loaded = await self._prober.loaded(node)
            self._looked_at[node.id] = time.monotonic()
        finally:
            self._looking.discard(node.id)
        if loaded is not None:
            self.loaded[node.id] = loaded
            self._loaded_names[node.id] = frozenset(model.canonical for model in loaded)
            self.version += 1
            for listener in self._listeners:
                listener(node.id, loaded)


def _holders(pools: Pools, canonical: str) -> frozenset[str]:
    entry = pools.models.get(canonical)
    if entry is None:
        return _NOTHING
    return frozenset(node.id for node in (*entry.active, *entry.drifted, *entry.standby))
