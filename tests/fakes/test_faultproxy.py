"""The misbehaving TCP proxy and the raw client, held against each other through a fake node."""

import asyncio
import time

import aiohttp
import pytest
from fakes.faultproxy import FaultProxy
from fakes.ollama import FakeOllama
from fakes.rawclient import RawClient

GET = b"GET /api/version HTTP/1.1\r\nHost: localhost\r\n\r\n"


@pytest.fixture
async def link(node: FakeOllama):
    async with FaultProxy("127.0.0.1", node.port) as proxy:
        yield proxy


async def version(link: FaultProxy, http: aiohttp.ClientSession) -> int:
    async with http.get(f"{link.url('http')}/api/version") as answer:
        await answer.read()
        return answer.status


async def test_it_forwards(link, http):
    assert await version(link, http) == 200
    assert link.accepted == 1


async def test_it_ends_and_begins_again_on_its_port(link, http):
    port = link.port
    await link.down()
    with pytest.raises(aiohttp.ClientConnectorError):
        await version(link, http)
    await link.up()
    assert (link.port, await version(link, http)) == (port, 200)


async def test_latency_is_paid_in_both_directions(link, http):
    link.latency_s = 0.1
    began = time.monotonic()
    await version(link, http)
    assert time.monotonic() - began >= 0.2


async def test_a_black_hole_holds_and_lets_go(link, http):
    link.black_hole()
    async with RawClient.to(link.url("http")) as raw:
        await raw.send(GET)
        with pytest.raises(TimeoutError):
            await raw.read_until(b"\r\n", 0.2)
        link.heal()
        assert (await raw.read_until(b"\r\n")).startswith(b"HTTP/1.1 200")


async def test_a_reset_is_a_reset(link):
    async with RawClient.to(link.url("http")) as raw:
        await raw.send(GET)
        await raw.read_until(b"}")
        link.reset()
        with pytest.raises(ConnectionResetError):
            await raw.read_all()


async def test_a_half_open_connection_stays_silent_and_new_ones_work(link, http):
    async with RawClient.to(link.url("http")) as raw:
        await raw.send(GET)
        await raw.read_until(b"}")
        link.half_open()
        await raw.send(GET)
        assert not await raw.closed(0.2)
        assert await version(link, http) == 200


async def test_slices_bandwidth_and_a_limit_shape_the_answer(link, node):
    link.slice_bytes, link.bytes_per_s = 10, 1_000.0
    began = time.monotonic()
    async with RawClient.to(link.url("http")) as raw:
        await raw.send(GET)
        whole = await raw.read_until(b"}")
    assert time.monotonic() - began >= len(whole) / 1_000 * 0.9
    link.heal()
    link.limit_bytes = 30
    async with RawClient.to(link.url("http")) as raw:
        await raw.send(GET)
        assert len(await raw.read_all()) == 30


async def test_a_client_that_sends_slowly_is_waited_for(node):
    body = b'{"model":"llama3.2","messages":[],"keep_alive":0}'
    head = b"POST /api/chat HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n" % len(body)
    async with RawClient.to(node.url) as raw:
        await raw.send(head, body[:10], body[10:], pause_s=0.05)
        assert b'"unload"' in await raw.read_until(b'"unload"')


async def test_a_client_may_half_close_or_reset(node):
    async with RawClient.to(node.url) as raw:
        await raw.send(GET)
        raw.half_close()
        assert await raw.closed()
    async with RawClient.to(node.url) as raw:
        await raw.send(GET)
        raw.reset()
    async with FakeOllama() as other, RawClient.to(other.url) as raw:
        await raw.send(GET)
        assert (await raw.read_until(b"\r\n")).startswith(b"HTTP/1.1 200")


async def test_a_client_that_never_reads_stops_the_node(node):
    node.fault("long_line")
    async with RawClient.to(node.url, receive_buffer=4_096) as raw:
        ask = {"model": "llama3.2", "messages": [{"role": "user", "content": "a"}]}
        await raw.post("/api/chat", ask)
        async with asyncio.timeout(5):
            while node.active == 0:
                await asyncio.sleep(0.005)
        await asyncio.sleep(0.2)
        assert node.active == 1, "it waits for the window to open"
    async with asyncio.timeout(1):
        while node.active:
            await asyncio.sleep(0.005)
