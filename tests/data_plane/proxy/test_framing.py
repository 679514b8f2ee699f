"""Whole answers: however a node frames them, and however old the client's HTTP is."""

import asyncio
import json

import pytest
from fakes.scripted import ScriptedNode, fin, whole

CHAT = {"model": "llama3.2", "messages": [{"role": "user", "content": "Why?"}], "stream": False}
BODY = b'{"message":{"content":"because"},"done":true}\n'


def chunks(*parts: bytes, trailer: bytes = b"") -> bytes:
    each = b"".join(b"%x\r\n%b\r\n" % (len(part), part) for part in parts)
    return b"Transfer-Encoding: chunked\r\n\r\n" + each + b"0\r\n" + trailer + b"\r\n"


SIZED = b"Content-Length: %d\r\n" % len(BODY)
FRAMINGS = {
    "its length": (b"1.1", SIZED + b"\r\n" + BODY, True),
    "its length, and close": (b"1.1", SIZED + b"Connection: close\r\n\r\n" + BODY, False),
    "one chunk": (b"1.1", chunks(BODY), True),
    "a chunk for each byte": (
        b"1.1",
        chunks(*(BODY[at : at + 1] for at in range(len(BODY)))),
        True,
    ),
    "chunks and a trailer": (b"1.1", chunks(BODY, trailer=b"X-Sum: 1\r\n"), True),
    "until it closes": (b"1.1", b"\r\n" + BODY, False),
    "http/1.0, its length": (b"1.0", SIZED + b"\r\n" + BODY, False),
    "http/1.0, kept alive": (b"1.0", SIZED + b"Connection: keep-alive\r\n\r\n" + BODY, True),
    "http/1.0, until it closes": (b"1.0", b"\r\n" + BODY, False),
    "more than announced": (b"1.1", SIZED + b"\r\n" + BODY + b"HTTP/1.1 200 OK\r\n", False),
    "more behind the last chunk": (b"1.1", chunks(BODY) + b"0\r\n\r\n", False),
}
INTERIM = {
    "": b"",
    "continue": b"HTTP/1.1 100 Continue\r\n\r\n",
    "hints": b"HTTP/1.1 103 Early Hints\r\nLink: <a>\r\n\r\n" * 3,
}


@pytest.mark.parametrize("version", ["1.1", "1.0"])
@pytest.mark.parametrize("status", [b"200 OK", b"400 Bad Request"])
@pytest.mark.parametrize("interim", INTERIM)
@pytest.mark.parametrize("framing", FRAMINGS)
async def test_the_client_gets_it_whole_with_its_length(  # noqa: PLR0917 - fixtures
    plane, dial, framing, interim, status, version
) -> None:
    of_node, rest, is_kept = FRAMINGS[framing]
    said = b"HTTP/%b %b\r\nContent-Type: application/json\r\n" % (of_node, status) + rest
    async with ScriptedNode([INTERIM[interim] + said, *([] if is_kept else [fin])]) as node:
        await plane.apply(node)
        wire = await dial(plane)
        for _ in range(2):
            wire.received = b""
            wire.post("/api/chat", CHAT, version=version, headers="Connection: keep-alive\r\n")
            head, _, body = (await wire.until(BODY)).partition(b"\r\n\r\n")
            assert head.startswith(b"HTTP/1.1 " + status)
            assert b"Content-Length: %d" % len(BODY) in head
            assert body == BODY
            for word in (b"Transfer-Encoding", b"X-Sum", b"Link:", b"close"):
                assert word not in head
        opened = {asked.connection for asked in node.asked}
        assert len(opened) == (1 if is_kept else 2)


@pytest.mark.parametrize("size", [10, 300_000, 5_000_000])
async def test_a_stale_connection_is_replaced_once_at_the_same_node(plane, size) -> None:
    # Without a word to the second of a connection: it closed at the moment when we wrote.
    async with ScriptedNode(lambda asked: [fin] if asked.question else [whole(BODY)]) as node:
        await plane.apply(node)
        for _ in range(3):
            answer = await plane.chat(stream=False, padding="x" * size)
            assert (answer.status, answer.headers["X-Aivonx-Attempts"]) == (200, "1")
        assert not plane.app.circuits.down
        # The second was sent on the stale connection and again on a new one, the third as well.
        assert len(node.bodies) == 5
        assert len(set(node.bodies)) == 1


async def test_a_new_connection_that_closes_without_a_word_is_the_nodes_fault(plane) -> None:
    async with ScriptedNode([fin]) as node:
        await plane.apply(node)
        assert (await plane.chat()).status == 502
        assert len(node.asked) == 1


async def test_a_connection_that_said_something_is_not_asked_again(plane) -> None:
    async with ScriptedNode(lambda asked: [b"H", fin] if asked.question else [whole(BODY)]) as node:
        await plane.apply(node)
        assert (await plane.chat(stream=False)).status == 200
        assert (await plane.chat(stream=False)).status == 502
        assert len(node.asked) == 2


@pytest.mark.parametrize("status", [b"204 No Content", b"205 Reset Content"])
async def test_an_answer_without_a_body_is_passed_on_or_refused_but_never_hangs(
    plane, status
) -> None:
    async with ScriptedNode([b"HTTP/1.1 " + status + b"\r\nContent-Length: 0\r\n\r\n"]) as node:
        await plane.apply(node)
        async with asyncio.timeout(5.0):
            answer = await plane.chat(stream=False)
        assert (answer.status, answer.json()["code"]) == (502, "upstream_unreachable")


@pytest.mark.parametrize("path", ["/api/chat", "/v1/chat/completions", "/v1/messages"])
async def test_head_is_no_way_to_ask_a_model(plane, dial, path) -> None:
    wire = await dial(plane)
    body = json.dumps(CHAT).encode()
    wire.send(
        f"HEAD {path} HTTP/1.1\r\nHost: a\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body
    )
    wire.send(b"GET /nowhere HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
    heads = (await wire.to_the_end()).split(b"HTTP/1.1 ")[1:]
    assert [int(head[:3]) for head in heads] == [405, 404]
    assert heads[0].endswith(b"\r\n\r\n"), "a head only"
