"""Asking nodes whether they are there, and how quickly they say so."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

import msgspec

from data_plane.routing.strategies import smoothed
from data_plane.upstream.faults import PROBE_OUTCOMES, Fault, NodeFailedError
from shared.events import ProbeOutcome, ProbeResult
from shared.inventory import InventoryError, parse_ps, parse_tags, parse_version

if TYPE_CHECKING:
    from collections.abc import Mapping

    from data_plane.routing.pool_node import PoolNode
    from data_plane.upstream.forward import Forwarder
    from shared.snapshot import LoadedModel, Model

MAX_PS_BYTES: Final = 1024 * 1024
MAX_TAGS_BYTES: Final = 8 * 1024 * 1024
MAX_VERSION_BYTES: Final = 4_096
PS_TIMEOUT_S: Final = 5.0
TAGS_TIMEOUT_S: Final = 10.0
STATUS_TIMEOUT_S: Final = 2.0
RECOMMENDED_TIMEOUT_S: Final = 5.0
"""A node may ask ollama.com first."""

HTTP_OK: Final = 200
_FIELDS: Final = b"User-Agent: aivonx-proxy\r\nAccept: application/json\r\n"
UNAUTHORIZED: Final = frozenset({401, 403})


class _Cloud(msgspec.Struct):
    disabled: bool = False
    source: str = "config"


class _Status(msgspec.Struct):
    cloud: _Cloud


_status_decoder: Final = msgspec.json.Decoder(_Status)


class Latencies:
    """Latency of each node: a moving mean of our probes and of the health sweep's values."""

    def __init__(self) -> None:
        self.values: dict[str, float] = {}
        self._swept: dict[str, float] = {}

    def observe(self, node_id: str, seconds: float) -> None:
        """One more value."""
        self.values[node_id] = smoothed(self.values.get(node_id), seconds)

    def sweep_reported(self, latencies: Mapping[str, float]) -> None:
        """The sweep's values; each counts once, when it is new."""
        for node_id, seconds in latencies.items():
            if self._swept.get(node_id) != seconds:
                self.observe(node_id, seconds)
        self._swept = dict(latencies)

    def forget(self, known: frozenset[str]) -> None:
        """Drop nodes that exist no more."""
        for node_id in self.values.keys() - known:
            del self.values[node_id]


class Prober:
    """Asks nodes. `Watch` sees to it that a node is asked once at a time, whoever waits for it."""

    def __init__(self, forwarder: Forwarder) -> None:
        self._forwarder = forwarder

    async def probe(self, node: PoolNode, timeout_s: float) -> ProbeResult | None:
        """/api/version within the limit; None when we could not even ask.

        Never raises but when cancelled.
        """
        loop = asyncio.get_running_loop()
        began_at = loop.time()
        try:
            async with asyncio.timeout(timeout_s):
                status, body = await self._get(node, "/api/version", timeout_s, MAX_VERSION_BYTES)
        except TimeoutError:
            return ProbeResult(outcome=ProbeOutcome.TIMEOUT)
        except NodeFailedError as error:
            if error.fault is Fault.NO_RESOURCES:
                return None
            outcome = PROBE_OUTCOMES.get(error.fault, ProbeOutcome.UNREACHABLE)
            return ProbeResult(outcome=outcome)
        if status in UNAUTHORIZED:
            return ProbeResult(outcome=ProbeOutcome.UNAUTHORIZED)
        try:
            version = parse_version(body) if status == HTTP_OK else ""
        except InventoryError:
            version = ""
        if not version:
            return ProbeResult(outcome=ProbeOutcome.NOT_OLLAMA)
        return ProbeResult(
            outcome=ProbeOutcome.OK, latency_s=loop.time() - began_at, version=version
        )

    async def loaded(self, node: PoolNode) -> tuple[LoadedModel, ...] | None:
        """/api/ps of a node; None when it does not say."""
        try:
            async with asyncio.timeout(PS_TIMEOUT_S):
                status, body = await self._get(node, "/api/ps", PS_TIMEOUT_S, MAX_PS_BYTES)
            return parse_ps(body) if status == HTTP_OK else None
        except (TimeoutError, NodeFailedError, InventoryError):
            return None

    async def listed(self, node: PoolNode) -> tuple[tuple[Model, str], ...] | None:
        """/api/tags of a node: models, each with its `modified_at`; None when it does not say."""
        try:
            async with asyncio.timeout(TAGS_TIMEOUT_S):
                status, body = await self._get(node, "/api/tags", TAGS_TIMEOUT_S, MAX_TAGS_BYTES)
            return parse_tags(body) if status == HTTP_OK else None
        except (TimeoutError, NodeFailedError, InventoryError):
            return None

    async def cloud_switched_off_by(self, node: PoolNode) -> str:
        """Where a node was told not to use the cloud ("env", "config", "both"); "" if nowhere."""
        try:
            async with asyncio.timeout(STATUS_TIMEOUT_S):
                status, body = await self._get(
                    node, "/api/status", STATUS_TIMEOUT_S, MAX_VERSION_BYTES
                )
            cloud = _status_decoder.decode(body).cloud if status == HTTP_OK else _Cloud()
        except (TimeoutError, NodeFailedError, msgspec.DecodeError):
            return ""
        return cloud.source if cloud.disabled else ""

    async def recommended_by(self, node: PoolNode) -> bytes | None:
        """The models that a node recommends, in its own JSON; None when it does not say."""
        path = "/api/experimental/model-recommendations"
        try:
            async with asyncio.timeout(RECOMMENDED_TIMEOUT_S):
                status, body = await self._get(node, path, RECOMMENDED_TIMEOUT_S, MAX_TAGS_BYTES)
            msgspec.json.decode(body, type=msgspec.Raw)
        except (TimeoutError, NodeFailedError, msgspec.DecodeError):
            return None
        return body if status == HTTP_OK else None

    async def _get(
        self, node: PoolNode, path: str, timeout_s: float, limit: int
    ) -> tuple[int, bytes]:
        answer = await self._forwarder.send(
            node, "GET", path, _FIELDS, None, connect_timeout_s=timeout_s
        )
        try:
            return answer.status, await answer.read_all(limit)
        finally:
            answer.close()
