"""The eye on nodes: nobody waits for a node that is gone, and nobody gives up on one that is slow.

Silence is not death: a model may load for minutes. So a silent node is asked (/api/version) beside
the requests that wait for it, one prober for all of them. While it answers, they wait. After `fall`
failures in a row it goes to standby and everybody is let go: requests without a first byte move to
another node, begun answers end visibly. A node in standby is asked with growing pauses and comes
back by itself. Quiet active nodes are asked now and then, for `lowest_latency` to know them.
"""

from __future__ import annotations

import asyncio
from math import inf
from typing import TYPE_CHECKING, Final

from data_plane.upstream.faults import Fault

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    from data_plane.lifecycle import Lifecycle
    from data_plane.routing.circuit import Circuits
    from data_plane.routing.pool_node import PoolNode
    from data_plane.routing.pools import Pools
    from data_plane.telemetry.logs import Log
    from data_plane.telemetry.metrics import Metrics
    from data_plane.upstream.lease import Leases
    from data_plane.upstream.probe import Latencies, Prober
    from shared.events import ProbeResult
    from shared.snapshot import ProxyConfig

TICK_S: Final = 0.25
TICK_SHARE: Final = 0.25
"""A round every quarter of the probe interval, and at least four a second."""

ROUTINE_MIN_S: Final = 10.0
ROUTINE_MAX_S: Final = 15.0
"""Between two probes of a quiet active node, at random, so that they spread."""

MAX_PROBES_AT_ONCE: Final = 64

LOOKED_AT_ONCE: Final = 100
"""Leases; then whoever has something to say gets a turn. Thousands in one go take milliseconds, for
which every stream would stand still."""


class Watch:
    """Probes nodes, moves them between the pools, lets waiting requests go."""

    def __init__(  # noqa: PLR0913 - wired once, in app
        self,
        *,
        leases: Leases,
        prober: Prober,
        circuits: Circuits,
        latencies: Latencies,
        lifecycle: Lifecycle,
        log: Log,
        metrics: Metrics,
        dice: Callable[[], float],
    ) -> None:
        self._leases = leases
        self._prober = prober
        self._circuits = circuits
        self._latencies = latencies
        self._lifecycle = lifecycle
        self._log = log
        self._metrics = metrics
        self._dice = dice
        self._pools: Pools | None = None
        self._probing: set[str] = set()
        self._probed_at: dict[str, float] = {}
        self._failures: dict[str, int] = {}
        self._routine_at: dict[str, float] = {}
        self._suspects: set[str] = set()
        self._listeners: list[Callable[[str], None]] = []

    def on_return(self, listener: Callable[[str], None]) -> None:
        """Call `listener(node_id)` whenever a node comes back from standby."""
        self._listeners.append(listener)

    def use(self, pools: Pools) -> None:
        """Watch the nodes of these pools from now on."""
        before, self._pools = self._pools, pools
        known = set(pools.nodes)
        if before is not None:
            # Another address is another node: what was learned of the old one does not count.
            known -= {
                node.id
                for node in before.nodes.values()
                if node.id in pools.nodes and pools.nodes[node.id].url != node.url
            }
        self._circuits.keep(known)
        for table in (self._probed_at, self._failures, self._routine_at):
            for node_id in table.keys() - known:
                del table[node_id]

    def suspect(self, node_id: str) -> None:
        """Something odd came from this node: ask it at the next round."""
        self._suspects.add(node_id)

    def connection_failed(self, node: PoolNode, fault: Fault) -> None:
        """No connection could be made: standby at once, here and for this instance."""
        now = asyncio.get_running_loop().time()
        if self._circuits.connection_failed(node.id, now, self._dice, fault):
            self._moved(node, "standby", fault)
        if fault is Fault.ADDRESS_NOT_ALLOWED:
            self._log.sampled("node_address_not_allowed", node=node.name, node_id=node.id)

    async def run(self) -> None:
        """Watch until cancelled."""
        loop = asyncio.get_running_loop()
        while True:
            pools = self._pools
            if pools is not None:
                silent = await self._silent_nodes(pools.config, loop.time())
                self._round(self._pools or pools, silent, loop.time())
            interval_s = pools.config.probe_interval_s if pools is not None else TICK_S
            await asyncio.sleep(min(TICK_S, interval_s * TICK_SHARE))

    def _round(self, pools: Pools, silent: set[str], now: float) -> None:
        due = {node_id for node_id in silent if self._is_rested(node_id, pools.config, now)}
        due.update(self._circuits.due(now))
        # However long a node has been away, it is noticed within one interval when it is back.
        due.update(
            node_id
            for node_id in self._circuits.down
            if self._is_rested(node_id, pools.config, now)
        )
        due.update(self._suspects)
        self._suspects.clear()
        due.update(self._routine(pools, now))
        for node_id in due:
            node = pools.nodes.get(node_id)
            if node is None or node_id in self._probing:
                continue
            if len(self._probing) >= MAX_PROBES_AT_ONCE:
                self._suspects.add(node_id)  # not forgotten: at the next round
                continue
            self._probing.add(node_id)
            self._probed_at[node_id] = now
            self._spawn(f"probe:{node.name}", self._probe(node, pools.config))

    def _spawn(self, name: str, work: Coroutine[object, object, None]) -> None:
        self._lifecycle.spawn(name, work)

    async def _silent_nodes(self, config: ProxyConfig, now: float) -> set[str]:
        """Nodes that keep a request waiting; begun answers beyond the idle limit are ended."""
        silent = set()
        limit_s = config.stream_idle_timeout_s or inf
        patience_s = min(limit_s, config.probe_interval_s)
        for number, lease in enumerate(self._leases, 1):
            if number % LOOKED_AT_ONCE == 0:
                await asyncio.sleep(0)
            lease.listen(now)
            silence_s = now - lease.last_byte_at
            if silence_s < patience_s or lease not in self._leases:
                continue  # or it was given back while others had their turn
            if lease.has_begun and silence_s >= limit_s:
                lease.let_go(Fault.STALLED)
            elif silence_s >= config.probe_interval_s:
                silent.add(lease.node_id)
        return silent

    def _is_rested(self, node_id: str, config: ProxyConfig, now: float) -> bool:
        return (
            now - self._probed_at.get(node_id, -config.probe_interval_s) >= config.probe_interval_s
        )

    def _routine(self, pools: Pools, now: float) -> list[str]:
        due = []
        for node in pools.active:
            at = self._routine_at.get(node.id)
            if at is None:
                # First seen: at some moment of the first interval, not all in the same one.
                self._routine_at[node.id] = now + self._dice() * ROUTINE_MIN_S
            elif now >= at:
                self._routine_at[node.id] = (
                    now + ROUTINE_MIN_S + self._dice() * (ROUTINE_MAX_S - ROUTINE_MIN_S)
                )
                due.append(node.id)
            elif self._failures.get(node.id) and self._is_rested(node.id, pools.config, now):
                due.append(node.id)  # one failure makes us look closer
        return due

    async def _probe(self, node: PoolNode, config: ProxyConfig) -> None:
        try:
            result = await self._prober.probe(node, config.probe_timeout_s)
        finally:
            self._probing.discard(node.id)
        if result is None:
            self._log.sampled("probe_not_possible", node=node.name, reason=Fault.NO_RESOURCES)
            return  # what we lack ourselves says nothing of the node
        self._metrics.probe(result.outcome)
        now_known = self._pools.nodes.get(node.id) if self._pools is not None else None
        if now_known is None or now_known.url != node.url:
            return  # it was removed or re-addressed meanwhile
        if result.is_ok:
            self._succeeded(node, config, result)
        else:
            self._failed(node, config, result)

    def _succeeded(self, node: PoolNode, config: ProxyConfig, result: ProbeResult) -> None:
        now = asyncio.get_running_loop().time()
        self._failures.pop(node.id, None)
        if result.latency_s is not None:
            self._latencies.observe(node.id, result.latency_s)
        if self._circuits.probe_succeeded(node.id, now, rise=config.rise):
            self._moved(node, "active", "probes succeed")
            for listener in self._listeners:
                listener(node.id)

    def _failed(self, node: PoolNode, config: ProxyConfig, result: ProbeResult) -> None:
        now = asyncio.get_running_loop().time()
        failures = self._failures[node.id] = self._failures.get(node.id, 0) + 1
        if self._circuits.probe_failed(
            node.id, now, self._dice, fall=config.fall, reason=result.outcome
        ):
            self._moved(node, "standby", result.outcome)
        if failures >= config.fall:
            for lease in self._leases.at(node.id):
                lease.let_go(Fault.NODE_DOWN)

    def _moved(self, node: PoolNode, to: str, reason: str) -> None:
        self._metrics.transition(to)
        self._log.warning("node_moved", node=node.name, node_id=node.id, to=to, reason=reason)
