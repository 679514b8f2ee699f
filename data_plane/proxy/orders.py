"""Orders to nodes: the same told to several at once, and what each makes of it.

A node that fails does not spoil the rest, and is named. A node may be silent for long (a digest
over 400 GB takes ten minutes) and is then asked whether it is there.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import msgspec

from data_plane.protocol.dialects import STREAM_TYPES
from data_plane.protocol.progress import BadRecordError, Record, read_record
from data_plane.protocol.routes import Framing
from data_plane.upstream.faults import SENTENCES, Fault, NodeFailedError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from data_plane.protocol.large import LargeBody
    from data_plane.routing.pool_node import PoolNode
    from data_plane.telemetry.metrics import Metrics
    from data_plane.upstream.answer import NodeAnswer
    from data_plane.upstream.forward import Forwarder
    from data_plane.upstream.probe import Prober
    from shared.snapshot import ProxyConfig

MAX_AT_ONCE: Final = 32
SILENCE_S: Final = 10.0
"""Of a node that works on an order, until it is asked whether it is there."""

BEGIN_S: Final = 300.0
"""For the first word on an order. All but a blob are begun at once."""

MAX_ANSWER_BYTES: Final = 64 * 1024
MAX_LINE_BYTES: Final = 64 * 1024
MAX_SAID: Final = 300
_OK: Final = frozenset({200, 201})


@dataclass(frozen=True, slots=True)
class Told:
    """What has become of an order at one node."""

    node: PoolNode
    status: int = 0
    """Of its answer; 0: there was none."""

    error: str = ""
    """Why it failed, in words; empty: it is done."""


@dataclass(frozen=True, slots=True)
class Order:
    """What a node is told."""

    method: str
    path: str
    fields: bytes
    """Header lines."""

    body: bytes | LargeBody | None
    config: ProxyConfig


class Orders:
    """Tells nodes."""

    def __init__(self, forwarder: Forwarder, prober: Prober, metrics: Metrics) -> None:
        self._forwarder = forwarder
        self._prober = prober
        self._metrics = metrics

    async def tell_all(
        self,
        nodes: Sequence[PoolNode],
        order: Order,
        on_record: Callable[[int, Record], None] | None = None,
        on_end: Callable[[int, Told], None] | None = None,
    ) -> list[Told]:
        """Tell every node; with `on_record` their progress is followed, node by number.

        When whoever waits is cancelled every node is let go, and stops.
        """
        gate = asyncio.Semaphore(MAX_AT_ONCE)

        async def tell(number: int, node: PoolNode) -> Told:
            async with gate:
                take = None if on_record is None else _numbered(on_record, number)
                told = await self._tell(node, order, take)
            if on_end is not None:
                on_end(number, told)
            return told

        return list(await asyncio.gather(*(tell(*each) for each in enumerate(nodes))))

    async def _tell(
        self, node: PoolNode, order: Order, take: Callable[[Record], None] | None
    ) -> Told:
        try:
            async with asyncio.timeout(BEGIN_S):
                answer = await self._forwarder.send(
                    node,
                    order.method,
                    order.path,
                    order.fields,
                    order.body,
                    connect_timeout_s=order.config.connect_timeout_s,
                    stream_type=STREAM_TYPES[Framing.NDJSON] if take is not None else None,
                )
            try:
                told = await self._heard(node, answer, order.config, take)
            finally:
                answer.close()
        except NodeFailedError as error:
            self._metrics.attempt(node.name, error.fault)
            return Told(node, error=f"{SENTENCES[error.fault]} ({error})")
        except TimeoutError:
            self._metrics.attempt(node.name, Fault.STALLED)
            return Told(node, error=f"no answer in {BEGIN_S:.0f} s")
        self._metrics.attempt(node.name, "answered")
        return told

    async def _heard(
        self,
        node: PoolNode,
        answer: NodeAnswer,
        config: ProxyConfig,
        take: Callable[[Record], None] | None,
    ) -> Told:
        status = answer.status
        if status not in _OK or not answer.is_stream or take is None:
            body = await self._whole(node, answer, config)
            return Told(node, status, "" if status in _OK else said(body, status))
        end, rest = Record(), b""
        while data := await self._next(node, answer, config):
            *lines, rest = (rest + data).split(b"\n")
            if len(rest) > MAX_LINE_BYTES:
                return Told(node, status, "it sent a line without end")
            for line in lines:
                if not line.strip():
                    continue
                try:
                    end = read_record(line)
                except BadRecordError as error:
                    return Told(node, status, str(error))
                if end.error:
                    return Told(node, status, end.error[:MAX_SAID])
                take(end)
        return Told(node, status, "" if end.status == "success" else "it ended without success")

    async def _whole(self, node: PoolNode, answer: NodeAnswer, config: ProxyConfig) -> bytes:
        parts, size = [], 0
        while size < MAX_ANSWER_BYTES and (data := await self._next(node, answer, config)):
            parts.append(data)
            size += len(data)
        return b"".join(parts)

    async def _next(self, node: PoolNode, answer: NodeAnswer, config: ProxyConfig) -> bytes:
        """What the node says next, however long it thinks, while it is there."""
        missed = 0
        while True:
            try:
                async with asyncio.timeout(SILENCE_S):
                    return await answer.read()
            except TimeoutError:
                probe = await self._prober.probe(node, config.probe_timeout_s)
                missed = 0 if probe is None or probe.is_ok else missed + 1
            if missed >= config.fall:
                raise NodeFailedError(Fault.NODE_DOWN, "its probes fail")


def _numbered(on_record: Callable[[int, Record], None], number: int) -> Callable[[Record], None]:
    return lambda record: on_record(number, record)


def said(body: bytes, status: int) -> str:
    """The words of a node's error."""
    try:
        words = read_record(body).error
    except BadRecordError:
        words = ""
    return words[:MAX_SAID] or f"status {status}"


def verdict(told: Sequence[Told]) -> tuple[int, str]:
    """Of several nodes: a status (200 when all are done) and the words of what failed.

    When all failed in the same way, it is that; else those that failed are named.
    """
    failed = [each for each in told if each.error]
    if not failed:
        return 200, ""
    ways = {(each.status, each.error) for each in failed}
    if len(failed) == len(told) and len(ways) == 1:
        status, words = ways.pop()
        if status in _OK:
            status = 500  # as Ollama says of an error that came within a stream
        return (status or 502), (words if status else f"{failed[0].node.name}: {words}")
    done = [each.node.name for each in told if not each.error]
    words = "; ".join(f"{each.node.name}: {each.error}" for each in failed)
    beside = f" (done on {', '.join(done)})" if done else ""
    return 502, f"{words[:1_000]}{beside[:500]}"


def members_of(body: bytes) -> dict[str, msgspec.Raw]:
    """The members of an order's body, which was written by `ask.parse`."""
    return msgspec.json.decode(body, type=dict[str, msgspec.Raw])
