"""Nodes that no longer speak HTTP, or speak it a byte at a time, beside one that is well."""

import asyncio
from typing import Any

import pytest
from fakes.faultproxy import FaultProxy
from fakes.rawclient import RawClient
from fakes.scripted import BAD_CHUNK, END, ScriptedNode, chunk, fin, head, until

from tests.data_plane.conftest import Plane, chat_body

FIRST = b'{"message":{"content":"a"},"done":false}\n'
LAST = b'{"message":{"content":""},"done":true}\n'
SOUND = [head(), chunk(FIRST), chunk(LAST), END]
NO_HTTP = {
    "no status line": b"garbage\r\n\r\n",
    "a status that is none": b"HTTP/1.1 2OO OK\r\nContent-Length: 0\r\n\r\n",
    "NUL in a value": head("200 OK", "X-A: a\0b"),
    "a header line that is none": head("200 OK", "no colon"),
    "a header of 9 KB": head("200 OK", "X-A: " + "a" * 9_000),
    "both lengths": head("200 OK", "Content-Length: 3"),
    "two lengths": head("200 OK", "Content-Length: 3", framing="Content-Length: 4"),
}


@pytest.mark.parametrize("what", NO_HTTP)
async def test_what_is_no_http_goes_to_another_node_or_is_said_to_be_none(
    plane: Plane, what: str
) -> None:
    """F17: never a third try, and nothing more is sent on that connection."""
    script = [NO_HTTP[what] + chunk(FIRST)]
    async with ScriptedNode(script) as strange, ScriptedNode(SOUND) as sound:
        await plane.apply(strange, sound)
        with plane.app.leases.take("n2", 0.0):
            answer = await plane.chat()
        assert (answer.status, answer.headers["X-Aivonx-Attempts"]) == (200, "2")
        assert answer.headers["X-Aivonx-Node"] == "node-2"
        assert len(strange.asked) == 1
    async with ScriptedNode(script) as strange:
        await plane.apply(strange)
        answer = await plane.chat()
        assert (answer.status, answer.json()["code"]) == (502, "upstream_protocol_error")
        assert {asked.question for asked in strange.asked} == {0}
    await plane.until(lambda: len(plane.lines()) == 2)
    assert [line["outcome"] for line in plane.lines()] == ["ok", "node_error"]


async def test_a_bad_chunk_says_what_it_was_and_the_process_goes_on(
    plane: Plane, dial: Any
) -> None:
    """F18."""
    async with ScriptedNode([head(), chunk(FIRST), BAD_CHUNK]) as strange:
        await plane.apply(strange)
        wire = await dial(plane)
        wire.post("/api/chat", chat_body())
        received = await wire.to_the_end()
        assert FIRST.strip() in received
        assert b'"code":"upstream_protocol_error"' in received
        assert not received.endswith(b"\r\n" + END)
        await plane.idle()
        assert (await plane.get("/api/version")).status == 200


async def test_each_record_is_passed_on_before_the_next_is_said(plane: Plane, dial: Any) -> None:
    """F23: whoever held it back would wait for ever here."""
    was_seen = asyncio.Event()
    script = [head(), chunk(FIRST), until(was_seen), chunk(LAST), END]
    async with ScriptedNode(script) as node:
        await plane.apply(node)
        wire = await dial(plane)
        wire.post("/api/chat", chat_body())
        await wire.until(FIRST)
        was_seen.set()
        await wire.until(LAST)
        await wire.until(b"\r\n" + END)


async def test_a_stream_of_single_bytes_arrives_as_it_is(plane: Plane) -> None:
    """F23, in both directions: a client and a node that send a byte at a time."""
    async with ScriptedNode(SOUND) as node:
        await plane.apply(node)
        async with (
            FaultProxy("127.0.0.1", plane.port) as link,
            RawClient.to(link.url("http")) as raw,
        ):
            link.slice_bytes = 1
            await raw.post("/api/chat", chat_body())
            received = await raw.read_until(b"\r\n" + END)
        assert [part for part in (FIRST, LAST) if part not in received] == []


async def test_a_body_that_ends_with_its_connection_needs_its_last_record(
    plane: Plane, dial: Any
) -> None:
    """F20: the framing alone says that all is well."""
    async with ScriptedNode([head(framing="Connection: close"), FIRST, fin]) as node:
        await plane.apply(node)
        wire = await dial(plane)
        wire.post("/api/chat", chat_body())
        received = await wire.to_the_end()
        assert b'"code":"upstream_truncated"' in received
        assert not received.endswith(b"\r\n" + END)
        assert (await plane.line())["outcome"] == "truncated"
