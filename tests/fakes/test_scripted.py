"""The scripted node says what it is told, byte by byte, and keeps what it hears."""

import asyncio

import pytest
from fakes import scripted
from fakes.rawclient import RawClient
from fakes.scripted import ScriptedNode, chunk, fin, head, in_turn, reset, stall, until, whole

ASK = {"model": "llama3.2"}
POST = b"POST /api/chat HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\nfourGET /hidden"


@pytest.mark.parametrize(
    "said",
    [
        head() + scripted.BAD_CHUNK,
        head() + chunk(b"a") + scripted.ERROR_RECORD + scripted.END,
        head(framing="Connection: close") + b"until it closes",
        scripted.BUSY,
        scripted.FAILED,
        b"nothing of HTTP",
    ],
)
async def test_bytes_are_said_as_they_stand(said):
    async with ScriptedNode([said, fin]) as node, RawClient.to(node.url) as raw:
        await raw.post("/api/chat", ASK)
        assert await raw.read_all() == said


async def test_a_reset_is_a_reset():
    async with ScriptedNode([head(), reset]) as node, RawClient.to(node.url) as raw:
        await raw.post("/api/chat", ASK)
        with pytest.raises(ConnectionResetError):
            await raw.read_all()


async def test_what_waits_goes_on_and_what_stalls_does_not():
    loaded = asyncio.Event()
    script = [head(), until(loaded), chunk(b"a"), stall]
    async with ScriptedNode(script) as node, RawClient.to(node.url) as raw:
        await raw.post("/api/chat", ASK)
        assert await raw.read_until(b"\r\n\r\n") == head()
        loaded.set()
        assert await raw.read_until(b"a\r\n") == chunk(b"a")
        with pytest.raises(TimeoutError):
            await raw.read_until(b"more", 0.1)


async def test_each_request_has_its_script_and_probes_have_none():
    async with (
        ScriptedNode(in_turn([whole(b"one")], [whole(b"two")])) as node,
        RawClient.to(node.url) as raw,
    ):
        for said in (b"one", b"two", b"two"):
            await raw.send(b"GET /api/version HTTP/1.1\r\nHost: a\r\n\r\n")
            assert await raw.read_until(scripted.ALIVE)
            await raw.post("/api/chat", ASK)
            assert await raw.read_until(said) == whole(said)
        assert [(each.connection, each.question) for each in node.asked] == [(0, 0), (0, 1), (0, 2)]


async def test_every_byte_is_kept_by_connection_whether_or_not_it_was_understood():
    async with ScriptedNode([whole(b"one")]) as node:
        for number in (0, 1):
            async with RawClient.to(node.url) as raw:
                await raw.send(POST)
                await raw.read_until(b"one")
            assert node.received[number] == POST
        assert node.bodies == [b"four"] * 2
