"""One attempt: what a node's misbehaviour is called. Raw nodes, byte by byte."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from fakes.scripted import ScriptedNode, fin, wait
from fakes.snapshots import make_snapshot

from data_plane.routing.pool_node import PoolNode
from data_plane.routing.pools import Pools
from data_plane.upstream.faults import Fault, NodeFailedError
from data_plane.upstream.forward import Forwarder
from shared.addresses import AddressPolicy

HEAD = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
POLICY = AddressPolicy.parse(("127.0.0.0/8",), frozenset())


@asynccontextmanager
async def node_saying(*parts: bytes, sealed_token: str = "") -> AsyncIterator[PoolNode]:
    """A node that answers every request with these parts, a moment between them, and hangs up."""
    steps = [step for part in parts for step in (part, wait(0.02))]
    async with ScriptedNode([*steps, fin]) as node:
        fields = {"n": {"address": node.url, "sealed_token": sealed_token}}
        yield Pools.build(make_snapshot({"n": []}, fields=fields)).active[0]


async def read_from(node: PoolNode) -> bytes:
    forwarder = Forwarder(POLICY, ())
    try:
        async with asyncio.timeout(2.0):
            answer = await forwarder.send(node, "GET", "/", b"", None, connect_timeout_s=1.0)
            try:
                return await answer.read_all(10_000_000)
            finally:
                answer.close()
    finally:
        await forwarder.close()


@pytest.mark.parametrize(
    ("parts", "fault"),
    [
        ((b"",), Fault.NO_ANSWER),
        ((b"garbage\r\n\r\n",), Fault.BAD_HTTP),
        ((b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nx",), Fault.BAD_HTTP),
        ((b"HTTP/1.1 200 OK\r\nX: " + b"x" * 9_000 + b"\r\n\r\n",), Fault.BAD_HTTP),
        ((HEAD + b"3\r\nabc\r\n", b"zz\r\n"), Fault.BAD_FRAMING),
        ((HEAD, b"3\r\nabc\r\nzz\r\n"), Fault.BAD_FRAMING),
        ((HEAD + b"3\r\nabc\r\nzz\r\n",), Fault.BAD_FRAMING),
        ((HEAD + b"3\r\nabc\r\n",), Fault.BROKEN),
        ((b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nabc",), Fault.BROKEN),
    ],
)
async def test_every_misbehaviour_has_its_name(parts, fault) -> None:
    """F17, F18, F19. A bad chunk is heard of at once."""
    async with node_saying(*parts) as node:
        with pytest.raises(NodeFailedError) as caught:
            await read_from(node)
    assert caught.value.fault is fault


@pytest.mark.parametrize(
    "parts",
    [
        (b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nabcextra",),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\n", b"abcextra\r\n"),
        (HEAD + b"3\r\nabc\r\n0\r\n\r\nextra\r\n",),
        (b"HTTP/1.1 100 Continue\r\n\r\n", HEAD + b"3\r\nabc\r\n0\r\n\r\n"),
    ],
)
async def test_bytes_around_a_sound_answer_do_not_harm_it(parts) -> None:
    """F21, F22."""
    async with node_saying(*parts) as node:
        assert await read_from(node) == b"abc"


async def test_a_token_that_no_key_opens_is_a_fault_of_its_own() -> None:
    async with node_saying(HEAD, sealed_token="gAAAAA-nonsense") as node:
        with pytest.raises(NodeFailedError) as caught:
            await read_from(node)
    assert caught.value.fault is Fault.BAD_TOKEN
