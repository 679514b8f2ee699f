"""A node that comes back, or is new, gets its share by and by instead of everything at once.

The idlest node is the one that was away. Without this it would get every request until it is as
busy as the rest, at the moment when it has no model in memory and may be about to fall again.

For ten seconds after its return (`AIVONX_SLOW_START_S`) its weight counts for less: for the share
of them that has passed, `LEAST_SHARE` at first. That is Envoy's rule with its defaults
(`slow_start_config`: weight x max(min_weight_percent, (time / window) ^ (1 / aggression)), 10 %,
aggression 1); nginx's `slow_start` and HAProxy's `slowstart` raise the weight likewise. Weights say
how holders compare: the only holder gets everything all the same, and so do those that came back
together.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from data_plane.routing.pool_node import PoolNode
    from data_plane.routing.pools import Pools

WINDOW_S: Final = 10.0
LEAST_SHARE: Final = 0.1
MOST_SHARE: Final = 0.99
"""Above this it is all: sums of seconds are not exact."""


class SlowStart:
    """Who is on the way back. Times are of one monotonic clock."""

    __slots__ = ("_active", "_changed", "_since", "_window_s", "shares")

    def __init__(self, changed: Callable[[str], None], window_s: float = WINDOW_S) -> None:
        """`changed(node_id)` is called whenever a node's share has become another. A window of 0:
        everything at once.
        """
        self._window_s = window_s
        self._changed = changed
        self._active: frozenset[str] | None = None
        self._since: dict[str, float] = {}
        self.shares: dict[str, float] = {}
        """Of its weight that counts, below 1, by node; empty when nobody is on the way back."""

    def use(self, pools: Pools, now: float) -> None:
        """A new snapshot: who was not active before it begins slowly, but at the first one."""
        before = self._active
        self._active = frozenset(node.id for node in pools.active)
        for node_id in self._since.keys() - self._active:
            self._end(node_id)
        if before is not None:
            for node_id in self._active - before:
                self.begin(node_id, now)

    def begin(self, node_id: str, now: float) -> None:
        """A node is back."""
        if not self._window_s:
            return
        self._since[node_id] = now
        self._set(node_id, LEAST_SHARE)

    def tick(self, now: float) -> None:
        """Raise the shares, once a second or so."""
        for node_id, since in list(self._since.items()):
            share = (now - since) / self._window_s
            if share > MOST_SHARE:
                self._end(node_id)
            elif share > LEAST_SHARE:
                self._set(node_id, share)

    def feigned(
        self, usable: Iterable[PoolNode], loads: Mapping[str, float], ahead: Mapping[str, float]
    ) -> Mapping[str, float]:
        """By node: how many requests more than `loads` it is to be weighed with, so that it
        compares as if only its share counted; beside those that are `ahead`. None more when each
        of these holders is on the way back, for then there is nobody to spare them.
        """
        shares = {node.id: self.shares.get(node.id, 1.0) for node in usable}
        if max(shares.values(), default=1.0) < 1.0:
            return ahead
        return {
            node_id: ahead.get(node_id, 0.0) + (loads.get(node_id, 0.0) + 1.0) * (1.0 / share - 1.0)
            for node_id, share in shares.items()
        }

    def _end(self, node_id: str) -> None:
        del self._since[node_id], self.shares[node_id]
        self._changed(node_id)

    def _set(self, node_id: str, share: float) -> None:
        self.shares[node_id] = share
        self._changed(node_id)
